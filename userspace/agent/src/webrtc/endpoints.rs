// SPDX-License-Identifier: Apache-2.0 OR MIT

//! All endpoints: there is one for each port that a session wants one for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use sallyport_signalling::dtls::{Fingerprint, Hash};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tracing::error;
use zeroize::Zeroizing;

use super::association::Identity;
use super::certificate::Certificate;
use super::endpoint::{Report, Shared, Terms, serve};
use super::pace::{Pace, Rate};
use crate::manager::lock;

/// How many handshakes may run at once: each takes some 50 KiB for its time, and a millisecond of
/// a core.
const MAX_HANDSHAKES: usize = 256;

/// How many of one session may: nobody takes the place of everybody else.
const MAX_OF_SESSION: usize = 8;

/// How many reports may wait.
const MAX_REPORTS: usize = 1024;

/// What sessions want, by local address and port.
pub(crate) type Wanted = BTreeMap<SocketAddr, Terms>;

/// All endpoints.
pub(crate) struct Endpoints {
    certificate: Certificate,
    shared: Arc<Shared>,
    /// An endpoint ends when its sender is gone.
    open: Mutex<HashMap<SocketAddr, Open>>,
}

struct Open {
    terms: watch::Sender<Terms>,
    /// One for each handshake of the session that may run.
    permits: Arc<Semaphore>,
}

impl Endpoints {
    /// No endpoints yet, and where their reports come from. `None` when there can be none, which is
    /// logged.
    pub(crate) fn new(
        secret: impl Fn(&[u8]) -> Zeroizing<[u8; 32]>,
    ) -> Option<(Self, mpsc::Receiver<Report>)> {
        let certificate = Certificate::derive(secret)
            .inspect_err(|problem| error!("make a certificate for DTLS: {problem}"))
            .ok()?;
        let identity = Identity::new(&certificate)
            .inspect_err(|problem| error!("set up DTLS: {problem}"))
            .ok()?;
        let (reports, reported) = mpsc::channel(MAX_REPORTS);
        let endpoints = Self {
            certificate,
            shared: Arc::new(Shared {
                identity,
                permits: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
                reports,
                strangers: Mutex::new(Pace::new(Rate::ALL_STRANGERS, Instant::now())),
            }),
            open: Mutex::default(),
        };
        Some((endpoints, reported))
    }

    /// The hash of our certificate.
    pub(crate) fn fingerprint(&self, hash: Hash) -> Fingerprint {
        self.certificate.fingerprint(hash)
    }

    /// Opens, changes and closes the endpoints of one session.
    pub(crate) fn turn(&self, before: &Wanted, after: Wanted) {
        if before.is_empty() && after.is_empty() {
            return;
        }
        let mut open = lock(&self.open);
        let known = before.keys().find_map(|local| open.get(local));
        let permits = known.map_or_else(
            || Arc::new(Semaphore::new(MAX_OF_SESSION)),
            |known| Arc::clone(&known.permits),
        );
        for local in before.keys().filter(|local| !after.contains_key(local)) {
            open.remove(local);
        }
        for (local, terms) in after {
            if let Some(endpoint) = open.get(&local) {
                endpoint.terms.send_if_modified(|known| {
                    let has_changed = *known != terms;
                    *known = terms;
                    has_changed
                });
                continue;
            }
            // Before its packets come: those without a socket are dropped.
            let bound = UdpSocket::bind(local).and_then(|socket| {
                socket.set_nonblocking(true)?;
                Ok(socket)
            });
            let (sender, receiver) = watch::channel(terms);
            let shared = Arc::clone(&self.shared);
            tokio::spawn(serve(local, bound, receiver, shared, Arc::clone(&permits)));
            open.insert(
                local,
                Open {
                    terms: sender,
                    permits: Arc::clone(&permits),
                },
            );
        }
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("open", &lock(&self.open).len())
            .finish_non_exhaustive()
    }
}
