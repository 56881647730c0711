// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the encrypted listeners are told at their start, and why they cannot run.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use super::certificate::{Certificate, CertificateError};
use crate::token::{Token, TokenError};

/// Where HTTP is served with TLS: the API, and `/ng`, `/ng-plain` and WebSockets where there is an
/// ng front end. What is not here is an error.
///
/// ```toml
/// [agent.https]
/// listen = ["192.0.2.1:8443"]
/// certificate = "/etc/sallyport/https.pem"     # PEM: the server's own first, then its issuers'
/// key = "/etc/sallyport/https.key"             # PEM: PKCS #8, PKCS #1 or SEC 1, no passphrase
/// allow = ["10.0.0.8/32"]                      # who may ask at addresses that are not loopback
/// token_file = "/etc/sallyport/https.token"    # Authorization: Bearer …; none
/// ```
///
/// Without a token here, that of `[agent.ng]` is asked for where ng is spoken.
/// Certificate and key are read again when their files change. TLS is 1.2 or 1.3.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Where connections are awaited.
    pub listen: Vec<SocketAddr>,
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The private key of its first certificate; not for everybody's eyes.
    pub key: PathBuf,
    /// Who may ask at addresses that are not loopback.
    #[serde(default)]
    pub allow: Vec<IpNet>,
    /// A file with what clients must know, 16 bytes or more, for its owner's eyes only.
    pub token_file: Option<PathBuf>,
}

impl Config {
    /// At these addresses, with these files; nobody elsewhere may ask, and there is no token.
    pub const fn new(listen: Vec<SocketAddr>, certificate: PathBuf, key: PathBuf) -> Self {
        Self {
            listen,
            certificate,
            key,
            allow: Vec::new(),
            token_file: None,
        }
    }

    /// Finds what cannot be meant, and reads the files.
    pub(super) fn read(&self) -> Result<(Certificate, Option<Token>), HttpsError> {
        if self.listen.is_empty() {
            return Err(HttpsError::Nowhere);
        }
        for listen in &self.listen {
            if !listen.ip().is_loopback() && self.allow.is_empty() {
                return Err(HttpsError::Exposed { listen: *listen });
            }
        }
        let token = Token::read("agent.https.token_file", self.token_file.as_deref())
            .map_err(HttpsError::Token)?;
        let certificate = Certificate::read(self.certificate.clone(), self.key.clone())
            .map_err(HttpsError::Certificate)?;
        Ok((certificate, token))
    }

    /// Finds what would keep the listeners from starting.
    pub(crate) fn check(&self) -> Result<(), HttpsError> {
        self.read().map(drop)
    }
}

/// Why the encrypted listeners cannot run.
#[derive(Debug)]
#[non_exhaustive]
pub enum HttpsError {
    /// No address is given.
    Nowhere,
    /// Other hosts could ask, and nobody said which may.
    Exposed {
        /// The address.
        listen: SocketAddr,
    },
    /// An address cannot be listened on.
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// There is no certificate.
    Certificate(CertificateError),
    /// There is no token.
    Token(TokenError),
}

impl fmt::Display for HttpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str(
                "agent.https.listen: empty; list an address such as 127.0.0.1:8443, or leave out \
                 the whole section",
            ),
            Self::Exposed { listen } => write!(
                f,
                "agent.https.listen: {listen} can be reached from other hosts; list those that \
                 may ask in agent.https.allow, or listen on 127.0.0.1:{}",
                listen.port()
            ),
            Self::Listen { listen, error } => write!(
                f,
                "agent.https.listen: listen on {listen}: {error}; end the process that has this \
                 port or choose another"
            ),
            Self::Certificate(error) => error.fmt(f),
            Self::Token(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HttpsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Nowhere | Self::Exposed { .. } => None,
            Self::Listen { error, .. } => Some(error),
            Self::Certificate(error) => Some(error),
            Self::Token(error) => Some(error),
        }
    }
}
