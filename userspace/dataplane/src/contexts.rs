// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The crypto contexts of a flow, who has them, and how they change under it.
//!
//! The worker that sees a flow's first packet claims it ([`Claim`]) and has its contexts from then
//! on, without a lock, and with them what else only the owner needs ([`Property`]). Until then the
//! control side has them.
//!
//! A flow has one set for leaving packets and up to two for arriving ones: the second is for keys
//! that are offered and may yet be refused, or for those that were replaced, whose packets are
//! still on their way. No MKI tells them apart: a packet belongs to the set under which it
//! authenticates. See [`crate::stage`], `unprotect.rs`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use sallyport_srtp::{ContextSet, ContextSets, Mark, SetId};

use crate::observed::Observed;

/// What there is of each kind, if there is any.
#[derive(Clone, Copy, Debug)]
pub struct Slots<T> {
    /// For arriving packets, if they are protected.
    pub unprotect: Option<T>,
    /// For arriving packets, too.
    pub beside: Option<T>,
    /// For leaving packets, if they are to be protected.
    pub protect: Option<T>,
}

/// The crypto contexts of a flow on their way to or from a worker. Most flows have one set: in boxes
/// the others take no memory.
pub type Contexts = Slots<Box<ContextSet>>;

/// What only the owner of a flow has, on its way there.
#[derive(Debug, Default)]
pub struct Property {
    /// The crypto contexts.
    pub contexts: Contexts,
    /// Room for what the peer's packets tell.
    pub observed: Observed,
}

/// How that changes.
#[derive(Debug, Default)]
pub struct PropertyChange {
    /// The crypto contexts.
    pub contexts: ContextChange,
    /// Room for what the peer's packets may tell from now on.
    pub observed: Observed,
}

/// What goes into a slot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Take<N> {
    /// What is in it.
    #[default]
    Same,
    /// What is in the other one of `unprotect` and `beside`.
    Other,
    /// Something new.
    New(N),
    /// Nothing.
    Nothing,
}

/// How the contexts of a flow change: what goes into each slot.
#[derive(Clone, Copy, Debug)]
pub struct ContextChange<N = Box<ContextSet>> {
    /// For arriving packets.
    pub unprotect: Take<N>,
    /// For arriving packets, too.
    pub beside: Take<N>,
    /// For leaving packets.
    pub protect: Take<N>,
    /// The lowest SRTCP index to protect with, see [`Keys::srtcp_turn`](crate::rekey::Keys).
    pub first_srtcp: u32,
}

/// The crypto contexts of a flow in the worker that owns them.
#[derive(Debug, Default)]
pub struct Owned {
    /// Where they are in the worker's table.
    pub sets: Slots<SetId>,
    /// Whether the last packet that authenticated did so under `beside`.
    pub beside_first: bool,
    /// Where the indices stood under the last keys before with which RTP came, for peers whose
    /// indices go on when their keys change.
    pub past: Vec<Mark>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            unprotect: None,
            beside: None,
            protect: None,
        }
    }
}

impl<N> Default for ContextChange<N> {
    /// None.
    fn default() -> Self {
        Self {
            unprotect: Take::Same,
            beside: Take::Same,
            protect: Take::Same,
            first_srtcp: 0,
        }
    }
}

impl<T> Slots<T> {
    /// Each turned into something else.
    pub fn and_then<U>(self, mut turn: impl FnMut(T) -> Option<U>) -> Slots<U> {
        Slots {
            unprotect: self.unprotect.and_then(&mut turn),
            beside: self.beside.and_then(&mut turn),
            protect: self.protect.and_then(&mut turn),
        }
    }

    /// Changes what is in the slots; `insert` turns a new set into what slots hold. Returns what
    /// is left over, in the slots where it was.
    #[must_use]
    pub(crate) fn change<N>(
        &mut self,
        change: ContextChange<N>,
        mut insert: impl FnMut(N) -> T,
    ) -> Self {
        let mut old = std::mem::take(self);
        let mut take = |take, same: &mut Option<T>, other: &mut Option<T>| match take {
            Take::Same => same.take(),
            Take::Other => other.take(),
            Take::New(set) => Some(insert(set)),
            Take::Nothing => None,
        };
        self.unprotect = take(change.unprotect, &mut old.unprotect, &mut old.beside);
        self.beside = take(change.beside, &mut old.beside, &mut old.unprotect);
        self.protect = take(change.protect, &mut old.protect, &mut None);
        old
    }
}

impl Contexts {
    /// Changes them. Returns what is left over.
    #[must_use]
    pub fn apply(&mut self, change: ContextChange) -> Self {
        let first_srtcp = change.first_srtcp;
        let left = self.change(change, |set| set);
        if let Some(protect) = &mut self.protect {
            protect.skip_rtcp_to(first_srtcp);
        }
        left
    }
}

impl Property {
    /// Changes it. Returns the contexts that are left over.
    #[must_use]
    pub fn apply(&mut self, mut change: PropertyChange) -> Contexts {
        self.observed.take_room(&mut change.observed);
        self.contexts.apply(change.contexts)
    }
}

impl From<ContextChange> for PropertyChange {
    fn from(contexts: ContextChange) -> Self {
        Self {
            contexts,
            ..Self::default()
        }
    }
}

impl Owned {
    /// Puts contexts into the worker's table.
    pub fn new(contexts: Contexts, table: &mut ContextSets) -> Self {
        Self {
            sets: contexts.and_then(|set| Some(table.insert(*set))),
            ..Self::default()
        }
    }

