// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The audio of calls on both links, and the keys that a UE and the gateway told each other.

use std::collections::HashSet;
use std::net::IpAddr;

use sallyport_tests::media::{PCMA, RTP_HEADER_LEN};
use sallyport_tests::{Family, Topology};

use super::capture::{Capture, Datagram, Recording};
use super::{Key, Suite};

/// The first UE.
pub(crate) const UE: IpAddr = Topology::ue_address(Family::V4);

/// Recordings of both links, on the side of the peers.
pub(crate) struct Wires {
    access: Capture,
    core: Capture,
}

/// What was on both links.
pub(crate) struct Recorded {
    access: Recording,
    core: Recording,
}

/// Who sent a packet first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    FromAccess,
    FromCore,
}

impl Wires {
    pub(crate) fn record(topology: &Topology) -> Self {
        let media = "udp and not port 5060";
        Self {
            access: Capture::start(&topology.ue, media),
            core: Capture::start(&topology.core, media),
        }
    }

    pub(crate) fn stop(self) -> Recorded {
        Recorded {
            access: self.access.stop(),
            core: self.core.stop(),
        }
    }
}

impl Recorded {
    /// The packets with audio on the access link, in one direction.
    pub(crate) fn on_access(&self, way: Way) -> impl Iterator<Item = Datagram<'_>> {
        self.of_ue(UE, way)
    }

    /// The packets with audio on the access link from or to one UE.
    pub(crate) fn of_ue(&self, ue: IpAddr, way: Way) -> impl Iterator<Item = Datagram<'_>> {
        audio(&self.access).filter(move |datagram| match way {
            Way::FromAccess => datagram.source.ip() == ue,
            Way::FromCore => datagram.destination.ip() == ue,
        })
    }

    /// The packets with audio on the core link, in one direction.
    pub(crate) fn on_core(&self, way: Way) -> impl Iterator<Item = Datagram<'_>> {
        let core = Topology::core_address(Family::V4);
        audio(&self.core).filter(move |datagram| match way {
            Way::FromAccess => datagram.destination.ip() == core,
            Way::FromCore => datagram.source.ip() == core,
        })
    }
}

/// RTP of PCMA, protected or not.
fn audio(recording: &Recording) -> impl Iterator<Item = Datagram<'_>> {
    let datagrams = recording.datagrams();
    datagrams.filter(|datagram| {
        datagram.payload.len() > RTP_HEADER_LEN && datagram.payload[1] & 0x7f == PCMA
    })
}

/// The suite that was agreed on, and the only key under it of each side, the UE's first, as baresip
/// logs them.
pub(crate) fn keys_in(log: &str, ue: IpAddr) -> (Suite, [Key; 2]) {
    let sides = [ue, Topology::access_address(Family::V4)];
    let mut said = [HashSet::new(), HashSet::new()];
    let mut side = None;
    for line in log.lines() {
        if let Some(route) = line.strip_prefix("UDP ") {
            side = sides
                .iter()
                .position(|ip| route.starts_with(&format!("{ip}:")));
        }
        if let (Some(side), Some(attribute)) = (side, line.strip_prefix("a=crypto:")) {
            said[side].insert(attribute.trim_end());
        }
    }
    let is_known = |suite: &Suite| {
        said[0]
            .iter()
            .any(|attribute| attribute.contains(suite.name))
    };
    let suite = Suite::ALL
        .into_iter()
        .find(is_known)
        .expect("the UE said a key");
    let keys = said.map(|attributes| {
        let mut of_suite = attributes
            .iter()
            .filter(|attribute| attribute.contains(suite.name));
        let key = of_suite.next().unwrap_or_else(|| panic!("no key in {log}"));
        assert_eq!(of_suite.next(), None, "another key in {log}");
        Key::of_attribute(key)
    });
    (suite, keys)
}
