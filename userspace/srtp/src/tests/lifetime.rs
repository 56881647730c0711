// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The end of a master key.

use super::{Leg, Passage, Way, pass, rtcp, rtp};
use crate::{Kind, Mark, Policy, Refusal, Suite};

fn policy(lifetime: u64) -> Policy {
    Policy {
        lifetime: Some(lifetime),
        ..Policy::default()
    }
}

#[test]
fn a_key_protects_as_many_packets_as_agreed_whatever_their_ssrc() {
    for suite in Suite::ALL {
        for kind in [Kind::Rtp, Kind::Rtcp] {
            let mut sender = Leg::sender(suite, policy(5));
            let mut endless = Leg::sender(suite, Policy::default());
            let mut receiver = Leg::receiver(suite, policy(5));
            for step in 0..8 {
                let plain = match kind {
                    Kind::Rtp => rtp(u32::from(step), step, 20),
                    Kind::Rtcp => rtcp(u32::from(step), 20),
                };
                let expired = step >= 5;
                assert_eq!(sender.set().expired(), expired);
                assert_eq!(receiver.set().expired(), expired);
                let outcome = sender.pass(kind, &plain).err();
                assert_eq!(outcome, expired.then_some(Refusal::KeyExpired));
                let wire = endless.pass(kind, &plain).unwrap();
                let mut forged = wire.clone();
                *forged.last_mut().unwrap() ^= 1;
                assert!(receiver.pass(kind, &forged).is_err());
                let outcome = receiver.pass(kind, &wire).err();
                assert_eq!(outcome, expired.then_some(Refusal::KeyExpired));
            }
        }
    }
}

#[test]
fn the_key_of_one_stream_ends_in_the_middle_of_a_burst() {
    for suite in Suite::ALL {
        let mut sender = Leg::sender(suite, policy(5));
        let mut endless = Leg::sender(suite, Policy::default());
        let mut receiver = Leg::receiver(suite, policy(5));
        let plain: Vec<_> = (0..8).map(|step| rtp(7, step, 20)).collect();
        let wire: Vec<_> = (plain.iter().map(|packet| endless.pass(Kind::Rtp, packet)))
            .map(Result::unwrap)
            .collect();
        for (leg, packets) in [(&mut sender, &plain), (&mut receiver, &wire)] {
            let passage = |packet: &Vec<u8>| Passage::new(Kind::Rtp, leg.id, packet.clone());
            let mut passages: Vec<_> = packets.iter().map(passage).collect();
            // The first is on its own, since a stream that begins is not on time.
            let (first, others) = passages.split_at_mut(1);
            pass(&mut leg.sets, leg.way, first);
            pass(&mut leg.sets, leg.way, others);
            for (step, passage) in passages.iter().enumerate() {
                let expected = if step < 5 {
                    Ok(())
                } else {
                    Err(Refusal::KeyExpired)
                };
                assert_eq!(passage.outcome, expected, "{suite} {step}");
            }
            assert_eq!(leg.set().usage().rtp_packets, 5);
        }
    }
}

#[test]
fn a_key_spent_on_rtcp_protects_no_rtp() {
    for suite in Suite::ALL {
        let mut sender = Leg::sender(suite, policy(3));
        for sequence in 0..2 {
            sender.pass(Kind::Rtp, &rtp(7, sequence, 20)).unwrap();
        }
        for _ in 0..3 {
            sender.pass(Kind::Rtcp, &rtcp(7, 20)).unwrap();
        }
        let outcome = sender.pass(Kind::Rtp, &rtp(7, 2, 20));
        assert_eq!(outcome, Err(Refusal::KeyExpired), "{suite}");
    }
}

#[test]
fn the_end_of_a_key_is_announced_when_an_eighth_is_left() {
    for suite in Suite::ALL {
        let mut sender = Leg::sender(suite, policy(80));
        for step in 0..80 {
            let usage = sender.set().usage();
            assert_eq!(usage.rtp_packets, step.into());
            assert_eq!((usage.rtp_limit, usage.rtcp_limit), (80, 80));
            assert_eq!(usage.near_end, step >= 70, "{suite} {step}");
            sender.pass(Kind::Rtp, &rtp(7, step, 20)).unwrap();
        }
    }
}

