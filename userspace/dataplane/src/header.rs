// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The headers of leaving packets, prepared once for a path and completed for each packet.

use std::net::{IpAddr, SocketAddr};

use crate::checksum::Sum;

/// The most bytes that stand in front of a leaving payload.
pub const MAX_HEADER_LEN: usize = LinkHeader::MAX_LEN + PathHeader::MAX_LEN;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// IEEE 802.1Q, the only or the inner tag.
const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0x00];
/// IEEE 802.1ad, the outer of two tags.
const ETHERTYPE_VLAN_OUTER: [u8; 2] = [0x88, 0xa8];
const PROTOCOL_UDP: u8 = 17;
/// The TTL of RFC 1700; the gateway ends the IP path, so it does not inherit one.
const HOP_LIMIT: u8 = 64;

/// Ethernet and VLAN: everything in front of the IP header but its type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinkHeader {
    bytes: [u8; Self::MAX_LEN],
    len: usize,
    leads_back: bool,
}

impl LinkHeader {
    const MAX_LEN: usize = 12 + 2 * 4 + 2;

    /// From our address to the next hop's, with at most two VLAN tags, outermost first.
    pub fn new(source: [u8; 6], destination: [u8; 6], vlan: &[u16]) -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..6].copy_from_slice(&destination);
        bytes[6..12].copy_from_slice(&source);
        let mut len = 12;
        for (i, identifier) in vlan.iter().take(2).enumerate() {
            let outer = i == 0 && vlan.len() > 1;
            let ethertype = if outer {
                ETHERTYPE_VLAN_OUTER
            } else {
                ETHERTYPE_VLAN
            };
            bytes[len..len + 2].copy_from_slice(&ethertype);
            bytes[len + 2..len + 4].copy_from_slice(&(identifier & 0x0fff).to_be_bytes());
            len += 4;
        }
        Self {
            bytes,
            len: len + 2,
            leads_back: false,
        }
    }

    /// From our address to itself: towards a media address of our own.
    pub fn back(own: [u8; 6]) -> Self {
        Self {
            leads_back: true,
            ..Self::new(own, own, &[])
        }
    }

    /// Whether packets do not leave with it but arrive once more.
    #[inline]
    pub const fn leads_back(&self) -> bool {
        self.leads_back
    }

    /// Its length with the type of what follows, in bytes.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Never: there is always an Ethernet header.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes it to the end of `room`, for an IPv6 or IPv4 packet behind it.
    #[inline]
    fn write(&self, room: &mut [u8], ipv6: bool) {
        room.copy_from_slice(&self.bytes[..self.len]);
        let ethertype = if ipv6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
        room[self.len - 2..].copy_from_slice(&ethertype);
    }
}

/// IP and UDP from one address and port to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PathHeader {
    bytes: [u8; Self::MAX_LEN],
    is_ipv6: bool,
    /// Of the IPv4 header without its length and type of service.
    ip_sum: Sum,
    /// Of the UDP pseudo header and header without their lengths.
    udp_sum: Sum,
}

impl PathHeader {
    const MAX_LEN: usize = 40 + 8;

    /// For two addresses of one family; `None` when they are of different ones.
    pub fn new(from: SocketAddr, to: SocketAddr) -> Option<Self> {
        let mut bytes = [0; Self::MAX_LEN];
        let udp;
        let addresses_at;
        match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                bytes[0] = 0x45;
                bytes[6] = 0x40; // Don't Fragment: the identification may stay 0 (RFC 6864).
                bytes[8] = HOP_LIMIT;
                bytes[9] = PROTOCOL_UDP;
                bytes[12..16].copy_from_slice(&from.octets());
                bytes[16..20].copy_from_slice(&to.octets());
                addresses_at = 12;
                udp = 20;
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                bytes[0] = 0x60;
                bytes[6] = PROTOCOL_UDP;
                bytes[7] = HOP_LIMIT;
                bytes[8..24].copy_from_slice(&from.octets());
                bytes[24..40].copy_from_slice(&to.octets());
                addresses_at = 8;
                udp = 40;
            }
            _ => return None,
        }
        bytes[udp..udp + 2].copy_from_slice(&from.port().to_be_bytes());
        bytes[udp + 2..udp + 4].copy_from_slice(&to.port().to_be_bytes());
        let len = udp + 8;
        Some(Self {
            bytes,
            is_ipv6: len == Self::MAX_LEN,
            ip_sum: Sum::of(&bytes[..20]),
            udp_sum: Sum::of(&bytes[addresses_at..len]).and(Sum::word(PROTOCOL_UDP.into())),
        })
    }

    /// Its length in bytes: 28 for IPv4, 48 for IPv6.
    #[inline]
    pub const fn len(&self) -> usize {
        if self.is_ipv6 { Self::MAX_LEN } else { 20 + 8 }
    }

    /// Never: there are always an IP and a UDP header.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the complete header over `room`, for the `payload` behind it. `traffic_class` is
    /// the whole octet: DSCP and ECN.
    #[inline]
    fn write(&self, room: &mut [u8], traffic_class: u8, payload: &[u8]) {
        room.copy_from_slice(&self.bytes[..self.len()]);
        // A frame is 2 KiB: its length fits 16 bits.
        let udp_len = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
        let udp = self.len() - 8;
        if self.is_ipv6 {
            room[0] |= traffic_class >> 4;
            room[1] |= traffic_class << 4;
            room[4..6].copy_from_slice(&udp_len.to_be_bytes());
        } else {
            let total_len = 20 + udp_len;
            room[1] = traffic_class;
            room[2..4].copy_from_slice(&total_len.to_be_bytes());
            let sum = self
                .ip_sum
                .and(Sum::word(traffic_class.into()))
                .and(Sum::word(total_len));
            room[10..12].copy_from_slice(&sum.checksum());
        }
        room[udp + 4..udp + 6].copy_from_slice(&udp_len.to_be_bytes());
        // The length counts twice: in the pseudo header and in the header.
        let len_sum = Sum::word(udp_len);
        let sum = self.udp_sum.and(len_sum).and(len_sum).and(Sum::of(payload));
        room[udp + 6..udp + 8].copy_from_slice(&sum.udp_checksum());
    }
}

