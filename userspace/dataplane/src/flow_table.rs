// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The flows as one worker knows them.
//!
//! Every worker has every flow, so that it can tell a flow's packet from a stray one; but only
//! one worker has a flow's crypto contexts. The worker that sees the flow's first packet claims
//! it ([`Claim`]) and owns index, rollover counter and replay state from then on, without a lock.
//! The others hand the flow's packets over to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use ipnet::IpNet;
use sallyport_ebpf::FlowKey;
use sallyport_flow::{Carries, FlowId, Gate, Refusals};
use slab::Slab;

use crate::contexts::{Claim, Owned};
use crate::header::PathHeader;
use crate::next_hop::HopId;
use crate::observed::Observed;
use crate::reception::Clocks;
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
    /// What the agent says about it.
    pub terms: Terms,
    /// Who owns the crypto contexts.
    pub claim: Arc<Claim>,
    /// The crypto contexts, if this worker owns them.
    pub owned: Option<Owned>,
    /// Whether it was reported that a key has expired.
    pub has_expired: bool,
    /// What this worker did with its packets.
    pub counters: FlowCounters,
}

/// What the agent says about a flow, and may change.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Whether RTP may pass.
    pub gate: Gate,
    /// RTP, RTCP or both.
    pub carries: Carries,
    /// Who may send.
    pub source: SourceFilter,
    /// How fast RTP timestamps run.
    pub clocks: Clocks,
    /// Whether arriving packets are protected.
    pub protected: bool,
    /// Whether leaving packets are.
    pub protects: bool,
    /// The NIC its packets leave on.
    pub egress: NicId,
    /// Where its RTP packets go, once that is known.
    pub rtp: Option<FarEnd>,
    /// Where its RTCP packets go, once that is known.
    pub rtcp: Option<FarEnd>,
    /// The DSCP to mark packets with, if not the one they arrived with.
    pub dscp: Option<u8>,
}

/// Who may send to a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SourceFilter {
    /// This address and port.
    Only(SocketAddr),
    /// Whoever is latched.
    Latch(Latching),
}

/// A peer that is latched, or how it will be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Latching {
    /// Who is latched.
    pub latched: Option<SocketAddr>,
    /// Whether the control side has been told.
    pub told: bool,
    /// Where the peer says that it is, if it does.
    pub signalled: Option<SocketAddr>,
    /// Who was latched before the peer said that it is elsewhere. On a plain flow that address goes
    /// on sending until the peer has learned that it may move, and must not be latched again.
    pub former: Option<SocketAddr>,
    /// Which addresses may be latched; `None` for all.
    pub from: Option<IpNet>,
    /// Until when a plain flow latches; `None` for ever.
    pub until: Option<Instant>,
    /// Which packet latches on a plain flow.
    pub on: LatchOn,
    /// How often the peer has changed, so that what is latched is never taken for the peer's that
    /// was before.
    pub round: u32,
}

/// Which packet latches on a plain flow ([`sallyport_flow::LatchOn`]).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LatchOn {
    /// The first.
    #[default]
    First,
    /// The first after this time.
    Late(Instant),
    /// The first, and until this time one that fits better.
    Best(Instant),
    /// Every one from this time on.
    Last(Instant),
}

impl LatchOn {
    /// How long a peer that has moved stays where it is: each move is told to everybody.
    pub const STAY: Duration = Duration::from_millis(100);

