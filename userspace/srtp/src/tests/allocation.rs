// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What memory is taken, and when.

use core::num::NonZeroU16;

use super::{START, framed, key, rtcp, rtp};
use crate::{
    ContextSet, ContextSets, ExtensionIds, Job, KeyDerivationRate, Kind, Policy, Rcc, RccMode,
    Refusal, Suite,
};

#[test]
fn no_packet_allocates_not_even_the_first_of_an_ssrc() {
    let rate = Some(KeyDerivationRate::new(1).unwrap());
    let together = Policy {
        encrypted_extensions: ExtensionIds::NONE.with(1),
        ..Policy::default()
    };
    let alone = Policy {
        key_derivation_rate: rate,
        rcc: Some(Rcc::new(RccMode::Two, NonZeroU16::MIN)),
        ..together
    };
    let policies = [(Policy::default(), ""), (together, "key"), (alone, "key")];
    for (suite, (policy, mki)) in Suite::ALL
        .into_iter()
        .flat_map(|it| policies.map(|p| (it, p)))
    {
        let mut sets = ContextSets::new();
        let mut key = key(suite);
        if !mki.is_empty() {
            key = key.with_mki(mki.as_bytes()).unwrap();
        }
        let sender = sets.insert(ContextSet::sender(&key, policy));
        let receiver = sets.insert(ContextSet::receiver(&key, policy));
        // More packets than one burst, of more SSRCs than one set takes.
        let mut frames = Vec::new();
        for sequence in 0..10 {
            for ssrc in 0..18 {
                frames.push((Kind::Rtp, framed(&rtp(ssrc, sequence, 160)), 172));
                frames.push((Kind::Rtcp, framed(&rtcp(ssrc, 40)), 48));
            }
        }
        let mut jobs: Vec<_> = frames
            .iter_mut()
            .map(|(kind, frame, len)| Job::new(frame, START, *len, *kind, sender))
            .collect();
        let allocations = allocation_counter::measure(|| {
            sets.protect(&mut jobs);
            for job in &mut jobs {
                job.set = receiver;
            }
            // A copy that fails and two rounds, of which the second is all replays.
            jobs[5].frame[START + 20] ^= 1;
            sets.unprotect(&mut jobs);
        });
        assert_eq!(allocations.count_total, 0, "{suite}");
        let accepted = jobs.iter().filter(|job| job.outcome.is_ok()).count();
        assert_eq!(accepted, 2 * 10 * 16 - 1, "{suite}");
    }
}

#[test]
fn no_packet_allocates_among_more_sets_than_caches_hold() {
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm] {
        let mut sets = ContextSets::new();
        let ids: Vec<_> = (0..700)
            .map(|_| {
                let sender = sets.insert(ContextSet::sender(&key(suite), Policy::default()));
                let receiver = sets.insert(ContextSet::receiver(&key(suite), Policy::default()));
                [sender, receiver]
            })
            .collect();
        let removed = 3;
        assert!(sets.remove(ids[removed][0]).is_some());
        // Some sets, the same again and again, then others, and an id that names nothing.
        for (sequence, step) in (0..).zip([1, 1, 1, 10, 10, 1]) {
            let which: Vec<_> = (0..64).map(|n| step * n).collect();
            let mut frames = vec![framed(&rtp(7, sequence, 160)); which.len()];
            let mut jobs: Vec<_> = (frames.iter_mut().zip(&which))
                .map(|(frame, at)| Job::new(frame, START, 172, Kind::Rtp, ids[*at][0]))
                .collect();
            jobs[63].set = crate::SetId::NONE;
            let allocations = allocation_counter::measure(|| {
                sets.protect(&mut jobs);
                for (job, at) in jobs.iter_mut().zip(&which) {
                    job.set = ids[*at][1];
                }
                sets.unprotect(&mut jobs);
            });
            assert_eq!(allocations.count_total, 0, "{suite}");
            for (n, (job, at)) in jobs.iter().zip(&which).enumerate() {
                let unknown = (n == 63 || *at == removed).then_some(Refusal::UnknownSet);
                assert_eq!(job.outcome.err(), unknown, "{suite} {n}");
                let packet = &job.frame[START..][..job.len];
                assert_eq!(packet, rtp(7, sequence, 160), "{suite} {n}");
            }
        }
    }
}

#[test]
fn a_set_takes_well_below_three_kilobytes() {
    // F8 has keys of its own beside those of the kernel, and no need to be small.
    let offered = |suite: &Suite| *suite != Suite::F8128HmacSha1_80;
    for suite in Suite::ALL.into_iter().filter(offered) {
        let mut set = None;
        let allocations = allocation_counter::measure(|| {
            set = Some(ContextSet::receiver(&key(suite), Policy::default()));
        });
        let bytes = size_of::<ContextSet>() as u64 + allocations.bytes_current.unsigned_abs();
        println!("{suite}: {bytes} bytes");
        assert!(bytes <= 2560, "{suite}: {bytes} bytes");
    }
}
