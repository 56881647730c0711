// SPDX-License-Identifier: Apache-2.0 OR MIT

//! New Ethernet, IP and UDP headers in front of the payload, with full checksums.
//!
//! A packet to a media address of our own realm gets them, too, and then starts again at the first
//! stage. On the wire it would be lost: no network sends a packet back to where it came from, and
//! the kernel takes none from outside that has one of its own addresses as source. A veth pair could
//! bring it back by way of the kernel, but somebody would have to set that up, and the flow that the
//! packet belongs to is in this very table. So none comes from the wire with such a source, and
//! `admit.rs` refuses those that do: the kernel, which would, never sees them.

use sallyport_flow::Reason;

use crate::burst::{Burst, Fate, Packet};
use crate::header::write_headers;
use crate::stage::route::far_end;
use crate::state::WorkerState;

/// Completes the packets for the NIC that they leave on.
pub(super) fn rewrite(burst: &mut Burst, state: &WorkerState) {
    for packet in burst.iter_mut().filter(|packet| packet.goes_on()) {
        let Some(entry) = state.flows.entry(packet.flow) else {
            packet.refuse(Reason::UnknownFlow);
            continue;
        };
        let Some(far_end) = far_end(&entry.terms, packet.kind) else {
            packet.refuse(Reason::NoRoute);
            continue;
        };
        let Some(link) = state.hops.header(far_end.hop) else {
            packet.refuse(Reason::NoRoute);
            continue;
        };
        if link.leads_back() && packet.returns >= Packet::MAX_RETURNS {
            // Flows lead to each other in a circle.
            packet.refuse(Reason::NoRoute);
            continue;
        }
        let mtu = state
            .mtu
            .get(usize::from(entry.terms.egress.0))
            .copied()
            .unwrap_or(0);
        if far_end.header.len() + packet.len > mtu {
            packet.refuse(Reason::TooBig);
            continue;
        }
        // ECN ends here: the marks of one path say nothing about the other (RFC 3168 section 9).
        let traffic_class = entry
            .terms
            .dscp
            .map_or(packet.traffic_class & !3, |dscp| dscp << 2);
        let (start, len) = (packet.start, packet.len);
        let bytes = packet.frame.bytes_mut();
        let Some(packet_start) =
            write_headers(bytes, start, len, link, &far_end.header, traffic_class)
        else {
            packet.refuse(Reason::TooBig);
            continue;
        };
        packet.payload_len = len;
        packet.len += start - packet_start;
        packet.start = packet_start;
        packet.nic = entry.terms.egress;
        if link.leads_back() {
            packet.fate = Fate::Returned;
        }
    }
}
