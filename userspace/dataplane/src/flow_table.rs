// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The flows as one worker knows them.
//!
//! Every worker has every flow, so that it can tell a flow's packet from a stray one; but only
//! one worker has a flow's crypto contexts. The worker that sees the flow's first packet claims
//! it ([`Claim`]) and owns index, rollover counter and replay state from then on, without a lock.
//! The others hand the flow's packets over to it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use sallyport_ebpf::FlowKey;
use sallyport_flow::{Carries, FlowId, Refusals};
use sallyport_srtp::{ContextSet, ContextSets, SetId};
use slab::Slab;

use crate::header::PathHeader;
use crate::next_hop::HopId;
use crate::xdp::NicId;

/// The flows of one worker.
#[derive(Debug)]
pub struct FlowTable {
    by_key: HashMap<FlowKey, Slot>,
    by_id: HashMap<FlowId, Slot>,
    entries: Slab<Box<FlowEntry>>,
}

/// Where an entry is in the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot(u32);

impl Slot {
    /// No entry is here.
    pub const NONE: Self = Self(u32::MAX);
}

impl FlowTable {
    /// A table that takes `limit` flows without allocating.
    pub fn with_capacity(limit: u32) -> Self {
        let limit = limit as usize;
        Self {
            by_key: HashMap::with_capacity(limit),
            by_id: HashMap::with_capacity(limit),
            entries: Slab::with_capacity(limit),
        }
    }

    /// The slot of the flow whose packets have this destination.
    #[inline]
    pub fn slot(&self, key: &FlowKey) -> Option<Slot> {
        self.by_key.get(key).copied()
    }

    /// The slot of the flow of this number.
    pub fn slot_of(&self, id: FlowId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// The flow at a slot.
    #[inline]
    pub fn entry(&self, slot: Slot) -> Option<&FlowEntry> {
        self.entries.get(slot.0 as usize).map(Box::as_ref)
    }

    /// The flow at a slot.
    #[inline]
    pub fn entry_mut(&mut self, slot: Slot) -> Option<&mut FlowEntry> {
        self.entries.get_mut(slot.0 as usize).map(Box::as_mut)
    }

    /// Adds a flow. The control side has checked that neither its number nor its key is taken.
    pub fn insert(&mut self, entry: Box<FlowEntry>) -> Slot {
        let (key, id) = (entry.key, entry.id);
        let index = self.entries.insert(entry);
        let slot = Slot(u32::try_from(index).unwrap_or(u32::MAX));
        self.by_key.insert(key, slot);
        self.by_id.insert(id, slot);
        slot
    }

    /// Takes a flow out.
    pub fn remove(&mut self, id: FlowId) -> Option<Box<FlowEntry>> {
        let slot = self.by_id.remove(&id)?;
        let entry = self.entries.try_remove(slot.0 as usize)?;
        self.by_key.remove(&entry.key);
        Some(entry)
    }
}

/// One flow, as one worker knows it.
#[derive(Debug)]
pub struct FlowEntry {
    /// Its number.
    pub id: FlowId,
    /// The destination that its packets arrive with.
    pub key: FlowKey,
    /// RTP, RTCP or both.
    pub carries: Carries,
    /// Who may send.
    pub source: SourceFilter,
    /// Whether arriving packets are protected.
    pub protected: bool,
    /// Who owns the crypto contexts.
    pub claim: Arc<Claim>,
    /// The crypto contexts, if this worker owns them.
    pub owned: Option<Owned>,
    /// The NIC its packets leave on.
    pub egress: NicId,
    /// Where its RTP packets go, once that is known.
    pub rtp: Option<FarEnd>,
    /// Where its RTCP packets go, once that is known.
    pub rtcp: Option<FarEnd>,
    /// The DSCP to mark packets with, if not the one they arrived with.
    pub dscp: Option<u8>,
    /// Whether it was reported that a key has expired.
    pub has_expired: bool,
    /// What this worker did with its packets.
    pub counters: FlowCounters,
}

/// Who may send to a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SourceFilter {
    /// This address and port.
    Only(SocketAddr),
    /// Whoever is latched; `None` until then.
    Latch(Option<SocketAddr>),
}

/// A peer, and how to get there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FarEnd {
    /// The next hop towards it.
    pub hop: HopId,
    /// The IP and UDP headers of packets to it.
    pub header: PathHeader,
}

/// What one worker did with a flow's packets.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowCounters {
    /// Packets that arrived.
    pub packets_in: u64,
    /// Bytes of UDP payload that arrived.
    pub bytes_in: u64,
    /// Packets that were handed to the NIC.
    pub packets_out: u64,
    /// Bytes of UDP payload that were handed to the NIC.
    pub bytes_out: u64,
    /// Packets that did not leave.
    pub refused: Refusals,
}

/// The crypto contexts of a flow in the worker that owns them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owned {
    /// For arriving packets, if they are protected.
    pub unprotect: Option<SetId>,
    /// For leaving packets, if they are to be protected.
    pub protect: Option<SetId>,
}

impl Owned {
    /// Takes the contexts out of the worker's tables.
    pub fn release(self, sets: &mut ContextSets) -> Contexts {
        Contexts {
            unprotect: self.unprotect.and_then(|id| sets.remove(id)),
            protect: self.protect.and_then(|id| sets.remove(id)),
        }
    }
}

/// The crypto contexts of a flow on their way to or from a worker.
#[derive(Debug, Default)]
pub struct Contexts {
    /// For arriving packets, if they are protected.
    pub unprotect: Option<ContextSet>,
    /// For leaving packets, if they are to be protected.
    pub protect: Option<ContextSet>,
}

/// Who owns a flow. Shared by all workers; only the first packet's worker gets the contexts.
#[derive(Debug)]
pub struct Claim {
    owner: AtomicU32,
    contexts: Mutex<Option<Contexts>>,
}

impl Claim {
    const NOBODY: u32 = u32::MAX;

    /// A flow without an owner yet.
    pub fn new(contexts: Contexts) -> Self {
        Self {
            owner: AtomicU32::new(Self::NOBODY),
            contexts: Mutex::new(Some(contexts)),
        }
    }

    /// Makes `worker` the owner if there is none yet. Returns the contexts if it was, or else the
    /// number of the owner. The lock is taken once in the life of a flow.
    pub fn claim(&self, worker: u32) -> Result<Contexts, u32> {
        match self
            .owner
            .compare_exchange(Self::NOBODY, worker, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => {
                let mut contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(contexts.take().unwrap_or_default())
            }
            Err(owner) => Err(owner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_worker_gets_the_contexts_and_the_others_its_number() {
        let claim = Claim::new(Contexts::default());
        assert!(claim.claim(3).is_ok());
        assert_eq!(claim.claim(1).err(), Some(3));
        assert_eq!(claim.claim(3).err(), Some(3));
    }
}
