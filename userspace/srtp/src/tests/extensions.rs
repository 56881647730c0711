// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Header extensions and CSRCs that are not in the clear.

use hex_literal::hex;

use super::{Leg, Way, key, rtp, shaped};
use crate::{ContextSet, ExtensionIds, Kind, MAX_GROWTH, MasterKey, Policy, Refusal, Suite};

/// RFC 3711 appendix B.3.
const CM_KEY: [u8; 30] = hex!("E1F97A0D3E018BE0D64FA32C06DE41390EC675AD498AFEEBB6960B3AABE6");

/// The GCM key of RFC 9335 appendix A.
const GCM_KEY: [u8; 28] = hex!("000102030405060708090a0b0c0d0e0fa0a1a2a3a4a5a6a7a8a9aaab");

const CRYPTEX: Policy = Policy {
    cryptex: true,
    ..PLAIN
};

const PLAIN: Policy = Policy {
    replay_window: crate::ReplayWindow::DEFAULT,
    ssrc_limit: 16,
    lifetime: None,
    key_derivation_rate: None,
    unencrypted_srtcp: false,
    cryptex: false,
    encrypted_extensions: ExtensionIds::NONE,
    rcc: None,
};

fn legs(key: &MasterKey, policy: Policy) -> (Leg, Leg) {
    (
        Leg::new(ContextSet::sender(key, policy), Way::Protect),
        Leg::new(ContextSet::receiver(key, policy), Way::Unprotect),
    )
}

#[test]
fn elements_are_encrypted_as_in_rfc_6904() {
    let key = MasterKey::new(Suite::AesCm128HmacSha1_80, &CM_KEY).unwrap();
    let policy = Policy {
        encrypted_extensions: ExtensionIds::NONE.with(1).with(3).with(4),
        ..PLAIN
    };
    let (mut sender, mut receiver) = legs(&key, policy);
    let plain = hex!(
        "900f1234decafbadcafebabebede000617414273a475262748220000c8308e46
         55996386b395fb00abababababababababababababababab"
    );
    let wire = hex!(
        "900f1234decafbadcafebabebede000617588a9270f4e15e1c220000c8309546
         a994f0bc547897004e55dc4ce79978d88ca4d215949d24025a46b3ca35c535a8
         91c7"
    );
    assert_eq!(sender.pass(Kind::Rtp, &plain).unwrap(), wire);
    assert_eq!(receiver.pass(Kind::Rtp, &wire).unwrap(), plain);
}

#[test]
fn elements_in_gcm_packets_are_encrypted_as_by_libsrtp() {
    let key = MasterKey::new(Suite::AeadAes128Gcm, &CM_KEY[..28]).unwrap();
    let policy = Policy {
        encrypted_extensions: ExtensionIds::NONE.with(1).with(3).with(4),
        ..PLAIN
    };
    let (mut sender, mut receiver) = legs(&key, policy);
    let plain = hex!(
        "900f1234decafbadcafebabebede000617414273a475262748220000c8308e46
         55996386b395fb00abababababababababababababababab"
    );
    let wire = sender.pass(Kind::Rtp, &plain).unwrap();
    // libsrtp's own vector has a tag of 64 bits.
    assert_eq!(
        wire[..wire.len() - 8],
        hex!(
            "900f1234decafbadcafebabebede00061712e0205bfa949b1c220000c830bb46
             732778d9929aab000eca0cf95ee955b26cd3d288b49f6ca9f4b1b759719eb5bc"
        )
    );
    assert_eq!(receiver.pass(Kind::Rtp, &wire).unwrap(), plain);
}

#[test]
fn packets_with_cryptex_are_those_of_rfc_9335() {
    // Header and extension, then what they become under AES-CM and under GCM.
    let payload = [0xab; 16];
    let rows: [(&[u8], &[u8], &[u8]); 6] = [
        (
            &hex!("900f1235decafbadcafebabebede000151000200"),
            &hex!(
                "900f1235decafbadcafebabec0de0001eb92365251c3e036f8de27e9c27ee3e0
                 b4651d9fbc4218a70244522f34a5"
            ),
            &hex!(
                "900f1235decafbadcafebabec0de000139972dc9572c4d99e8fc355de743fb2e
                 94f9d8ff54e72f4193bbc5c74ffab0fa9fa0fbeb"
            ),
        ),
        (
            &hex!("900f1236decafbadcafebabe1000000105020002"),
            &hex!(
                "900f1236decafbadcafebabec2de00014ed9cc4e6a712b3096c5ca77339d4204
                 ce0d77396cab69585fbce38194a5"
            ),
            &hex!(
                "900f1236decafbadcafebabec2de0001bb75a4c545cd1f413bdb7daa2b1e3263
                 de313667c963249081b35a65f5cb6c88b394235f"
            ),
        ),
        (
            &hex!("920f1238decafbadcafebabe0001e2400000b26ebede000151000200"),
            &hex!(
                "920f1238decafbadcafebabe8bb6e12b5cff16ddc0de000192838c8c09e58393
                 e1de3a9a74734d6745671338c3acf11da2df8423bee0"
            ),
            &hex!(
                "920f1238decafbadcafebabe63bbccc4a7f695c4c0de00018ad7c71fac70a80c
                 92866b4c6ba98546ef913586e95ffaaffe956885bb0647a8bc094ac8"
            ),
        ),
        (
            &hex!("920f1239decafbadcafebabe0001e2400000b26e1000000105020002"),
            &hex!(
                "920f1239decafbadcafebabef70e513eb90b9b25c2de0001bbed4848faa64466
                 5f3d7f34125914e9f4d0ae923c6f479b95a0f7b53133"
            ),
            &hex!(
                "920f1239decafbadcafebabe3680524f8d312b00c2de0001c78d120038422bc1
                 11a7187a18246f980c059cc6bc9df8b626394eca344e4b05d80fea83"
            ),
        ),
        (
            &hex!("920f123adecafbadcafebabe0001e2400000b26ebede0000"),
            &hex!(
                "920f123adecafbadcafebabe7130b6abfe2ab0e3c0de0000e3d9f64b25c9e74c
                 b4cf8e43fb92e3781c2c0ceab6b3a499a14c"
            ),
            &hex!(
                "920f123adecafbadcafebabe15b6bb4337906fffc0de0000b7b964537a2b03ab
                 7ba5389ce93317126b5d974df30c6884dcb651c5e120c1da"
            ),
        ),
        (
            &hex!("920f123bdecafbadcafebabe0001e2400000b26e10000000"),
            &hex!(
                "920f123bdecafbadcafebabecbf24c124330e1c8c2de0000599dd45bc9d687b6
                 03e8b59d771fd38e88b170e0cd31e125eabe"
            ),
            &hex!(
                "920f123bdecafbadcafebabedcb38c9e48bf95f4c2de000061ee432cf9203170
                 76613258d3ce4236c06ac429681ad08413512dc98b5207d8"
            ),
        ),
    ];
    for (header, cm, gcm) in rows {
        let plain = [header, &payload].concat();
        for (suite, key, wire) in [
            (Suite::AesCm128HmacSha1_80, CM_KEY.as_slice(), cm),
            (Suite::AeadAes128Gcm, &GCM_KEY, gcm),
        ] {
            let key = MasterKey::new(suite, key).unwrap();
            let (mut sender, mut receiver) = legs(&key, CRYPTEX);
            assert_eq!(sender.pass(Kind::Rtp, &plain).unwrap(), wire, "{suite}");
            assert_eq!(receiver.pass(Kind::Rtp, wire).unwrap(), plain, "{suite}");
        }
    }
}

