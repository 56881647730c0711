// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Counters, as they were when asked for. They only grow: from the start of the data plane or the
//! installation of the flow, and the verdicts of the XDP program, which goes on while the data
//! plane restarts, from its first start.

use core::time::Duration;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{FlowId, Mark, Reason};

/// The packets that did not leave, by [`Reason`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Refusals([u64; Reason::COUNT]);

impl Refusals {
    /// Counts one packet.
    #[inline]
    pub const fn count(&mut self, reason: Reason) {
        self.0[reason as usize] += 1;
    }

    /// How many packets did not leave for this reason.
    #[inline]
    pub const fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// How many packets did not leave at all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// How many packets did not leave though they were to: at a closed gate they are not.
    pub fn errors(&self) -> u64 {
        self.total() - self.of(Reason::GateClosed)
    }

    /// Every reason that was counted, with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL
            .into_iter()
            .zip(self.0)
            .filter(|(_, count)| *count != 0)
    }

    /// Adds the counts of another worker.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

/// What one flow did, over all workers.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FlowStatistics {
    /// The flow.
    pub id: FlowId,
    /// Packets that arrived.
    pub packets_in: u64,
    /// Bytes of UDP payload that arrived.
    pub bytes_in: u64,
    /// Packets that were handed to the NIC.
    pub packets_out: u64,
    /// Bytes of UDP payload that were handed to the NIC.
    pub bytes_out: u64,
    /// Packets that did not leave.
    pub refused: Refusals,
    /// How long ago its last packet arrived that was its peer's: that authenticated, or on a plain
    /// flow came from the right source. `None` before the first.
    pub idle: Option<Duration>,
    /// The SSRCs whose RTP packets arrived so, at most [`FlowStatistics::MAX_SSRCS`]; of more,
    /// those with the most packets, and that of the last packet, which is the first here. They leave with the same SSRCs.
    pub ssrcs: Vec<SsrcStatistics>,
    /// The latest sender reports of the peer, at most [`FlowStatistics::MAX_REPORTS`].
    pub sent: Vec<SenderReport>,
    /// The latest report of the peer on each SSRC, at most [`FlowStatistics::MAX_REPORTS`].
    pub received: Vec<ReceptionReport>,
    /// The peer that was latched, if any.
    pub latched: Option<SocketAddr>,
    /// Where the indices of the arriving direction stand, one for each SSRC.
    pub unprotect: Vec<Mark>,
    /// Where the indices of the leaving direction stand, one for each SSRC.
    pub protect: Vec<Mark>,
}

impl FlowStatistics {
    /// How many SSRCs are counted one by one.
    pub const MAX_SSRCS: usize = 4;

    /// How many reports of each kind are kept: a peer answers the latest of the other side, or the
    /// one before.
    pub const MAX_REPORTS: usize = 2;
}

/// The RTP packets of one SSRC in one flow that arrived from the flow's peer, also those that a
/// closed gate did not let pass.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SsrcStatistics {
    /// The synchronisation source.
    pub ssrc: u32,
    /// How many they are.
    pub packets: u64,
    /// Bytes of UDP payload of these, without what SRTP had added.
    pub bytes: u64,
    /// How many there should have been by their sequence numbers (RFC 3550 appendix A.3).
    pub expected: u64,
    /// How many came after one that follows them, or twice.
    pub late: u64,
    /// Interarrival jitter (RFC 3550 section 6.4.1) by now; `None` where no [`Clock`](crate::Clock)
    /// fits, and before the second packet.
    pub jitter: Option<Duration>,
}

impl SsrcStatistics {
    /// How many did not arrive; below 0 when more came twice.
    pub const fn lost(&self) -> i64 {
        self.expected.cast_signed() - self.packets.cast_signed()
    }
}

/// An RTCP sender report, as far as it tells of round trips (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SenderReport {
    /// Who sent it.
    pub ssrc: u32,
    /// Its time: the middle 32 bits of the NTP timestamp.
    pub time: u32,
    /// When it came by, from the start of the data plane on.
    pub at: Duration,
}

/// A block of an RTCP report on reception, as far as it tells of round trips (RFC 3550 section
/// 6.4.1).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReceptionReport {
    /// Who reports.
    pub reporter: u32,
    /// On whom.
    pub ssrc: u32,
    /// The time of the last sender report from there; 0 for none.
    pub last_report: u32,
    /// How long ago that arrived at the reporter, in 65536 parts of a second.
    pub delay: u32,
    /// When the block came by, from the start of the data plane on.
    pub at: Duration,
}

