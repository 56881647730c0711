// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `bench`: what things cost, beside others that do the same.

use std::process::Command;

use crate::error::Error;
use crate::packages;
use crate::program::{self, cargo, relay, target};

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
    let mut bench = Command::new(target().join("release/sallyport-bench-srtp"));
    // The last one counts, and the caller's come last.
    bench.arg("--json").arg(target().join("bench/srtp.json"));
    relay(bench.args(args))
}
