// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How well a peer's RTP packets arrive: how many are missing, and how evenly the others come.
//!
//! As RFC 3550 has it, with three differences. A source is counted from its first packet on, since
//! whose packet it is is known by then (appendix A.1 waits for a second). Counts go on when the
//! sequence numbers jump, as they do for a sender that starts anew. And only the first packet of a
//! timestamp tells jitter: those of a picture, and those of a key that is held down (RFC 4733
//! section 2.1), are not meant to come at different times.

use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use sallyport_flow::{Clock, FlowStatistics, SsrcStatistics};

/// What of an RTP packet tells how well it arrived (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arrived {
    /// The synchronisation source.
    pub ssrc: u32,
    /// The sequence number.
    pub sequence: u16,
    /// The timestamp.
    pub timestamp: u32,
    /// The payload type.
    pub payload_type: u8,
    /// Its length in bytes.
    pub len: usize,
    /// When it arrived, in nanoseconds from any time on.
    pub at: u64,
}

impl Arrived {
    /// Reads the header of an RTP packet.
    #[inline]
    pub fn parse(packet: &[u8], at: u64) -> Option<Self> {
        let header: &[u8; 12] = packet.first_chunk()?;
        let [_, marked_type, s0, s1, t0, t1, t2, t3, ssrc @ ..] = *header;
        Some(Self {
            ssrc: u32::from_be_bytes(ssrc),
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            payload_type: marked_type & 0x7f,
            len: packet.len(),
            at,
        })
    }
}

/// How fast the timestamps of a flow's payload types run.
#[derive(Clone, Debug, Default)]
pub struct Clocks(Option<Arc<[(u8, Period)]>>);

/// How long a tick lasts, in nanoseconds and 256 parts of them; 0 if nobody knows.
type Period = u32;

impl Clocks {
    /// Those that the agent tells.
    pub fn new(clocks: &[Clock]) -> Self {
        let period = |clock: &Clock| {
            let rate = u64::from(clock.rate.max(1));
            let period = u32::try_from((256_000_000_000 + rate / 2) / rate);
            (clock.payload_type, period.unwrap_or(0))
        };
        Self((!clocks.is_empty()).then(|| clocks.iter().map(period).collect()))
    }

    #[cold]
    fn period(&self, payload_type: u8) -> Period {
        let clocks = self.0.as_deref().unwrap_or_default();
        let found = clocks.iter().find(|(of, _)| *of == payload_type);
        found.map_or(0, |(_, period)| *period)
    }
}

/// The SSRCs of a flow's peer, at most [`FlowStatistics::MAX_SSRCS`]; of more, those with the most
/// packets, and the latest.
#[derive(Clone, Debug, Default)]
pub struct Receptions {
    /// That of the last packet; without packets before the first.
    latest: Reception,
    /// The others.
    others: ArrayVec<Reception, { FlowStatistics::MAX_SSRCS - 1 }>,
}

impl Receptions {
    /// Counts a packet of the peer.
    #[inline]
    pub fn count(&mut self, packet: Arrived, clocks: &Clocks) {
        if self.latest.ssrc != packet.ssrc || self.latest.packets == 0 {
            self.change_ssrc(packet, clocks);
        }
        self.latest.count(packet, clocks);
    }

    /// Has the next packet of each SSRC ask for its clock again: they may have changed.
    pub fn forget_clocks(&mut self) {
        for reception in self.others.iter_mut().chain([&mut self.latest]) {
            reception.payload_type = Reception::NO_TYPE;
        }
    }

    /// What is known by now, first that of the last packet.
    pub fn statistics(&self) -> impl Iterator<Item = SsrcStatistics> {
        let receptions = core::iter::once(&self.latest).chain(&self.others);
        receptions
            .filter(|reception| reception.packets > 0)
            .map(Reception::statistics)
    }

    /// Goes on with another SSRC, which may have been there before. If there is no room for all,
    /// the one with the fewest packets is forgotten, and of several the latest: neither many SSRCs in
    /// turn nor ones that never come twice must push those out that last.
    #[cold]
    fn change_ssrc(&mut self, packet: Arrived, clocks: &Clocks) {
        let known = self.others.iter_mut().find(|it| it.ssrc == packet.ssrc);
        if let Some(known) = known {
            return std::mem::swap(known, &mut self.latest);
        }
        let old = std::mem::replace(&mut self.latest, Reception::before(packet, clocks));
        if old.packets == 0 {
            return;
        }
        let Err(full) = self.others.try_push(old) else {
            return;
        };
        let old = full.element();
        let least = self.others.iter_mut().min_by_key(|it| it.packets);
        if let Some(least) = least.filter(|least| least.packets < old.packets) {
            *least = old;
        }
    }
}

