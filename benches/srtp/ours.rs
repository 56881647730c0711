// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sallyport's own SRTP: [`ContextSets`], with all that a packet needs.

use arrayvec::ArrayVec;
use sallyport_srtp::{ContextSet, ContextSets, Job, Kernel, Kind, MAX_BURST, Policy, SetId, Suite};

use crate::case::Operation;
use crate::contestant::Contestant;
use crate::keys::StreamKey;
use crate::pool::{Pool, START};

/// The kernel behind [`ContextSets`].
pub(crate) fn kernel() -> &'static str {
    Kernel::current().name()
}

/// How much of SRTP is timed: index, IV, replay list and look-up too. There is no entry to the
/// bare kernel yet.
pub(crate) const SCOPE: &str = "full";

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
            let jobs = frames.iter_mut().zip(packets).map(|(frame, packet)| {
                let len = packet.len + self.trailer;
                Job::new(&mut frame.0, START, len, Kind::Rtp, self.ids[packet.stream])
            });
            let mut jobs: ArrayVec<_, MAX_BURST> = jobs.collect();
            match self.operation {
                Operation::Protect => self.sets.protect(&mut jobs),
                Operation::Unprotect => self.sets.unprotect(&mut jobs),
            }
            refused += jobs.iter().filter(|job| job.outcome.is_err()).count();
        }
        refused
    }
}
