// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets from somebody without the key.

use proptest::prelude::*;

use super::{Leg, MARGIN, Passage, framed, pass, rtcp, rtp};
use crate::{ContextSets, HEADROOM, Job, Kind, MAX_GROWTH, Policy, Refusal, Suite, TAILROOM};

const KINDS: [Kind; 2] = [Kind::Rtp, Kind::Rtcp];

fn plain(kind: Kind, sequence: u16) -> Vec<u8> {
    match kind {
        Kind::Rtp => rtp(7, sequence, 50),
        Kind::Rtcp => rtcp(7, 50),
    }
}

#[test]
fn a_packet_with_any_bit_flipped_is_refused_and_changes_no_state() {
    for suite in Suite::ALL {
        for kind in KINDS {
            let (mut sender, mut receiver) = Leg::pair(suite);
            // Once with nothing known, once with the stream under way.
            for sequence in [100, 101] {
                let plain = plain(kind, sequence);
                let good = sender.pass(kind, &plain).unwrap();
                let before = receiver.state();
                for bit in 0..8 * good.len() {
                    let mut bad = good.clone();
                    bad[bit / 8] ^= 1 << (bit % 8);
                    let outcome = receiver.pass(kind, &bad);
                    assert!(outcome.is_err(), "{suite} {kind:?} bit {bit}");
                    assert!(receiver.state() == before, "{suite} {kind:?} bit {bit}");
                }
                assert_eq!(receiver.pass(kind, &good).unwrap(), plain);
            }
        }
    }
}

#[test]
fn a_packet_cut_short_or_made_longer_is_refused() {
    for suite in Suite::ALL {
        for kind in KINDS {
            let (mut sender, mut receiver) = Leg::pair(suite);
            let good = sender.pass(kind, &plain(kind, 100)).unwrap();
            let before = receiver.state();
            for len in 0..good.len() {
                assert!(receiver.pass(kind, &good[..len]).is_err(), "{suite} {len}");
            }
            for extra in 1..40 {
                let mut longer = good.clone();
                longer.resize(good.len() + extra, 0);
                assert!(receiver.pass(kind, &longer).is_err(), "{suite} +{extra}");
            }
            assert!(receiver.state() == before);
            assert!(receiver.pass(kind, &good).is_ok());
        }
    }
}

#[test]
fn a_forged_packet_in_a_burst_leaves_no_trace_beside_those_that_are_right() {
    for suite in Suite::ALL {
        for forged in [0, 1, 31, 62, 63] {
            let (mut sender, mut receiver) = Leg::pair(suite);
            let mut twin = Leg::receiver(suite, Policy::default());
            let good: Vec<_> = (100..165)
                .map(|sequence| sender.pass(Kind::Rtp, &plain(Kind::Rtp, sequence)))
                .map(|packet| Passage::new(Kind::Rtp, receiver.id, packet.unwrap()))
                .collect();
            // The stream is under way.
            let (first, good) = good.split_first().unwrap();
            for leg in [&mut receiver, &mut twin] {
                pass(&mut leg.sets, leg.way, &mut [first.clone()]);
            }

            let mut burst = good.to_vec();
            let last = burst[forged].packet.len() - 1;
            burst[forged].packet[last] ^= 1;
            pass(&mut receiver.sets, receiver.way, &mut burst);
            for (at, passage) in burst.iter().enumerate() {
                let refused = (at == forged).then_some(Refusal::AuthFailed);
                assert_eq!(passage.outcome.err(), refused, "{suite} {at}");
            }
            let mut others = [&good[..forged], &good[forged + 1..]].concat();
            pass(&mut twin.sets, twin.way, &mut others);
            assert!(receiver.state() == twin.state(), "{suite} {forged}");

            let mut late = [good[forged].clone()];
            pass(&mut receiver.sets, receiver.way, &mut late);
            assert_eq!(late[0].outcome, Ok(()), "{suite} {forged}");
        }
    }
}

