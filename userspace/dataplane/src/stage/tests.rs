// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets through all stages, without a NIC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sallyport_ebpf::FlowKey;
use sallyport_flow::{Carries, Clock, FlowId, Gate, Reason, Refusals};
use sallyport_srtp::{ContextSet, ContextSets, Job, Kind, Mark, MasterKey, Policy, SetId, Suite};

use super::process_burst;
use crate::burst::{Burst, Fate, MAX_BURST, Packet};
use crate::contexts::{Claim, ContextChange, Contexts, Property, PropertyChange, Take};
use crate::flow_table::{FarEnd, FlowEntry, FlowTable, LatchOn, Latching, SourceFilter, Terms};
use crate::header::{LinkHeader, PathHeader, write_headers};
use crate::next_hop::HopId;
use crate::observed::Observed;
use crate::reception::Clocks;
use crate::state::{Event, Events, HopTable, WorkerState};
use crate::worker::{self, Change, LeftOver, apply};
use crate::xdp::NicId;
use crate::xsk::{FramePool, Received, Umem};

const ACCESS: NicId = NicId(0);
const CORE: NicId = NicId(1);
const UE: &str = "192.0.2.7:5004";
const ACCESS_LOCAL: &str = "192.0.2.1:40000";
const CORE_LOCAL: &str = "198.51.100.1:40000";
const CORE_PEER: &str = "198.51.100.7:6000";
const KEY: [u8; 30] = [0x17; 30];
const NEW_KEY: [u8; 30] = [0x29; 30];
const PCMU: Clock = Clock {
    payload_type: 0,
    rate: 8000,
};
/// The SSRC of [`rtp`] and [`sender_report`].
const SSRC: u32 = 0xcafe_babe;
const LATCH: SourceFilter = SourceFilter::Latch(Latching {
    latched: None,
    told: false,
    signalled: None,
    former: None,
    from: None,
    until: None,
    on: LatchOn::First,
    round: 0,
});

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn key() -> MasterKey {
    MasterKey::new(Suite::AesCm128HmacSha1_80, &KEY).unwrap()
}

fn new_key() -> MasterKey {
    MasterKey::new(Suite::AesCm128HmacSha1_80, &NEW_KEY).unwrap()
}

fn receiver(key: &MasterKey) -> Box<ContextSet> {
    Box::new(ContextSet::receiver(key, Policy::default()))
}

/// Plain RTP arrives and leaves.
const PLAIN: Contexts = Contexts {
    unprotect: None,
    beside: None,
    protect: None,
};

/// Plain RTP arrives and leaves as SRTP.
fn to_be_protected() -> Contexts {
    Contexts {
        protect: Some(Box::new(ContextSet::sender(&key(), Policy::default()))),
        ..PLAIN
    }
}

/// What the owner of a flow gets, with room for everything.
fn property(contexts: Contexts) -> Property {
    Property {
        contexts,
        observed: Observed::room(Carries::Muxed, None),
    }
}

/// A worker, its frames, and the sending peer's crypto contexts.
struct Bed {
    state: WorkerState,
    pool: FramePool,
    frames: usize,
    peer: ContextSets,
    peer_set: SetId,
}

impl Bed {
    /// A worker with one flow, from the access side (SRTP) to the core (RTP), changed by `change`.
    fn new(change: impl FnOnce(&mut FlowEntry)) -> Self {
        Self::with_contexts(
            Contexts {
                unprotect: Some(receiver(&key())),
                ..PLAIN
            },
            change,
        )
    }

    fn with_contexts(contexts: Contexts, change: impl FnOnce(&mut FlowEntry)) -> Self {
        let (_, pool) = Umem::allocate(256).unwrap();
        let mut state = WorkerState {
            worker: 0,
            now: Instant::now(),
            started: Instant::now(),
            flows: FlowTable::with_capacity(8),
            contexts: ContextSets::with_capacity(8),
            hops: HopTable::default(),
            mtu: vec![1500, 1500],
            own: [ACCESS_LOCAL, CORE_LOCAL]
                .map(|own| [address(own).ip()].into_iter().collect())
                .into(),
            events: Arc::new(Events::new(64)),
            refused: Refusals::default(),
            packets_out: 0,
        };
        let hop = HopId::first();
        state
            .hops
            .set(hop, Some(LinkHeader::new([2; 6], [4; 6], &[])));
        let header = PathHeader::new(address(CORE_LOCAL), address(CORE_PEER)).unwrap();
        let far_end = Some(FarEnd { hop, header });
        let local = address(ACCESS_LOCAL);
        let terms = Terms {
            gate: Gate::Open,
            carries: Carries::Muxed,
            source: SourceFilter::Only(address(UE)),
            clocks: Clocks::new(&[PCMU]),
            protected: contexts.unprotect.is_some(),
            protects: contexts.protect.is_some(),
            egress: CORE,
            rtp: far_end,
            rtcp: far_end,
            dscp: None,
        };
        let claim = Arc::new(Claim::new(property(contexts)));
        let mut entry = FlowEntry::new(FlowId(1), FlowKey::new(ACCESS.0, local), terms, claim);
        change(&mut entry);
        state.flows.insert(Box::new(entry));
        let mut peer = ContextSets::with_capacity(1);
        let peer_set = peer.insert(ContextSet::sender(&key(), Policy::default()));
        let frames = pool.len();
        Self {
            state,
            pool,
            frames,
            peer,
            peer_set,
        }
    }

    /// The peer protects with these contexts from now on.
    fn rekey_peer(&mut self, set: ContextSet) {
        self.peer_set = self.peer.insert(set);
    }

    /// Changes the flow as the control side does.
    fn change(&mut self, terms: Option<Terms>, contexts: Option<ContextChange>) -> LeftOver {
        let change = Change {
            id: FlowId(1),
            terms,
            property: contexts.map(|contexts| Box::new(contexts.into())),
        };
        let update = worker::Update {
            change: vec![change],
            ..worker::Update::default()
        };
        apply(&mut self.state, Box::new(update))
    }

    fn entry(&self) -> &FlowEntry {
        self.entry_of(1)
    }

    fn entry_of(&self, id: u64) -> &FlowEntry {
        let slot = self.state.flows.slot_of(FlowId(id)).unwrap();
        self.state.flows.entry(slot).unwrap()
    }

    /// The first flow's packets arrive once more, at a second one that takes them to `core_peer`.
    fn lead_back(&mut self, core_peer: &str, contexts: Contexts) {
        let back = LinkHeader::back([2; 6]);
        self.state.hops.set(HopId::first(), Some(back));
        let (local, to) = (address(CORE_PEER), address(core_peer));
        let hop = if local == to {
            HopId::first()
        } else {
            HopId::unresolved()
        };
        let onward = LinkHeader::new([2; 6], [4; 6], &[]);
        self.state.hops.set(HopId::unresolved(), Some(onward));
        let from = address(CORE_LOCAL);
        let header = PathHeader::new(from, to).unwrap();
        let far_end = Some(FarEnd { hop, header });
        let terms = Terms {
            source: SourceFilter::Only(from),
            protected: false,
            protects: contexts.protect.is_some(),
            rtp: far_end,
            rtcp: far_end,
            ..self.entry().terms.clone()
        };
        let claim = Arc::new(Claim::new(property(contexts)));
        let entry = FlowEntry::new(FlowId(2), FlowKey::new(CORE.0, local), terms, claim);
        self.state.flows.insert(Box::new(entry));
    }

