// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The SSRCs of one leg in one direction: the highest index and the replay list of each.
//!
//! All memory is taken when the table is made, in one piece:
//!
//! ```text
//! record  | SSRC, end of SRTCP | end of SRTP | replay list of SRTP .. | of SRTCP .. |
//! ```
//!
//! Each is a row of words of 64 bits. An *end* is one above the highest index seen or sent, 0
//! before the first packet. With the default window a record has 48 bytes.
//!
//! Packets of a [`Run`](crate::run::Run) are only in here once they were told.
//!
//! The words are in cells: while a burst holds on to the keys of its packets, each packet may
//! change the state beside them.

use core::cell::Cell;
use core::ops::Range;

use crate::{Kind, Refusal, ReplayWindow, replay};

/// Words in front of the replay lists.
const LISTS: u32 = 2;

/// A bounded table of SSRCs.
#[cfg_attr(test, derive(Clone, Debug, PartialEq))]
pub(crate) struct Contexts {
    /// The records, searched from the front: a leg has one or two SSRCs, and never more than the
    /// limit.
    words: Box<[Cell<u64>]>,
    /// Words of the records in use.
    used: Cell<u32>,
    /// Words of one replay list.
    list: u16,
}

/// Where the record of an SSRC starts, in words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct At(u32);

impl Contexts {
    /// No records, and room for so many.
    pub(crate) fn new(limit: u16, window: ReplayWindow) -> Self {
        let list = window.words();
        let record = LISTS as usize + 2 * list;
        Self {
            words: vec![Cell::new(0); usize::from(limit) * record].into_boxed_slice(),
            used: Cell::new(0),
            list: u16::try_from(list).expect("the largest window has 512 words"),
        }
    }

    /// Words of a record.
    #[inline]
    fn len(&self) -> u32 {
        LISTS + 2 * u32::from(self.list)
    }

    /// Where an SSRC is in this table.
    #[inline]
    pub(crate) fn find(&self, ssrc: u32) -> Option<At> {
        let Self { words, used, .. } = self;
        let mut at = 0;
        while at < used.get() {
            if ssrc_of(words[at as usize].get()) == ssrc {
                return Some(At(at));
            }
            at += self.len();
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
        let Self { words, used, .. } = self;
        let at = used.get();
        words[at as usize].set(u64::from(ssrc) << 32);
        used.set(at + self.len());
        Some(At(at))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used.get() as usize == self.words.len()
    }

    pub(crate) fn ssrcs(&self) -> impl Iterator<Item = (At, u32)> {
        let Self { words, used, .. } = self;
        let used = (0..used.get()).step_by(self.len() as usize);
        used.map(|at| (At(at), ssrc_of(words[at as usize].get())))
    }

    /// One above the highest index; 0 before the first packet.
    #[inline]
    pub(crate) fn end(&self, at: At, kind: Kind) -> u64 {
        match kind {
            Kind::Rtp => self.words[at.0 as usize + 1].get(),
            Kind::Rtcp => self.words[at.0 as usize].get() & u64::from(u32::MAX),
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

    /// Takes note of indices that [`Contexts::check`] let pass.
    pub(crate) fn mark(&self, at: At, kind: Kind, indices: Range<u64>) {
        let end = replay::mark(self.end(at, kind), self.seen(at, kind), indices);
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
    fn set_end(&self, at: At, kind: Kind, end: u64) {
        match kind {
            Kind::Rtp => self.words[at.0 as usize + 1].set(end),
            Kind::Rtcp => {
                let end = u32::try_from(end).expect("an SRTCP index has 31 bits");
                let word = &self.words[at.0 as usize];
                word.set(u64::from(ssrc_of(word.get())) << 32 | u64::from(end));
            }
        }
    }

    /// A replay list.
    #[inline]
    fn seen(&self, at: At, kind: Kind) -> &[Cell<u64>] {
        let list = usize::from(self.list);
        let lists = &self.words[(at.0 + LISTS) as usize..];
        match kind {
            Kind::Rtp => &lists[..list],
            Kind::Rtcp => &lists[list..][..list],
        }
    }
}

/// The SSRC in the first word of a record.
fn ssrc_of(word: u64) -> u32 {
    (word >> 32) as u32
}