    /// As of now.
    pub fn new(on: sallyport_flow::LatchOn, now: Instant) -> Self {
        use sallyport_flow::LatchOn as On;
        let after = |time| now.checked_add(time);
        match on {
            On::First => Self::First,
            On::Late(time) => after(time).map_or(Self::First, Self::Late),
            On::Best(time) => after(time).map_or(Self::First, Self::Best),
            On::Last => Self::Last(now),
        }
    }
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
//
// What nearly every packet counts comes first, so that it is in one or two lines of the cache.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct FlowCounters {
    /// Packets that arrived.
    pub packets_in: u64,
    /// Bytes of UDP payload that arrived.
    pub bytes_in: u64,
    /// Packets that were handed to the NIC.
    pub packets_out: u64,
    /// Bytes of UDP payload that were handed to the NIC.
    pub bytes_out: u64,
    /// When the last packet came that was the peer's.
    pub last: Option<Instant>,
    /// What the peer's packets tell, if this worker owns the flow.
    pub observed: Observed,
    /// Packets that did not leave.
    pub refused: Refusals,
}

impl FlowEntry {
    /// A flow that has no owner yet.
    pub fn new(id: FlowId, key: FlowKey, terms: Terms, claim: Arc<Claim>) -> Self {
        Self {
            id,
            key,
            counters: FlowCounters::default(),
            terms,
            claim,
            owned: None,
            has_expired: false,
        }
    }

    /// Changes what the agent says. Who is latched stays if the peer is the same and may be. What
    /// the agent said before is in `terms` then.
    pub fn change(&mut self, terms: &mut Terms) {
        if let (SourceFilter::Latch(new), SourceFilter::Latch(old)) =
            (&mut terms.source, self.terms.source)
        {
            new.keep(old);
        }
        std::mem::swap(&mut self.terms, terms);
        if let Some(receptions) = &mut self.counters.observed.receptions {
            receptions.forget_clocks();
        }
        self.has_expired = false;
    }
}

impl Latching {
    /// Keeps who was latched, if that is the same peer and may be latched.
    pub fn keep(&mut self, old: Self) {
        let is_same = self.round == old.round;
        self.latched = old.latched.filter(|peer| is_same && self.admits(*peer));
        self.told = old.told;
        self.former = if is_same {
            old.former
        } else {
            // Only a peer that had said where it is can have moved from there.
            let has_moved = self.signalled.is_some() && old.signalled.is_some();
            let before = old.latched.or(old.former);
            before.filter(|peer| has_moved && self.signalled != Some(*peer))
        };
    }

    /// Whether the window of a plain flow is over.
    #[inline]
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now > until)
    }

    /// Whether that is where the peer was before, and it may still come from elsewhere.
    pub fn has_left(&self, peer: SocketAddr, now: Instant) -> bool {
        self.former == Some(peer) && !self.is_over(now)
    }

    /// Notes who is latched from now on.
    pub fn latch(&mut self, peer: SocketAddr, now: Instant) {
        self.latched = Some(peer);
        if let LatchOn::Last(from) = &mut self.on {
            *from = now.checked_add(LatchOn::STAY).unwrap_or(now);
        }
    }

    /// Whether it is too early for a plain flow to latch.
    pub fn is_early(&self, now: Instant) -> bool {
        matches!(self.on, LatchOn::Late(from) if now < from)
    }

    /// Whether the peer of a plain flow, which is latched, may be there instead.
    #[cold]
    pub fn may_move(&self, latched: SocketAddr, to: SocketAddr, now: Instant) -> bool {
        match self.on {
            LatchOn::First | LatchOn::Late(_) => false,
            LatchOn::Best(until) => now < until && self.fit(to) > self.fit(latched),
            LatchOn::Last(from) => now >= from,
        }
    }

    /// How well a sender fits where the peer says that it is.
    fn fit(&self, sender: SocketAddr) -> (bool, bool) {
        let signalled = self.signalled;
        let fits = |fits: fn(SocketAddr, SocketAddr) -> bool| {
            signalled.is_some_and(|signalled| fits(signalled, sender))
        };
        (
            fits(|one, other| one.ip() == other.ip()),
            fits(|one, other| one.port() == other.port()),
        )
    }

    /// Whether packets from there may latch at all.
    #[inline]
    pub fn admits(&self, peer: SocketAddr) -> bool {
        self.from.is_none_or(|net| net.contains(&peer.ip()))
    }
}