    /// The fates of datagrams from the peer in one burst.
    fn fates(&mut self, payloads: &[Vec<u8>]) -> Vec<Fate> {
        let datagrams: Vec<_> = payloads
            .iter()
            .map(|payload| (UE, ACCESS_LOCAL, payload.clone()))
            .collect();
        let results = self.process(&datagrams);
        results.into_iter().map(|(fate, _)| fate).collect()
    }

    /// What the peer's SRTP stack makes of a packet.
    fn protected(&mut self, kind: Kind, packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 2048];
        frame[256..256 + packet.len()].copy_from_slice(packet);
        let mut jobs = [Job {
            frame: &mut frame,
            start: 256,
            len: packet.len(),
            kind,
            set: self.peer_set,
            outcome: Ok(()),
        }];
        self.peer.protect(&mut jobs);
        let [job] = jobs;
        assert_eq!(job.outcome, Ok(()));
        let (start, len) = (job.start, job.len);
        frame[start..start + len].to_vec()
    }

    /// Puts datagrams through all stages in one burst. Gives each one's fate and, if it leaves,
    /// the whole packet.
    fn process(&mut self, datagrams: &[(&str, &str, Vec<u8>)]) -> Vec<(Fate, Vec<u8>)> {
        let ethernet: Vec<Vec<u8>> = datagrams
            .iter()
            .map(|(from, to, payload)| ethernet(address(from), address(to), payload))
            .collect();
        self.process_raw(&ethernet)
    }

    fn process_raw(&mut self, packets: &[Vec<u8>]) -> Vec<(Fate, Vec<u8>)> {
        let mut burst = Burst::new();
        for packet in packets {
            let mut frame = self.pool.take().unwrap();
            frame.bytes_mut()[256..256 + packet.len()].copy_from_slice(packet);
            let received = Received {
                frame,
                start: 256,
                len: packet.len(),
            };
            burst.push(Packet::new(received, ACCESS));
        }
        let mut results = Vec::new();
        while !burst.is_empty() {
            process_burst(&mut burst, &mut self.state);
            for mut packet in std::mem::take(&mut burst) {
                let bytes = packet.bytes().to_vec();
                match packet.fate {
                    Fate::Onward => {
                        assert_eq!(packet.nic, CORE);
                        self.state.count_sent(packet.flow, packet.payload_len);
                    }
                    Fate::Refused(reason) => self.state.count_refused(packet.flow, reason),
                    Fate::HandedOver(_) => {}
                    Fate::Returned => {
                        self.state.count_passed(packet.flow, packet.payload_len);
                        packet.come_back();
                        burst.push(packet);
                        continue;
                    }
                }
                results.push((packet.fate, bytes));
                self.pool.give(packet.frame);
            }
        }
        assert_eq!(self.pool.len(), self.frames, "a frame is lost");
        results
    }
}

fn ethernet(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let link = LinkHeader::new([6; 6], [8; 6], &[]);
    let path = PathHeader::new(from, to).unwrap();
    let mut frame = vec![0; 128 + payload.len()];
    frame[128..].copy_from_slice(payload);
    let start = write_headers(&mut frame, 128, payload.len(), &link, &path, 0xb9).unwrap();
    frame[start..].to_vec()
}

fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 160, 0xca, 0xfe, 0xba, 0xbe]);
    packet.extend(payload);
    packet
}

fn sender_report() -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6, 0xca, 0xfe, 0xba, 0xbe];
    packet.extend([0x5a; 20]);
    packet
}

/// The UDP payload of a packet that left over IPv4 without VLAN tags.
fn payload(packet: &[u8]) -> &[u8] {
    &packet[14 + 20 + 8..]
}

#[test]
fn srtp_from_the_access_side_leaves_as_the_same_rtp_with_new_headers() {
    let mut bed = Bed::new(|_| {});
    let plain = rtp(7, b"hello, core");
    let srtp = bed.protected(Kind::Rtp, &plain);
    let [(fate, packet)] = &bed.process(&[(UE, ACCESS_LOCAL, srtp)])[..] else {
        panic!()
    };
    assert_eq!(*fate, Fate::Onward);
    assert_eq!(payload(packet), plain);
    // The DSCP stays, the ECN bits do not.
    assert_eq!(packet[15], 0xb8);
    let header = PathHeader::new(address(CORE_LOCAL), address(CORE_PEER)).unwrap();
    let mut expected = vec![0; 100];
    expected.extend(&plain);
    let link = LinkHeader::new([2; 6], [4; 6], &[]);
    let start = write_headers(&mut expected, 100, plain.len(), &link, &header, 0xb8).unwrap();
    assert_eq!(packet[..], expected[start..]);
}

#[test]
fn what_goes_to_our_own_address_arrives_there() {
    let mut bed = Bed::new(|_| {});
    let far = "198.51.100.9:7000";
    bed.lead_back(far, to_be_protected());
    let sent: Vec<_> = (1..=64)
        .map(|sequence| bed.protected(Kind::Rtp, &rtp(sequence, b"hello")))
        .collect();
    let datagrams: Vec<_> = sent
        .iter()
        .map(|packet| (UE, ACCESS_LOCAL, packet.clone()))
        .collect();
    let results = bed.process(&datagrams);
    assert_eq!(results.len(), MAX_BURST);
    for ((fate, packet), sent) in results.iter().zip(&sent) {
        assert_eq!(*fate, Fate::Onward);
        // Under the same key as it came.
        assert_eq!(payload(packet), sent);
        assert_eq!(packet[26..34], [198, 51, 100, 1, 198, 51, 100, 9]);
    }
    for id in [1, 2] {
        let counters = &bed.entry_of(id).counters;
        assert_eq!(counters.packets_in, MAX_BURST as u64);
        assert_eq!(counters.packets_out, MAX_BURST as u64);
    }
    assert_eq!(bed.state.packets_out, MAX_BURST as u64);
    assert_eq!(bed.state.refused.total(), 0);
    // Nobody listens there.
    drop(bed.state.flows.remove(FlowId(2)));
    let packet = bed.protected(Kind::Rtp, &rtp(100, b"hello"));
    assert_eq!(bed.fates(&[packet]), [Fate::Refused(Reason::UnknownFlow)]);
    assert_eq!(bed.entry().counters.refused.total(), 0);
}

#[test]
fn what_comes_from_the_wire_with_our_own_address_is_refused() {
    let ours = "192.0.2.1:40002";
    for source in [SourceFilter::Only(address(ours)), LATCH] {
        let mut bed = Bed::with_contexts(PLAIN, |entry| entry.terms.source = source);
        let results = bed.process(&[(ours, ACCESS_LOCAL, rtp(1, b"hello"))]);
        assert_eq!(results[0].0, Fate::Refused(Reason::SourceFiltered));
        assert_eq!(bed.state.events.try_next(), None);
    }
}

