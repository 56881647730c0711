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
//! Where session keys depend on the index, or the kind of tag does, packets are processed alone, in
//! order: sealed when they have their index, opened when they are settled.
//!
//! Nearly all packets are plain ([`ContextSet::is_plain`]): for them each step is the same, only
//! shorter.

use arrayvec::ArrayVec;

use crate::context_set::Direction;
use crate::header::RtpHeader;
use crate::kernel::{self, Batch, Item, Operation};
use crate::packet::{Claim, Packet, Tag};
use crate::{ContextSet, ContextSets, Job, Kernel, MAX_BURST, Refusal};

/// What is known of a packet during the steps.
struct Work {
    packet: Packet,
    /// Its index, or why it may not have one. `None` if that is still to be found out.
    index: Option<Result<u64, Refusal>>,
    authentic: bool,
}

/// All that needs to be known of a plain packet, see [`ContextSet::is_plain`].
struct Plain {
    header: RtpHeader,
    /// Where the text ends, counted from the start of the packet.
    end: usize,
    /// Its index, or why it may not have one.
    index: Result<u64, Refusal>,
    authentic: bool,
}

/// Why the lists of packets do not end too early.
const ONE_EACH: &str = "the first step has made one for each job that still waits";

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
    sets.fetch(burst);
    let mut plain = ArrayVec::<Plain, MAX_BURST>::new();
    let mut work = ArrayVec::<(Packet, u64, bool), MAX_BURST>::new();
    for job in waiting(burst) {
        job.outcome = assign(sets, job, &mut plain, &mut work);
    }

    {
        let mut batch = Batch::new(Kernel::current(), Operation::Seal);
        let (mut plain, mut others) = (plain.iter_mut(), work.iter_mut());
        for job in waiting(burst) {
            let set = known(sets, job);
            if set.is_plain(job.kind) {
                let packet = plain.next().expect(ONE_EACH);
                job.len = packet.end + set.plain_tag_len();
                packet.push(set, job, &mut batch);
                continue;
            }
            let (packet, index, authentic) = others.next().expect(ONE_EACH);
            if let Some(crypto) = set.crypto(packet.key) {
                crypto.before_seal(job, packet, *index);
                batch.push(crypto.item(job, packet, *index), authentic);
            }
        }
        batch.run();
    }

    if !work.iter().any(|(packet, ..)| packet.has_surroundings) {
        return;
    }
    let mut work = work.iter();
    for job in waiting(burst).filter(|job| !known(sets, job).is_plain(job.kind)) {
        let (packet, index, _) = work.next().expect(ONE_EACH);
        if packet.has_surroundings
            && let Some(crypto) = known(sets, job).crypto(packet.key)
        {
            crypto.after_seal(job, packet, *index);
        }
    }
}

/// Gives a packet to be sent its index, which is used from then on. Seals it, if that cannot be
/// done with the others.
#[inline]
fn assign(
    sets: &mut ContextSets,
    job: &mut Job<'_>,
    plain: &mut ArrayVec<Plain, MAX_BURST>,
    work: &mut ArrayVec<(Packet, u64, bool), MAX_BURST>,
) -> Result<(), Refusal> {
    let set = sets
        .set_mut(job.set)
        .filter(|set| set.direction() == Direction::Send)
        .ok_or(Refusal::UnknownSet)?;
    if set.is_plain(job.kind) {
        let bytes = job.packet(set.plain_tag_len())?;
        let header = RtpHeader::parse(bytes).ok_or(Refusal::Malformed)?;
        let index = set.admit(header.ssrc, Claim::Sequence(header.sequence), 0)?;
        set.commit(job.kind, header.ssrc, index, 0);
        plain.push(Plain {
            header,
            end: bytes.len(),
            index: Ok(index),
            authentic: false,
        });
        return Ok(());
    }
    let (format, key) = (set.format(), set.current_key());
    let bytes = job.packet(format.max_growth(job.kind))?;
    let packet = Packet::plain(format, job.kind, bytes, key).ok_or(Refusal::Malformed)?;
    let index = set.admit(packet.ssrc, packet.claim, key)?;
    set.commit(job.kind, packet.ssrc, index, key);
    if set.crypto(key).is_none() {
        set.crypto_at(key, index).seal(job, &packet, index);
    }
    work.push((packet, index, false));
    Ok(())
}

