// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A burst has the result of its packets one after the other.

use proptest::prelude::*;

use super::{Leg, Passage, START, Terms, Way, framed, key, pass, rtcp, shaped, terms};
use crate::context_set::State;
use crate::packet::Packet;
use crate::{
    ContextSet, ContextSets, Job, Kind, MAX_GROWTH, Policy, RccMode, Refusal, ReplayWindow, SetId,
    Suite,
};

/// An RTP or RTCP packet protected at any index, which no sender would do in this order.
fn sealed(suite: Suite, kind: Kind, ssrc: u32, index: u64) -> Vec<u8> {
    let mut set = ContextSet::sender(&key(suite), Policy::default());
    sealed_by(&mut set, kind, ssrc, index)
}

/// The same under the current key of a set.
fn sealed_by(set: &mut ContextSet, kind: Kind, ssrc: u32, index: u64) -> Vec<u8> {
    let plain = match kind {
        Kind::Rtp => shaped(ssrc, (index & 0xffff) as u16, 30),
        Kind::Rtcp => rtcp(ssrc, 30),
    };
    let number = set.current_key();
    let mut frame = framed(&plain);
    let mut job = Job::new(&mut frame, START, plain.len(), kind, SetId::NONE);
    let packet = Packet::plain(set.format(), kind, &plain, number).unwrap();
    set.crypto_at(number, index).seal(&mut job, &packet, index);
    job.frame[START..][..job.len].to_vec()
}

fn assert_same(
    make: impl Fn() -> (ContextSets, Vec<SetId>),
    way: Way,
    passages: &[Passage],
) -> Vec<Result<(), Refusal>> {
    let states = |sets: &ContextSets, ids: &[SetId]| -> Vec<State> {
        let state = |id: &SetId| sets.set(*id).unwrap().state();
        ids.iter().map(state).collect()
    };
    let (mut sets, ids) = make();
    let mut together = passages.to_vec();
    pass(&mut sets, way, &mut together);
    let states_together = states(&sets, &ids);

    let (mut sets, ids) = make();
    let mut alone = passages.to_vec();
    for passage in &mut alone {
        pass(&mut sets, way, std::slice::from_mut(passage));
    }
    assert_eq!(together, alone);
    assert_eq!(states_together, states(&sets, &ids));
    together.into_iter().map(|p| p.outcome).collect()
}

fn receiver(suite: Suite, policy: Policy) -> impl Fn() -> (ContextSets, Vec<SetId>) {
    move || {
        let mut sets = ContextSets::new();
        let id = sets.insert(ContextSet::receiver(&key(suite), policy));
        (sets, vec![id])
    }
}

/// The outcome of SRTP packets of one SSRC with these indices, in one burst.
fn outcomes(suite: Suite, policy: Policy, indices: &[u64]) -> Vec<Result<(), Refusal>> {
    let make = receiver(suite, policy);
    let id = make().1[0];
    let passages: Vec<_> = indices
        .iter()
        .map(|index| Passage::new(Kind::Rtp, id, sealed(suite, Kind::Rtp, 7, *index)))
        .collect();
    assert_same(make, Way::Unprotect, &passages)
}

#[test]
fn the_second_copy_in_a_burst_is_replayed() {
    for suite in Suite::ALL {
        let found = outcomes(suite, Policy::default(), &[5, 5, 6, 5, 6]);
        let again = Err(Refusal::Replayed);
        assert_eq!(found, [Ok(()), again, Ok(()), again, again]);
    }
}

#[test]
fn the_first_burst_of_a_stream_may_wrap() {
    for suite in Suite::ALL {
        let indices: Vec<_> = (65_520..65_560).collect();
        let found = outcomes(suite, Policy::default(), &indices);
        assert!(found.iter().all(Result::is_ok), "{suite}");
    }
}

