// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A worker without a NIC, and packets for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use sallyport_ebpf::FlowKey;
use sallyport_flow::{Carries, Clock, FlowId, Gate, Refusals};
use sallyport_srtp::{ContextSet, ContextSets, Job, Kind, MasterKey, Policy, SetId, Suite};

use crate::burst::{Burst, Fate, Packet};
use crate::contexts::{Claim, ContextChange, Contexts, Property};
use crate::flow_table::{FarEnd, FlowEntry, FlowTable, LatchOn, Latching, SourceFilter, Terms};
use crate::header::{LinkHeader, PathHeader, write_headers};
use crate::next_hop::HopId;
use crate::observed::Observed;
use crate::reception::Clocks;
use crate::stage::process_burst;
use crate::state::{Events, HopTable, WorkerState};
use crate::worker::{self, Change, LeftOver, apply};
use crate::xdp::NicId;
use crate::xsk::{FramePool, Received, Umem};

pub(super) const ACCESS: NicId = NicId(0);
pub(super) const CORE: NicId = NicId(1);
pub(super) const UE: &str = "192.0.2.7:5004";
pub(super) const ACCESS_LOCAL: &str = "192.0.2.1:40000";
pub(super) const CORE_LOCAL: &str = "198.51.100.1:40000";
pub(super) const CORE_PEER: &str = "198.51.100.7:6000";
pub(super) const KEY: [u8; 30] = [0x17; 30];
pub(super) const NEW_KEY: [u8; 30] = [0x29; 30];
pub(super) const PCMU: Clock = Clock {
    payload_type: 0,
    rate: 8000,
};
/// The SSRC of [`rtp`] and [`sender_report`].
pub(super) const SSRC: u32 = 0xcafe_babe;
pub(super) const LATCH: SourceFilter = SourceFilter::Latch(Latching {
    latched: None,
    told: false,
    signalled: None,
    former: None,
    from: None,
    until: None,
    on: LatchOn::First,
    round: 0,
});

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn key() -> MasterKey {
    MasterKey::new(Suite::AesCm128HmacSha1_80, &KEY).unwrap()
}

pub(super) fn new_key() -> MasterKey {
    MasterKey::new(Suite::AesCm128HmacSha1_80, &NEW_KEY).unwrap()
}

pub(super) fn receiver(key: &MasterKey) -> Box<ContextSet> {
    Box::new(ContextSet::receiver(key, Policy::default()))
}

/// Plain RTP arrives and leaves.
pub(super) const PLAIN: Contexts = Contexts {
    unprotect: None,
    beside: None,
    protect: None,
};

/// Plain RTP arrives and leaves as SRTP.
pub(super) fn to_be_protected() -> Contexts {
    Contexts {
        protect: Some(Box::new(ContextSet::sender(&key(), Policy::default()))),
        ..PLAIN
    }
}

/// What the owner of a flow gets, with room for everything.
pub(super) fn property(contexts: Contexts) -> Property {
    Property {
        contexts,
        observed: Observed::room(Carries::Muxed, None),
    }
}

/// A worker, its frames, and the sending peer's crypto contexts.
pub(super) struct Bed {
    pub(super) state: WorkerState,
    pub(super) pool: FramePool,
    pub(super) frames: usize,
    pub(super) peer: ContextSets,
    pub(super) peer_set: SetId,
}

impl Bed {
    /// A worker with one flow, from the access side (SRTP) to the core (RTP), changed by `change`.
    pub(super) fn new(change: impl FnOnce(&mut FlowEntry)) -> Self {
        Self::with_contexts(
            Contexts {
                unprotect: Some(receiver(&key())),
                ..PLAIN
            },
            change,
        )
    }

    pub(super) fn with_contexts(contexts: Contexts, change: impl FnOnce(&mut FlowEntry)) -> Self {
        let (_, pool) = Umem::allocate(256).unwrap();
        let mut state = WorkerState {
            worker: 0,
            now: Instant::now(),
            started: Instant::now(),
            flows: FlowTable::with_capacity(8),
            contexts: ContextSets::with_capacity(8),
            hops: HopTable::default(),
            mtu: vec![1500, 1500],
            own: [ACCESS_LOCAL, CORE_LOCAL]
                .map(|own| [address(own).ip()].into_iter().collect())
                .into(),
            events: Arc::new(Events::new(64)),
            refused: Refusals::default(),
            packets_out: 0,
        };
        let hop = HopId::first();
        state
            .hops
            .set(hop, Some(LinkHeader::new([2; 6], [4; 6], &[])));
        let header = PathHeader::new(address(CORE_LOCAL), address(CORE_PEER)).unwrap();
        let far_end = Some(FarEnd { hop, header });
        let local = address(ACCESS_LOCAL);
        let terms = Terms {
            gate: Gate::Open,
            carries: Carries::Muxed,
            source: SourceFilter::Only(address(UE)),
            clocks: Clocks::new(&[PCMU]),
            protected: contexts.unprotect.is_some(),
            protects: contexts.protect.is_some(),
            egress: CORE,
            rtp: far_end,
            rtcp: far_end,
            dscp: None,
        };
        let claim = Arc::new(Claim::new(property(contexts)));
        let mut entry = FlowEntry::new(FlowId(1), FlowKey::new(ACCESS.0, local), terms, claim);
        change(&mut entry);
        state.flows.insert(Box::new(entry));
        let mut peer = ContextSets::with_capacity(1);
        let peer_set = peer.insert(ContextSet::sender(&key(), Policy::default()));
        let frames = pool.len();
        Self {
            state,
            pool,
            frames,
            peer,
            peer_set,
        }
    }

    /// The peer protects with these contexts from now on.
    pub(super) fn rekey_peer(&mut self, set: ContextSet) {
        self.peer_set = self.peer.insert(set);
    }

