// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tests of whole packets, through the public interface, with a look at the state behind it.

mod allocation;
mod bad_input;
mod burst;
mod extensions;
mod forgery;
mod lifetime;
mod mki;
mod rate;
mod rcc;
mod resume;
mod round_trip;
mod runs;
mod short_way;
mod streams;
mod vectors;

use core::num::NonZeroU16;

use hex_literal::hex;
use proptest::prelude::*;

use crate::context_set::State;
use crate::{
    ContextSet, ContextSets, ExtensionIds, HEADROOM, Job, KeyDerivationRate, Kind, MAX_GROWTH,
    MasterKey, Policy, Rcc, RccMode, Refusal, SetId, Suite, TAILROOM,
};

/// What frames are filled with around their packets.
const FILL: u8 = 0x5c;

/// Bytes of a frame beyond what belongs to the crypto, on each side.
const MARGIN: usize = 100;

const START: usize = MARGIN + HEADROOM;

/// Some key for a suite.
fn key(suite: Suite) -> MasterKey {
    let bytes: Vec<u8> = (1..).take(suite.key_len() + suite.salt_len()).collect();
    MasterKey::new(suite, &bytes).unwrap()
}

/// Some other key for a suite.
fn second_key(suite: Suite) -> MasterKey {
    let bytes: Vec<u8> = (101..).take(suite.key_len() + suite.salt_len()).collect();
    MasterKey::new(suite, &bytes).unwrap()
}

/// All that two sides may agree on.
#[derive(Clone, Debug)]
struct Terms {
    suite: Suite,
    /// The MKI of the first key and of the second; one key without MKI when they are empty.
    mkis: [Vec<u8>; 2],
    policy: Policy,
}

impl Terms {
    fn keys(&self) -> Vec<MasterKey> {
        if self.mkis[0].is_empty() {
            return vec![key(self.suite)];
        }
        let keys = [key(self.suite), second_key(self.suite)];
        let named = keys.into_iter().zip(&self.mkis);
        named.map(|(key, mki)| key.with_mki(mki).unwrap()).collect()
    }

    fn sender(&self) -> ContextSet {
        ContextSet::sender_of(&self.keys(), self.policy).unwrap()
    }

    fn receiver(&self) -> ContextSet {
        ContextSet::receiver_of(&self.keys(), self.policy).unwrap()
    }

    /// Has a sender of these terms use the first key or the second, if there is one.
    fn switch(&self, sender: &mut ContextSet, second: bool) {
        if !self.mkis[0].is_empty() {
            assert!(sender.switch_key(&self.mkis[usize::from(second)]));
        }
    }
}

fn terms() -> impl Strategy<Value = Terms> {
    let mki_len = prop_oneof![Just(0usize), Just(1), Just(4), Just(16)];
    let exponent = prop::option::weighted(0.3, prop_oneof![0u8..4, 14u8..18]);
    let suite = prop::sample::select(&Suite::ALL[..]);
    let extensions = prop_oneof![Just(vec![]), Just(vec![1, 3]), Just(vec![2, 4, 14, 200])];
    let rcc = prop::option::weighted(
        0.3,
        (any::<bool>(), prop::sample::select(&[1u16, 3, 256][..])),
    );
    let flags = any::<(bool, bool)>();
    (suite, mki_len, exponent, flags, extensions, rcc).prop_map(
        |(suite, len, exponent, (unencrypted_srtcp, cryptex), extensions, rcc)| Terms {
            suite,
            mkis: [vec![0xe1; len], vec![0x10; len]],
            policy: Policy {
                key_derivation_rate: exponent.map(|e| KeyDerivationRate::new(e).unwrap()),
                unencrypted_srtcp,
                cryptex,
                encrypted_extensions: extensions
                    .iter()
                    .fold(ExtensionIds::NONE, |ids, id| ids.with(*id)),
                rcc: rcc.map(|(bare, rate)| {
                    let mode = if bare { RccMode::One } else { RccMode::Two };
                    Rcc::new(mode, NonZeroU16::new(rate).unwrap())
                }),
                ..Policy::default()
            },
        },
    )
}

