// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The attributes that say which way media goes and where RTCP is.

use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Connection, Section};
use crate::decimal::decimal;

/// Which way media goes, as the sender of the session description sees it (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Direction {
    /// `a=sendrecv`, and what holds where nothing is said.
    #[default]
    SendRecv,
    /// `a=sendonly`: the other side is on hold.
    SendOnly,
    /// `a=recvonly`.
    RecvOnly,
    /// `a=inactive`.
    Inactive,
}

impl Direction {
    /// Every direction.
    pub const ALL: [Self; 4] = [
        Self::SendRecv,
        Self::SendOnly,
        Self::RecvOnly,
        Self::Inactive,
    ];

    /// The name of the attribute.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Whether the sender of the session description sends media.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the sender of the session description receives media.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The first direction stated in a section itself.
    pub(super) fn of(section: &Section) -> Option<Self> {
        section
            .attribute_names()
            .find_map(|name| Self::ALL.into_iter().find(|each| each.name() == name))
    }
}

/// `a=rtcp`: where RTCP is received, if not one port above RTP (RFC 3605).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rtcp {
    /// The port.
    pub port: u16,
    /// The address, if it is not that of RTP.
    pub address: Option<IpAddr>,
}

impl Rtcp {
    /// Reads the value of the attribute.
    pub fn parse(value: &str) -> Option<Self> {
        let (port, connection) = match value.trim_end().split_once(' ') {
            None => (value, None),
            Some((port, connection)) => (port, Some(Connection::parse(connection)?.ip()?)),
        };
        Some(Self {
            port: decimal(port.trim_end()).filter(|port| *port != 0)?,
            address: connection,
        })
    }
}

impl fmt::Display for Rtcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.port)?;
        match self.address {
            None => Ok(()),
            Some(address) => write!(f, " {}", Connection::from(address)),
        }
    }
}