    /// Changes the flow as the control side does.
    pub(super) fn change(
        &mut self,
        terms: Option<Terms>,
        contexts: Option<ContextChange>,
    ) -> LeftOver {
        let change = Change {
            id: FlowId(1),
            terms,
            property: contexts.map(|contexts| Box::new(contexts.into())),
        };
        let update = worker::Update {
            change: vec![change],
            ..worker::Update::default()
        };
        apply(&mut self.state, Box::new(update))
    }

    pub(super) fn entry(&self) -> &FlowEntry {
        self.entry_of(1)
    }

    pub(super) fn entry_of(&self, id: u64) -> &FlowEntry {
        let slot = self.state.flows.slot_of(FlowId(id)).unwrap();
        self.state.flows.entry(slot).unwrap()
    }

    /// The first flow's packets arrive once more, at a second one that takes them to `core_peer`.
    pub(super) fn lead_back(&mut self, core_peer: &str, contexts: Contexts) {
        let back = LinkHeader::back([2; 6]);
        self.state.hops.set(HopId::first(), Some(back));
        let (local, to) = (address(CORE_PEER), address(core_peer));
        let hop = if local == to {
            HopId::first()
        } else {
            HopId::unresolved()
        };
        let onward = LinkHeader::new([2; 6], [4; 6], &[]);
        self.state.hops.set(HopId::unresolved(), Some(onward));
        let from = address(CORE_LOCAL);
        let header = PathHeader::new(from, to).unwrap();
        let far_end = Some(FarEnd { hop, header });
        let terms = Terms {
            source: SourceFilter::Only(from),
            protected: false,
            protects: contexts.protect.is_some(),
            rtp: far_end,
            rtcp: far_end,
            ..self.entry().terms.clone()
        };
        let claim = Arc::new(Claim::new(property(contexts)));
        let entry = FlowEntry::new(FlowId(2), FlowKey::new(CORE.0, local), terms, claim);
        self.state.flows.insert(Box::new(entry));
    }

    /// The fates of datagrams from the peer in one burst.
    pub(super) fn fates(&mut self, payloads: &[Vec<u8>]) -> Vec<Fate> {
        let datagrams: Vec<_> = payloads
            .iter()
            .map(|payload| (UE, ACCESS_LOCAL, payload.clone()))
            .collect();
        let results = self.process(&datagrams);
        results.into_iter().map(|(fate, _)| fate).collect()
    }

    /// What the peer's SRTP stack makes of a packet.
    pub(super) fn protected(&mut self, kind: Kind, packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 2048];
        frame[256..256 + packet.len()].copy_from_slice(packet);
        let mut jobs = [Job {
            frame: &mut frame,
            start: 256,
            len: packet.len(),
            kind,
            set: self.peer_set,
            outcome: Ok(()),
        }];
        self.peer.protect(&mut jobs);
        let [job] = jobs;
        assert_eq!(job.outcome, Ok(()));
        let (start, len) = (job.start, job.len);
        frame[start..start + len].to_vec()
    }

    /// Puts datagrams through all stages in one burst. Gives each one's fate and, if it leaves,
    /// the whole packet.
    pub(super) fn process(&mut self, datagrams: &[(&str, &str, Vec<u8>)]) -> Vec<(Fate, Vec<u8>)> {
        let ethernet: Vec<Vec<u8>> = datagrams
            .iter()
            .map(|(from, to, payload)| ethernet(address(from), address(to), payload))
            .collect();
        self.process_raw(&ethernet)
    }

    pub(super) fn process_raw(&mut self, packets: &[Vec<u8>]) -> Vec<(Fate, Vec<u8>)> {
        let mut burst = Burst::new();
        for packet in packets {
            let mut frame = self.pool.take().unwrap();
            frame.bytes_mut()[256..256 + packet.len()].copy_from_slice(packet);
            let received = Received {
                frame,
                start: 256,
                len: packet.len(),
            };
            burst.push(Packet::new(received, ACCESS));
        }
        let mut results = Vec::new();
        while !burst.is_empty() {
            process_burst(&mut burst, &mut self.state);
            for mut packet in std::mem::take(&mut burst) {
                let bytes = packet.bytes().to_vec();
                match packet.fate {
                    Fate::Onward => {
                        assert_eq!(packet.nic, CORE);
                        self.state.count_sent(packet.flow, packet.payload_len);
                    }
                    Fate::Refused(reason) => self.state.count_refused(packet.flow, reason),
                    Fate::HandedOver(_) => {}
                    Fate::Returned => {
                        self.state.count_passed(packet.flow, packet.payload_len);
                        packet.come_back();
                        burst.push(packet);
                        continue;
                    }
                }
                results.push((packet.fate, bytes));
                self.pool.give(packet.frame);
            }
        }
        assert_eq!(self.pool.len(), self.frames, "a frame is lost");
        results
    }
}

pub(super) fn ethernet(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let link = LinkHeader::new([6; 6], [8; 6], &[]);
    let path = PathHeader::new(from, to).unwrap();
    let mut frame = vec![0; 128 + payload.len()];
    frame[128..].copy_from_slice(payload);
    let start = write_headers(&mut frame, 128, payload.len(), &link, &path, 0xb9).unwrap();
    frame[start..].to_vec()
}

pub(super) fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 160, 0xca, 0xfe, 0xba, 0xbe]);
    packet.extend(payload);
    packet
}

pub(super) fn sender_report() -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6, 0xca, 0xfe, 0xba, 0xbe];
    packet.extend([0x5a; 20]);
    packet
}

/// The UDP payload of a packet that left over IPv4 without VLAN tags.
pub(super) fn payload(packet: &[u8]) -> &[u8] {
    &packet[14 + 20 + 8..]
}