#[test]
fn a_packet_that_would_go_in_a_circle_is_refused() {
    let mut bed = Bed::new(|_| {});
    bed.lead_back(CORE_PEER, PLAIN);
    let packet = bed.protected(Kind::Rtp, &rtp(1, b"hello"));
    assert_eq!(bed.fates(&[packet]), [Fate::Refused(Reason::NoRoute)]);
    assert_eq!(
        bed.entry_of(2).counters.packets_in,
        Packet::MAX_RETURNS.into()
    );
}

#[test]
fn srtcp_leaves_as_the_same_rtcp() {
    let mut bed = Bed::new(|_| {});
    let plain = sender_report();
    let srtcp = bed.protected(Kind::Rtcp, &plain);
    let [(fate, packet)] = &bed.process(&[(UE, ACCESS_LOCAL, srtcp)])[..] else {
        panic!()
    };
    assert_eq!(*fate, Fate::Onward);
    assert_eq!(payload(packet), plain);
}

#[test]
fn rtp_towards_a_protected_leg_never_leaves_in_the_clear() {
    let mut bed = Bed::with_contexts(to_be_protected(), |_| {});
    let plain = rtp(1, b"this is confidential");
    let expected = bed.protected(Kind::Rtp, &plain);
    let again = rtp(1, b"another at one index");
    let results = bed.process(&[(UE, ACCESS_LOCAL, plain), (UE, ACCESS_LOCAL, again)]);
    assert_eq!(results[0].0, Fate::Onward);
    assert_eq!(payload(&results[0].1), expected);
    assert_eq!(results[1].0, Fate::Refused(Reason::Replayed));
}

#[test]
fn what_is_refused_is_refused_for_its_reason() {
    struct Case {
        name: &'static str,
        change: fn(&mut FlowEntry),
        from: &'static str,
        to: &'static str,
        /// Of the SRTP packet that would be good.
        spoil: fn(Vec<u8>) -> Vec<u8>,
        reason: Reason,
    }
    let keep: fn(Vec<u8>) -> Vec<u8> = |packet| packet;
    let good = Case {
        name: "",
        change: |_| {},
        from: UE,
        to: ACCESS_LOCAL,
        spoil: keep,
        reason: Reason::Malformed,
    };
    let cases = [
        Case {
            name: "a port without a flow",
            to: "192.0.2.1:40002",
            reason: Reason::UnknownFlow,
            ..good
        },
        Case {
            name: "another sender than the peer",
            from: "192.0.2.8:5004",
            reason: Reason::SourceFiltered,
            ..good
        },
        Case {
            name: "an empty datagram",
            spoil: |_| Vec::new(),
            ..good
        },
        Case {
            name: "eleven bytes",
            spoil: |packet| packet[..11].to_vec(),
            ..good
        },
        Case {
            name: "RTP on the RTCP port",
            change: |entry| entry.terms.carries = Carries::Rtcp,
            ..good
        },
        Case {
            name: "RTCP on the RTP port",
            change: |entry| entry.terms.carries = Carries::Rtp,
            spoil: |mut packet| {
                packet[1] = 200;
                packet
            },
            ..good
        },
        Case {
            name: "one flipped bit",
            spoil: |mut packet| {
                packet[14] ^= 1;
                packet
            },
            reason: Reason::AuthFailed,
            ..good
        },
        Case {
            name: "a peer that is not known yet",
            change: |entry| entry.terms.rtp = None,
            reason: Reason::NoRoute,
            ..good
        },
        Case {
            name: "a next hop that is not resolved",
            change: |entry| {
                let header = PathHeader::new(address(CORE_LOCAL), address(CORE_PEER)).unwrap();
                entry.terms.rtp = Some(FarEnd {
                    hop: HopId::unresolved(),
                    header,
                });
            },
            reason: Reason::NoRoute,
            ..good
        },
    ];
    for case in cases {
        let mut bed = Bed::new(case.change);
        let srtp = bed.protected(Kind::Rtp, &rtp(7, b"hello, core"));
        let spoilt = (case.spoil)(srtp.clone());
        let results = bed.process(&[(case.from, case.to, spoilt)]);
        assert_eq!(results[0].0, Fate::Refused(case.reason), "{}", case.name);
        // Nothing changed: the good packet still gets as far as it can.
        if case.reason == Reason::AuthFailed {
            assert_eq!(bed.process(&[(UE, ACCESS_LOCAL, srtp)])[0].0, Fate::Onward);
        }
    }
}

#[test]
fn a_packet_longer_than_the_way_out_takes_is_too_big() {
    let mut bed = Bed::with_contexts(to_be_protected(), |_| {});
    let fits = 1500 - 28 - 12 - 10;
    let results = bed.process(&[
        (UE, ACCESS_LOCAL, rtp(1, &vec![1; fits])),
        (UE, ACCESS_LOCAL, rtp(2, &vec![1; fits + 1])),
    ]);
    assert_eq!(results[0].0, Fate::Onward);
    assert_eq!(results[1].0, Fate::Refused(Reason::TooBig));
}

#[test]
fn a_protected_flow_latches_only_to_who_authenticates_and_follows_it() {
    let mut bed = Bed::new(|entry| entry.terms.source = LATCH);
    let events = Arc::clone(&bed.state.events);
    let forged = rtp(6, &[0; 40]);
    let first = bed.protected(Kind::Rtp, &rtp(7, b"from here"));
    let second = bed.protected(Kind::Rtp, &rtp(8, b"and now from there"));
    let results = bed.process(&[("192.0.2.66:666", ACCESS_LOCAL, forged)]);
    assert_eq!(results[0].0, Fate::Refused(Reason::AuthFailed));
    assert_eq!(events.try_next(), None);
    bed.process(&[(UE, ACCESS_LOCAL, first)]);
    let latched = |remote| {
        Some(Event::Latched {
            flow: FlowId(1),
            remote: address(remote),
            round: 0,
        })
    };
    assert_eq!(events.try_next(), latched(UE));
    let results = bed.process(&[("192.0.2.9:7000", ACCESS_LOCAL, second)]);
    assert_eq!(results[0].0, Fate::Onward);
    assert_eq!(events.try_next(), latched("192.0.2.9:7000"));
}

#[test]
fn a_plain_flow_latches_to_the_first_packet_for_good_even_within_one_burst() {
    let mut bed = Bed::with_contexts(PLAIN, |entry| {
        entry.terms.source = LATCH;
    });
    let other = "192.0.2.9:7000";
    let results = bed.process(&[
        (UE, ACCESS_LOCAL, rtp(1, b"a")),
        (other, ACCESS_LOCAL, rtp(2, b"b")),
        (UE, ACCESS_LOCAL, rtp(3, b"c")),
    ]);
    let fates: Vec<Fate> = results.iter().map(|(fate, _)| *fate).collect();
    let refused = Fate::Refused(Reason::SourceFiltered);
    assert_eq!(fates, [Fate::Onward, refused, Fate::Onward]);
    assert_eq!(
        bed.process(&[(other, ACCESS_LOCAL, rtp(4, b"d"))])[0].0,
        refused
    );
}

