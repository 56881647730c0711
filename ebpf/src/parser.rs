// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Finds the UDP datagram in an Ethernet frame.
//!
//! The parser reads only what steering needs. Lengths inside the headers, checksums and the RTP
//! header are user space's business: whoever gets a frame parses it again, in full.

use crate::Verdict;

/// Read access to the bytes of a frame, in the kernel and on the host.
pub trait Packet {
    /// The `N` bytes from `offset` on; `None` when the frame ends before.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Packet for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

/// The version of IP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Family {
    /// IPv4.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

/// Where a UDP datagram goes, and where its payload starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Datagram {
    /// The version of IP.
    pub family: Family,
    /// Destination address in network order; an IPv4 address as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
    /// Destination port in network order.
    pub port: [u8; 2],
    /// Offset of the first byte of the payload from the start of the frame, always even.
    pub payload: usize,
}

const ETHERNET_LEN: usize = 14;
const VLAN_TAG_LEN: usize = 4;
const MAX_VLAN_TAGS: usize = 2;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;

// EtherTypes (IEEE 802 numbers registry of IANA).
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const CUSTOMER_TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;

// Protocol numbers (IANA registry); the extension headers of IPv6 are among them.
const UDP: u8 = 17;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ENCAPSULATING_SECURITY: u8 = 50;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// Parses Ethernet II, up to two VLAN tags (IEEE 802.1Q, 802.1ad), IPv4 (RFC 791) or IPv6
/// (RFC 8200), and UDP (RFC 768).
///
/// # Errors
/// The verdict on a frame that is no such datagram; every one of them leaves it to the kernel.
#[inline(always)]
pub fn parse<P: Packet + ?Sized>(packet: &P) -> Result<Datagram, Verdict> {
    let mut offset = ETHERNET_LEN;
    let mut ether_type = read_u16(packet, offset - 2)?;
    for _ in 0..MAX_VLAN_TAGS {
        if ether_type != CUSTOMER_TAG && ether_type != SERVICE_TAG {
            break;
        }
        offset += VLAN_TAG_LEN;
        ether_type = read_u16(packet, offset - 2)?;
    }
    match ether_type {
        IPV4 => parse_ipv4(packet, offset),
        IPV6 => parse_ipv6(packet, offset),
        _ => Err(Verdict::Passed),
    }
}

#[inline(always)]
fn parse_ipv4<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<Datagram, Verdict> {
    let header: [u8; IPV4_LEN] = packet.read(offset).ok_or(Verdict::Malformed)?;
    let (version, words) = (header[0] >> 4, header[0] & 0x0f);
    if version != 4 || words < 5 {
        return Err(Verdict::Malformed);
    }
    if header[9] != UDP {
        return Err(Verdict::Passed);
    }
    if words > 5 {
        return Err(Verdict::Options);
    }
    // More fragments, or a fragment offset.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Err(Verdict::Fragment);
    }
    let [.., a, b, c, d] = header;
    let address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d];
    parse_udp(packet, offset + IPV4_LEN, Family::V4, address)
}

#[inline(always)]
fn parse_ipv6<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<Datagram, Verdict> {
    let header: [u8; IPV6_LEN - 16] = packet.read(offset).ok_or(Verdict::Malformed)?;
    if header[0] >> 4 != 6 {
        return Err(Verdict::Malformed);
    }
    match header[6] {
        UDP => {}
        FRAGMENT => return Err(Verdict::Fragment),
        HOP_BY_HOP
        | ROUTING
        | ENCAPSULATING_SECURITY
        | AUTHENTICATION
        | DESTINATION_OPTIONS
        | MOBILITY
        | HOST_IDENTITY
        | SHIM6 => return Err(Verdict::Options),
        _ => return Err(Verdict::Passed),
    }
    let address = packet.read(offset + 24).ok_or(Verdict::Malformed)?;
    parse_udp(packet, offset + IPV6_LEN, Family::V6, address)
}

#[inline(always)]
fn parse_udp<P: Packet + ?Sized>(
    packet: &P,
    offset: usize,
    family: Family,
    address: [u8; 16],
) -> Result<Datagram, Verdict> {
    let header: [u8; UDP_LEN] = packet.read(offset).ok_or(Verdict::Malformed)?;
    Ok(Datagram {
        family,
        address,
        port: [header[2], header[3]],
        payload: offset + UDP_LEN,
    })
}

