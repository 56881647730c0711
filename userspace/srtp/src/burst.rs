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
//! Nearly all packets are *plain* ([`ContextSet::is_plain`]) and on time
//! ([`ContextSet::index_ahead`]): for them the steps are the same, only shorter. Where session keys
//! depend on the index, or the kind of tag does, packets are processed before all others, one
//! after the other. No other set knows of that.

use arrayvec::ArrayVec;

use crate::context_set::Direction;
use crate::header::RtpHeader;
use crate::kernel::{self, Batch, Item, Operation};
use crate::packet::{Packet, Tag};
use crate::{ContextSet, ContextSets, Job, Kernel, Kind, MAX_BURST, Refusal};

/// What was guessed of a packet.
#[derive(Clone, Copy)]
enum Guess<'s> {
    /// Nothing: it is not to be processed, or was refused.
    Nothing,
    /// A plain one that is on time.
    Ahead {
        set: &'s ContextSet,
        ssrc: u32,
        index: u64,
    },
    /// Any other one, by its number among them.
    Other(usize),
}

/// A packet that is not plain or not on time, with its index, or why it may not have one.
struct Other {
    packet: Packet,
    index: Result<u64, Refusal>,
}

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
    let mut guesses = [Guess::Nothing; MAX_BURST];
    let mut others = ArrayVec::<(&ContextSet, Other), MAX_BURST>::new();
    let mut authentic = [false; MAX_BURST];
    {
        let mut batch = Batch::new(Kernel::current(), Operation::Open);
        let results = guesses.iter_mut().zip(&mut authentic);
        for (job, (guess, authentic)) in burst.iter_mut().zip(results) {
            if job.outcome.is_err() {
                continue;
            }
            if let Some(set) = sets.set_of(job, Direction::Receive)
                && let Some(len) = job.len.checked_sub(set.plain_tag_len())
                && let Some(header) = rtp_header(job, len, 0)
                && let Some(index) = set.index_ahead(header.ssrc, header.sequence)
            {
                *guess = Guess::Ahead {
                    set,
                    ssrc: header.ssrc,
                    index,
                };
                batch.push(item(set, job, len, header, index), authentic);
            } else if let Some(other) = guess_other(sets, job, &mut batch, authentic) {
                *guess = Guess::Other(others.len());
                others.push(other);
            }
        }
        batch.run();
    }

    for ((job, guess), authentic) in burst.iter_mut().zip(&guesses).zip(&authentic) {
        let result = match *guess {
            Guess::Nothing => continue,
            Guess::Ahead { set, ssrc, index } => settle(set, job, ssrc, index, *authentic),
            Guess::Other(at) => {
                let (set, other) = &others[at];
                settle_other(set, job, other, *authentic)
            }
        };
        if let Err(refusal) = result {
            job.outcome = Err(refusal);
        }
    }
}

/// Steps 1 and 2 of unprotecting, for any other packet that does not have to be alone; `None` if it
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

/// Step 3 of unprotecting, for a plain packet that was on time.
#[inline]
fn settle(
    set: &ContextSet,
    job: &mut Job<'_>,
    ssrc: u32,
    index: u64,
    authentic: bool,
) -> Result<(), Refusal> {
    if authentic && set.take(ssrc, index) {
        job.len -= set.plain_tag_len();
        return Ok(());
    }
    settle_late(set, job, ssrc, index, authentic)
}

/// See [`settle`].
#[inline(never)]
fn settle_late(
    set: &ContextSet,
    job: &mut Job<'_>,
    ssrc: u32,
    index: u64,
    authentic: bool,
) -> Result<(), Refusal> {
    if authentic && set.take_after_gap(ssrc, index) {
        job.len -= set.plain_tag_len();
        return Ok(());
    }
    let other = Other {
        packet: received(set, job)?,
        index: Ok(index),
    };
    settle_other(set, job, &other, authentic)
}

/// See [`settle`].
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