#[test]
fn what_was_latched_is_told_later_if_there_is_no_room_for_events() {
    for contexts in [
        PLAIN,
        Contexts {
            unprotect: Some(receiver(&key())),
            ..PLAIN
        },
    ] {
        let is_plain = contexts.unprotect.is_none();
        let mut bed = Bed::with_contexts(contexts, |entry| entry.terms.source = LATCH);
        let events = Arc::clone(&bed.state.events);
        let other = Event::KeyExpired { flow: FlowId(2) };
        while events.offer(other) {}
        for sequence in 0..3 {
            let mut packet = rtp(sequence, b"a");
            if !is_plain {
                packet = bed.protected(Kind::Rtp, &packet);
            }
            assert_eq!(bed.fates(&[packet]), [Fate::Onward]);
            if sequence == 1 {
                while events.try_next() == Some(other) {}
            }
        }
        let latched = Event::Latched {
            flow: FlowId(1),
            remote: address(UE),
            round: 0,
        };
        assert_eq!(events.try_next(), Some(latched));
        assert_eq!(events.try_next(), None);
    }
}

#[test]
fn a_plain_flow_latches_only_whom_it_may_and_only_in_time() {
    const WINDOW: Duration = Duration::from_secs(10);
    for (from, after, other_port, other_host) in [
        (None, WINDOW, true, true),
        (Some("192.0.2.7/32"), WINDOW, true, false),
        (Some("192.0.2.0/28"), WINDOW, true, true),
        (Some("2001:db8::/32"), WINDOW, false, false),
        (None, WINDOW + Duration::from_millis(1), false, false),
    ] {
        for (source, is_taken) in [
            ("192.0.2.7:7777", other_port),
            ("192.0.2.8:5004", other_host),
        ] {
            let mut bed = Bed::with_contexts(PLAIN, |_| {});
            let mut terms = bed.entry().terms.clone();
            terms.source = SourceFilter::Latch(Latching {
                from: from.map(|net| net.parse().unwrap()),
                until: Some(bed.state.now + WINDOW),
                ..Latching::default()
            });
            bed.change(Some(terms), None);
            bed.state.now += after;
            let fate = bed.process(&[(source, ACCESS_LOCAL, rtp(1, b"a"))])[0].0;
            let expected = if is_taken {
                Fate::Onward
            } else {
                Fate::Refused(Reason::SourceFiltered)
            };
            assert_eq!(fate, expected, "{source} {from:?} {after:?}");
            // Who is latched stays so after the window.
            bed.state.now += WINDOW;
            let fate = bed.process(&[(source, ACCESS_LOCAL, rtp(2, b"b"))])[0].0;
            assert_eq!(fate, expected, "{source} {from:?} {after:?}");
        }
    }
}

#[test]
fn which_packet_latches_a_plain_flow_is_up_to_the_agent() {
    const WATCH: Duration = Duration::from_secs(3);
    let [best, port, host, other] = [UE, "192.0.2.9:5004", "192.0.2.7:7000", "192.0.2.9:7000"];
    // Who sends, one after the other, and who is latched then; what comes after the watch.
    for (on, early, late) in [
        (
            sallyport_flow::LatchOn::Late(WATCH),
            &[(other, true, None), (best, true, None)][..],
            &[(host, true, Some(host)), (best, false, Some(host))][..],
        ),
        (
            sallyport_flow::LatchOn::Best(WATCH),
            &[
                (other, true, Some(other)),
                (port, true, Some(port)),
                (other, false, Some(port)),
                (host, true, Some(host)),
            ],
            &[(best, false, Some(host)), (host, true, Some(host))],
        ),
        (
            sallyport_flow::LatchOn::Best(WATCH),
            &[(best, true, Some(best)), (host, false, Some(best))],
            &[(host, false, Some(best))],
        ),
        (
            sallyport_flow::LatchOn::Last,
            // Not back and forth with every packet.
            &[(best, true, Some(best)), (other, false, Some(best))],
            &[(other, true, Some(other)), (best, false, Some(other))],
        ),
    ] {
        let mut bed = Bed::with_contexts(PLAIN, |_| {});
        let mut terms = bed.entry().terms.clone();
        terms.source = SourceFilter::Latch(Latching {
            signalled: Some(address(UE)),
            on: LatchOn::new(on, bed.state.now),
            ..Latching::default()
        });
        bed.change(Some(terms), None);
        for (packets, after) in [(early, Duration::ZERO), (late, WATCH)] {
            bed.state.now += after;
            for (sequence, (from, passes, latched)) in (1..).zip(packets) {
                let fate = bed.process(&[(*from, ACCESS_LOCAL, rtp(sequence, b"a"))])[0].0;
                assert_eq!(fate == Fate::Onward, *passes, "{on:?} {from}");
                let SourceFilter::Latch(latching) = bed.entry().terms.source else {
                    panic!("{on:?}");
                };
                assert_eq!(latching.latched, latched.map(address), "{on:?} {from}");
            }
        }
    }
}

#[test]
fn a_protected_flow_that_latches_may_still_filter_addresses() {
    let mut bed = Bed::new(|entry| {
        entry.terms.source = SourceFilter::Latch(Latching {
            from: Some("192.0.2.0/29".parse().unwrap()),
            // Of no meaning: authentication tells.
            until: Some(Instant::now()),
            ..Latching::default()
        });
    });
    bed.state.now += Duration::from_secs(1);
    let srtp = bed.protected(Kind::Rtp, &rtp(1, b"a"));
    for (source, fate) in [
        ("192.0.2.9:5004", Fate::Refused(Reason::SourceFiltered)),
        ("192.0.2.6:5004", Fate::Onward),
        ("192.0.2.9:5004", Fate::Refused(Reason::SourceFiltered)),
    ] {
        let results = bed.process(&[(source, ACCESS_LOCAL, srtp.clone())]);
        assert_eq!(results[0].0, fate, "{source}");
    }
}

#[test]
fn a_change_keeps_who_is_latched_unless_the_peer_is_another() {
    let other = "192.0.2.9:7000";
    for (round, from, stays) in [
        (0, None, true),
        (1, None, false),
        (0, Some("192.0.2.9/32"), false),
    ] {
        let mut bed = Bed::with_contexts(PLAIN, |entry| entry.terms.source = LATCH);
        assert_eq!(bed.fates(&[rtp(1, b"a")]), [Fate::Onward]);
        let mut terms = bed.entry().terms.clone();
        terms.source = SourceFilter::Latch(Latching {
            round,
            from: from.map(|net: &str| net.parse().unwrap()),
            ..Latching::default()
        });
        bed.change(Some(terms), None);
        let fate = bed.process(&[(other, ACCESS_LOCAL, rtp(2, b"b"))])[0].0;
        assert_eq!(fate != Fate::Onward, stays, "{round} {from:?}");
    }
}

