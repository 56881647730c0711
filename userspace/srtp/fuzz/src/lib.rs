// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the fuzz targets share: terms, packets and frames, all read from the fuzzer's bytes.
//!
//! Every burst is processed twice, at once and packet by packet, and both ways have to have the
//! same end: that compares kernels too, since a burst of one takes another way through them.

#![forbid(unsafe_code)]

use std::num::NonZeroU16;

use sallyport_srtp::{
    ContextSet, ContextSets, ExtensionIds, HEADROOM, Job, KeyDerivationRate, Kind, MAX_GROWTH,
    MasterKey, Policy, Rcc, RccMode, Refusal, ReplayWindow, SetId, Suite, TAILROOM,
};

/// Bytes of a frame beyond what belongs to the crypto, on each side.
const MARGIN: usize = 40;

/// The most packets of a burst: more than the crypto takes at once.
const MAX_PACKETS: usize = 70;

/// The fuzzer's bytes; zeros when there are no more.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// One time in eight.
    pub fn chance(&mut self) -> bool {
        self.byte() >= 0xe0
    }

    fn word(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()].clone()
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Which half of the interface to call.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Protect,
    Unprotect,
}

/// What the two ends of a leg agreed on.
struct Terms {
    keys: Vec<MasterKey>,
    policy: Policy,
}

impl Terms {
    fn read(input: &mut Input<'_>) -> Self {
        let suite = input.one_of(&Suite::ALL);
        let mki_len = input.one_of(&[0, 0, 1, 4, 16]);
        let key = |seed: u8| {
            let bytes: Vec<u8> = (seed..).take(suite.key_len() + suite.salt_len()).collect();
            let key = MasterKey::new(suite, &bytes).expect("it has the right length");
            match mki_len {
                0 => key,
                len => key.with_mki(&vec![seed; len]).expect("at most 16 bytes"),
            }
        };
        let keys = if mki_len == 0 {
            vec![key(1)]
        } else {
            vec![key(1), key(101)]
        };
        let flags = input.byte();
        let has = |bit: u8| flags & (1 << bit) != 0;
        let window = input.one_of(&[64, 128, 1024, 32_768]);
        let extensions = if has(2) { &[1, 3, 200][..] } else { &[] };
        let mode = if has(5) { RccMode::One } else { RccMode::Two };
        let rcc = Rcc::new(mode, NonZeroU16::new(3).expect("not zero"));
        let rate = input.one_of(&[0, 1, 16, 24]);
        let policy = Policy {
            replay_window: ReplayWindow::new(window).expect("a power of two"),
            ssrc_limit: input.one_of(&[16, 1, 2]),
            lifetime: input.chance().then_some(20),
            key_derivation_rate: has(3).then(|| KeyDerivationRate::new(rate).expect("at most 24")),
            unencrypted_srtcp: has(0),
            cryptex: has(1),
            encrypted_extensions: extensions
                .iter()
                .fold(ExtensionIds::NONE, |ids, id| ids.with(*id)),
            rcc: has(4).then_some(rcc),
        };
        Self { keys, policy }
    }

    fn set(&self, way: Way) -> ContextSet {
        match way {
            Way::Protect => ContextSet::sender_of(&self.keys, self.policy),
            Way::Unprotect => ContextSet::receiver_of(&self.keys, self.policy),
        }
        .expect("the keys fit together")
    }
}

/// Three legs, each with terms of its own.
pub struct Legs(Vec<Terms>);

impl Legs {
    pub fn read(input: &mut Input<'_>) -> Self {
        Self((0..3).map(|_| Terms::read(input)).collect())
    }

    /// Passes a burst through new sets, at once and packet by packet, which has to be the same.
    /// Answers with the packets that came out.
    pub fn pass_both_ways(&self, way: Way, burst: &[Packet]) -> Vec<Result<Vec<u8>, Refusal>> {
        let together = self.pass(way, burst, MAX_PACKETS);
        assert_eq!(together, self.pass(way, burst, 1));
        together
    }

    /// What was sent comes out, unless it is of a form that is changed under way.
    pub fn expect_received(&self, plain: &Packet, received: Result<Vec<u8>, Refusal>) {
        let policy = &self.0[plain.leg].policy;
        // Cryptex adds an empty extension. Who waits for a ROC takes nothing before it.
        if !policy.cryptex && policy.rcc.is_none() {
            assert_eq!(received.as_deref(), Ok(plain.bytes()));
        }
    }

    /// Nothing comes out, unless tags are so short that the fuzzer finds one, or absent.
    pub fn expect_refused(&self, plain: &Packet, received: Result<Vec<u8>, Refusal>) {
        let terms = &self.0[plain.leg];
        if terms.policy.rcc.is_none() && terms.keys[0].suite().rtp_tag_len() > 4 {
            assert!(received.is_err());
        }
    }

    fn pass(&self, way: Way, burst: &[Packet], size: usize) -> Vec<Result<Vec<u8>, Refusal>> {
        let mut sets = ContextSets::new();
        let ids: Vec<SetId> = self
            .0
            .iter()
            .map(|terms| sets.insert(terms.set(way)))
            .collect();
        let mut frames: Vec<Vec<u8>> = burst.iter().map(|packet| packet.frame.clone()).collect();
        let mut jobs: Vec<_> = burst
            .iter()
            .zip(&mut frames)
            .map(|(p, frame)| Job::new(frame, p.start, p.len, p.kind, ids[p.leg]))
            .collect();
        for jobs in jobs.chunks_mut(size) {
            match way {
                Way::Protect => sets.protect(jobs),
                Way::Unprotect => sets.unprotect(jobs),
            }
        }
        jobs.iter()
            .zip(burst)
            .map(|(job, packet)| packet.expect_untouched_around(job))
            .collect()
    }
}