/// An RTP packet with a payload of this length, and with CSRCs and a header extension that depend
/// on its SSRC.
fn shaped(ssrc: u32, sequence: u16, len: usize) -> Vec<u8> {
    let (first, between): (u8, &[u8]) = match ssrc % 4 {
        0 => (0x80, &[]),
        1 => (0x90, &hex!("bede0002 10aa 31bbbb 0000 4f")),
        2 => (0x92, &hex!("0001e240 0000b26e 10000002 0100 0200 c802bbbb")),
        _ => (0x91, &hex!("0001e240 bede0001 10aa20bb")),
    };
    let mut packet = rtp(ssrc, sequence, len);
    packet[0] = first;
    packet.splice(12..12, between.iter().copied());
    packet
}

/// An RTP packet with a payload of this length.
fn rtp(ssrc: u32, sequence: u16, len: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 0x60];
    packet.extend(sequence.to_be_bytes());
    packet.extend(u32::from(sequence).wrapping_mul(160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..=255).cycle().take(len));
    packet
}

/// An RTCP packet with this many bytes behind its first SSRC.
fn rtcp(ssrc: u32, len: usize) -> Vec<u8> {
    let mut packet = vec![0x81, 200, 0, 0x0b];
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..=255).cycle().take(len));
    packet
}

/// A packet in a frame, with room for the crypto and more bytes on both sides.
fn framed(packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![FILL; START];
    frame.extend(packet);
    frame.resize(frame.len() + MAX_GROWTH + TAILROOM + MARGIN, FILL);
    frame
}

/// Which half of the interface to call.
#[derive(Clone, Copy, Debug)]
enum Way {
    Protect,
    Unprotect,
}

/// A packet on its way in, and on its way out.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Passage {
    kind: Kind,
    set: SetId,
    packet: Vec<u8>,
    outcome: Result<(), Refusal>,
}

impl Passage {
    fn new(kind: Kind, set: SetId, packet: Vec<u8>) -> Self {
        Self {
            kind,
            set,
            packet,
            outcome: Ok(()),
        }
    }
}

/// Sends packets through in one call, and checks that nothing is changed that must not be.
fn pass(sets: &mut ContextSets, way: Way, passages: &mut [Passage]) {
    let mut frames: Vec<_> = passages.iter().map(|p| framed(&p.packet)).collect();
    let mut jobs: Vec<_> = passages
        .iter()
        .zip(&mut frames)
        .map(|(p, frame)| Job {
            outcome: p.outcome,
            ..Job::new(frame, START, p.packet.len(), p.kind, p.set)
        })
        .collect();
    match way {
        Way::Protect => sets.protect(&mut jobs),
        Way::Unprotect => sets.unprotect(&mut jobs),
    }
    for (job, passage) in jobs.into_iter().zip(passages) {
        let longest = job.len.max(passage.packet.len());
        let (front, rest) = job.frame.split_at(MARGIN);
        let (_, back) = rest.split_at(HEADROOM + longest + TAILROOM);
        assert!(front.iter().chain(back).all(|byte| *byte == FILL));
        let result = &job.frame[START..][..job.len];
        if job.outcome.is_err() {
            assert_eq!(result, passage.packet, "a refused packet was changed");
        }
        passage.packet = result.to_vec();
        passage.outcome = job.outcome;
    }
}

/// One end of a leg.
struct Leg {
    sets: ContextSets,
    id: SetId,
    way: Way,
}

impl Leg {
    fn new(set: ContextSet, way: Way) -> Self {
        let mut sets = ContextSets::new();
        let id = sets.insert(set);
        Self { sets, id, way }
    }

    fn sender(suite: Suite, policy: Policy) -> Self {
        Self::new(ContextSet::sender(&key(suite), policy), Way::Protect)
    }

    fn receiver(suite: Suite, policy: Policy) -> Self {
        Self::new(ContextSet::receiver(&key(suite), policy), Way::Unprotect)
    }

    fn pair(suite: Suite) -> (Self, Self) {
        let policy = Policy::default();
        (Self::sender(suite, policy), Self::receiver(suite, policy))
    }

    fn pass(&mut self, kind: Kind, packet: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut passage = [Passage::new(kind, self.id, packet.to_vec())];
        pass(&mut self.sets, self.way, &mut passage);
        let [passage] = passage;
        passage.outcome.map(|()| passage.packet)
    }

    fn set(&self) -> &ContextSet {
        self.sets.set(self.id).unwrap()
    }

    fn set_mut(&mut self) -> &mut ContextSet {
        self.sets.set_mut(self.id).unwrap()
    }

    fn state(&self) -> State {
        self.set().state()
    }
}