/// Writes both headers in front of the payload that stands at `start..start + len` of `frame`.
/// Returns where the packet starts now, or `None` when the frame has no room for it.
#[inline]
pub fn write_headers(
    frame: &mut [u8],
    start: usize,
    len: usize,
    link: &LinkHeader,
    path: &PathHeader,
    traffic_class: u8,
) -> Option<usize> {
    let path_start = start.checked_sub(path.len())?;
    let link_start = path_start.checked_sub(link.len())?;
    let (head, payload) = frame
        .get_mut(link_start..start + len)?
        .split_at_mut(start - link_start);
    let (link_room, path_room) = head.split_at_mut(link.len());
    link.write(link_room, path.is_ipv6);
    path.write(path_room, traffic_class, payload);
    Some(link_start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(from: &str, to: &str, vlan: &[u16], payload: &[u8]) -> Vec<u8> {
        let link = LinkHeader::new([2; 6], [4; 6], vlan);
        let path = PathHeader::new(from.parse().unwrap(), to.parse().unwrap()).unwrap();
        let mut frame = vec![0xee; 512];
        frame[300..300 + payload.len()].copy_from_slice(payload);
        let start = write_headers(&mut frame, 300, payload.len(), &link, &path, 0xb8).unwrap();
        assert!(frame[..start].iter().all(|byte| *byte == 0xee));
        frame[start..300 + payload.len()].to_vec()
    }

    /// The sum over data with its checksum in place is all ones (RFC 1071 section 1).
    fn is_valid(sum: Sum) -> bool {
        sum.checksum() == [0, 0]
    }

    #[test]
    fn an_ipv4_packet_has_lengths_dscp_and_valid_checksums() {
        for len in [0, 1, 2, 13, 160, 172] {
            let payload: Vec<u8> = (0..len).collect();
            let packet = written("192.0.2.1:40000", "198.51.100.7:5004", &[], &payload);
            assert_eq!(packet[..14], [4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 8, 0]);
            let ip = &packet[14..];
            assert_eq!(ip[1], 0xb8);
            assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), ip.len());
            assert!(is_valid(Sum::of(&ip[..20])), "IP, payload of {len}");
            let udp = &ip[20..];
            assert_eq!(usize::from(u16::from_be_bytes([udp[4], udp[5]])), udp.len());
            let pseudo = Sum::of(&ip[12..20])
                .and(Sum::word(17))
                .and(Sum::word(u16::try_from(udp.len()).unwrap()));
            assert!(is_valid(pseudo.and(Sum::of(udp))), "UDP, payload of {len}");
            assert_eq!(udp[8..], payload);
        }
    }

    #[test]
    fn an_ipv6_packet_with_two_vlan_tags_has_a_valid_checksum() {
        let packet = written(
            "[2001:db8::1]:40000",
            "[2001:db8::2]:5004",
            &[100, 7],
            &[9; 21],
        );
        assert_eq!(
            packet[12..22],
            [0x88, 0xa8, 0, 100, 0x81, 0, 0, 7, 0x86, 0xdd]
        );
        let ip = &packet[22..];
        assert_eq!(ip[..2], [0x6b, 0x80]);
        let udp = &ip[40..];
        assert_eq!(usize::from(u16::from_be_bytes([ip[4], ip[5]])), udp.len());
        let pseudo = Sum::of(&ip[8..40])
            .and(Sum::word(17))
            .and(Sum::word(u16::try_from(udp.len()).unwrap()));
        assert!(is_valid(pseudo.and(Sum::of(udp))));
    }

    #[test]
    fn one_vlan_tag_is_an_802_1q_tag() {
        let packet = written("192.0.2.1:1", "192.0.2.2:2", &[4094], &[]);
        assert_eq!(packet[12..18], [0x81, 0, 0x0f, 0xfe, 8, 0]);
    }

    #[test]
    fn no_header_is_made_across_families() {
        let header = PathHeader::new("192.0.2.1:1".parse().unwrap(), "[::1]:2".parse().unwrap());
        assert_eq!(header, None);
    }

    #[test]
    fn a_frame_without_headroom_is_refused() {
        let link = LinkHeader::new([2; 6], [4; 6], &[]);
        let path = PathHeader::new(
            "192.0.2.1:1".parse().unwrap(),
            "192.0.2.2:2".parse().unwrap(),
        );
        let mut frame = [0; 64];
        assert_eq!(
            write_headers(&mut frame, 41, 4, &link, &path.unwrap(), 0),
            None
        );
        assert_eq!(
            write_headers(&mut frame, 42, 4, &link, &path.unwrap(), 0),
            Some(0)
        );
    }
}