fn unprotect_burst(sets: &mut ContextSets, burst: &mut [Job<'_>]) {
    sets.fetch(burst);
    let mut plain = ArrayVec::<Plain, MAX_BURST>::new();
    let mut work = ArrayVec::<Work, MAX_BURST>::new();
    for job in waiting(burst) {
        job.outcome = guess(sets, job, &mut plain, &mut work);
    }

    {
        let mut batch = Batch::new(Kernel::current(), Operation::Open);
        let (mut plains, mut others) = (plain.iter_mut(), work.iter_mut());
        for job in waiting(burst) {
            let set = known(sets, job);
            if set.is_plain(job.kind) {
                let packet = plains.next().expect(ONE_EACH);
                packet.push(set, job, &mut batch);
                continue;
            }
            let work = others.next().expect(ONE_EACH);
            if let Some(Ok(index)) = work.index
                && let Some(crypto) = set.crypto(work.packet.key)
            {
                crypto.before_open(job, &work.packet);
                let item = crypto.item(job, &work.packet, index);
                batch.push(item, &mut work.authentic);
            }
        }
        batch.run();
    }

    let (mut plain, mut work) = (plain.iter(), work.iter());
    for job in waiting(burst) {
        job.outcome = if known(sets, job).is_plain(job.kind) {
            settle_plain(sets, job, plain.next().expect(ONE_EACH))
        } else {
            settle(sets, job, work.next().expect(ONE_EACH))
        };
    }
}

impl Plain {
    /// Hands the packet to the kernel, if it has an index.
    #[inline]
    fn push<'a>(&'a mut self, set: &'a ContextSet, job: &'a mut Job<'_>, batch: &mut Batch<'a>) {
        if let (Ok(index), Some(keys)) = (self.index, set.plain_keys()) {
            let item = Item {
                keys,
                kind: job.kind,
                frame: job.frame,
                start: job.start,
                text: job.start + self.header.len,
                end: job.start + self.end,
                ssrc: self.header.ssrc,
                index,
                authentic: false,
            };
            batch.push(item, &mut self.authentic);
        }
    }
}

/// Step 1 of unprotecting.
#[inline]
fn guess(
    sets: &ContextSets,
    job: &Job<'_>,
    plain: &mut ArrayVec<Plain, MAX_BURST>,
    work: &mut ArrayVec<Work, MAX_BURST>,
) -> Result<(), Refusal> {
    let set = sets
        .set(job.set)
        .filter(|set| set.direction() == Direction::Receive)
        .ok_or(Refusal::UnknownSet)?;
    let bytes = job.packet(0)?;
    if set.is_plain(job.kind) {
        let end = bytes.len().checked_sub(set.plain_tag_len());
        let bytes = &bytes[..end.ok_or(Refusal::Malformed)?];
        let header = RtpHeader::parse(bytes).ok_or(Refusal::Malformed)?;
        plain.push(Plain {
            header,
            end: bytes.len(),
            index: set.admit(header.ssrc, Claim::Sequence(header.sequence), 0),
            authentic: false,
        });
        return Ok(());
    }
    let format = set.format();
    let mut packet = Packet::protected(format, job.kind, bytes).ok_or(Refusal::Malformed)?;
    let mki = &bytes[format.mki_at(job.kind, packet.end)..][..format.mki_len];
    packet.key = set.key_named(mki).ok_or(Refusal::UnknownMki)?;
    let crypto = set.crypto(packet.key);
    work.push(Work {
        packet,
        index: crypto.map(|_| set.admit(packet.ssrc, packet.claim, packet.key)),
        authentic: false,
    });
    Ok(())
}

/// Step 3 of unprotecting, for a plain packet.
#[inline]
fn settle_plain(sets: &mut ContextSets, job: &mut Job<'_>, plain: &Plain) -> Result<(), Refusal> {
    let set = sets
        .set_mut(job.set)
        .expect("the first step refuses packets without a set");
    let RtpHeader { ssrc, sequence, .. } = plain.header;
    let index = set.admit(ssrc, Claim::Sequence(sequence), 0);
    if index != plain.index {
        return settle_again(sets, job, plain);
    }
    let index = index?;
    if !plain.authentic {
        return Err(Refusal::AuthFailed);
    }
    job.len = plain.end;
    set.commit(job.kind, ssrc, index, 0);
    Ok(())
}

/// Step 3 of unprotecting, for a plain packet whose index was not what it was guessed to be.
#[cold]
fn settle_again(sets: &mut ContextSets, job: &mut Job<'_>, plain: &Plain) -> Result<(), Refusal> {
    let packet = Packet::protected(known(sets, job).format(), job.kind, job.packet(0)?);
    let work = Work {
        packet: packet.ok_or(Refusal::Malformed)?,
        index: Some(plain.index),
        authentic: plain.authentic,
    };
    settle(sets, job, &work)
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