    /// Changes them. Returns what is left over.
    pub fn change(&mut self, change: ContextChange, table: &mut ContextSets) -> Contexts {
        let preferred = self.arriving(0);
        let first_srtcp = change.first_srtcp;
        let left = self.sets.change(change, |set| table.insert(*set));
        let left = left.and_then(|id| table.remove(id).map(Box::new));
        if first_srtcp > 0
            && let Some(mut protect) = self.sets.protect.and_then(|id| table.remove(id))
        {
            protect.skip_rtcp_to(first_srtcp);
            self.sets.protect = Some(table.insert(protect));
        }
        self.beside_first = self.sets.beside.is_some() && self.sets.beside == preferred;
        for set in [&left.beside, &left.unprotect].into_iter().flatten() {
            if set.marks().any(|mark| mark.rtp.is_some()) {
                self.past = set.marks().collect();
            }
        }
        left
    }

    /// Takes them out of the worker's table.
    pub fn release(self, table: &mut ContextSets) -> Contexts {
        self.sets.and_then(|id| table.remove(id).map(Box::new))
    }

    /// The sets for arriving packets in the order in which to try them: the first or the second.
    #[inline]
    pub fn arriving(&self, nth: usize) -> Option<SetId> {
        if (nth == 0) == self.beside_first {
            self.sets.beside
        } else {
            self.sets.unprotect
        }
    }
}

/// Who owns a flow. Shared by all workers and the control side.
#[derive(Debug)]
pub struct Claim {
    owner: AtomicU32,
    /// What the owner is to have, until it has taken it.
    property: Mutex<Option<Property>>,
}

impl Claim {
    const NOBODY: u32 = u32::MAX;

    /// A flow without an owner yet.
    pub fn new(property: Property) -> Self {
        Self {
            owner: AtomicU32::new(Self::NOBODY),
            property: Mutex::new(Some(property)),
        }
    }

    /// Makes `worker` the owner if there is none yet. Returns what it has then, or else the
    /// number of the owner. No worker takes the lock more than once in the life of a flow.
    pub fn claim(&self, worker: u32) -> Result<Property, u32> {
        match self
            .owner
            .compare_exchange(Self::NOBODY, worker, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => {
                let mut property = self.property.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(property.take().unwrap_or_default())
            }
            Err(owner) => Err(owner),
        }
    }

    /// Changes what no worker has yet. Or else returns the worker that has, and has to change it
    /// itself.
    pub fn change(&self, change: Box<PropertyChange>) -> Result<(), (u32, Box<PropertyChange>)> {
        let mut property = self.property.lock().unwrap_or_else(PoisonError::into_inner);
        match property.as_mut() {
            Some(property) => {
                drop(property.apply(*change));
                Ok(())
            }
            None => Err((self.owner.load(Ordering::Acquire), change)),
        }
    }
}

#[cfg(test)]
mod tests {
    use sallyport_flow::Carries;
    use sallyport_srtp::{MasterKey, Policy, Suite};

    use super::*;

    const NOTHING: ContextChange = ContextChange {
        unprotect: Take::Nothing,
        beside: Take::Nothing,
        protect: Take::Nothing,
        first_srtcp: 0,
    };

    fn set() -> Box<ContextSet> {
        let key = MasterKey::new(Suite::AeadAes128Gcm, &[1; 28]).unwrap();
        Box::new(ContextSet::receiver(&key, Policy::default()))
    }

    #[test]
    fn the_first_worker_gets_the_contexts_and_the_others_its_number() {
        let claim = Claim::new(Property {
            observed: Observed::room(Carries::Muxed, None),
            ..Property::default()
        });
        let Observed {
            receptions,
            reports,
        } = claim.claim(3).unwrap().observed;
        assert!(receptions.is_some() && reports.is_some());
        assert_eq!(claim.claim(1).err(), Some(3));
        assert_eq!(claim.claim(3).err(), Some(3));
    }

    #[test]
    fn contexts_change_at_the_control_side_until_a_worker_has_them() {
        let claim = Claim::new(Property::default());
        let change = PropertyChange {
            contexts: ContextChange {
                unprotect: Take::New(set()),
                ..NOTHING
            },
            observed: Observed::room(Carries::Muxed, Some(Carries::Rtp)),
        };
        assert!(claim.change(Box::new(change)).is_ok());
        let property = claim.claim(3).unwrap();
        assert!(property.contexts.unprotect.is_some());
        assert!(property.observed.reports.is_some());
        let refused = claim.change(Box::new(NOTHING.into())).err();
        assert_eq!(refused.map(|(owner, _)| owner), Some(3));
    }

    #[test]
    fn what_is_in_a_slot_stays_moves_or_is_left_over() {
        let slots = |unprotect, beside, protect| Slots {
            unprotect,
            beside,
            protect,
        };
        let old = slots(Some(1), Some(2), Some(3));
        let keep = || (Take::Same, Take::Same, Take::Same);
        for (change, new, left) in [
            (keep(), [Some(1), Some(2), Some(3)], [None, None, None]),
            (
                (Take::Other, Take::Other, Take::Same),
                [Some(2), Some(1), Some(3)],
                [None, None, None],
            ),
            (
                (Take::New(9), Take::Other, Take::New(8)),
                [Some(9), Some(1), Some(8)],
                [None, Some(2), Some(3)],
            ),
            (
                (Take::Same, Take::Nothing, Take::Nothing),
                [Some(1), None, None],
                [None, Some(2), Some(3)],
            ),
        ] {
            let mut slots = old;
            let (unprotect, beside, protect) = change;
            let change = ContextChange {
                unprotect,
                beside,
                protect,
                first_srtcp: 0,
            };
            let over = slots.change(change, |new| new);
            assert_eq!([slots.unprotect, slots.beside, slots.protect], new);
            assert_eq!([over.unprotect, over.beside, over.protect], left);
        }
    }
}
