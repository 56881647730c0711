// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What networks do to streams: loss, disorder, copies; and counters that wrap.

use super::{Leg, rtcp, rtp};
use crate::{Kind, Policy, Refusal, ReplayWindow, Suite};

const SUITES: [Suite; 2] = [Suite::AesCm128HmacSha1_80, Suite::AeadAes256Gcm];

/// Packets with these indices, of which the lower 16 bits are sent, one after the other.
fn protected(sender: &mut Leg, indices: impl IntoIterator<Item = u32>) -> Vec<Vec<u8>> {
    indices
        .into_iter()
        .map(|index| {
            sender
                .pass(Kind::Rtp, &rtp(7, sequence(index), 20))
                .unwrap()
        })
        .collect()
}

fn sequence(index: u32) -> u16 {
    (index & 0xffff) as u16
}

fn highest(leg: &Leg) -> Option<u64> {
    leg.set().marks().next().and_then(|mark| mark.rtp)
}

#[test]
fn the_sequence_number_may_start_anywhere_and_wrap_at_once() {
    for suite in SUITES {
        for first in [0, 1, 32767, 32768, 65534, 65535] {
            let (mut sender, mut receiver) = Leg::pair(suite);
            for index in first..first + 10 {
                let plain = rtp(7, sequence(index), 20);
                let wire = sender.pass(Kind::Rtp, &plain).unwrap();
                assert_eq!(receiver.pass(Kind::Rtp, &wire), Ok(plain), "{index}");
            }
            assert_eq!(highest(&sender), Some(u64::from(first) + 9));
            assert_eq!(highest(&receiver), Some(u64::from(first) + 9));
        }
    }
}

#[test]
fn three_turns_of_the_sequence_number_are_counted() {
    let (mut sender, mut receiver) = Leg::pair(Suite::AeadAes128Gcm);
    for index in (0..200_000).step_by(7) {
        let wire = sender
            .pass(Kind::Rtp, &rtp(7, sequence(index), 20))
            .unwrap();
        assert!(receiver.pass(Kind::Rtp, &wire).is_ok(), "{index}");
    }
    assert_eq!(highest(&receiver), Some(199_997));
}

#[test]
fn packets_out_of_order_around_the_wrap_are_taken_once() {
    for suite in SUITES {
        let (mut sender, mut receiver) = Leg::pair(suite);
        let wire = protected(&mut sender, 65500..65600);
        // Each block of ten from its end, so that 65536 comes before 65535.
        for block in wire.chunks(10) {
            for packet in block.iter().rev() {
                assert!(receiver.pass(Kind::Rtp, packet).is_ok());
            }
        }
        assert_eq!(highest(&receiver), Some(65599));
        for packet in &wire {
            assert_eq!(receiver.pass(Kind::Rtp, packet), Err(Refusal::Replayed));
        }
    }
}

#[test]
fn the_loss_of_thirty_thousand_packets_is_survived() {
    for suite in SUITES {
        for first in [0, 20_000, 40_000, 65_535, 100_000] {
            let (mut sender, mut receiver) = Leg::pair(suite);
            let way_there = (first % 20_000..=first).step_by(20_000);
            for wire in protected(&mut sender, way_there) {
                assert!(receiver.pass(Kind::Rtp, &wire).is_ok());
            }
            protected(&mut sender, (first + 1..=first + 30_000).step_by(1000));
            let wire = protected(&mut sender, [first + 30_001]);
            assert!(receiver.pass(Kind::Rtp, &wire[0]).is_ok(), "{first}");
            assert_eq!(highest(&receiver), Some(u64::from(first) + 30_001));
        }
    }
}

