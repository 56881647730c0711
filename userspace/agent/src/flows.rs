// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The flows of a session, and what their counters say about it.
//!
//! Each leg has a flow for what arrives on its RTP port and one for its RTCP port, or a single one
//! when it multiplexes both. Never do two flows protect the same kind of packet with one key:
//! the RTP flow of a leg that does not multiplex carries only SRTP, its RTCP flow only SRTCP, and
//! those two have session keys and indices of their own (RFC 3711 section 3.2.1); a multiplexed
//! flow carries both. So no two flows can use one key, SSRC and index twice.

use std::collections::HashMap;
use std::net::SocketAddr;

use sallyport_flow::{
    Carries, Crypto, Egress, Flow, FlowId, FlowStatistics, Gate, Ingress, Latch, Mark, MasterKey,
    Path, Realm, Refusals, Remote, Source,
};
use serde::Serialize;

use crate::marks::Marks;
use crate::session::{Key, Session, SessionKeys};

/// The most flows that one session has.
pub(crate) const MAX_FLOWS: usize = 4;

/// The numbers of a session's flows, in ascending order.
pub(crate) fn flow_ids(session: &Session) -> impl Iterator<Item = FlowId> {
    arrivals(session).map(|(realm, carries)| flow_id(session, realm, carries))
}

/// Whether the keys of every protected leg are at hand. They are lost when the agent restarts.
pub(crate) fn has_keys(session: &Session, keys: &SessionKeys) -> bool {
    Realm::ALL
        .into_iter()
        .all(|realm| session.leg(realm).profile.suite() == keys.leg(realm).map(|keys| keys.suite))
}

/// The flows of a session, complete with keys; `None` when keys are lost: what should be protected
/// is never installed plain.
pub(crate) fn flows(
    session: &Session,
    keys: &SessionKeys,
    marks: &HashMap<FlowId, Marks>,
) -> Option<Vec<Flow>> {
    if !has_keys(session, keys) {
        return None;
    }
    let flow = |(realm, carries)| {
        let near = session.leg(realm);
        let far_realm = opposite(realm);
        let id = flow_id(session, realm, carries);
        let marks = marks.get(&id);
        let (local, remote) = match carries {
            Carries::Rtp | Carries::Muxed => (near.local.rtp, near.remote.map(|ends| ends.rtp)),
            Carries::Rtcp => (near.local.rtcp, near.remote.map(|ends| ends.rtcp)),
        };
        Flow {
            id,
            gate: Gate::Open,
            ingress: Ingress {
                realm,
                local,
                carries,
                source: remote.map_or(Source::Latch(Latch::default()), Source::Only),
                unprotect: keys.leg(realm).map(|keys| {
                    let marks = marks.map(Marks::unprotect).unwrap_or_default();
                    crypto(keys.suite, &keys.receive, marks)
                }),
                expect: None,
            },
            egress: Egress {
                realm: far_realm,
                rtp: rtp_path(session, far_realm),
                rtcp: rtcp_path(session, far_realm),
                protect: keys.leg(far_realm).map(|keys| {
                    let marks = marks.map(Marks::protect).unwrap_or_default();
                    crypto(keys.suite, &keys.send, marks)
                }),
                dscp: None,
            },
        }
    };
    Some(arrivals(session).map(flow).collect())
}

/// What a session's flows did.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Counters {
    pub(crate) access_to_core: Direction,
    pub(crate) core_to_access: Direction,
    pub(crate) latched: Latched,
}

/// What the flows of one direction did together.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Direction {
    pub(crate) packets_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) packets_out: u64,
    pub(crate) bytes_out: u64,
    #[serde(serialize_with = "crate::http::answer::refusals")]
    pub(crate) refused: Refusals,
}

/// The peers that were latched.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Latched {
    pub(crate) access: Option<SocketAddr>,
    pub(crate) access_rtcp: Option<SocketAddr>,
    pub(crate) core: Option<SocketAddr>,
    pub(crate) core_rtcp: Option<SocketAddr>,
}

