// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The addresses of a session description: `o=` and `c=`.

use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Who made the session description (RFC 8866 section 5.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The user's name, `-` for none.
    pub username: String,
    /// The number of the session.
    pub id: String,
    /// The number of this version of it.
    pub version: String,
    /// The address of the host: network type, address type and address.
    pub host: Connection,
}

impl Origin {
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut fields = value.splitn(4, ' ');
        let mut field = || fields.next().filter(|field| !field.is_empty());
        Some(Self {
            username: field()?.to_owned(),
            id: field()?.to_owned(),
            version: field()?.to_owned(),
            host: Connection::parse(field()?)?,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            username,
            id,
            version,
            host,
        } = self;
        write!(f, "{username} {id} {version} {host}")
    }
}

/// Where media is to be sent (RFC 8866 section 5.7).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Connection {
    text: String,
    ip: Option<IpAddr>,
}

impl Connection {
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut fields = value.split(' ').filter(|field| !field.is_empty());
        let (_network, kind, address) = (fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() {
            return None;
        }
        // Behind a multicast address: time to live, number of addresses.
        let ip = address.split('/').next().and_then(|ip| ip.parse().ok());
        let fits = match (kind, ip) {
            ("IP4", Some(IpAddr::V6(_))) | ("IP6", Some(IpAddr::V4(_))) => false,
            // Digits and dots only: no host name, but an address with a mistake.
            ("IP4", None) => address.contains(|c: char| !c.is_ascii_digit() && c != '.'),
            ("IP6", None) => !address.contains(':'),
            _ => true,
        };
        fits.then(|| Self {
            text: value.to_owned(),
            ip,
        })
    }

    /// The address; `None` for a host name.
    pub const fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The host name; `None` for an address, or a name that stands for none.
    pub fn host_name(&self) -> Option<&str> {
        let is_name = self.ip.is_none() && !self.is_nowhere();
        let name = self
            .text
            .split(' ')
            .filter(|field| !field.is_empty())
            .nth(2);
        name.filter(|_| is_name)
    }

    /// Whether this stands for no address at all, so that nothing is to be sent: the unspecified
    /// address (RFC 3264 section 8.4), or a name that never resolves, as used with IPv6 (RFC 6337
    /// section 5.1).
    pub fn is_nowhere(&self) -> bool {
        match self.ip {
            Some(ip) => ip.is_unspecified(),
            None => self.text.trim_end().ends_with(".invalid"),
        }
    }
}

impl From<IpAddr> for Connection {
    fn from(ip: IpAddr) -> Self {
        let kind = if ip.is_ipv4() { "IP4" } else { "IP6" };
        Self {
            text: format!("IN {kind} {ip}"),
            ip: Some(ip),
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
