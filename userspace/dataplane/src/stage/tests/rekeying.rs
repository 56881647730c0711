// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Flows that are changed, and their keys.

use std::sync::Arc;

use sallyport_flow::{Carries, FlowId, Reason};
use sallyport_srtp::{ContextSet, Kind, Mark, Policy};

use super::bed::{
    ACCESS_LOCAL, Bed, LATCH, PLAIN, SSRC, UE, key, new_key, payload, receiver, rtp, sender_report,
    to_be_protected,
};

use crate::burst::Fate;
use crate::contexts::{Claim, ContextChange, Contexts, Property, PropertyChange, Take};
use crate::flow_table::Terms;
use crate::observed::Observed;
use crate::worker;
use crate::worker::{Change, apply};

/// Keys stay as they are.
const KEEP: ContextChange = ContextChange {
    unprotect: Take::Same,
    beside: Take::Same,
    protect: Take::Same,
    first_srtcp: 0,
};

/// The peer has offered new keys.
pub(super) fn expect_new_key() -> ContextChange {
    ContextChange {
        beside: Take::New(receiver(&new_key())),
        ..KEEP
    }
}

/// The new keys are in use, the old ones beside them.
const SWAP: ContextChange = ContextChange {
    unprotect: Take::Other,
    beside: Take::Other,
    ..KEEP
};

/// There is only one set of keys.
const RETIRE: ContextChange = ContextChange {
    beside: Take::Nothing,
    ..KEEP
};

#[test]
fn a_flow_that_is_changed_keeps_its_rollover_counter_and_its_replay_list() {
    let mut bed = Bed::new(|_| {});
    let srtp: Vec<_> = [65_534, 65_535, 0, 1, 2]
        .map(|sequence| bed.protected(Kind::Rtp, &rtp(sequence, b"on and on")))
        .into();
    assert_eq!(bed.fates(&srtp[..3]), [Fate::Onward; 3]);
    let mut terms = bed.entry().terms.clone();
    terms.dscp = Some(46);
    let left = bed.change(Some(terms), Some(KEEP));
    assert!(left.contexts.iter().all(|it| it.unprotect.is_none()));
    let replayed = Fate::Refused(Reason::Replayed);
    assert_eq!(
        bed.fates(&srtp),
        [replayed, replayed, replayed, Fate::Onward, Fate::Onward]
    );
    assert_eq!(bed.entry().counters.packets_in, 8);
}

#[test]
fn only_the_owner_of_a_flow_has_room_for_what_the_peer_tells() {
    let mut bed = Bed::with_contexts(PLAIN, |_| {});
    let observed = |bed: &Bed| bed.entry().counters.observed.clone();
    assert!(observed(&bed).receptions.is_none() && observed(&bed).reports.is_none());
    assert_eq!(bed.fates(&[rtp(1, b"first")]), [Fate::Onward]);
    assert!(observed(&bed).receptions.is_some() && observed(&bed).reports.is_some());
    let mut other = Bed::with_contexts(PLAIN, |entry| {
        entry.claim = Arc::clone(&bed.entry().claim);
    });
    other.state.worker = 1;
    assert_eq!(other.fates(&[rtp(2, b"second")]), [Fate::HandedOver(0)]);
    assert!(observed(&other).receptions.is_none() && observed(&other).reports.is_none());
}

#[test]
fn a_change_brings_the_room_that_it_needs_and_takes_back_what_it_replaces() {
    let mut bed = Bed::with_contexts(PLAIN, |entry| {
        entry.terms.carries = Carries::Rtp;
        entry.claim = Arc::new(Claim::new(Property {
            contexts: PLAIN,
            observed: Observed::room(Carries::Rtp, None),
        }));
    });
    assert_eq!(bed.fates(&[rtp(1, b"first")]), [Fate::Onward]);
    assert!(bed.entry().counters.observed.reports.is_none());
    for is_needed in [true, false] {
        let before = bed.entry().terms.carries;
        let observed = Observed::room(Carries::Muxed, Some(Carries::Rtp));
        let brought = observed.reports.as_deref().map(std::ptr::from_ref);
        let update = worker::Update {
            change: vec![Change {
                id: FlowId(1),
                terms: Some(Terms {
                    carries: Carries::Muxed,
                    ..bed.entry().terms.clone()
                }),
                property: Some(Box::new(PropertyChange {
                    observed,
                    ..PropertyChange::default()
                })),
            }],
            ..worker::Update::default()
        };
        let left = apply(&mut bed.state, Box::new(update));
        let reports = bed.entry().counters.observed.reports.as_deref();
        assert_eq!(reports.map(std::ptr::from_ref) == brought, is_needed);
        let [change] = &left.update.change[..] else {
            panic!("{left:?}")
        };
        assert_eq!(
            change.terms.as_ref().map(|terms| terms.carries),
            Some(before)
        );
        let room = change.property.as_ref().map(|property| &property.observed);
        assert_eq!(room.is_some_and(|room| room.reports.is_some()), !is_needed);
    }
}

