// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Who talks: where they are, and how that is learned.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use sallyport_flow::{LatchOn, Realm};
use sallyport_signalling::e2ae;
use serde::{Deserialize, Serialize};

use crate::session::Ends;
use crate::stream::Peer;

/// How long a plain peer's first packet is waited for, once it is known from where. Nobody but the
/// peer's own address is listened to.
const WINDOW: Duration = Duration::from_secs(30);

/// How long a peer is watched before its address counts, where the proxy wants that.
const WATCH: Duration = Duration::from_secs(3);

/// One of the two who talk.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Party {
    pub(crate) tag: String,
    pub(crate) label: Option<String>,
    pub(crate) since: Duration,
    pub(super) realm: Realm,
    reach: Reach,
    /// Where it said last that it is, by m-line.
    known: Vec<(u16, e2ae::Ends)>,
}

/// What the proxy says about the way to a party.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Reach {
    /// Where its SIP messages come from.
    pub(crate) received_from: Option<IpAddr>,
    /// Where its media is, whatever its SDP says.
    pub(crate) media_address: Option<IpAddr>,
    pub(crate) learning: Learning,
    /// Nothing is sent to it before it has sent something.
    pub(crate) waits: bool,
    /// Empty packets are sent to it until it has sent something, to open its NAT.
    pub(crate) pierces: bool,
}

/// How a party's address is learned.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Learning {
    /// From its first packet; it sends from where it receives.
    #[default]
    Symmetric,
    /// From its first packet after a while.
    Delayed,
    /// From its first packet, unless one soon after fits its SDP better.
    Heuristic,
    /// From every packet: it is followed, and so is who pretends to be it.
    Handover,
    /// It sends from elsewhere than it receives.
    Asymmetric,
    /// It is where its SDP says.
    Off,
}

/// What the proxy says about who sent an SDP.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) label: Option<String>,
    pub(crate) reach: Reach,
    /// What reports of the whole call are to tell from now on.
    pub(crate) metadata: Option<String>,
    /// Whether RTP of the whole call is dropped from now on.
    pub(crate) silences: Option<bool>,
    /// Whose media goes back to them from now on, and nobody else's goes anywhere.
    pub(crate) echoes: Option<Echoes>,
}

/// Whose media goes back to them: of who sent an SDP, and of who will get it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Echoes {
    pub(crate) sender: bool,
    pub(crate) receiver: bool,
}

impl Party {
    pub(super) fn new(tag: String, realm: Realm, since: Duration) -> Self {
        Self {
            tag,
            label: None,
            since,
            realm,
            reach: Reach::default(),
            known: Vec::new(),
        }
    }

    /// Where it said last that it is.
    pub(super) fn known(&self, index: u16) -> Option<e2ae::Ends> {
        let mut known = self.known.iter();
        known.find(|(at, _)| *at == index).map(|(_, ends)| *ends)
    }

    /// Takes over where it says that it is, if it does.
    pub(super) fn locate(&mut self, index: u16, leg: Option<&e2ae::Leg>) {
        let remote = leg.map(|leg| leg.remote);
        if remote == Some(None) {
            return;
        }
        self.known.retain(|(at, _)| *at != index);
        if let Some(remote) = remote.flatten() {
            self.known.reserve_exact(1);
            self.known.push((index, remote));
        }
    }

    /// Takes over the name that it is given, if it is.
    pub(super) fn name(&mut self, about: &About) {
        if about.label.is_some() {
            self.label.clone_from(&about.label);
        }
    }

    /// Whether its NAT is to be opened.
    pub(super) const fn is_pierced(&self) -> bool {
        self.reach.pierces
    }

    /// Takes over what is said anew. An address that SIP messages came from stays true.
    pub(super) fn reach(&mut self, reach: Reach) {
        let received_from = reach.received_from.or(self.reach.received_from);
        self.reach = Reach {
            received_from,
            ..reach
        };
    }
}

/// Where a party says that it is, or the proxy says so in its place.
pub(super) fn said(party: Option<&Party>, remote: Option<Ends>) -> Option<Ends> {
    let at = |ip: IpAddr| {
        move |ends: Ends| Ends {
            rtp: SocketAddr::new(ip, ends.rtp.port()),
            rtcp: SocketAddr::new(ip, ends.rtcp.port()),
        }
    };
    match party.and_then(|party| party.reach.media_address) {
        Some(ip) => remote.map(at(ip)),
        None => remote,
    }
}