#[inline(always)]
fn read_u16<P: Packet + ?Sized>(packet: &P, offset: usize) -> Result<u16, Verdict> {
    let bytes = packet.read(offset).ok_or(Verdict::Malformed)?;
    Ok(u16::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const DESTINATION: [u8; 4] = [192, 0, 2, 1];

    fn ethernet(tags: &[u16], ether_type: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for tag in tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0, 100]);
        }
        frame.extend(ether_type.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn ipv4(protocol: u8) -> Vec<u8> {
        let mut header = vec![
            0x45, 0, 0, 29, 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1,
        ];
        header.extend(DESTINATION);
        header
    }

    fn ipv6(next_header: u8) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0, 0, 9, next_header, 64];
        header.extend([1; 16]);
        header.extend([2; 16]);
        header
    }

    fn udp() -> Vec<u8> {
        vec![0x13, 0x88, 0x9c, 0x40, 0, 9, 0, 0, 0x80]
    }

    fn with(mut bytes: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
        bytes[at] = value;
        bytes
    }

    fn v4(payload: usize) -> Datagram {
        let address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
        Datagram {
            family: Family::V4,
            address,
            port: [0x9c, 0x40],
            payload,
        }
    }

    fn v6(payload: usize) -> Datagram {
        Datagram {
            family: Family::V6,
            address: [2; 16],
            port: [0x9c, 0x40],
            payload,
        }
    }

    #[test]
    fn frames_are_told_apart() {
        let udp4 = [ipv4(UDP), udp()].concat();
        let udp6 = [ipv6(UDP), udp()].concat();
        let passed = Err(Verdict::Passed);
        let options = Err(Verdict::Options);
        let fragment = Err(Verdict::Fragment);
        let malformed = Err(Verdict::Malformed);
        let table = [
            ("UDP over IPv4", ethernet(&[], IPV4, &udp4), Ok(v4(42))),
            ("UDP over IPv6", ethernet(&[], IPV6, &udp6), Ok(v6(62))),
            (
                "one customer tag",
                ethernet(&[CUSTOMER_TAG], IPV4, &udp4),
                Ok(v4(46)),
            ),
            (
                "one service tag",
                ethernet(&[SERVICE_TAG], IPV6, &udp6),
                Ok(v6(66)),
            ),
            (
                "two tags",
                ethernet(&[SERVICE_TAG, CUSTOMER_TAG], IPV4, &udp4),
                Ok(v4(50)),
            ),
            (
                "two tags before IPv6",
                ethernet(&[CUSTOMER_TAG; 2], IPV6, &udp6),
                Ok(v6(70)),
            ),
            (
                "three tags",
                ethernet(&[CUSTOMER_TAG; 3], IPV4, &udp4),
                passed,
            ),
            ("ARP", ethernet(&[], 0x0806, &[0; 28]), passed),
            (
                "an 802.3 length instead of an EtherType",
                ethernet(&[], 38, &[0; 38]),
                passed,
            ),
            ("TCP over IPv4", ethernet(&[], IPV4, &ipv4(6)), passed),
            ("TCP over IPv6", ethernet(&[], IPV6, &ipv6(6)), passed),
            ("ICMP", ethernet(&[], IPV4, &ipv4(1)), passed),
            ("ICMPv6", ethernet(&[], IPV6, &ipv6(58)), passed),
            (
                "TCP with IP options",
                ethernet(&[], IPV4, &with([ipv4(6), vec![0; 4]].concat(), 0, 0x46)),
                passed,
            ),
            (
                "IPv4 options",
                ethernet(&[], IPV4, &with(udp4.clone(), 0, 0x46)),
                options,
            ),
            (
                "a first fragment",
                ethernet(&[], IPV4, &with(udp4.clone(), 6, 0x20)),
                fragment,
            ),
            (
                "a later fragment",
                ethernet(&[], IPV4, &with(udp4.clone(), 7, 1)),
                fragment,
            ),
            (
                "a high fragment offset",
                ethernet(&[], IPV4, &with(udp4.clone(), 6, 0x10)),
                fragment,
            ),
            (
                "don't fragment",
                ethernet(&[], IPV4, &with(udp4.clone(), 6, 0x40)),
                Ok(v4(42)),
            ),
            (
                "a fragment of IPv6",
                ethernet(&[], IPV6, &ipv6(FRAGMENT)),
                fragment,
            ),
            (
                "hop-by-hop options",
                ethernet(&[], IPV6, &ipv6(HOP_BY_HOP)),
                options,
            ),
            (
                "destination options",
                ethernet(&[], IPV6, &ipv6(DESTINATION_OPTIONS)),
                options,
            ),
            (
                "a routing header",
                ethernet(&[], IPV6, &ipv6(ROUTING)),
                options,
            ),
            ("IPsec", ethernet(&[], IPV6, &ipv6(AUTHENTICATION)), options),
            (
                "version 5 in IPv4",
                ethernet(&[], IPV4, &with(udp4.clone(), 0, 0x55)),
                malformed,
            ),
            (
                "a short IPv4 header",
                ethernet(&[], IPV4, &with(udp4, 0, 0x44)),
                malformed,
            ),
            (
                "version 4 in IPv6",
                ethernet(&[], IPV6, &with(udp6, 0, 0x45)),
                malformed,
            ),
            ("nothing", Vec::new(), malformed),
        ];
        for (sentence, frame, expected) in table {
            assert_eq!(parse(frame.as_slice()), expected, "{sentence}");
        }
    }

    #[test]
    fn a_frame_that_ends_inside_a_header_is_malformed() {
        for frame in [
            ethernet(&[], IPV4, &[ipv4(UDP), udp()].concat()),
            ethernet(&[CUSTOMER_TAG], IPV4, &[ipv4(UDP), udp()].concat()),
            ethernet(
                &[SERVICE_TAG, CUSTOMER_TAG],
                IPV6,
                &[ipv6(UDP), udp()].concat(),
            ),
        ] {
            let headers = frame.len() - 1;
            for len in 0..headers {
                assert_eq!(parse(&frame[..len]), Err(Verdict::Malformed), "{len} bytes");
            }
            assert!(
                parse(&frame[..headers]).is_ok(),
                "the payload need not be there"
            );
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(datagram) = parse(frame.as_slice()) {
                prop_assert!(datagram.payload <= frame.len());
                prop_assert_eq!(datagram.payload % 2, 0);
            }
        }

        #[test]
        fn a_damaged_frame_never_panics(
            v6 in any::<bool>(),
            tags in 0_usize..4,
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            len in any::<prop::sample::Index>(),
        ) {
            let payload = [if v6 { ipv6(UDP) } else { ipv4(UDP) }, udp()].concat();
            let mut frame = ethernet(&[CUSTOMER_TAG; 4][..tags], if v6 { IPV6 } else { IPV4 }, &payload);
            for (at, value) in damage {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            frame.truncate(len.index(frame.len() + 1));
            if let Ok(datagram) = parse(frame.as_slice()) {
                prop_assert!(datagram.payload <= frame.len());
            }
        }
    }
}
