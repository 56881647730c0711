// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Whom a flow latches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sallyport_flow::{FlowId, Reason};
use sallyport_srtp::Kind;

use super::bed::{ACCESS_LOCAL, Bed, LATCH, PLAIN, UE, address, key, receiver, rtp};

use crate::burst::Fate;
use crate::contexts::Contexts;
use crate::flow_table::{LatchOn, Latching, SourceFilter};
use crate::state::Event;

#[test]
fn a_protected_flow_latches_only_to_who_authenticates_and_follows_it() {
    let mut bed = Bed::new(|entry| entry.terms.source = LATCH);
    let events = Arc::clone(&bed.state.events);
    let forged = rtp(6, &[0; 40]);
    let first = bed.protected(Kind::Rtp, &rtp(7, b"from here"));
    let second = bed.protected(Kind::Rtp, &rtp(8, b"and now from there"));
    let results = bed.process(&[("192.0.2.66:666", ACCESS_LOCAL, forged)]);
    assert_eq!(results[0].0, Fate::Refused(Reason::AuthFailed));
    assert_eq!(events.try_next(), None);
    bed.process(&[(UE, ACCESS_LOCAL, first)]);
    let latched = |remote| {
        Some(Event::Latched {
            flow: FlowId(1),
            remote: address(remote),
            round: 0,
        })
    };
    assert_eq!(events.try_next(), latched(UE));
    let results = bed.process(&[("192.0.2.9:7000", ACCESS_LOCAL, second)]);
    assert_eq!(results[0].0, Fate::Onward);
    assert_eq!(events.try_next(), latched("192.0.2.9:7000"));
}

#[test]
fn a_plain_flow_latches_to_the_first_packet_for_good_even_within_one_burst() {
    let mut bed = Bed::with_contexts(PLAIN, |entry| {
        entry.terms.source = LATCH;
    });
    let other = "192.0.2.9:7000";
    let results = bed.process(&[
        (UE, ACCESS_LOCAL, rtp(1, b"a")),
        (other, ACCESS_LOCAL, rtp(2, b"b")),
        (UE, ACCESS_LOCAL, rtp(3, b"c")),
    ]);
    let fates: Vec<Fate> = results.iter().map(|(fate, _)| *fate).collect();
    let refused = Fate::Refused(Reason::SourceFiltered);
    assert_eq!(fates, [Fate::Onward, refused, Fate::Onward]);
    assert_eq!(
        bed.process(&[(other, ACCESS_LOCAL, rtp(4, b"d"))])[0].0,
        refused
    );
}

#[test]
fn what_was_latched_is_told_later_if_there_is_no_room_for_events() {
    for contexts in [
        PLAIN,
        Contexts {
            unprotect: Some(receiver(&key())),
            ..PLAIN
        },
    ] {
        let is_plain = contexts.unprotect.is_none();
        let mut bed = Bed::with_contexts(contexts, |entry| entry.terms.source = LATCH);
        let events = Arc::clone(&bed.state.events);
        let other = Event::KeyExpired { flow: FlowId(2) };
        while events.offer(other) {}
        for sequence in 0..3 {
            let mut packet = rtp(sequence, b"a");
            if !is_plain {
                packet = bed.protected(Kind::Rtp, &packet);
            }
            assert_eq!(bed.fates(&[packet]), [Fate::Onward]);
            if sequence == 1 {
                while events.try_next() == Some(other) {}
            }
        }
        let latched = Event::Latched {
            flow: FlowId(1),
            remote: address(UE),
            round: 0,
        };
        assert_eq!(events.try_next(), Some(latched));
        assert_eq!(events.try_next(), None);
    }
}

#[test]
fn a_plain_flow_latches_only_whom_it_may_and_only_in_time() {
    const WINDOW: Duration = Duration::from_secs(10);
    for (from, after, other_port, other_host) in [
        (None, WINDOW, true, true),
        (Some("192.0.2.7/32"), WINDOW, true, false),
        (Some("192.0.2.0/28"), WINDOW, true, true),
        (Some("2001:db8::/32"), WINDOW, false, false),
        (None, WINDOW + Duration::from_millis(1), false, false),
    ] {
        for (source, is_taken) in [
            ("192.0.2.7:7777", other_port),
            ("192.0.2.8:5004", other_host),
        ] {
            let mut bed = Bed::with_contexts(PLAIN, |_| {});
            let mut terms = bed.entry().terms.clone();
            terms.source = SourceFilter::Latch(Latching {
                from: from.map(|net| net.parse().unwrap()),
                until: Some(bed.state.now + WINDOW),
                ..Latching::default()
            });
            bed.change(Some(terms), None);
            bed.state.now += after;
            let fate = bed.process(&[(source, ACCESS_LOCAL, rtp(1, b"a"))])[0].0;
            let expected = if is_taken {
                Fate::Onward
            } else {
                Fate::Refused(Reason::SourceFiltered)
            };
            assert_eq!(fate, expected, "{source} {from:?} {after:?}");
            // Who is latched stays so after the window.
            bed.state.now += WINDOW;
            let fate = bed.process(&[(source, ACCESS_LOCAL, rtp(2, b"b"))])[0].0;
            assert_eq!(fate, expected, "{source} {from:?} {after:?}");
        }
    }
}

