// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Why the data plane cannot start, or had to stop.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::nic::MAX_MTU;
use crate::xdp::XdpError;
use crate::xsk::XskError;

/// Why the data plane cannot start, or had to stop. Each says what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum DataPlaneError {
    /// A configured network interface does not exist.
    NicMissing {
        /// Its name.
        nic: String,
    },
    /// A configured network interface has no Ethernet address.
    NotEthernet {
        /// Its name.
        nic: String,
    },
    /// Packets of the interface do not fit a frame.
    MtuTooBig {
        /// Its name.
        nic: String,
        /// Its MTU in bytes.
        mtu: usize,
    },
    /// The interfaces have fewer queues than configured.
    TooFewQueues {
        /// The interface.
        nic: String,
        /// How many it has.
        has: u32,
        /// How many are configured.
        wanted: u32,
    },
    /// The XDP program could not be loaded or attached.
    Xdp(XdpError),
    /// An AF_XDP socket could not be opened.
    Xsk(XskError),
    /// The kernel's routes cannot be followed.
    Netlink(String),
    /// The socket for the agent could not be made.
    Socket {
        /// Where.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// Another data plane listens at the socket.
    SocketTaken {
        /// Where.
        path: PathBuf,
    },
    /// A worker could not be started.
    Thread(io::Error),
    /// The kernel gave no random numbers.
    Random(String),
    /// A worker ended although nobody told it to.
    WorkerDied {
        /// Its number.
        worker: u32,
    },
}

impl fmt::Display for DataPlaneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NicMissing { nic } => write!(
                f,
                "find {nic}: no such network interface; correct realm.*.nic in the configuration"
            ),
            Self::NotEthernet { nic } => write!(
                f,
                "find {nic}: it has no Ethernet address; give a NIC, a veth or a VLAN of one"
            ),
            Self::MtuTooBig { nic, mtu } => write!(
                f,
                "{nic}: its MTU of {mtu} does not fit a frame; `ip link set {nic} mtu {MAX_MTU}`"
            ),
            Self::TooFewQueues { nic, has, wanted } => write!(
                f,
                "{nic} has {has} queues, {wanted} are configured; lower dataplane.queues or \
                 `ethtool -L {nic} combined {wanted}`"
            ),
            Self::Xdp(error) => error.fmt(f),
            Self::Xsk(error) => error.fmt(f),
            Self::Netlink(error) => {
                write!(
                    f,
                    "follow routes and neighbours: {error}; is rtnetlink allowed here?"
                )
            }
            Self::Socket { path, error } => write!(
                f,
                "listen at {}: {error}; set dataplane.socket to a path that can be written",
                path.display()
            ),
            Self::SocketTaken { path } => write!(
                f,
                "listen at {}: another data plane answers there; stop it, or set \
                 dataplane.socket to another path",
                path.display()
            ),
            Self::Thread(error) => {
                write!(f, "start a worker: {error}; is the thread limit reached?")
            }
            Self::Random(error) => {
                write!(f, "draw a random number: {error}; is /dev/urandom there?")
            }
            Self::WorkerDied { worker } => {
                write!(
                    f,
                    "worker {worker} died; please report the message above it"
                )
            }
        }
    }
}

impl std::error::Error for DataPlaneError {}

impl From<XdpError> for DataPlaneError {
    fn from(error: XdpError) -> Self {
        Self::Xdp(error)
    }
}

impl From<XskError> for DataPlaneError {
    fn from(error: XskError) -> Self {
        Self::Xsk(error)
    }
}
