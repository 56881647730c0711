// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets through all stages, without a NIC.

use std::net::SocketAddr;
use std::sync::Arc;

use sallyport_ebpf::FlowKey;
use sallyport_flow::{Carries, Event, FlowId, Reason, Refusals};
use sallyport_srtp::{ContextSet, ContextSets, Job, Kind, MasterKey, Policy, SetId, Suite};

use super::process_burst;
use crate::burst::{Burst, Fate, MAX_BURST, Packet};
use crate::flow_table::{
    Claim, Contexts, FarEnd, FlowCounters, FlowEntry, FlowTable, SourceFilter,
};
use crate::header::{LinkHeader, PathHeader, write_headers};
use crate::next_hop::HopId;
use crate::state::{Events, HopTable, WorkerState};
use crate::xdp::NicId;
use crate::xsk::{FramePool, Received, Umem};

const ACCESS: NicId = NicId(0);
const CORE: NicId = NicId(1);
const UE: &str = "192.0.2.7:5004";
const ACCESS_LOCAL: &str = "192.0.2.1:40000";
const CORE_LOCAL: &str = "198.51.100.1:40000";
const CORE_PEER: &str = "198.51.100.7:6000";
const KEY: [u8; 30] = [0x17; 30];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn key() -> MasterKey {
    MasterKey::new(Suite::AesCm128HmacSha1_80, &KEY).unwrap()
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
                unprotect: Some(ContextSet::receiver(&key(), Policy::default())),
                protect: None,
            },
            change,
        )
    }

    fn with_contexts(contexts: Contexts, change: impl FnOnce(&mut FlowEntry)) -> Self {
        let (_, pool) = Umem::allocate(256).unwrap();
        let mut state = WorkerState {
            worker: 0,
            flows: FlowTable::with_capacity(8),
            contexts: ContextSets::with_capacity(8),
            hops: HopTable::default(),
            mtu: vec![1500, 1500],
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
        let mut entry = FlowEntry {
            id: FlowId(1),
            key: FlowKey::new(ACCESS.0, local),
            carries: Carries::Muxed,
            source: SourceFilter::Only(address(UE)),
            protected: contexts.unprotect.is_some(),
            claim: Arc::new(Claim::new(contexts)),
            owned: None,
            egress: CORE,
            rtp: far_end,
            rtcp: far_end,
            dscp: None,
            has_expired: false,
            counters: FlowCounters::default(),
        };
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
        process_burst(&mut burst, &mut self.state);
        let mut results = Vec::new();
        for packet in burst {
            let bytes = packet.bytes().to_vec();
            if packet.fate == Fate::Onward {
                assert_eq!(packet.nic, CORE);
            }
            results.push((packet.fate, bytes));
            self.pool.give(packet.frame);
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
    let protect = Some(ContextSet::sender(&key(), Policy::default()));
    let mut bed = Bed::with_contexts(
        Contexts {
            unprotect: None,
            protect,
        },
        |_| {},
    );
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
            change: |entry| entry.carries = Carries::Rtcp,
            ..good
        },
        Case {
            name: "RTCP on the RTP port",
            change: |entry| entry.carries = Carries::Rtp,
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
            change: |entry| entry.rtp = None,
            reason: Reason::NoRoute,
            ..good
        },
        Case {
            name: "a next hop that is not resolved",
            change: |entry| {
                let header = PathHeader::new(address(CORE_LOCAL), address(CORE_PEER)).unwrap();
                entry.rtp = Some(FarEnd {
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
    let protect = Some(ContextSet::sender(&key(), Policy::default()));
    let mut bed = Bed::with_contexts(
        Contexts {
            unprotect: None,
            protect,
        },
        |_| {},
    );
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
    let mut bed = Bed::new(|entry| entry.source = SourceFilter::Latch(None));
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
        })
    };
    assert_eq!(events.try_next(), latched(UE));
    let results = bed.process(&[("192.0.2.9:7000", ACCESS_LOCAL, second)]);
    assert_eq!(results[0].0, Fate::Onward);
    assert_eq!(events.try_next(), latched("192.0.2.9:7000"));
}

#[test]
fn a_plain_flow_latches_to_the_first_packet_for_good_even_within_one_burst() {
    let mut bed = Bed::with_contexts(Contexts::default(), |entry| {
        entry.source = SourceFilter::Latch(None);
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
fn a_flow_of_another_worker_is_handed_over_untouched() {
    let mut bed = Bed::new(|_| {});
    let slot = bed.state.flows.slot_of(FlowId(1)).unwrap();
    let claim = Arc::clone(&bed.state.flows.entry(slot).unwrap().claim);
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
    let mut bed = Bed::new(|entry| entry.source = SourceFilter::Latch(None));
    for round in 0..3 {
        let mut burst = Burst::new();
        for number in 0..MAX_BURST {
            let sequence = u16::try_from(round * MAX_BURST + number).unwrap();
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
    let mut bed = Bed::new(|entry| entry.source = SourceFilter::Latch(None));
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
