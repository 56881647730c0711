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
use crate::{ContextSet, ContextSets, Job, Kernel, Kind, MAX_BURST, Refusal};

/// A plain packet during the steps, see [`ContextSet::is_plain`].
struct Plain {
    header: RtpHeader,
    /// Where the text ends, counted from the start of the packet.
    end: usize,
    /// Its index, or why it may not have one.
    index: Result<u64, Refusal>,
    authentic: bool,
}

/// Any other packet.
struct Other {
    packet: Packet,
    /// Its index, or why it may not have one. `None` if that is still to be found out.
    index: Option<Result<u64, Refusal>>,
    authentic: bool,
}

/// The packets of a burst that were not refused, each kind in order.
#[derive(Default)]
struct Packets {
    plain: ArrayVec<Plain, MAX_BURST>,
    others: ArrayVec<Other, MAX_BURST>,
}

/// Why there is a set.
const KNOWN: &str = "the first step refuses packets without a set";

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
    let mut packets = Packets::default();
    for job in waiting(burst) {
        job.outcome = assign(sets, job, &mut packets);
    }
    let Packets { plain, others } = &mut packets;

    {
        let mut batch = Batch::new(Kernel::current(), Operation::Seal);
        let (mut plain, mut others) = (plain.iter_mut(), others.iter_mut());
        for job in waiting(burst) {
            let set = known(sets, job);
            if set.is_plain(job.kind) {
                let packet = plain.next().expect(ONE_EACH);
                job.len = packet.end + set.plain_tag_len();
                packet.push(set, job, &mut batch);
            } else {
                let packet = others.next().expect(ONE_EACH);
                packet.push(set, job, &mut batch);
            }
        }
        batch.run();
    }

    if others.iter().any(|other| other.packet.has_surroundings) {
        let jobs = waiting(burst).filter(|job| !known(sets, job).is_plain(job.kind));
        for (job, other) in jobs.zip(others) {
            if let (Some(crypto), Some(Ok(index))) =
                (known(sets, job).crypto(other.packet.key), other.index)
            {
                crypto.after_seal(job, &other.packet, index);
            }
        }
    }
}

/// Gives a packet to be sent its index, which is used from then on.
#[inline]
fn assign(sets: &mut ContextSets, job: &mut Job<'_>, packets: &mut Packets) -> Result<(), Refusal> {
    let set = sets
        .set_mut(job.set)
        .filter(|set| set.direction() == Direction::Send)
        .ok_or(Refusal::UnknownSet)?;
    if !set.is_plain(job.kind) {
        packets.others.push(assign_other(set, job)?);
        return Ok(());
    }
    let bytes = job.packet(set.plain_tag_len())?;
    let header = RtpHeader::parse(bytes).ok_or(Refusal::Malformed)?;
    let admission = set.admit(header.ssrc, Claim::Sequence(header.sequence), 0)?;
    set.commit(admission);
    packets.plain.push(Plain {
        header,
        end: bytes.len(),
        index: Ok(admission.index),
        authentic: false,
    });
    Ok(())
}

/// See [`assign`]. Seals the packet, if that cannot be done with the others.
#[inline(never)]
fn assign_other(set: &mut ContextSet, job: &mut Job<'_>) -> Result<Other, Refusal> {
    let (format, key) = (set.format(), set.current_key());
    let bytes = job.packet(format.max_growth(job.kind))?;
    let packet = Packet::plain(format, job.kind, bytes, key).ok_or(Refusal::Malformed)?;
    let admission = set.admit(packet.ssrc, packet.claim, key)?;
    set.commit(admission);
    if set.crypto(key).is_none() {
        set.crypto_at(key, admission.index)
            .seal(job, &packet, admission.index);
    }
    Ok(Other {
        packet,
        index: Some(Ok(admission.index)),
        authentic: false,
    })
}

