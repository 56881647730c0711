// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Decides whose a packet is.

use crate::{Datagram, FlowKey, FlowValue, Packet, RangeKey, RangeValue, Verdict, parse};

/// The maps that the decision looks into, in the kernel and on the host.
pub trait Tables {
    /// The media ports of an address; `None` when it is no media address.
    fn range(&self, key: &RangeKey) -> Option<RangeValue>;

    /// The flow that has a local address and port.
    fn flow(&self, key: &FlowKey) -> Option<FlowValue>;
}

/// Decides about a packet that arrived on a NIC. [`Verdict::Redirected`] still needs a socket.
///
/// The ranges come first: they are few and always in the cache, so that packets which are not
/// ours, perhaps a flood of them, cost one cheap lookup.
#[inline(always)]
pub fn classify<P: Packet + ?Sized, T: Tables>(packet: &P, nic: u8, tables: &T) -> Verdict {
    let datagram = match parse(packet) {
        Ok(datagram) => datagram,
        Err(verdict) => return verdict,
    };
    match tables.range(&RangeKey::of(nic, &datagram)) {
        Some(range) if range.contains(datagram.port) => {}
        _ => return Verdict::Passed,
    }
    let Some(flow) = tables.flow(&FlowKey::of(nic, &datagram)) else {
        return Verdict::UnknownFlow;
    };
    demultiplex(packet, &datagram, flow)
}

/// Tells what a flow's packet is by its first byte (RFC 7983 section 7).
#[inline(always)]
fn demultiplex<P: Packet + ?Sized>(packet: &P, datagram: &Datagram, flow: FlowValue) -> Verdict {
    match packet.read(datagram.payload) {
        Some([128..=191]) => Verdict::Redirected,
        // STUN and DTLS.
        Some([0..=3 | 20..=63]) if flow.has(FlowValue::KERNEL_DEMUX) => Verdict::KernelDemux,
        _ => Verdict::NotMedia,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::SocketAddr;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Maps {
        ranges: HashMap<RangeKey, RangeValue>,
        flows: HashMap<FlowKey, FlowValue>,
    }

    impl Tables for Maps {
        fn range(&self, key: &RangeKey) -> Option<RangeValue> {
            self.ranges.get(key).copied()
        }

        fn flow(&self, key: &FlowKey) -> Option<FlowValue> {
            self.flows.get(key).copied()
        }
    }

    const NIC: u8 = 1;

    fn maps() -> Maps {
        let mut maps = Maps::default();
        let range = RangeValue {
            first: 40_000,
            last: 40_009,
        };
        for (local, flow) in [
            ("192.0.2.1:40000", FlowValue::default()),
            ("192.0.2.1:40002", FlowValue::KERNEL_DEMUX),
            // Outside the range: never reached.
            ("192.0.2.1:50000", FlowValue::default()),
        ] {
            let local: SocketAddr = local.parse().unwrap();
            maps.ranges.insert(RangeKey::new(NIC, local.ip()), range);
            maps.flows.insert(FlowKey::new(NIC, local), flow);
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
        let table: [(&str, u8, u16, &[u8], Verdict); 15] = [
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
            let flow = [40_000, 40_002].contains(&port);
            prop_assert_eq!(verdict == Verdict::Redirected, media && flow);
        }
    }
}
