// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Connections, once they are encrypted.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener as Listens};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::connection::Connection;
use crate::peers::{Guarded, Peer};

/// How many connections there may be, with those whose handshakes are under way.
const MAX_CONNECTIONS: usize = 1024;

/// How many handshakes of a peer may be under way. The oldest ends for the next, so that those who
/// say nothing keep nobody waiting, not even at the same address.
const MAX_HANDSHAKES: usize = 32;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A listener that speaks TLS with those who may ask.
pub(super) struct Listener {
    guarded: Guarded,
    tls: TlsAcceptor,
    /// For one connection each.
    room: Arc<Semaphore>,
    handshakes: JoinSet<Option<Accepted>>,
    /// Those that may be under way, and whose they are, the oldest first.
    under_way: VecDeque<(IpAddr, AbortHandle)>,
}

type Stream = Connection<TlsStream<TcpStream>>;

type Accepted = (Stream, IpAddr);

impl Listener {
    pub(super) fn new(guarded: Guarded, tls: TlsAcceptor) -> Self {
        Self {
            guarded,
            tls,
            room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            handshakes: JoinSet::new(),
            under_way: VecDeque::new(),
        }
    }

    fn begin(&mut self, stream: TcpStream, peer: IpAddr) {
        self.under_way
            .retain(|(_, handshake)| !handshake.is_finished());
        let is_of_peer = |(of, _): &(IpAddr, AbortHandle)| *of == peer;
        if self.under_way.iter().filter(|of| is_of_peer(of)).count() >= MAX_HANDSHAKES
            && let Some(oldest) = self.under_way.iter().position(is_of_peer)
            && let Some((_, oldest)) = self.under_way.remove(oldest)
        {
            debug!(%peer, "too many TLS handshakes at once: the oldest ends");
            oldest.abort();
        }
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            debug!(%peer, "too many connections");
            return;
        };
        let handshake = timeout(PATIENCE, self.tls.accept(stream));
        let handshake = self.handshakes.spawn(async move {
            let done = handshake.await.unwrap_or_else(|late| Err(late.into()));
            done.inspect_err(|error| debug!(%error, %peer, "TLS handshake"))
                .ok()
                .map(|stream| (Connection::new(stream, room), peer))
        });
        self.under_way.push_back((peer, handshake));
    }
}

impl Listens for Listener {
    type Io = Stream;
    type Addr = IpAddr;

    async fn accept(&mut self) -> Accepted {
        loop {
            tokio::select! {
                (stream, peer) = self.guarded.accept() => self.begin(stream, peer),
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(accepted)) = done {
                        return accepted;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<IpAddr> {
        self.guarded.local_addr()
    }
}

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handshakes = self.handshakes.len();
        f.debug_struct("Listener")
            .field("guarded", &self.guarded)
            .field("handshakes", &handshakes)
            .finish_non_exhaustive()
    }
}
