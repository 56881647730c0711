// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What goes in comes out.

use proptest::prelude::*;

use super::{Leg, rtcp, rtp};
use crate::packet::index_word_at;
use crate::{Kind, MAX_GROWTH, Policy, Suite};

#[test]
fn every_length_survives_in_every_suite() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = Leg::pair(suite);
        for len in 0..1500 {
            let sequence = u16::try_from(len).unwrap();
            for (kind, plain) in [
                (Kind::Rtp, rtp(7, sequence, len)),
                (Kind::Rtcp, rtcp(7, len)),
            ] {
                let wire = sender.pass(kind, &plain).unwrap();
                assert_eq!(wire.len(), plain.len() + suite.growth(kind));
                assert!(wire.len() <= plain.len() + MAX_GROWTH);
                assert_eq!(receiver.pass(kind, &wire).unwrap(), plain, "{suite} {len}");
            }
        }
    }
}

proptest! {
    #[test]
    fn headers_stay_in_the_clear_and_payloads_do_not(
        suite in prop::sample::select(&Suite::ALL[..]),
        marker_and_type in any::<u8>(),
        sequence in any::<u16>(),
        ssrc in any::<u32>(),
        csrcs in prop::collection::vec(any::<u32>(), 0..16),
        extension in prop::option::of(prop::collection::vec(any::<u32>(), 0..20)),
        padding in any::<bool>(),
        payload in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let first = 0x80
            | u8::from(padding) << 5
            | u8::from(extension.is_some()) << 4
            | u8::try_from(csrcs.len()).unwrap();
        let mut packet = vec![first, marker_and_type];
        packet.extend(sequence.to_be_bytes());
        packet.extend([1, 2, 3, 4]);
        packet.extend(ssrc.to_be_bytes());
        packet.extend(csrcs.iter().flat_map(|csrc| csrc.to_be_bytes()));
        if let Some(extension) = extension {
            packet.extend([0xbe, 0xde]);
            packet.extend(u16::try_from(extension.len()).unwrap().to_be_bytes());
            packet.extend(extension.iter().flat_map(|word| word.to_be_bytes()));
        }
        let header = packet.len();
        packet.extend(&payload);

        let (mut sender, mut receiver) = Leg::pair(suite);
        let wire = sender.pass(Kind::Rtp, &packet).unwrap();
        prop_assert_eq!(&wire[..header], &packet[..header]);
        if payload.len() >= 8 && suite.encrypts() {
            prop_assert_ne!(&wire[header..packet.len()], &payload[..]);
        }
        prop_assert_eq!(receiver.pass(Kind::Rtp, &wire).unwrap(), packet);
    }

    #[test]
    fn compounds_of_any_length_survive(
        suite in prop::sample::select(&Suite::ALL[..]),
        ssrc in any::<u32>(),
        rest in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let mut packet = rtcp(ssrc, 0);
        packet.extend(&rest);
        let (mut sender, mut receiver) = Leg::pair(suite);
        let wire = sender.pass(Kind::Rtcp, &packet).unwrap();
        prop_assert_eq!(&wire[..8], &packet[..8]);
        prop_assert_eq!(receiver.pass(Kind::Rtcp, &wire).unwrap(), packet);
    }
}

#[test]
fn srtcp_without_encryption_is_readable_and_authentic() {
    let policy = Policy {
        unencrypted_srtcp: true,
        ..Policy::default()
    };
    for suite in Suite::ALL {
        let mut sender = Leg::sender(suite, policy);
        let mut receiver = Leg::receiver(suite, policy);
        let mut strict = Leg::receiver(suite, Policy::default());
        for len in 0..100 {
            let plain = rtcp(7, len);
            let wire = sender.pass(Kind::Rtcp, &plain).unwrap();
            assert_eq!(wire[..plain.len()], plain, "{suite}");
            let word = &wire[index_word_at(suite, plain.len())..][..4];
            assert_eq!(*word, u32::try_from(len + 1).unwrap().to_be_bytes());
            for byte in 0..wire.len() {
                let mut forged = wire.clone();
                forged[byte] ^= 0x80;
                assert!(receiver.pass(Kind::Rtcp, &forged).is_err(), "{suite}");
            }
            assert_eq!(receiver.pass(Kind::Rtcp, &wire).as_ref(), Ok(&plain));
            let outcome = strict.pass(Kind::Rtcp, &wire);
            assert_eq!(outcome.is_ok(), !suite.encrypts(), "{suite}");
        }
        // Encryption is never too much.
        let plain = rtcp(8, 50);
        let wire = Leg::sender(suite, Policy::default()).pass(Kind::Rtcp, &plain);
        assert_eq!(receiver.pass(Kind::Rtcp, &wire.unwrap()), Ok(plain));
        // SRTP stays as it is.
        let plain = rtp(7, 1, 50);
        let wire = sender.pass(Kind::Rtp, &plain).unwrap();
        assert_eq!(wire[..plain.len()] == plain, !suite.encrypts());
    }
}
