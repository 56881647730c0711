// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Three hosts in a row: the user equipment, the gateway, and the core network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netns::Namespace;

/// IP version.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Family {
    /// IP version 4.
    V4,
    /// IP version 6.
    V6,
}

impl Family {
    /// Both, for table-driven tests.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

/// How the three hosts are connected.
#[derive(Clone, Copy, Debug)]
pub struct TopologyOptions {
    /// Receive and transmit queues of each veth; 1 by default.
    pub queues: u32,
    /// Whether the peers leave UDP checksums to a NIC that is not there, as containers and virtual
    /// machines do: what arrives then has an unfinished checksum. True by default.
    pub checksum_offload: bool,
    /// Largest IP packet on both links; 1500 by default.
    pub mtu: u32,
}

impl Default for TopologyOptions {
    fn default() -> Self {
        Self {
            queues: 1,
            checksum_offload: true,
            mtu: 1500,
        }
    }
}

/// The user equipment, the gateway and the core network, each in a namespace of its own, with a
/// veth link between neighbours and IPv4 and IPv6 on both.
#[derive(Debug)]
pub struct Topology {
    /// The user equipment; its NIC is [`Self::PEER_NIC`].
    pub ue: Namespace,
    /// The gateway; its NICs are [`Self::ACCESS_NIC`] and [`Self::CORE_NIC`].
    pub gateway: Namespace,
    /// The core network; its NIC is [`Self::PEER_NIC`].
    pub core: Namespace,
}

impl Topology {
    /// The gateway's NIC on the side of the user equipment.
    pub const ACCESS_NIC: &str = "access0";
    /// The gateway's NIC on the side of the core network.
    pub const CORE_NIC: &str = "core0";
    /// The only NIC of the user equipment, and of the core network.
    pub const PEER_NIC: &str = "eth0";

    /// One queue, MTU 1500, checksum offload on.
    pub fn new() -> Self {
        Self::with(TopologyOptions::default())
    }

    /// Creates namespaces, links and addresses. They are usable at once.
    ///
    /// # Panics
    ///
    /// If `ip` or `ethtool` fail, with their message.
    pub fn with(options: TopologyOptions) -> Self {
        let topology = Self {
            ue: Namespace::new("ue"),
            gateway: Namespace::new("gateway"),
            core: Namespace::new("core"),
        };
        topology.connect(Self::ACCESS_NIC, &topology.ue, options);
        topology.connect(Self::CORE_NIC, &topology.core, options);
        for family in Family::BOTH {
            let addresses = [
                (&topology.ue, Self::PEER_NIC, Self::ue_address(family)),
                (
                    &topology.gateway,
                    Self::ACCESS_NIC,
                    Self::access_address(family),
                ),
                (
                    &topology.gateway,
                    Self::CORE_NIC,
                    Self::core_side_address(family),
                ),
                (&topology.core, Self::PEER_NIC, Self::core_address(family)),
            ];
            for (namespace, nic, address) in addresses {
                let length = if address.is_ipv4() { 24 } else { 64 };
                namespace.ip(&format!("address add {address}/{length} dev {nic}"));
            }
        }
        topology
    }

    /// One more host on the link of the user equipment, with an IPv4 address there. What it sends and
    /// gets is seen on the NIC of the user equipment.
    pub fn neighbour_of_ue(&self, address: IpAddr) -> Namespace {
        let host = Namespace::new("neighbour");
        let (nic, name) = (Self::PEER_NIC, host.name());
        let link = format!("link {nic} name neighbour type macvlan mode bridge");
        self.ue.ip(&format!("link add {link}"));
        self.ue.ip(&format!("link set neighbour netns {name}"));
        host.ip(&format!("link set neighbour name {nic}"));
        host.ip(&format!("address add {address}/24 dev {nic}"));
        host.ip(&format!("link set {nic} up"));
        host
    }

    /// The user equipment.
    pub const fn ue_address(family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2)),
        }
    }

    /// The gateway, towards the user equipment.
    pub const fn access_address(family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)),
        }
    }

    /// The gateway, towards the core network.
    pub const fn core_side_address(family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1)),
        }
    }

    /// The core network.
    pub const fn core_address(family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2)),
        }
    }

    /// Puts a veth between a NIC of the gateway and the NIC of a peer.
    fn connect(&self, nic: &str, peer: &Namespace, options: TopologyOptions) {
        let TopologyOptions {
            queues,
            checksum_offload,
            mtu,
        } = options;
        let end = format!("mtu {mtu} numtxqueues {queues} numrxqueues {queues}");
        let (peer_nic, peer_namespace) = (Self::PEER_NIC, peer.name());
        self.gateway.ip(&format!(
            "link add {nic} {end} type veth peer name {peer_nic} {end} netns {peer_namespace}"
        ));
        if !checksum_offload {
            peer.ethtool(&format!("--offload {peer_nic} tx off"));
        }
        peer.ip(&format!("link set {peer_nic} up"));
        self.gateway.ip(&format!("link set {nic} up"));
    }
}

impl Default for Topology {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::media;
    use crate::require;

    #[test]
    fn neighbours_reach_each_other_at_once_in_both_families() {
        if !require::root_and_namespaces() {
            return;
        }
        let topology = Topology::with(TopologyOptions {
            queues: 2,
            checksum_offload: false,
            ..TopologyOptions::default()
        });
        for family in Family::BOTH {
            let links = [
                (
                    &topology.ue,
                    Topology::ue_address(family),
                    Topology::access_address(family),
                ),
                (
                    &topology.core,
                    Topology::core_address(family),
                    Topology::core_side_address(family),
                ),
            ];
            for (peer, peer_address, gateway_address) in links {
                let here = peer.udp((peer_address, 40_000));
                let there = topology.gateway.udp((gateway_address, 40_000));
                here.send_to(b"hello", SocketAddr::from((gateway_address, 40_000)))
                    .unwrap();
                assert_eq!(
                    media::receive(&there).as_deref(),
                    Some(&b"hello"[..]),
                    "{family:?}"
                );
            }
        }
    }
}