/// How the RTP packets of one SSRC arrive.
#[derive(Clone, Debug, Default)]
struct Reception {
    ssrc: u32,
    /// The timestamp of the last packet that had another than the one before.
    timestamp: u32,
    /// When that arrived.
    at: u64,
    /// 16 times the jitter in nanoseconds (appendix A.8).
    jitter: u64,
    /// Whether there is any yet.
    has_jitter: bool,
    payload_type: u8,
    /// The highest sequence number, around 2^16.
    highest: u16,
    /// What follows on a packet that was far from the others.
    after_jump: Option<u16>,
    /// Of the payload type.
    period: Period,
    late: u32,
    packets: u64,
    bytes: u64,
    expected: u64,
}

impl Reception {
    /// How far sequence numbers may go on at once, and how far back, without a doubt (appendix A.1).
    const MAX_DROPOUT: u16 = 3000;
    /// As far back as a replay list looks, too: what that lets through is late.
    const MAX_MISORDER: u16 = 128;

    /// Of no packet: they have seven bits.
    const NO_TYPE: u8 = u8::MAX;

    /// A timestamp that is this far off the time says nothing: the sender has set its clock.
    const MAX_TRANSIT_CHANGE: u64 = 5_000_000_000;

    /// That of a packet which is yet to be counted.
    fn before(first: Arrived, clocks: &Clocks) -> Self {
        Self {
            ssrc: first.ssrc,
            timestamp: first.timestamp,
            at: first.at,
            payload_type: first.payload_type,
            period: clocks.period(first.payload_type),
            highest: first.sequence.wrapping_sub(1),
            ..Self::default()
        }
    }

    #[inline]
    fn count(&mut self, packet: Arrived, clocks: &Clocks) {
        self.packets += 1;
        self.bytes += packet.len as u64;
        let ahead = packet.sequence.wrapping_sub(self.highest);
        if ahead.wrapping_sub(1) < Self::MAX_DROPOUT {
            self.expected += u64::from(ahead);
            self.highest = packet.sequence;
        } else {
            self.count_odd(packet.sequence, ahead);
        }
        if packet.payload_type != self.payload_type {
            self.change_type(packet, clocks);
        }
        if packet.timestamp != self.timestamp {
            self.time(packet);
        }
    }

    /// Counts a packet that is late, came before, or is far from the others.
    #[cold]
    fn count_odd(&mut self, sequence: u16, ahead: u16) {
        if ahead.wrapping_neg() <= Self::MAX_MISORDER {
            self.late = self.late.saturating_add(1);
        } else if self.after_jump == Some(sequence) {
            // Two in a row: the sender has started anew, with the one before.
            self.expected += 2;
            self.highest = sequence;
            self.after_jump = None;
        } else {
            self.after_jump = Some(sequence.wrapping_add(1));
        }
    }

    #[cold]
    fn change_type(&mut self, packet: Arrived, clocks: &Clocks) {
        self.payload_type = packet.payload_type;
        let period = clocks.period(packet.payload_type);
        if period != self.period {
            // Timestamps by two clocks do not compare.
            self.period = period;
            (self.timestamp, self.at) = (packet.timestamp, packet.at);
        }
    }

    /// Notes how much longer or shorter than the one before a packet was under way (section 6.4.1).
    #[inline]
    fn time(&mut self, packet: Arrived) {
        let ticks = packet.timestamp.wrapping_sub(self.timestamp).cast_signed();
        let media = (i64::from(ticks) * i64::from(self.period)) >> 8;
        let real = packet.at.wrapping_sub(self.at).cast_signed();
        (self.timestamp, self.at) = (packet.timestamp, packet.at);
        let change = real.wrapping_sub(media).unsigned_abs();
        if self.period != 0 && change < Self::MAX_TRANSIT_CHANGE {
            self.jitter = self.jitter + change - ((self.jitter + 8) >> 4);
            self.has_jitter = true;
        }
    }

