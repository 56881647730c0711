// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The certificate that clients are shown, which is renewed while they are served.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::sleep;
use tracing::{info, warn};
use zeroize::Zeroizing;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// A certificate chain with its key, as they are in two files.
#[derive(Debug)]
pub(super) struct Certificate {
    files: Files,
    /// What the files were like when they were last read.
    read: Stamps,
    current: Arc<Current>,
}

impl Certificate {
    /// Reads both files.
    pub(super) fn read(chain: PathBuf, key: PathBuf) -> Result<Self, CertificateError> {
        let files = Files { chain, key };
        // First, so that what changes meanwhile is read again.
        let read = files.stamps();
        let current = Arc::new(Current(RwLock::new(Arc::new(files.read()?))));
        Ok(Self {
            files,
            read,
            current,
        })
    }

    /// What a handshake takes the certificate from.
    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::clone(&self.current) as _
    }

    /// Reads the files again whenever they change. Those that do not go together, as while one is
    /// new and the other is not, are left alone until they change again.
    pub(super) async fn follow(mut self) -> ! {
        loop {
            sleep(INTERVAL).await;
            let stamps = self.files.stamps();
            if stamps == self.read {
                continue;
            }
            self.read = stamps;
            match self.files.read() {
                Ok(renewed) => {
                    self.current.replace(renewed);
                    info!(file = %self.files.chain.display(), "the certificate is renewed");
                }
                Err(error) => warn!("{error}; until then the certificate is as it was"),
            }
        }
    }
}

/// Where certificate chain and key are.
#[derive(Debug)]
struct Files {
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn read(&self) -> Result<CertifiedKey, CertificateError> {
        let chain = read("agent.https.certificate", &self.chain)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| CertificateError::NoCertificate {
            path: self.chain.clone(),
        })?;
        let key = self.read_key()?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| {
            CertificateError::Unfit {
                chain: self.chain.clone(),
                key: self.key.clone(),
                error,
            }
        })
    }

    fn read_key(&self) -> Result<PrivateKeyDer<'static>, CertificateError> {
        let text = read("agent.https.key", &self.key)?;
        let path = || self.key.clone();
        // A group may be made for those who serve TLS, as Debian has one.
        let mode = fs::metadata(&self.key).map(|file| file.permissions().mode());
        if mode.is_ok_and(|mode| mode & 0o007 != 0) {
            return Err(CertificateError::OpenToOthers { path: path() });
        }
        PrivateKeyDer::from_pem_slice(&text).map_err(|_| CertificateError::NoKey { path: path() })
    }

    fn stamps(&self) -> Stamps {
        [&self.chain, &self.key].map(|path| {
            let file = fs::metadata(path).ok()?;
            let changed = (file.mtime(), file.mtime_nsec());
            Some((file.dev(), file.ino(), changed, file.size()))
        })
    }
}

fn read(key: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let text = fs::read(path).map_err(|error| CertificateError::Unreadable {
        key,
        path: path.to_owned(),
        error,
    })?;
    Ok(Zeroizing::new(text))
}

/// By what another file, or other content, is told: of each file that is there, its device, inode,
/// time of change and size.
type Stamps = [Option<(u64, u64, (i64, i64), u64)>; 2];

/// What the next handshake shows.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    fn replace(&self, renewed: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(renewed);
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

/// Why there is no certificate.
#[derive(Debug)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file cannot be read.
    Unreadable {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is none in the file.
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// There is no key in the file.
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Everybody may read the key.
    OpenToOthers {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key are of another kind than can be used, or do not go together.
    Unfit {
        /// The file of the certificates.
        chain: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        error: rustls::Error,
    },
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { key, path, error } => write!(
                f,
                "{key}: read {}: {error}; make the file, and let the agent's user read it",
                path.display()
            ),
            Self::NoCertificate { path } => write!(
                f,
                "agent.https.certificate: no certificates in {}; put the server's own there in \
                 PEM, and behind it those of its issuers",
                path.display()
            ),
            Self::NoKey { path } => write!(
                f,
                "agent.https.key: no private key in {}; put it there in PEM, without a passphrase",
                path.display()
            ),
            Self::OpenToOthers { path } => write!(
                f,
                "agent.https.key: everybody may read {}; chmod 600 it, and have a certificate \
                 made for a new key",
                path.display()
            ),
            Self::Unfit { chain, key, error } => write!(
                f,
                "agent.https.key: {} with the certificate in {}: {error}; give an ECDSA, Ed25519 \
                 or RSA key and the certificate that was made for it",
                key.display(),
                chain.display()
            ),
        }
    }
}

impl std::error::Error for CertificateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            Self::Unfit { error, .. } => Some(error),
            _ => None,
        }
    }
}
