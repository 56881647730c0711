// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sallyport at work, without a NIC and without configuration: `cargo xtask demo`.
//!
//! Three network namespaces are user equipment, gateway and core network. `sallyport run` is in
//! the middle; the load generator sends calls through it, SRTP on one side and RTP on the other,
//! and checks every byte that arrives.

#![forbid(unsafe_code)]

mod calls;
mod live;
mod reading;
mod summary;

use std::io;
use std::panic;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use sallyport_benches::load::{Plan, Tallies, Tally, link_drops_here, socket_drops_here};
use sallyport_tests::cleanup;
use sallyport_tests::patience::wait_within;
use sallyport_tests::{Gateway, GatewayOptions, Namespace, Topology};

use crate::live::Live;
use crate::reading::Reading;
use crate::summary::Summary;

/// Sends calls through a gateway of its own and checks every byte that arrives.
#[derive(Parser)]
#[command(name = "sallyport-demo")]
struct Options {
    /// How long the calls last.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Calls at the same time.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=4000))]
    calls: u32,
    /// RTP packets per second, call and direction.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=8000))]
    pps: u32,
    /// Bytes of payload in an RTP packet.
    #[arg(long, default_value_t = 160, value_parser = payload_parser())]
    payload: usize,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let Options {
        seconds,
        calls,
        pps,
        payload,
        json,
    } = Options::parse();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("network namespaces and XDP need root; run `cargo xtask demo`, which uses sudo");
        return ExitCode::FAILURE;
    }
    // What goes wrong in the test bed panics. Its message says what to do; where it was noticed
    // helps nobody here.
    panic::set_hook(Box::new(|panic| {
        if !cleanup::is_ending() {
            eprintln!(
                "sallyport-demo: {}",
                panic.payload_as_str().unwrap_or("failed")
            );
        }
    }));
    let result = panic::catch_unwind(|| {
        run(Plan {
            calls,
            seconds,
            pps,
            payload,
        })
    });
    match result {
        Ok(Ok(summary)) => {
            if json {
                println!("{}", summary.json());
            } else {
                println!("{summary}");
            }
            if summary.is_perfect() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Ok(Err(error)) => {
            eprintln!("sallyport-demo: {error}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// Sets everything up, sends everything, and takes everything down.
fn run(plan: Plan) -> io::Result<Summary> {
    eprintln!("starting a gateway between two network namespaces");
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    let tallies = Tallies::new();
    let [ue, core] = calls::set_up(plan, &topology, &gateway, &tallies)?;
    eprintln!(
        "{} calls are set up; sending for {} s",
        plan.calls, plan.seconds
    );

    let stop = AtomicBool::new(false);
    let start = Instant::now() + Duration::from_millis(50);
    thread::scope(|scope| {
        let _stop = StopWhenDropped(&stop);
        // Either end stops when told to, and both are told when one fails.
        let ends = [(&topology.ue, ue), (&topology.core, core)].map(|(namespace, peer)| {
            let stop = &stop;
            scope.spawn(move || {
                let result = namespace.run(|| peer.run(start, stop));
                stop.store(true, Ordering::Relaxed);
                result
            })
        });
        let mut live = Live::new(&tallies);
        for second in 1..=plan.seconds {
            let line_due = start + Duration::from_secs(u64::from(second));
            while Instant::now() < line_due && !stop.load(Ordering::Relaxed) {
                thread::sleep((line_due - Instant::now()).min(Duration::from_millis(100)));
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
            live.print(second, &Reading::of(&gateway.statistics()));
        }
        wait_within(STRAGGLERS, || {
            let arrived = tallies.total(|tally| tally.intact() + tally.corrupt());
            arrived + tallies.total(Tally::unsent) >= plan.total() || stop.load(Ordering::Relaxed)
        });
        stop.store(true, Ordering::Relaxed);
        ends.into_iter().try_for_each(|end| {
            end.join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    })?;

    let ends = [&topology.ue, &topology.core];
    let lost_by_us = sum(&ends, socket_drops_here)?;
    let lost_on_links = sum(
        &[&topology.ue, &topology.gateway, &topology.core],
        link_drops_here,
    )?;
    let reading = Reading::of(&gateway.statistics());
    gateway.stop();
    Ok(Summary {
        plan,
        tallies,
        reading,
        lost_on_links,
        lost_by_us,
    })
}

/// Adds up what is counted in each namespace.
fn sum(namespaces: &[&Namespace], count: fn() -> io::Result<u64>) -> io::Result<u64> {
    namespaces
        .iter()
        .map(|namespace| namespace.run(count))
        .sum()
}

/// How long the last packets may take.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// Threads that wait for `stop` must get it on a panic, too.
struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn payload_parser() -> RangedU64ValueParser<usize> {
    let (least, most) = Plan::PAYLOAD.into_inner();
    RangedU64ValueParser::new().range(least as u64..=most as u64)
}
