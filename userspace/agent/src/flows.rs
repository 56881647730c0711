// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The flows of a session, and what their counters say about it.
//!
//! Each leg of a stream has a flow for what arrives on its RTP port and one for its RTCP port, or a
//! single one when it multiplexes both. Never do two flows protect the same kind of packet with one
//! key: the RTP flow of a leg that does not multiplex carries only SRTP, its RTCP flow only SRTCP,
//! and those two have session keys and indices of their own (RFC 3711 section 3.2.1); a multiplexed
//! flow carries both. So no two flows can use one key, SSRC and index twice.

use std::net::SocketAddr;
use std::time::Duration;

use sallyport_flow::{
    Carries, Clock, Egress, Flow, FlowId, FlowStatistics, Gate, Ingress, Latch, Path, Realm,
    Refusals, Remote, Source, SsrcStatistics, Update,
};
use serde::Serialize;

use crate::session::{Ends, Session, SessionId};
use crate::stream::{Peer, Stream, StreamLeg};

/// The most flows that one stream has.
pub(crate) const MAX_FLOWS: usize = 4;

/// The flows of a session, in the order of their numbers, without marks.
pub(crate) fn flows(id: SessionId, streams: &[Stream]) -> Vec<Flow> {
    let mut flows: Vec<_> = streams
        .iter()
        .flat_map(|stream| flows_of(id, stream))
        .collect();
    flows.sort_by_key(|flow| flow.id);
    flows
}

/// What turns some flows into others; both in the order of their numbers.
pub(crate) fn update(before: &[Flow], after: &[Flow]) -> Update {
    let mut update = Update::default();
    for flow in before {
        if find(after, flow.id).is_none() {
            update.remove.push(flow.id);
        }
    }
    for flow in after {
        match find(before, flow.id) {
            None => update.install.push(flow.clone()),
            Some(before) if before != flow => update.change.push(flow.clone()),
            Some(_) => {}
        }
    }
    update
}

/// One of some flows that are in the order of their numbers.
pub(crate) fn find(flows: &[Flow], id: FlowId) -> Option<&Flow> {
    let at = flows.binary_search_by_key(&id, |flow| flow.id);
    at.ok().map(|at| &flows[at])
}

fn flows_of(id: SessionId, stream: &Stream) -> impl Iterator<Item = Flow> {
    arrivals(stream).map(move |(side, carries)| {
        let out = if stream.is_echo { side } else { 1 - side };
        let (near, far) = (&stream.legs[side], &stream.legs[out]);
        Flow {
            id: number(id, stream.slot, side, carries),
            gate: if near.has_no_keys(carries) || far.has_no_keys(carries) {
                Gate::Locked
            } else {
                near.gate
            },
            ingress: Ingress {
                realm: near.realm,
                local: end(near.local, carries),
                carries,
                handshakes: near.has_socket(carries),
                source: match near.peer {
                    Peer::Known(ends) => Source::Only(end(ends, carries)),
                    Peer::Learned {
                        signalled,
                        from,
                        window,
                        on,
                        waits,
                        ..
                    } => Source::Latch(Latch {
                        signalled: signalled.map(|ends| end(ends, carries)),
                        from,
                        window,
                        on,
                        waits,
                    }),
                },
                clocks: clocks(near, far, carries),
                unprotect: near.receive.clone(),
                expect: near.expect.clone(),
            },
            egress: Egress {
                realm: far.realm,
                rtp: path(id, stream, out, Carries::Rtp),
                // The way of RTP when the leg multiplexes.
                rtcp: path(
                    id,
                    stream,
                    out,
                    if far.is_muxed() {
                        Carries::Rtp
                    } else {
                        Carries::Rtcp
                    },
                ),
                protect: far.send.clone(),
                dscp: far.dscp,
            },
        }
    })
}

/// How fast timestamps run in what a leg sends: what the other may be sent (RFC 3264 section 5.1),
/// or what else it may be sent itself.
fn clocks(near: &StreamLeg, far: &StreamLeg, carries: Carries) -> Vec<Clock> {
    let mut clocks = Vec::new();
    if carries != Carries::Rtcp {
        for clock in far.clocks.iter().chain(&near.clocks) {
            let is_known = |known: &Clock| known.payload_type == clock.payload_type;
            if clock.rate >= Clock::MIN_RATE && !clocks.iter().any(is_known) {
                clocks.push(*clock);
            }
        }
        clocks.truncate(Ingress::MAX_CLOCKS);
    }
    clocks
}

/// What arrives for a stream, on which side and where: one flow each.
fn arrivals(stream: &Stream) -> impl Iterator<Item = (usize, Carries)> {
    [0, 1].into_iter().flat_map(|side| {
        carried(stream.legs[side].is_muxed())
            .iter()
            .map(move |carries| (side, *carries))
    })
}

/// What the ports of a leg receive, one after the other.
pub(crate) const fn carried(is_muxed: bool) -> &'static [Carries] {
    if is_muxed {
        &[Carries::Muxed]
    } else {
        &[Carries::Rtp, Carries::Rtcp]
    }
}

/// The number of the flow of what arrives on one side of a stream.
pub(crate) fn number(id: SessionId, slot: u16, side: usize, carries: Carries) -> FlowId {
    let rtcp = u16::from(carries == Carries::Rtcp);
    id.flow(4 * slot + if side == 0 { 0 } else { 2 } + rtcp)
}

