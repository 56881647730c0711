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
//!
//! Where session keys depend on the index, or the kind of tag does, packets are processed alone, in order: sealed when
//! they have their index, opened when they are settled.

use arrayvec::ArrayVec;

use crate::context_set::Direction;
use crate::kernel;
use crate::packet::{Packet, Tag};
use crate::{ContextSet, ContextSets, Job, MAX_BURST, Refusal};

/// What is known of a packet during the steps.
struct Work {
    packet: Packet,
    /// Its index, or why it may not have one. `None` if that is still to be found out.
    index: Option<Result<u64, Refusal>>,
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
        if let Some(crypto) = known(sets, job).crypto(packet.key) {
            crypto.before_seal(job, packet, *index);
            items.push(crypto.item(job, packet, *index));
        }
    }
    kernel::seal(&mut items);
    drop(items);

    for (job, (packet, index)) in waiting(burst).zip(&work) {
        if packet.has_surroundings
            && let Some(crypto) = known(sets, job).crypto(packet.key)
        {
            crypto.after_seal(job, packet, *index);
        }
    }
}

/// Gives a packet to be sent its index, which is used from then on. Seals it, if that cannot be
/// done with the others.
fn assign(sets: &mut ContextSets, job: &mut Job<'_>) -> Result<(Packet, u64), Refusal> {
    let set = sets
        .set_mut(job.set)
        .filter(|set| set.direction() == Direction::Send)
        .ok_or(Refusal::UnknownSet)?;
    let (format, key) = (set.format(), set.current_key());
    let bytes = job.packet(format.max_growth(job.kind))?;
    let packet = Packet::plain(format, job.kind, bytes, key).ok_or(Refusal::Malformed)?;
    let index = set.admit(packet.ssrc, packet.claim, key)?;
    set.commit(job.kind, packet.ssrc, index, key);
    if set.crypto(key).is_none() {
        set.crypto_at(key, index).seal(job, &packet, index);
    }
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
        if let Some(Ok(index)) = work.index
            && let Some(crypto) = known(sets, job).crypto(work.packet.key)
        {
            crypto.before_open(job, &work.packet);
            items.push(crypto.item(job, &work.packet, index));
        }
    }
    kernel::open(&mut items);
    let opened = work
        .iter_mut()
        .filter(|work| matches!(work.index, Some(Ok(_))));
    for (work, item) in opened.zip(&items) {
        work.authentic = item.authentic;
    }
    drop(items);

    for (job, work) in waiting(burst).zip(&work) {
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
    let format = set.format();
    let mut packet = Packet::protected(format, job.kind, bytes).ok_or(Refusal::Malformed)?;
    let mki = &bytes[format.mki_at(job.kind, packet.end)..][..format.mki_len];
    packet.key = set.key_named(mki).ok_or(Refusal::UnknownMki)?;
    let crypto = set.crypto(packet.key);
    Ok(Work {
        packet,
        index: crypto.map(|_| set.admit(packet.ssrc, packet.claim, packet.key)),
        authentic: false,
    })
}

/// Step 3 of unprotecting.
fn settle(sets: &mut ContextSets, job: &mut Job<'_>, work: &Work) -> Result<(), Refusal> {
    let packet = &work.packet;
    let set = sets
        .set_mut(job.set)
        .expect("the first step refuses packets without a set");
    let index = set.admit(packet.ssrc, packet.claim, packet.key);

    let mut authentic = work.authentic;
    if work.index != Some(index) {
        if let Some(Ok(guessed)) = work.index {
            let crypto = set.crypto_at(packet.key, guessed);
            if authentic {
                kernel::restore(&mut crypto.item(job, packet, guessed));
            }
            crypto.after_refusal(job, packet, guessed);
        }
        if packet.tag == Tag::Absent && !set.knows(packet.ssrc) {
            return Err(Refusal::AuthFailed);
        }
        let crypto = set.crypto_at(packet.key, index?);
        authentic = crypto.open(job, packet, index?);
    }

    let index = index?;
    let crypto = set.crypto_at(packet.key, index);
    if !authentic {
        crypto.after_refusal(job, packet, index);
        return Err(Refusal::AuthFailed);
    }
    crypto.after_open(job, packet, index);
    // Nobody vouches for a packet without a tag.
    if packet.tag != Tag::Absent {
        set.commit(job.kind, packet.ssrc, index, packet.key);
    }
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
