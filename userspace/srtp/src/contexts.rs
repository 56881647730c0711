// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The SSRCs of one leg in one direction: the highest index and the replay list of each.
//!
//! All memory is taken when the table is made. An SSRC of the default table costs 48 bytes.

use crate::{Kind, Refusal, ReplayWindow, replay};

/// A bounded table of SSRCs.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(crate) struct Contexts {
    /// Searched from the front: a leg has one or two SSRCs, and never more than the limit.
    table: Vec<Context>,
    limit: usize,
    /// The bits of all replay lists: for each SSRC those of SRTP, then those of SRTCP.
    seen: Box<[u64]>,
    /// Length of one replay list.
    words: usize,
}

/// One SSRC. Each end is one above the highest index seen or sent; 0 before the first packet.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq))]
struct Context {
    ssrc: u32,
    rtcp_end: u32,
    rtp_end: u64,
}

impl Contexts {
    pub(crate) fn new(limit: u16, window: ReplayWindow) -> Self {
        let limit = usize::from(limit);
        let words = window.words();
        Self {
            table: Vec::with_capacity(limit),
            limit,
            seen: vec![0; limit * 2 * words].into_boxed_slice(),
            words,
        }
    }

    /// The number of an SSRC in this table.
    pub(crate) fn find(&self, ssrc: u32) -> Option<usize> {
        self.table.iter().position(|context| context.ssrc == ssrc)
    }

    /// Gives an SSRC a number; `None` when there are as many as may be.
    pub(crate) fn find_or_add(&mut self, ssrc: u32) -> Option<usize> {
        if let Some(at) = self.find(ssrc) {
            return Some(at);
        }
        if self.is_full() {
            return None;
        }
        self.table.push(Context {
            ssrc,
            rtcp_end: 0,
            rtp_end: 0,
        });
        Some(self.table.len() - 1)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.table.len() == self.limit
    }

    pub(crate) fn ssrcs(&self) -> impl Iterator<Item = (usize, u32)> {
        self.table.iter().map(|context| context.ssrc).enumerate()
    }

    /// One above the highest index; 0 before the first packet.
    pub(crate) fn end(&self, at: usize, kind: Kind) -> u64 {
        match kind {
            Kind::Rtp => self.table[at].rtp_end,
            Kind::Rtcp => u64::from(self.table[at].rtcp_end),
        }
    }

    /// Says whether an index may be used; changes nothing.
    pub(crate) fn check(&self, at: usize, kind: Kind, index: u64) -> Result<(), Refusal> {
        let seen = &self.seen[self.list_at(at, kind)..][..self.words];
        replay::check(self.end(at, kind), seen, index)
    }

    /// Takes note of an index that [`Contexts::check`] let pass.
    pub(crate) fn mark(&mut self, at: usize, kind: Kind, index: u64) {
        let end = self.end(at, kind);
        let list_at = self.list_at(at, kind);
        let seen = &mut self.seen[list_at..][..self.words];
        let end = replay::mark(end, seen, index);
        self.set_end(at, kind, end);
    }

    /// Counts everything below `end` as seen; never moves an end down.
    pub(crate) fn raise(&mut self, at: usize, kind: Kind, end: u64) {
        if end > self.end(at, kind) {
            let list_at = self.list_at(at, kind);
            self.seen[list_at..][..self.words].fill(u64::MAX);
            self.set_end(at, kind, end);
        }
    }

    fn set_end(&mut self, at: usize, kind: Kind, end: u64) {
        match kind {
            Kind::Rtp => self.table[at].rtp_end = end,
            Kind::Rtcp => {
                self.table[at].rtcp_end = u32::try_from(end).expect("an SRTCP index has 31 bits");
            }
        }
    }

    fn list_at(&self, at: usize, kind: Kind) -> usize {
        let list = match kind {
            Kind::Rtp => 2 * at,
            Kind::Rtcp => 2 * at + 1,
        };
        list * self.words
    }
}
