// SPDX-License-Identifier: Apache-2.0 OR MIT

//! SRTP and SRTCP of protected flows become RTP and RTCP, the whole burst at once.
//!
//! A flow that gets new keys has two sets of crypto contexts for a while, and nothing in a packet
//! says to which it belongs: what one of them refuses is given to the other. A set changes only by
//! what authenticates under it, so a try costs nothing but time, and that only while there are two.
//!
//! Under new keys the rollover counter goes on (RFC 3711 section 3.3.1) or starts anew (as most
//! peers do it), and packets do not say that either. They are first taken for the start of a
//! stream, and if that is wrong, for what follows on the packets under the keys before.

use arrayvec::ArrayVec;
use sallyport_flow::Reason;
use sallyport_srtp::{ContextSets, Job, Kind, Mark, SetId};

use crate::burst::{Burst, Fate, MAX_BURST, Packet};
use crate::contexts::Owned;
use crate::stage::protect::{Places, report_expiry, run};
use crate::state::WorkerState;

const AUTH_FAILED: Fate = Fate::Refused(Reason::AuthFailed);

/// Unprotects the packets of protected flows.
pub(super) fn unprotect(burst: &mut Burst, state: &mut WorkerState) {
    let refused = run(burst, state, !0, ContextSets::unprotect, |terms, owned| {
        (terms.protected, owned.arriving(0))
    });
    if refused != 0 {
        let failed = try_second(burst, state, refused);
        let mut went_on = ArrayVec::new();
        for place in each(failed) {
            let packet = &mut burst[place];
            if packet.kind == Kind::Rtp {
                try_as_continued(packet, state, &mut went_on);
            }
        }
        report_expiry(burst, state);
    }
}

/// Tries packets under the second set of their flow, if there is one. Returns which go no further
/// and did not authenticate under one of the sets, whatever the other one says.
#[cold]
fn try_second(burst: &mut Burst, state: &mut WorkerState, refused: Places) -> Places {
    let mut tried = ArrayVec::<(usize, Fate, SetId), MAX_BURST>::new();
    let (mut places, mut failed) = (0, 0);
    for place in each(refused) {
        let packet = &mut burst[place];
        failed |= Places::from(packet.fate == AUTH_FAILED) << place;
        if let Some(second) = owned(packet, state).and_then(|owned| owned.arriving(1)) {
            tried.push((place, packet.fate, second));
            packet.fate = Fate::Onward;
            places |= 1 << place;
        }
    }
    if places == 0 {
        return failed;
    }
    run(burst, state, places, ContextSets::unprotect, |_, owned| {
        (true, owned.arriving(1))
    });
    for (place, fate, second) in tried {
        let packet = &mut burst[place];
        if packet.goes_on() {
            prefer(packet, state, second);
            failed &= !(1 << place);
        } else if packet.fate == AUTH_FAILED {
            // The first refusal says no less.
            packet.fate = fate;
            failed |= 1 << place;
        }
    }
    failed
}

/// Tries a packet of an SSRC of which a set has had none, SRTCP aside, as if it went on from where
/// the SSRC stood under other keys. Once a packet has done so in this burst, the set is listed in
/// `went_on`, and others of the burst are tried again, too.
#[cold]
fn try_as_continued(
    packet: &mut Packet,
    state: &mut WorkerState,
    went_on: &mut ArrayVec<SetId, MAX_BURST>,
) {
    let sets = [0, 1].map(|nth| owned(packet, state).and_then(|owned| owned.arriving(nth)));
    for (this, other) in [(sets[0], sets[1]), (sets[1], sets[0])] {
        let of_this_ssrc = |mark: &Mark| mark.ssrc == packet.ssrc && mark.rtp.is_some();
        let mark_in = |set: Option<SetId>| {
            let set = state.contexts.set(set?)?;
            set.marks().find(of_this_ssrc)
        };
        let past = || {
            let past = &owned(packet, state)?.past;
            past.iter().copied().find(of_this_ssrc)
        };
        let is_worth_it = |set: &SetId| went_on.contains(set) || mark_in(Some(*set)).is_none();
        let Some(this) = this.filter(is_worth_it) else {
            continue;
        };
        let Some(mark) = mark_in(other).or_else(past) else {
            continue;
        };
        let bytes = packet.frame.bytes_mut();
        let mut job = Job::new(bytes, packet.start, packet.len, packet.kind, this);
        state.contexts.unprotect_after(mark, &mut job);
        if job.outcome.is_ok() {
            (packet.start, packet.len) = (job.start, job.len);
            packet.fate = Fate::Onward;
            went_on.push(this);
            return prefer(packet, state, this);
        }
    }
}

/// Notes that a packet has authenticated under this set of its flow.
fn prefer(packet: &Packet, state: &mut WorkerState, set: SetId) {
    let entry = state.flows.entry_mut(packet.flow);
    if let Some(owned) = entry.and_then(|entry| entry.owned.as_mut()) {
        owned.beside_first = owned.sets.beside == Some(set);
    }
}

fn owned<'s>(packet: &Packet, state: &'s WorkerState) -> Option<&'s Owned> {
    state.flows.entry(packet.flow)?.owned.as_ref()
}

fn each(places: Places) -> impl Iterator<Item = usize> {
    (0..MAX_BURST).filter(move |place| places >> place & 1 == 1)
}