#[test]
fn csrcs_without_an_extension_get_an_empty_one() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = legs(&key(suite), CRYPTEX);
        for csrcs in 1..=15u8 {
            let mut plain = rtp(7, csrcs.into(), 40);
            plain[0] |= csrcs;
            let list: Vec<_> = (0..4 * csrcs).collect();
            plain.splice(12..12, list.iter().copied());
            let at = 12 + list.len();
            let wire = sender.pass(Kind::Rtp, &plain).unwrap();
            assert_eq!(wire.len(), plain.len() + 4 + suite.growth(Kind::Rtp));
            assert!(wire.len() <= plain.len() + MAX_GROWTH);
            assert_eq!(wire[at..][..4], hex!("c0de0000"));
            assert_eq!(wire[12..at] == list, !suite.encrypts(), "{suite}");

            plain[0] |= 0x10;
            plain.splice(at..at, hex!("bede0000"));
            assert_eq!(receiver.pass(Kind::Rtp, &wire), Ok(plain), "{suite}");
        }
    }
}

#[test]
fn a_receiver_takes_packets_with_and_without_cryptex_but_only_where_it_was_agreed() {
    for suite in Suite::ALL {
        let (mut hiding, mut receiver) = legs(&key(suite), CRYPTEX);
        let (mut open, mut strict) = legs(&key(suite), PLAIN);
        for (sequence, ssrc) in (0..8).zip([1, 2, 3, 1, 2, 3, 0, 0]) {
            let plain = shaped(ssrc, sequence, 30);
            let sender = if sequence % 2 == 0 {
                &mut hiding
            } else {
                &mut open
            };
            let wire = sender.pass(Kind::Rtp, &plain).unwrap();
            let found = strict.pass(Kind::Rtp, &wire);
            // To whom cryptex means nothing, tag or payload are wrong, or the profile.
            let same = found.as_ref() == Ok(&plain);
            assert_eq!(same, sequence % 2 == 1 || ssrc == 0, "{suite} {ssrc}");
            assert_eq!(receiver.pass(Kind::Rtp, &wire), Ok(plain), "{suite}");
        }
    }
}

#[test]
fn other_extensions_are_sent_as_they_are_and_false_ones_not_at_all() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = legs(&key(suite), CRYPTEX);
        let mut plain = shaped(1, 1, 30);
        plain[12..14].copy_from_slice(&hex!("1234"));
        let wire = sender.pass(Kind::Rtp, &plain).unwrap();
        assert_eq!(wire[..24], plain[..24]);
        assert_eq!(receiver.pass(Kind::Rtp, &wire), Ok(plain.clone()));
        for profile in [hex!("c0de"), hex!("c2de")] {
            plain[12..14].copy_from_slice(&profile);
            plain[3] += 1;
            let outcome = sender.pass(Kind::Rtp, &plain);
            assert_eq!(outcome, Err(Refusal::AlreadyEncrypted), "{suite}");
        }
    }
}

#[test]
fn elements_are_encrypted_in_every_suite_that_encrypts() {
    let policy = Policy {
        encrypted_extensions: ExtensionIds::NONE.with(3).with(200),
        ..PLAIN
    };
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = legs(&key(suite), policy);
        for sequence in 0..20 {
            // The element 3 has two bytes at 19, the element 200 two at 32; the rest is clear.
            for (ssrc, data) in [(1, 19..21), (2, 30..32)] {
                let plain = shaped(ssrc, sequence, 30);
                let wire = sender.pass(Kind::Rtp, &plain).unwrap();
                assert_eq!(wire[..data.start], plain[..data.start]);
                if !suite.encrypts() {
                    assert_eq!(wire[data.clone()], plain[data]);
                }
                assert_eq!(receiver.pass(Kind::Rtp, &wire), Ok(plain), "{suite}");
            }
        }
    }
}
