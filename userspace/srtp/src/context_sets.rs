// SPDX-License-Identifier: Apache-2.0 OR MIT

//! All context sets of one worker.

use core::mem::offset_of;
use core::slice;

use crate::context_set::{Direction, FETCHED_LEN};
use crate::{ContextSet, Job, Kernel, Mark, burst, kernel};

/// Names a set in the [`ContextSets`] that gave it out. Never given out twice: the id of a set
/// that was removed names nothing.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SetId {
    slot: u32,
    generation: u32,
}

#[cfg(test)]
impl SetId {
    /// Names nothing.
    pub(crate) const NONE: Self = Self {
        slot: u32::MAX,
        generation: u32::MAX,
    };
}

/// All context sets of one worker.
#[derive(Debug)]
pub struct ContextSets {
    slots: Vec<Slot>,
    /// Slots without a set.
    free: Vec<u32>,
    /// How many sets there are whose packets have to be processed alone.
    alone: usize,
    /// Of all slots with the same remainder, the one that was last in a burst. Where few of many
    /// sets are in use, each is found here again, and is in the cache.
    recent: Box<[u32; CACHED_SETS]>,
}

/// So many sets stay in the cache of a core, which has 1 MiB or more.
const CACHED_SETS: usize = 512;

const _: () = assert!(offset_of!(Slot, set) + FETCHED_LEN <= 64);

/// In this order and alignment, so that a packet finds what it needs in one line of the cache.
#[derive(Debug)]
#[repr(C, align(64))]
struct Slot {
    /// How often the slot has lost its set.
    generation: u32,
    set: Option<ContextSet>,
}

impl Default for ContextSets {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl ContextSets {
    /// No sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// No sets, and room for so many.
    pub fn with_capacity(sets: usize) -> Self {
        // The choice reads the environment: now, rather than for the first packet.
        Kernel::current();
        Self {
            slots: Vec::with_capacity(sets),
            free: Vec::with_capacity(sets),
            alone: 0,
            recent: Box::new([u32::MAX; CACHED_SETS]),
        }
    }

    /// Adds a set.
    ///
    /// # Panics
    ///
    /// Panics at 2^32 sets, for which no memory is large enough.
    pub fn insert(&mut self, set: ContextSet) -> SetId {
        self.alone += usize::from(set.is_alone());
        if let Some(slot) = self.free.pop() {
            let vacant = &mut self.slots[slot as usize];
            vacant.set = Some(set);
            return SetId {
                slot,
                generation: vacant.generation,
            };
        }
        let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 sets fit into memory");
        self.slots.push(Slot {
            generation: 0,
            set: Some(set),
        });
        SetId {
            slot,
            generation: 0,
        }
    }

    /// Takes a set out; `None` when there is none under this id.
    pub fn remove(&mut self, id: SetId) -> Option<ContextSet> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let set = slot.set.take()?;
        self.alone -= usize::from(set.is_alone());
        // A slot that has used up its generations stays empty.
        if let Some(generation) = slot.generation.checked_add(1) {
            slot.generation = generation;
            self.free.push(id.slot);
        }
        Some(set)
    }

    /// The set under an id.
    #[inline]
    pub fn set(&self, id: SetId) -> Option<&ContextSet> {
        let slot = self.slots.get(id.slot as usize)?;
        slot.set
            .as_ref()
            .filter(|_| slot.generation == id.generation)
    }

    /// Protects each packet, in place: RTP becomes SRTP, RTCP becomes SRTCP.
    ///
    /// The result is that of protecting one after the other.
    pub fn protect(&mut self, burst: &mut [Job<'_>]) {
        burst::protect(self, burst);
    }

    /// Unprotects each packet, in place: SRTP becomes RTP, SRTCP becomes RTCP.
    ///
    /// The result is that of unprotecting one after the other: the second of two copies in one
    /// burst is refused as replayed.
    pub fn unprotect(&mut self, burst: &mut [Job<'_>]) {
        burst::unprotect(self, burst);
    }

    /// Unprotects one packet, of which the SSRC, if it has had no SRTP packets yet, goes on from a
    /// mark under other keys.
    ///
    /// When a leg gets new keys, some peers let the ROC go on (RFC 3711 section 3.3.1), others
    /// start anew, and no packet says so. So who has refused a packet as [`Refusal::AuthFailed`]
    /// tries it again with this.
    ///
    /// [`Refusal::AuthFailed`]: crate::Refusal::AuthFailed
    pub fn unprotect_after(&mut self, mark: Mark, job: &mut Job<'_>) {
        let id = job.set;
        let expect = |sets: &Self, mark| {
            if let Some(set) = sets.set(id) {
                set.expect(mark);
            }
        };
        expect(self, Some(mark));
        self.unprotect(slice::from_mut(job));
        expect(self, None);
    }

    /// Has what the packets of a burst need fetched into the cache, unless it is there already: a
    /// gateway may have more sets than caches have room for. The fetches of a burst overlap, those
    /// of packets one after the other would not.
    #[inline]
    pub(crate) fn fetch(&mut self, burst: &[Job<'_>]) {
        if self.slots.len() <= CACHED_SETS {
            return;
        }
        let mut are_recent = true;
        for job in burst {
            let slot = job.set.slot;
            let recent = &mut self.recent[slot as usize % CACHED_SETS];
            are_recent &= *recent == slot;
            *recent = slot;
        }
        if are_recent {
            return;
        }
        for job in burst {
            if let Some(slot) = self.slots.get(job.set.slot as usize) {
                kernel::fetch::<1, _>(slot, offset_of!(Slot, set) + FETCHED_LEN);
            }
        }
        for job in burst {
            if let Some(set) = self.set(job.set) {
                set.fetch(job.len);
            }
        }
    }

    /// Whether there are sets whose packets have to be processed alone.
    #[inline]
    pub(crate) fn any_alone(&self) -> bool {
        self.alone > 0
    }

    /// The set of a job, if that is for this direction.
    #[inline]
    pub(crate) fn set_of(&self, job: &Job<'_>, direction: Direction) -> Option<&ContextSet> {
        self.set(job.set).filter(|set| set.direction() == direction)
    }

    #[inline]
    pub(crate) fn set_mut(&mut self, id: SetId) -> Option<&mut ContextSet> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        slot.set
            .as_mut()
            .filter(|_| slot.generation == id.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MasterKey, Policy, Suite};

    fn set() -> ContextSet {
        let key = MasterKey::new(Suite::AeadAes128Gcm, &[1; 28]).unwrap();
        ContextSet::sender(&key, Policy::default())
    }

    #[test]
    fn a_stale_id_never_names_the_set_that_came_after() {
        let mut sets = ContextSets::with_capacity(1);
        let first = sets.insert(set());
        assert!(sets.remove(first).is_some());
        assert!(sets.set(first).is_none());
        let second = sets.insert(set());
        assert_eq!(first.slot, second.slot);
        assert!(sets.set(first).is_none() && sets.remove(first).is_none());
        assert!(sets.set_mut(first).is_none());
        assert!(sets.set(second).is_some());
    }

    #[test]
    fn a_slot_is_retired_before_its_generation_wraps() {
        let mut sets = ContextSets::new();
        let id = sets.insert(set());
        sets.slots[0].generation = u32::MAX;
        let last = SetId {
            generation: u32::MAX,
            ..id
        };
        assert!(sets.remove(last).is_some());
        assert!(sets.remove(last).is_none() && sets.set(last).is_none());
        assert_eq!(sets.insert(set()).slot, 1);
    }
}