#[test]
fn the_replay_window_ends_where_its_size_says() {
    for packets in [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768] {
        let policy = Policy {
            replay_window: ReplayWindow::new(packets).unwrap(),
            ssrc_limit: 1,
            ..Policy::default()
        };
        // The sender numbers all packets in order; the network delays three of them.
        let mut sender = Leg::sender(Suite::AeadAes128Gcm, policy);
        let mut receiver = Leg::receiver(Suite::AeadAes128Gcm, policy);
        let late = protected(&mut sender, [1000, 1001, 1002]);
        let top = protected(&mut sender, [1000 + packets]);
        assert!(receiver.pass(Kind::Rtp, &late[2]).is_ok());
        assert!(receiver.pass(Kind::Rtp, &top[0]).is_ok());
        for (packet, expected) in [
            (&late[0], Some(Refusal::TooOld)),
            (&late[1], None),
            (&late[1], Some(Refusal::Replayed)),
            (&late[2], Some(Refusal::Replayed)),
            (&top[0], Some(Refusal::Replayed)),
        ] {
            assert_eq!(
                receiver.pass(Kind::Rtp, packet).err(),
                expected,
                "{packets}"
            );
        }
    }
}

#[test]
fn a_sender_never_uses_an_index_twice() {
    for suite in Suite::ALL {
        let mut sender = Leg::sender(suite, Policy::default());
        for sequence in 100..300 {
            assert!(sender.pass(Kind::Rtp, &rtp(7, sequence, 20)).is_ok());
        }
        let before = sender.state();
        // Another payload under the same sequence number, near and far.
        for (sequence, expected) in [
            (299, Refusal::Replayed),
            (172, Refusal::Replayed),
            (171, Refusal::TooOld),
            (100, Refusal::TooOld),
        ] {
            let outcome = sender.pass(Kind::Rtp, &rtp(7, sequence, 33));
            assert_eq!(outcome, Err(expected), "{suite} {sequence}");
        }
        assert!(sender.state() == before);
    }
}

#[test]
fn srtcp_is_numbered_from_one_and_apart_from_srtp() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = Leg::pair(suite);
        let word = crate::packet::index_word_at(suite, 28);
        for index in 1..300u32 {
            let plain = rtcp(7, 20);
            let wire = sender.pass(Kind::Rtcp, &plain).unwrap();
            let encrypted = u32::from(suite.encrypts()) << 31;
            assert_eq!(wire[word..][..4], (index | encrypted).to_be_bytes());
            assert_eq!(receiver.pass(Kind::Rtcp, &wire), Ok(plain));
            assert_eq!(receiver.pass(Kind::Rtcp, &wire), Err(Refusal::Replayed));
        }
        let marks: Vec<_> = receiver.set().marks().collect();
        assert_eq!(marks.len(), 1);
        assert_eq!((marks[0].rtp, marks[0].rtcp), (None, Some(299)));
    }
}

#[test]
fn a_receiver_takes_srtcp_that_is_numbered_from_zero() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = Leg::pair(suite);
        sender.set_mut().start_rtcp_at(0);
        for _ in 0..3 {
            let wire = sender.pass(Kind::Rtcp, &rtcp(7, 20)).unwrap();
            assert!(receiver.pass(Kind::Rtcp, &wire).is_ok(), "{suite}");
            assert_eq!(receiver.pass(Kind::Rtcp, &wire), Err(Refusal::Replayed));
        }
    }
}

#[test]
fn the_streams_of_a_leg_do_not_disturb_each_other() {
    for suite in Suite::ALL {
        let (mut sender, mut receiver) = Leg::pair(suite);
        for step in 0..200u16 {
            for ssrc in 0..16 {
                let sequence = 65_000u16
                    .wrapping_add(50 * u16::try_from(ssrc).unwrap())
                    .wrapping_add(step);
                let plain = rtp(ssrc, sequence, 20);
                let wire = sender.pass(Kind::Rtp, &plain).unwrap();
                assert_eq!(receiver.pass(Kind::Rtp, &wire), Ok(plain));
            }
        }
        assert_eq!(receiver.set().marks().count(), 16);
        let outcome = sender.pass(Kind::Rtp, &rtp(16, 1, 20));
        assert_eq!(outcome, Err(Refusal::TooManySsrcs));
    }
}
