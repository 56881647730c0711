// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Decides whose a packet is.

use crate::layout::{FlowWord, PortState, RANGES_PER_NIC, Range, flow_index, range_index};
use crate::{Datagram, Packet, Verdict, parse};

/// The maps that the decision looks into, in the kernel and on the host.
pub trait Tables {
    /// The range at an index of `RANGES`.
    fn range(&self, index: u32) -> Option<Range>;

    /// The word at an index of `FLOWS`.
    fn flow(&self, index: u32) -> Option<FlowWord>;

    /// Whether a socket of the kernel's has the datagram's destination.
    fn is_awaited(&self, datagram: &Datagram) -> bool;
}

/// Decides about a packet that arrived on a NIC. [`Verdict::Redirected`] still needs a socket.
#[inline(always)]
pub fn classify<P: Packet + ?Sized, T: Tables>(packet: &P, nic: u32, tables: &T) -> Verdict {
    let datagram = match parse(packet) {
        Ok(datagram) => datagram,
        Err(verdict) => return verdict,
    };
    let Some((index, range)) = find_range(nic, &datagram, tables) else {
        return Verdict::Passed;
    };
    let port = u16::from_be_bytes(datagram.port);
    if !range.has_port(port) {
        return Verdict::Passed;
    }
    let word = tables.flow(flow_index(index, port)).unwrap_or_default();
    demultiplex(packet, &datagram, word.state(port), tables)
}

/// The range of the datagram's destination address, and its index.
#[inline(always)]
fn find_range<T: Tables>(nic: u32, datagram: &Datagram, tables: &T) -> Option<(u32, Range)> {
    for place in 0..RANGES_PER_NIC {
        let index = range_index(nic, place);
        let range = tables.range(index)?;
        if range.is_end() {
            return None;
        }
        if range.has_address_of(datagram) {
            return Some((index, range));
        }
    }
    None
}

