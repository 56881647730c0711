// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets whose protected form is published.

use hex_literal::hex;

use super::{Leg, Way};
use crate::context_set::Direction;
use crate::derivation::SessionKey;
use crate::{ContextSet, Kind, Mark, MasterKey, Policy, Refusal, Suite};

/// RFC 3711 appendix B.3, also the key of libsrtp's tests.
const CM_KEY: [u8; 30] = hex!("E1F97A0D3E018BE0D64FA32C06DE41390EC675AD498AFEEBB6960B3AABE6");

/// The GCM key of libsrtp's tests.
const GCM_KEY: [u8; 28] = hex!("000102030405060708090a0b0c0d0e0fa0a1a2a3a4a5a6a7a8a9aaab");

const RTP: [u8; 28] = hex!("800f1234decafbadcafebabeabababababababababababababababab");

const RTCP: [u8; 24] = hex!("81c8000bcafebabeabababababababababababababababab");

fn legs(suite: Suite, key: &[u8]) -> (Leg, Leg) {
    let key = MasterKey::new(suite, key).unwrap();
    let policy = Policy::default();
    (
        Leg::new(ContextSet::sender(&key, policy), Way::Protect),
        Leg::new(ContextSet::receiver(&key, policy), Way::Unprotect),
    )
}

fn session_legs(key: &SessionKey) -> (Leg, Leg) {
    let leg = |direction, way| {
        let set = ContextSet::with_session_keys(key, key, Policy::default(), direction);
        Leg::new(set, way)
    };
    (
        leg(Direction::Send, Way::Protect),
        leg(Direction::Receive, Way::Unprotect),
    )
}

fn assert_both_ways((mut sender, mut receiver): (Leg, Leg), kind: Kind, plain: &[u8], wire: &[u8]) {
    assert_eq!(sender.pass(kind, plain).unwrap(), wire);
    assert_eq!(receiver.pass(kind, wire).unwrap(), plain);
    assert_eq!(receiver.pass(kind, wire), Err(Refusal::Replayed));
}

#[test]
fn cm_packets_are_those_of_libsrtp() {
    let suite = Suite::AesCm128HmacSha1_80;
    assert_both_ways(
        legs(suite, &CM_KEY),
        Kind::Rtp,
        &RTP,
        &hex!("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb"),
    );
    assert_both_ways(
        legs(suite, &CM_KEY),
        Kind::Rtcp,
        &RTCP,
        &hex!("81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798"),
    );
}

#[test]
fn a_cm_packet_with_an_mki_is_that_of_libsrtp() {
    let key = MasterKey::new(Suite::AesCm128HmacSha1_80, &CM_KEY).unwrap();
    let key = key.with_mki(&hex!("e1f97a0d")).unwrap();
    let policy = Policy::default();
    assert_both_ways(
        (
            Leg::new(ContextSet::sender(&key, policy), Way::Protect),
            Leg::new(ContextSet::receiver(&key, policy), Way::Unprotect),
        ),
        Kind::Rtp,
        &RTP,
        &hex!(
            "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402
             e1f97a0db78d6acc99ea179b8dbb"
        ),
    );
}

#[test]
fn suites_with_a_32_bit_tag_keep_80_bits_on_srtcp() {
    let suite = Suite::AesCm128HmacSha1_32;
    assert_both_ways(
        legs(suite, &CM_KEY),
        Kind::Rtp,
        &RTP,
        &hex!("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc"),
    );
    assert_both_ways(
        legs(suite, &CM_KEY),
        Kind::Rtcp,
        &RTCP,
        &hex!("81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798"),
    );
}

#[test]
fn packets_under_long_keys_are_those_of_libsrtp() {
    let rtp = hex!("800f0000decafbad00000000abababababababababababababababab");
    assert_both_ways(
        legs(
            Suite::Aes192CmHmacSha1_80,
            &hex!(
                "73edc66c4fa15776fb57f9505c17136550ffda71f3e8e5f1
                 c8522f3acd4ce86d5add78edbb11"
            ),
        ),
        Kind::Rtp,
        &rtp,
        &hex!("800f0000decafbad00000000d98865552f2762c3ef37f837acfdb7122d6bc4dc84c76f74aea5"),
    );
    assert_both_ways(
        legs(
            Suite::Aes256CmHmacSha1_80,
            &hex!(
                "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6
                 3b04803de51ee7c96423ab5b78d2"
            ),
        ),
        Kind::Rtp,
        &RTP,
        &hex!("800f1234decafbadcafebabef1d9de17ff251ff1aa007774b0b4b40da08d9d9a5b3a55d8873b"),
    );
}

