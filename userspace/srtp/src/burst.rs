// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A burst, processed as if its packets came one after the other.
//!
//! The crypto takes all packets at once, so that a kernel can work on many of them in parallel.
//! Protecting, that is simple: every packet gets its index, in order, and then all are encrypted.
//!
//! Unprotecting, what an index is may depend on the packets before it in the same burst, of which
//! nobody knows yet whether they authenticate. Nearly always they do, and each packet is the next
//! one of its [run](crate::run). So a burst is taken for one like that: each packet is counted in
//! its run as soon as it is read, all are opened with one call into the kernel, and if all tags are
//! right nothing is left to do. If one is wrong, or a packet is not the next, whatever was counted is
//! given back, before anybody can have seen it, and [`guesses`] has each packet judged for itself.
//! So what a burst leaves behind comes from packets that are authentic, and from no other.
//!
//! Where session keys depend on the index, or the kind of tag does, packets are processed before
//! all others, one after the other. No other set knows of that.

mod guesses;

use core::iter::once;

use arrayvec::ArrayVec;

use self::guesses::Guesses;
use crate::context_set::Direction;
use crate::header::RtpHeader;
use crate::kernel::{Batch, Item, Operation};
use crate::packet::{Packet, Tag};
use crate::{ContextSet, ContextSets, Job, Kernel, Kind, MAX_BURST, Refusal};

/// Why there is a set.
const KNOWN: &str = "the first step refuses packets without a set";

/// Why session keys do not depend on the index.
const TOGETHER: &str = "a set whose packets are not alone has fixed keys";

