// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Next hops, as the kernel resolves them.
//!
//! For every peer that packets go to, the kernel is asked for the route (`RTM_GETROUTE`), which
//! gives the next hop, and for the next hop's Ethernet address, which the neighbour table has or
//! gets: `RTM_NEWNEIGH` with `NTF_USE` makes the kernel resolve it as if it had a packet to send
//! itself. Changes of both are followed live. Because the kernel sees none of our packets, it
//! would let entries grow stale and drop them; so each is touched again from time to time, which
//! makes the kernel probe it.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::stream::StreamExt;
use hashbrown::{HashMap, HashSet};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteType, RouteVia,
};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};
use sallyport_flow::Realm;
use slab::Slab;
use tracing::debug;

use crate::error::DataPlaneError;
use crate::header::LinkHeader;
use crate::nic::Nic;

/// How often entries are touched, and everything is read again in case a notification was lost.
/// Below the kernel's shortest default life of a stale entry (`gc_stale_time`, 60 s, arp(7)).
pub const TOUCH_INTERVAL: Duration = Duration::from_secs(15);

/// How long changes of routes are gathered before they are acted on: a routing daemon makes
/// thousands at once.
pub const SETTLE_INTERVAL: Duration = Duration::from_millis(100);

/// The number of a next hop in the workers' tables. Small, and used again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct HopId(u32);

impl HopId {
    /// Its place in a table.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// A next hop for tests and benchmarks, which have no kernel to ask.
    pub const fn first() -> Self {
        Self(0)
    }

    /// A next hop that nobody resolves.
    #[cfg(test)]
    pub(crate) const fn unresolved() -> Self {
        Self(1)
    }
}

/// How packets leave a realm.
#[derive(Clone, Debug)]
pub struct Exit {
    /// The kernel's interface that has the realm's addresses.
    pub interface: Nic,
    /// The VLAN tags to write.
    pub vlan: Vec<u16>,
    /// The realm's local media addresses: what goes there does not leave.
    pub own: Vec<IpAddr>,
}

/// A next hop whose Ethernet header is new, or no longer known.
pub type Change = (HopId, Option<LinkHeader>);

/// The next hops in use.
pub struct NextHops {
    handle: Handle,
    exits: HashMap<Realm, Exit>,
    hops: Slab<Hop>,
    by_peer: HashMap<(Realm, IpAddr), HopId>,
    neighbours: HashMap<(u32, IpAddr), [u8; 6]>,
    /// Whether routes have changed since they were last asked for.
    is_stale: bool,
}

/// One peer that packets go to.
struct Hop {
    realm: Realm,
    peer: IpAddr,
    users: usize,
    /// The router towards the peer, or the peer itself; `None` while there is no route.
    via: Option<IpAddr>,
    header: Option<LinkHeader>,
}

/// What the kernel tells about its tables.
pub type Notifications = futures_util::stream::BoxStream<'static, RouteNetlinkMessage>;

/// Opens a netlink socket and subscribes to links, addresses, routes and neighbours.
///
/// # Errors
/// [`DataPlaneError::Netlink`].
pub fn connect() -> Result<(Handle, Notifications), DataPlaneError> {
    let (connection, handle, messages) = rtnetlink::new_multicast_connection(&[
        MulticastGroup::Link,
        MulticastGroup::Neigh,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ])
    .map_err(|error| DataPlaneError::Netlink(error.to_string()))?;
    tokio::spawn(connection);
    let messages = messages.filter_map(|(message, _): (NetlinkMessage<_>, _)| async move {
        match message.payload {
            NetlinkPayload::InnerMessage(message) => Some(message),
            _ => None,
        }
    });
    Ok((handle, messages.boxed()))
}

impl NextHops {
    /// No next hops yet; the neighbour table is read.
    ///
    /// # Errors
    /// [`DataPlaneError::Netlink`].
    pub async fn new(handle: Handle, exits: HashMap<Realm, Exit>) -> Result<Self, DataPlaneError> {
        let mut hops = Self {
            handle,
            exits,
            hops: Slab::new(),
            by_peer: HashMap::new(),
            neighbours: HashMap::new(),
            is_stale: false,
        };
        hops.read_neighbours().await?;
        Ok(hops)
    }

    /// The next hop towards a peer, for one more user. A new one is resolved as far as the kernel
    /// can at once, and its header is given.
    pub async fn acquire(&mut self, realm: Realm, peer: IpAddr) -> (HopId, Option<Change>) {
        if let Some(id) = self.by_peer.get(&(realm, peer)).copied()
            && let Some(hop) = self.hops.get_mut(id.index())
        {
            hop.users += 1;
            return (id, None);
        }
        let index = self.hops.insert(Hop {
            realm,
            peer,
            users: 1,
            via: None,
            header: None,
        });
        // Peers are bounded by flows, of which there are less than 2^32.
        let id = HopId(u32::try_from(index).unwrap_or(u32::MAX));
        self.by_peer.insert((realm, peer), id);
        self.resolve(id).await;
        let header = self.hops.get(index).and_then(|hop| hop.header);
        (id, Some((id, header)))
    }