#[test]
fn a_key_of_several_ssrcs_is_near_its_end_before_2_31_packets() {
    let suite = Suite::AesCm128HmacSha1_80;
    let mark = |ssrc, rtp| Mark {
        ssrc,
        rtp: Some(rtp),
        rtcp: None,
    };
    for (marks, near_end) in [
        (vec![mark(1, (1 << 31) - 1)], false),
        (vec![mark(1, (1 << 31) - 1), mark(2, 1)], true),
        (vec![mark(1, 1 << 30), mark(2, 1 << 30)], true),
        (vec![mark(1, 1 << 30), mark(2, 1 << 29)], false),
        (vec![mark(1, (1 << 48) - (1 << 45))], true),
    ] {
        let mut leg = Leg::receiver(suite, Policy::default());
        leg.set_mut().resume(&marks).unwrap();
        let usage = leg.set().usage();
        assert_eq!(usage.near_end, near_end, "{marks:?}");
        assert_eq!((usage.rtp_limit, usage.rtcp_limit), (1 << 48, 1 << 31));
    }
}

#[test]
fn a_lifetime_of_nothing_protects_nothing() {
    let mut sender = Leg::sender(Suite::AeadAes128Gcm, policy(0));
    assert!(sender.set().expired());
    let outcome = sender.pass(Kind::Rtp, &rtp(7, 1, 20));
    assert_eq!(outcome, Err(Refusal::KeyExpired));
}

#[test]
fn neither_index_ever_wraps() {
    let mark = |rtp, rtcp| Mark { ssrc: 7, rtp, rtcp };
    for suite in Suite::ALL {
        let mut sender = Leg::sender(suite, policy(u64::MAX));
        let marks = [mark(Some((1 << 48) - 2), None)];
        sender.set_mut().resume(&marks).unwrap();
        // The mark counts 2^48 - 1 packets, so one is left.
        assert!(sender.pass(Kind::Rtp, &rtp(7, 65_535, 20)).is_ok());
        assert!(sender.set().expired());
        let outcome = sender.pass(Kind::Rtp, &rtp(7, 0, 20));
        assert_eq!(outcome, Err(Refusal::KeyExpired));

        let mut sender = Leg::sender(suite, Policy::default());
        let last = (1 << 31) - 1 - (1 << 21);
        sender
            .set_mut()
            .resume(&[mark(None, Some(last - 1))])
            .unwrap();
        assert!(!sender.set().expired());
        let plain = rtcp(7, 20);
        assert!(sender.pass(Kind::Rtcp, &plain).is_ok());
        assert!(sender.set().expired());
        let outcome = sender.pass(Kind::Rtcp, &plain);
        assert_eq!(outcome, Err(Refusal::KeyExpired));
    }
}

#[test]
fn packets_before_a_restart_count_towards_the_lifetime() {
    let marks = [(7, Some(2), None), (8, Some(3), Some(4))].map(|(ssrc, rtp, rtcp)| Mark {
        ssrc,
        rtp,
        rtcp,
    });
    for (lifetime, expired) in [(7, true), (8, false)] {
        for mut leg in [
            Leg::sender(Suite::AeadAes128Gcm, policy(lifetime)),
            Leg::receiver(Suite::AeadAes128Gcm, policy(lifetime)),
        ] {
            leg.set_mut().resume(&marks).unwrap();
            assert_eq!(leg.set().expired(), expired, "{lifetime}");
            let (mut endless, _) = Leg::pair(Suite::AeadAes128Gcm);
            let packet = match leg.way {
                Way::Protect => rtp(7, 3, 20),
                Way::Unprotect => endless.pass(Kind::Rtp, &rtp(7, 3, 20)).unwrap(),
            };
            let outcome = leg.pass(Kind::Rtp, &packet).err();
            assert_eq!(
                outcome,
                expired.then_some(Refusal::KeyExpired),
                "{lifetime}"
            );
        }
    }
}
