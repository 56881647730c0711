// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the packets of a burst may be, until it is known which of them are authentic.
//!
//! There are three steps:
//!
//! 1. *Guess*: read each packet and take its index from the state as it is before the burst.
//! 2. *Open* all packets that have an index, with one call into the kernel.
//! 3. *Settle*, in order: admit each packet anew, to the state that the packets before it have
//!    left. The answer is nearly always that of step 1, and then the packet is accepted or refused
//!    by what step 2 found. Where the answer differs (a second copy, a new SSRC, SEQ far ahead)
//!    it counts: what was opened is taken back, and opened again with the new index if there is
//!    one.
//!
//! Nearly all packets are *plain* ([`ContextSet::is_plain`]) and on time
//! ([`ContextSet::index_ahead`]): for them the steps are the same, only shorter.

use arrayvec::ArrayVec;

use super::{TOGETHER, item, received, received_plain};
use crate::context_set::Direction;
use crate::kernel::{self, Batch};
use crate::packet::Packet;
use crate::{ContextSet, ContextSets, Job, MAX_BURST, Refusal};

/// What was guessed of the packets of a burst, in order.
#[derive(Default)]
pub(super) struct Guesses<'s> {
    each: ArrayVec<Guess<'s>, MAX_BURST>,
    others: ArrayVec<(&'s ContextSet, Other), MAX_BURST>,
}

/// What was guessed of a packet.
#[derive(Clone, Copy)]
enum Guess<'s> {
    /// Nothing: it is not to be processed, or was refused.
    Nothing,
    /// A plain one that is on time. Its job has the length without the tag.
    Ahead(Ahead<'s>),
    /// Any other one, by its number among them.
    Other(usize),
}

/// A plain packet that is on time.
#[derive(Clone, Copy)]
struct Ahead<'s> {
    set: &'s ContextSet,
    ssrc: u32,
    index: u64,
}

/// A packet that is not plain or not on time, with its index, or why it may not have one.
struct Other {
    packet: Packet,
    index: Result<u64, Refusal>,
}

impl<'s> Guesses<'s> {
    /// Nothing was guessed.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Begins with packets that were counted in the runs of these sets, each the next one of its
    /// run: brings the runs back to where they were.
    #[inline(never)]
    pub(super) fn give_back(&mut self, counted: &[&'s ContextSet]) {
        debug_assert!(self.is_empty());
        self.each.extend(counted.iter().rev().map(|&set| {
            let (ssrc, index) = set.give_back();
            Guess::Ahead(Ahead { set, ssrc, index })
        }));
        self.each.reverse();
    }

    /// Step 1, for the packets behind those that there are guesses of.
    #[inline(never)]
    pub(super) fn guess<'a, 'f: 'a>(
        &mut self,
        sets: &'s ContextSets,
        jobs: impl Iterator<Item = (&'a mut Job<'f>, &'a mut bool)>,
        batch: &mut Batch<'a>,
    ) where
        's: 'a,
    {
        for (job, authentic) in jobs {
            let guess = if job.outcome.is_err() {
                Guess::Nothing
            } else if let Some(set) = sets.set_of(job, Direction::Receive)
                && let Some((header, len)) = received_plain(set, job)
                && let Some(index) = set.index_ahead(header.ssrc, header.sequence)
            {
                job.len = len;
                batch.push(item(set, job, len, header, index), authentic);
                let ssrc = header.ssrc;
                Guess::Ahead(Ahead { set, ssrc, index })
            } else if let Some(other) = guess_other(sets, job, batch, authentic) {
                self.others.push(other);
                Guess::Other(self.others.len() - 1)
            } else {
                Guess::Nothing
            };
            self.each.push(guess);
        }
    }

    /// Step 3, with what step 2 found.
    #[inline(never)]
    pub(super) fn settle(&self, burst: &mut [Job<'_>], authentic: &[bool; MAX_BURST]) {
        for ((job, guess), authentic) in burst.iter_mut().zip(&self.each).zip(authentic) {
            let result = match *guess {
                Guess::Nothing => continue,
                Guess::Ahead(ahead) => settle_ahead(ahead, job, *authentic),
                Guess::Other(at) => {
                    let (set, other) = &self.others[at];
                    settle_other(set, job, other, *authentic)
                }
            };
            if let Err(refusal) = result {
                job.outcome = Err(refusal);
            }
        }
    }
}

/// Steps 1 and 2 for any packet that is not plain or not on time; `None` if it has to be alone, or
/// is refused at once.
#[inline(never)]
fn guess_other<'s: 'a, 'a>(
    sets: &'s ContextSets,
    job: &'a mut Job<'_>,
    batch: &mut Batch<'a>,
    authentic: &'a mut bool,
) -> Option<(&'s ContextSet, Other)> {
    let Some(set) = sets.set_of(job, Direction::Receive) else {
        job.outcome = Err(Refusal::UnknownSet);
        return None;
    };
    if set.is_alone() {
        return None;
    }
    let packet = match received(set, job) {
        Ok(packet) => packet,
        Err(refusal) => {
            job.outcome = Err(refusal);
            return None;
        }
    };
    let admission = set.admit(packet.ssrc, packet.claim, packet.key);
    let index = admission.map(|it| it.index);
    if let Ok(index) = index {
        let crypto = set.crypto(packet.key).expect(TOGETHER);
        crypto.before_open(job, &packet);
        batch.push(crypto.item(job, &packet, index), authentic);
    }
    Some((set, Other { packet, index }))
}

/// Step 3 for a plain packet that was on time.
fn settle_ahead(ahead: Ahead<'_>, job: &mut Job<'_>, authentic: bool) -> Result<(), Refusal> {
    let Ahead { set, ssrc, index } = ahead;
    if authentic && (set.take(ssrc, index) || set.take_after_gap(ssrc, index)) {
        return Ok(());
    }
    job.len += set.plain_tag_len();
    let other = Other {
        packet: received(set, job)?,
        index: Ok(index),
    };
    settle_other(set, job, &other, authentic)
}

/// Step 3 for any other packet.
#[inline(never)]
fn settle_other(
    set: &ContextSet,
    job: &mut Job<'_>,
    other: &Other,
    mut authentic: bool,
) -> Result<(), Refusal> {
    let packet = &other.packet;
    let crypto = set.crypto(packet.key).expect(TOGETHER);
    let admission = set.admit(packet.ssrc, packet.claim, packet.key);
    let index = admission.map(|it| it.index);
    if other.index != index {
        if let Ok(guessed) = other.index {
            if authentic {
                kernel::restore(&mut crypto.item(job, packet, guessed));
            }
            crypto.after_refusal(job, packet, guessed);
        }
        authentic = crypto.open(job, packet, index?);
    }
    let admission = admission?;
    if !authentic {
        crypto.after_refusal(job, packet, admission.index);
        return Err(Refusal::AuthFailed);
    }
    crypto.after_open(job, packet, admission.index);
    set.commit(admission);
    Ok(())
}