#[test]
fn gcm_packets_are_those_of_libsrtp() {
    let suite = Suite::AeadAes128Gcm;
    assert_both_ways(
        legs(suite, &GCM_KEY),
        Kind::Rtp,
        &RTP,
        &hex!(
            "800f1234decafbadcafebabec5002ede04cfdd2eb91159e0880aa06e
             d2976826f796b201df3131a127e8a392"
        ),
    );
    assert_both_ways(
        legs(suite, &GCM_KEY),
        Kind::Rtcp,
        &RTCP,
        &hex!(
            "81c8000bcafebabec98b8b5df0392a55852b6c21ac8e7025
             c52c6fbea2b3b446ea31123ba88ce61e80000001"
        ),
    );
}

#[test]
fn the_rollover_counter_is_authenticated_and_part_of_the_keystream() {
    let (mut sender, mut receiver) = legs(Suite::AesCm128HmacSha1_80, &CM_KEY);
    let mark = Mark {
        ssrc: 0xcafe_babe,
        rtp: Some((7 << 16) | 0x11ff),
        rtcp: None,
    };
    sender.set_mut().resume(&[mark]).unwrap();
    receiver.set_mut().resume(&[mark]).unwrap();
    assert_both_ways(
        (sender, receiver),
        Kind::Rtp,
        &hex!("800f1200decafbadcafebabeabababababababababababababababab"),
        &hex!("800f1200decafbadcafebabeb28efe794229cae8671e55f6f8366711918a7558fb71d3c0f616"),
    );
}

#[test]
fn gcm_packets_are_those_of_rfc_7714() {
    let salt = hex!("517569642070726f2071756f");
    let key: Vec<u8> = (0..32).collect();
    let key128 = || SessionKey::from_bytes(Suite::AeadAes128Gcm, &key[..16], &[], &salt);
    let key256 = || SessionKey::from_bytes(Suite::AeadAes256Gcm, &key, &[], &salt);

    let rtp = hex!(
        "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e697320646976
         69736120696e207061727465732074726573"
    );
    // Sections 16.1.1 and 16.2.1.
    assert_both_ways(
        session_legs(&key128()),
        Kind::Rtp,
        &rtp,
        &hex!(
            "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd5
             0d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee439
             0cce"
        ),
    );
    assert_both_ways(
        session_legs(&key256()),
        Kind::Rtp,
        &rtp,
        &hex!(
            "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab1801238
             9a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a7
             6c13"
        ),
    );

    let rtcp = hex!(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61
         deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
    );
    // Sections 17.1 and 17.2, where the index is 0x5d4.
    for (key, wire) in [
        (
            key128(),
            hex!(
                "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32d
                 c676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf872
                 45d9eade800005d4"
            ),
        ),
        (
            key256(),
            hex!(
                "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50
                 a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6c
                 b26ac3be800005d4"
            ),
        ),
    ] {
        let (mut sender, receiver) = session_legs(&key);
        for _ in 1..0x5d4 {
            sender.pass(Kind::Rtcp, &rtcp).unwrap();
        }
        assert_both_ways((sender, receiver), Kind::Rtcp, &rtcp, &wire);
    }
}

#[test]
fn srtcp_that_is_only_authenticated_is_that_of_rfc_7714_and_taken_where_it_was_agreed() {
    // RFC 7714 sections 17.3 and 17.4: flag E is not set.
    let salt = hex!("517569642070726f2071756f");
    let key: Vec<u8> = (0..32).collect();
    for (suite, tag) in [
        (
            Suite::AeadAes128Gcm,
            hex!("841dd9683dd78ec92ae58790125f62b3"),
        ),
        (
            Suite::AeadAes256Gcm,
            hex!("91db4afbfeee5a978fab4393ed2615fe"),
        ),
    ] {
        let key = SessionKey::from_bytes(suite, &key[..suite.key_len()], &[], &salt);
        let mut packet = hex!(
            "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61
             deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
        )
        .to_vec();
        packet.extend(tag);
        packet.extend(hex!("000005d4"));
        let clear = Policy {
            unencrypted_srtcp: true,
            ..Policy::default()
        };
        let leg = |direction, way| {
            let set = ContextSet::with_session_keys(&key, &key, clear, direction);
            Leg::new(set, way)
        };
        let mut sender = leg(Direction::Send, Way::Protect);
        sender.set_mut().start_rtcp_at(0x5d4);
        let receiver = leg(Direction::Receive, Way::Unprotect);
        let plain = &packet[..packet.len() - 20];
        assert_both_ways((sender, receiver), Kind::Rtcp, plain, &packet);

        let (_, mut receiver) = session_legs(&key);
        assert_eq!(
            receiver.pass(Kind::Rtcp, &packet),
            Err(Refusal::NotEncrypted),
            "{suite}"
        );
    }
}
