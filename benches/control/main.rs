// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What calls cost a SIP proxy that drives the gateway over ng: `cargo xtask bench control`.
//!
//! `sallyport run` serves a namespace of its own. Sessions are opened and stay; then clients offer,
//! answer and delete further calls, each waiting for one reply before the next request, as the
//! workers of a SIP proxy do. The agent has one core to itself; the clients and the data plane have
//! another.

#![forbid(unsafe_code)]

mod call;
mod client;
mod latency;
mod memory;
mod report;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use sallyport_tests::{Gateway, GatewayOptions, Topology};

use crate::client::{Clients, Failure};
use crate::memory::Memory;
use crate::report::Report;

/// Sessions that one address has ports for: pairs from 1024 to 65535.
const SESSIONS_PER_ADDRESS: u32 = 32_256;

/// Drives a gateway of its own over ng and times it.
#[derive(Debug, Parser)]
#[command(name = "sallyport-bench-control")]
struct Options {
    /// Sessions that are open meanwhile; 100 000 by default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    sessions: Option<u32>,
    /// Requests at the same time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    clients: u32,
    /// How long calls are timed, in seconds; 20 by default.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,
    /// 10 000 sessions and 5 seconds, unless said otherwise.
    #[arg(long)]
    quick: bool,
    /// Where the results go, for programs.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/bench/control.json",
        overrides_with = "json"
    )]
    json: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("network namespaces and XDP need root; run `cargo xtask bench control` as root");
        return ExitCode::FAILURE;
    }
    let report = match run(&options) {
        Ok(report) => report,
        Err(failure) => {
            eprintln!("sallyport-bench-control: {failure}");
            return ExitCode::FAILURE;
        }
    };
    println!("{report}");
    if let Some(folder) = options.json.parent() {
        let _ = fs::create_dir_all(folder);
    }
    if let Err(error) = fs::write(&options.json, format!("{:#}\n", report.json())) {
        eprintln!("cannot write {}: {error}", options.json.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run(options: &Options) -> Result<Report, Failure> {
    let (sessions, seconds) = if options.quick {
        (10_000, 5)
    } else {
        (100_000, 20)
    };
    let sessions = options.sessions.unwrap_or(sessions);
    let time = Duration::from_secs(options.seconds.unwrap_or(seconds));

    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &gateway_options(&topology, sessions));
    let cores = place(&gateway);
    let clients = Clients::start(&topology, options.clients)?;
    let before = Memory::of(&gateway);
    eprintln!("opening {sessions} sessions");
    let start = Instant::now();
    clients.open(sessions)?;
    let opening = start.elapsed();
    let after = Memory::of(&gateway);
    eprintln!(
        "offering, answering and deleting calls for {} s",
        time.as_secs()
    );
    let (latencies, elapsed) = clients.cycle(time)?;
    let report = Report {
        sessions,
        opening,
        clients: options.clients,
        cores,
        latencies,
        elapsed,
        memory: after.per_session(before, sessions),
    };
    gateway.stop();
    Ok(report)
}

/// Addresses, ports and limits for so many sessions.
fn gateway_options(topology: &Topology, sessions: u32) -> GatewayOptions {
    // Those under way come on top.
    let addresses = (sessions + 1000).div_ceil(SESSIONS_PER_ADDRESS);
    let mut more = [Vec::new(), Vec::new()];
    let nets = [
        (Topology::ACCESS_NIC, [192, 0, 2]),
        (Topology::CORE_NIC, [10, 0, 0]),
    ];
    for ((nic, [a, b, c]), more) in nets.into_iter().zip(&mut more) {
        for last in (100..).take(addresses as usize) {
            let address = Ipv4Addr::new(a, b, c, last);
            topology
                .gateway
                .ip(&format!("address add {address}/24 dev {nic}"));
            more.push(IpAddr::V4(address));
        }
    }
    GatewayOptions {
        ports: [1024, u16::MAX],
        more_addresses: more,
        // As many as these sessions have: four each.
        dataplane: format!("max_flows = {}\n", 4 * (sessions + 1000)),
        // Nobody sends media here, and nobody is to end a session for that.
        agent: format!(
            "max_sessions = {}\n[agent.timeouts]\nunanswered = 0\ninactive = 0\nheld = 0\n\
             total = 0\n[agent.ng]\n",
            sessions + 1000
        ),
        ..GatewayOptions::default()
    }
}

/// Gives the agent the first core that we may use, and everything else the second. Says whether
/// there were two.
fn place(gateway: &Gateway<'_>) -> bool {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else {
        return false;
    };
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
    let (Some(first), Some(second)) = (cores.next(), cores.next()) else {
        return false;
    };
    let mut is_done = put(gateway.agent_pid(), first);
    for process in [gateway.data_plane_pid(), Pid::this()] {
        is_done &= put(process, second);
    }
    is_done
}

/// Every thread of a process on one core.
fn put(process: Pid, core: usize) -> bool {
    let mut set = CpuSet::new();
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    set.set(core).is_ok()
        && threads.into_iter().flatten().flatten().all(|thread| {
            let id = thread
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            id.is_some_and(|id| sched_setaffinity(Pid::from_raw(id), &set).is_ok())
        })
}
