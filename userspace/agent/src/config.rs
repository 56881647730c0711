// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What an agent is told at its start, and why it cannot run.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::store::StoreError;

/// What an agent is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP is served; a loopback address.
    pub listen: SocketAddr,
    /// The file that remembers the sessions.
    pub store: PathBuf,
    /// The socket of the data plane.
    pub flow_socket: PathBuf,
    /// The untrusted side.
    pub access: RealmConfig,
    /// The trusted side.
    pub core: RealmConfig,
}

/// One side of the gateway.
#[derive(Clone, Debug)]
pub struct RealmConfig {
    /// Local addresses for media, the preferred one first.
    pub addresses: Vec<IpAddr>,
    /// Local ports for media.
    pub ports: RangeInclusive<u16>,
}

/// Why the agent cannot run.
#[derive(Debug)]
#[non_exhaustive]
pub enum AgentError {
    /// HTTP would be reachable from other hosts, and it carries keys.
    NotLoopback {
        /// The address.
        listen: SocketAddr,
    },
    /// The HTTP address cannot be listened on.
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The sessions of the agent before cannot be read.
    Store(StoreError),
    /// No connection can be accepted any more.
    Serve(io::Error),
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoopback { listen } => write!(
                f,
                "listen on {listen}: HTTP carries keys in the clear; set agent.listen to a \
                 loopback address such as 127.0.0.1:8080 and put a TLS proxy in front of it"
            ),
            Self::Listen { listen, error } => write!(
                f,
                "listen on {listen}: {error}; end the process that has this port or choose \
                 another agent.listen"
            ),
            Self::Store(error) => error.fmt(f),
            Self::Serve(error) => write!(f, "serve HTTP: {error}; restart the agent"),
        }
    }
}

impl std::error::Error for AgentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotLoopback { .. } => None,
            Self::Listen { error, .. } | Self::Serve(error) => Some(error),
            Self::Store(error) => Some(error),
        }
    }
}