#[test]
fn a_plain_peer_that_moves_is_not_latched_where_it_was_unless_it_stays_there() {
    const WINDOW: Duration = Duration::from_secs(10);
    const MOVED: &str = "192.0.2.7:5008";
    let refused = Fate::Refused(Reason::SourceFiltered);
    // Where the peer said that it was, and says that it is. A packet from where it was, and one
    // from where it is, so long after. What becomes of the latter, and who is latched.
    for (name, before, now, after, fate, latched) in [
        (
            "it moves",
            Some(UE),
            MOVED,
            Duration::ZERO,
            Fate::Onward,
            MOVED,
        ),
        (
            "it does not, after all",
            Some(UE),
            MOVED,
            WINDOW * 2,
            refused,
            UE,
        ),
        (
            "it said nothing before",
            None,
            MOVED,
            Duration::ZERO,
            refused,
            UE,
        ),
        (
            "it says where it sends from",
            Some(MOVED),
            UE,
            Duration::ZERO,
            refused,
            UE,
        ),
    ] {
        let mut bed = Bed::with_contexts(PLAIN, |_| {});
        let mut terms = bed.entry().terms.clone();
        for (round, signalled) in [(0, before), (1, Some(now))] {
            terms.source = SourceFilter::Latch(Latching {
                signalled: signalled.map(address),
                until: Some(bed.state.now + WINDOW),
                round,
                ..Latching::default()
            });
            bed.change(Some(terms.clone()), None);
            assert_eq!(
                bed.fates(&[rtp(1, b"from there")]),
                [Fate::Onward],
                "{name}"
            );
        }
        bed.state.now += after;
        assert_eq!(bed.fates(&[rtp(2, b"still")]), [Fate::Onward], "{name}");
        let moved = bed.process(&[(MOVED, ACCESS_LOCAL, rtp(3, b"from here"))]);
        assert_eq!(moved[0].0, fate, "{name}");
        let SourceFilter::Latch(latching) = bed.entry().terms.source else {
            panic!()
        };
        assert_eq!(latching.latched, Some(address(latched)), "{name}");
    }
}

#[test]
fn a_closed_gate_refuses_rtp_and_lets_rtcp_pass() {
    let mut bed = Bed::new(|entry| entry.terms.gate = Gate::Closed);
    let [first, second] = [7, 8].map(|sequence| bed.protected(Kind::Rtp, &rtp(sequence, b"held")));
    let report = bed.protected(Kind::Rtcp, &sender_report());
    assert_eq!(
        bed.fates(&[first.clone(), report]),
        [Fate::Refused(Reason::GateClosed), Fate::Onward]
    );
    let mut terms = bed.entry().terms.clone();
    terms.gate = Gate::Open;
    bed.change(Some(terms), None);
    // What was refused at the gate has authenticated: it is not to come again.
    assert_eq!(
        bed.fates(&[first, second]),
        [Fate::Refused(Reason::Replayed), Fate::Onward]
    );
}

#[test]
fn while_keys_are_missing_nothing_passes_and_nobody_is_latched() {
    let mut bed = Bed::with_contexts(PLAIN, |entry| {
        entry.terms.gate = Gate::Locked;
        entry.terms.source = LATCH;
    });
    let fates = bed.fates(&[rtp(7, b"in clear"), sender_report()]);
    assert_eq!(fates, [Fate::Refused(Reason::NoKeys); 2]);
    let SourceFilter::Latch(latching) = bed.entry().terms.source else {
        panic!()
    };
    assert_eq!(latching.latched, None);
}

#[test]
fn a_peer_that_sends_at_a_closed_gate_is_followed() {
    let mut bed = Bed::new(|entry| {
        entry.terms.gate = Gate::Closed;
        entry.terms.source = LATCH;
    });
    bed.state.now += Duration::from_mins(20);
    for sequence in 0..=u16::MAX {
        let held = bed.protected(Kind::Rtp, &rtp(sequence, b"held"));
        assert_eq!(bed.fates(&[held]), [Fate::Refused(Reason::GateClosed)]);
    }
    assert_eq!(bed.entry().counters.last, Some(bed.state.now));
    let latched = Event::Latched {
        flow: FlowId(1),
        remote: address(UE),
        round: 0,
    };
    assert_eq!(bed.state.events.try_next(), Some(latched));
    let mut terms = bed.entry().terms.clone();
    terms.gate = Gate::Open;
    bed.change(Some(terms), None);
    let next = bed.protected(Kind::Rtp, &rtp(0, b"after the hold"));
    assert_eq!(bed.fates(&[next]), [Fate::Onward]);
}

#[test]
fn the_receiver_follows_after_a_closed_gate_however_many_packets_did_not_pass() {
    let mut bed = Bed::with_contexts(to_be_protected(), |_| {});
    let mut far = ContextSets::with_capacity(1);
    let far_set = far.insert(*receiver(&key()));
    let mut open = bed.entry().terms.clone();
    for turn in 0..2 {
        open.gate = Gate::Closed;
        bed.change(Some(open.clone()), None);
        for sequence in 0..=u16::MAX {
            let held = bed.fates(&[rtp(sequence, b"held")]);
            assert_eq!(held, [Fate::Refused(Reason::GateClosed)]);
        }
        open.gate = Gate::Open;
        bed.change(Some(open.clone()), None);
        let plain = rtp(turn, b"after the hold");
        let (_, packet) = bed.process(&[(UE, ACCESS_LOCAL, plain)]).remove(0);
        let srtp = payload(&packet);
        let mut frame = vec![0; 2048];
        frame[256..][..srtp.len()].copy_from_slice(srtp);
        let mut job = [Job::new(&mut frame, 256, srtp.len(), Kind::Rtp, far_set)];
        far.unprotect(&mut job);
        assert_eq!(job[0].outcome, Ok(()));
    }
}

#[test]
fn rtp_and_rtcp_leave_by_ways_of_their_own_also_over_another_ip_version() {
    let ways = [
        ("198.51.100.1:40000", "198.51.100.7:6000"),
        ("198.51.100.1:40001", "198.51.100.7:6001"),
        ("[2001:db8::1]:40000", "[2001:db8::7]:6000"),
        ("[2001:db8::1]:40001", "[2001:db8::7]:6001"),
    ];
    for [rtp_way, rtcp_way] in [[0, 0], [0, 1], [2, 2], [2, 3]].map(|way| way.map(|at| ways[at])) {
        let hop = HopId::first();
        let header = |(from, to)| PathHeader::new(address(from), address(to)).unwrap();
        let far_end = |way| {
            Some(FarEnd {
                hop,
                header: header(way),
            })
        };
        let mut bed = Bed::new(|entry| {
            entry.terms.rtp = far_end(rtp_way);
            entry.terms.rtcp = far_end(rtcp_way);
            entry.terms.dscp = Some(10);
        });
        let plain = [rtp(7, b"hello, core"), sender_report()];
        let srtp = bed.protected(Kind::Rtp, &plain[0]);
        let srtcp = bed.protected(Kind::Rtcp, &plain[1]);
        let results = bed.process(&[(UE, ACCESS_LOCAL, srtp), (UE, ACCESS_LOCAL, srtcp)]);
        for ((fate, packet), (plain, way)) in
            results.iter().zip(plain.iter().zip([rtp_way, rtcp_way]))
        {
            let mut expected = vec![0; 100];
            expected.extend(plain);
            let link = LinkHeader::new([2; 6], [4; 6], &[]);
            let len = plain.len();
            let start = write_headers(&mut expected, 100, len, &link, &header(way), 10 << 2);
            assert_eq!(*fate, Fate::Onward);
            assert_eq!(packet[..], expected[start.unwrap()..], "{way:?}");
        }
    }
}

