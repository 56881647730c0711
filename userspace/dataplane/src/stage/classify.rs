// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which flow, RTP or RTCP, and from whom.

use std::net::{IpAddr, SocketAddr};

use sallyport_ebpf::{Family, FlowKey, parse};
use sallyport_flow::Reason;
use sallyport_srtp::{Kind, header};

use crate::burst::{Burst, Packet};
use crate::state::WorkerState;
use crate::xdp::NicId;

/// Finds the flow of every packet, and cuts the packet down to its UDP payload.
pub(super) fn classify(burst: &mut Burst, state: &mut WorkerState) {
    for packet in burst {
        // The XDP program has let only UDP through; a packet may still lie about its length.
        let Some(arrival) = Arrival::parse(packet.bytes(), packet.nic) else {
            packet.refuse(Reason::Malformed);
            continue;
        };
        let Some(slot) = state.flows.slot(&arrival.key) else {
            packet.refuse(Reason::UnknownFlow);
            continue;
        };
        packet.flow = slot;
        state.claim(packet);
        if !packet.goes_on() {
            continue;
        }
        arrival.describe(packet);
        if let Some(entry) = state.flows.entry_mut(slot) {
            entry.counters.packets_in += 1;
            entry.counters.bytes_in += packet.len as u64;
        }
    }
}

/// What the headers in front of the payload say.
struct Arrival {
    key: FlowKey,
    source: SocketAddr,
    traffic_class: u8,
    /// Where the UDP payload starts in the packet.
    payload: usize,
    payload_len: usize,
}

impl Arrival {
    #[inline]
    fn parse(packet: &[u8], nic: NicId) -> Option<Self> {
        let datagram = parse(packet).ok()?;
        let udp_start = datagram.payload.checked_sub(8)?;
        let ip_len = if datagram.family == Family::V6 {
            40
        } else {
            20
        };
        let ip = packet.get(udp_start.checked_sub(ip_len)?..udp_start)?;
        let (address, traffic_class) = match datagram.family {
            Family::V4 => (IpAddr::from(*ip[12..].first_chunk::<4>()?), ip[1]),
            Family::V6 => (
                IpAddr::from(*ip[8..].first_chunk::<16>()?),
                ip[0] << 4 | ip[1] >> 4,
            ),
        };
        let udp: &[u8; 8] = packet.get(udp_start..)?.first_chunk()?;
        // Behind the datagram there may be padding to the shortest Ethernet frame.
        let payload_len = usize::from(u16::from_be_bytes([udp[4], udp[5]])).checked_sub(8)?;
        packet.get(datagram.payload..datagram.payload + payload_len)?;
        Some(Self {
            key: FlowKey::of(nic.0, &datagram),
            source: SocketAddr::new(address, u16::from_be_bytes([udp[0], udp[1]])),
            traffic_class,
            payload: datagram.payload,
            payload_len,
        })
    }

    #[inline]
    fn describe(&self, packet: &mut Packet) {
        packet.start += self.payload;
        packet.len = self.payload_len;
        packet.source = self.source;
        packet.traffic_class = self.traffic_class;
        packet.kind = if header::is_rtcp(packet.bytes()) {
            Kind::Rtcp
        } else {
            Kind::Rtp
        };
    }
}