/// Adds up what the flows of a session did.
pub(crate) fn counters(session: &Session, flows: &[FlowStatistics]) -> Counters {
    let mut counters = Counters::default();
    for (realm, carries) in arrivals(session) {
        let id = flow_id(session, realm, carries);
        let Some(flow) = flows.iter().find(|flow| flow.id == id) else {
            continue;
        };
        let (direction, rtp, rtcp) = match realm {
            Realm::Access => (
                &mut counters.access_to_core,
                &mut counters.latched.access,
                &mut counters.latched.access_rtcp,
            ),
            Realm::Core => (
                &mut counters.core_to_access,
                &mut counters.latched.core,
                &mut counters.latched.core_rtcp,
            ),
        };
        direction.packets_in += flow.packets_in;
        direction.bytes_in += flow.bytes_in;
        direction.packets_out += flow.packets_out;
        direction.bytes_out += flow.bytes_out;
        direction.refused.add(&flow.refused);
        if carries != Carries::Rtcp {
            *rtp = flow.latched;
        }
        if carries != Carries::Rtp {
            *rtcp = flow.latched;
        }
    }
    counters
}

/// What arrives for a session and where: one flow each.
fn arrivals(session: &Session) -> impl Iterator<Item = (Realm, Carries)> {
    Realm::ALL.into_iter().flat_map(|realm| {
        let carries: &[Carries] = if session.leg(realm).is_muxed() {
            &[Carries::Muxed]
        } else {
            &[Carries::Rtp, Carries::Rtcp]
        };
        carries.iter().map(move |carries| (realm, *carries))
    })
}

fn flow_id(session: &Session, realm: Realm, carries: Carries) -> FlowId {
    session.id.flow(match (realm, carries) {
        (Realm::Access, Carries::Rtp | Carries::Muxed) => 0,
        (Realm::Access, Carries::Rtcp) => 1,
        (Realm::Core, Carries::Rtp | Carries::Muxed) => 2,
        (Realm::Core, Carries::Rtcp) => 3,
    })
}

/// The way of RTP out of a leg.
fn rtp_path(session: &Session, realm: Realm) -> Path {
    let leg = session.leg(realm);
    Path {
        local: leg.local.rtp,
        remote: leg.remote.map_or_else(
            || Remote::Latched(flow_id(session, realm, Carries::Rtp)),
            |ends| Remote::Fixed(ends.rtp),
        ),
    }
}

/// The way of RTCP out of a leg: that of RTP when the leg multiplexes.
fn rtcp_path(session: &Session, realm: Realm) -> Path {
    let leg = session.leg(realm);
    if leg.is_muxed() {
        return rtp_path(session, realm);
    }
    Path {
        local: leg.local.rtcp,
        remote: leg.remote.map_or_else(
            || Remote::Latched(flow_id(session, realm, Carries::Rtcp)),
            |ends| Remote::Fixed(ends.rtcp),
        ),
    }
}

fn crypto(suite: sallyport_flow::Suite, key: &Key, marks: Vec<Mark>) -> Crypto {
    Crypto {
        suite,
        keys: vec![MasterKey::new(key.secret.clone())],
        lifetime: key.lifetime,
        replay_window: 0,
        key_derivation_rate: None,
        unencrypted_srtcp: false,
        marks,
    }
}

const fn opposite(realm: Realm) -> Realm {
    match realm {
        Realm::Access => Realm::Core,
        Realm::Core => Realm::Access,
    }
}

#[cfg(test)]
mod tests {
    use sallyport_flow::{Reason, Secret, Suite};

    use super::*;
    use crate::session::{Ends, Keys, Leg, Profile};

    const SUITE: Suite = Suite::AeadAes128Gcm;
    const RECEIVE: u8 = 1;
    const SEND: u8 = 2;