/// Keys stay as they are.
const KEEP: ContextChange = ContextChange {
    unprotect: Take::Same,
    beside: Take::Same,
    protect: Take::Same,
    first_srtcp: 0,
};

/// The peer has offered new keys.
fn expect_new_key() -> ContextChange {
    ContextChange {
        beside: Take::New(receiver(&new_key())),
        ..KEEP
    }
}

/// The new keys are in use, the old ones beside them.
const SWAP: ContextChange = ContextChange {
    unprotect: Take::Other,
    beside: Take::Other,
    ..KEEP
};

/// There is only one set of keys.
const RETIRE: ContextChange = ContextChange {
    beside: Take::Nothing,
    ..KEEP
};

#[test]
fn a_flow_that_is_changed_keeps_its_rollover_counter_and_its_replay_list() {
    let mut bed = Bed::new(|_| {});
    let srtp: Vec<_> = [65_534, 65_535, 0, 1, 2]
        .map(|sequence| bed.protected(Kind::Rtp, &rtp(sequence, b"on and on")))
        .into();
    assert_eq!(bed.fates(&srtp[..3]), [Fate::Onward; 3]);
    let mut terms = bed.entry().terms.clone();
    terms.dscp = Some(46);
    let left = bed.change(Some(terms), Some(KEEP));
    assert!(left.contexts.iter().all(|it| it.unprotect.is_none()));
    let replayed = Fate::Refused(Reason::Replayed);
    assert_eq!(
        bed.fates(&srtp),
        [replayed, replayed, replayed, Fate::Onward, Fate::Onward]
    );
    assert_eq!(bed.entry().counters.packets_in, 8);
}

#[test]
fn only_the_owner_of_a_flow_has_room_for_what_the_peer_tells() {
    let mut bed = Bed::with_contexts(PLAIN, |_| {});
    let observed = |bed: &Bed| bed.entry().counters.observed.clone();
    assert!(observed(&bed).receptions.is_none() && observed(&bed).reports.is_none());
    assert_eq!(bed.fates(&[rtp(1, b"first")]), [Fate::Onward]);
    assert!(observed(&bed).receptions.is_some() && observed(&bed).reports.is_some());
    let mut other = Bed::with_contexts(PLAIN, |entry| {
        entry.claim = Arc::clone(&bed.entry().claim);
    });
    other.state.worker = 1;
    assert_eq!(other.fates(&[rtp(2, b"second")]), [Fate::HandedOver(0)]);
    assert!(observed(&other).receptions.is_none() && observed(&other).reports.is_none());
}

#[test]
fn a_change_brings_the_room_that_it_needs_and_takes_back_what_it_replaces() {
    let mut bed = Bed::with_contexts(PLAIN, |entry| {
        entry.terms.carries = Carries::Rtp;
        entry.claim = Arc::new(Claim::new(Property {
            contexts: PLAIN,
            observed: Observed::room(Carries::Rtp, None),
        }));
    });
    assert_eq!(bed.fates(&[rtp(1, b"first")]), [Fate::Onward]);
    assert!(bed.entry().counters.observed.reports.is_none());
    for is_needed in [true, false] {
        let before = bed.entry().terms.carries;
        let observed = Observed::room(Carries::Muxed, Some(Carries::Rtp));
        let brought = observed.reports.as_deref().map(std::ptr::from_ref);
        let update = worker::Update {
            change: vec![Change {
                id: FlowId(1),
                terms: Some(Terms {
                    carries: Carries::Muxed,
                    ..bed.entry().terms.clone()
                }),
                property: Some(Box::new(PropertyChange {
                    observed,
                    ..PropertyChange::default()
                })),
            }],
            ..worker::Update::default()
        };
        let left = apply(&mut bed.state, Box::new(update));
        let reports = bed.entry().counters.observed.reports.as_deref();
        assert_eq!(reports.map(std::ptr::from_ref) == brought, is_needed);
        let [change] = &left.update.change[..] else {
            panic!("{left:?}")
        };
        assert_eq!(
            change.terms.as_ref().map(|terms| terms.carries),
            Some(before)
        );
        let room = change.property.as_ref().map(|property| &property.observed);
        assert_eq!(room.is_some_and(|room| room.reports.is_some()), !is_needed);
    }
}

#[test]
fn srtcp_that_comes_from_another_flow_skips_the_indices_of_that() {
    for has_packets in [false, true] {
        let mut bed = Bed::with_contexts(to_be_protected(), |_| {});
        if has_packets {
            assert_eq!(bed.fates(&[rtp(1, b"before")]), [Fate::Onward]);
        }
        let change = ContextChange {
            first_srtcp: 1 << 21,
            ..KEEP
        };
        if has_packets {
            bed.change(None, Some(change));
        } else {
            bed.entry().claim.change(Box::new(change.into())).unwrap();
        }
        let results = bed.process(&[
            (UE, ACCESS_LOCAL, sender_report()),
            (UE, ACCESS_LOCAL, rtp(2, b"after")),
        ]);
        let srtcp = payload(&results[0].1);
        let index = &srtcp[srtcp.len() - 14..][..4];
        assert_eq!(index, (1u32 << 31 | 1 << 21).to_be_bytes());
        assert_eq!(results[1].0, Fate::Onward);
    }
}

#[test]
fn while_contexts_have_changed_and_terms_have_not_nothing_passes_in_the_clear() {
    let protected = Contexts {
        unprotect: Some(receiver(&key())),
        ..PLAIN
    };
    for contexts in [protected, to_be_protected()] {
        let mut bed = Bed::with_contexts(contexts, |entry| entry.terms.source = LATCH);
        let change = ContextChange {
            unprotect: Take::Nothing,
            beside: Take::Nothing,
            protect: Take::Nothing,
            first_srtcp: 0,
        };
        bed.entry().claim.change(Box::new(change.into())).unwrap();
        let refused = Fate::Refused(Reason::UnknownFlow);
        assert_eq!(bed.fates(&[rtp(1, b"a"), sender_report()]), [refused; 2]);
        let mut terms = bed.entry().terms.clone();
        (terms.protected, terms.protects) = (false, false);
        bed.change(Some(terms), None);
        assert_eq!(
            bed.fates(&[rtp(2, b"b"), sender_report()]),
            [Fate::Onward; 2]
        );
    }
}

