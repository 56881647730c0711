// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets on their way between sockets and crypto.

use arrayvec::ArrayVec;
use sallyport_srtp::{ContextSets, HEADROOM, Job, Kind, MAX_BURST, MAX_GROWTH, SetId, TAILROOM};

use crate::load::packet::MAX_PACKET;

/// Memory for as many packets as the crypto takes at once.
#[derive(Debug)]
pub(super) struct Burst {
    frames: Vec<Frame>,
    filled: usize,
}

/// A packet with the room around it that the crypto asks for.
#[derive(Debug)]
pub(super) struct Frame {
    memory: Box<[u8; HEADROOM + MAX_PACKET + MAX_GROWTH + TAILROOM]>,
    /// Its length.
    pub(super) len: usize,
    /// The place of its conversation.
    pub(super) talk: usize,
    /// RTP or RTCP.
    pub(super) kind: Kind,
    /// When it arrived: nanoseconds since 1970.
    pub(super) arrived: u64,
    /// Whether the crypto accepted it.
    pub(super) is_good: bool,
}

/// What [`ContextSets`] do to a burst.
#[derive(Clone, Copy, Debug)]
pub(super) enum Crypto {
    Protect,
    Unprotect,
}

impl Burst {
    pub(super) fn new() -> Self {
        let frame = || Frame {
            memory: Box::new([0; _]),
            len: 0,
            talk: 0,
            kind: Kind::Rtp,
            arrived: 0,
            is_good: true,
        };
        Self {
            frames: (0..MAX_BURST).map(|_| frame()).collect(),
            filled: 0,
        }
    }

    /// The next unused frame; it joins the burst with [`Self::take`].
    pub(super) fn vacant(&mut self) -> Option<&mut Frame> {
        self.frames.get_mut(self.filled)
    }

    /// Adds the frame that [`Self::vacant`] returned.
    pub(super) fn take(&mut self) {
        self.frames[self.filled].is_good = true;
        self.filled += 1;
    }

    pub(super) const fn is_full(&self) -> bool {
        self.filled == MAX_BURST
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The packets of the burst.
    pub(super) fn frames(&self) -> &[Frame] {
        &self.frames[..self.filled]
    }

    /// Forgets the packets of the burst.
    pub(super) const fn clear(&mut self) {
        self.filled = 0;
    }

    /// Protects or unprotects all packets whose conversation has a context set.
    pub(super) fn apply(
        &mut self,
        crypto: Crypto,
        contexts: &mut ContextSets,
        set: impl Fn(usize) -> Option<SetId>,
    ) {
        let mut places = ArrayVec::<usize, MAX_BURST>::new();
        let mut jobs = ArrayVec::<Job<'_>, MAX_BURST>::new();
        for (place, frame) in self.frames[..self.filled].iter_mut().enumerate() {
            if let Some(set) = set(frame.talk) {
                places.push(place);
                jobs.push(Job::new(
                    &mut frame.memory[..],
                    HEADROOM,
                    frame.len,
                    frame.kind,
                    set,
                ));
            }
        }
        match crypto {
            Crypto::Protect => contexts.protect(&mut jobs),
            Crypto::Unprotect => contexts.unprotect(&mut jobs),
        }
        let results: ArrayVec<_, MAX_BURST> = jobs
            .iter()
            .map(|job| (job.len, job.outcome.is_ok()))
            .collect();
        drop(jobs);
        for (place, (len, is_good)) in places.into_iter().zip(results) {
            let frame = &mut self.frames[place];
            (frame.len, frame.is_good) = (len, is_good);
        }
    }
}

impl Frame {
    /// The packet.
    pub(super) fn packet(&self) -> &[u8] {
        &self.memory[HEADROOM..][..self.len]
    }

    /// The memory for the packet.
    pub(super) fn room(&mut self) -> &mut [u8; MAX_PACKET] {
        self.memory[HEADROOM..]
            .first_chunk_mut()
            .expect("a frame is longer than a packet")
    }
}