/// The way out of a leg.
fn path(id: SessionId, stream: &Stream, side: usize, carries: Carries) -> Path {
    let StreamLeg { local, peer, .. } = &stream.legs[side];
    let latched = || Remote::Latched(number(id, stream.slot, side, carries));
    Path {
        local: end(*local, carries),
        remote: match *peer {
            Peer::Known(ends)
            | Peer::Learned {
                signalled: Some(ends),
                is_asymmetric: true,
                ..
            } => Remote::Fixed(end(ends, carries)),
            Peer::Learned { .. } => latched(),
        },
    }
}

/// Where packets of a kind end.
pub(crate) const fn end(ends: Ends, carries: Carries) -> SocketAddr {
    match carries {
        Carries::Rtp | Carries::Muxed => ends.rtp,
        Carries::Rtcp => ends.rtcp,
    }
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
    pub(crate) ssrcs: Vec<SsrcCounters>,
}

/// How the RTP packets of one SSRC arrived.
#[derive(Debug, Serialize)]
pub(crate) struct SsrcCounters {
    ssrc: u32,
    packets: u64,
    bytes: u64,
    /// Below 0 when more came twice.
    lost: i64,
    /// Behind others that they should have been before, or twice.
    late: u64,
    /// `None` when nobody knows the clock of their timestamps.
    jitter_us: Option<u64>,
}

impl From<&SsrcStatistics> for SsrcCounters {
    fn from(counted: &SsrcStatistics) -> Self {
        let micros = |jitter: Duration| u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX);
        Self {
            ssrc: counted.ssrc,
            packets: counted.packets,
            bytes: counted.bytes,
            lost: counted.lost(),
            late: counted.late,
            jitter_us: counted.jitter.map(micros),
        }
    }
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
    let arrivals = Realm::ALL.into_iter().enumerate();
    let arrivals = arrivals.flat_map(|(side, realm)| {
        let carried = carried(session.leg(realm).is_muxed());
        carried.iter().map(move |carries| (side, realm, *carries))
    });
    for (side, realm, carries) in arrivals {
        let id = number(session.id, 0, side, carries);
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
        direction
            .ssrcs
            .extend(flow.ssrcs.iter().map(SsrcCounters::from));
        if carries != Carries::Rtcp {
            *rtp = flow.latched;
        }
        if carries != Carries::Rtp {
            *rtcp = flow.latched;
        }
    }
    counters
}

#[cfg(test)]
mod tests {
    use sallyport_flow::{Crypto, Mark, Reason, Secret, Suite};

    use super::*;
    use crate::marks::FlowMarks;
    use crate::session::{Key, Keys, Leg, Profile, SessionKeys};

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
            let stream = Stream::of_session(&session, &keys());
            let flows = flows(session.id, stream.as_slice());
            assert!(flows.len() <= MAX_FLOWS);
            assert_eq!(flows.iter().map(line).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_protected_leg_without_its_keys_has_no_flows_at_all() {
        let session = session(false, true);
        let keys = SessionKeys::default();
        assert!(Stream::of_session(&session, &keys).is_none());
    }

    #[test]
    fn timestamps_run_as_the_receiver_said_or_else_the_sender() {
        let clock = |payload_type, rate| Clock { payload_type, rate };
        let mut stream = Stream::of_session(&session(false, true), &keys()).unwrap();
        stream.legs[0].clocks = vec![clock(96, 16_000), clock(0, 8000), clock(97, 1)];
        stream.legs[1].clocks = vec![clock(96, 48_000)];
        let flows = flows(SessionId::of(FlowId(0)), &[stream]);
        let clocks: Vec<_> = flows.iter().map(|flow| &flow.ingress.clocks[..]).collect();
        let from_access = [clock(96, 48_000), clock(0, 8000)];
        let from_core = [clock(96, 16_000), clock(0, 8000)];
        assert_eq!(clocks, [&from_access[..], &[], &from_core, &[]]);
    }

    #[test]
    fn each_flow_goes_on_at_its_own_marks() {
        let session = session(true, true);
        let mark = |ssrc| Mark {
            ssrc,
            rtp: Some(9),
            rtcp: None,
        };
        let stream = Stream::of_session(&session, &keys());
        let mut flows = flows(session.id, stream.as_slice());
        let mut marks = FlowMarks::default();
        marks.turn_to(&flows);
        for (index, ssrc) in [(0, 10), (2, 20)] {
            marks.learn(&FlowStatistics {
                id: session.id.flow(index),
                unprotect: vec![mark(ssrc)],
                protect: vec![mark(ssrc + 1)],
                ..FlowStatistics::default()
            });
        }
        for flow in &mut flows {
            marks.put(flow, None);
        }
        assert_eq!(
            flows[0].ingress.unprotect.as_ref().unwrap().marks,
            [mark(10)]
        );
        assert_eq!(flows[1].egress.protect.as_ref().unwrap().marks, [mark(21)]);
        // A key in use is never sent without a mark.
        assert_eq!(flows[2].egress.protect.as_ref().unwrap().marks.len(), 1);
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
                ssrcs: vec![SsrcStatistics {
                    ssrc: 7,
                    packets: 9,
                    expected: 11,
                    ..SsrcStatistics::default()
                }],
                ..FlowStatistics::default()
            }
        };
        let counters = counters(&session, &[flow(0, None), flow(1, peer), flow(2, None)]);
        let there = &counters.access_to_core;
        assert_eq!((there.packets_in, there.bytes_in), (20, 200));
        assert_eq!((there.packets_out, there.bytes_out), (18, 180));
        assert_eq!(there.refused.of(Reason::AuthFailed), 2);
        assert_eq!(there.ssrcs[0].lost, 2);
        assert_eq!(counters.core_to_access.packets_in, 10);
        assert_eq!(counters.latched.access, None);
        assert_eq!(counters.latched.access_rtcp, peer);
    }
}