#[test]
fn srtcp_that_comes_from_another_flow_skips_the_indices_of_that() {
    for has_packets in [false, true] {
        let mut bed = Bed::with_contexts(to_be_protected(), |_| {});
        if has_packets {
            assert_eq!(bed.fates(&[rtp(1, b"before")]), [Fate::Onward]);
        }
        let change = ContextChange {
            first_srtcp: 1 << 21,
            ..KEEP
        };
        if has_packets {
            bed.change(None, Some(change));
        } else {
            bed.entry().claim.change(Box::new(change.into())).unwrap();
        }
        let results = bed.process(&[
            (UE, ACCESS_LOCAL, sender_report()),
            (UE, ACCESS_LOCAL, rtp(2, b"after")),
        ]);
        let srtcp = payload(&results[0].1);
        let index = &srtcp[srtcp.len() - 14..][..4];
        assert_eq!(index, (1u32 << 31 | 1 << 21).to_be_bytes());
        assert_eq!(results[1].0, Fate::Onward);
    }
}

#[test]
fn while_contexts_have_changed_and_terms_have_not_nothing_passes_in_the_clear() {
    let protected = Contexts {
        unprotect: Some(receiver(&key())),
        ..PLAIN
    };
    for contexts in [protected, to_be_protected()] {
        let mut bed = Bed::with_contexts(contexts, |entry| entry.terms.source = LATCH);
        let change = ContextChange {
            unprotect: Take::Nothing,
            beside: Take::Nothing,
            protect: Take::Nothing,
            first_srtcp: 0,
        };
        bed.entry().claim.change(Box::new(change.into())).unwrap();
        let refused = Fate::Refused(Reason::UnknownFlow);
        assert_eq!(bed.fates(&[rtp(1, b"a"), sender_report()]), [refused; 2]);
        let mut terms = bed.entry().terms.clone();
        (terms.protected, terms.protects) = (false, false);
        bed.change(Some(terms), None);
        assert_eq!(
            bed.fates(&[rtp(2, b"b"), sender_report()]),
            [Fate::Onward; 2]
        );
    }
}

#[test]
fn no_packet_is_lost_while_old_and_new_keys_are_in_use() {
    let mut bed = Bed::new(|_| {});
    let old_set = bed.peer_set;
    bed.rekey_peer(ContextSet::sender(&new_key(), Policy::default()));
    let new_set = bed.peer_set;
    let mut base = 0;
    // From an offer of new keys to the end of the old ones: those that the peer uses.
    for (step, change, peer) in [
        ("before the offer", None, [old_set, old_set]),
        ("offered", Some(expect_new_key()), [old_set, new_set]),
        ("answered", Some(SWAP), [new_set, old_set]),
        ("retired", Some(RETIRE), [new_set, new_set]),
    ] {
        bed.change(None, change);
        base += 100;
        let burst: Vec<_> = (0..16)
            .map(|number| {
                bed.peer_set = peer[usize::from(number % 2)];
                if number % 8 > 5 {
                    return bed.protected(Kind::Rtcp, &sender_report());
                }
                bed.protected(Kind::Rtp, &rtp(base + number, &[7; 160]))
            })
            .collect();
        assert_eq!(bed.fates(&burst), [Fate::Onward; 16], "{step}");
        let replayed = [Fate::Refused(Reason::Replayed); 16];
        assert_eq!(bed.fates(&burst), replayed, "{step}");
        for mut forged in burst {
            forged[20] ^= 1;
            let fate = bed.fates(&[forged])[0];
            let refused = [Reason::AuthFailed, Reason::Replayed].map(Fate::Refused);
            assert!(refused.contains(&fate), "{step}: {fate:?}");
        }
    }
    bed.peer_set = old_set;
    let late = bed.protected(Kind::Rtp, &rtp(9_000, b"too late"));
    assert_eq!(bed.fates(&[late]), [Fate::Refused(Reason::AuthFailed)]);
}