impl ReceptionReport {
    /// The round trip from here to the reporter and back, if this answers a sender report that
    /// came by here.
    pub fn round_trip(&self, sent: &SenderReport) -> Option<Duration> {
        if self.ssrc != sent.ssrc || self.last_report != sent.time || self.last_report == 0 {
            return None;
        }
        let delay = (u64::from(self.delay) * 1_000_000_000) >> 16;
        let elapsed = self.at.checked_sub(sent.at)?;
        elapsed.checked_sub(Duration::from_nanos(delay))
    }
}

/// What the whole data plane did.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Statistics {
    /// The flows that are installed.
    pub flows: u64,
    /// One for each NIC.
    pub nics: Vec<NicStatistics>,
    /// One for each worker.
    pub workers: Vec<WorkerStatistics>,
}

/// What the XDP program decided on one NIC, summed over CPUs.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct NicStatistics {
    /// Its name, such as `eth0`.
    pub name: String,
    /// How packets reach us: `zero copy`, `native copy` or `generic`.
    pub rung: String,
    /// Each verdict's name and how many packets got it.
    pub verdicts: Vec<(String, u64)>,
}

/// What one worker did.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct WorkerStatistics {
    /// The queue it serves on each NIC.
    pub queue: u32,
    /// The processor it is pinned to.
    pub cpu: Option<u32>,
    /// Bursts that it took.
    pub bursts: u64,
    /// Packets that it took.
    pub packets_in: u64,
    /// Packets that it handed to a NIC.
    pub packets_out: u64,
    /// Packets that did not leave.
    pub refused: Refusals,
    /// Where its frames are.
    pub frames: FrameCount,
    /// Its sockets, one for each NIC.
    pub queues: Vec<QueueStatistics>,
}

/// Where the frames of one UMEM are. Between bursts the parts add up to the whole.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FrameCount {
    /// All frames of the UMEM.
    pub total: u32,
    /// With the worker, ready for use.
    pub free: u32,
    /// With the kernel, waiting for or holding arrived packets.
    pub receive: u32,
    /// With the kernel, on the way out.
    pub transmit: u32,
}

impl FrameCount {
    /// Frames that are nowhere; below 0 when some are counted twice. Anything but 0 is a defect.
    pub fn lost(&self) -> i64 {
        let [total, free, receive, transmit] =
            [self.total, self.free, self.receive, self.transmit].map(i64::from);
        total - free - receive - transmit
    }
}

/// The kernel's own counters of one AF_XDP socket (`struct xdp_statistics`,
/// include/uapi/linux/if_xdp.h).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct QueueStatistics {
    /// The NIC.
    pub nic: String,
    /// Dropped for other reasons than an invalid descriptor.
    pub rx_dropped: u64,
    /// Dropped because of invalid descriptors.
    pub rx_invalid_descs: u64,
    /// Sends dropped because of invalid descriptors.
    pub tx_invalid_descs: u64,
    /// Dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// How often the fill ring was empty.
    pub rx_fill_ring_empty_descs: u64,
    /// How often the transmit ring was empty.
    pub tx_ring_empty_descs: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_the_time_between_reports_without_that_at_the_peer() {
        let sent = SenderReport {
            ssrc: 7,
            time: 0x1234_5678,
            at: Duration::from_secs(1),
        };
        let answer = ReceptionReport {
            reporter: 9,
            ssrc: 7,
            last_report: 0x1234_5678,
            delay: 65_536 / 2,
            at: Duration::from_millis(1540),
        };
        assert_eq!(answer.round_trip(&sent), Some(Duration::from_millis(40)));
        let other = |change: fn(&mut ReceptionReport)| {
            let mut answer = answer;
            change(&mut answer);
            answer.round_trip(&sent)
        };
        // On somebody else, to another report, to none, sooner than can be.
        assert_eq!(other(|it| it.ssrc = 8), None);
        assert_eq!(other(|it| it.last_report += 1), None);
        assert_eq!(other(|it| it.last_report = 0), None);
        assert_eq!(other(|it| it.delay = u32::MAX), None);
    }
}
