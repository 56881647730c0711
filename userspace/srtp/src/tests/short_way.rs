// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Plain packets that are on time take a short way; the long one, a packet at a time, has the same
//! result.

use proptest::prelude::*;

use super::{Passage, START, Way, framed, key, pass, rtcp, rtp, shaped};
use crate::index::{RTCP_END, RTP_END};
use crate::packet::Packet;
use crate::{
    ContextSet, ContextSets, Job, Kind, Mark, Policy, Refusal, ReplayWindow, SetId, Suite,
};

/// A packet, as it differs from the one before it.
#[derive(Clone, Debug)]
struct Step {
    kind: Kind,
    ssrc: u32,
    /// How much higher its index is.
    ahead: i64,
    /// Length of its payload.
    len: usize,
    change: Change,
}

/// What happens to it on the network.
#[derive(Clone, Debug)]
enum Change {
    None,
    Copied,
    Flipped(prop::sample::Index),
    Truncated(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let ahead = prop_oneof![
        12 => Just(1i64),
        4 => -3i64..4,
        2 => -140i64..140,
        1 => 16_380i64..16_390,
        1 => 32_760i64..32_775,
        1 => prop::sample::select(&[-20_000i64, 25_000, 40_000, 65_536][..]),
    ];
    let len = prop_oneof![0usize..300, Just(30), 1000usize..1300, Just(2050)];
    let change = prop_oneof![
        8 => Just(Change::None),
        1 => Just(Change::Copied),
        1 => any::<prop::sample::Index>().prop_map(Change::Flipped),
        1 => any::<prop::sample::Index>().prop_map(Change::Truncated),
    ];
    let kind = prop_oneof![9 => Just(Kind::Rtp), 1 => Just(Kind::Rtcp)];
    let ssrc = prop_oneof![8 => Just(0u32), 1 => 1u32..4];
    (kind, ssrc, ahead, len, change).prop_map(|(kind, ssrc, ahead, len, change)| Step {
        kind,
        ssrc,
        ahead,
        len,
        change,
    })
}

/// Where the SRTP indices of an SSRC start.
fn start() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..100u64,
        32_700..32_800u64,
        65_500..65_536u64,
        Just(RTP_END - 70_000),
        RTP_END - 120..RTP_END - 20,
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let window = prop::sample::select(&[128u32, 128, 128, 64, 256][..]);
    let lifetime = prop::option::weighted(0.3, 1..100u64);
    (window, 1..5u16, lifetime).prop_map(|(window, ssrc_limit, lifetime)| Policy {
        replay_window: ReplayWindow::new(window).unwrap(),
        ssrc_limit,
        lifetime,
        ..Policy::default()
    })
}

/// The packets, as they are before the sets have them.
fn passages(
    steps: &[Step],
    suite: Suite,
    way: Way,
    id: SetId,
    mut rtp_at: [u64; 4],
) -> Vec<Passage> {
    let mut rtcp_at = [1u64; 4];
    let mut passages = Vec::new();
    for step in steps {
        let at = step.ssrc as usize;
        let (plain, index) = match step.kind {
            Kind::Rtp => {
                rtp_at[at] = rtp_at[at]
                    .saturating_add_signed(step.ahead)
                    .min(RTP_END - 1);
                let sequence = (rtp_at[at] & 0xffff) as u16;
                // Some of them with more than a plain header.
                let make = if step.len.is_multiple_of(5) {
                    shaped
                } else {
                    rtp
                };
                (make(step.ssrc, sequence, step.len), rtp_at[at])
            }
            Kind::Rtcp => {
                let ahead = step.ahead.clamp(-200, 200);
                rtcp_at[at] = rtcp_at[at].saturating_add_signed(ahead).min(RTCP_END - 1);
                (rtcp(step.ssrc, step.len), rtcp_at[at])
            }
        };
        let mut packet = match way {
            Way::Protect => plain,
            Way::Unprotect => sealed(suite, step.kind, index, &plain),
        };
        let len = packet.len();
        match step.change {
            Change::None | Change::Copied => {}
            Change::Flipped(at) => packet[at.index(len)] ^= 0x10,
            Change::Truncated(at) => packet.truncate(at.index(len)),
        }
        let passage = Passage::new(step.kind, id, packet);
        passages.extend(matches!(step.change, Change::Copied).then(|| passage.clone()));
        passages.push(passage);
    }
    passages
}