#[test]
fn no_packet_is_lost_while_old_and_new_keys_are_in_use() {
    let mut bed = Bed::new(|_| {});
    let old_set = bed.peer_set;
    bed.rekey_peer(ContextSet::sender(&new_key(), Policy::default()));
    let new_set = bed.peer_set;
    let mut base = 0;
    // From an offer of new keys to the end of the old ones: those that the peer uses.
    for (step, change, peer) in [
        ("before the offer", None, [old_set, old_set]),
        ("offered", Some(expect_new_key()), [old_set, new_set]),
        ("answered", Some(SWAP), [new_set, old_set]),
        ("retired", Some(RETIRE), [new_set, new_set]),
    ] {
        bed.change(None, change);
        base += 100;
        let burst: Vec<_> = (0..16)
            .map(|number| {
                bed.peer_set = peer[usize::from(number % 2)];
                if number % 8 > 5 {
                    return bed.protected(Kind::Rtcp, &sender_report());
                }
                bed.protected(Kind::Rtp, &rtp(base + number, &[7; 160]))
            })
            .collect();
        assert_eq!(bed.fates(&burst), [Fate::Onward; 16], "{step}");
        let replayed = [Fate::Refused(Reason::Replayed); 16];
        assert_eq!(bed.fates(&burst), replayed, "{step}");
        for mut forged in burst {
            forged[20] ^= 1;
            let fate = bed.fates(&[forged])[0];
            let refused = [Reason::AuthFailed, Reason::Replayed].map(Fate::Refused);
            assert!(refused.contains(&fate), "{step}: {fate:?}");
        }
    }
    bed.peer_set = old_set;
    let late = bed.protected(Kind::Rtp, &rtp(9_000, b"too late"));
    assert_eq!(bed.fates(&[late]), [Fate::Refused(Reason::AuthFailed)]);
}

#[test]
fn keys_whose_offer_was_refused_are_not_taken_any_more() {
    let mut bed = Bed::new(|_| {});
    let old_set = bed.peer_set;
    bed.change(None, Some(expect_new_key()));
    // No worker had the flow yet, so no contexts changed: the control side does that.
    assert!(bed.entry().owned.is_none());
    let first = bed.protected(Kind::Rtp, &rtp(1, b"a"));
    assert_eq!(bed.fates(&[first]), [Fate::Onward]);
    bed.change(None, Some(expect_new_key()));
    bed.rekey_peer(ContextSet::sender(&new_key(), Policy::default()));
    let early = bed.protected(Kind::Rtp, &rtp(2, b"b"));
    assert_eq!(bed.fates(&[early]), [Fate::Onward]);
    let left = bed.change(None, Some(RETIRE));
    assert!(left.contexts[0].beside.is_some());
    let late = bed.protected(Kind::Rtp, &rtp(3, b"c"));
    bed.peer_set = old_set;
    let good = bed.protected(Kind::Rtp, &rtp(4, b"d"));
    assert_eq!(
        bed.fates(&[late, good]),
        [Fate::Refused(Reason::AuthFailed), Fate::Onward]
    );
}

#[test]
fn under_new_keys_the_rollover_counter_may_go_on_or_start_anew() {
    /// Where the stream stands when keys change: in its third turn, shortly before the fourth.
    const MARK: Mark = Mark {
        ssrc: SSRC,
        rtp: Some(3 * 65_536 - 2),
        rtcp: None,
    };
    const EITHER: [bool; 2] = [true, false];
    for (goes_on, is_late) in EITHER
        .into_iter()
        .flat_map(|it| EITHER.map(|is_late| (it, is_late)))
    {
        for srtcp_first in EITHER {
            let mut old = receiver(&key());
            old.resume(&[MARK]).unwrap();
            let contexts = Contexts {
                unprotect: Some(old),
                ..PLAIN
            };
            let mut bed = Bed::with_contexts(contexts, |_| {});
            let mut peer = ContextSet::sender(&key(), Policy::default());
            peer.resume(&[MARK]).unwrap();
            bed.rekey_peer(peer);
            let last = bed.protected(Kind::Rtp, &rtp(65_535, b"under the old key"));
            assert_eq!(bed.fates(std::slice::from_ref(&last)), [Fate::Onward]);
            bed.change(None, Some(expect_new_key()));
            if is_late {
                // The peer is silent until its old key has retired.
                bed.change(None, Some(SWAP));
                bed.change(None, Some(RETIRE));
            }
            let mut peer = ContextSet::sender(&new_key(), Policy::default());
            if goes_on {
                peer.resume(&[MARK]).unwrap();
            }
            bed.rekey_peer(peer);
            let at = format!("goes on: {goes_on}, late: {is_late}, SRTCP first: {srtcp_first}");
            if srtcp_first {
                let report = bed.protected(Kind::Rtcp, &sender_report());
                assert_eq!(bed.fates(&[report]), [Fate::Onward], "{at}");
            }
            let next: Vec<_> = (0..64)
                .map(|sequence| bed.protected(Kind::Rtp, &rtp(sequence, b"under the new key")))
                .collect();
            assert_eq!(bed.fates(&next), [Fate::Onward; 64], "{at}");
            let replayed = [Fate::Refused(Reason::Replayed); 64];
            assert_eq!(bed.fates(&next), replayed, "{at}");
            let reason = if is_late {
                Reason::AuthFailed
            } else {
                Reason::Replayed
            };
            assert_eq!(bed.fates(&[last]), [Fate::Refused(reason)], "{at}");
        }
    }
}

#[test]
fn the_rollover_counter_goes_on_whatever_the_old_keys_are_refused_for() {
    const MARK: Mark = Mark {
        ssrc: SSRC,
        rtp: Some(3 * 65_536 - 2),
        rtcp: None,
    };
    let spent = Policy {
        lifetime: MARK.rtp,
        ..Policy::default()
    };
    let named = key().with_mki(&[1, 2, 3, 4]).unwrap();
    for (name, old, policy) in [
        ("an unknown MKI", named, Policy::default()),
        ("the end of their life", key(), spent),
    ] {
        for is_old_first in [true, false] {
            let mut old = Box::new(ContextSet::receiver(&old, policy));
            old.resume(&[MARK]).unwrap();
            let (old, new) = (Some(old), Some(receiver(&new_key())));
            let (unprotect, beside) = if is_old_first { (old, new) } else { (new, old) };
            let contexts = Contexts {
                unprotect,
                beside,
                protect: None,
            };
            let mut bed = Bed::with_contexts(contexts, |_| {});
            let mut peer = ContextSet::sender(&new_key(), Policy::default());
            peer.resume(&[MARK]).unwrap();
            bed.rekey_peer(peer);
            let next = [65_535, 0].map(|sequence| bed.protected(Kind::Rtp, &rtp(sequence, b"on")));
            let at = format!("{name}, old first: {is_old_first}");
            assert_eq!(bed.fates(&next), [Fate::Onward; 2], "{at}");
        }
    }
}

