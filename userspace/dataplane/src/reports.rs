// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a peer's RTCP tells of round trips (RFC 3550 section 6.4): when its sender reports came
//! by, and what its receivers answer to those of the other side. Who knows both directions can make
//! a time of it.

use std::time::Duration;

use arrayvec::ArrayVec;
use sallyport_flow::{FlowStatistics, ReceptionReport, SenderReport};

/// The latest reports of a flow's peer.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    /// The oldest first. One SSRC has several when no other takes the room.
    sent: ArrayVec<SenderReport, { FlowStatistics::MAX_REPORTS }>,
    /// One for each SSRC that is reported on.
    received: ArrayVec<ReceptionReport, { FlowStatistics::MAX_REPORTS }>,
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;

impl Reports {
    /// Takes note of an RTCP packet, which may be a compound of several, and when it came: so many
    /// nanoseconds after the data plane started.
    pub fn learn(&mut self, mut rtcp: &[u8], at: u64) {
        let at = Duration::from_nanos(at);
        while let Some([first, kind, l0, l1, s0, s1, s2, s3]) = rtcp.first_chunk() {
            let len = 4 * (usize::from(u16::from_be_bytes([*l0, *l1])) + 1);
            let Some((packet, rest)) = rtcp.split_at_checked(len) else {
                return;
            };
            let ssrc = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
            let blocks = match *kind {
                SENDER_REPORT => {
                    if let Some(time) = word(packet, 10) {
                        let report = SenderReport { ssrc, time, at };
                        push(&mut self.sent, report, |known| known.ssrc == ssrc);
                    }
                    28
                }
                RECEIVER_REPORT => 8,
                _ => packet.len(),
            };
            let blocks = packet.get(blocks..).unwrap_or_default().chunks_exact(24);
            for block in blocks.take(usize::from(first & 0x1f)) {
                self.receive(ssrc, block, at);
            }
            rtcp = rest;
        }
    }

    /// The latest sender reports.
    pub fn sent(&self) -> &[SenderReport] {
        &self.sent
    }

    /// The latest report on each SSRC.
    pub fn received(&self) -> &[ReceptionReport] {
        &self.received
    }

    fn receive(&mut self, reporter: u32, block: &[u8], at: Duration) {
        let [Some(ssrc), Some(last_report), Some(delay)] = [0, 16, 20].map(|at| word(block, at))
        else {
            return;
        };
        self.received.retain(|known| known.ssrc != ssrc);
        let report = ReceptionReport {
            reporter,
            ssrc,
            last_report,
            delay,
            at,
        };
        push(&mut self.received, report, |_| false);
    }
}

/// Adds what is new. If there is no room, it takes the place of the oldest of its own kind, or else
/// of the oldest of all.
fn push<T, const N: usize>(latest: &mut ArrayVec<T, N>, new: T, is_own: impl Fn(&T) -> bool) {
    if latest.is_full() {
        latest.remove(latest.iter().position(is_own).unwrap_or(0));
    }
    latest.push(new);
}

fn word(packet: &[u8], at: usize) -> Option<u32> {
    packet
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A report with blocks about these SSRCs.
    fn report(kind: u8, ssrc: u32, time: u32, about: &[u32]) -> Vec<u8> {
        let mut words = vec![ssrc];
        if kind == SENDER_REPORT {
            words.extend([time >> 16, time << 16, 0, 0, 0]);
        }
        for ssrc in about {
            words.extend([*ssrc, 0, 0, 0, time, 65_536]);
        }
        let count = u8::try_from(about.len()).unwrap();
        let len = u16::try_from(words.len()).unwrap();
        let mut packet = vec![0x80 | count, kind];
        packet.extend(len.to_be_bytes());
        packet.extend(words.into_iter().flat_map(u32::to_be_bytes));
        packet
    }

    #[test]
    fn the_latest_reports_are_kept_whatever_stands_around_them() {
        let mut reports = Reports::default();
        let description = [0x81, 202, 0, 2, 0, 0, 0, 1, 1, 0, 0, 0];
        let first = report(SENDER_REPORT, 1, 0x1234_5678, &[9]);
        reports.learn(&[&first[..], &description].concat(), 1_000_000);
        let second = report(RECEIVER_REPORT, 2, 7, &[9, 8]);
        reports.learn(&[&description[..], &second].concat(), 2_000_000);
        let sent = SenderReport {
            ssrc: 1,
            time: 0x1234_5678,
            at: Duration::from_millis(1),
        };
        assert_eq!(reports.sent(), [sent]);
        let received = [9, 8].map(|ssrc| ReceptionReport {
            reporter: 2,
            ssrc,
            last_report: 7,
            delay: 65_536,
            at: Duration::from_millis(2),
        });
        assert_eq!(reports.received(), received);
    }

    #[test]
    fn of_many_the_latest_are_kept() {
        let mut reports = Reports::default();
        for ssrc in 0..10 {
            reports.learn(&report(SENDER_REPORT, ssrc, ssrc, &[100 + ssrc]), 0);
        }
        let senders: Vec<_> = reports.sent().iter().map(|it| it.ssrc).collect();
        let about: Vec<_> = reports.received().iter().map(|it| it.ssrc).collect();
        assert_eq!((senders, about), (vec![8, 9], vec![108, 109]));
    }

    #[test]
    fn a_report_takes_the_place_of_an_older_one_of_its_sender_first() {
        let mut reports = Reports::default();
        let mut times = |steps: &[(u32, u32)]| -> Vec<_> {
            for (ssrc, time) in steps {
                reports.learn(&report(SENDER_REPORT, *ssrc, *time, &[]), 0);
            }
            let sent = reports.sent().iter();
            sent.map(|it| (it.ssrc, it.time)).collect()
        };
        assert_eq!(times(&[(1, 1), (1, 2), (1, 3)]), [(1, 2), (1, 3)]);
        assert_eq!(times(&[(2, 4)]), [(1, 3), (2, 4)]);
        assert_eq!(times(&[(2, 5), (2, 6)]), [(1, 3), (2, 6)]);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_left(
            noise: Vec<u8>, cut in 0..80_usize, count in 0..32_u8,
        ) {
            let mut reports = Reports::default();
            reports.learn(&noise, 0);
            let mut packet = report(SENDER_REPORT, 1, 2, &[3, 4]);
            packet.truncate(cut);
            if let Some(first) = packet.first_mut() {
                *first = 0x80 | count;
            }
            reports.learn(&packet, 0);
            prop_assert!(reports.received().len() <= FlowStatistics::MAX_REPORTS);
        }
    }
}
