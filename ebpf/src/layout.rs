// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Keys, values and sizes of the maps that `steer` shares with user space.
//!
//! | map | kind | index | value | writer |
//! |---|---|---|---|---|
//! | `NICS` | array | number of the NIC | its name, for display | user space |
//! | `RANGES` | array | [`range_index`] | [`Range`] | user space |
//! | `FLOWS` | array | [`flow_index`] | [`FlowWord`] | user space |
//! | `SOCKETS` | AF_XDP sockets | [`socket_index`] | socket | user space |
//! | `VERDICTS` | array per CPU | [`verdict_index`] | packets | `steer` |
//!
//! A flow is found by its local address and port without a hash: a NIC has so few media addresses
//! that comparing them one by one is cheapest, and behind each stand two bits for every port there
//! is. That takes a sixth of the time of a hash lookup, needs 16 KiB an address, of which the
//! ports in use stay in the first-level cache, and nobody can fill it up or make it collide. All
//! maps but `SOCKETS` are arrays, whose lookup the kernel compiles into the program.
//!
//! User space changes one entry at a time while `steer` reads, and the kernel copies entries
//! without a lock. That is harmless: a change of a [`FlowWord`] is one of a single byte, and a
//! half-written [`Range`] is for an instant a range that no packet goes to.
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

/// How many media addresses a NIC may have.
pub const RANGES_PER_NIC: u32 = 16;

/// How many words of flows a media address has: enough for all ports.
pub const WORDS_PER_RANGE: u32 = 0x1_0000 / FlowWord::PORTS;

/// How many bytes a NIC's name has in `NICS`, filled up with zeros (`IFNAMSIZ`).
pub const NIC_NAME_LEN: usize = 16;

/// The number of entries of `RANGES`.
pub const RANGES_LEN: u32 = MAX_NICS * RANGES_PER_NIC;

/// The number of entries of `FLOWS`.
pub const FLOWS_LEN: u32 = RANGES_LEN * WORDS_PER_RANGE;

/// The number of entries of `SOCKETS`.
pub const SOCKETS_LEN: u32 = MAX_NICS * QUEUES_PER_NIC;

/// The number of entries of `VERDICTS`.
pub const VERDICTS_LEN: u32 = MAX_NICS * VERDICTS_PER_NIC;

#[expect(clippy::cast_possible_truncation, reason = "there are few verdicts")]
const VERDICTS_PER_NIC: u32 = Verdict::COUNT as u32;

/// The place of a NIC's media address in `RANGES`.
#[inline(always)]
pub const fn range_index(nic: u32, place: u32) -> u32 {
    nic * RANGES_PER_NIC + place
}

/// The place in `FLOWS` of the word with a port of a media address.
#[inline(always)]
pub const fn flow_index(range: u32, port: u16) -> u32 {
    range * WORDS_PER_RANGE + port as u32 / FlowWord::PORTS
}

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
pub const fn verdict_index(nic: u32, verdict: Verdict) -> u32 {
    nic * VERDICTS_PER_NIC + verdict as u32
}

/// A local address and its media ports.
///
/// In the map it is six words: four of the address in network order (an IPv4 address as
/// `::ffff:a.b.c.d`), the IP version, and first and last port as one number. The version keeps an
/// IPv6 packet to `::ffff:a.b.c.d` apart from an IPv4 packet to `a.b.c.d`. All zeros end the list
/// of a NIC's ranges.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    address: [u32; 4],
    family: u32,
    ports: u32,
}

impl Range {
    /// Its length in words.
    pub const WORDS: usize = 6;

    /// What stands behind the last range of a NIC.
    pub const END: Self = Self {
        address: [0; 4],
        family: 0,
        ports: 0,
    };

    /// The ports from `first` to `last` of an address; none if `first` is greater.
    pub fn new(address: IpAddr, first: u16, last: u16) -> Self {
        let (family, address) = octets(address);
        let ports = u32::from(first) << 16 | u32::from(last);
        Self {
            address: words(address),
            family: family as u32,
            ports,
        }
    }

    /// The same address without a port.
    #[must_use]
    pub const fn closed(self) -> Self {
        Self {
            ports: 1 << 16,
            ..self
        }
    }

