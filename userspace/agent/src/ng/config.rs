// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the front end is told at its start, and why it cannot run.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use sallyport_flow::Realm;
use sallyport_signalling::ng::Detail;
use serde::Deserialize;

use crate::token::{Token, TokenError};

/// What the front end is told at its start. What is not here is an error.
///
/// ```toml
/// [agent.ng]
/// udp = ["127.0.0.1:2223"]       # default; Kamailio's rtpengine_sock "udp:127.0.0.1:2223"
/// tcp = []                       # requests back to back, bencode only
/// http = []                      # loopback only: POST /ng and /ng-plain, GET /ping, WebSocket on the same paths
/// allow = ["10.0.0.8/32"]        # who may ask at addresses that are not loopback; nobody
/// token_file = "/etc/sallyport/ng.token"   # HTTP: Authorization: Bearer …; none
/// delete_reply = "totals"        # statistics of a delete: "none", "totals" or "full"
/// interfaces = { external = "access", internal = "core" }   # default; names in direction=…
/// ```
///
/// Whoever may ask learns and sets the keys of calls, and nothing here is encrypted: outside the
/// host, keep UDP and TCP on a network of their own, or serve HTTP with TLS (`[agent.https]`).
/// MOS variables of Kamailio and OpenSIPS need `delete_reply = "full"`, whose replies do not fit
/// in a packet.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Where datagrams are awaited. Answers leave from the address that was asked, so each is
    /// listed by itself.
    pub udp: Vec<SocketAddr>,
    /// Where connections are awaited.
    pub tcp: Vec<SocketAddr>,
    /// Where HTTP is served; loopback addresses.
    pub http: Vec<SocketAddr>,
    /// Who may ask at addresses that are not loopback.
    pub allow: Vec<IpNet>,
    /// A file with what HTTP clients must know, 16 bytes or more, for its owner's eyes only.
    pub token_file: Option<PathBuf>,
    /// How much of a call's statistics a deletion is answered with.
    pub delete_reply: DeleteReply,
    /// What clients call the realms in `direction` and the like, beside `access` and `core`.
    pub interfaces: BTreeMap<String, Realm>,
}

/// How much of a call's statistics a deletion is answered with.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DeleteReply {
    /// Nothing.
    None,
    /// The totals.
    #[default]
    Totals,
    /// As much as a query.
    Full,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            udp: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 2223))],
            tcp: Vec::new(),
            http: Vec::new(),
            allow: Vec::new(),
            token_file: None,
            delete_reply: DeleteReply::default(),
            interfaces: [("external", Realm::Access), ("internal", Realm::Core)]
                .map(|(name, realm)| (name.to_owned(), realm))
                .into(),
        }
    }
}

impl Config {
    /// Finds what cannot be meant.
    pub(crate) fn check(&self) -> Result<(), NgError> {
        for listen in &self.udp {
            if listen.ip().is_unspecified() {
                return Err(NgError::Unspecified { listen: *listen });
            }
        }
        if let Some(listen) = self.http.iter().find(|listen| !listen.ip().is_loopback()) {
            return Err(NgError::HttpInClear { listen: *listen });
        }
        for (key, addresses) in [("udp", &self.udp), ("tcp", &self.tcp)] {
            for listen in addresses {
                if !listen.ip().is_loopback() && self.allow.is_empty() {
                    return Err(NgError::Exposed {
                        key,
                        listen: *listen,
                    });
                }
            }
        }
        Ok(())
    }

    /// Reads the token.
    pub(crate) fn token(&self) -> Result<Option<Token>, NgError> {
        Token::read("agent.ng.token_file", self.token_file.as_deref()).map_err(NgError::Token)
    }
}

impl From<DeleteReply> for Detail {
    fn from(reply: DeleteReply) -> Self {
        match reply {
            DeleteReply::None => Self::None,
            DeleteReply::Totals => Self::Totals,
            DeleteReply::Full => Self::Full,
        }
    }
}

/// Why the front end cannot run.
#[derive(Debug)]
#[non_exhaustive]
pub enum NgError {
    /// Other hosts could ask, and nobody said which may.
    Exposed {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        listen: SocketAddr,
    },
    /// Answers over UDP might leave from another address than was asked.
    Unspecified {
        /// The address.
        listen: SocketAddr,
    },
    /// An address cannot be listened on.
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        listen: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// HTTP would be reachable from other hosts, and it carries keys.
    HttpInClear {
        /// The address.
        listen: SocketAddr,
    },
    /// There is no token.
    Token(TokenError),
}

impl NgError {
    pub(super) const fn listen(key: &'static str, listen: SocketAddr, error: io::Error) -> Self {
        Self::Listen { key, listen, error }
    }
}

impl fmt::Display for NgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exposed { key, listen } => write!(
                f,
                "agent.ng.{key}: {listen} can be reached from other hosts; list those that may \
                 ask in agent.ng.allow, or listen on 127.0.0.1:{}",
                listen.port()
            ),
            Self::Unspecified { listen } => write!(
                f,
                "agent.ng.udp: answers to requests at {listen} might leave from another address; \
                 list each address of its own"
            ),
            Self::Listen { key, listen, error } => write!(
                f,
                "agent.ng.{key}: listen on {listen}: {error}; end the process that has this port \
                 or choose another"
            ),
            Self::HttpInClear { listen } => write!(
                f,
                "agent.ng.http: at {listen} keys would cross the network in the clear; serve \
                 other hosts in agent.https, and listen on 127.0.0.1:{} here",
                listen.port()
            ),
            Self::Token(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NgError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { error, .. } => Some(error),
            Self::Token(error) => Some(error),
            Self::Exposed { .. } | Self::Unspecified { .. } | Self::HttpInClear { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn the_documented_file_is_read_and_nothing_else() {
        let config = parse(
            r#"
            udp = ["127.0.0.1:2223"]
            tcp = ["192.0.2.1:2224"]
            http = ["[::1]:2225"]
            allow = ["10.0.0.8/32"]
            token_file = "/etc/sallyport/ng.token"
            delete_reply = "full"
            "#,
        )
        .unwrap();
        assert_eq!(config.delete_reply, DeleteReply::Full);
        assert!(config.check().is_ok());
        assert_eq!(parse("").unwrap().udp, Config::default().udp);
        for text in [
            "upd = []",
            "udp = [\"2223\"]",
            "allow = [\"10.0.0.8\"]",
            "delete_reply = \"some\"",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_to_write_instead() {
        for (text, error) in [
            (
                "udp = [\"0.0.0.0:2223\"]\nallow = [\"10.0.0.0/8\"]",
                "agent.ng.udp: answers to requests at 0.0.0.0:2223 might leave from another \
                 address; list each address of its own",
            ),
            (
                "http = [\"192.0.2.1:2225\"]\nallow = [\"10.0.0.0/8\"]",
                "agent.ng.http: at 192.0.2.1:2225 keys would cross the network in the clear; \
                 serve other hosts in agent.https, and listen on 127.0.0.1:2225 here",
            ),
            (
                "tcp = [\"0.0.0.0:2224\"]",
                "agent.ng.tcp: 0.0.0.0:2224 can be reached from other hosts; list those that may \
                 ask in agent.ng.allow, or listen on 127.0.0.1:2224",
            ),
        ] {
            assert_eq!(parse(text).unwrap().check().unwrap_err().to_string(), error);
        }
    }
}
