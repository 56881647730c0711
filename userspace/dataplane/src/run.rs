// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Start-up and shutdown of a data plane process.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use nix::sched::sched_getaffinity;
use nix::unistd::Pid;
use sallyport_flow::Realm;
use sallyport_srtp::Kernel;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::Config;
use crate::control::{Control, Flows};
use crate::error::DataPlaneError;
use crate::next_hop::{self, Exit, NextHops};
use crate::nic::{MAX_MTU, Nic, ids};
use crate::own::OwnAddresses;
use crate::rekey::Fingerprints;
use crate::server;
use crate::state::Events;
use crate::worker::{Inbox, WorkerHandle, WorkerSetup};
use crate::xdp::{AttachMode, NicId, Steer};
use crate::xsk;

/// Events that may wait for the control task.
const EVENTS: usize = 4096;
/// The most queues of a NIC that are served.
const MAX_QUEUES: u32 = 64;
/// Requests that may wait for the control task.
const ASKS: usize = 64;

/// Runs a data plane until `shutdown` is done. The XDP program and its maps stay where they are
/// pinned: until the next start they go on refusing media for which nobody is there, and pass
/// everything else.
///
/// # Errors
/// [`DataPlaneError`].
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), DataPlaneError> {
    // First of all, so that a second data plane touches nothing of the first.
    let listener = server::listen(&config.socket)?;
    let (handle, notifications) = next_hop::connect()?;
    let (nics, exits) = find_nics(&handle, &config).await?;
    let names: Vec<&str> = nics.iter().map(|nic| nic.name.as_str()).collect();

    let mut steer = Steer::load(&config.pin, &names)?;
    // Ranges stay in force over a restart: a packet that went up to the kernel for want of one
    // would be answered with an ICMP error, and that would end a call.
    let ranges = ranges(&config, &names);
    steer.set_ranges(&ranges)?;
    steer.clear_flows()?;
    let mut native = Vec::with_capacity(nics.len());
    for (id, _) in ids().zip(&nics) {
        native.push(steer.attach_best(id, config.require_native)? == AttachMode::Native);
    }

    let own_of = |id| {
        let ranges = ranges.iter().filter(|(nic, ..)| *nic == id);
        ranges.map(|(_, address, _)| *address).collect()
    };
    let own: Vec<OwnAddresses> = ids().zip(&nics).map(|(id, _)| own_of(id)).collect();
    let queues = queues(&config, &nics)?;
    let events = Arc::new(Events::new(EVENTS));
    let inboxes = (0..queues)
        .map(|_| Inbox::new(queues == 1))
        .collect::<Result<Arc<[_]>, _>>()?;
    let cpus = cpus(&config, queues);
    let (ended, has_ended) = mpsc::unbounded_channel();
    let started = Instant::now();
    let mut workers = Vec::with_capacity(queues as usize);
    for queue in 0..queues {
        let worker = WorkerHandle::start(WorkerSetup {
            worker: queue,
            cpu: cpus.get(queue as usize).copied(),
            nics: nics.clone(),
            own: own.clone(),
            native: native.clone(),
            frames: config.frames,
            max_flows: config.max_flows,
            require_zero_copy: config.require_zero_copy,
            poll: config.poll,
            started,
            events: Arc::clone(&events),
            inboxes: Arc::clone(&inboxes),
            ended: ended.clone(),
        })?;
        workers.push(worker);
    }
    let rungs = rungs(&native, &workers);
    for (nic, rung) in nics.iter().zip(&rungs) {
        info!(nic = nic.name, queues, rung, "NIC is served");
    }
    for (queue, worker) in (0..).zip(&mut workers) {
        // The worker has its own descriptor; a second one would keep a closed socket alive.
        for (id, socket) in ids().zip(std::mem::take(&mut worker.sockets)) {
            steer.set_socket(id, queue, std::os::fd::AsFd::as_fd(&socket))?;
        }
    }
    if let Some(complaint) = Kernel::complaint() {
        warn!(%complaint, "crypto kernel");
    }
    info!(kernel = %Kernel::current(), "crypto kernel");
    let (asks, asked) = mpsc::channel(ASKS);
    let instance = instance()?;
    let server = tokio::spawn(server::serve(listener, instance, asks));
    info!(socket = %config.socket.display(), workers = workers.len(), "data plane runs");
    let mut control = Control {
        steer,
        workers,
        next_hops: NextHops::new(handle, exits).await?,
        realms: config.realms,
        nics: nics.into_iter().map(|nic| nic.name).collect(),
        rungs,
        max_flows: config.max_flows,
        events,
        flows: Flows::default(),
        fingerprints: Fingerprints::default(),
        retiring: VecDeque::new(),
        subscribers: Vec::new(),
    };
    let result = control.run(asked, notifications, has_ended, shutdown).await;
    server.abort();
    for worker in control.workers.drain(..) {
        worker.stop();
    }
    if let Err(error) = std::fs::remove_file(&config.socket) {
        warn!(%error, socket = %config.socket.display(), "remove");
    }
    info!("data plane ends; XDP stays attached, `sallyport steer unload` detaches it");
    result
}