    /// Whether it is [`Self::END`].
    #[inline(always)]
    pub const fn is_end(&self) -> bool {
        self.family == 0
    }

    /// Whether a datagram goes to this address.
    #[inline(always)]
    pub fn has_address_of(&self, datagram: &Datagram) -> bool {
        self.family == datagram.family as u32 && self.address == words(datagram.address)
    }

    /// Whether it is of the same address.
    pub fn has_address(&self, address: IpAddr) -> bool {
        *self
            == Self {
                ports: self.ports,
                ..Self::new(address, 0, 0)
            }
    }

    /// Whether the port is in the range.
    #[inline(always)]
    pub const fn has_port(&self, port: u16) -> bool {
        self.first() <= port && port <= self.last()
    }

    /// How many ports it has.
    pub fn len(&self) -> u32 {
        (u32::from(self.last()) + 1).saturating_sub(u32::from(self.first()))
    }

    /// Whether it has no port.
    pub const fn is_empty(&self) -> bool {
        self.first() > self.last()
    }

    /// The range as it stands in the map.
    pub const fn to_words(self) -> [u32; Self::WORDS] {
        let [a, b, c, d] = self.address;
        [a, b, c, d, self.family, self.ports]
    }

    /// Reads it as it stands in the map.
    #[inline(always)]
    pub const fn from_words([a, b, c, d, family, ports]: [u32; Self::WORDS]) -> Self {
        Self {
            address: [a, b, c, d],
            family,
            ports,
        }
    }

    #[inline(always)]
    const fn first(&self) -> u16 {
        (self.ports >> 16) as u16
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half of 32 bits")]
    #[inline(always)]
    const fn last(&self) -> u16 {
        self.ports as u16
    }
}

/// What `steer` has to know about the flow that has a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum PortState {
    /// There is none.
    Unknown = 0,
    /// RTP and RTCP are let through.
    Flow = 1,
    /// So they are, and STUN and DTLS go up to the kernel's socket, if there is one, instead of being
    /// dropped.
    KernelDemux = 3,
}

/// The states of 32 ports, two bits each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FlowWord(pub u64);

impl FlowWord {
    /// How many ports it has.
    pub const PORTS: u32 = 32;

    /// The state of a port.
    #[inline(always)]
    pub const fn state(self, port: u16) -> PortState {
        match self.0 >> Self::shift(port) & 3 {
            0 | 2 => PortState::Unknown,
            1 => PortState::Flow,
            _ => PortState::KernelDemux,
        }
    }

    /// The word with another state of a port.
    #[must_use]
    pub const fn with(self, port: u16, state: PortState) -> Self {
        let others = self.0 & !(3 << Self::shift(port));
        Self(others | (state as u64) << Self::shift(port))
    }

    /// How many of the ports have a flow.
    pub const fn count(self) -> u32 {
        (self.0 & 0x5555_5555_5555_5555).count_ones()
    }

    #[inline(always)]
    const fn shift(port: u16) -> u32 {
        port as u32 % Self::PORTS * 2
    }
}

/// The local address and port of a flow on one NIC: the key of user space's own tables.
///
/// Bytes: NIC, IP version (4 or 6), port (2), address (16; an IPv4 address as `::ffff:a.b.c.d`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub struct FlowKey([u8; 20]);

impl FlowKey {
    /// The key of a local address and port.
    pub fn new(nic: u8, local: SocketAddr) -> Self {
        let (family, address) = octets(local.ip());
        Self::join(nic, family, local.port().to_be_bytes(), address)
    }

    /// The key of a datagram's destination.
    #[inline]
    pub fn of(nic: u8, datagram: &Datagram) -> Self {
        Self::join(nic, datagram.family, datagram.port, datagram.address)
    }

    #[inline]
    fn join(nic: u8, family: Family, port: [u8; 2], address: [u8; 16]) -> Self {
        let mut key = [0; 20];
        key[0] = nic;
        key[1] = family as u8;
        key[2..4].copy_from_slice(&port);
        key[4..].copy_from_slice(&address);
        Self(key)
    }
}