/// The address that its packets come from, as far as that is known.
pub(super) fn origin(party: Option<&Party>, remote: Option<Ends>) -> Option<IpAddr> {
    let said = said(party, remote).map(|ends| ends.rtp.ip());
    let reach = party.map(|party| party.reach).unwrap_or_default();
    // Behind a NAT a peer says an address that means nothing here, and its media comes from where
    // its SIP messages come from.
    match (reach.media_address.or(said), reach.received_from) {
        (Some(said), Some(seen)) if is_private(said) && !is_private(seen) => Some(seen),
        (Some(said), _) => Some(said),
        (None, seen) => seen,
    }
}

/// Who is at the far end of a leg where the peer finds the way itself: where it has nominated. Until
/// then, if packets do not authenticate, it is a peer as without ICE: it may never check anything,
/// as one that only repeats the lines of somebody else.
pub(super) fn checked_peer(
    party: Option<&Party>,
    remote: Option<Ends>,
    nominated: Option<Ends>,
    is_protected: bool,
) -> Peer {
    match nominated {
        Some(ends) if !is_protected => Peer::Known(ends),
        None if !is_protected => peer(party, remote, is_protected),
        signalled => Peer::Learned {
            signalled,
            from: None,
            window: None,
            on: LatchOn::First,
            waits: false,
            is_asymmetric: false,
        },
    }
}

/// Who is at the far end of a leg.
pub(super) fn peer(party: Option<&Party>, remote: Option<Ends>, is_protected: bool) -> Peer {
    let Reach {
        learning, waits, ..
    } = party.map_or(Reach::default(), |party| party.reach);
    let signalled = said(party, remote);
    if let (Learning::Off, Some(ends)) = (learning, signalled) {
        return Peer::Known(ends);
    }
    let from = origin(party, remote);
    // Of a plain peer of which nothing is known, nobody can be told apart: no packet is its first.
    let window = from.map_or(Duration::ZERO, |_| WINDOW);
    // The proxy wants whoever sends to be followed.
    let from = from.filter(|_| !is_protected && learning != Learning::Handover);
    Peer::Learned {
        signalled,
        from: from.map(IpNet::from),
        window: (!is_protected).then_some(window),
        on: match learning {
            Learning::Delayed => LatchOn::Late(WATCH),
            Learning::Heuristic => LatchOn::Best(WATCH),
            Learning::Handover => LatchOn::Last,
            Learning::Symmetric | Learning::Asymmetric | Learning::Off => LatchOn::First,
        },
        waits,
        is_asymmetric: learning == Learning::Asymmetric,
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            // RFC 6598: what carriers have behind their NAT.
            ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_peer_is_heard_from_where_it_can_be_and_a_protected_one_from_anywhere() {
        let ends = |text: &str| {
            let rtp: SocketAddr = text.parse().unwrap();
            Ends { rtp, rtcp: rtp }
        };
        let (nat, public, private) = ("198.51.100.1", "192.0.2.7:5004", "192.168.1.7:5004");
        for (said, seen, is_protected, from) in [
            (Some(public), None, false, Some("192.0.2.7/32")),
            (Some(public), Some(nat), false, Some("192.0.2.7/32")),
            (Some(private), Some(nat), false, Some("198.51.100.1/32")),
            (
                Some(private),
                Some("10.0.0.5"),
                false,
                Some("192.168.1.7/32"),
            ),
            (
                Some("100.64.1.7:5004"),
                Some(nat),
                false,
                Some("198.51.100.1/32"),
            ),
            (None, Some(nat), false, Some("198.51.100.1/32")),
            (None, None, false, None),
            (Some(private), Some(nat), true, None),
        ] {
            let mut party = Party::new("a".to_owned(), Realm::Access, Duration::ZERO);
            party.reach.received_from = seen.map(|seen| seen.parse().unwrap());
            let Peer::Learned {
                from: found,
                window,
                ..
            } = peer(Some(&party), said.map(ends), is_protected)
            else {
                panic!("{said:?}");
            };
            let from = from.map(|from| from.parse().unwrap());
            assert_eq!(found, from, "{said:?} {seen:?}");
            let wait = from.map_or(Duration::ZERO, |_| WINDOW);
            assert_eq!(window, (!is_protected).then_some(wait), "{said:?} {seen:?}");
        }
        let mut party = Party::new("a".to_owned(), Realm::Access, Duration::ZERO);
        let [said, nominated] = [public, private].map(ends);
        let checked = |nominated| checked_peer(Some(&party), Some(said), nominated, false);
        assert_eq!(checked(None), peer(Some(&party), Some(said), false));
        assert_eq!(checked(Some(nominated)), Peer::Known(nominated));
        party.reach.learning = Learning::Off;
        let known = peer(Some(&party), Some(ends(public)), false);
        assert_eq!(known, Peer::Known(ends(public)));
        party.reach.media_address = Some(nat.parse().unwrap());
        let known = peer(Some(&party), Some(ends(public)), false);
        assert_eq!(known, Peer::Known(ends("198.51.100.1:5004")));
    }
}
