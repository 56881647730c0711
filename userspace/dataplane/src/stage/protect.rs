// SPDX-License-Identifier: Apache-2.0 OR MIT

//! RTP and RTCP become SRTP and SRTCP where they leave by a protected leg, the whole burst at
//! once. The way from a burst to the batch API of `sallyport-srtp` and back is here, for both
//! directions.

use arrayvec::ArrayVec;
use sallyport_flow::{Event, Reason};
use sallyport_srtp::{Job, Refusal};

use crate::burst::{Burst, MAX_BURST};
use crate::flow_table::{Owned, Slot};
use crate::state::WorkerState;

/// Protects the packets that leave by protected legs.
pub(super) fn protect(burst: &mut Burst, state: &mut WorkerState) {
    run(burst, state, Direction::Protect);
}

/// Which of a flow's two sets of crypto contexts.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    /// That of arriving packets.
    Unprotect,
    /// That of leaving packets.
    Protect,
}

/// Hands the packets that have crypto contexts in one direction to them.
pub(super) fn run(burst: &mut Burst, state: &mut WorkerState, direction: Direction) {
    let mut jobs = ArrayVec::<Job<'_>, MAX_BURST>::new();
    let mut places = ArrayVec::<usize, MAX_BURST>::new();
    for (place, packet) in burst.iter_mut().enumerate() {
        if !packet.goes_on() {
            continue;
        }
        let Some(Owned { unprotect, protect }) =
            state.flows.entry(packet.flow).and_then(|entry| entry.owned)
        else {
            packet.refuse(Reason::UnknownFlow);
            continue;
        };
        let set = match direction {
            Direction::Unprotect => unprotect,
            Direction::Protect => protect,
        };
        if let Some(set) = set {
            places.push(place);
            jobs.push(Job {
                frame: packet.frame.bytes_mut(),
                start: packet.start,
                len: packet.len,
                kind: packet.kind,
                set,
                outcome: Ok(()),
            });
        }
    }
    if jobs.is_empty() {
        return;
    }
    match direction {
        Direction::Unprotect => state.contexts.unprotect(&mut jobs),
        Direction::Protect => state.contexts.protect(&mut jobs),
    }
    let outcomes: ArrayVec<_, MAX_BURST> = jobs
        .iter()
        .map(|job| (job.start, job.len, job.outcome))
        .collect();
    drop(jobs);
    for (place, (start, len, outcome)) in places.into_iter().zip(outcomes) {
        let packet = &mut burst[place];
        match outcome {
            Ok(()) => (packet.start, packet.len) = (start, len),
            Err(refusal) => {
                packet.refuse(reason(refusal));
                if refusal == Refusal::KeyExpired {
                    report_expiry(state, packet.flow);
                }
            }
        }
    }
}

/// Tells the control side once that a flow's key has expired.
fn report_expiry(state: &mut WorkerState, slot: Slot) {
    if let Some(entry) = state.flows.entry_mut(slot)
        && !entry.has_expired
    {
        entry.has_expired = true;
        state.events.push(Event::KeyExpired { flow: entry.id });
    }
}

/// The name under which a refusal of the crypto is counted.
const fn reason(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::TruncatedHeader
        | Refusal::NotVersion2
        | Refusal::TruncatedExtension
        | Refusal::TruncatedTrailer
        | Refusal::NotEncrypted
        | Refusal::AlreadyEncrypted => Reason::Malformed,
        Refusal::UnknownMki => Reason::UnknownMki,
        Refusal::AuthFailed => Reason::AuthFailed,
        Refusal::Replayed => Reason::Replayed,
        Refusal::TooOld => Reason::TooOld,
        Refusal::KeyExpired => Reason::KeyExpired,
        Refusal::TooManySsrcs => Reason::TooManySsrcs,
        Refusal::TooBig => Reason::TooBig,
        Refusal::UnknownSet => Reason::UnknownFlow,
    }
}
