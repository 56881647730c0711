// SPDX-License-Identifier: Apache-2.0 OR MIT

//! RTP and RTCP become SRTP and SRTCP where they leave by a protected leg, the whole burst at
//! once. The way from a burst to the batch API of `sallyport-srtp` and back is here, for both
//! directions.

use arrayvec::ArrayVec;
use sallyport_flow::Reason;
use sallyport_srtp::{ContextSets, Job, Refusal, SetId};

use crate::burst::{Burst, Fate, MAX_BURST, Packet};
use crate::contexts::Owned;
use crate::flow_table::Terms;
use crate::state::{Event, WorkerState};

/// Packets of a burst: one bit for each place.
pub(super) type Places = u64;

const _: () = assert!(MAX_BURST <= Places::BITS as usize);

/// Protects the packets that leave by protected legs.
pub(super) fn protect(burst: &mut Burst, state: &mut WorkerState) {
    let refused = run(burst, state, !0, ContextSets::protect, |terms, owned| {
        (terms.protects, owned.sets.protect)
    });
    if refused != 0 {
        report_expiry(burst, state);
    }
}

/// Hands those of some packets that go on and have crypto contexts to them. Refuses those that must
/// have some and have none: contexts may change before terms do. Returns which the contexts refused.
pub(super) fn run(
    burst: &mut Burst,
    state: &mut WorkerState,
    places: Places,
    process: fn(&mut ContextSets, &mut [Job<'_>]),
    set_of: impl Fn(&Terms, &Owned) -> (bool, Option<SetId>),
) -> Places {
    let mut jobs = ArrayVec::<Job<'_>, MAX_BURST>::new();
    let mut rest = ArrayVec::<Rest<'_>, MAX_BURST>::new();
    for (place, packet) in burst.iter_mut().enumerate() {
        if places >> place & 1 == 0 || !packet.goes_on() {
            continue;
        }
        let entry = state.flows.entry(packet.flow);
        let entry = entry.and_then(|entry| Some((&entry.terms, entry.owned.as_ref()?)));
        let Some((terms, owned)) = entry else {
            packet.refuse(Reason::UnknownFlow);
            continue;
        };
        let (must, set) = set_of(terms, owned);
        if let Some(set) = set {
            let Packet {
                frame,
                start,
                len,
                kind,
                fate,
                ..
            } = packet;
            jobs.push(Job::new(frame.bytes_mut(), *start, *len, *kind, set));
            rest.push(Rest {
                place,
                start,
                len,
                fate,
            });
        } else if must {
            packet.refuse(Reason::UnknownFlow);
        }
    }
    if jobs.is_empty() {
        return 0;
    }
    process(&mut state.contexts, &mut jobs);
    let mut refused = 0;
    for (job, packet) in jobs.into_iter().zip(rest) {
        match job.outcome {
            Ok(()) => (*packet.start, *packet.len) = (job.start, job.len),
            Err(refusal) => {
                *packet.fate = Fate::Refused(reason(refusal));
                refused |= 1 << packet.place;
            }
        }
    }
    refused
}

/// What of a packet is not in its job.
struct Rest<'b> {
    place: usize,
    start: &'b mut usize,
    len: &'b mut usize,
    fate: &'b mut Fate,
}

/// Tells the control side once that a flow's key has expired.
pub(super) fn report_expiry(burst: &Burst, state: &mut WorkerState) {
    const EXPIRED: Fate = Fate::Refused(Reason::KeyExpired);
    for packet in burst.iter().filter(|packet| packet.fate == EXPIRED) {
        if let Some(entry) = state.flows.entry_mut(packet.flow)
            && !entry.has_expired
        {
            entry.has_expired = true;
            state.events.push(Event::KeyExpired { flow: entry.id });
        }
    }
}

/// The name under which a refusal of the crypto is counted.
pub(super) const fn reason(refusal: Refusal) -> Reason {
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
