// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The one command a user types. `run` supervises the two processes `dataplane` and `agent`;
//! `session` speaks to the agent; `steer` handles the XDP program; `check` reads the
//! configuration and stops there; `doctor` says what the machine offers.
//!
//! Exit status: 0 for success and an orderly end, 2 when the configuration is wrong, 1 for any
//! other failure.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use mimalloc::MiMalloc;

/// `agent`: the process that strangers speak to.
mod agent;
/// How long to wait before a dead process is started again.
mod back_off;
/// The configuration file.
mod config;
/// `dataplane`: the process with the packets.
mod dataplane;
/// `doctor`: what this machine offers.
mod doctor;
/// The event loop of a process, and the signals that end it.
mod event_loop;
/// Everything that can go wrong, and the exit status it has.
mod failure;
/// Log lines.
mod log;
/// What the kernel must offer, and what a process gives up.
mod privileges;
/// `run`: the supervisor of both processes.
mod run;
/// `session`: a client of the agent.
mod session;
/// `steer`: the XDP program.
mod steer;

use config::{Config, Host};
use failure::Failure;

/// Of all processes. A call makes and frees some hundred pieces of memory.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// SRTP media gateway past the kernel: XDP steers, AF_XDP carries, an agent controls
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run data plane and agent, and start again whichever dies
    Run {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        ladder: dataplane::Ladder,
    },
    /// Run the data plane only: NIC queues, packets and media keys
    Dataplane {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        ladder: dataplane::Ladder,
    },
    /// Run the agent only: sessions over HTTP, without any capability
    Agent {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Read the configuration, compare it with this host, and say what is wrong
    Check {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Say what this machine offers: kernel, privileges, crypto, and NICs with --config
    Doctor {
        /// Configuration file with the NICs to look at
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Add, show and remove sessions
    Session(session::Session),
    /// Attach, detach and show the XDP program
    Steer {
        #[command(subcommand)]
        action: steer::Action,
    },
}

/// Where the configuration is.
#[derive(Args, Debug)]
struct ConfigFile {
    /// Configuration file
    #[arg(
        long = "config",
        value_name = "FILE",
        default_value = "/etc/sallyport/sallyport.toml"
    )]
    path: PathBuf,
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sallyport: {failure}");
            failure.exit_code()
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run { config, ladder } => run::execute(&config.path, ladder),
        Command::Dataplane { config, ladder } => dataplane::execute(&config.path, ladder),
        Command::Agent { config } => agent::execute(&config.path),
        Command::Check { config } => {
            let read = Config::read(&config.path)?;
            read.fit(&Host::read(), &config.path)?;
            read.suit_agent(&config.path)?;
            println!("{}: good", config.path.display());
            Ok(())
        }
        Command::Doctor { config } => doctor::execute(config.as_deref()),
        Command::Session(session) => session.execute(),
        Command::Steer { action } => action.execute(),
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
    fn the_configuration_has_a_usual_place() {
        let cli = Cli::parse_from(["sallyport", "check"]);
        let Command::Check { config } = cli.command else {
            panic!("{cli:?}")
        };
        assert_eq!(config.path, PathBuf::from("/etc/sallyport/sallyport.toml"));
    }
}