/// Tells what a flow's packet is by its first byte (RFC 7983 section 7).
///
/// While the agent is away nobody awaits STUN and DTLS, and the kernel's ICMP port unreachable would
/// end the call at the peer. What [`parse`] leaves to the kernel gets it nevertheless: a DTLS flight
/// in fragments, of which only the first has a port, and STUN with an option of IPv4.
#[inline(always)]
fn demultiplex<P: Packet + ?Sized, T: Tables>(
    packet: &P,
    datagram: &Datagram,
    state: PortState,
    tables: &T,
) -> Verdict {
    match (state, packet.read(datagram.payload)) {
        (PortState::Unknown, _) => Verdict::UnknownFlow,
        (_, Some([128..=191])) => Verdict::Redirected,
        // STUN and DTLS.
        (PortState::KernelDemux, Some([0..=3 | 20..=63])) => {
            if tables.is_awaited(datagram) {
                Verdict::KernelDemux
            } else {
                Verdict::NoSocket
            }
        }
        _ => Verdict::NotMedia,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Maps {
        ranges: HashMap<u32, Range>,
        flows: HashMap<u32, FlowWord>,
    }

    impl Tables for Maps {
        fn range(&self, index: u32) -> Option<Range> {
            Some(self.ranges.get(&index).copied().unwrap_or(Range::END))
        }

        fn flow(&self, index: u32) -> Option<FlowWord> {
            self.flows.get(&index).copied()
        }

        fn is_awaited(&self, datagram: &Datagram) -> bool {
            datagram.port == 40_002_u16.to_be_bytes()
        }
    }

    const NIC: u32 = 1;

    fn maps() -> Maps {
        let mut maps = Maps::default();
        let closed = Range::new([192, 0, 2, 9].into(), 0, u16::MAX).closed();
        maps.ranges.insert(range_index(NIC, 0), closed);
        let index = range_index(NIC, 1);
        maps.ranges
            .insert(index, Range::new([192, 0, 2, 1].into(), 40_000, 40_009));
        for (port, state) in [
            (40_000, PortState::Flow),
            (40_002, PortState::KernelDemux),
            (40_004, PortState::KernelDemux),
            // Outside the range: never reached.
            (50_000, PortState::Flow),
        ] {
            let word = maps.flows.entry(flow_index(index, port)).or_default();
            *word = word.with(port, state);
        }
        maps
    }

    /// An IPv4 datagram to 192.0.2.`host`.
    fn datagram(host: u8, port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::from([2; 12]);
        frame.extend([0x08, 0]);
        frame.extend([
            0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 192, 0, 2, host,
        ]);
        frame.extend([0x13, 0x88]);
        frame.extend(port.to_be_bytes());
        frame.extend([0, 20, 0, 0]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn packets_are_told_apart() {
        let table: [(&str, u8, u16, &[u8], Verdict); 18] = [
            ("RTP of a flow", 1, 40_000, &[0x80, 0], Verdict::Redirected),
            (
                "RTCP of a flow",
                1,
                40_000,
                &[0x81, 200],
                Verdict::Redirected,
            ),
            (
                "the first byte that is media",
                1,
                40_000,
                &[128],
                Verdict::Redirected,
            ),
            (
                "the last byte that is media",
                1,
                40_000,
                &[191],
                Verdict::Redirected,
            ),
            (
                "the byte before media",
                1,
                40_000,
                &[127],
                Verdict::NotMedia,
            ),
            (
                "the byte behind media",
                1,
                40_000,
                &[192],
                Verdict::NotMedia,
            ),
            ("no payload", 1, 40_000, &[], Verdict::NotMedia),
            (
                "STUN, which the flow does not speak",
                1,
                40_000,
                &[0],
                Verdict::NotMedia,
            ),
            (
                "STUN, which the flow speaks",
                1,
                40_002,
                &[0],
                Verdict::KernelDemux,
            ),
            (
                "DTLS, which the flow speaks",
                1,
                40_002,
                &[22],
                Verdict::KernelDemux,
            ),
            (
                "STUN that nobody awaits",
                1,
                40_004,
                &[0],
                Verdict::NoSocket,
            ),
            (
                "RTP where nobody awaits STUN",
                1,
                40_004,
                &[0x80],
                Verdict::Redirected,
            ),
            (
                "RTP of a flow that speaks DTLS",
                1,
                40_002,
                &[0x80],
                Verdict::Redirected,
            ),
            ("a TURN channel", 1, 40_002, &[64], Verdict::NotMedia),
            (
                "a media port without a flow",
                1,
                40_001,
                &[0x80],
                Verdict::UnknownFlow,
            ),
            (
                "a port outside the range",
                1,
                50_000,
                &[0x80],
                Verdict::Passed,
            ),
            ("another address", 2, 40_000, &[0x80], Verdict::Passed),
            (
                "an address without ports",
                9,
                40_000,
                &[0x80],
                Verdict::Passed,
            ),
        ];
        for (sentence, host, port, payload, expected) in table {
            let frame = datagram(host, port, payload);
            assert_eq!(
                classify(frame.as_slice(), NIC, &maps()),
                expected,
                "{sentence}"
            );
        }
    }

    #[test]
    fn a_flow_belongs_to_one_nic() {
        let frame = datagram(1, 40_000, &[0x80]);
        assert_eq!(
            classify(frame.as_slice(), NIC + 1, &maps()),
            Verdict::Passed
        );
    }

    proptest! {
        #[test]
        fn only_media_bytes_of_a_flow_are_redirected(port: u16, payload: Vec<u8>) {
            let verdict = classify(datagram(1, port, &payload).as_slice(), NIC, &maps());
            let media = payload.first().is_some_and(|first| (128..192).contains(first));
            let flow = [40_000, 40_002, 40_004].contains(&port);
            prop_assert_eq!(verdict == Verdict::Redirected, media && flow);
        }
    }
}
