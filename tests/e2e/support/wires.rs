// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The audio of calls on both links, and the keys that a UE and the gateway told each other.

use std::collections::HashSet;
use std::net::IpAddr;

use sallyport_tests::media::{PCMA, RTP_HEADER_LEN};
use sallyport_tests::patience::wait_until;
use sallyport_tests::{Family, Topology};

use super::audio::FRAMES_PER_SECOND;
use super::capture::{Capture, Datagram, datagrams};
use super::{Key, Suite};

/// The first UE.
pub(crate) const UE: IpAddr = Topology::ue_address(Family::V4);

/// Recordings of both links, on the side of the peers.
pub(crate) struct Wires {
    access: Capture,
    core: Capture,
}

/// What was on both links: frames.
pub(crate) struct Recorded {
    access: Vec<Vec<u8>>,
    core: Vec<Vec<u8>>,
}

/// Who sent a packet first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    FromAccess,
    FromCore,
}

impl Wires {
    pub(crate) fn record(topology: &Topology) -> Self {
        Self {
            access: Capture::start(&topology.ue, "udp"),
            core: Capture::start(&topology.core, "udp"),
        }
    }

    /// Waits until what is recorded is enough.
    pub(crate) fn wait_until(&self, is_enough: impl Fn(&Recorded) -> bool) {
        let is_there = wait_until(|| {
            is_enough(&Recorded {
                access: self.access.frames(),
                core: self.core.frames(),
            })
        });
        assert!(is_there, "too little crosses the links");
    }

    /// Waits until so many seconds of audio have come out of the gateway in each direction.
    pub(crate) fn wait_for_audio(&self, seconds: usize) {
        let count = seconds * FRAMES_PER_SECOND;
        self.wait_until(|recorded| {
            recorded.on_core(Way::FromAccess).count() >= count
                && recorded.on_access(Way::FromCore).count() >= count
        });
    }

    pub(crate) fn stop(self) -> Recorded {
        Recorded {
            access: self.access.stop().frames,
            core: self.core.stop().frames,
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

    /// How many packets with audio either side had sent when a request of this method was first seen
    /// on its link.
    pub(crate) fn sent_before(&self, method: &str) -> usize {
        let before = |frames: &[Vec<u8>]| {
            let is_it = |frame: &Vec<u8>| {
                let datagram = datagrams(std::slice::from_ref(frame)).next();
                datagram.is_some_and(|datagram| datagram.payload.starts_with(method.as_bytes()))
            };
            let at = frames.iter().position(is_it);
            frames[..at.unwrap_or_else(|| panic!("no {method}"))].to_vec()
        };
        let before = Self {
            access: before(&self.access),
            core: before(&self.core),
        };
        before.on_access(Way::FromAccess).count() + before.on_core(Way::FromCore).count()
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
fn audio(frames: &[Vec<u8>]) -> impl Iterator<Item = Datagram<'_>> {
    datagrams(frames).filter(|datagram| {
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
