// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What an agent is told at its start, and why it cannot run.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use sallyport_flow::MasterKey;
use sallyport_signalling::policy::Policy;
use sallyport_signalling::sdes::Sdes;

use crate::https::{self, HttpsError};
use crate::ng::{self, NgError};
use crate::store::StoreError;

/// What an agent is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP is served; a loopback address.
    pub listen: SocketAddr,
    /// The file that remembers the sessions.
    pub store: PathBuf,
    /// The key that seals what is in it; made if it is not there. The systemd credential
    /// `sallyport.store-key` takes its place.
    pub store_key: PathBuf,
    /// The socket of the data plane.
    pub flow_socket: PathBuf,
    /// The untrusted side.
    pub access: RealmConfig,
    /// The trusted side.
    pub core: RealmConfig,
    /// How much there may be.
    pub limits: Limits,
    /// When calls end that nobody ends.
    pub timeouts: Timeouts,
    /// What the media of calls must be, on the access side.
    pub policy: Policy,
    /// Where SIP proxies are served that speak ng; `None` for nowhere.
    pub ng: Option<ng::Config>,
    /// Where other hosts are served; `None` for nowhere.
    pub https: Option<https::Config>,
}

impl Config {
    /// Finds what would keep the agent from starting, as far as files tell, and changes nothing.
    ///
    /// # Errors
    /// The first [`AgentError`].
    pub fn check(&self) -> Result<(), AgentError> {
        let listen = self.listen;
        if !listen.ip().is_loopback() {
            return Err(AgentError::NotLoopback { listen });
        }
        if let Some(ng) = &self.ng {
            ng.check()
                .and_then(|()| ng.token())
                .map_err(AgentError::Ng)?;
        }
        match &self.https {
            None => Ok(()),
            Some(https) => https.check().map_err(AgentError::Https),
        }
    }
}

/// How much there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Sessions of all front ends.
    pub max_sessions: usize,
    /// m-lines of one call, 64 at most.
    pub max_streams: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 100_000,
            max_streams: 16,
        }
    }
}

/// When calls end that nobody ends. `None` for never.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// Nobody has answered.
    pub unanswered: Option<Duration>,
    /// No media has arrived, though it may both ways. Before the first packet `unanswered` counts
    /// if it is longer, unless the client says that the answer is final: phones that ring are
    /// answered for, too, and send nothing.
    pub inactive: Option<Duration>,
    /// No media has arrived, for the call is on hold: it may pass one way at most.
    pub held: Option<Duration>,
    /// It was first offered so long ago.
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    /// Longer than a phone rings; as long as clients are used to.
    fn default() -> Self {
        Self {
            unanswered: Some(Duration::from_mins(5)),
            inactive: Some(Duration::from_mins(1)),
            held: Some(Duration::from_hours(1)),
            total: Some(Duration::from_hours(24)),
        }
    }
}

/// The policy of an agent that is told nothing else: whatever the data plane can do.
pub fn default_policy() -> Policy {
    Policy {
        sdes: Sdes {
            max_mki_len: MasterKey::MAX_MKI_LEN,
            key_derivation_rate: true,
            ..Sdes::default()
        },
        ..Policy::default()
    }
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
    /// The ng front end cannot start.
    Ng(NgError),
    /// The encrypted listeners cannot start.
    Https(HttpsError),
    /// No connection can be accepted any more.
    Serve(io::Error),
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoopback { listen } => write!(
                f,
                "listen on {listen}: HTTP carries keys in the clear; set agent.listen to a \
                 loopback address such as 127.0.0.1:8080 and serve other hosts in agent.https"
            ),
            Self::Listen { listen, error } => write!(
                f,
                "listen on {listen}: {error}; end the process that has this port or choose \
                 another agent.listen"
            ),
            Self::Store(error) => error.fmt(f),
            Self::Ng(error) => error.fmt(f),
            Self::Https(error) => error.fmt(f),
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
            Self::Ng(error) => Some(error),
            Self::Https(error) => Some(error),
        }
    }
}
