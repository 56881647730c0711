// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Gates, and keys that are missing.

use std::time::Duration;

use sallyport_flow::{FlowId, Gate, Reason};
use sallyport_srtp::{ContextSets, Job, Kind};

use super::bed::{
    ACCESS_LOCAL, Bed, LATCH, PLAIN, UE, address, key, payload, receiver, rtp, sender_report,
    to_be_protected,
};

use crate::burst::Fate;
use crate::flow_table::SourceFilter;
use crate::state::Event;

#[test]
fn a_closed_gate_refuses_rtp_and_lets_rtcp_pass() {
    let mut bed = Bed::new(|entry| entry.terms.gate = Gate::Closed);
    let [first, second] = [7, 8].map(|sequence| bed.protected(Kind::Rtp, &rtp(sequence, b"held")));
    let report = bed.protected(Kind::Rtcp, &sender_report());
    assert_eq!(
        bed.fates(&[first.clone(), report]),
        [Fate::Refused(Reason::GateClosed), Fate::Onward]
    );
    let mut terms = bed.entry().terms.clone();
    terms.gate = Gate::Open;
    bed.change(Some(terms), None);
    // What was refused at the gate has authenticated: it is not to come again.
    assert_eq!(
        bed.fates(&[first, second]),
        [Fate::Refused(Reason::Replayed), Fate::Onward]
    );
}

#[test]
fn while_keys_are_missing_nothing_passes_and_nobody_is_latched() {
    let mut bed = Bed::with_contexts(PLAIN, |entry| {
        entry.terms.gate = Gate::Locked;
        entry.terms.source = LATCH;
    });
    let fates = bed.fates(&[rtp(7, b"in clear"), sender_report()]);
    assert_eq!(fates, [Fate::Refused(Reason::NoKeys); 2]);
    let SourceFilter::Latch(latching) = bed.entry().terms.source else {
        panic!()
    };
    assert_eq!(latching.latched, None);
}

#[test]
fn a_peer_that_sends_at_a_closed_gate_is_followed() {
    let mut bed = Bed::new(|entry| {
        entry.terms.gate = Gate::Closed;
        entry.terms.source = LATCH;
    });
    bed.state.now += Duration::from_mins(20);
    for sequence in 0..=u16::MAX {
        let held = bed.protected(Kind::Rtp, &rtp(sequence, b"held"));
        assert_eq!(bed.fates(&[held]), [Fate::Refused(Reason::GateClosed)]);
    }
    assert_eq!(bed.entry().counters.last, Some(bed.state.now));
    let latched = Event::Latched {
        flow: FlowId(1),
        remote: address(UE),
        round: 0,
    };
    assert_eq!(bed.state.events.try_next(), Some(latched));
    let mut terms = bed.entry().terms.clone();
    terms.gate = Gate::Open;
    bed.change(Some(terms), None);
    let next = bed.protected(Kind::Rtp, &rtp(0, b"after the hold"));
    assert_eq!(bed.fates(&[next]), [Fate::Onward]);
}

#[test]
fn the_receiver_follows_after_a_closed_gate_however_many_packets_did_not_pass() {
    let mut bed = Bed::with_contexts(to_be_protected(), |_| {});
    let mut far = ContextSets::with_capacity(1);
    let far_set = far.insert(*receiver(&key()));
    let mut open = bed.entry().terms.clone();
    for turn in 0..2 {
        open.gate = Gate::Closed;
        bed.change(Some(open.clone()), None);
        for sequence in 0..=u16::MAX {
            let held = bed.fates(&[rtp(sequence, b"held")]);
            assert_eq!(held, [Fate::Refused(Reason::GateClosed)]);
        }
        open.gate = Gate::Open;
        bed.change(Some(open.clone()), None);
        let plain = rtp(turn, b"after the hold");
        let (_, packet) = bed.process(&[(UE, ACCESS_LOCAL, plain)]).remove(0);
        let srtp = payload(&packet);
        let mut frame = vec![0; 2048];
        frame[256..][..srtp.len()].copy_from_slice(srtp);
        let mut job = [Job::new(&mut frame, 256, srtp.len(), Kind::Rtp, far_set)];
        far.unprotect(&mut job);
        assert_eq!(job[0].outcome, Ok(()));
    }
}