/// An IPv4-mapped IPv6 address is the IPv4 address to us: no packet carries the mapped one.
fn octets(address: IpAddr) -> (Family, [u8; 16]) {
    match address.to_canonical() {
        IpAddr::V4(address) => (Family::V4, address.to_ipv6_mapped().octets()),
        IpAddr::V6(address) => (Family::V6, address.octets()),
    }
}

/// An address as words, whose order in memory stays that of the network: they are compared faster
/// than bytes.
#[inline(always)]
pub fn words(octets: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(octets.as_chunks().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];

    fn datagram(family: Family, address: [u8; 16]) -> Datagram {
        Datagram {
            family,
            address,
            port: [0x9c, 0x40],
            payload: 42,
        }
    }

    #[test]
    fn a_packet_finds_its_flow_and_range() {
        for (local, packet) in [
            ("192.0.2.1:40000", datagram(Family::V4, MAPPED)),
            ("[::ffff:192.0.2.1]:40000", datagram(Family::V4, MAPPED)),
            (
                "[202:202:202:202:202:202:202:202]:40000",
                datagram(Family::V6, [2; 16]),
            ),
        ] {
            let local: SocketAddr = local.parse().unwrap();
            assert_eq!(FlowKey::new(3, local), FlowKey::of(3, &packet), "{local}");
            let range = Range::new(local.ip(), 40_000, 49_999);
            assert!(
                range.has_address_of(&packet) && range.has_address(local.ip()),
                "{local}"
            );
        }
    }

    #[test]
    fn an_ipv6_packet_to_a_mapped_address_is_not_an_ipv4_packet() {
        let local: SocketAddr = "192.0.2.1:40000".parse().unwrap();
        let packet = datagram(Family::V6, MAPPED);
        assert_ne!(FlowKey::new(0, local), FlowKey::of(0, &packet));
        assert!(!Range::new(local.ip(), 40_000, 49_999).has_address_of(&packet));
    }

    #[test]
    fn a_range_has_its_ends() {
        let range = Range::new(IpAddr::from([192, 0, 2, 1]), 40_000, 49_999);
        for (port, inside) in [
            (39_999, false),
            (40_000, true),
            (49_999, true),
            (50_000, false),
        ] {
            assert_eq!(range.has_port(port), inside, "{port}");
        }
        assert_eq!(
            (range.len(), range.is_empty(), range.is_end()),
            (10_000, false, false)
        );
        let all = Range::new(IpAddr::from([192, 0, 2, 1]), 0, u16::MAX);
        assert_eq!(all.len(), 0x1_0000);
        assert_eq!((all.closed().len(), all.closed().is_empty()), (0, true));
        assert!((0..=u16::MAX).all(|port| !all.closed().has_port(port)));
        assert!(Range::END.is_end());
    }

    #[test]
    fn every_port_of_every_range_has_a_place() {
        let last = range_index(MAX_NICS - 1, RANGES_PER_NIC - 1);
        assert_eq!(last, RANGES_LEN - 1);
        assert_eq!(flow_index(last, u16::MAX), FLOWS_LEN - 1);
        assert_eq!(flow_index(1, 0), WORDS_PER_RANGE);
    }

    #[test]
    fn only_existing_queues_have_a_socket() {
        assert_eq!(socket_index(1, 2), Some(QUEUES_PER_NIC + 2));
        assert_eq!(socket_index(0, QUEUES_PER_NIC), None);
        assert_eq!(socket_index(MAX_NICS, 0), None);
    }

    proptest! {
        #[test]
        fn a_port_changes_alone(word: u64, port: u16, other: u16) {
            for state in [PortState::Unknown, PortState::Flow, PortState::KernelDemux] {
                let changed = FlowWord(word).with(port, state);
                prop_assert_eq!(changed.state(port), state);
                if other % 32 != port % 32 {
                    prop_assert_eq!(changed.state(other), FlowWord(word).state(other));
                }
                prop_assert!((changed.0 ^ word).to_le_bytes().iter().filter(|b| **b != 0).count() <= 1);
            }
        }

        #[test]
        fn a_range_survives_the_map(address: [u8; 16], first: u16, last: u16) {
            let range = Range::new(IpAddr::from(address), first, last);
            prop_assert_eq!(Range::from_words(range.to_words()), range);
        }
    }
}
