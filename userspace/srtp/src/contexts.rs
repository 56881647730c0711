// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The SSRCs of one leg in one direction: the highest index and the replay list of each.
//!
//! All memory is taken when the table is made, in one piece, so that a packet of the first SSRC,
//! which is nearly every packet, finds all that it needs in one or two lines of the cache:
//!
//! ```text
//! record  | SSRC, end of SRTCP | end of SRTP | replay list of SRTP .. | of SRTCP .. |
//! ```
//!
//! Each is a row of words of 64 bits. An *end* is one above the highest index seen or sent, 0
//! before the first packet. With the default window a record has 48 bytes.
//!
//! The words are in cells: while a burst holds on to the keys of its packets, each packet may
//! change the state beside them.

use core::cell::Cell;
use core::fmt;

use crate::{Kind, Refusal, ReplayWindow, kernel, replay};

/// Words in front of the replay lists.
const LISTS: u32 = 2;

/// How much of a record is fetched in advance, in bytes: all of it, if the window is the default.
const FETCHED_LEN: usize = 48;

/// A bounded table of SSRCs.
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(crate) struct Contexts {
    /// Searched from the front: a leg has one or two SSRCs, and never more than the limit.
    records: Box<[Cell<u64>]>,
    /// Words of the records in use.
    used: Cell<u32>,
    /// Words of one replay list.
    list: u16,
}

/// Where the record of an SSRC starts, in words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct At(u32);

impl Contexts {
    pub(crate) fn new(limit: u16, window: ReplayWindow) -> Self {
        let list = window.words();
        let record = LISTS as usize + 2 * list;
        Self {
            records: vec![Cell::new(0); usize::from(limit) * record].into_boxed_slice(),
            used: Cell::new(0),
            list: u16::try_from(list).expect("the largest window has 512 words"),
        }
    }

    /// Has the front of the first record fetched into the cache.
    #[inline]
    pub(crate) fn fetch(&self) {
        kernel::fetch::<2, _>(&*self.records, FETCHED_LEN);
    }

    /// Where an SSRC is in this table.
    #[inline]
    pub(crate) fn find(&self, ssrc: u32) -> Option<At> {
        let mut at = 0;
        while at < self.used.get() {
            if ssrc_of(self.records[at as usize].get()) == ssrc {
                return Some(At(at));
            }
            at += self.record();
        }
        None
    }

    /// Gives an SSRC a place; `None` when there are as many as may be.
    pub(crate) fn find_or_add(&self, ssrc: u32) -> Option<At> {
        if let Some(at) = self.find(ssrc) {
            return Some(at);
        }
        if self.is_full() {
            return None;
        }
        let at = self.used.get();
        self.records[at as usize].set(u64::from(ssrc) << 32);
        self.used.set(at + self.record());
        Some(At(at))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used.get() as usize == self.records.len()
    }

    pub(crate) fn ssrcs(&self) -> impl Iterator<Item = (At, u32)> {
        let used = (0..self.used.get()).step_by(self.record() as usize);
        used.map(|at| (At(at), ssrc_of(self.records[at as usize].get())))
    }

    /// One above the highest index; 0 before the first packet.
    #[inline]
    pub(crate) fn end(&self, At(at): At, kind: Kind) -> u64 {
        let at = at as usize;
        match kind {
            Kind::Rtp => self.records[at + 1].get(),
            Kind::Rtcp => self.records[at].get() & u64::from(u32::MAX),
        }
    }

    /// Says whether an index may be used; changes nothing.
    #[inline]
    pub(crate) fn check(&self, at: At, kind: Kind, index: u64) -> Result<(), Refusal> {
        let end = self.end(at, kind);
        if index >= end {
            // Nearly always, and without a look at the list.
            return Ok(());
        }
        replay::check(end, self.seen(at, kind), index)
    }

    /// Takes note of an index that [`Contexts::check`] let pass.
    #[inline]
    pub(crate) fn mark(&self, at: At, kind: Kind, index: u64) {
        let end = replay::mark(self.end(at, kind), self.seen(at, kind), index);
        self.set_end(at, kind, end);
    }

    /// Counts everything below `end` as seen; never moves an end down.
    pub(crate) fn raise(&self, at: At, kind: Kind, end: u64) {
        if end > self.end(at, kind) {
            let seen = self.seen(at, kind);
            for word in seen {
                word.set(u64::MAX);
            }
            self.set_end(at, kind, end);
        }
    }

    #[inline]
    fn set_end(&self, At(at): At, kind: Kind, end: u64) {
        let at = at as usize;
        match kind {
            Kind::Rtp => self.records[at + 1].set(end),
            Kind::Rtcp => {
                let end = u32::try_from(end).expect("an SRTCP index has 31 bits");
                let first = &self.records[at];
                first.set(u64::from(ssrc_of(first.get())) << 32 | u64::from(end));
            }
        }
    }

    /// A replay list.
    #[inline]
    fn seen(&self, At(at): At, kind: Kind) -> &[Cell<u64>] {
        let list = usize::from(self.list);
        let at = (at + LISTS) as usize;
        match kind {
            Kind::Rtp => &self.records[at..][..list],
            Kind::Rtcp => &self.records[at + list..][..list],
        }
    }

    /// Words of a record.
    #[inline]
    fn record(&self) -> u32 {
        LISTS + 2 * u32::from(self.list)
    }
}

/// The SSRC in the first word of a record.
fn ssrc_of(word: u64) -> u32 {
    (word >> 32) as u32
}

impl fmt::Debug for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = |(at, ssrc)| (ssrc, self.end(at, Kind::Rtp), self.end(at, Kind::Rtcp));
        f.debug_list().entries(self.ssrcs().map(context)).finish()
    }
}