fn unprotect_burst(sets: &mut ContextSets, burst: &mut [Job<'_>]) {
    sets.fetch(burst);
    let mut packets = Packets::default();
    for job in waiting(burst) {
        job.outcome = guess(sets, job, &mut packets);
    }
    let Packets { plain, others } = &mut packets;

    {
        let mut batch = Batch::new(Kernel::current(), Operation::Open);
        let (mut plain, mut others) = (plain.iter_mut(), others.iter_mut());
        for job in waiting(burst) {
            let set = known(sets, job);
            if set.is_plain(job.kind) {
                let packet = plain.next().expect(ONE_EACH);
                packet.push(set, job, &mut batch);
            } else {
                let packet = others.next().expect(ONE_EACH);
                packet.push(set, job, &mut batch);
            }
        }
        batch.run();
    }

    let (mut plain, mut others) = (plain.iter(), others.iter());
    for job in waiting(burst) {
        let set = sets.set_mut(job.set).expect(KNOWN);
        job.outcome = if set.is_plain(job.kind) {
            settle(set, job, plain.next().expect(ONE_EACH))
        } else {
            settle_other(set, job, others.next().expect(ONE_EACH))
        };
    }
}

/// Step 1 of unprotecting.
#[inline]
fn guess(sets: &ContextSets, job: &Job<'_>, packets: &mut Packets) -> Result<(), Refusal> {
    let set = sets
        .set(job.set)
        .filter(|set| set.direction() == Direction::Receive)
        .ok_or(Refusal::UnknownSet)?;
    let bytes = job.packet(0)?;
    if !set.is_plain(job.kind) {
        packets.others.push(guess_other(set, job.kind, bytes)?);
        return Ok(());
    }
    let end = bytes.len().checked_sub(set.plain_tag_len());
    let bytes = &bytes[..end.ok_or(Refusal::Malformed)?];
    let header = RtpHeader::parse(bytes).ok_or(Refusal::Malformed)?;
    let admission = set.admit(header.ssrc, Claim::Sequence(header.sequence), 0);
    packets.plain.push(Plain {
        header,
        end: bytes.len(),
        index: admission.map(|it| it.index),
        authentic: false,
    });
    Ok(())
}

/// See [`guess`].
#[inline(never)]
fn guess_other(set: &ContextSet, kind: Kind, bytes: &[u8]) -> Result<Other, Refusal> {
    let format = set.format();
    let mut packet = Packet::protected(format, kind, bytes).ok_or(Refusal::Malformed)?;
    let mki = &bytes[format.mki_at(kind, packet.end)..][..format.mki_len];
    packet.key = set.key_named(mki).ok_or(Refusal::UnknownMki)?;
    let admit = || set.admit(packet.ssrc, packet.claim, packet.key);
    Ok(Other {
        index: (set.crypto(packet.key)).map(|_| admit().map(|it| it.index)),
        packet,
        authentic: false,
    })
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

impl Other {
    /// See [`Plain::push`]; packets that are processed alone stay out of the batch.
    #[inline(never)]
    fn push<'a>(&'a mut self, set: &'a ContextSet, job: &'a mut Job<'_>, batch: &mut Batch<'a>) {
        let packet = &self.packet;
        if let (Some(Ok(index)), Some(crypto)) = (self.index, set.crypto(packet.key)) {
            match set.direction() {
                Direction::Send => crypto.before_seal(job, packet, index),
                Direction::Receive => crypto.before_open(job, packet),
            }
            batch.push(crypto.item(job, packet, index), &mut self.authentic);
        }
    }
}

/// Step 3 of unprotecting.
#[inline]
fn settle(set: &mut ContextSet, job: &mut Job<'_>, plain: &Plain) -> Result<(), Refusal> {
    let RtpHeader { ssrc, sequence, .. } = plain.header;
    let admission = set.admit(ssrc, Claim::Sequence(sequence), 0);
    if admission.map(|it| it.index) != plain.index {
        return settle_again(set, job, plain);
    }
    let admission = admission?;
    if !plain.authentic {
        return Err(Refusal::AuthFailed);
    }
    job.len = plain.end;
    set.commit(admission);
    Ok(())
}

/// See [`settle`]: the index is not what it was guessed to be.
#[cold]
fn settle_again(set: &mut ContextSet, job: &mut Job<'_>, plain: &Plain) -> Result<(), Refusal> {
    let packet = Packet::protected(set.format(), job.kind, job.packet(0)?);
    let other = Other {
        packet: packet.ok_or(Refusal::Malformed)?,
        index: Some(plain.index),
        authentic: plain.authentic,
    };
    settle_other(set, job, &other)
}

/// See [`settle`].
#[inline(never)]
fn settle_other(set: &mut ContextSet, job: &mut Job<'_>, other: &Other) -> Result<(), Refusal> {
    let packet = &other.packet;
    let admission = set.admit(packet.ssrc, packet.claim, packet.key);

    let mut authentic = other.authentic;
    if other.index != Some(admission.map(|it| it.index)) {
        if let Some(Ok(guessed)) = other.index {
            let crypto = set.crypto_at(packet.key, guessed);
            if authentic {
                kernel::restore(&mut crypto.item(job, packet, guessed));
            }
            crypto.after_refusal(job, packet, guessed);
        }
        if packet.tag == Tag::Absent && !set.knows(packet.ssrc) {
            return Err(Refusal::AuthFailed);
        }
        let index = admission?.index;
        authentic = set.crypto_at(packet.key, index).open(job, packet, index);
    }

    let admission = admission?;
    let crypto = set.crypto_at(packet.key, admission.index);
    if !authentic {
        crypto.after_refusal(job, packet, admission.index);
        return Err(Refusal::AuthFailed);
    }
    crypto.after_open(job, packet, admission.index);
    // Nobody vouches for a packet without a tag.
    if packet.tag != Tag::Absent {
        set.commit(admission);
    }
    Ok(())
}

/// The jobs that nothing has refused so far.
fn waiting<'a, 'f>(burst: &'a mut [Job<'f>]) -> impl Iterator<Item = &'a mut Job<'f>> {
    burst.iter_mut().filter(|job| job.outcome.is_ok())
}

/// The set of a job that passed the first step.
fn known<'s>(sets: &'s ContextSets, job: &Job<'_>) -> &'s ContextSet {
    sets.set(job.set).expect(KNOWN)
}