    /// One user less. The last one ends it.
    pub fn release(&mut self, id: HopId) {
        let Some(hop) = self.hops.get_mut(id.index()) else {
            return;
        };
        hop.users -= 1;
        if hop.users == 0 {
            let hop = self.hops.remove(id.index());
            self.by_peer.remove(&(hop.realm, hop.peer));
        }
    }

    /// Takes in what the kernel told. Returns what changed for the workers.
    pub async fn follow(&mut self, message: RouteNetlinkMessage) -> Vec<Change> {
        match message {
            RouteNetlinkMessage::NewNeighbour(neighbour) => self.learn(&neighbour),
            RouteNetlinkMessage::DelNeighbour(neighbour) => {
                // The kernel tidied up one that we use. That does not make it wrong: media go on
                // while the kernel looks again, and if that fails it says so.
                if let Some((address, _)) = read_neighbour(&neighbour) {
                    for id in self.hops_via(address) {
                        self.touch(id).await;
                    }
                }
                Vec::new()
            }
            RouteNetlinkMessage::NewLink(link) => {
                let Some(nic) = Nic::from_message(&link) else {
                    return Vec::new();
                };
                for exit in self.exits.values_mut() {
                    if exit.interface.index == nic.index {
                        self.is_stale |= exit.interface != nic;
                        exit.interface = nic.clone();
                    }
                }
                Vec::new()
            }
            RouteNetlinkMessage::NewRoute(_)
            | RouteNetlinkMessage::DelRoute(_)
            | RouteNetlinkMessage::NewAddress(_)
            | RouteNetlinkMessage::DelAddress(_)
            | RouteNetlinkMessage::DelLink(_) => {
                debug!("routes have changed");
                self.is_stale = true;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Whether routes have changed, and [`Self::settle`] has something to do.
    pub const fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Finds all ways again after routes have changed. Returns what changed for the workers.
    pub async fn settle(&mut self) -> Vec<Change> {
        self.is_stale = false;
        self.resolve_all().await
    }

    /// Reads everything again and makes the kernel probe what is in use.
    pub async fn refresh(&mut self) -> Vec<Change> {
        // A failure here is one of the netlink socket; the next interval tries again.
        let _ = self.read_neighbours().await;
        let changes = self.resolve_all().await;
        let ids: Vec<HopId> = self.by_peer.values().copied().collect();
        for id in ids {
            self.touch(id).await;
        }
        changes
    }

    /// Finds route and neighbour of every next hop again.
    async fn resolve_all(&mut self) -> Vec<Change> {
        let ids: Vec<HopId> = self.by_peer.values().copied().collect();
        let mut changes = Vec::new();
        for id in ids {
            if self.resolve(id).await
                && let Some(hop) = self.hops.get(id.index())
            {
                changes.push((id, hop.header));
            }
        }
        changes
    }

    /// Finds route and neighbour of one next hop. Returns whether its header changed.
    async fn resolve(&mut self, id: HopId) -> bool {
        let Some(hop) = self.hops.get(id.index()) else {
            return false;
        };
        let (realm, peer) = (hop.realm, hop.peer);
        let Some(exit) = self.exits.get(&realm) else {
            return false;
        };
        // The kernel knows no way out of a NIC to its own address.
        let (via, header) = if exit.own.contains(&peer) {
            (None, Some(LinkHeader::back(exit.interface.address)))
        } else {
            let via = next_hop(&self.handle, exit.interface.index, peer).await;
            (via, via.and_then(|via| self.header(realm, via)))
        };
        let Some(hop) = self.hops.get_mut(id.index()) else {
            return false;
        };
        let changed = hop.header != header;
        if changed || hop.via != via {
            debug!(%realm, %peer, ?via, is_resolved = header.is_some(), "next hop");
        }
        (hop.via, hop.header) = (via, header);
        if header.is_none() {
            self.touch(id).await;
        }
        changed
    }

    /// The Ethernet header towards a neighbour, if its address is known.
    fn header(&self, realm: Realm, neighbour: IpAddr) -> Option<LinkHeader> {
        let exit = self.exits.get(&realm)?;
        let address = self.neighbours.get(&(exit.interface.index, neighbour))?;
        Some(LinkHeader::new(
            exit.interface.address,
            *address,
            &exit.vlan,
        ))
    }

    /// Takes in one entry of the neighbour table.
    fn learn(&mut self, message: &NeighbourMessage) -> Vec<Change> {
        let Some((address, link_address)) = read_neighbour(message) else {
            return Vec::new();
        };
        let key = (message.header.ifindex, address);
        match link_address {
            Some(link_address) => self.neighbours.insert(key, link_address),
            None => self.neighbours.remove(&key),
        };
        let mut changes = Vec::new();
        for id in self.hops_via(address) {
            let Some(hop) = self.hops.get(id.index()) else {
                continue;
            };
            let header = self.header(hop.realm, address);
            if let Some(hop) = self.hops.get_mut(id.index())
                && hop.header != header
            {
                debug!(neighbour = %address, is_resolved = header.is_some(), "neighbour");
                hop.header = header;
                changes.push((id, header));
            }
        }
        changes
    }

    /// The next hops that are this neighbour.
    fn hops_via(&self, neighbour: IpAddr) -> Vec<HopId> {
        let is_via = |id: &HopId| {
            self.hops
                .get(id.index())
                .is_some_and(|hop| hop.via == Some(neighbour))
        };
        self.by_peer.values().copied().filter(is_via).collect()
    }

    /// Reads the whole neighbour table.
    async fn read_neighbours(&mut self) -> Result<(), DataPlaneError> {
        let netlink = |error: rtnetlink::Error| DataPlaneError::Netlink(error.to_string());
        let interfaces: HashSet<u32> = self
            .exits
            .values()
            .map(|exit| exit.interface.index)
            .collect();
        self.neighbours.clear();
        let mut entries = self.handle.neighbours().get().execute();
        while let Some(message) = entries.try_next().await.map_err(netlink)? {
            if let Some((address, Some(link_address))) = read_neighbour(&message)
                && interfaces.contains(&message.header.ifindex)
            {
                self.neighbours
                    .insert((message.header.ifindex, address), link_address);
            }
        }
        Ok(())
    }

    /// Makes the kernel resolve or probe the neighbour of a next hop.
    async fn touch(&self, id: HopId) {
        let Some(hop) = self.hops.get(id.index()) else {
            return;
        };
        let (Some(exit), Some(via)) = (self.exits.get(&hop.realm), hop.via) else {
            return;
        };
        // A refusal means that it needs no probing (a permanent entry) or cannot have any (the
        // interface is down); either way the notifications tell what follows.
        let _ = self
            .handle
            .neighbours()
            .add(exit.interface.index, via)
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace()
            .execute()
            .await;
    }
}

/// The router towards a peer, or the peer itself; `None` without a route, and where it would lead to
/// everybody on a link, or to a group.
async fn next_hop(handle: &Handle, interface: u32, peer: IpAddr) -> Option<IpAddr> {
    let mut message = match peer {
        IpAddr::V4(peer) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix(peer, 32)
            .output_interface(interface)
            .build(),
        IpAddr::V6(peer) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .destination_prefix(peer, 128)
            .output_interface(interface)
            .build(),
    };
    // Without this flag the kernel says that every route is of the main table.
    message.header.flags |= RouteFlags::LookupTable;
    let route = handle
        .route()
        .get(message)
        .execute()
        .try_next()
        .await
        .ok()??;
    // Told an interface and finding no route, the kernel takes any IPv4 address to be on the link
    // (`ip_route_output_key_hash_rcu` in net/ipv4/route.c); such a route is of no table.
    let is_real = route.header.table != RouteHeader::RT_TABLE_UNSPEC
        && route.header.kind == RouteType::Unicast
        && route.attributes.contains(&RouteAttribute::Oif(interface));
    is_real.then(|| gateway(&route).unwrap_or(peer))
}

/// The router that a route names, if it names one.
fn gateway(route: &RouteMessage) -> Option<IpAddr> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(address))
            | RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::V4(*address)),
            RouteAttribute::Gateway(RouteAddress::Inet6(address))
            | RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
            _ => None,
        })
}

/// Whose neighbour entry it is, and its Ethernet address if that can be used.
fn read_neighbour(message: &NeighbourMessage) -> Option<(IpAddr, Option<[u8; 6]>)> {
    let (mut address, mut link_address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => {
                address = Some(IpAddr::V4(*found));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => {
                address = Some(IpAddr::V6(*found));
            }
            NeighbourAttribute::LinkLayerAddress(found) => {
                link_address = <[u8; 6]>::try_from(found.as_slice()).ok();
            }
            _ => {}
        }
    }
    let is_valid = matches!(
        message.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    );
    Some((address?, link_address.filter(|_| is_valid)))
}
