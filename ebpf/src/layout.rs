// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Keys, values and sizes of the maps that `steer` shares with user space.
//!
//! Everything is a byte array in network order: no padding to initialise, no byte order to forget,
//! and user space needs no unsafe code to hand it to the kernel. Both hash keys have a length
//! that is a multiple of four, for which the kernel's hash (`jhash2`) is fastest.
//!
//! | map | kind | key | value | writer |
//! |---|---|---|---|---|
//! | `NICS` | array | number of the NIC | its name, for display | user space |
//! | `RANGES` | hash | [`RangeKey`] | [`RangeValue`] | user space |
//! | `FLOWS` | hash | [`FlowKey`] | [`FlowValue`] | user space |
//! | `SOCKETS` | AF_XDP sockets | [`socket_index`] | socket | user space |
//! | `VERDICTS` | array per CPU | [`verdict_index`] | packets | `steer` |
//!
//! A change here is a change of the layout's version, which is the name of the folder that the
//! maps are pinned in: see [`VERSION`].

use core::net::{IpAddr, SocketAddr};

use crate::{Datagram, Family, Verdict};

/// The version of this layout, and the name of the folder in which the maps are pinned.
pub const VERSION: &str = "v1";

/// How many NICs may share the maps.
pub const MAX_NICS: u32 = 16;

/// How many receive queues of a NIC may have a socket: queues 0 to 63.
pub const QUEUES_PER_NIC: u32 = 64;

/// How many media addresses there may be on all NICs.
pub const MAX_RANGES: u32 = 256;

/// How many bytes a NIC's name has in `NICS`, filled up with zeros (`IFNAMSIZ`).
pub const NIC_NAME_LEN: usize = 16;

/// The place of a queue's socket in `SOCKETS`; `None` for a queue that cannot have one.
#[inline(always)]
pub const fn socket_index(nic: u32, queue: u32) -> Option<u32> {
    if nic < MAX_NICS && queue < QUEUES_PER_NIC {
        Some(nic * QUEUES_PER_NIC + queue)
    } else {
        None
    }
}

/// The place of a NIC's verdict in `VERDICTS`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "there are few verdicts")]
pub const fn verdict_index(nic: u32, verdict: Verdict) -> u32 {
    nic * Verdict::COUNT as u32 + verdict as u32
}

/// The local address and port of a flow on one NIC.
///
/// Bytes: NIC, IP version (4 or 6), port (2), address (16; an IPv4 address as `::ffff:a.b.c.d`).
/// The version keeps an IPv6 packet to `::ffff:a.b.c.d` apart from an IPv4 packet to `a.b.c.d`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub struct FlowKey([u8; Self::LEN]);

impl FlowKey {
    /// Its length in bytes.
    pub const LEN: usize = 20;

    /// The key of a local address and port.
    pub fn new(nic: u8, local: SocketAddr) -> Self {
        let (family, address) = octets(local.ip());
        Self(join(nic, family, local.port().to_be_bytes(), address))
    }

    /// The key of a datagram's destination.
    #[inline(always)]
    pub fn of(nic: u8, datagram: &Datagram) -> Self {
        Self(join(nic, datagram.family, datagram.port, datagram.address))
    }

    /// The key as it stands in the map.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        self.0
    }
}

/// What `steer` has to know about a flow: flags.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FlowValue(u32);

impl FlowValue {
    /// Its length in bytes.
    pub const LEN: usize = 4;

    /// STUN and DTLS packets of the flow go up to the kernel instead of being dropped.
    pub const KERNEL_DEMUX: Self = Self(1);

    /// Whether all of `flags` are set.
    #[inline(always)]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// The value as it stands in the map.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        self.0.to_be_bytes()
    }

    /// Reads it as it stands in the map.
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }
}

/// A media address on one NIC.
///
/// Bytes: as a [`FlowKey`] with port 0.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub struct RangeKey([u8; Self::LEN]);

impl RangeKey {
    /// Its length in bytes.
    pub const LEN: usize = FlowKey::LEN;

    /// The key of a local address.
    pub fn new(nic: u8, address: IpAddr) -> Self {
        let (family, address) = octets(address);
        Self(join(nic, family, [0; 2], address))
    }

