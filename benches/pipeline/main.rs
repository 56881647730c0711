// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a packet costs on its way through the data plane: `cargo xtask bench pipeline`.
//!
//! Bursts of 64 packets with 160 bytes of payload go through the stages of a worker that has no
//! sockets, each packet of another flow, and each stage is timed by itself. Crypto is
//! AES_CM_128_HMAC_SHA1_80.

#![forbid(unsafe_code)]

mod bed;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use sallyport_benches::cpu;
use sallyport_dataplane::burst::{Burst, MAX_BURST};
use sallyport_dataplane::stage::STAGES;
use serde_json::{Value, json};

use crate::bed::{Bed, Way};

/// Flows: few enough for the caches, and as many as a busy worker has.
const FLOWS: [u32; 2] = [64, 10_000];

/// Of everything but crypto, in nanoseconds per packet.
const GOAL: f64 = 40.0;

/// Times the stages of the data plane.
#[derive(Debug, Parser)]
#[command(name = "sallyport-bench-pipeline")]
struct Options {
    /// A tenth of the bursts.
    #[arg(long)]
    quick: bool,
    /// Where the results go, for programs.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/bench/pipeline.json",
        overrides_with = "json"
    )]
    json: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sallyport-bench-pipeline: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    cpu::pin();
    let bursts = if options.quick { 3000 } else { 30_000 };
    let mut results = Vec::new();
    for flows in FLOWS {
        println!("\nns per packet, {flows} flows");
        print!("{:<12}", "");
        for (stage, _) in STAGES {
            print!(" {stage:>9}");
        }
        println!(" {:>9}", "all");
        for way in Way::ALL {
            let times = measure(way, flows, bursts)?;
            let all: f64 = times.iter().sum();
            print!("{:<12}", way.name());
            for time in times {
                print!(" {time:>9.1}");
            }
            print!(" {all:>9.1}");
            if way == Way::Plain && flows == FLOWS[0] {
                let is_met = if all <= GOAL { "met" } else { "missed" };
                print!("  goal ≤ {GOAL:.0}: {is_met}");
            }
            println!();
            results.extend(json(way, flows, &times));
        }
    }
    if let Some(folder) = options.json.parent() {
        let _ = fs::create_dir_all(folder);
    }
    let text = format!("{:#}\n", Value::Array(results));
    fs::write(&options.json, text)
        .map_err(|error| format!("write {}: {error}", options.json.display()))
}

/// How long each stage takes, in nanoseconds per packet: the median of all bursts.
fn measure(way: Way, flows: u32, bursts: usize) -> Result<[f64; STAGES.len()], String> {
    let mut bed = Bed::new(way, flows)?;
    let mut burst = Burst::new();
    // Every flow has had its first packet.
    let warm_up = 3 * flows as usize / MAX_BURST + 100;
    let mut times = STAGES.map(|_| Vec::with_capacity(bursts));
    let mut of_clock = Vec::with_capacity(bursts);
    for number in 0..warm_up + bursts {
        bed.arrive(&mut burst);
        let is_timed = number >= warm_up;
        for ((_, stage), times) in STAGES.into_iter().zip(&mut times) {
            let start = Instant::now();
            stage(&mut burst, &mut bed.state);
            let elapsed = start.elapsed();
            if is_timed {
                times.push(elapsed);
            }
        }
        if is_timed {
            of_clock.push(Instant::now().elapsed());
        }
        let left = bed.leave(&mut burst);
        if left != MAX_BURST {
            let refused: Vec<_> = bed.state.refused.iter().collect();
            return Err(format!("{left} of {MAX_BURST} packets left: {refused:?}"));
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e9
    };
    let clock = median(&mut of_clock);
    Ok(times.each_mut().map(|times| (median(times) - clock) / 64.0))
}

fn json(way: Way, flows: u32, times: &[f64]) -> Vec<Value> {
    let stages = STAGES.iter().zip(times);
    let of_stage = |((stage, _), time): (&(&str, _), &f64)| {
        json!({
            "way": way.name(), "flows": flows, "stage": stage,
            "ns_per_packet": (time * 10.0).round() / 10.0,
        })
    };
    stages.map(of_stage).collect()
}
