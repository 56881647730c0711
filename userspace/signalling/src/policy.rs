// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What an operator wants for the media of one realm.

use core::fmt;
use core::mem;
use core::str::FromStr;
use std::borrow::Cow;

use crate::sdes::{Sdes, Suite};
use crate::sdp::Medium;

/// What an operator wants for the media of one access realm.
///
/// Nothing in here lets a stream that is protected become one that is not: whatever would have to
/// is refused.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether protection ends here. The first rule that fits counts; where none does,
    /// [`E2ae::Optional`].
    pub rules: Vec<Rule>,
    /// Which suites, in which order.
    pub sdes: Sdes,
    /// Whether e2ae protection has to be agreed on at registration and asked for in the offer, as
    /// an IMS UE does. Otherwise an SRTP offer from the access side is reason enough to end SRTP
    /// here, and [`E2ae::Required`] to offer it to the access side.
    pub needs_indications: bool,
    /// Whether media that is protected end to end may pass.
    pub end_to_end: bool,
    /// RTCP on the port of RTP, on the access side.
    pub access_rtcp_mux: RtcpMux,
    /// RTCP on the port of RTP, on the core side.
    pub core_rtcp_mux: RtcpMux,
}

impl Policy {
    /// Whether protection ends here for a medium of a UE on an access network. Where nobody knows
    /// which it is on, the strictest counts of the rules that could fit.
    pub fn e2ae(&self, medium: &Medium, access_network: Option<&AccessNetwork>) -> E2ae {
        let rules = self.rules(medium, access_network);
        let last = rules.last();
        let is_ruled = last.is_some_and(|rule| rule.is_certain(access_network));
        let otherwise = Some(E2ae::default()).filter(|_| !is_ruled);
        let of_rules = rules.iter().map(|rule| rule.e2ae);
        of_rules.chain(otherwise).max().unwrap_or_default()
    }

    /// Which suites, in which order, for a medium of a UE on an access network: of those in `sdes`
    /// the ones that every rule allows which fits, or could.
    pub fn sdes(&self, medium: &Medium, access_network: Option<&AccessNetwork>) -> Cow<'_, Sdes> {
        let rules = self.rules(medium, access_network);
        let allowed = rules.iter().filter_map(|rule| rule.suites.as_ref());
        allowed.fold(Cow::Borrowed(&self.sdes), |sdes, allowed| {
            Cow::Owned(sdes.only(allowed))
        })
    }

    /// The first rule that fits, behind those that could where nobody knows the access network.
    fn rules(&self, medium: &Medium, access_network: Option<&AccessNetwork>) -> Vec<&Rule> {
        let mut is_found = false;
        let rules = self.rules.iter();
        rules
            .filter(|rule| rule.may_fit(medium, access_network))
            .take_while(|rule| !mem::replace(&mut is_found, rule.is_certain(access_network)))
            .collect()
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            sdes: Sdes::default(),
            needs_indications: true,
            end_to_end: true,
            access_rtcp_mux: RtcpMux::default(),
            core_rtcp_mux: RtcpMux::default(),
        }
    }
}

/// Whether protection ends here, for some media, and how they may be protected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// For this medium only.
    pub medium: Option<Medium>,
    /// For UEs on this access network only.
    pub access_network: Option<AccessNetwork>,
    /// What holds then.
    pub e2ae: E2ae,
    /// The suites that may be used then, on either side; any of the policy's without.
    pub suites: Option<Vec<Suite>>,
}

impl Rule {
    fn may_fit(&self, medium: &Medium, access_network: Option<&AccessNetwork>) -> bool {
        let wanted = self.access_network.as_ref();
        self.medium.as_ref().is_none_or(|wanted| wanted == medium)
            && wanted.is_none_or(|wanted| access_network.is_none_or(|found| found == wanted))
    }

    /// Whether a rule that may fit does.
    const fn is_certain(&self, access_network: Option<&AccessNetwork>) -> bool {
        self.access_network.is_none() || access_network.is_some()
    }
}

/// Whether protection between UE and access edge is wanted, the strictest last.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum E2ae {
    /// Never: media stays as it is offered, plain or protected end to end.
    Off,
    /// Where the UE can do it.
    #[default]
    Optional,
    /// The access side carries protected media only; what cannot be protected is refused.
    Required,
}

impl FromStr for E2ae {
    type Err = UnknownE2ae;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "off" => Ok(Self::Off),
            "optional" => Ok(Self::Optional),
            "required" => Ok(Self::Required),
            _ => Err(UnknownE2ae),
        }
    }
}

