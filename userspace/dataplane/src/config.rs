// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the data plane is told before it starts. Reading and checking the file is the business
//! of the `sallyport` command.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use sallyport_flow::Realm;

/// The configuration of one data plane process.
#[derive(Clone, Debug)]
pub struct Config {
    /// The two sides.
    pub realms: BTreeMap<Realm, RealmConfig>,
    /// Where the agent connects.
    pub socket: PathBuf,
    /// The bpffs folder under which maps and links are pinned.
    pub pin: PathBuf,
    /// How many queues of each NIC to serve, one worker each; `None` for all.
    pub queues: Option<u32>,
    /// The processors to pin workers to, in the order of the queues; empty for a choice of ours.
    pub cpus: Vec<u32>,
    /// UMEM frames of each worker.
    pub frames: u32,
    /// How many flows there may be.
    pub max_flows: u32,
    /// Refuse to start without zero copy.
    pub require_zero_copy: bool,
    /// Refuse to start without native XDP.
    pub require_native: bool,
    /// What a worker without packets does.
    pub poll: PollMode,
}

/// One side of the gateway.
#[derive(Clone, Debug)]
pub struct RealmConfig {
    /// The NIC that the XDP program is attached to.
    pub nic: String,
    /// The kernel's interface that has the addresses: the NIC itself, or a VLAN on it.
    pub interface: String,
    /// Local addresses for media.
    pub addresses: Vec<IpAddr>,
    /// Local ports for media.
    pub ports: RangeInclusive<u16>,
    /// VLAN identifiers that leaving packets carry, outermost first, at most two.
    pub vlan: Vec<u16>,
}

/// What a worker without packets does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PollMode {
    /// Sleep in poll(2) until the kernel has some.
    Wait,
    /// Look again at once: lowest latency, at the price of the whole processor.
    Busy,
}