#[test]
fn steps_that_only_the_packet_before_makes_plausible_are_followed() {
    for suite in Suite::ALL {
        let indices = [20_000, 45_000, 70_000, 95_000, 120_000, 150_000, 119_990];
        let policy = Policy {
            replay_window: ReplayWindow::new(32768).unwrap(),
            ..Policy::default()
        };
        let found = outcomes(suite, policy, &indices);
        assert!(found.iter().all(Result::is_ok), "{suite} {found:?}");
    }
}

#[test]
fn what_authenticates_only_by_the_old_state_is_refused_and_stays_as_it_was() {
    // From 20000 alone, 5000 is a late packet; once 45000 has come, it is one of the next turn.
    for suite in Suite::ALL {
        let policy = Policy {
            replay_window: ReplayWindow::new(32768).unwrap(),
            ..Policy::default()
        };
        let make = || {
            let mut leg = Leg::receiver(suite, policy);
            let first = sealed(suite, Kind::Rtp, 7, 20_000);
            leg.pass(Kind::Rtp, &first).unwrap();
            (leg.sets, vec![leg.id])
        };
        let id = make().1[0];
        let passages = [45_000, 5000]
            .map(|index| Passage::new(Kind::Rtp, id, sealed(suite, Kind::Rtp, 7, index)));
        let found = assert_same(make, Way::Unprotect, &passages);
        assert_eq!(found, [Ok(()), Err(Refusal::AuthFailed)]);
    }
}

#[test]
fn the_last_free_context_goes_to_the_first_ssrc_that_authenticates() {
    let suite = Suite::AeadAes256Gcm;
    let policy = Policy {
        ssrc_limit: 1,
        ..Policy::default()
    };
    let make = receiver(suite, policy);
    let id = make().1[0];
    let mut passages =
        [1, 2, 3, 2].map(|ssrc| Passage::new(Kind::Rtp, id, sealed(suite, Kind::Rtp, ssrc, 9)));
    passages[0].packet[20] ^= 1;
    let found = assert_same(make, Way::Unprotect, &passages);
    assert_eq!(
        found,
        [
            Err(Refusal::AuthFailed),
            Ok(()),
            Err(Refusal::TooManySsrcs),
            Err(Refusal::Replayed)
        ]
    );
}

#[test]
fn a_key_that_expires_within_a_burst_opens_no_more() {
    let policy = Policy {
        lifetime: Some(2),
        ..Policy::default()
    };
    for suite in Suite::ALL {
        let found = outcomes(suite, policy, &[1, 2, 3]);
        assert_eq!(found, [Ok(()), Ok(()), Err(Refusal::KeyExpired)]);
    }
}

#[test]
fn jobs_refused_before_are_skipped_and_long_slices_are_cut() {
    let suite = Suite::AesCm128HmacSha1_32;
    let make = receiver(suite, Policy::default());
    let id = make().1[0];
    let mut passages: Vec<_> = (0..300)
        .map(|index| Passage::new(Kind::Rtp, id, sealed(suite, Kind::Rtp, 7, index)))
        .collect();
    for passage in passages.iter_mut().step_by(3) {
        passage.outcome = Err(Refusal::NotVersion2);
    }
    let found = assert_same(make, Way::Unprotect, &passages);
    for (i, outcome) in found.into_iter().enumerate() {
        let expected = if i % 3 == 0 {
            Err(Refusal::NotVersion2)
        } else {
            Ok(())
        };
        assert_eq!(outcome, expected, "{i}");
    }
}

/// One packet to send: which set, which SSRC, how far its index is from the one before.
#[derive(Clone, Debug)]
struct Move {
    second_set: bool,
    ssrc: u8,
    rtcp: bool,
    step: i64,
    second_key: bool,
    forge: Option<usize>,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let step = prop_oneof![
        10 => Just(1i64),
        4 => -3i64..4,
        2 => -140i64..140,
        2 => prop::sample::select(&[20_000i64, 25_000, 32_000, 32_768, 40_000, -20_000][..]),
    ];
    let one = (
        any::<bool>(),
        0u8..4,
        prop::bool::weighted(0.2),
        step,
        prop::bool::weighted(0.3),
        prop::option::weighted(0.1, 0usize..60),
    )
        .prop_map(|(second_set, ssrc, rtcp, step, second_key, forge)| Move {
            second_set,
            ssrc,
            rtcp,
            step,
            second_key,
            forge,
        });
    prop::collection::vec(one, 1..150)
}

