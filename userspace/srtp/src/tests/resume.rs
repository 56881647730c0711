// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A set that goes on where another, lost in a restart, stood.

use super::{Leg, START, framed, rtcp, rtp};
use crate::packet::index_word_at;
use crate::{Job, Kind, Mark, Policy, Refusal, Suite, TooManySsrcs};

#[test]
fn a_resumed_receiver_keeps_the_rollover_counter_and_takes_nothing_twice() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = Leg::pair(suite);
        let mut wire = Vec::new();
        for step in 0..100u16 {
            let sequence = 65_500u16.wrapping_add(step);
            wire.push((
                Kind::Rtp,
                sender.pass(Kind::Rtp, &rtp(7, sequence, 20)).unwrap(),
            ));
            wire.push((Kind::Rtcp, sender.pass(Kind::Rtcp, &rtcp(7, 20)).unwrap()));
        }
        for (kind, packet) in &wire[..190] {
            assert!(receiver.pass(*kind, packet).is_ok());
        }
        let marks: Vec<_> = receiver.set().marks().collect();
        assert_eq!(
            marks,
            [Mark {
                ssrc: 7,
                rtp: Some(65_594),
                rtcp: Some(95)
            }]
        );

        let mut resumed = Leg::receiver(suite, Policy::default());
        resumed.set_mut().resume(&marks).unwrap();
        assert_eq!(resumed.set().marks().collect::<Vec<_>>(), marks);
        for (kind, packet) in &wire[..190] {
            assert!(resumed.pass(*kind, packet).is_err());
        }
        for (kind, packet) in &wire[190..] {
            assert!(resumed.pass(*kind, packet).is_ok());
            assert_eq!(resumed.pass(*kind, packet), Err(Refusal::Replayed));
        }
    }
}

/// A packet that does not authenticate as the start of a stream is tried as its middle.
#[test]
fn under_new_keys_the_rollover_counter_goes_on_or_starts_anew() {
    for suite in Suite::ALL {
        for (before, first) in [(200_000, 200_003), (65_530, 65_540), (40_000, 0)] {
            let mark = |ssrc| Mark {
                ssrc,
                rtp: Some(before),
                rtcp: None,
            };
            let mut sender = Leg::sender(suite, Policy::default());
            if first > 0 {
                sender.set_mut().resume(&[mark(7)]).unwrap();
            }
            let mut receiver = Leg::receiver(suite, Policy::default());
            for index in first..first + 300 {
                let sequence = u16::try_from(index & 0xffff).unwrap();
                let plain = rtp(7, sequence, 20);
                let wire = sender.pass(Kind::Rtp, &plain).unwrap();
                let mut result = receiver.pass(Kind::Rtp, &wire);
                if index == first && first > 65_535 {
                    assert_eq!(result, Err(Refusal::AuthFailed));
                    // The mark of another SSRC does not help.
                    assert_eq!(after(&mut receiver, mark(8), &wire), result);
                    result = after(&mut receiver, mark(7), &wire);
                }
                assert_eq!(result, Ok(plain), "{suite:?} {index}");
                let again = after(&mut receiver, mark(7), &wire);
                assert_eq!(again, Err(Refusal::Replayed));
            }
        }
    }
}

fn after(receiver: &mut Leg, mark: Mark, packet: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut frame = framed(packet);
    let mut job = Job::new(&mut frame, START, packet.len(), Kind::Rtp, receiver.id);
    receiver.sets.unprotect_after(mark, &mut job);
    job.outcome.map(|()| job.frame[START..][..job.len].to_vec())
}

