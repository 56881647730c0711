// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A burst, processed as if its packets came one after the other.
//!
//! The crypto takes all packets at once, so that a kernel can work on many of them in parallel.
//! Protecting, that is simple: every packet gets its index, in order, and then all are encrypted.
//!
//! Unprotecting, what an index is may depend on the packets before it in the same burst, of which
//! nobody knows yet whether they authenticate. So there are three steps:
//!
//! 1. *Guess*: read each packet and take its index from the state as it is before the burst.
//! 2. *Open* all packets that have an index, with one call into the kernel.
//! 3. *Settle*, in order: admit each packet anew, to the state that the packets before it have
//!    left. The answer is nearly always that of step 1, and then the packet is accepted or refused
//!    by what step 2 found. Where the answer differs (a second copy, a new SSRC, SEQ far ahead)
//!    it counts: what was opened is taken back, and opened again with the new index if there is
//!    one.

use core::slice;

use arrayvec::ArrayVec;

use crate::context_set::Direction;
use crate::kernel::{self, Item};
use crate::packet::{INDEX_WORD_LEN, Packet, index_word, index_word_at};
use crate::{ContextSet, ContextSets, Job, Kind, MAX_BURST, Refusal};

/// What is known of a packet during the steps.
struct Work {
    packet: Packet,
    /// Its index, or why it may not have one.
    index: Result<u64, Refusal>,
    authentic: bool,
}

/// See [`ContextSets::protect`].
pub(crate) fn protect(sets: &mut ContextSets, jobs: &mut [Job<'_>]) {
    for burst in jobs.chunks_mut(MAX_BURST) {
        protect_burst(sets, burst);
    }
}

/// See [`ContextSets::unprotect`].
pub(crate) fn unprotect(sets: &mut ContextSets, jobs: &mut [Job<'_>]) {
    for burst in jobs.chunks_mut(MAX_BURST) {
        unprotect_burst(sets, burst);
    }
}

fn protect_burst(sets: &mut ContextSets, burst: &mut [Job<'_>]) {
    let mut work = ArrayVec::<_, MAX_BURST>::new();
    for job in waiting(burst) {
        match assign(sets, job) {
            Ok(assigned) => work.push(assigned),
            Err(refusal) => job.outcome = Err(refusal),
        }
    }

    let mut items = ArrayVec::<_, MAX_BURST>::new();
    for (job, (packet, index)) in waiting(burst).zip(&work) {
        let set = known(sets, job);
        job.len = packet.end + set.suite().growth(job.kind);
        if job.kind == Kind::Rtcp {
            let word = job.start + index_word_at(set.suite(), packet.end);
            job.frame[word..][..INDEX_WORD_LEN].copy_from_slice(&index_word(*index));
        }
        items.push(item(set, job, packet, *index));
    }
    kernel::seal(&mut items);
}

/// Gives a packet to be sent its index, which is used from then on.
fn assign(sets: &mut ContextSets, job: &Job<'_>) -> Result<(Packet, u64), Refusal> {
    let set = sets
        .set_mut(job.set)
        .filter(|set| set.direction() == Direction::Send)
        .ok_or(Refusal::UnknownSet)?;
    let bytes = job.packet(set.suite().growth(job.kind))?;
    let packet = Packet::plain(job.kind, bytes).ok_or(Refusal::Malformed)?;
    let index = set.admit(packet.ssrc, packet.claim)?;
    set.commit(job.kind, packet.ssrc, index);
    Ok((packet, index))
}

fn unprotect_burst(sets: &mut ContextSets, burst: &mut [Job<'_>]) {
    let mut work = ArrayVec::<Work, MAX_BURST>::new();
    for job in waiting(burst) {
        match guess(sets, job) {
            Ok(guessed) => work.push(guessed),
            Err(refusal) => job.outcome = Err(refusal),
        }
    }

    let mut items = ArrayVec::<_, MAX_BURST>::new();
    for (job, work) in waiting(burst).zip(&work) {
        if let Ok(index) = work.index {
            items.push(item(known(sets, job), job, &work.packet, index));
        }
    }
    kernel::open(&mut items);
    let opened = work.iter_mut().filter(|work| work.index.is_ok());
    for (work, item) in opened.zip(&items) {
        work.authentic = item.authentic;
    }
    drop(items);

    for (job, work) in waiting(burst).zip(work) {
        job.outcome = settle(sets, job, work);
    }
}

/// Step 1 of unprotecting.
fn guess(sets: &ContextSets, job: &Job<'_>) -> Result<Work, Refusal> {
    let set = sets
        .set(job.set)
        .filter(|set| set.direction() == Direction::Receive)
        .ok_or(Refusal::UnknownSet)?;
    let bytes = job.packet(0)?;
    let packet = Packet::protected(set.suite(), job.kind, bytes).ok_or(Refusal::Malformed)?;
    Ok(Work {
        packet,
        index: set.admit(packet.ssrc, packet.claim),
        authentic: false,
    })
}

/// Step 3 of unprotecting.
fn settle(sets: &mut ContextSets, job: &mut Job<'_>, mut work: Work) -> Result<(), Refusal> {
    let packet = &work.packet;
    let set = known(sets, job);
    let index = set.admit(packet.ssrc, packet.claim);
    if index != work.index {
        if let (true, Ok(guessed)) = (work.authentic, work.index) {
            kernel::restore(&mut item(set, job, packet, guessed));
        }
        work.authentic = index.is_ok_and(|index| {
            let mut item = item(set, job, packet, index);
            kernel::open(slice::from_mut(&mut item));
            item.authentic
        });
    }

    let index = index?;
    if !work.authentic {
        return Err(Refusal::AuthFailed);
    }
    if let Some(set) = sets.set_mut(job.set) {
        set.commit(job.kind, packet.ssrc, index);
    }
    job.len = packet.end;
    Ok(())
}

/// The jobs that nothing has refused so far.
fn waiting<'a, 'f>(burst: &'a mut [Job<'f>]) -> impl Iterator<Item = &'a mut Job<'f>> {
    burst.iter_mut().filter(|job| job.outcome.is_ok())
}

/// The set of a job that passed the first step.
fn known<'s>(sets: &'s ContextSets, job: &Job<'_>) -> &'s ContextSet {
    sets.set(job.set)
        .expect("the first step refuses packets without a set")
}

fn item<'a>(set: &'a ContextSet, job: &'a mut Job<'_>, packet: &Packet, index: u64) -> Item<'a> {
    Item {
        keys: set.keys(),
        kind: job.kind,
        start: job.start,
        text: job.start + packet.clear,
        end: job.start + packet.end,
        frame: job.frame,
        ssrc: packet.ssrc,
        index,
        authentic: false,
    }
}
