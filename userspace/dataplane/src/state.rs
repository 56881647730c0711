// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What one worker owns: all that [`process_burst`](crate::stage::process_burst) reads and
//! writes, and nothing of the kernel's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam::queue::ArrayQueue;
use sallyport_flow::{FlowId, Reason, Refusals};
use sallyport_srtp::ContextSets;
use tokio::sync::Notify;

use crate::burst::{Fate, Packet};
use crate::contexts::{Owned, Property};
use crate::flow_table::{FlowTable, Slot};
use crate::header::LinkHeader;
use crate::next_hop::HopId;
use crate::own::OwnAddresses;

/// What one worker owns.
#[derive(Debug)]
pub struct WorkerState {
    /// Its number: that of its queue.
    pub worker: u32,
    /// When the burst was taken. The loop around the stages sets it, they know no clock.
    pub now: Instant,
    /// When the data plane started: the same for all workers.
    pub started: Instant,
    /// The flows.
    pub flows: FlowTable,
    /// The crypto contexts of the flows that it owns.
    pub contexts: ContextSets,
    /// The Ethernet headers towards next hops.
    pub hops: HopTable,
    /// The MTU of each NIC, in bytes of IP packet.
    pub mtu: Vec<usize>,
    /// The media addresses of each NIC: no packet that arrives there has them as source.
    pub own: Vec<OwnAddresses>,
    /// Where events go.
    pub events: Arc<Events>,
    /// Packets that did not leave.
    pub refused: Refusals,
    /// Packets that it handed to a NIC.
    pub packets_out: u64,
}

impl WorkerState {
    /// How long the data plane had run when the burst was taken, in nanoseconds.
    pub fn elapsed(&self) -> u64 {
        let elapsed = self.now.saturating_duration_since(self.started);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Counts a packet that does not leave, at the worker and at its flow if it has one.
    pub fn count_refused(&mut self, flow: Slot, reason: Reason) {
        self.refused.count(reason);
        if let Some(entry) = self.flows.entry_mut(flow) {
            entry.counters.refused.count(reason);
        }
    }

    /// Counts a packet that was handed to the NIC.
    pub fn count_sent(&mut self, flow: Slot, payload_len: usize) {
        self.packets_out += 1;
        self.count_passed(flow, payload_len);
    }

    /// Counts a packet that is through with its flow.
    pub fn count_passed(&mut self, flow: Slot, payload_len: usize) {
        if let Some(entry) = self.flows.entry_mut(flow) {
            entry.counters.packets_out += 1;
            entry.counters.bytes_out += payload_len as u64;
        }
    }

    /// Whether a packet pretends to be from us. What we send to ourselves comes back without
    /// the wire.
    #[inline]
    pub fn is_forged(&self, packet: &Packet) -> bool {
        let own = self.own.get(usize::from(packet.nic.0));
        packet.returns == 0 && own.is_some_and(|own| own.contains(packet.source.ip()))
    }

    /// Makes this worker the owner of a packet's flow, if it has none. Sets the packet's fate if
    /// another worker is.
    #[inline]
    pub fn claim(&mut self, packet: &mut Packet) {
        let Some(entry) = self.flows.entry_mut(packet.flow) else {
            return packet.refuse(Reason::UnknownFlow);
        };
        if entry.owned.is_some() {
            return;
        }
        match entry.claim.claim(self.worker) {
            Ok(Property { contexts, observed }) => {
                entry.owned = Some(Owned::new(contexts, &mut self.contexts));
                entry.counters.observed = observed;
            }
            Err(owner) => packet.fate = Fate::HandedOver(owner),
        }
    }
}

/// The Ethernet headers towards next hops, by number.
#[derive(Debug, Default)]
pub struct HopTable(Vec<Option<LinkHeader>>);

impl HopTable {
    /// The header towards a next hop, if the kernel has resolved it.
    #[inline]
    pub fn header(&self, hop: HopId) -> Option<&LinkHeader> {
        self.0.get(hop.index())?.as_ref()
    }

    /// Sets or, with `None`, removes the header towards a next hop.
    pub fn set(&mut self, hop: HopId, header: Option<LinkHeader>) {
        if self.0.len() <= hop.index() {
            self.0.resize(hop.index() + 1, None);
        }
        self.0[hop.index()] = header;
    }
}

/// Something happened to a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// Its peer's address was learned, or the peer moved.
    Latched {
        /// The flow.
        flow: FlowId,
        /// Where the peer is.
        remote: SocketAddr,
        /// That of the [`Latching`](crate::flow_table::Latching).
        round: u32,
    },
    /// One of its keys has expired.
    KeyExpired {
        /// The flow.
        flow: FlowId,
    },
    /// Events were lost.
    Missed {
        /// How many.
        count: u64,
    },
}

/// Events on their way from the workers to the control side: bounded, and never waited for.
#[derive(Debug)]
pub struct Events {
    queue: ArrayQueue<Event>,
    missed: AtomicU64,
    arrived: Notify,
}

impl Events {
    /// A queue for `capacity` events.
    pub fn new(capacity: usize) -> Self {
        Self {
            queue: ArrayQueue::new(capacity),
            missed: AtomicU64::new(0),
            arrived: Notify::new(),
        }
    }

    /// Adds an event. A full queue loses it, and counts it.
    pub fn push(&self, event: Event) {
        if !self.offer(event) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds an event if there is room, and says so.
    pub fn offer(&self, event: Event) -> bool {
        let is_there = self.queue.push(event).is_ok();
        self.arrived.notify_one();
        is_there
    }

    /// The next event, as soon as there is one.
    pub async fn next(&self) -> Event {
        loop {
            if let Some(event) = self.try_next() {
                return event;
            }
            self.arrived.notified().await;
        }
    }

    /// The next event, if there is one.
    pub fn try_next(&self) -> Option<Event> {
        let missed = self.missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            return Some(Event::Missed { count: missed });
        }
        self.queue.pop()
    }
}
