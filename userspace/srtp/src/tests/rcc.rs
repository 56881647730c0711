// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tags that carry the ROC.

use core::num::NonZeroU16;

use hex_literal::hex;

use super::{Leg, Way, key, rtcp, rtp};
use crate::{ContextSet, Kind, MAX_GROWTH, Mark, MasterKey, Policy, Rcc, RccMode, Refusal, Suite};

/// The suites whose tags can carry the ROC.
const SUITES: [Suite; 5] = [
    Suite::AesCm128HmacSha1_80,
    Suite::Aes192CmHmacSha1_80,
    Suite::Aes256CmHmacSha1_80,
    Suite::F8128HmacSha1_80,
    Suite::NullHmacSha1_80,
];

fn policy(mode: RccMode, rate: u16) -> Policy {
    Policy {
        rcc: Some(Rcc::new(mode, NonZeroU16::new(rate).unwrap())),
        ..Policy::default()
    }
}

/// A sender in the turn before `roc`, and a receiver that knows nothing.
fn late(key: &MasterKey, policy: Policy, roc: u64) -> (Leg, Leg) {
    let mut sender = ContextSet::sender(key, policy);
    let mark = |ssrc| Mark {
        ssrc,
        rtp: Some((roc << 16) - 1),
        rtcp: None,
    };
    sender.resume(&[mark(7), mark(0xcafe_babe)]).unwrap();
    (
        Leg::new(sender, Way::Protect),
        Leg::new(ContextSet::receiver(key, policy), Way::Unprotect),
    )
}

#[test]
fn the_tag_has_the_roc_and_the_hmac_of_both_modes() {
    // Computed with other software: RFC 4771 has no vectors.
    let master = hex!("E1F97A0D3E018BE0D64FA32C06DE41390EC675AD498AFEEBB6960B3AABE6");
    let master = MasterKey::new(Suite::AesCm128HmacSha1_80, &master).unwrap();
    for mode in [RccMode::One, RccMode::Two] {
        let (mut sender, mut receiver) = late(&master, policy(mode, 256), 7);
        let plain = hex!("800f1200decafbadcafebabeabababababababababababababababab");
        let wire = sender.pass(Kind::Rtp, &plain).unwrap();
        assert_eq!(
            wire,
            hex!(
                "800f1200decafbadcafebabeb28efe794229cae8671e55f6f8366711
                 00000007918a7558fb71d3c0f616"
            )
        );
        assert_eq!(receiver.pass(Kind::Rtp, &wire).unwrap(), plain);
        assert_eq!(receiver.pass(Kind::Rtp, &wire), Err(Refusal::Replayed));
        let mark = receiver.set().marks().next().unwrap();
        assert_eq!(mark.rtp, Some(0x7_1200));
    }
}

#[test]
fn the_other_packets_have_a_long_tag_or_none() {
    for suite in SUITES {
        for (mode, long) in [(RccMode::One, 0), (RccMode::Two, 14)] {
            let key = key(suite).with_mki(b"mki").unwrap();
            let (mut sender, mut receiver) = late(&key, policy(mode, 4), 3);
            let (mut usual, _) = late(&key, Policy::default(), 3);
            for sequence in 0..20 {
                let plain = rtp(7, sequence, 30);
                let wire = sender.pass(Kind::Rtp, &plain).unwrap();
                let tag_len = if sequence % 4 == 0 { 14 } else { long };
                assert_eq!(wire.len(), plain.len() + 3 + tag_len, "{suite}");
                assert!(wire.len() <= plain.len() + MAX_GROWTH);
                let known = usual.pass(Kind::Rtp, &plain).unwrap();
                assert_eq!(wire[..45], known[..45], "{suite}");
                if sequence % 4 != 0 && mode == RccMode::Two {
                    assert_eq!(wire[45..55], known[45..55], "{suite}");
                }
                assert_eq!(receiver.pass(Kind::Rtp, &wire), Ok(plain), "{suite}");
            }
            let plain = rtcp(7, 30);
            let wire = sender.pass(Kind::Rtcp, &plain).unwrap();
            assert_eq!(Ok(&wire), usual.pass(Kind::Rtcp, &plain).as_ref());
            assert_eq!(receiver.pass(Kind::Rtcp, &wire), Ok(plain));
        }
    }
}

#[test]
fn who_joins_late_takes_nothing_before_the_first_roc() {
    for suite in SUITES {
        for mode in [RccMode::One, RccMode::Two] {
            let (mut sender, mut receiver) = late(&key(suite), policy(mode, 8), 5);
            for sequence in 3..30 {
                let plain = rtp(7, sequence, 30);
                let wire = sender.pass(Kind::Rtp, &plain).unwrap();
                let expected = if sequence < 8 {
                    Err(Refusal::AuthFailed)
                } else {
                    Ok(plain)
                };
                assert_eq!(receiver.pass(Kind::Rtp, &wire), expected, "{suite}");
            }
        }
    }
}

#[test]
fn forged_tags_are_refused_and_packets_without_change_no_state() {
    for suite in SUITES {
        for mode in [RccMode::One, RccMode::Two] {
            let (mut sender, mut receiver) = late(&key(suite), policy(mode, 2), 1);
            for sequence in 0..3 {
                let plain = rtp(7, sequence, 30);
                let wire = sender.pass(Kind::Rtp, &plain).unwrap();
                let before = receiver.state();
                for bit in 0..8 * wire.len() {
                    // Another sequence number may make it a packet without a tag.
                    let mut bad = wire.clone();
                    bad[bit / 8] ^= 1 << (bit % 8);
                    let outcome = receiver.pass(Kind::Rtp, &bad);
                    let tagless = mode == RccMode::One && bad[3] % 2 == 1;
                    assert!(outcome.is_err() || tagless, "{suite} {sequence} {bit}");
                    assert!(receiver.state() == before, "{suite} {sequence} {bit}");
                }
                assert_eq!(receiver.pass(Kind::Rtp, &wire), Ok(plain), "{suite}");
            }
        }
    }
}

#[test]
fn suites_with_other_tags_ignore_it() {
    for suite in Suite::ALL
        .into_iter()
        .filter(|suite| !SUITES.contains(suite))
    {
        let mut with = Leg::new(
            ContextSet::sender(&key(suite), policy(RccMode::Two, 1)),
            Way::Protect,
        );
        let mut without = Leg::sender(suite, Policy::default());
        let plain = rtp(7, 0, 30);
        let wire = with.pass(Kind::Rtp, &plain);
        assert_eq!(wire, without.pass(Kind::Rtp, &plain), "{suite}");
    }
}