    fn ends(rtp: &str, rtcp: &str) -> Ends {
        Ends {
            rtp: rtp.parse().unwrap(),
            rtcp: rtcp.parse().unwrap(),
        }
    }

    /// SRTP on the access side, muxed or not, from a peer that is known or not; plain RTP on two
    /// ports on the core side.
    fn session(is_muxed: bool, is_known: bool) -> Session {
        let rtcp = |rtp, own| if is_muxed { rtp } else { own };
        Session {
            id: "00000000000a0000".parse().unwrap(),
            name: None,
            access: Leg {
                profile: Profile::Savp(SUITE),
                local: ends(
                    "192.0.2.1:40000",
                    rtcp("192.0.2.1:40000", "192.0.2.1:40001"),
                ),
                remote: is_known
                    .then(|| ends("192.0.2.7:5004", rtcp("192.0.2.7:5004", "192.0.2.7:5005"))),
            },
            core: Leg {
                profile: Profile::Avp,
                local: ends("10.0.0.1:41000", "10.0.0.1:41001"),
                remote: Some(ends("10.0.0.9:6000", "10.0.0.9:6001")),
            },
        }
    }

    fn keys() -> SessionKeys {
        let key = |byte| Key {
            secret: Secret::new(vec![byte; SUITE.key_len()]),
            lifetime: Some(u64::from(byte)),
        };
        SessionKeys {
            access: Some(Keys {
                suite: SUITE,
                receive: key(RECEIVE),
                send: key(SEND),
            }),
            core: None,
        }
    }

    /// A flow in one line: id, what arrives where from whom, ways of RTP and RTCP, keys.
    fn line(flow: &Flow) -> String {
        let source = match flow.ingress.source {
            Source::Only(source) => source.to_string(),
            Source::Latch(_) => "any".to_owned(),
        };
        let path = |path: Path| match path.remote {
            Remote::Fixed(remote) => format!("{} > {remote}", path.local),
            Remote::Latched(flow) => format!("{} > latched by {:x}", path.local, flow.0),
        };
        let key =
            |crypto: &Option<Crypto>| crypto.as_ref().map_or(0, |c| c.keys[0].secret.expose()[0]);
        format!(
            "{:x} {:?} {source} > {}, {}, {}, keys {} {}",
            flow.id.0,
            flow.ingress.carries,
            flow.ingress.local,
            path(flow.egress.rtp),
            path(flow.egress.rtcp),
            key(&flow.ingress.unprotect),
            key(&flow.egress.protect),
        )
    }

