// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What an operator wants for the media of one realm.

use core::fmt;
use core::str::FromStr;

use crate::sdes::Sdes;
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
        let is_about = |rule: &&Rule| rule.medium.as_ref().is_none_or(|wanted| wanted == medium);
        let mut strictest = E2ae::Off;
        for rule in self.rules.iter().filter(is_about) {
            match (&rule.access_network, access_network) {
                (Some(wanted), Some(found)) if wanted != found => (),
                (Some(_), None) => strictest = strictest.max(rule.e2ae),
                _ => return strictest.max(rule.e2ae),
            }
        }
        strictest.max(E2ae::default())
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

/// Whether protection ends here, for some media.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// For this medium only.
    pub medium: Option<Medium>,
    /// For UEs on this access network only.
    pub access_network: Option<AccessNetwork>,
    /// What holds then.
    pub e2ae: E2ae,
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

    #[test]
    fn the_first_rule_that_fits_counts_or_the_strictest_that_could() {
        let rule = |medium, network: Option<&str>, e2ae| Rule {
            medium,
            access_network: network.map(AccessNetwork::parse),
            e2ae,
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
