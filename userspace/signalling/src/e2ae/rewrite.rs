// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A session description as it is passed on.

use super::Ends;
use crate::sdes::Crypto;
use crate::sdp::{Connection, Media, Profile, Rtcp, Sdp};

/// What becomes of one `m=` line and the lines behind it.
pub(super) enum Plan {
    /// It stays, but for indications, which are always between one UE and its network.
    Pass,
    /// Its port becomes 0, and its profile this one, if there is one.
    Refuse(Option<Profile>),
    /// It leads to us.
    Anchor(Anchor),
}

pub(super) struct Anchor {
    pub(super) local: Ends,
    /// Where peers are to send: to us, or nowhere.
    pub(super) connection: Connection,
    pub(super) profile: Profile,
    pub(super) rtcp_mux: RtcpMuxLines,
    pub(super) keys: KeyLines,
}

/// What is said about RTCP on the port of RTP.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum RtcpMuxLines {
    /// It is not to be.
    No,
    /// It is offered, so RTCP may still get a port of its own.
    Offered,
    /// It is so.
    Agreed,
}

/// What is said about keys.
pub(super) enum KeyLines {
    /// What the peers say to each other.
    Keep,
    /// Nothing.
    Remove,
    /// How we protect, and whether that is by our own will.
    Replace { keys: Vec<Crypto>, is_applied: bool },
}

/// The indication of e2ae protection (TS 24.229 section 7.5.2), and its two values.
pub(super) const INDICATION: &str = "3ge2ae";
pub(super) const REQUESTED: &str = "requested";
const APPLIED: &str = "applied";

/// Attributes about keys, and about other ways to negotiate them (RFC 5939).
const KEYS: [&str; 7] = [
    Crypto::NAME,
    "key-mgmt",
    "fingerprint",
    "tls-id",
    "acap",
    "tcap",
    "pcfg",
];

/// Attributes of ICE (RFC 8839): a UE that found another way would go past us.
const ICE: [&str; 9] = [
    "candidate",
    "end-of-candidates",
    "ice-lite",
    "ice-mismatch",
    "ice-options",
    "ice-pacing",
    "ice-pwd",
    "ice-ufrag",
    "remote-candidates",
];

/// Carries out one plan per `m=` line.
pub(super) fn rewrite(received: &Sdp, plans: &[Plan]) -> Sdp {
    let mut sdp = received.clone();
    keep_session_keys_from_anchored(&mut sdp, plans);
    for (media, plan) in sdp.media_mut().iter_mut().zip(plans) {
        media.section_mut().remove_attributes(&[INDICATION]);
        match plan {
            Plan::Pass => (),
            Plan::Refuse(profile) => {
                media.set_port(0);
                if let Some(profile) = profile {
                    media.set_profile(profile.clone());
                }
                media.section_mut().remove_attributes(&KEYS);
            }
            Plan::Anchor(anchor) => anchor.apply(media),
        }
    }
    set_connections(received, &mut sdp, plans);
    if plans.iter().any(|plan| matches!(plan, Plan::Anchor(_))) {
        // Each stream has ports of its own.
        sdp.session_mut()
            .retain_attributes(|name, value| name != "group" || !value.starts_with("BUNDLE"));
    }
    let passes = |(plan, media): (&Plan, &Media)| matches!(plan, Plan::Pass) && media.port() != 0;
    if !plans.iter().zip(received.media()).any(passes) {
        sdp.session_mut().remove_attributes(&ICE);
    }
    sdp
}

impl Anchor {
    fn apply(&self, media: &mut Media) {
        let Ends { rtp, rtcp } = self.local;
        media.set_port(rtp.port());
        media.set_profile(self.profile.clone());
        let has_rtcp = media.section().attribute("rtcp").is_some();
        let lines = media.section_mut();
        lines.remove_attributes(&ICE);
        lines.remove_attributes(&["bundle-only"]);

        let has_mux = lines.attribute("rtcp-mux").is_some();
        match self.rtcp_mux {
            RtcpMuxLines::No => lines.remove_attributes(&["rtcp-mux", "rtcp-mux-only"]),
            RtcpMuxLines::Offered | RtcpMuxLines::Agreed if has_mux => (),
            RtcpMuxLines::Offered | RtcpMuxLines::Agreed => lines.add_attribute("rtcp-mux", None),
        }
        let is_next = rtcp.ip() == rtp.ip() && Some(rtcp.port()) == rtp.port().checked_add(1);
        if self.rtcp_mux == RtcpMuxLines::Agreed {
            lines.remove_attributes(&["rtcp"]);
        } else if has_rtcp || !is_next {
            let rtcp = Rtcp {
                port: rtcp.port(),
                address: (rtcp.ip() != rtp.ip()).then(|| rtcp.ip()),
            };
            lines.set_attribute("rtcp", Some(&rtcp.to_string()));
        }

        match &self.keys {
            KeyLines::Keep => (),
            KeyLines::Remove => lines.remove_attributes(&KEYS),
            KeyLines::Replace { keys, is_applied } => {
                lines.remove_attributes(&KEYS);
                for crypto in keys {
                    lines.add_attribute(Crypto::NAME, Some(&crypto.write()));
                }
                if *is_applied {
                    lines.add_attribute(INDICATION, Some(APPLIED));
                }
            }
        }
    }
}

/// Keys that hold for all media are told to those media only whose keys we leave alone.
fn keep_session_keys_from_anchored(sdp: &mut Sdp, plans: &[Plan]) {
    let ends_here = |plan: &Plan| match plan {
        Plan::Anchor(anchor) => !matches!(anchor.keys, KeyLines::Keep),
        Plan::Pass | Plan::Refuse(_) => false,
    };
    if !plans.iter().any(ends_here) {
        return;
    }
    for name in KEYS {
        let values: Vec<_> = sdp
            .session()
            .attributes(name)
            .map(|value| zeroize::Zeroizing::new(value.to_owned()))
            .collect();
        sdp.session_mut().remove_attributes(&[name]);
        for (media, plan) in sdp.media_mut().iter_mut().zip(plans) {
            if ends_here(plan) || media.port() == 0 || media.section().attribute(name).is_some() {
                continue;
            }
            for value in &values {
                media.section_mut().add_attribute(name, Some(value));
            }
        }
    }
}

/// Points what is anchored to us, and keeps what is not where it was, though media may have shared
/// one connection.
fn set_connections(received: &Sdp, sdp: &mut Sdp, plans: &[Plan]) {
    let anchored = |is_sharing: bool| {
        let mut lines = plans.iter().zip(received.media());
        lines.find_map(|(plan, media)| match plan {
            Plan::Anchor(anchor) if !is_sharing || media.section().connection().is_none() => {
                Some(anchor.connection.clone())
            }
            _ => None,
        })
    };
    if received.session().connection().is_some()
        && let Some(connection) = anchored(true).or_else(|| anchored(false))
    {
        sdp.session_mut().set_connection(connection);
    }
    for (i, plan) in plans.iter().enumerate() {
        let media = &received.media()[i];
        let own = media.section().connection();
        let connection = match plan {
            Plan::Anchor(anchor) => Some(anchor.connection.clone()),
            Plan::Pass if media.port() != 0 && own.is_none() => received.connection(media),
            Plan::Pass | Plan::Refuse(_) => None,
        };
        let is_shared = own.is_none() && connection.as_ref() == sdp.session().connection();
        if let Some(connection) = connection.filter(|_| !is_shared) {
            sdp.media_mut()[i].section_mut().set_connection(connection);
        }
    }
}