#[test]
fn which_packet_latches_a_plain_flow_is_up_to_the_agent() {
    const WATCH: Duration = Duration::from_secs(3);
    let [best, port, host, other] = [UE, "192.0.2.9:5004", "192.0.2.7:7000", "192.0.2.9:7000"];
    // Who sends, one after the other, and who is latched then; what comes after the watch.
    for (on, early, late) in [
        (
            sallyport_flow::LatchOn::Late(WATCH),
            &[(other, true, None), (best, true, None)][..],
            &[(host, true, Some(host)), (best, false, Some(host))][..],
        ),
        (
            sallyport_flow::LatchOn::Best(WATCH),
            &[
                (other, true, Some(other)),
                (port, true, Some(port)),
                (other, false, Some(port)),
                (host, true, Some(host)),
            ],
            &[(best, false, Some(host)), (host, true, Some(host))],
        ),
        (
            sallyport_flow::LatchOn::Best(WATCH),
            &[(best, true, Some(best)), (host, false, Some(best))],
            &[(host, false, Some(best))],
        ),
        (
            sallyport_flow::LatchOn::Last,
            // Not back and forth with every packet.
            &[(best, true, Some(best)), (other, false, Some(best))],
            &[(other, true, Some(other)), (best, false, Some(other))],
        ),
    ] {
        let mut bed = Bed::with_contexts(PLAIN, |_| {});
        let mut terms = bed.entry().terms.clone();
        terms.source = SourceFilter::Latch(Latching {
            signalled: Some(address(UE)),
            on: LatchOn::new(on, bed.state.now),
            ..Latching::default()
        });
        bed.change(Some(terms), None);
        for (packets, after) in [(early, Duration::ZERO), (late, WATCH)] {
            bed.state.now += after;
            for (sequence, (from, passes, latched)) in (1..).zip(packets) {
                let fate = bed.process(&[(*from, ACCESS_LOCAL, rtp(sequence, b"a"))])[0].0;
                assert_eq!(fate == Fate::Onward, *passes, "{on:?} {from}");
                let SourceFilter::Latch(latching) = bed.entry().terms.source else {
                    panic!("{on:?}");
                };
                assert_eq!(latching.latched, latched.map(address), "{on:?} {from}");
            }
        }
    }
}

#[test]
fn a_protected_flow_that_latches_may_still_filter_addresses() {
    let mut bed = Bed::new(|entry| {
        entry.terms.source = SourceFilter::Latch(Latching {
            from: Some("192.0.2.0/29".parse().unwrap()),
            // Of no meaning: authentication tells.
            until: Some(Instant::now()),
            ..Latching::default()
        });
    });
    bed.state.now += Duration::from_secs(1);
    let srtp = bed.protected(Kind::Rtp, &rtp(1, b"a"));
    for (source, fate) in [
        ("192.0.2.9:5004", Fate::Refused(Reason::SourceFiltered)),
        ("192.0.2.6:5004", Fate::Onward),
        ("192.0.2.9:5004", Fate::Refused(Reason::SourceFiltered)),
    ] {
        let results = bed.process(&[(source, ACCESS_LOCAL, srtp.clone())]);
        assert_eq!(results[0].0, fate, "{source}");
    }
}

#[test]
fn a_change_keeps_who_is_latched_unless_the_peer_is_another() {
    let other = "192.0.2.9:7000";
    for (round, from, stays) in [
        (0, None, true),
        (1, None, false),
        (0, Some("192.0.2.9/32"), false),
    ] {
        let mut bed = Bed::with_contexts(PLAIN, |entry| entry.terms.source = LATCH);
        assert_eq!(bed.fates(&[rtp(1, b"a")]), [Fate::Onward]);
        let mut terms = bed.entry().terms.clone();
        terms.source = SourceFilter::Latch(Latching {
            round,
            from: from.map(|net: &str| net.parse().unwrap()),
            ..Latching::default()
        });
        bed.change(Some(terms), None);
        let fate = bed.process(&[(other, ACCESS_LOCAL, rtp(2, b"b"))])[0].0;
        assert_eq!(fate != Fate::Onward, stays, "{round} {from:?}");
    }
}

#[test]
fn a_plain_peer_that_moves_is_not_latched_where_it_was_unless_it_stays_there() {
    const WINDOW: Duration = Duration::from_secs(10);
    const MOVED: &str = "192.0.2.7:5008";
    let refused = Fate::Refused(Reason::SourceFiltered);
    // Where the peer said that it was, and says that it is. A packet from where it was, and one
    // from where it is, so long after. What becomes of the latter, and who is latched.
    for (name, before, now, after, fate, latched) in [
        (
            "it moves",
            Some(UE),
            MOVED,
            Duration::ZERO,
            Fate::Onward,
            MOVED,
        ),
        (
            "it does not, after all",
            Some(UE),
            MOVED,
            WINDOW * 2,
            refused,
            UE,
        ),
        (
            "it said nothing before",
            None,
            MOVED,
            Duration::ZERO,
            refused,
            UE,
        ),
        (
            "it says where it sends from",
            Some(MOVED),
            UE,
            Duration::ZERO,
            refused,
            UE,
        ),
    ] {
        let mut bed = Bed::with_contexts(PLAIN, |_| {});
        let mut terms = bed.entry().terms.clone();
        for (round, signalled) in [(0, before), (1, Some(now))] {
            terms.source = SourceFilter::Latch(Latching {
                signalled: signalled.map(address),
                until: Some(bed.state.now + WINDOW),
                round,
                ..Latching::default()
            });
            bed.change(Some(terms.clone()), None);
            assert_eq!(
                bed.fates(&[rtp(1, b"from there")]),
                [Fate::Onward],
                "{name}"
            );
        }
        bed.state.now += after;
        assert_eq!(bed.fates(&[rtp(2, b"still")]), [Fate::Onward], "{name}");
        let moved = bed.process(&[(MOVED, ACCESS_LOCAL, rtp(3, b"from here"))]);
        assert_eq!(moved[0].0, fate, "{name}");
        let SourceFilter::Latch(latching) = bed.entry().terms.source else {
            panic!()
        };
        assert_eq!(latching.latched, Some(address(latched)), "{name}");
    }
}
