// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What UE and network say about media security at registration.
//!
//! Header fields Security-Client, Security-Server and Security-Verify (RFC 3329) list mechanisms;
//! those with the parameter `mediasec` are for media. Unlike the ones for signalling none of them
//! is selected: each stands for one kind of media, and may be applied to it from then on.
//!
//! Source: TS 24.229 section 7.2A.7, TS 33.328 section 7.1.

use core::fmt;

/// A mechanism of media security.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Mechanism {
    /// SRTP with keys in SDP, between UE and access edge.
    SdesSrtp,
    /// MSRP over TLS, between UE and access edge.
    MsrpTls,
    /// BFCP over TLS, between UE and access edge.
    BfcpTls,
    /// Telefax over DTLS, between UE and access edge.
    UdptlDtls,
    /// SRTP with keys from DTLS, between UE and access edge.
    DtlsSrtp,
}

impl Mechanism {
    /// Every mechanism.
    pub const ALL: [Self; 5] = [
        Self::SdesSrtp,
        Self::MsrpTls,
        Self::BfcpTls,
        Self::UdptlDtls,
        Self::DtlsSrtp,
    ];

    /// The name in a header field.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SdesSrtp => "sdes-srtp",
            Self::MsrpTls => "msrp-tls",
            Self::BfcpTls => "bfcp-tls",
            Self::UdptlDtls => "udptl-dtls",
            Self::DtlsSrtp => "dtls-srtp",
        }
    }
}

/// A set of mechanisms. Its text is the value of a header field.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mechanisms(u8);

impl Mechanisms {
    /// The parameter that marks a mechanism as one for media.
    const PARAMETER: &str = "mediasec";

    /// The known mechanisms for media in the values of header fields Security-Client,
    /// Security-Server or Security-Verify. Those for signalling, unknown and broken ones are
    /// ignored.
    pub fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let find = |entry: &str| {
            let name = entry.split(';').next()?.trim();
            let is_it = |each: &Mechanism| each.name().eq_ignore_ascii_case(name);
            Mechanism::ALL.into_iter().find(is_it)
        };
        headers
            .into_iter()
            .flat_map(entries)
            .filter_map(find)
            .collect()
    }

    /// Whether a mechanism is in the set.
    pub const fn contains(self, mechanism: Mechanism) -> bool {
        self.0 & (1 << mechanism as u8) != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The mechanisms.
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL
            .into_iter()
            .filter(move |mechanism| self.contains(*mechanism))
    }

    /// Compares what a UE sends back in Security-Verify, byte by byte, with the set as it was sent
    /// in Security-Server: whoever changed the list on its way wanted less security.
    pub fn verify<'a>(self, headers: impl IntoIterator<Item = &'a str>) -> Result<(), NotVerified> {
        let sent = self.to_string();
        let returned = headers.into_iter().flat_map(entries);
        if entries(&sent).eq(returned) {
            Ok(())
        } else {
            Err(NotVerified)
        }
    }
}

impl FromIterator<Mechanism> for Mechanisms {
    fn from_iter<T: IntoIterator<Item = Mechanism>>(mechanisms: T) -> Self {
        let bits = mechanisms.into_iter().map(|mechanism| 1 << mechanism as u8);
        Self(bits.fold(0, |all, bit| all | bit))
    }
}

impl fmt::Display for Mechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mechanism) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{};{}", mechanism.name(), Self::PARAMETER)?;
        }
        Ok(())
    }
}

/// What was said when one contact of a user registered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Binding {
    /// What the UE supports: its Security-Client.
    pub ue: Mechanisms,
    /// What the network announced: our Security-Server.
    pub network: Mechanisms,
}

impl Binding {
    /// Whether both sides said that they support a mechanism.
    pub const fn has(self, mechanism: Mechanism) -> bool {
        self.ue.contains(mechanism) && self.network.contains(mechanism)
    }
}

/// Security-Verify is not what was sent in Security-Server. The SIP answer is
/// 494 (Security Agreement Required) with a Security-Server once more (RFC 3329 section 2.3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotVerified;

impl fmt::Display for NotVerified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Security-Verify differs from Security-Server; register again")
    }
}

impl core::error::Error for NotVerified {}