fn sealed(suite: Suite, kind: Kind, index: u64, plain: &[u8]) -> Vec<u8> {
    let mut set = ContextSet::sender(&key(suite), Policy::default());
    let mut frame = framed(plain);
    let mut job = Job::new(&mut frame, START, plain.len(), kind, SetId::NONE);
    let packet = Packet::plain(set.format(), kind, plain, 0).unwrap();
    set.crypto_at(0, index).seal(&mut job, &packet, index);
    job.frame[START..][..job.len].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn both_ways_lead_to_the_same_end(
        steps in prop::collection::vec(step(), 1..200),
        suite in prop::sample::select(&Suite::ALL[..]),
        is_sender in any::<bool>(),
        starts in prop::array::uniform4(start()),
        policy in policy(),
        marked in prop::sample::subsequence(vec![3u32, 1, 0, 2], 0..=4),
        skipped in prop::option::of(0..10u32),
        burst in 1..65usize,
    ) {
        let way = if is_sender { Way::Protect } else { Way::Unprotect };
        let make = || {
            let mut set = match way {
                Way::Protect => ContextSet::sender(&key(suite), policy),
                Way::Unprotect => ContextSet::receiver(&key(suite), policy),
            };
            let marks: Vec<_> = (marked.iter()).map(|&ssrc| Mark {
                ssrc,
                rtp: (ssrc != 3).then_some(starts[ssrc as usize]),
                rtcp: ssrc.is_multiple_of(2).then_some(3),
            }).collect();
            // More than fit are an error, and those that fit are taken.
            let _ = set.resume(&marks);
            if let Some(index) = skipped.filter(|_| is_sender) {
                set.skip_rtcp_to(index);
            }
            let mut sets = ContextSets::new();
            let id = sets.insert(set);
            (sets, id)
        };
        let ((mut short, id), (mut long, _)) = (make(), make());
        let mut together = passages(&steps, suite, way, id, starts);
        let mut alone = together.clone();
        for burst in together.chunks_mut(burst) {
            pass(&mut short, way, burst);
        }
        for passage in &mut alone {
            long.set(id).unwrap().close();
            pass(&mut long, way, std::slice::from_mut(passage));
        }
        prop_assert_eq!(together, alone);
        let (short, long) = (short.set(id).unwrap(), long.set(id).unwrap());
        prop_assert_eq!(short.state(), long.state());
        prop_assert_eq!(short.usage(), long.usage());
        prop_assert_eq!(short.expired(), long.expired());
        prop_assert!(short.marks().eq(long.marks()));
    }
}

#[test]
fn rtcp_ends_the_key_between_the_guess_and_its_settlement() {
    let suite = Suite::AeadAes128Gcm;
    let policy = Policy {
        lifetime: Some(3),
        ..Policy::default()
    };
    let mut sets = ContextSets::new();
    let id = sets.insert(ContextSet::receiver(&key(suite), policy));
    let rtp = |index: u16| {
        let wire = sealed(suite, Kind::Rtp, index.into(), &rtp(7, index, 20));
        Passage::new(Kind::Rtp, id, wire)
    };
    let rtcp = |index| {
        Passage::new(
            Kind::Rtcp,
            id,
            sealed(suite, Kind::Rtcp, index, &rtcp(7, 20)),
        )
    };
    for passage in [rtp(0), rtcp(1), rtcp(2)] {
        let mut passage = [passage];
        pass(&mut sets, Way::Unprotect, &mut passage);
        assert_eq!(passage[0].outcome, Ok(()));
    }
    let mut burst = [rtcp(3), rtp(1)];
    let before = burst[1].packet.clone();
    pass(&mut sets, Way::Unprotect, &mut burst);
    assert_eq!(burst[0].outcome, Ok(()));
    assert_eq!(burst[1].outcome, Err(Refusal::KeyExpired));
    assert_eq!(burst[1].packet, before);
}
