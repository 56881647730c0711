// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a run of packets means to replay lists and keys is only made up for when somebody asks:
//! nobody ever sees a difference.

use super::{Leg, Passage, Way, pass, rtcp, rtp};
use crate::{Kind, Mark, Policy, Refusal, ReplayWindow, Suite};

const SUITES: [Suite; 3] = [
    Suite::AesCm128HmacSha1_80,
    Suite::AeadAes128Gcm,
    Suite::NullHmacSha1_80,
];

const WINDOWS: [u32; 3] = [64, 128, 1024];

fn policy(window: u32, lifetime: Option<u64>) -> Policy {
    Policy {
        replay_window: ReplayWindow::new(window).unwrap(),
        lifetime,
        ..Policy::default()
    }
}

fn sequence(index: u64) -> u16 {
    (index & 0xffff) as u16
}

/// Packets with these indices as they come to both ends of a leg: to be sent, and sent.
fn packets(suite: Suite, indices: impl IntoIterator<Item = u64>) -> [Vec<Vec<u8>>; 2] {
    let mut sender = Leg::sender(suite, Policy::default());
    let plain = indices
        .into_iter()
        .map(|index| rtp(7, sequence(index), 20))
        .collect::<Vec<_>>();
    let wire = (plain.iter()).map(|packet| sender.pass(Kind::Rtp, packet).unwrap());
    let wire = wire.collect();
    [plain, wire]
}

/// Both ends of a leg, each with the packets that come to it.
fn ends(
    suite: Suite,
    policy: Policy,
    indices: impl IntoIterator<Item = u64>,
) -> [(Leg, Vec<Vec<u8>>); 2] {
    let [plain, wire] = packets(suite, indices);
    let (sender, receiver) = (Leg::sender(suite, policy), Leg::receiver(suite, policy));
    [(sender, plain), (receiver, wire)]
}

/// The outcomes of packets in bursts of so many.
fn outcomes(leg: &mut Leg, packets: &[Vec<u8>], burst: usize) -> Vec<Result<(), Refusal>> {
    let passage = |packet: &Vec<u8>| Passage::new(Kind::Rtp, leg.id, packet.clone());
    let mut passages: Vec<_> = packets.iter().map(passage).collect();
    for burst in passages.chunks_mut(burst) {
        pass(&mut leg.sets, leg.way, burst);
    }
    passages.into_iter().map(|it| it.outcome).collect()
}

#[test]
fn usage_and_marks_are_exact_in_the_middle_of_a_run() {
    for suite in SUITES {
        for (mut leg, packets) in ends(suite, policy(128, None), 65_500..65_800) {
            let mut count = 0;
            for burst in packets.chunks(7) {
                assert!(outcomes(&mut leg, burst, 7).iter().all(Result::is_ok));
                count += burst.len() as u64;
                assert_eq!(leg.set().usage().rtp_packets, count);
                // And once more, since to ask changes nothing.
                assert_eq!(leg.set().usage().rtp_packets, count);
                let mark = Mark {
                    ssrc: 7,
                    rtp: Some(65_500 + count - 1),
                    rtcp: None,
                };
                assert!(leg.set().marks().eq([mark]));
            }
        }
    }
}

#[test]
fn a_key_ends_within_a_run_whether_or_not_anybody_asked() {
    for suite in SUITES {
        for lifetime in [1, 2, 63, 64, 65, 100] {
            for asks in [false, true] {
                for (mut leg, packets) in ends(suite, policy(128, Some(lifetime)), 0..130) {
                    let mut taken = 0;
                    for burst in packets.chunks(10) {
                        for outcome in outcomes(&mut leg, burst, 10) {
                            let is_spent = taken == lifetime;
                            assert_eq!(outcome.err(), is_spent.then_some(Refusal::KeyExpired));
                            taken += u64::from(!is_spent);
                        }
                        if asks {
                            assert_eq!(leg.set().usage().rtp_packets, taken);
                            assert_eq!(leg.set().expired(), taken == lifetime);
                        }
                    }
                    assert_eq!(leg.set().usage().rtp_packets, lifetime, "{suite}");
                    assert!(leg.set().expired());
                }
            }
        }
    }
}

#[test]
fn gaps_do_not_count_towards_the_life_of_a_key() {
    for suite in SUITES {
        let indices = (0..200).filter(|index| index % 10 != 9);
        for (mut leg, packets) in ends(suite, policy(128, Some(150)), indices) {
            let found = outcomes(&mut leg, &packets, 64);
            let (taken, refused) = found.split_at(150);
            assert!(taken.iter().all(Result::is_ok), "{suite}");
            let expired = |it: &Result<(), _>| *it == Err(Refusal::KeyExpired);
            assert!(refused.len() == 30 && refused.iter().all(expired));
        }
    }
}