/// The entries of a header field that are about media, without the space around them.
fn entries(header: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    let at_comma = move |c: char| {
        let was_escaped = core::mem::take(&mut is_escaped);
        match c {
            '\\' if is_quoted => is_escaped = !was_escaped,
            '"' if !was_escaped => is_quoted = !is_quoted,
            _ => (),
        }
        c == ',' && !is_quoted
    };
    header.split(at_comma).map(str::trim).filter(|entry| {
        let mut parameters = entry.split(';').skip(1);
        parameters.any(|parameter| parameter.trim().eq_ignore_ascii_case(Mechanisms::PARAMETER))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(mechanisms: &[Mechanism]) -> Mechanisms {
        mechanisms.iter().copied().collect()
    }

    #[test]
    fn mechanisms_for_media_are_found_among_the_others() {
        use Mechanism as M;
        for (headers, mechanisms) in [
            (vec!["sdes-srtp;mediasec"], set(&[M::SdesSrtp])),
            (
                vec!["msrp-tls;mediasec, sdes-srtp;mediasec"],
                set(&[M::SdesSrtp, M::MsrpTls]),
            ),
            (
                vec![
                    "ipsec-3gpp; q=0.1; alg=hmac-sha-1-96; spi-c=1111; port-s=2468",
                    "SDES-SRTP ; MediaSec,bfcp-tls;q=0.5;mediasec , udptl-dtls;mediasec",
                ],
                set(&[M::SdesSrtp, M::BfcpTls, M::UdptlDtls]),
            ),
            (vec!["dtls-srtp;mediasec"], set(&[M::DtlsSrtp])),
            (vec!["sdes-srtp"], set(&[])),
            (vec!["sdes-srtp;mediasec=1"], set(&[])),
            (vec!["tls;mediasec, new-thing;mediasec, ,;"], set(&[])),
            (vec![r#"digest;d-ver="a,sdes-srtp;mediasec,b""#], set(&[])),
            (
                vec![r#"digest;d-ver="a\",b", sdes-srtp;mediasec"#],
                set(&[M::SdesSrtp]),
            ),
            (vec![""], set(&[])),
            (vec![], set(&[])),
        ] {
            assert_eq!(
                Mechanisms::parse(headers.iter().copied()),
                mechanisms,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn a_header_is_produced_and_comes_back_unchanged_or_not_at_all() {
        let ours = set(&[Mechanism::MsrpTls, Mechanism::SdesSrtp]);
        assert_eq!(ours.to_string(), "sdes-srtp;mediasec, msrp-tls;mediasec");
        let cases = [
            (vec!["sdes-srtp;mediasec, msrp-tls;mediasec"], Ok(())),
            (vec!["sdes-srtp;mediasec,msrp-tls;mediasec"], Ok(())),
            (
                vec![
                    "ipsec-3gpp;q=0.1",
                    "sdes-srtp;mediasec",
                    "msrp-tls;mediasec",
                ],
                Ok(()),
            ),
            (
                vec!["msrp-tls;mediasec, sdes-srtp;mediasec"],
                Err(NotVerified),
            ),
            (vec!["sdes-srtp;mediasec"], Err(NotVerified)),
            (
                vec!["sdes-srtp;mediasec, msrp-tls;mediasec, bfcp-tls;mediasec"],
                Err(NotVerified),
            ),
            (
                vec!["sdes-srtp;q=0;mediasec, msrp-tls;mediasec"],
                Err(NotVerified),
            ),
            (vec![], Err(NotVerified)),
        ];
        for (headers, result) in cases {
            assert_eq!(ours.verify(headers.iter().copied()), result, "{headers:?}");
        }
        assert_eq!(Mechanisms::default().verify(["ipsec-3gpp;q=0.1"]), Ok(()));
        assert_eq!(Mechanisms::default().to_string(), "");
    }

    #[test]
    fn a_mechanism_counts_once_both_sides_have_named_it() {
        let binding = Binding {
            ue: set(&[Mechanism::SdesSrtp, Mechanism::BfcpTls]),
            network: set(&[Mechanism::SdesSrtp, Mechanism::MsrpTls]),
        };
        let both: Vec<_> = Mechanism::ALL
            .into_iter()
            .filter(|mechanism| binding.has(*mechanism))
            .collect();
        assert_eq!(both, [Mechanism::SdesSrtp]);
    }

    proptest! {
        #[test]
        fn every_set_survives_its_text(bits in 0_u8..32) {
            let set = Mechanisms(bits);
            let text = set.to_string();
            prop_assert_eq!(Mechanisms::parse([text.as_str()]), set);
            prop_assert_eq!(set.verify([text.as_str()]), Ok(()));
            prop_assert_eq!(set.is_empty(), text.is_empty());
        }

        #[test]
        fn any_header_is_read_without_panic(text in ".*", more in "[a-z;,\"\\\\ =-]{0,80}") {
            let _ = Mechanisms::parse([text.as_str(), more.as_str()]);
        }
    }
}