#[test]
fn another_key_refuses_everything() {
    for suite in Suite::ALL {
        let (mut sender, _) = Leg::pair(suite);
        let other = vec![0x99; suite.key_len() + suite.salt_len()];
        let other = crate::MasterKey::new(suite, &other).unwrap();
        let set = crate::ContextSet::receiver(&other, Policy::default());
        let mut receiver = Leg::new(set, super::Way::Unprotect);
        for kind in KINDS {
            let packet = sender.pass(kind, &plain(kind, 1)).unwrap();
            assert_eq!(receiver.pass(kind, &packet), Err(Refusal::AuthFailed));
        }
        assert_eq!(receiver.set().marks().count(), 0);
    }
}

#[test]
fn contexts_are_made_only_for_ssrcs_that_authenticate_and_never_more_than_allowed() {
    let policy = Policy {
        ssrc_limit: 2,
        ..Policy::default()
    };
    for suite in Suite::ALL {
        let mut sender = Leg::sender(suite, Policy::default());
        let mut receiver = Leg::receiver(suite, policy);
        let good: Vec<_> = (0..3)
            .map(|ssrc| sender.pass(Kind::Rtp, &rtp(ssrc, 1, 20)).unwrap())
            .collect();
        for ssrc in 100..200 {
            let forged = rtp(ssrc, 1, 60);
            let outcome = receiver.pass(Kind::Rtp, &forged);
            assert_eq!(outcome, Err(Refusal::AuthFailed));
        }
        assert!(receiver.pass(Kind::Rtp, &good[0]).is_ok());
        assert!(receiver.pass(Kind::Rtp, &good[1]).is_ok());
        let outcome = receiver.pass(Kind::Rtp, &good[2]);
        assert_eq!(outcome, Err(Refusal::TooManySsrcs));
        let ssrcs: Vec<_> = receiver.set().marks().map(|mark| mark.ssrc).collect();
        assert_eq!(ssrcs, [0, 1]);
    }
}

#[test]
fn srtcp_that_says_it_is_not_encrypted_is_refused() {
    for suite in Suite::ALL.into_iter().filter(|suite| suite.encrypts()) {
        let (mut sender, mut receiver) = Leg::pair(suite);
        let mut packet = sender.pass(Kind::Rtcp, &rtcp(7, 20)).unwrap();
        let word = crate::packet::index_word_at(suite, 28);
        packet[word] &= 0x7f;
        let outcome = receiver.pass(Kind::Rtcp, &packet);
        assert_eq!(outcome, Err(Refusal::NotEncrypted), "{suite}");
    }
}

#[test]
fn a_set_serves_one_direction_and_a_stale_id_none() {
    let (mut sender, mut receiver) = Leg::pair(Suite::AeadAes128Gcm);
    let packet = sender.pass(Kind::Rtp, &rtp(7, 1, 20)).unwrap();
    std::mem::swap(&mut sender.way, &mut receiver.way);
    assert_eq!(sender.pass(Kind::Rtp, &packet), Err(Refusal::UnknownSet));
    assert_eq!(receiver.pass(Kind::Rtp, &packet), Err(Refusal::UnknownSet));
    receiver.sets.remove(receiver.id);
    receiver.way = super::Way::Unprotect;
    assert_eq!(receiver.pass(Kind::Rtp, &packet), Err(Refusal::UnknownSet));
}