/// A packet in a frame.
#[derive(Clone)]
pub struct Packet {
    kind: Kind,
    leg: usize,
    frame: Vec<u8>,
    start: usize,
    len: usize,
}

impl Packet {
    pub fn read_burst(input: &mut Input<'_>, legs: &Legs) -> Vec<Self> {
        let count = usize::from(input.byte()) % MAX_PACKETS;
        (0..count)
            .map(|number| Self::read(input, legs, number))
            .collect()
    }

    /// A packet of any bytes, or one that starts as it should, in a frame that mostly has the room.
    fn read(input: &mut Input<'_>, legs: &Legs, number: usize) -> Self {
        let form = input.byte();
        let kind = if form & 1 == 0 { Kind::Rtp } else { Kind::Rtcp };
        let leg = usize::from(form >> 1) % legs.0.len();
        let len = input.word() % 1500;
        let mut bytes = match form >> 5 {
            0 => Vec::new(),
            // Version 2, from one of three SSRCs, one behind the other.
            1..=6 => {
                let [high, low] = u16::try_from(number).expect("few").to_be_bytes();
                let ssrc = form >> 3 & 3;
                match kind {
                    Kind::Rtp => vec![0x80, 96, high, low, 0, 0, 0, 0, 0, 0, 0, ssrc],
                    Kind::Rtcp => vec![0x80, 200, 0, 6, 0, 0, 0, ssrc],
                }
            }
            // With CSRC and extension.
            _ => {
                let [high, low] = u16::try_from(number).expect("few").to_be_bytes();
                let mut bytes = vec![0x91, 96, high, low, 0, 0, 0, 0, 0, 0, 0, 3];
                bytes.extend(b"\0\0\0\x09\xbe\xde\0\x02\x10\xaa\x31\xbb\xbb\x20\xcc\0");
                bytes
            }
        };
        if form & 0xe0 == 0 {
            bytes.extend(input.take(len.min(80)));
        } else {
            let seed = input.byte();
            bytes.extend((0..len).map(|at| seed.wrapping_add((at * 7) as u8)));
        }
        let mut packet = Self::framed(kind, leg, &bytes, usize::from(input.byte() % 70));
        if input.chance() {
            packet.start = input.word();
            packet.len = input.word();
        }
        packet
    }

    fn framed(kind: Kind, leg: usize, bytes: &[u8], offset: usize) -> Self {
        let start = MARGIN + HEADROOM + offset;
        let mut frame: Vec<u8> = (0..start).map(|at| at as u8).collect();
        frame.extend(bytes);
        let behind = MAX_GROWTH + TAILROOM + MARGIN;
        frame.extend((0..behind).map(|at| at as u8 ^ 0xff));
        Self {
            kind,
            leg,
            frame,
            start,
            len: bytes.len(),
        }
    }

    /// Another packet of the same kind and leg.
    pub fn with(&self, bytes: &[u8]) -> Self {
        Self::framed(self.kind, self.leg, bytes, self.start % 7)
    }

    pub fn bytes(&self) -> &[u8] {
        let end = self.start.saturating_add(self.len).min(self.frame.len());
        self.frame.get(self.start..end).unwrap_or_default()
    }

    /// Flips bits, cuts or lengthens, or does nothing.
    pub fn change(&mut self, input: &mut Input<'_>) {
        let end = self.start.saturating_add(self.len);
        if self.len == 0 || end + 20 > self.frame.len() {
            return;
        }
        match input.byte() % 8 {
            0 => self.frame[self.start + input.word() % self.len] ^= input.byte(),
            1 => {
                // Near its end, where trailers are.
                let back = 1 + input.word() % self.len.min(40);
                self.frame[end - back] ^= input.byte();
            }
            2 => self.len -= input.word() % self.len,
            3 => self.len += input.word() % 20,
            _ => {}
        }
    }

    /// Looks at the frame after the call, and answers with what came out.
    fn expect_untouched_around(&self, job: &Job<'_>) -> Result<Vec<u8>, Refusal> {
        let unchanged = |range: std::ops::Range<usize>| {
            assert_eq!(
                job.frame[range.clone()],
                self.frame[range],
                "outside of the packet"
            );
        };
        if job.outcome == Err(Refusal::TooBig) {
            unchanged(0..self.frame.len());
        } else {
            unchanged(0..self.start - HEADROOM);
            let longest = self.len.max(job.len);
            unchanged(self.start + longest + TAILROOM..self.frame.len());
        }
        if let Err(refusal) = job.outcome {
            assert_eq!((job.start, job.len), (self.start, self.len));
            let end = self.start.saturating_add(self.len);
            if end <= self.frame.len() {
                assert_eq!(
                    job.frame[self.start..end],
                    self.frame[self.start..end],
                    "refused"
                );
            }
            return Err(refusal);
        }
        Ok(job.frame[job.start..][..job.len].to_vec())
    }
}