    #[test]
    fn a_session_has_the_flows_that_its_ports_and_peers_ask_for() {
        let to_core = "10.0.0.1:41000 > 10.0.0.9:6000, 10.0.0.1:41001 > 10.0.0.9:6001, keys 1 0";
        for (is_muxed, is_known, expected) in [
            (
                false,
                true,
                vec![
                    format!("a0000 Rtp 192.0.2.7:5004 > 192.0.2.1:40000, {to_core}"),
                    format!("a0001 Rtcp 192.0.2.7:5005 > 192.0.2.1:40001, {to_core}"),
                    "a0002 Rtp 10.0.0.9:6000 > 10.0.0.1:41000, 192.0.2.1:40000 > 192.0.2.7:5004, \
                     192.0.2.1:40001 > 192.0.2.7:5005, keys 0 2"
                        .to_owned(),
                    "a0003 Rtcp 10.0.0.9:6001 > 10.0.0.1:41001, 192.0.2.1:40000 > 192.0.2.7:5004, \
                     192.0.2.1:40001 > 192.0.2.7:5005, keys 0 2"
                        .to_owned(),
                ],
            ),
            (
                true,
                false,
                vec![
                    format!("a0000 Muxed any > 192.0.2.1:40000, {to_core}"),
                    "a0002 Rtp 10.0.0.9:6000 > 10.0.0.1:41000, 192.0.2.1:40000 > latched by \
                     a0000, 192.0.2.1:40000 > latched by a0000, keys 0 2"
                        .to_owned(),
                    "a0003 Rtcp 10.0.0.9:6001 > 10.0.0.1:41001, 192.0.2.1:40000 > latched by \
                     a0000, 192.0.2.1:40000 > latched by a0000, keys 0 2"
                        .to_owned(),
                ],
            ),
            (
                false,
                false,
                vec![
                    format!("a0000 Rtp any > 192.0.2.1:40000, {to_core}"),
                    format!("a0001 Rtcp any > 192.0.2.1:40001, {to_core}"),
                    "a0002 Rtp 10.0.0.9:6000 > 10.0.0.1:41000, 192.0.2.1:40000 > latched by \
                     a0000, 192.0.2.1:40001 > latched by a0001, keys 0 2"
                        .to_owned(),
                    "a0003 Rtcp 10.0.0.9:6001 > 10.0.0.1:41001, 192.0.2.1:40000 > latched by \
                     a0000, 192.0.2.1:40001 > latched by a0001, keys 0 2"
                        .to_owned(),
                ],
            ),
        ] {
            let session = session(is_muxed, is_known);
            let flows = flows(&session, &keys(), &HashMap::new()).unwrap();
            assert!(flows.len() <= MAX_FLOWS);
            assert_eq!(flows.iter().map(line).collect::<Vec<_>>(), expected);
            assert!(flows.iter().map(|flow| flow.id).eq(flow_ids(&session)));
        }
    }

    #[test]
    fn a_protected_leg_without_its_keys_has_no_flows_at_all() {
        let session = session(false, true);
        assert_eq!(
            flows(&session, &SessionKeys::default(), &HashMap::new()),
            None
        );
    }

    #[test]
    fn each_flow_goes_on_at_its_own_marks() {
        let session = session(true, true);
        let mark = |ssrc| Mark {
            ssrc,
            rtp: Some(9),
            rtcp: None,
        };
        let mut marks = HashMap::<FlowId, Marks>::new();
        for (index, ssrc) in [(0, 10), (2, 20)] {
            marks
                .entry(session.id.flow(index))
                .or_default()
                .learn(&FlowStatistics {
                    unprotect: vec![mark(ssrc)],
                    protect: vec![mark(ssrc + 1)],
                    ..FlowStatistics::default()
                });
        }
        let flows = flows(&session, &keys(), &marks).unwrap();
        assert_eq!(
            flows[0].ingress.unprotect.as_ref().unwrap().marks,
            [mark(10)]
        );
        assert_eq!(flows[1].egress.protect.as_ref().unwrap().marks, [mark(21)]);
        assert_eq!(flows[2].egress.protect.as_ref().unwrap().marks, []);
    }

    #[test]
    fn counters_are_added_up_by_direction_and_latched_peers_named_by_port() {
        let session = session(false, false);
        let peer = Some("192.0.2.99:7000".parse().unwrap());
        let flow = |index, latched| {
            let mut refused = Refusals::default();
            refused.count(Reason::AuthFailed);
            FlowStatistics {
                id: session.id.flow(index),
                packets_in: 10,
                bytes_in: 100,
                packets_out: 9,
                bytes_out: 90,
                refused,
                latched,
                ..FlowStatistics::default()
            }
        };
        let counters = counters(&session, &[flow(0, None), flow(1, peer), flow(2, None)]);
        let there = &counters.access_to_core;
        assert_eq!((there.packets_in, there.bytes_in), (20, 200));
        assert_eq!((there.packets_out, there.bytes_out), (18, 180));
        assert_eq!(there.refused.of(Reason::AuthFailed), 2);
        assert_eq!(counters.core_to_access.packets_in, 10);
        assert_eq!(counters.latched.access, None);
        assert_eq!(counters.latched.access_rtcp, peer);
    }
}
