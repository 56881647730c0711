// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `bench`: what things cost, beside others that do the same.

use std::process::Command;

use crate::error::Error;
use crate::program::{self, cargo, relay, target};
use crate::{packages, root, setup};

/// Calls over ng: builds, and runs as root.
pub(crate) fn control(args: &[String]) -> Result<(), Error> {
    root::require("the benchmark makes network namespaces and loads an XDP program")?;
    setup::demo()?;
    program::run(
        cargo().args(["build", "--release"]).args([
            "--package",
            "sallyport",
            "--package",
            "sallyport-benches",
        ]),
        "",
    )?;
    run("control", args)
}

/// The way of a packet through the data plane, without NICs: builds, and runs.
pub(crate) fn pipeline(args: &[String]) -> Result<(), Error> {
    setup::demo()?;
    program::run(
        cargo()
            .args(["build", "--release"])
            .args(["--package", "sallyport-benches"])
            .args([
                "--features",
                "pipeline",
                "--bin",
                "sallyport-bench-pipeline",
            ]),
        "",
    )?;
    run("pipeline", args)
}

/// SRTP, in nanoseconds per packet: installs the peers, builds, and runs.
pub(crate) fn srtp(args: &[String]) -> Result<(), Error> {
    packages::ensure("the benchmark", packages::BENCHES)?;
    program::run(
        cargo()
            .args(["build", "--release"])
            .args(["--package", "sallyport-benches"])
            .args(["--features", "peers", "--bin", "sallyport-bench-srtp"]),
        "",
    )?;
    run("srtp", args)
}

/// Runs a benchmark that is built.
fn run(name: &str, args: &[String]) -> Result<(), Error> {
    let program = format!("release/sallyport-bench-{name}");
    let mut bench = Command::new(target().join(program));
    // The last one counts, and the caller's come last.
    let results = target().join(format!("bench/{name}.json"));
    bench.arg("--json").arg(results);
    relay(bench.args(args))
}
