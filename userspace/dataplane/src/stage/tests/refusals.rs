// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What becomes of packets that do not leave, and of those that are none.

use sallyport_flow::{Carries, Reason};
use sallyport_srtp::Kind;

use super::bed::{
    ACCESS, ACCESS_LOCAL, Bed, CORE_LOCAL, CORE_PEER, LATCH, UE, address, ethernet, payload, rtp,
    to_be_protected,
};

use crate::burst::{Burst, Fate, MAX_BURST, Packet};
use crate::flow_table::{FarEnd, FlowEntry};
use crate::header::PathHeader;
use crate::next_hop::HopId;
use crate::stage::process_burst;
use crate::xsk::Received;

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
