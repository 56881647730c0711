// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Session keys that are derived again and again.

use hex_literal::hex;

use super::{Leg, Way, key, rtcp, rtp};
use crate::derivation::SessionKey;
use crate::{ContextSet, KeyDerivationRate, Kind, Mark, MasterKey, Policy, Suite};

fn policy(exponent: u8) -> Policy {
    Policy {
        key_derivation_rate: Some(KeyDerivationRate::new(exponent).unwrap()),
        ..Policy::default()
    }
}

#[test]
fn the_first_packets_are_those_of_a_key_derived_once() {
    for suite in Suite::ALL {
        let mut once = Leg::sender(suite, Policy::default());
        let mut turning = Leg::sender(suite, policy(4));
        for step in 0..20 {
            let (rtp, rtcp) = (rtp(7, step, 20), rtcp(7, 20));
            let same = once.pass(Kind::Rtp, &rtp) == turning.pass(Kind::Rtp, &rtp);
            assert_eq!(same, step < 16, "{suite} {step}");
            // SRTCP counts from 1.
            let same = once.pass(Kind::Rtcp, &rtcp) == turning.pass(Kind::Rtcp, &rtcp);
            assert_eq!(same, step < 15, "{suite} {step}");
        }
    }
}

#[test]
fn keys_are_those_of_the_index_divided_by_the_rate() {
    // RFC 3711 appendix B.3, rate 2^16, ROC 1: r = 1.
    let suite = Suite::AesCm128HmacSha1_80;
    let master = hex!("E1F97A0D3E018BE0D64FA32C06DE41390EC675AD498AFEEBB6960B3AABE6");
    let master = MasterKey::new(suite, &master).unwrap();
    let session = SessionKey::derive(&master, Kind::Rtp, 1);
    assert_eq!(session.cipher(), hex!("53870b4b8e2af0c6f0cc8b1544c34138"));
    let mark = Mark {
        ssrc: 7,
        rtp: Some(0x1_0001),
        rtcp: None,
    };
    let direction = crate::context_set::Direction::Send;
    let wire = [
        ContextSet::sender(&master, policy(16)),
        ContextSet::with_session_keys(&session, &session, Policy::default(), direction),
    ]
    .map(|mut set| {
        set.resume(&[mark]).unwrap();
        Leg::new(set, Way::Protect)
            .pass(Kind::Rtp, &rtp(7, 2, 20))
            .unwrap()
    });
    assert_eq!(wire[0], wire[1]);
}

#[test]
fn streams_at_different_indices_and_late_packets_find_their_keys() {
    for suite in Suite::ALL {
        for exponent in [0, 1, 3, 16] {
            let mut sender = Leg::sender(suite, policy(exponent));
            let mut receiver = Leg::new(
                ContextSet::receiver(&key(suite), policy(exponent)),
                Way::Unprotect,
            );
            let mut wires = Vec::new();
            for step in 0..60u16 {
                for ssrc in 0..6u16 {
                    let sequence = 65_500u16.wrapping_add(step);
                    let plain = rtp(ssrc.into(), sequence.wrapping_sub(900 * ssrc), 20);
                    wires.push((Kind::Rtp, sender.pass(Kind::Rtp, &plain).unwrap(), plain));
                    let plain = rtcp(ssrc.into(), 20);
                    wires.push((Kind::Rtcp, sender.pass(Kind::Rtcp, &plain).unwrap(), plain));
                }
            }
            // Late by up to four packets of each stream.
            for some in wires.chunks_mut(5 * 12) {
                some.reverse();
                for (kind, wire, plain) in some {
                    assert_eq!(receiver.pass(*kind, wire).as_ref(), Ok(&*plain), "{suite}");
                }
            }
        }
    }
}
