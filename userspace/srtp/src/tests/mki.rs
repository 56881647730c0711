// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Several master keys, told apart by the MKI.

use super::{Leg, Way, key, rtcp, rtp, second_key};
use crate::{ContextSet, KeySetError, Kind, MAX_GROWTH, MasterKey, Policy, Refusal, Suite};

const KINDS: [Kind; 2] = [Kind::Rtp, Kind::Rtcp];

fn keys(suite: Suite, mkis: [&[u8]; 2]) -> [MasterKey; 2] {
    [
        key(suite).with_mki(mkis[0]).unwrap(),
        second_key(suite).with_mki(mkis[1]).unwrap(),
    ]
}

fn legs(keys: &[MasterKey]) -> (Leg, Leg) {
    let policy = Policy::default();
    (
        Leg::new(ContextSet::sender_of(keys, policy).unwrap(), Way::Protect),
        Leg::new(
            ContextSet::receiver_of(keys, policy).unwrap(),
            Way::Unprotect,
        ),
    )
}

fn plain(kind: Kind, sequence: u16) -> Vec<u8> {
    match kind {
        Kind::Rtp => rtp(7, sequence, 50),
        Kind::Rtcp => rtcp(7, 50),
    }
}

#[test]
fn the_mki_stands_in_front_of_the_tag_of_hmac_and_behind_all_of_gcm() {
    for suite in Suite::ALL {
        for len in 1..=16 {
            let mki = vec![0x77; len];
            let (mut bare, _) = Leg::pair(suite);
            let (mut sender, mut receiver) = legs(&[key(suite).with_mki(&mki).unwrap()]);
            for kind in KINDS {
                let plain = plain(kind, 1);
                let without = bare.pass(kind, &plain).unwrap();
                let tag_len = if suite.is_aead() {
                    0
                } else {
                    suite.tag_len(kind)
                };
                let (front, tag) = without.split_at(without.len() - tag_len);
                let wire = sender.pass(kind, &plain).unwrap();
                assert_eq!(wire, [front, &mki, tag].concat(), "{suite} {kind:?} {len}");
                assert!(wire.len() <= plain.len() + MAX_GROWTH);
                assert_eq!(receiver.pass(kind, &wire), Ok(plain));
            }
        }
    }
}

#[test]
fn a_receiver_takes_the_key_that_the_packet_names_and_the_index_goes_on() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = legs(&keys(suite, [b"old!", b"new!"]));
        for (sequence, mki) in [
            (65_534, b"old!"),
            (65_535, b"new!"),
            (0, b"new!"),
            (1, b"old!"),
        ] {
            assert!(sender.set_mut().switch_key(mki));
            for kind in KINDS {
                let plain = plain(kind, sequence);
                let wire = sender.pass(kind, &plain).unwrap();
                assert_eq!(receiver.pass(kind, &wire), Ok(plain), "{suite}");
                assert_eq!(receiver.pass(kind, &wire), Err(Refusal::Replayed));
            }
        }
        let mark = receiver.set().marks().next().unwrap();
        assert_eq!((mark.rtp, mark.rtcp), (Some(65_537), Some(4)));
        assert!(!sender.set_mut().switch_key(b"none"));
    }
}

#[test]
fn an_mki_that_nobody_agreed_on_is_unknown_and_the_wrong_one_does_not_authenticate() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = legs(&keys(suite, [b"ab", b"cd"]));
        let before = receiver.state();
        for kind in KINDS {
            let wire = sender.pass(kind, &plain(kind, 9)).unwrap();
            let found = wire.windows(2).rposition(|two| two == b"ab").unwrap();
            let mut other = wire.clone();
            other[found] = b'x';
            assert_eq!(receiver.pass(kind, &other), Err(Refusal::UnknownMki));
            other[found..][..2].copy_from_slice(b"cd");
            assert_eq!(receiver.pass(kind, &other), Err(Refusal::AuthFailed));
            for len in 0..wire.len() {
                assert!(receiver.pass(kind, &wire[..len]).is_err(), "{suite} {len}");
            }
        }
        assert!(receiver.state() == before);
    }
}

#[test]
fn each_key_has_a_lifetime_of_its_own() {
    let suite = Suite::AesCm128HmacSha1_80;
    let policy = Policy {
        lifetime: Some(3),
        ..Policy::default()
    };
    let keys = keys(suite, [b"1", b"2"]);
    let mut sender = Leg::new(ContextSet::sender_of(&keys, policy).unwrap(), Way::Protect);
    let receiver = ContextSet::receiver_of(&keys, policy).unwrap();
    let mut receiver = Leg::new(receiver, Way::Unprotect);
    let mut send = |sender: &mut Leg, sequence| {
        let wire = sender.pass(Kind::Rtp, &rtp(7, sequence, 20))?;
        receiver.pass(Kind::Rtp, &wire).map(drop)
    };
    for sequence in 0..3 {
        assert_eq!(send(&mut sender, sequence), Ok(()));
    }
    assert!(sender.set().expired());
    assert_eq!(send(&mut sender, 3), Err(Refusal::KeyExpired));
    assert!(sender.set_mut().switch_key(b"2"));
    assert!(!sender.set().expired());
    assert_eq!(send(&mut sender, 3), Ok(()));
    assert_eq!(sender.set().usage().rtp_packets, 1);
    assert_eq!(receiver.set().usage().rtp_packets, 1);
}

#[test]
fn keys_that_cannot_be_told_apart_make_no_set() {
    let suite = Suite::AeadAes128Gcm;
    let named = |mki: &[u8]| key(suite).with_mki(mki).unwrap();
    let other = key(Suite::AeadAes256Gcm).with_mki(b"c").unwrap();
    for (keys, error) in [
        (vec![], KeySetError::NoKey),
        (vec![key(suite), key(suite)], KeySetError::MkiLengthsDiffer),
        (vec![named(b"a"), key(suite)], KeySetError::MkiLengthsDiffer),
        (vec![key(suite), named(b"a")], KeySetError::MkiLengthsDiffer),
        (
            vec![named(b"a"), named(b"bb")],
            KeySetError::MkiLengthsDiffer,
        ),
        (
            vec![named(b"a"), named(b"b"), named(b"a")],
            KeySetError::SameMki,
        ),
        (vec![named(b"a"), other], KeySetError::SuitesDiffer),
    ] {
        let sender = ContextSet::sender_of(&keys, Policy::default());
        assert_eq!(sender.err(), Some(error), "{keys:?}");
        let receiver = ContextSet::receiver_of(&keys, Policy::default());
        assert_eq!(receiver.err(), Some(error), "{keys:?}");
    }
}