/// What becomes of a packet of a stream on its way.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    ArrivesTwice,
    IsLost,
    IsForged(usize),
    /// And comes behind the next one of its stream.
    IsLate,
    /// By somebody who looked at it before.
    IsRefused,
    /// It is one of SRTCP, in place of one of SRTP.
    IsRtcp,
}

fn fates() -> impl Strategy<Value = Vec<(usize, Fate)>> {
    let fate = prop_oneof![
        200 => Just(Fate::Arrives),
        1 => Just(Fate::ArrivesTwice),
        1 => Just(Fate::IsLost),
        2 => (0usize..60).prop_map(Fate::IsForged),
        1 => Just(Fate::IsLate),
        1 => Just(Fate::IsRefused),
        1 => Just(Fate::IsRtcp),
    ];
    prop::collection::vec((0usize..3, fate), 65..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn unprotecting_streams_of_which_little_is_lost_equals_one_by_one(
        fates in fates(),
        suite in prop::sample::select(&Suite::ALL[..]),
        start in prop_oneof![Just(0u64), 65_300u64..65_536],
        lifetime in prop::option::weighted(0.2, 1u64..200),
    ) {
        let policy = Policy { lifetime, ..Policy::default() };
        let make = || {
            let mut sets = ContextSets::new();
            let ids = [0; 3].map(|_| sets.insert(ContextSet::receiver(&key(suite), policy)));
            (sets, ids.to_vec())
        };
        let ids = make().1;
        let mut sender = ContextSet::sender(&key(suite), Policy::default());
        let (mut next, mut next_rtcp) = ([start; 3], [1; 3]);
        let mut late = [const { None }; 3];
        let mut passages = Vec::new();
        for (stream, fate) in fates {
            let (kind, index) = match fate {
                Fate::IsRtcp => (Kind::Rtcp, &mut next_rtcp[stream]),
                _ => (Kind::Rtp, &mut next[stream]),
            };
            let packet = sealed_by(&mut sender, kind, 7, *index);
            *index += 1;
            let mut passage = Passage::new(kind, ids[stream], packet);
            match fate {
                Fate::Arrives | Fate::IsRtcp => {}
                Fate::ArrivesTwice => passages.push(passage.clone()),
                Fate::IsLost => continue,
                Fate::IsForged(byte) => {
                    let byte = byte % passage.packet.len();
                    passage.packet[byte] ^= 0x10;
                }
                Fate::IsLate => {
                    late[stream] = Some(passage);
                    continue;
                }
                Fate::IsRefused => passage.outcome = Err(Refusal::NotVersion2),
            }
            passages.push(passage);
            passages.extend(late[stream].take());
        }
        assert_same(make, Way::Unprotect, &passages);
    }

    #[test]
    fn unprotecting_a_burst_equals_one_by_one(
        moves in moves(),
        first in terms(),
        second in terms(),
        starts in prop::array::uniform4(prop_oneof![0u64..100, 32_700u64..32_800, 65_500u64..65_536]),
        window in prop::sample::select(&[64u32, 128, 1024, 32768][..]),
        ssrc_limit in 1u16..5,
        lifetime in prop::option::weighted(0.2, 1u64..100),
    ) {
        let replay_window = ReplayWindow::new(window).unwrap();
        let agreed = [first, second].map(|terms| Terms {
            policy: Policy { replay_window, ssrc_limit, lifetime, ..terms.policy },
            ..terms
        });
        let make = || {
            let mut sets = ContextSets::new();
            let ids = agreed.clone().map(|terms| sets.insert(terms.receiver()));
            (sets, ids.to_vec())
        };
        let ids = make().1;
        let mut senders = agreed.clone().map(|terms| terms.sender());
        let mut at = [starts; 2];
        let mut rtcp_at = [[1u64; 4]; 2];
        let passages: Vec<_> = moves
            .iter()
            .map(|m| {
                let set = usize::from(m.second_set);
                let ssrc = usize::from(m.ssrc);
                let (kind, index) = if m.rtcp {
                    (Kind::Rtcp, &mut rtcp_at[set][ssrc])
                } else {
                    (Kind::Rtp, &mut at[set][ssrc])
                };
                *index = index.saturating_add_signed(m.step);
                agreed[set].switch(&mut senders[set], m.second_key);
                let mut packet = sealed_by(&mut senders[set], kind, u32::from(m.ssrc), *index);
                if let Some(byte) = m.forge {
                    let byte = byte % packet.len();
                    packet[byte] ^= 0x10;
                }
                Passage::new(kind, ids[set], packet)
            })
            .collect();
        assert_same(make, Way::Unprotect, &passages);
    }

    #[test]
    fn protecting_a_burst_equals_one_by_one(
        moves in moves(),
        terms in terms(),
        starts in prop::array::uniform4(any::<u16>()),
        ssrc_limit in 1u16..5,
        lifetime in prop::option::weighted(0.2, 1u64..100),
    ) {
        let policy = Policy { ssrc_limit, lifetime, ..terms.policy };
        let terms = Terms { policy, ..terms };
        let make = || {
            let mut sets = ContextSets::new();
            let id = sets.insert(terms.sender());
            (sets, vec![id])
        };
        let id = make().1[0];
        let mut at = starts.map(|start| u64::from(start) + (1 << 32));
        let passages: Vec<_> = moves
            .iter()
            .map(|m| {
                let ssrc = usize::from(m.ssrc);
                at[ssrc] = at[ssrc].strict_add_signed(m.step);
                let sequence = (at[ssrc] & 0xffff) as u16;
                if m.rtcp {
                    Passage::new(Kind::Rtcp, id, rtcp(u32::from(m.ssrc), 30))
                } else {
                    let len = m.forge.unwrap_or(30);
                    Passage::new(Kind::Rtp, id, shaped(u32::from(m.ssrc), sequence, len))
                }
            })
            .collect();
        assert_same(make, Way::Protect, &passages);
    }

    #[test]
    fn what_was_protected_in_bursts_is_unprotected_in_bursts(
        steps in prop::collection::vec((0u32..4, any::<bool>(), 0usize..100), 1..200),
        terms in terms(),
        start in any::<u16>(),
    ) {
        // Of a stream that begins without a tag, nothing is taken before the first with one.
        let rcc = terms.policy.rcc.filter(|rcc| rcc.mode() == RccMode::Two);
        let terms = Terms { policy: Policy { rcc, ..terms.policy }, ..terms };
        let mut sets = ContextSets::new();
        let sender = sets.insert(terms.sender());
        let receiver = sets.insert(terms.receiver());
        let mut sequence = start;
        let mut plain: Vec<_> = steps
            .into_iter()
            .map(|(ssrc, is_rtcp, len)| {
                sequence = sequence.wrapping_add(1);
                if is_rtcp {
                    Passage::new(Kind::Rtcp, sender, rtcp(ssrc, len))
                } else {
                    Passage::new(Kind::Rtp, sender, shaped(ssrc, sequence, len))
                }
            })
            .collect();
        let mut passages = plain.clone();
        pass(&mut sets, Way::Protect, &mut passages);
        for passage in plain.iter_mut().chain(&mut passages) {
            passage.set = receiver;
        }
        for (plain, wire) in plain.iter().zip(&passages) {
            prop_assert_eq!(wire.outcome, Ok(()));
            prop_assert!(wire.packet.len() <= plain.packet.len() + MAX_GROWTH);
        }
        pass(&mut sets, Way::Unprotect, &mut passages);
        prop_assert_eq!(passages, plain);
    }
}