    fn statistics(&self) -> SsrcStatistics {
        SsrcStatistics {
            ssrc: self.ssrc,
            packets: self.packets,
            bytes: self.bytes,
            expected: self.expected,
            late: self.late.into(),
            jitter: self
                .has_jitter
                .then(|| Duration::from_nanos(self.jitter >> 4)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const PCMU: Clock = Clock {
        payload_type: 0,
        rate: 8000,
    };
    const VIDEO: Clock = Clock {
        payload_type: 96,
        rate: 90_000,
    };

    /// The packet of this number of 20 ms of speech, on time.
    fn speech(number: u16) -> Arrived {
        Arrived {
            ssrc: 7,
            sequence: number,
            timestamp: u32::from(number) * 160,
            payload_type: 0,
            len: 172,
            at: u64::from(number) * 20 * MS,
        }
    }

    fn statistics(packets: impl IntoIterator<Item = Arrived>) -> Vec<SsrcStatistics> {
        let clocks = Clocks::new(&[PCMU, VIDEO]);
        let mut receptions = Receptions::default();
        for packet in packets {
            receptions.count(packet, &clocks);
        }
        receptions.statistics().collect()
    }

    fn only(packets: impl IntoIterator<Item = Arrived>) -> SsrcStatistics {
        let all = statistics(packets);
        assert_eq!(all.len(), 1);
        all[0]
    }

    #[test]
    fn what_is_missing_is_lost_and_what_comes_late_or_twice_is_not() {
        let up_to = |last: u16| (0..=last).collect::<Vec<_>>();
        // 80 and 81 are missing, and follow on the packet that is so far ahead of 81.
        let late_by = |ahead: u16| {
            let on_time = (1..80).chain(82..=81 + ahead);
            on_time.chain([80, 81]).collect::<Vec<_>>()
        };
        for (name, sequences, lost, late) in [
            ("one after the other", up_to(9), 0, 0),
            ("around 2^16", vec![65534, 65535, 0, 1], 0, 0),
            ("one missing", vec![1, 2, 4, 5], 1, 0),
            ("missing around 2^16", vec![65533, 2], 4, 0),
            ("one late", vec![1, 3, 2, 4], 0, 1),
            ("late around 2^16", vec![65535, 1, 0, 2], 0, 1),
            ("one twice", vec![1, 2, 2, 3], -1, 1),
            ("one before the first", vec![10, 9, 11], -1, 1),
            ("as far as is no jump", vec![1, 3001], 2999, 0),
            ("a stray", vec![1, 2, 30_000, 3, 4], -1, 0),
            ("a new start", vec![1, 2, 30_000, 30_001, 30_002], 0, 0),
            ("two late in a row", late_by(119), 0, 2),
            ("as late as a replay list lets pass", late_by(127), 0, 2),
            ("a new start just behind that", late_by(130), 2, 0),
            (
                "a new start with a loss",
                vec![1, 2, 9000, 9001, 9003],
                1,
                0,
            ),
        ] {
            let packets = sequences.into_iter().map(|sequence| Arrived {
                sequence,
                ..speech(0)
            });
            let found = only(packets);
            assert_eq!((found.lost(), found.late), (lost, late), "{name}");
        }
    }

    #[test]
    fn even_packets_have_no_jitter_whatever_their_clock() {
        for (payload_type, step, ms) in [(0, 160, 20), (96, 3000, 33), (96, 90, 1)] {
            let packets = (0..100u16).map(|number| Arrived {
                timestamp: 0xffff_ff00u32.wrapping_add(u32::from(number) * step),
                payload_type,
                at: u64::from(number) * ms * MS,
                ..speech(number)
            });
            let jitter = only(packets).jitter.expect("the clock is known");
            // 30 pictures a second do not come every 33 ms.
            let off = if step == 3000 { 340 } else { 1 };
            assert!(jitter <= Duration::from_micros(off), "{step}: {jitter:?}");
        }
    }

    #[test]
    fn jitter_is_what_rfc_3550_makes_of_it() {
        // Every other packet comes 8 ms late: the difference is 8 ms each time.
        let packets = (0..200u16).map(|number| Arrived {
            at: u64::from(number) * 20 * MS + u64::from(number % 2) * 8 * MS,
            ..speech(number)
        });
        // As in appendix A.8, in floating point.
        let mut expected = 0.0;
        for _ in 1..200 {
            expected += (8.0 - expected) / 16.0;
        }
        let jitter = only(packets).jitter.expect("the clock is known");
        assert!((jitter.as_secs_f64() * 1000.0 - expected).abs() < 0.001);
    }

    #[test]
    fn without_a_clock_there_is_no_jitter_and_with_two_they_are_not_mixed() {
        let unknown = (0..9).map(|number| Arrived {
            payload_type: 97,
            ..speech(number)
        });
        assert_eq!(only(unknown).jitter, None);
        let mixed = (0..100u16).map(|number| {
            let packet = speech(number);
            match number / 10 % 2 {
                0 => packet,
                _ => Arrived {
                    payload_type: 96,
                    timestamp: u32::from(number) * 1800,
                    ..packet
                },
            }
        });
        // A tick of 90 kHz is no whole number of nanoseconds.
        assert!(only(mixed).jitter.expect("both are known") < Duration::from_micros(1));
    }

    #[test]
    fn clocks_that_change_hold_from_the_next_packet_on() {
        let opus = Clock {
            payload_type: 97,
            rate: 48_000,
        };
        let mut receptions = Receptions::default();
        for number in 0..90u16 {
            // What becomes of the payload type was not known at first.
            let clocks = if number < 30 { PCMU } else { opus };
            if number == 30 {
                receptions.forget_clocks();
            }
            let packet = Arrived {
                payload_type: 97,
                timestamp: u32::from(number) * 960,
                ..speech(number)
            };
            receptions.count(packet, &Clocks::new(&[clocks]));
        }
        let found = receptions.statistics().next().expect("an SSRC");
        assert!(found.jitter.expect("a clock") < Duration::from_micros(1));
        assert_eq!(found.packets, 90);
    }

    #[test]
    fn only_the_first_packet_of_a_timestamp_tells_jitter() {
        // A key is held down for 100 ms.
        let packets = (0..30u16).map(|number| Arrived {
            timestamp: match number {
                10..15 => 1600,
                _ => u32::from(number) * 160,
            },
            ..speech(number)
        });
        assert_eq!(only(packets).jitter, Some(Duration::ZERO));
    }

    #[test]
    fn a_sender_that_sets_its_clock_has_no_jitter() {
        let packets = (0..30u16).map(|number| Arrived {
            timestamp: u32::from(number) * 160 + u32::from(number >= 10) * 0x7000_0000,
            ..speech(number)
        });
        assert_eq!(only(packets).jitter, Some(Duration::ZERO));
    }

    #[test]
    fn of_many_ssrcs_those_that_last_are_counted_and_the_latest() {
        let ssrcs = [1, 2, 1, 3, 4, 1, 5, 6, 1];
        let packets = (0..).zip(ssrcs).map(|(number, ssrc)| Arrived {
            ssrc,
            ..speech(number)
        });
        let counts: Vec<_> = statistics(packets)
            .iter()
            .map(|it| (it.ssrc, it.packets, it.bytes))
            .collect();
        assert_eq!(counts, [(1, 4, 688), (6, 1, 172), (4, 1, 172), (3, 1, 172)]);
    }

    #[test]
    fn more_ssrcs_than_are_counted_do_not_hide_what_others_lose() {
        // In turn, of each the same ten missing; then one that never comes twice, each time.
        let rotate = |number: u32| 1000 + number;
        for (name, fifth) in [
            ("five", (|_| 5) as fn(u32) -> u32),
            ("a new one each time", rotate),
        ] {
            let numbers = (0..100u16).filter(|number| !(40..50).contains(number));
            let packets = numbers.flat_map(|number| {
                let fifth = fifth(u32::from(number));
                [1, 2, 3, 4, fifth].map(|ssrc| Arrived {
                    ssrc,
                    at: speech(number).at + u64::from(ssrc),
                    ..speech(number)
                })
            });
            let mut found: Vec<_> = statistics(packets)
                .iter()
                .map(|it| (it.ssrc, it.packets, it.lost()))
                .collect();
            found.sort_unstable();
            assert_eq!(found[..3], [1, 2, 3].map(|ssrc| (ssrc, 90, 10)), "{name}");
        }
    }

    #[test]
    fn jitter_outlasts_a_packet_whose_clock_nobody_knows() {
        let comfort_noise = Arrived {
            payload_type: 13,
            ..speech(9)
        };
        let packets = (0..9).map(speech).chain([comfort_noise]);
        assert_eq!(only(packets).jitter, Some(Duration::ZERO));
    }

    #[test]
    fn an_ssrc_of_zero_is_one_as_well() {
        let packets = (0..3).map(|number| Arrived {
            ssrc: 0,
            ..speech(number)
        });
        let found = only(packets);
        assert_eq!((found.packets, found.lost()), (3, 0));
    }
}
