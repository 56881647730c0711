// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A worker without sockets, and packets for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use sallyport_dataplane::burst::{Burst, Fate, MAX_BURST, Packet};
use sallyport_dataplane::contexts::{Claim, Contexts, Property};
use sallyport_dataplane::flow_table::{FarEnd, FlowEntry, FlowTable, SourceFilter, Terms};
use sallyport_dataplane::header::{LinkHeader, MAX_HEADER_LEN, PathHeader, write_headers};
use sallyport_dataplane::next_hop::HopId;
use sallyport_dataplane::observed::Observed;
use sallyport_dataplane::own::OwnAddresses;
use sallyport_dataplane::reception::Clocks;
use sallyport_dataplane::state::{Events, HopTable, WorkerState};
use sallyport_dataplane::xdp::NicId;
use sallyport_dataplane::xsk::{FramePool, Received, Umem};
use sallyport_ebpf::FlowKey;
use sallyport_flow::{Carries, Clock, FlowId, Gate, Refusals};
use sallyport_srtp::{ContextSet, ContextSets, Job, Kind, MasterKey, Policy, SetId, Suite};

/// What is done to packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// RTP to RTP: everything but crypto.
    Plain,
    /// SRTP to RTP.
    ToCore,
    /// RTP to SRTP.
    ToAccess,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::ToCore, Self::ToAccess];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "RTP to RTP",
            Self::ToCore => "SRTP to RTP",
            Self::ToAccess => "RTP to SRTP",
        }
    }
}

/// A worker with flows, one SSRC each, and their peers.
pub(crate) struct Bed {
    pub(crate) state: WorkerState,
    pool: FramePool,
    /// What the peers protect with.
    peers: ContextSets,
    /// One for each flow; with the crypto contexts of its peer where it has some.
    flows: Vec<(SocketAddr, Option<SetId>)>,
    /// The next sequence number, and the flow of the next packet.
    sequence: u16,
    next: usize,
}

/// 20 ms of G.711.
const PAYLOAD_LEN: usize = 160;
/// Where a packet starts in its frame, without the headers of the network.
const START: usize = 384;
const NIC: NicId = NicId(0);
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 5004);

impl Bed {
    /// A worker with so many flows.
    pub(crate) fn new(way: Way, flows: u32) -> Result<Self, String> {
        let (_, pool) = Umem::allocate(256).map_err(|error| error.to_string())?;
        let key =
            MasterKey::new(Suite::AesCm128HmacSha1_80, &[7; 30]).map_err(|e| e.to_string())?;
        let sets = flows as usize;
        let mut state = WorkerState {
            worker: 0,
            now: Instant::now(),
            started: Instant::now(),
            flows: FlowTable::with_capacity(flows),
            contexts: ContextSets::with_capacity(sets),
            hops: HopTable::default(),
            mtu: vec![1500],
            own: vec![OwnAddresses::default()],
            events: Arc::new(Events::new(64)),
            refused: Refusals::default(),
            packets_out: 0,
        };
        let link = LinkHeader::new([2; 6], [4; 6], &[]);
        state.hops.set(HopId::first(), Some(link));
        let mut peers = ContextSets::with_capacity(sets);
        let locals = (0..flows).map(|number| {
            let [_, b, c, d] = number.to_be_bytes();
            SocketAddr::from(([10, b, c, d], 40_000))
        });
        let set = |make: fn(&MasterKey, Policy) -> ContextSet| make(&key, Policy::default());
        let mut all = Vec::with_capacity(sets);
        for (number, local) in (0..).zip(locals) {
            let contexts = Contexts {
                unprotect: (way == Way::ToCore).then(|| Box::new(set(ContextSet::receiver))),
                beside: None,
                protect: (way == Way::ToAccess).then(|| Box::new(set(ContextSet::sender))),
            };
            let header = PathHeader::new(local, PEER).ok_or("two families")?;
            let far_end = Some(FarEnd {
                hop: HopId::first(),
                header,
            });
            let terms = Terms {
                gate: Gate::Open,
                carries: Carries::Rtp,
                source: SourceFilter::Only(PEER),
                clocks: Clocks::new(&[Clock {
                    payload_type: 0,
                    rate: 8000,
                }]),
                protected: contexts.unprotect.is_some(),
                protects: contexts.protect.is_some(),
                egress: NIC,
                rtp: far_end,
                rtcp: far_end,
                dscp: None,
            };
            let (id, key) = (FlowId(number), FlowKey::new(NIC.0, local));
            let property = Property {
                contexts,
                observed: Observed::room(terms.carries, None),
            };
            let claim = Arc::new(Claim::new(property));
            let entry = FlowEntry::new(id, key, terms, claim);
            state.flows.insert(Box::new(entry));
            let peer = (way == Way::ToCore).then(|| peers.insert(set(ContextSet::sender)));
            all.push((local, peer));
        }
        Ok(Self {
            state,
            pool,
            peers,
            flows: all,
            sequence: 0,
            next: 0,
        })
    }

    /// The next packets, each of another flow.
    pub(crate) fn arrive(&mut self, burst: &mut Burst) {
        let link = LinkHeader::new([6; 6], [8; 6], &[]);
        self.state.now = Instant::now();
        while burst.len() < MAX_BURST
            && let Some(mut frame) = self.pool.take()
        {
            let (local, peer) = self.flows[self.next];
            let (start, len) = (START, 12 + PAYLOAD_LEN);
            let bytes = frame.bytes_mut();
            bytes[start..start + len].fill(7);
            bytes[start..start + 2].copy_from_slice(&[0x80, 0]);
            bytes[start + 2..start + 4].copy_from_slice(&self.sequence.to_be_bytes());
            let timestamp = u32::from(self.sequence) * 160;
            bytes[start + 4..start + 8].copy_from_slice(&timestamp.to_be_bytes());
            let mut packet = (start, len);
            if let Some(set) = peer {
                let mut jobs = [Job::new(bytes, start, len, Kind::Rtp, set)];
                self.peers.protect(&mut jobs);
                packet = (jobs[0].start, jobs[0].len);
            }
            let (start, len) = packet;
            let path = PathHeader::new(PEER, local);
            let path = path.expect("both are IPv4");
            let bytes = frame.bytes_mut();
            let head = write_headers(bytes, start, len, &link, &path, 0);
            let head = head.expect("there is room");
            let received = Received {
                frame,
                start: head,
                len: len + start - head,
            };
            burst.push(Packet::new(received, NIC));
            self.next += 1;
            if self.next == self.flows.len() {
                self.next = 0;
                self.sequence = self.sequence.wrapping_add(1);
            }
        }
    }

    /// Takes processed packets back. Says how many would have left.
    pub(crate) fn leave(&mut self, burst: &mut Burst) -> usize {
        let mut left = 0;
        for packet in burst.drain(..) {
            left += usize::from(packet.fate == Fate::Onward);
            self.pool.give(packet.frame);
        }
        left
    }
}

const _: () = assert!(START > MAX_HEADER_LEN);