/// The NICs in the order of their numbers, each once, and how packets leave each realm.
async fn find_nics(
    handle: &rtnetlink::Handle,
    config: &Config,
) -> Result<(Vec<Nic>, HashMap<Realm, Exit>), DataPlaneError> {
    let mut nics: Vec<Nic> = Vec::with_capacity(config.realms.len());
    let mut exits = HashMap::with_capacity(config.realms.len());
    for (realm, config) in &config.realms {
        let nic = Nic::find(handle, &config.nic).await?;
        if nic.mtu > MAX_MTU {
            return Err(DataPlaneError::MtuTooBig {
                nic: nic.name,
                mtu: nic.mtu,
            });
        }
        let interface = Nic::find(handle, &config.interface).await?;
        exits.insert(
            *realm,
            Exit {
                interface,
                vlan: config.vlan.clone(),
                own: config.addresses.clone(),
            },
        );
        if !nics.contains(&nic) {
            nics.push(nic);
        }
    }
    Ok((nics, exits))
}

/// The media addresses and ports of every NIC.
fn ranges(config: &Config, nics: &[&str]) -> Vec<(NicId, IpAddr, RangeInclusive<u16>)> {
    let mut ranges = Vec::new();
    for realm in config.realms.values() {
        for (id, _) in ids().zip(nics).filter(|(_, nic)| **nic == realm.nic) {
            let addresses = realm.addresses.iter();
            ranges.extend(addresses.map(|address| (id, *address, realm.ports.clone())));
        }
    }
    ranges
}

/// How many queues to serve: as many as configured, or as the NICs have. Every NIC must have them
/// all, since a worker sends on its own queue.
fn queues(config: &Config, nics: &[Nic]) -> Result<u32, DataPlaneError> {
    let mut has = Vec::with_capacity(nics.len());
    for nic in nics {
        has.push(xsk::channels(&nic.name)?);
    }
    let most = has.iter().copied().max().unwrap_or(1).min(MAX_QUEUES);
    let wanted = config.queues.unwrap_or(most);
    for (nic, has) in nics.iter().zip(has) {
        if has < wanted {
            return Err(DataPlaneError::TooFewQueues {
                nic: nic.name.clone(),
                has,
                wanted,
            });
        }
        if has > wanted {
            warn!(
                nic = nic.name,
                has, wanted, "media on the other queues is refused"
            );
        }
    }
    Ok(wanted)
}

/// The processors for the workers: those configured, or the last ones that we may use.
fn cpus(config: &Config, queues: u32) -> Vec<u32> {
    if !config.cpus.is_empty() {
        return config.cpus.clone();
    }
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else {
        return Vec::new();
    };
    let last_first = (0..nix::sched::CpuSet::count()).rev();
    let allowed = last_first.filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    allowed
        .take(queues as usize)
        .filter_map(|cpu| u32::try_from(cpu).ok())
        .collect()
}

/// On which rung of the ladder each NIC is.
fn rungs(native: &[bool], workers: &[WorkerHandle]) -> Vec<String> {
    let name = |(nic, native): (usize, &bool)| {
        let zero_copy = workers
            .iter()
            .all(|worker| worker.zero_copy.get(nic) == Some(&true));
        match (native, zero_copy) {
            (true, true) => "zero copy",
            (true, false) => "native copy",
            (false, _) => "generic",
        }
        .to_owned()
    };
    native.iter().enumerate().map(name).collect()
}

/// A number that tells this process from every other.
fn instance() -> Result<u64, DataPlaneError> {
    getrandom::u64().map_err(|error| DataPlaneError::Random(error.to_string()))
}
