// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Connections, once they are encrypted.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener as Listens};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::peers::{Guarded, Peer};

/// How many handshakes may be under way. The next connections wait for their turn.
const MAX_HANDSHAKES: usize = 64;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A listener that speaks TLS with those who may ask.
pub(super) struct Listener {
    guarded: Guarded,
    tls: TlsAcceptor,
    handshakes: JoinSet<Option<Accepted>>,
}

type Accepted = (TlsStream<TcpStream>, IpAddr);

impl Listener {
    pub(super) fn new(guarded: Guarded, tls: TlsAcceptor) -> Self {
        Self {
            guarded,
            tls,
            handshakes: JoinSet::new(),
        }
    }
}

impl Listens for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = IpAddr;

    async fn accept(&mut self) -> Accepted {
        loop {
            tokio::select! {
                (stream, peer) = self.guarded.accept(),
                    if self.handshakes.len() < MAX_HANDSHAKES =>
                {
                    let handshake = timeout(PATIENCE, self.tls.accept(stream));
                    self.handshakes.spawn(async move {
                        let done = handshake.await.unwrap_or_else(|late| Err(late.into()));
                        done.inspect_err(|error| debug!(%error, %peer, "TLS handshake"))
                            .ok()
                            .map(|stream| (stream, peer))
                    });
                }
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