#[test]
fn keys_whose_offer_was_refused_are_not_taken_any_more() {
    let mut bed = Bed::new(|_| {});
    let old_set = bed.peer_set;
    bed.change(None, Some(expect_new_key()));
    // No worker had the flow yet, so no contexts changed: the control side does that.
    assert!(bed.entry().owned.is_none());
    let first = bed.protected(Kind::Rtp, &rtp(1, b"a"));
    assert_eq!(bed.fates(&[first]), [Fate::Onward]);
    bed.change(None, Some(expect_new_key()));
    bed.rekey_peer(ContextSet::sender(&new_key(), Policy::default()));
    let early = bed.protected(Kind::Rtp, &rtp(2, b"b"));
    assert_eq!(bed.fates(&[early]), [Fate::Onward]);
    let left = bed.change(None, Some(RETIRE));
    assert!(left.contexts[0].beside.is_some());
    let late = bed.protected(Kind::Rtp, &rtp(3, b"c"));
    bed.peer_set = old_set;
    let good = bed.protected(Kind::Rtp, &rtp(4, b"d"));
    assert_eq!(
        bed.fates(&[late, good]),
        [Fate::Refused(Reason::AuthFailed), Fate::Onward]
    );
}

#[test]
fn under_new_keys_the_rollover_counter_may_go_on_or_start_anew() {
    /// Where the stream stands when keys change: in its third turn, shortly before the fourth.
    const MARK: Mark = Mark {
        ssrc: SSRC,
        rtp: Some(3 * 65_536 - 2),
        rtcp: None,
    };
    const EITHER: [bool; 2] = [true, false];
    for (goes_on, is_late) in EITHER
        .into_iter()
        .flat_map(|it| EITHER.map(|is_late| (it, is_late)))
    {
        for srtcp_first in EITHER {
            let mut old = receiver(&key());
            old.resume(&[MARK]).unwrap();
            let contexts = Contexts {
                unprotect: Some(old),
                ..PLAIN
            };
            let mut bed = Bed::with_contexts(contexts, |_| {});
            let mut peer = ContextSet::sender(&key(), Policy::default());
            peer.resume(&[MARK]).unwrap();
            bed.rekey_peer(peer);
            let last = bed.protected(Kind::Rtp, &rtp(65_535, b"under the old key"));
            assert_eq!(bed.fates(std::slice::from_ref(&last)), [Fate::Onward]);
            bed.change(None, Some(expect_new_key()));
            if is_late {
                // The peer is silent until its old key has retired.
                bed.change(None, Some(SWAP));
                bed.change(None, Some(RETIRE));
            }
            let mut peer = ContextSet::sender(&new_key(), Policy::default());
            if goes_on {
                peer.resume(&[MARK]).unwrap();
            }
            bed.rekey_peer(peer);
            let at = format!("goes on: {goes_on}, late: {is_late}, SRTCP first: {srtcp_first}");
            if srtcp_first {
                let report = bed.protected(Kind::Rtcp, &sender_report());
                assert_eq!(bed.fates(&[report]), [Fate::Onward], "{at}");
            }
            let next: Vec<_> = (0..64)
                .map(|sequence| bed.protected(Kind::Rtp, &rtp(sequence, b"under the new key")))
                .collect();
            assert_eq!(bed.fates(&next), [Fate::Onward; 64], "{at}");
            let replayed = [Fate::Refused(Reason::Replayed); 64];
            assert_eq!(bed.fates(&next), replayed, "{at}");
            let reason = if is_late {
                Reason::AuthFailed
            } else {
                Reason::Replayed
            };
            assert_eq!(bed.fates(&[last]), [Fate::Refused(reason)], "{at}");
        }
    }
}

#[test]
fn the_rollover_counter_goes_on_whatever_the_old_keys_are_refused_for() {
    const MARK: Mark = Mark {
        ssrc: SSRC,
        rtp: Some(3 * 65_536 - 2),
        rtcp: None,
    };
    let spent = Policy {
        lifetime: MARK.rtp,
        ..Policy::default()
    };
    let named = key().with_mki(&[1, 2, 3, 4]).unwrap();
    for (name, old, policy) in [
        ("an unknown MKI", named, Policy::default()),
        ("the end of their life", key(), spent),
    ] {
        for is_old_first in [true, false] {
            let mut old = Box::new(ContextSet::receiver(&old, policy));
            old.resume(&[MARK]).unwrap();
            let (old, new) = (Some(old), Some(receiver(&new_key())));
            let (unprotect, beside) = if is_old_first { (old, new) } else { (new, old) };
            let contexts = Contexts {
                unprotect,
                beside,
                protect: None,
            };
            let mut bed = Bed::with_contexts(contexts, |_| {});
            let mut peer = ContextSet::sender(&new_key(), Policy::default());
            peer.resume(&[MARK]).unwrap();
            bed.rekey_peer(peer);
            let next = [65_535, 0].map(|sequence| bed.protected(Kind::Rtp, &rtp(sequence, b"on")));
            let at = format!("{name}, old first: {is_old_first}");
            assert_eq!(bed.fates(&next), [Fate::Onward; 2], "{at}");
        }
    }
}