/// A word does not say whether e2ae protection is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownE2ae;

impl fmt::Display for UnknownE2ae {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown e2ae policy; write off, optional or required")
    }
}

impl core::error::Error for UnknownE2ae {}

/// The type of an access network, such as `3GPP-E-UTRAN-FDD` or `IEEE-802.11`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessNetwork(String);

impl AccessNetwork {
    /// The first access type in the value of a header field P-Access-Network-Info
    /// (RFC 7315 section 5.4); types are compared without case.
    pub fn parse(header: &str) -> Self {
        let end = header.find([';', ',']).unwrap_or(header.len());
        Self(header[..end].trim().to_ascii_uppercase())
    }
}

/// Whether RTCP shares the port of RTP on one side (RFC 5761).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RtcpMux {
    /// Neither offered to this side nor taken from it.
    Never,
    /// Offered to this side if the other side offers it, and taken from it.
    #[default]
    IfOffered,
    /// Always offered to this side, and taken from it.
    Always,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdes::Suites;

    #[test]
    fn the_first_rule_that_fits_counts_or_the_strictest_that_could() {
        let rule = |medium, network: Option<&str>, e2ae| Rule {
            medium,
            access_network: network.map(AccessNetwork::parse),
            e2ae,
            suites: None,
        };
        let policy = Policy {
            rules: vec![
                rule(Some(Medium::Message), None, E2ae::Off),
                rule(None, Some("IEEE-802.11"), E2ae::Required),
                rule(Some(Medium::Video), None, E2ae::Off),
            ],
            ..Policy::default()
        };
        let wifi = "ieee-802.11;i-wlan-node-id=00112233;np, 3GPP-E-UTRAN-FDD";
        for (medium, network, e2ae) in [
            (Medium::Audio, None, E2ae::Required),
            (Medium::Audio, Some("3GPP-E-UTRAN-FDD"), E2ae::Optional),
            (Medium::Audio, Some(wifi), E2ae::Required),
            (Medium::Video, Some(wifi), E2ae::Required),
            (Medium::Video, Some("3GPP-E-UTRAN-FDD"), E2ae::Off),
            (Medium::Video, None, E2ae::Required),
            (Medium::Message, None, E2ae::Off),
            (Medium::Message, Some(wifi), E2ae::Off),
        ] {
            let network = network.map(AccessNetwork::parse);
            assert_eq!(policy.e2ae(&medium, network.as_ref()), e2ae, "{medium:?}");
        }
    }

    #[test]
    fn suites_are_those_that_every_rule_allows_which_fits_or_could() {
        use Suite::{AeadAes128Gcm as Gcm128, AeadAes256Gcm as Gcm256, AesCm128HmacSha1_80 as Cm};
        let rule = |medium, network: Option<&str>, suites: &[Suite]| Rule {
            medium,
            access_network: network.map(AccessNetwork::parse),
            e2ae: E2ae::Required,
            suites: Some(suites.to_vec()),
        };
        let policy = Policy {
            rules: vec![
                rule(None, Some("IEEE-802.11"), &[Gcm256, Gcm128]),
                rule(Some(Medium::Audio), None, &[Cm, Gcm128]),
                rule(None, None, &[]),
            ],
            sdes: Sdes {
                suites: Suites::new([Gcm128, Gcm256, Cm]).unwrap(),
                ..Sdes::default()
            },
            ..Policy::default()
        };
        for (medium, network, suites) in [
            (Medium::Audio, Some("IEEE-802.11"), &[Gcm128, Gcm256][..]),
            (Medium::Video, Some("IEEE-802.11"), &[Gcm128, Gcm256]),
            (Medium::Audio, Some("3GPP-E-UTRAN-FDD"), &[Gcm128, Cm]),
            (Medium::Audio, None, &[Gcm128]),
            (Medium::Video, None, &[]),
        ] {
            let network = network.map(AccessNetwork::parse);
            let sdes = policy.sdes(&medium, network.as_ref());
            assert_eq!(sdes.suites.as_slice(), suites, "{medium:?} {network:?}");
        }
    }

    #[test]
    fn e2ae_is_off_optional_or_required_and_nothing_else() {
        for (name, e2ae) in [
            ("off", Ok(E2ae::Off)),
            ("optional", Ok(E2ae::Optional)),
            ("required", Ok(E2ae::Required)),
            ("Off", Err(UnknownE2ae)),
            ("", Err(UnknownE2ae)),
        ] {
            assert_eq!(name.parse(), e2ae);
        }
    }
}