/// See [`ContextSets::protect`].
pub(crate) fn protect(sets: &mut ContextSets, jobs: &mut [Job<'_>]) {
    for burst in jobs.chunks_mut(MAX_BURST) {
        sets.fetch(burst);
        if sets.any_alone() {
            alone(sets, burst, Direction::Send, seal_alone);
        }
        protect_burst(sets, burst);
    }
}

/// See [`ContextSets::unprotect`].
pub(crate) fn unprotect(sets: &mut ContextSets, jobs: &mut [Job<'_>]) {
    for burst in jobs.chunks_mut(MAX_BURST) {
        sets.fetch(burst);
        if sets.any_alone() {
            alone(sets, burst, Direction::Receive, open_alone);
        }
        unprotect_burst(sets, burst);
    }
}

/// Packets that are not plain or not on time, with their jobs' numbers and their indices.
type Assigned = ArrayVec<(usize, Packet, u64), MAX_BURST>;

fn protect_burst(sets: &ContextSets, burst: &mut [Job<'_>]) {
    let mut others = Assigned::new();
    // Nobody looks at these.
    let mut authentic = [false; MAX_BURST];
    {
        let mut batch = Batch::new(Kernel::current(), Operation::Seal);
        for (at, (job, authentic)) in burst.iter_mut().zip(&mut authentic).enumerate() {
            if job.outcome.is_err() {
                continue;
            }
            if let Some(set) = sets.set_of(job, Direction::Send)
                && let Some(header) = rtp_header(job, job.len, set.plain_tag_len())
                && let Some(index) = set.take_next(header.ssrc, header.sequence)
            {
                let len = job.len;
                job.len += set.plain_tag_len();
                batch.push(item(set, job, len, header, index), authentic);
            } else {
                // Packets behind a gap as well: another call here would cost all others registers.
                assign_other(sets, at, job, &mut others, &mut batch, authentic);
            }
        }
        batch.run();
    }

    for (at, packet, index) in &others {
        let job = &mut burst[*at];
        let crypto = sets.set(job.set).expect(KNOWN).crypto(packet.key);
        crypto.expect(TOGETHER).after_seal(job, packet, *index);
    }
}

/// The header of an SRTP packet, so long without its tag, that has room to grow; `None` if it has
/// not, or is none.
#[expect(clippy::inline_always, reason = "on the way of every packet")]
#[inline(always)]
fn rtp_header(job: &Job<'_>, len: usize, growth: usize) -> Option<RtpHeader> {
    if job.kind != Kind::Rtp {
        return None;
    }
    RtpHeader::parse(job.packet(growth).ok()?.get(..len)?).ok()
}

/// Protects a packet behind a gap, and any other that does not have to be alone, or refuses it.
#[inline(never)]
fn assign_other<'a>(
    sets: &'a ContextSets,
    at: usize,
    job: &'a mut Job<'_>,
    others: &mut Assigned,
    batch: &mut Batch<'a>,
    authentic: &'a mut bool,
) {
    let Some(set) = sets.set_of(job, Direction::Send) else {
        job.outcome = Err(Refusal::UnknownSet);
        return;
    };
    if set.is_alone() {
        return;
    }
    if let Some(header) = rtp_header(job, job.len, set.plain_tag_len())
        && let Some(index) = set.index_ahead(header.ssrc, header.sequence)
        && set.take_after_gap(header.ssrc, index)
    {
        let len = job.len;
        job.len += set.plain_tag_len();
        batch.push(item(set, job, len, header, index), authentic);
        return;
    }
    match assign(set, job) {
        Ok((packet, index)) => {
            let crypto = set.crypto(packet.key).expect(TOGETHER);
            crypto.before_seal(job, &packet, index);
            batch.push(crypto.item(job, &packet, index), authentic);
            others.push((at, packet, index));
        }
        Err(refusal) => job.outcome = Err(refusal),
    }
}

/// Gives a packet to be sent its index, which is used from then on.
fn assign(set: &ContextSet, job: &Job<'_>) -> Result<(Packet, u64), Refusal> {
    let (format, key) = (set.format(), set.current_key());
    let bytes = job.packet(format.max_growth(job.kind))?;
    let packet = Packet::plain(format, job.kind, bytes, key)?;
    let admission = set.admit(packet.ssrc, packet.claim, key)?;
    set.commit(admission);
    Ok((packet, admission.index))
}

fn unprotect_burst(sets: &ContextSets, burst: &mut [Job<'_>]) {
    // The sets of packets that were counted: all so far.
    let mut counted = ArrayVec::<_, MAX_BURST>::new();
    let mut guesses = Guesses::default();
    let mut authentic = [false; MAX_BURST];
    {
        let mut batch = Batch::new(Kernel::current(), Operation::Open);
        let mut jobs = burst.iter_mut().zip(&mut authentic);
        while let Some((job, authentic)) = jobs.next() {
            if job.outcome.is_ok()
                && let Some(set) = sets.set_of(job, Direction::Receive)
                && let Some((header, len)) = received_plain(set, job)
                && let Some(index) = set.take_next(header.ssrc, header.sequence)
            {
                counted.push(set);
                job.len = len;
                batch.push(item(set, job, len, header, index), authentic);
            } else {
                // The rest elsewhere, so that this loop has the registers for itself.
                guesses.give_back(&counted);
                guesses.guess(sets, once((job, authentic)).chain(jobs), &mut batch);
                break;
            }
        }
        batch.run();
    }
    if guesses.is_empty() {
        let authentic = &authentic[..burst.len()];
        // All of them, without a branch for each.
        if authentic.iter().fold(true, |all, it| all & it) {
            return;
        }
        guesses.give_back(&counted);
    }
    guesses.settle(burst, &authentic);
}

/// The header of an SRTP packet that was received as a plain one, and how long it is without its
/// tag.
#[expect(clippy::inline_always, reason = "on the way of every packet")]
#[inline(always)]
fn received_plain(set: &ContextSet, job: &Job<'_>) -> Option<(RtpHeader, usize)> {
    let len = job.len.checked_sub(set.plain_tag_len())?;
    Some((rtp_header(job, len, 0)?, len))
}

/// Reads a packet that was received.
fn received(set: &ContextSet, job: &Job<'_>) -> Result<Packet, Refusal> {
    let bytes = job.packet(0)?;
    let format = set.format();
    let mut packet = Packet::protected(format, job.kind, bytes)?;
    let mki = &bytes[format.mki_at(job.kind, packet.end)..][..format.mki_len];
    packet.key = set.key_named(mki).ok_or(Refusal::UnknownMki)?;
    Ok(packet)
}

/// What the kernel takes of a plain packet, which is so long without its tag.
#[inline]
fn item<'a>(
    set: &'a ContextSet,
    job: &'a mut Job<'_>,
    len: usize,
    header: RtpHeader,
    index: u64,
) -> Item<'a> {
    Item {
        keys: set.plain_keys().expect(TOGETHER),
        kind: Kind::Rtp,
        start: job.start,
        head: header.len,
        len,
        frame: job.frame,
        ssrc: header.ssrc,
        index,
        authentic: false,
    }
}

/// Processes the packets that have to be alone.
#[cold]
fn alone(
    sets: &mut ContextSets,
    burst: &mut [Job<'_>],
    direction: Direction,
    process: fn(&mut ContextSet, &mut Job<'_>) -> Result<(), Refusal>,
) {
    for job in burst {
        let set = sets.set_mut(job.set).filter(|set| set.is_alone());
        if let Some(set) = set.filter(|set| set.direction() == direction)
            && job.outcome.is_ok()
        {
            job.outcome = process(set, job);
        }
    }
}

fn seal_alone(set: &mut ContextSet, job: &mut Job<'_>) -> Result<(), Refusal> {
    let (packet, index) = assign(set, job)?;
    set.crypto_at(packet.key, index).seal(job, &packet, index);
    Ok(())
}

fn open_alone(set: &mut ContextSet, job: &mut Job<'_>) -> Result<(), Refusal> {
    let packet = received(set, job)?;
    let admission = set.admit(packet.ssrc, packet.claim, packet.key)?;
    if packet.tag == Tag::Absent && !set.knows(packet.ssrc) {
        return Err(Refusal::AuthFailed);
    }
    let crypto = set.crypto_at(packet.key, admission.index);
    if !crypto.open(job, &packet, admission.index) {
        crypto.after_refusal(job, &packet, admission.index);
        return Err(Refusal::AuthFailed);
    }
    crypto.after_open(job, &packet, admission.index);
    // Nobody vouches for a packet without a tag.
    if packet.tag != Tag::Absent {
        set.commit(admission);
    }
    Ok(())
}
