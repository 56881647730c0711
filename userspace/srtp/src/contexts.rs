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
//! What SRTP packets of the last SSRC change, which are nearly all packets, is not in its record
//! but in [`Latest`], which the set has beside the keys, in the same line of the cache. Only a window
//! of another size than the default leaves it unused.
//!
//! The words are in cells: while a burst holds on to the keys of its packets, each packet may
//! change the state beside them.

use core::cell::Cell;

use crate::{Kind, Refusal, ReplayWindow, replay};

/// Words in front of the replay lists.
const LISTS: u32 = 2;

/// Words of a replay list in [`Latest`].
const LATEST_LIST: usize = ReplayWindow::DEFAULT.words();

/// The SRTP state of one SSRC, that of the last packet that was not plain or not on time.
#[derive(Default)]
#[cfg_attr(test, derive(Clone, Debug, PartialEq))]
#[repr(C)]
pub(crate) struct Latest {
    /// One above the highest index; 0 before the first packet, and where it is unused.
    end: Cell<u64>,
    seen: [Cell<u64>; LATEST_LIST],
}

impl Latest {
    /// One above the highest index; 0 before the first packet, and where it is unused.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.end.get()
    }

    /// Takes note of an index that is not below the end.
    #[inline]
    pub(crate) fn mark(&self, index: u64) {
        let end = self.end.get();
        debug_assert!(index >= end);
        let _ = replay::mark(end, &self.seen, index);
        self.end.set(index + 1);
    }
}

/// The records of a bounded table of SSRCs.
#[cfg_attr(test, derive(Clone, Debug, PartialEq))]
pub(crate) struct Records {
    /// Searched from the front: a leg has one or two SSRCs, and never more than the limit.
    words: Box<[Cell<u64>]>,
    /// Words of the records in use.
    used: Cell<u32>,
    /// The SSRC whose SRTP state is in [`Latest`].
    latest: Cell<At>,
    /// Words of one replay list.
    list: u16,
}

/// Where the record of an SSRC starts, in words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct At(u32);

/// A bounded table of SSRCs.
#[derive(Clone, Copy)]
pub(crate) struct Contexts<'a> {
    pub(crate) latest: &'a Latest,
    pub(crate) records: &'a Records,
}

impl Records {
    /// No records, and room for so many.
    pub(crate) fn new(limit: u16, window: ReplayWindow) -> Self {
        let list = window.words();
        let record = LISTS as usize + 2 * list;
        Self {
            words: vec![Cell::new(0); usize::from(limit) * record].into_boxed_slice(),
            used: Cell::new(0),
            latest: Cell::new(At(0)),
            list: u16::try_from(list).expect("the largest window has 512 words"),
        }
    }

    /// Words of a record.
    #[inline]
    fn len(&self) -> u32 {
        LISTS + 2 * u32::from(self.list)
    }
}

impl<'a> Contexts<'a> {
    /// Where an SSRC is in this table.
    #[inline]
    pub(crate) fn find(self, ssrc: u32) -> Option<At> {
        let Records { words, used, .. } = self.records;
        let mut at = 0;
        while at < used.get() {
            if ssrc_of(words[at as usize].get()) == ssrc {
                return Some(At(at));
            }
            at += self.records.len();
        }
        None
    }

    /// Gives an SSRC a place; `None` when there are as many as may be.
    pub(crate) fn find_or_add(self, ssrc: u32) -> Option<At> {
        if let Some(at) = self.find(ssrc) {
            return Some(at);
        }
        if self.is_full() {
            return None;
        }
        let Records { words, used, .. } = self.records;
        let at = used.get();
        words[at as usize].set(u64::from(ssrc) << 32);
        used.set(at + self.records.len());
        Some(At(at))
    }

    pub(crate) fn is_full(self) -> bool {
        self.records.used.get() as usize == self.records.words.len()
    }

    pub(crate) fn ssrcs(self) -> impl Iterator<Item = (At, u32)> {
        let Records { words, used, .. } = self.records;
        let used = (0..used.get()).step_by(self.records.len() as usize);
        used.map(|at| (At(at), ssrc_of(words[at as usize].get())))
    }

    /// One above the highest index; 0 before the first packet.
    #[inline]
    pub(crate) fn end(self, at: At, kind: Kind) -> u64 {
        match kind {
            Kind::Rtp => self.rtp_end(at).get(),
            Kind::Rtcp => self.records.words[at.0 as usize].get() & u64::from(u32::MAX),
        }
    }

    /// Says whether an index may be used; changes nothing.
    #[inline]
    pub(crate) fn check(self, at: At, kind: Kind, index: u64) -> Result<(), Refusal> {
        let end = self.end(at, kind);
        if index >= end {
            // Nearly always, and without a look at the list.
            return Ok(());
        }
        replay::check(end, self.seen(at, kind), index)
    }

    /// Takes note of an index that [`Contexts::check`] let pass.
    #[inline]
    pub(crate) fn mark(self, at: At, kind: Kind, index: u64) {
        let end = replay::mark(self.end(at, kind), self.seen(at, kind), index);
        self.set_end(at, kind, end);
    }

    /// Counts everything below `end` as seen; never moves an end down.
    pub(crate) fn raise(self, at: At, kind: Kind, end: u64) {
        if end > self.end(at, kind) {
            let seen = self.seen(at, kind);
            for word in seen {
                word.set(u64::MAX);
            }
            self.set_end(at, kind, end);
        }
    }

    /// Has the SRTP state of this SSRC in [`Latest`] from now on; says whether it is.
    pub(crate) fn make_latest(self, at: At) -> bool {
        if !self.uses_latest() {
            return false;
        }
        let Records { words, latest, .. } = self.records;
        let cells = [&self.latest.end].into_iter().chain(&self.latest.seen);
        // They follow each other in a record as well.
        let (new, old) = (at.0 as usize + 1, latest.get().0 as usize + 1);
        if new != old {
            for (i, cell) in cells.enumerate() {
                words[old + i].set(cell.get());
                cell.set(words[new + i].get());
            }
            latest.set(at);
        }
        true
    }

    #[inline]
    fn set_end(self, at: At, kind: Kind, end: u64) {
        match kind {
            Kind::Rtp => self.rtp_end(at).set(end),
            Kind::Rtcp => {
                let end = u32::try_from(end).expect("an SRTCP index has 31 bits");
                let word = &self.records.words[at.0 as usize];
                word.set(u64::from(ssrc_of(word.get())) << 32 | u64::from(end));
            }
        }
    }

    #[inline]
    fn rtp_end(self, at: At) -> &'a Cell<u64> {
        if self.is_latest(at) {
            &self.latest.end
        } else {
            &self.records.words[at.0 as usize + 1]
        }
    }

    /// A replay list.
    #[inline]
    fn seen(self, at: At, kind: Kind) -> &'a [Cell<u64>] {
        let list = usize::from(self.records.list);
        let lists = &self.records.words[(at.0 + LISTS) as usize..];
        match kind {
            Kind::Rtp if self.is_latest(at) => &self.latest.seen,
            Kind::Rtp => &lists[..list],
            Kind::Rtcp => &lists[list..][..list],
        }
    }

    #[inline]
    fn uses_latest(self) -> bool {
        usize::from(self.records.list) == LATEST_LIST
    }

    /// Whether [`Latest`] has the SRTP state of this SSRC.
    #[inline]
    fn is_latest(self, at: At) -> bool {
        self.uses_latest() && at == self.records.latest.get()
    }
}

/// The SSRC in the first word of a record.
fn ssrc_of(word: u64) -> u32 {
    (word >> 32) as u32
}