#[test]
fn every_packet_of_a_run_is_refused_the_second_time() {
    for suite in SUITES {
        for window in WINDOWS {
            for len in [1, 5, 63, 64, 65, 127, 128, 129, 300] {
                let indices = 1000..1000 + len;
                for (mut leg, packets) in ends(suite, policy(window, None), indices) {
                    assert!(outcomes(&mut leg, &packets, 64).iter().all(Result::is_ok));
                    let state = leg.state();
                    let found = outcomes(&mut leg, &packets, 64);
                    for (outcome, age) in found.into_iter().rev().zip(0..) {
                        let expected = if age < window {
                            Refusal::Replayed
                        } else {
                            Refusal::TooOld
                        };
                        assert_eq!(outcome, Err(expected), "{suite} {window} {len} {age}");
                    }
                    assert!(leg.state() == state);
                }
            }
        }
    }
}

#[test]
fn what_a_run_has_left_out_is_taken_until_the_window_has_moved_on() {
    for suite in SUITES {
        for window in WINDOWS {
            // How far the run goes beyond the packet that is late.
            for beyond in [
                1,
                40,
                window - 2,
                window - 1,
                window,
                window + 1,
                3 * window,
            ] {
                let (first, late) = (500, 510);
                let last = late + u64::from(beyond);
                let indices = (first..=last).filter(|index| *index != late);
                for (mut leg, packets) in ends(suite, policy(window, None), indices) {
                    assert!(outcomes(&mut leg, &packets, 64).iter().all(Result::is_ok));
                    let [plain, wire] = self::packets(suite, [late]);
                    let late = match leg.way {
                        Way::Protect => plain,
                        Way::Unprotect => wire,
                    };
                    let expected = (beyond >= window).then_some(Refusal::TooOld);
                    let found = outcomes(&mut leg, &late, 1);
                    assert_eq!(found[0].err(), expected, "{suite} {window} {beyond}");
                    let again = expected.unwrap_or(Refusal::Replayed);
                    assert_eq!(outcomes(&mut leg, &late, 1), [Err(again)]);
                    let count = last - first + u64::from(expected.is_none());
                    assert_eq!(leg.set().usage().rtp_packets, count);
                }
            }
        }
    }
}

#[test]
fn srtcp_and_other_ssrcs_may_come_in_the_middle_of_a_run() {
    for suite in SUITES {
        let mut leg = Leg::sender(suite, policy(128, None));
        for index in 0..200 {
            assert!(leg.pass(Kind::Rtp, &rtp(7, index, 20)).is_ok());
            if index % 50 == 20 {
                assert!(leg.pass(Kind::Rtcp, &rtcp(7, 20)).is_ok());
            }
            if index % 50 == 40 {
                assert!(leg.pass(Kind::Rtp, &rtp(8, index, 20)).is_ok());
            }
        }
        let usage = leg.set().usage();
        assert_eq!((usage.rtp_packets, usage.rtcp_packets), (204, 4));
        let marks = [(7, 199, Some(4)), (8, 190, None)].map(|(ssrc, index, rtcp)| Mark {
            ssrc,
            rtp: Some(index),
            rtcp,
        });
        assert!(leg.set().marks().eq(marks));
        for (ssrc, index) in [(7, 199), (7, 72), (8, 190), (8, 140)] {
            let outcome = leg.pass(Kind::Rtp, &rtp(ssrc, index, 21));
            assert_eq!(outcome, Err(Refusal::Replayed), "{ssrc} {index}");
        }
    }
}

#[test]
fn a_set_may_be_resumed_in_the_middle_of_a_run() {
    for suite in SUITES {
        let mut leg = Leg::sender(suite, policy(128, Some(1000)));
        for index in 0..100 {
            assert!(leg.pass(Kind::Rtp, &rtp(7, index, 20)).is_ok());
        }
        let mark = |rtp| Mark {
            ssrc: 7,
            rtp: Some(rtp),
            rtcp: None,
        };
        leg.set_mut().resume(&[mark(149)]).unwrap();
        assert!(leg.set().marks().next().unwrap().rtp == Some(149));
        assert_eq!(leg.set().usage().rtp_packets, 100 + 150);
        let outcome = leg.pass(Kind::Rtp, &rtp(7, 100, 20));
        assert_eq!(outcome, Err(Refusal::Replayed));
        assert!(leg.pass(Kind::Rtp, &rtp(7, 150, 20)).is_ok());
        assert!(leg.pass(Kind::Rtp, &rtp(7, 151, 20)).is_ok());
        // A mark below what was sent moves nothing.
        leg.set_mut().resume(&[mark(10)]).unwrap();
        let outcome = leg.pass(Kind::Rtp, &rtp(7, 151, 20));
        assert_eq!(outcome, Err(Refusal::Replayed));
        assert!(leg.pass(Kind::Rtp, &rtp(7, 152, 20)).is_ok());
        // One that uses up the key ends the run.
        assert!(!leg.set().expired());
        leg.set_mut().resume(&[mark(999)]).unwrap();
        assert!(leg.set().expired());
        let outcome = leg.pass(Kind::Rtp, &rtp(7, 1000, 20));
        assert_eq!(outcome, Err(Refusal::KeyExpired));
    }
}
