// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Everything that can go wrong, and the exit status it has.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use sallyport_agent::AgentError;
use sallyport_dataplane::DataPlaneError;
use sallyport_dataplane::xdp::XdpError;

use crate::config::ConfigError;
use crate::privileges::PrivilegeError;
use crate::session::SessionError;

/// The exit status of a wrong configuration.
pub(crate) const MISCONFIGURED: u8 = 2;

/// Why the command did not do what it should.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration is wrong.
    Config(ConfigError),
    /// A child process found the configuration wrong, and said why.
    ChildConfig {
        /// Which one.
        child: &'static str,
    },
    /// A child process could not do its work, and said why.
    Child {
        /// Which one.
        child: &'static str,
    },
    /// The kernel does not offer what is needed, or not to this process.
    Privilege(PrivilegeError),
    /// The data plane cannot run.
    DataPlane(DataPlaneError),
    /// The agent cannot run.
    Agent(AgentError),
    /// The XDP program could not be handled.
    Xdp(XdpError),
    /// Loading would detach the XDP program from a NIC that was not named.
    OtherNicLoaded {
        /// Its name.
        nic: String,
    },
    /// The agent refused, or did not answer.
    Session(SessionError),
    /// Another data plane serves the flow socket.
    DataPlaneThere {
        /// The socket.
        socket: PathBuf,
        /// The other's process id, if the kernel says it.
        pid: Option<i32>,
    },
    /// Somebody else serves the agent's address.
    AgentThere {
        /// The address.
        listen: SocketAddr,
        /// What the kernel says.
        cause: io::Error,
    },
    /// A child process cannot be started.
    Start {
        /// Which one.
        child: &'static str,
        /// Why.
        cause: io::Error,
    },
    /// `doctor` found something without which nothing works, and said what.
    Unfit,
    /// The process cannot wait for anything.
    Runtime(io::Error),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::ChildConfig { .. } => ExitCode::from(MISCONFIGURED),
            _ => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::ChildConfig { child } => {
                write!(
                    f,
                    "the {child} refuses the configuration; mend what it says above"
                )
            }
            Self::Child { child } => write!(f, "the {child} ended; mend what it says above"),
            Self::Privilege(error) => error.fmt(f),
            Self::DataPlane(error) => write!(f, "data plane: {error}"),
            Self::Agent(error) => write!(f, "agent: {error}"),
            Self::Xdp(error) => error.fmt(f),
            Self::OtherNicLoaded { nic } => write!(
                f,
                "{nic} has the XDP program, too, and would lose it; name it as well, or \
                 `sallyport steer unload {nic}` first"
            ),
            Self::Session(error) => error.fmt(f),
            Self::DataPlaneThere { socket, pid } => {
                let (who, how) = match pid {
                    Some(pid) => (format!("process {pid}"), format!(": kill {pid}")),
                    None => ("another process".to_owned(), String::new()),
                };
                write!(
                    f,
                    "{who} serves {} already, perhaps left behind by a `sallyport run` that was \
                     killed; media still flows through it: end it and its agent first{how}",
                    socket.display()
                )
            }
            Self::AgentThere { listen, cause } => write!(
                f,
                "listen on {listen}: {cause}; end the process that has it, perhaps an agent left \
                 behind by a `sallyport run` that was killed, or choose another agent.listen"
            ),
            Self::Start { child, cause } => {
                write!(
                    f,
                    "start the {child}: {cause}; is the process limit reached?"
                )
            }
            Self::Unfit => f.write_str("Sallyport will not start here; mend the errors above"),
            Self::Runtime(cause) => {
                write!(
                    f,
                    "start the event loop: {cause}; is a limit of files reached?"
                )
            }
        }
    }
}

impl std::error::Error for Failure {}

macro_rules! from {
    ($($error:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })+
    };
}

from! {
    ConfigError => Config,
    PrivilegeError => Privilege,
    DataPlaneError => DataPlane,
    AgentError => Agent,
    XdpError => Xdp,
    SessionError => Session,
}