#[test]
fn statistics_count_packets_bytes_ssrcs_and_errors_and_tell_how_long_it_has_been_silent() {
    let mut bed = Bed::new(|_| {});
    let start = bed.state.now;
    let update = worker::Update {
        remove: vec![FlowId(1)],
        ..worker::Update::default()
    };
    let mut other = rtp(1, &[7; 20]);
    other[8..12].copy_from_slice(&7u32.to_be_bytes());
    let good = [
        bed.protected(Kind::Rtp, &rtp(1, &[7; 160])),
        bed.protected(Kind::Rtp, &rtp(2, &[7; 160])),
        bed.protected(Kind::Rtp, &other),
        bed.protected(Kind::Rtcp, &sender_report()),
    ];
    assert_eq!(bed.fates(&good), [Fate::Onward; 4]);
    bed.state.now += Duration::from_mins(1);
    let mut forged = bed.protected(Kind::Rtp, &rtp(3, &[7; 160]));
    forged[30] ^= 1;
    assert_eq!(
        bed.fates(&[forged]),
        [Fate::Refused(Reason::AuthFailed)],
        "what does not authenticate is neither a sign of life nor expected"
    );
    let counters = &bed.entry().counters;
    assert_eq!(counters.last, Some(start));

    let removed = apply(&mut bed.state, Box::new(update));
    let [statistics] = &removed.statistics[..] else {
        panic!()
    };
    let bytes: usize = good.iter().map(Vec::len).sum();
    assert_eq!(statistics.packets_in, 5);
    assert_eq!(statistics.bytes_in, (bytes + 12 + 160 + 10) as u64);
    assert_eq!(statistics.packets_out, 4);
    assert_eq!(statistics.bytes_out, (bytes - 3 * 10 - 14) as u64);
    assert_eq!(statistics.refused.of(Reason::AuthFailed), 1);
    assert_eq!(statistics.refused.total(), 1);
    let ssrcs: Vec<_> = statistics
        .ssrcs
        .iter()
        .map(|it| (it.ssrc, it.packets, it.bytes, it.expected))
        .collect();
    assert_eq!(ssrcs, [(7, 1, 32, 1), (SSRC, 2, 344, 2)]);
    assert!(statistics.idle.is_some());
    assert!(removed.contexts[0].unprotect.is_some());
}

#[test]
fn a_flow_of_another_worker_is_handed_over_untouched() {
    let mut bed = Bed::new(|_| {});
    let claim = Arc::clone(&bed.entry().claim);
    drop(claim.claim(3).unwrap());
    let packet = ethernet(address(UE), address(ACCESS_LOCAL), &rtp(1, b"x"));
    let results = bed.process_raw(std::slice::from_ref(&packet));
    assert_eq!(results[0], (Fate::HandedOver(3), packet));
}

#[test]
fn a_packet_that_lies_about_its_length_is_malformed() {
    let good = ethernet(address(UE), address(ACCESS_LOCAL), &rtp(1, &[0; 30]));
    for udp_len in [0, 7, 8 + 12 + 31, 0xffff] {
        let mut bed = Bed::new(|_| {});
        let mut packet = good.clone();
        packet[38..40].copy_from_slice(&u16::to_be_bytes(udp_len));
        assert_eq!(
            bed.process_raw(&[packet])[0].0,
            Fate::Refused(Reason::Malformed),
            "{udp_len}"
        );
    }
}

#[test]
fn no_packet_allocates_not_even_the_first_of_a_flow_or_one_that_is_refused() {
    let mut bed = Bed::new(|entry| entry.terms.source = LATCH);
    let old_set = bed.peer_set;
    bed.rekey_peer(ContextSet::sender(&new_key(), Policy::default()));
    let new_set = bed.peer_set;
    for round in 0..3 {
        if round == 1 {
            // Half under new keys, half under old.
            bed.change(None, Some(expect_new_key()));
        }

        let mut burst = Burst::new();
        for number in 0..MAX_BURST {
            let sequence = u16::try_from(round * MAX_BURST + number).unwrap();
            bed.peer_set = if round > 0 && number % 2 == 0 {
                new_set
            } else {
                old_set
            };
            let mut srtp = bed.protected(Kind::Rtp, &rtp(sequence, &[7; 160]));
            // Every fourth one is forged.
            srtp[20] ^= u8::from(number % 4 == 3);
            let packet = ethernet(address(UE), address(ACCESS_LOCAL), &srtp);
            let mut frame = bed.pool.take().unwrap();
            frame.bytes_mut()[256..256 + packet.len()].copy_from_slice(&packet);
            let received = Received {
                frame,
                start: 256,
                len: packet.len(),
            };
            burst.push(Packet::new(received, ACCESS));
        }
        let allocated = allocation_counter::measure(|| process_burst(&mut burst, &mut bed.state));
        assert_eq!(allocated.count_total, 0, "round {round}");
        let left = burst.iter().filter(|packet| packet.goes_on()).count();
        assert_eq!(left, MAX_BURST / 4 * 3);
        burst
            .drain(..)
            .for_each(|packet| bed.pool.give(packet.frame));
    }
}

/// A few million packets, cut short or random, at every stage: none leaves, nothing panics, every
/// frame comes back (checked by the bed after each burst).
#[test]
fn truncated_and_random_packets_neither_crash_nor_lose_a_frame() {
    const PACKETS: usize = 2_000_000;
    let mut bed = Bed::new(|entry| entry.terms.source = LATCH);
    let srtp = bed.protected(Kind::Rtp, &rtp(7, &[0x5a; 100]));
    let good = ethernet(address(UE), address(ACCESS_LOCAL), &srtp);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut burst = Burst::new();
    for _ in 0..PACKETS / MAX_BURST {
        while !burst.is_full() {
            let mut frame = bed.pool.take().unwrap();
            let bytes = &mut frame.bytes_mut()[256..256 + good.len()];
            bytes.copy_from_slice(&good);
            let len = match random.below(3) {
                // Cut short, somewhere.
                0 => random.below(good.len()),
                // Noise from some place on; in front of it all is well, so that it gets far.
                1 => {
                    let from = random.below(good.len());
                    bytes[from..]
                        .iter_mut()
                        .for_each(|byte| *byte = random.byte());
                    good.len()
                }
                // One bit anywhere behind the Ethernet addresses, which nobody looks at.
                _ => {
                    let place = 12 + random.below(good.len() - 12);
                    bytes[place] ^= 1 << random.below(8);
                    good.len()
                }
            };
            burst.push(Packet::new(
                Received {
                    frame,
                    start: 256,
                    len,
                },
                ACCESS,
            ));
        }
        process_burst(&mut burst, &mut bed.state);
        for packet in burst.drain(..) {
            // Only bits that neither we nor SRTP look at may be flipped without a refusal: of the
            // IP header those, and the UDP checksum's and the source port's (which latches).
            if packet.fate == Fate::Onward {
                assert_eq!(payload(packet.bytes()), rtp(7, &[0x5a; 100]));
            }
            bed.pool.give(packet.frame);
        }
        assert_eq!(bed.pool.len(), bed.frames);
    }
}

/// A xorshift generator: the same packets in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}
