// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sallyport's own SRTP: [`ContextSets`], with all that a packet needs, and the kernel alone.

use arrayvec::ArrayVec;
use sallyport_srtp::bare::{Burst, Key, Place};
use sallyport_srtp::{ContextSet, ContextSets, Job, Kernel, Kind, MAX_BURST, Policy, SetId, Suite};

use crate::case::Operation;
use crate::contestant::Contestant;
use crate::keys::StreamKey;
use crate::pool::{HEADER, PACKETS, Pool, START};

/// The kernel behind [`ContextSets`].
pub(crate) fn kernel() -> &'static str {
    Kernel::current().name()
}

/// One context set for each stream.
pub(crate) struct Ours {
    sets: ContextSets,
    ids: Vec<SetId>,
    operation: Operation,
    /// Bytes behind a packet before it is processed.
    trailer: usize,
}

impl Ours {
    pub(crate) fn new(suite: Suite, operation: Operation, streams: usize) -> Self {
        let mut sets = ContextSets::with_capacity(streams);
        let ids = (0..streams).map(|stream| {
            let key = StreamKey::of(suite, stream).master();
            sets.insert(match operation {
                Operation::Protect => ContextSet::sender(&key, Policy::default()),
                Operation::Unprotect => ContextSet::receiver(&key, Policy::default()),
            })
        });
        Self {
            ids: ids.collect(),
            sets,
            operation,
            trailer: match operation {
                Operation::Protect => 0,
                Operation::Unprotect => suite.rtp_tag_len(),
            },
        }
    }
}

impl Contestant for Ours {
    fn name(&self) -> &'static str {
        "sallyport"
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn streams(&self) -> usize {
        self.ids.len()
    }

    fn run(&mut self, pool: &mut Pool, burst: usize) -> usize {
        let mut refused = 0;
        let frames = pool.frames.chunks_mut(burst);
        for (frames, packets) in frames.zip(pool.packets.chunks(burst)) {
            // In place: to collect them would be to copy them, which no packet needs.
            let mut jobs = ArrayVec::<_, MAX_BURST>::new();
            for (frame, packet) in frames.iter_mut().zip(packets) {
                let (len, id) = (packet.len + self.trailer, self.ids[packet.stream]);
                jobs.push(Job::new(&mut frame.0, START, len, Kind::Rtp, id));
            }
            match self.operation {
                Operation::Protect => self.sets.protect(&mut jobs),
                Operation::Unprotect => self.sets.unprotect(&mut jobs),
            }
            refused += jobs.iter().filter(|job| job.outcome.is_err()).count();
        }
        refused
    }
}

/// The kernel alone: keys are expanded, IV and ROC are known.
pub(crate) struct Bare {
    keys: Vec<Key>,
    /// Whether keys are prefetched.
    prefetch: bool,
    operation: Operation,
}

impl Bare {
    pub(crate) fn new(suite: Suite, operation: Operation, streams: usize) -> Self {
        let keys = (0..streams).map(|stream| {
            let key = StreamKey::of(suite, stream).session(stream);
            Key::new(suite, &key.cipher, &key.auth, &key.salt.bytes(suite))
        });
        Self {
            keys: keys.collect(),
            prefetch: true,
            operation,
        }
    }
}

impl Contestant for Bare {
    fn name(&self) -> &'static str {
        "sallyport's kernel"
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn streams(&self) -> usize {
        self.keys.len()
    }

    fn variants(&self) -> usize {
        2
    }

    fn choose(&mut self, variant: usize) {
        self.prefetch = variant == 1;
    }

    fn run(&mut self, pool: &mut Pool, burst: usize) -> usize {
        let mut refused = 0;
        let frames = pool.frames.chunks_mut(burst);
        for (frames, packets) in frames.zip(pool.packets.chunks(burst)) {
            let mut authentic = [self.operation == Operation::Protect; PACKETS];
            {
                let mut burst = match self.operation {
                    Operation::Protect => Burst::to_seal(),
                    Operation::Unprotect => Burst::to_open(),
                };
                for packet in packets.iter().filter(|_| self.prefetch) {
                    self.keys[packet.stream].fetch(packet.len);
                }
                let flags = authentic.iter_mut();
                for ((frame, packet), authentic) in frames.iter_mut().zip(packets).zip(flags) {
                    let place = Place {
                        start: START,
                        head: HEADER,
                        len: packet.len,
                        // It is in the salt already.
                        ssrc: 0,
                        index: packet.index,
                    };
                    burst.push(&self.keys[packet.stream], &mut frame.0, place, authentic);
                }
                burst.run();
            }
            if self.operation == Operation::Unprotect {
                let wrong = authentic[..packets.len()].iter().filter(|it| !**it);
                refused += wrong.count();
            }
        }
        refused
    }
}
