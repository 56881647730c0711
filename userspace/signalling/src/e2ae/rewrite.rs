// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A session description as it is passed on.

use core::net::IpAddr;

use super::{Ends, Handshakes};
use crate::dtls::{Fingerprint, Setup};
use crate::ice::{self, Credentials};
use crate::sdes::Crypto;
use crate::sdp::{Connection, Media, Profile, Rtcp, Sdp, Section};

/// What becomes of one `m=` line and the lines behind it.
pub(super) enum Plan {
    /// It stays, but for indications, which are always between one UE and its network.
    Pass,
    /// Its port becomes 0, and its profile this one, if there is one.
    Refuse(Option<Profile>),
    /// It leads to us.
    Anchor(Box<Anchor>),
}

pub(super) struct Anchor {
    pub(super) local: Ends,
    /// Where peers are to send: to us, or nowhere.
    pub(super) connection: Connection,
    pub(super) profile: Profile,
    pub(super) rtcp_mux: RtcpMuxLines,
    pub(super) keys: KeyLines,
    pub(super) ice: Option<IceLines>,
    /// What the peer calls the stream.
    pub(super) mid: Option<String>,
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
    /// How a handshake goes that they come from.
    Dtls {
        /// Of our certificate.
        fingerprint: Fingerprint,
        setup: Setup,
        id: Option<String>,
    },
}

impl KeyLines {
    /// For a handshake with our `a=tls-id`. (Who asks for one has a certificate: this is checked
    /// with the offer.)
    pub(super) fn dtls(handshakes: Option<&Handshakes>, setup: Setup, id: &str) -> Self {
        match handshakes.and_then(|asked| Some((asked, asked.fingerprint.clone()?))) {
            None => Self::Remove,
            Some((asked, fingerprint)) => Self::Dtls {
                fingerprint,
                setup,
                id: (!asked.no_tls_id).then(|| id.to_owned()),
            },
        }
    }
}

/// What is said about ICE: that there is one way, to us.
pub(super) struct IceLines {
    credentials: Credentials,
    trickles: bool,
    is_relay: bool,
}

impl IceLines {
    pub(super) fn new(
        credentials: Option<&Credentials>,
        handshakes: Option<&Handshakes>,
    ) -> Option<Self> {
        Some(Self {
            credentials: credentials?.clone(),
            trickles: handshakes.is_some_and(|handshakes| handshakes.trickles),
            is_relay: handshakes.is_some_and(|handshakes| handshakes.is_relay),
        })
    }

    fn add_to(&self, lines: &mut Section, local: Ends, is_muxed: bool) {
        let mut add = |name, value: &str| lines.add_attribute(name, Some(value));
        add("ice-ufrag", self.credentials.fragment());
        add("ice-pwd", self.credentials.expose());
        let trickle = if self.trickles { " trickle" } else { "" };
        // RFC 8445 section 10: what this RFC made of ICE.
        add("ice-options", &format!("ice2{trickle}"));
        let ends = [local.rtp, local.rtcp].into_iter().zip(1..);
        for (at, component) in ends.take(if is_muxed { 1 } else { 2 }) {
            let (ip, port) = (at.ip(), at.port());
            // RFC 8445 section 5.1.2: of the best type or of the worst, and the only one of it.
            let (preference, kind) = match (self.is_relay, ip) {
                (false, _) => (126, "host"),
                // RFC 8839 section 5.1: where we are behind the relay is nobody's business.
                (true, IpAddr::V4(_)) => (0, "relay raddr 0.0.0.0 rport 9"),
                (true, IpAddr::V6(_)) => (0, "relay raddr :: rport 9"),
            };
            let priority = (preference << 24) + (65535 << 8) + (256 - component);
            let candidate = format!("1 {component} UDP {priority} {ip} {port} typ {kind}");
            add("candidate", &candidate);
        }
        if self.trickles {
            lines.add_attribute("end-of-candidates", None);
        }
    }
}

/// The indication of e2ae protection (TS 24.229 section 7.5.2), and its two values.
pub(super) const INDICATION: &str = "3ge2ae";
pub(super) const REQUESTED: &str = "requested";
const APPLIED: &str = "applied";

/// Attributes about keys, and about other ways to negotiate them (RFC 5939).
const KEYS: [&str; 8] = [
    Crypto::NAME,
    "key-mgmt",
    "fingerprint",
    "setup",
    "tls-id",
    "acap",
    "tcap",
    "pcfg",
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
        sdp.session_mut().remove_attributes(&ice::ATTRIBUTES);
    }
    let has_ice = |plan: &Plan| matches!(plan, Plan::Anchor(anchor) if anchor.ice.is_some());
    if plans.iter().any(has_ice) {
        sdp.session_mut().set_attribute("ice-lite", None);
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
        lines.remove_attributes(&ice::ATTRIBUTES);
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
            KeyLines::Dtls {
                fingerprint,
                setup,
                id,
            } => {
                lines.remove_attributes(&KEYS);
                lines.add_attribute("fingerprint", Some(&fingerprint.to_string()));
                lines.add_attribute("setup", Some(setup.name()));
                if let Some(id) = id {
                    lines.add_attribute("tls-id", Some(id));
                }
            }
        }
        if let Some(mid) = &self.mid {
            lines.set_attribute("mid", Some(mid));
        }
        if let Some(ice) = &self.ice {
            ice.add_to(lines, self.local, self.rtcp_mux == RtcpMuxLines::Agreed);
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