#[test]
fn a_packet_without_its_room_is_too_big() {
    for suite in Suite::ALL {
        for kind in KINDS {
            let (mut sender, mut receiver) = Leg::pair(suite);
            let packet = plain(kind, 1);
            let growth = suite.growth(kind);
            let wire = sender.pass(kind, &packet).unwrap();
            let outcome = |leg: &mut Leg, packet: &[u8], front, behind| {
                let mut frame = vec![0; front];
                frame.extend(packet);
                frame.resize(frame.len() + behind, 0);
                let mut job = [Job::new(&mut frame, front, packet.len(), kind, leg.id)];
                match leg.way {
                    super::Way::Protect => leg.sets.protect(&mut job),
                    super::Way::Unprotect => leg.sets.unprotect(&mut job),
                }
                job[0].outcome
            };
            let mut packet = packet;
            packet[3] ^= 2;
            let tail = TAILROOM + growth;
            for (front, behind, expected) in [
                (HEADROOM - 1, tail, Err(Refusal::TooBig)),
                (HEADROOM, tail - 1, Err(Refusal::TooBig)),
                (HEADROOM, 0, Err(Refusal::TooBig)),
                (HEADROOM, tail, Ok(())),
            ] {
                let found = outcome(&mut sender, &packet, front, behind);
                assert_eq!(found, expected, "{suite} {front} {behind}");
            }
            for (front, behind, expected) in [
                (HEADROOM - 1, TAILROOM, Err(Refusal::TooBig)),
                (HEADROOM, TAILROOM - 1, Err(Refusal::TooBig)),
                (HEADROOM, TAILROOM, Ok(())),
            ] {
                let found = outcome(&mut receiver, &wire, front, behind);
                assert_eq!(found, expected, "{suite} {front} {behind}");
            }
        }
    }
}

#[test]
fn positions_outside_the_frame_are_refused_without_overflow() {
    let (mut sender, mut receiver) = Leg::pair(Suite::AeadAes256Gcm);
    for (start, len) in [
        (0, 0),
        (usize::MAX, 1),
        (usize::MAX, usize::MAX),
        (HEADROOM, usize::MAX),
        (HEADROOM, usize::MAX - HEADROOM),
        (HEADROOM, 200),
        (1 << 40, 20),
        (HEADROOM, 70_000),
    ] {
        for size in [0, 10, 200, 80_000] {
            for leg in [&mut sender, &mut receiver] {
                let mut frame = vec![0; size];
                let mut job = [Job::new(&mut frame, start, len, Kind::Rtp, leg.id)];
                leg.sets.protect(&mut job);
                assert!(job[0].outcome.is_err());
                job[0].outcome = Ok(());
                leg.sets.unprotect(&mut job);
                assert!(job[0].outcome.is_err());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_neither_panic_nor_authenticate(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        first in prop::option::of(0x80u8..0xa0),
        suite in prop::sample::select(&Suite::ALL[..3]),
        rtcp in any::<bool>(),
    ) {
        let kind = if rtcp { Kind::Rtcp } else { Kind::Rtp };
        let mut bytes = bytes;
        if let (Some(byte), Some(first)) = (bytes.first_mut(), first) {
            *byte = first;
        }
        let (mut sender, mut receiver) = Leg::pair(suite);
        // A tag of 32 bits would be guessed once in 2^32 times; 2000 do not.
        prop_assert!(receiver.pass(kind, &bytes).is_err());
        prop_assert_eq!(receiver.set().marks().count(), 0);
        let _ = sender.pass(kind, &bytes);
    }

    #[test]
    fn random_positions_never_panic(
        start in prop_oneof![0usize..400, any::<usize>()],
        len in prop_oneof![0usize..400, any::<usize>()],
        size in 0usize..600,
    ) {
        let mut sets = ContextSets::new();
        let key = super::key(Suite::AesCm128HmacSha1_80);
        let id = sets.insert(crate::ContextSet::sender(&key, Policy::default()));
        let mut frame = vec![0x80; size];
        let mut job = [Job::new(&mut frame, start, len, Kind::Rtp, id)];
        sets.protect(&mut job);
        if job[0].outcome.is_ok() {
            prop_assert!(start >= HEADROOM && start + len + 10 + TAILROOM <= size);
        }
    }

    #[test]
    fn the_frame_of_these_tests_has_all_the_room(len in 0usize..100) {
        prop_assert_eq!(
            framed(&vec![0; len]).len(),
            MARGIN + HEADROOM + len + MAX_GROWTH + TAILROOM + MARGIN
        );
    }
}
