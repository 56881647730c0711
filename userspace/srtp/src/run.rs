// SPDX-License-Identifier: Apache-2.0 OR MIT

//! SRTP packets of one SSRC, each with the index behind that of the one before.
//!
//! Nearly all packets are like that. So a set has a run beside its keys, in the same line of the
//! cache, and what such a packet changes is that the run has become longer: one number. What else
//! there is to say of the packets of a run, that their indices were seen and that the key has
//! protected so many more, is made up for when somebody asks. And whatever has to be asked before
//! a packet is taken, whether the key is spent or indices are used up, was asked when the run
//! began: it has an index to stop at.
//!
//! Where packets are missing the run goes on behind them. It has fewer indices left then than the
//! key has packets, and stops early.
//!
//! Any other packet is judged by the contexts. If it is taken, and of SRTP, a new run begins behind
//! the highest index of its SSRC.

use core::cell::Cell;
use core::ops::Range;

use crate::index::RTP_END;

/// How far a packet may be ahead of the one before it and still be on time: any number below a half
/// of all sequence numbers, which keeps the index nearest to the highest (RFC 3711 section 3.3.1).
const MAX_AHEAD: u16 = 1 << 14;

/// A run of packets.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Run {
    ssrc: Cell<u32>,
    /// One above the highest index of the SSRC.
    end: Cell<u64>,
    /// The first index that the run may not have. 0 if it may have none, as before the first run.
    stop: Cell<u64>,
    /// The packets from here on were not told yet.
    told: Cell<u64>,
}

impl Run {
    /// The index of a packet that is on time: of this SSRC, and ahead of all of its packets by no
    /// more than a few. Until a packet says otherwise, it may be taken.
    #[inline]
    pub(crate) fn index_ahead(&self, ssrc: u32, sequence: u16) -> Option<u64> {
        let end = self.end.get();
        let ahead = sequence.wrapping_sub(sequence_of(end));
        let index = end + u64::from(ahead);
        (ssrc == self.ssrc.get() && ahead < MAX_AHEAD && index < self.stop.get()).then_some(index)
    }

    /// Takes a packet if it is the next one; answers its index.
    #[inline]
    pub(crate) fn take_next(&self, ssrc: u32, sequence: u16) -> Option<u64> {
        let end = self.end.get();
        let is_next =
            ssrc == self.ssrc.get() && sequence == sequence_of(end) && end < self.stop.get();
        is_next.then(|| {
            self.end.set(end + 1);
            end
        })
    }

    /// Takes the packet with this index if it is the next one; says whether it is.
    #[inline]
    pub(crate) fn take(&self, ssrc: u32, index: u64) -> bool {
        let end = self.end.get();
        let is_next = ssrc == self.ssrc.get() && index == end && index < self.stop.get();
        if is_next {
            self.end.set(end + 1);
        }
        is_next
    }

    /// Takes back what [`Self::take_next`] did last, of which nobody was told; answers the SSRC and
    /// the index of that packet.
    #[inline]
    pub(crate) fn give_back(&self) -> (u32, u64) {
        debug_assert!(self.told.get() < self.end.get());
        let index = self.end.get() - 1;
        self.end.set(index);
        (self.ssrc.get(), index)
    }

    /// Takes the packet with this index if it is ahead, and leaves out all in front of it; says
    /// whether it is. The packets before were told.
    pub(crate) fn take_ahead(&self, ssrc: u32, index: u64) -> bool {
        debug_assert_eq!(self.told, self.end);
        let is_ahead =
            ssrc == self.ssrc.get() && index >= self.end.get() && index < self.stop.get();
        if is_ahead {
            self.end.set(index + 1);
            self.told.set(index);
        }
        is_ahead
    }

    /// The SSRC and the indices of the packets that were not told yet, if there are any.
    #[inline]
    pub(crate) fn tell(&self) -> Option<(u32, Range<u64>)> {
        let untold = self.told.replace(self.end.get())..self.end.get();
        (!untold.is_empty()).then(|| (self.ssrc.get(), untold))
    }

    /// Begins anew, behind the highest index of an SSRC, with no more than so many packets. The
    /// packets before were told.
    pub(crate) fn begin(&self, ssrc: u32, end: u64, packets: u64) {
        debug_assert_eq!(self.told, self.end);
        self.ssrc.set(ssrc);
        self.end.set(end);
        self.stop.set(end.saturating_add(packets).min(RTP_END));
        self.told.set(end);
    }

    /// Has no more packets.
    pub(crate) fn stop(&self) {
        self.stop.set(0);
    }
}

/// The sequence number of a packet with this index.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower bits of an index are the sequence number"
)]
#[inline]
fn sequence_of(index: u64) -> u16 {
    index as u16
}
