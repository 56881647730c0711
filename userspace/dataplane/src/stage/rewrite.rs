// SPDX-License-Identifier: Apache-2.0 OR MIT

//! New Ethernet, IP and UDP headers in front of the payload, with full checksums.

use sallyport_flow::Reason;

use crate::burst::Burst;
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
    }
}