#[test]
fn a_resumed_sender_uses_no_index_again() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = Leg::pair(suite);
        for sequence in [65_534, 65_535, 0] {
            let wire = sender.pass(Kind::Rtp, &rtp(7, sequence, 20)).unwrap();
            receiver.pass(Kind::Rtp, &wire).unwrap();
        }
        let wire = sender.pass(Kind::Rtcp, &rtcp(7, 20)).unwrap();
        receiver.pass(Kind::Rtcp, &wire).unwrap();
        let marks: Vec<_> = sender.set().marks().collect();
        assert_eq!(marks[0].rtp, Some(65_536));

        let mut resumed = Leg::sender(suite, Policy::default());
        resumed.set_mut().resume(&marks).unwrap();
        for sequence in [0, 65_535, 65_534, 65_500] {
            let outcome = resumed.pass(Kind::Rtp, &rtp(7, sequence, 99));
            assert_eq!(outcome, Err(Refusal::Replayed), "{sequence}");
        }
        let wire = resumed.pass(Kind::Rtp, &rtp(7, 1, 20)).unwrap();
        assert!(receiver.pass(Kind::Rtp, &wire).is_ok());
        let wire = resumed.pass(Kind::Rtcp, &rtcp(7, 20)).unwrap();
        let word = &wire[index_word_at(suite, 28)..][..4];
        let encrypted = u32::from(suite.encrypts()) << 31;
        assert_eq!(*word, (encrypted + 1 + (1 << 21) + 1).to_be_bytes());
        assert!(receiver.pass(Kind::Rtcp, &wire).is_ok());
    }
}

#[test]
fn after_a_restart_srtcp_of_an_ssrc_without_a_mark_starts_high_too() {
    let mark = |ssrc, rtp| Mark {
        ssrc,
        rtp,
        rtcp: None,
    };
    let suite = Suite::AesCm128HmacSha1_80;
    let mut sender = Leg::sender(suite, Policy::default());
    sender.set_mut().resume(&[mark(7, Some(5))]).unwrap();
    for ssrc in [7, 8] {
        let wire = sender.pass(Kind::Rtcp, &rtcp(ssrc, 20)).unwrap();
        let word = &wire[index_word_at(suite, 28)..][..4];
        assert_eq!(*word, ((1u32 << 31) + (1 << 21)).to_be_bytes(), "{ssrc}");
    }
    // Without a single mark it is a new key.
    let mut sender = Leg::sender(suite, Policy::default());
    sender.set_mut().resume(&[]).unwrap();
    let wire = sender.pass(Kind::Rtcp, &rtcp(7, 20)).unwrap();
    assert_eq!(wire[index_word_at(suite, 28)..][..4], [0x80, 0, 0, 1]);
}

#[test]
fn marks_beyond_the_limit_are_refused_and_absurd_ones_expire_the_key() {
    let suite = Suite::AeadAes128Gcm;
    let mark = |ssrc| Mark {
        ssrc,
        rtp: Some(u64::MAX),
        rtcp: Some(u32::MAX),
    };
    let marks: Vec<_> = (0..17).map(mark).collect();
    for mut leg in [
        Leg::sender(suite, Policy::default()),
        Leg::receiver(suite, Policy::default()),
    ] {
        assert_eq!(leg.set_mut().resume(&marks), Err(TooManySsrcs));
        assert_eq!(leg.set().marks().count(), 16);
        assert!(leg.set().expired());
        let outcome = leg.pass(Kind::Rtp, &rtp(1, 0, 40));
        assert_eq!(outcome, Err(Refusal::KeyExpired));
    }
}

#[test]
fn a_sender_skips_srtcp_indices_that_were_used_elsewhere() {
    for suite in Suite::ALL {
        let mut sender = Leg::sender(suite, Policy::default());
        let index_of = |sender: &mut Leg, ssrc| {
            let wire = sender.pass(Kind::Rtcp, &rtcp(ssrc, 20))?;
            let word = wire[index_word_at(suite, 28)..].first_chunk().unwrap();
            Ok(u32::from_be_bytes(*word) & !(1 << 31))
        };
        assert_eq!(index_of(&mut sender, 7), Ok(1));
        sender.set_mut().skip_rtcp_to(1 << 21);
        assert_eq!(index_of(&mut sender, 7), Ok(1 << 21));
        assert_eq!(index_of(&mut sender, 8), Ok(1 << 21));
        sender.set_mut().skip_rtcp_to(9);
        assert_eq!(index_of(&mut sender, 7), Ok((1 << 21) + 1), "never back");
        assert_eq!(index_of(&mut sender, 9), Ok(1 << 21), "never back");
        sender.set_mut().skip_rtcp_to(u32::MAX);
        for ssrc in [7, 10] {
            assert_eq!(index_of(&mut sender, ssrc), Err(Refusal::KeyExpired));
        }
    }
}