    /// The key of a datagram's destination.
    #[inline(always)]
    pub fn of(nic: u8, datagram: &Datagram) -> Self {
        Self(join(nic, datagram.family, [0; 2], datagram.address))
    }

    /// The key as it stands in the map.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        self.0
    }
}

/// The media ports of an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RangeValue {
    /// The first port.
    pub first: u16,
    /// The last port; it belongs to the range.
    pub last: u16,
}

impl RangeValue {
    /// Its length in bytes.
    pub const LEN: usize = 4;

    /// Whether the port, in network order, is in the range.
    #[inline(always)]
    pub const fn contains(self, port: [u8; 2]) -> bool {
        let port = u16::from_be_bytes(port);
        self.first <= port && port <= self.last
    }

    /// The value as it stands in the map.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        let ([a, b], [c, d]) = (self.first.to_be_bytes(), self.last.to_be_bytes());
        [a, b, c, d]
    }

    /// Reads it as it stands in the map.
    #[inline(always)]
    pub const fn from_bytes([a, b, c, d]: [u8; Self::LEN]) -> Self {
        Self {
            first: u16::from_be_bytes([a, b]),
            last: u16::from_be_bytes([c, d]),
        }
    }
}

/// An IPv4-mapped IPv6 address is the IPv4 address to us: no packet carries the mapped one.
fn octets(address: IpAddr) -> (Family, [u8; 16]) {
    match address.to_canonical() {
        IpAddr::V4(address) => (Family::V4, address.to_ipv6_mapped().octets()),
        IpAddr::V6(address) => (Family::V6, address.octets()),
    }
}

#[inline(always)]
fn join(nic: u8, family: Family, port: [u8; 2], address: [u8; 16]) -> [u8; FlowKey::LEN] {
    let mut key = [0; FlowKey::LEN];
    key[0] = nic;
    key[1] = family as u8;
    key[2..4].copy_from_slice(&port);
    key[4..].copy_from_slice(&address);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(family: Family, address: [u8; 16]) -> Datagram {
        Datagram {
            family,
            address,
            port: [0x9c, 0x40],
            payload: 42,
        }
    }

    #[test]
    fn a_packet_and_its_flow_have_the_same_key() {
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
        for (local, packet) in [
            ("192.0.2.1:40000", datagram(Family::V4, mapped)),
            ("[::ffff:192.0.2.1]:40000", datagram(Family::V4, mapped)),
            (
                "[202:202:202:202:202:202:202:202]:40000",
                datagram(Family::V6, [2; 16]),
            ),
        ] {
            let local: SocketAddr = local.parse().unwrap();
            assert_eq!(FlowKey::new(3, local), FlowKey::of(3, &packet), "{local}");
            assert_eq!(
                RangeKey::new(3, local.ip()),
                RangeKey::of(3, &packet),
                "{local}"
            );
        }
    }

    #[test]
    fn an_ipv6_packet_to_a_mapped_address_is_not_an_ipv4_packet() {
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
        let local = "192.0.2.1:40000".parse().unwrap();
        assert_ne!(
            FlowKey::new(0, local),
            FlowKey::of(0, &datagram(Family::V6, mapped))
        );
    }

    #[test]
    fn values_survive_the_map() {
        let range = RangeValue {
            first: 40_000,
            last: 49_999,
        };
        assert_eq!(RangeValue::from_bytes(range.to_bytes()), range);
        for flags in [FlowValue::default(), FlowValue::KERNEL_DEMUX] {
            assert_eq!(FlowValue::from_bytes(flags.to_bytes()), flags);
        }
    }

    #[test]
    fn a_range_has_its_ends() {
        let range = RangeValue {
            first: 40_000,
            last: 49_999,
        };
        for (port, inside) in [
            (39_999_u16, false),
            (40_000, true),
            (49_999, true),
            (50_000, false),
        ] {
            assert_eq!(range.contains(port.to_be_bytes()), inside, "{port}");
        }
    }

    #[test]
    fn only_existing_queues_have_a_socket() {
        assert_eq!(socket_index(1, 2), Some(QUEUES_PER_NIC + 2));
        assert_eq!(socket_index(0, QUEUES_PER_NIC), None);
        assert_eq!(socket_index(MAX_NICS, 0), None);
    }
}
