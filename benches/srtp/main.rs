// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What SRTP costs, in nanoseconds per packet, ours beside others: `cargo xtask bench srtp`.
//!
//! All contestants are in this process and take turns of a millisecond ([`course`]). Each pass
//! works on 64 packets ([`pool`]), in bursts, in place. Not timed is what brings the packets into
//! being: new sequence numbers, and for unprotecting a pass of protection, so that every packet
//! is fresh and valid. Before anything is timed, everybody's bytes are compared ([`agreement`]).

#![deny(unsafe_code)] // Only peers/ffi.rs allows it.

mod agreement;
mod case;
mod contestant;
mod course;
mod goals;
mod keys;
mod ours;
mod peers;
mod pool;
mod random;
mod report;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, fs};

use clap::Parser;
use sallyport_benches::cpu;
use sallyport_srtp::{Kernel, Suite};
use serde_json::Value;

use crate::case::{Allowed, Case, Operation, Payload, suites};
use crate::course::{Course, Outcome};
use crate::ours::{Bare, Ours};

/// Rounds of a case: an odd number, so that there is a median.
const ROUNDS: u64 = 31;
const QUICK_ROUNDS: u64 = 9;

/// The suite that both sides are compared with when they are restricted to AVX2.
const AVX2_SUITE: Suite = Suite::AesCm128HmacSha1_80;

/// Restricts ours.
const KERNEL_VARIABLE: &str = "SALLYPORT_SRTP_KERNEL";

/// When fewer rounds have to do for the cases that are left, so that all end within ten minutes.
const PATIENCE: Duration = Duration::from_mins(5);

/// Times SRTP beside other implementations, in one process.
#[derive(Debug, Parser)]
#[command(name = "sallyport-bench-srtp")]
struct Options {
    /// Take two minutes: fewer rounds, and many streams and small bursts with two payloads only.
    #[arg(long)]
    quick: bool,
    /// Only this suite, by its registered name.
    #[arg(long, value_parser = suite)]
    suite: Option<Suite>,
    /// Only this payload: bytes, mix (160 or 1200) or random (20 to 1200).
    #[arg(long)]
    payload: Option<Payload>,
    /// What ipsec-mb may use; ours is restricted by the environment variable SALLYPORT_SRTP_KERNEL.
    #[arg(long, value_name = "INSTRUCTIONS", default_value = "best")]
    ipsec_mb: Allowed,
    /// Where the results go, for programs.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/bench/srtp.json",
        overrides_with = "json"
    )]
    json: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sallyport-bench-srtp: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let start = Instant::now();
    cpu::pin();
    for missing in peers::missing() {
        eprintln!("without {missing}");
    }
    let suites: Vec<Suite> = options
        .suite
        .map_or_else(|| suites().collect(), |s| vec![s]);
    for &suite in &suites {
        for operation in Operation::ALL {
            agreement::check(suite, operation)
                .map_err(|disagreement| format!("{operation} with {suite}: {disagreement}"))?;
        }
    }
    eprintln!("all agree on every byte of every suite; measuring");
    print!("{}", report::preface());
    let mut outcomes = Vec::new();
    for &suite in &suites {
        for operation in Operation::ALL {
            let some = measure(options, start, suite, operation)
                .map_err(|refused| format!("{operation} with {suite}: {refused}"))?;
            print!("{}", report::table(&some));
            outcomes.extend(some);
        }
    }
    print!("{}", report::summary(&outcomes));
    print!("{}", report::goals(&outcomes));
    let mut results = report::json(&outcomes);
    if options.wants_avx2() {
        results.extend(avx2(options)?);
    }
    let count = results.len();
    write(&options.json, &Value::from(results).to_string())?;
    eprintln!(
        "{count} comparisons in {} s; written to {}",
        start.elapsed().as_secs(),
        options.json.display()
    );
    Ok(())
}

impl Options {
    /// Whether a second process is to compare both sides restricted to AVX2, for which there are
    /// goals: the kernel is chosen once per process.
    fn wants_avx2(&self) -> bool {
        Kernel::current() == Kernel::Avx512
            && matches!(self.ipsec_mb, Allowed::Best | Allowed::Auto)
            && self.suite.is_none_or(|suite| suite == AVX2_SUITE)
    }
}

/// What a process like this one finds when both sides are restricted to AVX2.
fn avx2(options: &Options) -> Result<Vec<Value>, String> {
    println!("\nBoth sides restricted to AVX2\n");
    let json = options.json.with_extension("avx2.json");
    let mut command = env::current_exe()
        .map(Command::new)
        .map_err(|cause| format!("find this program: {cause}"))?;
    command
        .env(KERNEL_VARIABLE, Kernel::Avx2.name())
        .args(["--ipsec-mb", "avx2", "--suite", AVX2_SUITE.name()])
        .args(options.quick.then_some("--quick"))
        .arg("--json")
        .arg(&json);
    if let Some(payload) = options.payload {
        command.args(["--payload", &payload.to_string()]);
    }
    let status = command.status();
    let status = status.map_err(|cause| format!("start this program again: {cause}"))?;
    if !status.success() {
        return Err(format!("restricted to AVX2 this program fails: {status}"));
    }
    let results = fs::read(&json).map_err(|cause| format!("read {}: {cause}", json.display()))?;
    _ = fs::remove_file(&json);
    serde_json::from_slice(&results).map_err(|cause| format!("read {}: {cause}", json.display()))
}

fn measure(
    options: &Options,
    start: Instant,
    suite: Suite,
    operation: Operation,
) -> Result<Vec<Outcome>, course::Refused> {
    let plan = Case::plan(options.quick, options.payload);
    let streams = plan.iter().map(|case| case.streams).max().unwrap_or(0);
    let mut course = Course::new(suite, operation, streams);
    let mut ours = Ours::new(suite, operation, streams);
    let mut bare = Bare::new(suite, operation, streams);
    let mut peers = peers::all(suite, operation, streams, options.ipsec_mb);
    let outcomes = plan.into_iter().map(|case| {
        let is_late = start.elapsed() > PATIENCE;
        let rounds = if options.quick || is_late {
            QUICK_ROUNDS
        } else {
            ROUNDS
        };
        course.run(case, rounds, (&mut ours, &mut bare), &mut peers)
    });
    outcomes.collect()
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|cause| {
            format!(
                "write {}: {cause}; name a writable place with --json",
                path.display()
            )
        })
}

/// A suite of the table, by its name.
fn suite(name: &str) -> Result<Suite, String> {
    let known: Vec<&str> = suites().map(Suite::name).collect();
    suites()
        .find(|suite| suite.name() == name)
        .ok_or_else(|| format!("not one of {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }
}
