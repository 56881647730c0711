// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `cargo xtask`: what one does with the repository, each thing one command on a fresh machine.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// `bench`.
mod bench;
/// The BPF file system.
mod bpffs;
/// `demo`.
mod demo;
/// What went wrong.
mod error;
/// `lint`.
mod lint;
/// Debian packages.
mod packages;
/// What the tests' foreign peers received.
mod peers;
/// Programs that are started.
mod program;
/// Fuzzing and Miri.
mod proof;
/// Being root, or becoming it.
mod root;
/// What has to be on the machine, and the steps that bring it there.
mod setup;
/// `load`, `unload` and `status`.
mod steer;
/// `test`.
mod test;
/// The nightly compiler and the BPF linker.
mod toolchain;

use error::Error;

/// Set-up, demo, tests and checks of Sallyport.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Find or install the eBPF toolchain and the packages that the tests use
    Setup,
    /// Fifty protected calls through a gateway, in network namespaces: no NIC, no configuration
    ///
    /// What it takes: --seconds N, --calls N, --json.
    Demo {
        /// Passed to the demo as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build everything and run every test, then say which foreign peers took part, fuzz, and run Miri
    Test {
        /// Passed to `cargo test` as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure
    #[command(subcommand)]
    Bench(Bench),
    /// Attach the XDP program to NICs
    Load {
        /// Their names
        #[arg(required = true)]
        nics: Vec<String>,
    },
    /// Detach the XDP program
    Unload {
        /// From these NICs; from all when none is named
        nics: Vec<String>,
    },
    /// Show the XDP program and its maps
    Status,
    /// Format, clippy, documentation, and where `unsafe` may stand
    Lint,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Calls over ng: offers a second, how long they take, and the memory of a session
    ///
    /// What it takes: --quick, --sessions N, --clients N, --seconds N, --json PATH. The results are
    /// printed, and written to target/bench/control.json.
    Control {
        /// Passed to the benchmark as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The way of a packet through the data plane, without NICs: nanoseconds for each stage
    ///
    /// What it takes: --quick, --json PATH. The results are printed, and written to
    /// target/bench/pipeline.json.
    Pipeline {
        /// Passed to the benchmark as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// SRTP in nanoseconds per packet, beside ipsec-mb, libsrtp, aws-lc-rs and RustCrypto
    ///
    /// What it takes: --quick, --suite NAME, --payload BYTES|mix|random, --ipsec-mb best|auto|avx2|sse,
    /// --json PATH. The results are printed, and written to target/bench/srtp.json.
    Srtp {
        /// Passed to the benchmark as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Setup => setup::everything(),
        Task::Demo { args } => demo::run(&args),
        Task::Test { args } => test::run(&args),
        Task::Bench(Bench::Control { args }) => bench::control(&args),
        Task::Bench(Bench::Pipeline { args }) => bench::pipeline(&args),
        Task::Bench(Bench::Srtp { args }) => bench::srtp(&args),
        Task::Load { nics } => steer::run("load", &nics),
        Task::Unload { nics } => steer::run("unload", &nics),
        Task::Status => steer::run("status", &[]),
        Task::Lint => lint::run_all(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Ended(code)) => ExitCode::from(code),
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_the_demo_pass_through() {
        let cli = Cli::parse_from(["xtask", "demo", "--seconds", "3", "--json"]);
        let Task::Demo { args } = cli.task else {
            panic!("{cli:?}")
        };
        assert_eq!(args, ["--seconds", "3", "--json"]);
    }
}
