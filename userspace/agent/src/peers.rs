// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Who may ask.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::ng::Control;

/// Who may ask at one of our addresses: anyone on this host at a loopback address, elsewhere those
/// who are listed.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    allow: Option<Vec<IpNet>>,
    control: Control,
}

impl Peers {
    pub(crate) fn new(listen: SocketAddr, allow: &[IpNet], control: Control) -> Self {
        let is_loopback = listen.ip().is_loopback();
        Self {
            allow: (!is_loopback).then(|| allow.to_vec()),
            control,
        }
    }

    /// The address of a peer, if it may ask. One that may not is counted.
    pub(crate) fn admit(&self, peer: SocketAddr) -> Option<IpAddr> {
        let ip = peer.ip().to_canonical();
        let is_allowed = match &self.allow {
            None => true,
            Some(networks) => networks.iter().any(|network| network.contains(&ip)),
        };
        if !is_allowed {
            debug!(%peer, "not among those who may ask");
            self.control.count_stranger();
        }
        is_allowed.then_some(ip)
    }
}

/// A listener that hangs up on those who may not ask.
#[derive(Debug)]
pub(crate) struct Guarded {
    listener: TcpListener,
    peers: Peers,
}

impl Guarded {
    pub(crate) const fn new(listener: TcpListener, peers: Peers) -> Self {
        Self { listener, peers }
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }
}

impl Listener for Guarded {
    type Io = TcpStream;
    type Addr = IpAddr;

    async fn accept(&mut self) -> (TcpStream, IpAddr) {
        /// How long to wait when no connection can be accepted, for want of file descriptors.
        const PAUSE: Duration = Duration::from_millis(100);
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(peer) = self.peers.admit(peer) {
                        // Requests and answers are short and waited for.
                        let _ = stream.set_nodelay(true);
                        return (stream, peer);
                    }
                }
                Err(error) => {
                    warn!(%error, "accept a connection; raise the limit on open files");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<IpAddr> {
        self.listener.local_addr().map(|address| address.ip())
    }
}

/// Who asks, as those are told who answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Connected<IncomingStream<'_, Guarded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Guarded>) -> Self {
        Self(*stream.remote_addr())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    fn is_admitted(listen: &str, peer: &str) -> bool {
        let allow = ["10.0.0.0/8", "2001:db8::7/128"].map(|network| network.parse().unwrap());
        let control = Control::default();
        let peers = Peers::new(listen.parse().unwrap(), &allow, control.clone());
        let peer = SocketAddr::new(peer.parse().unwrap(), 40_000);
        let is_admitted = peers.admit(peer).is_some();
        let strangers = control.counters().strangers.load(Ordering::Relaxed);
        assert_eq!(strangers, u64::from(!is_admitted));
        is_admitted
    }

    #[test]
    fn whoever_reaches_loopback_may_ask_and_elsewhere_who_is_listed() {
        for (listen, peer, expected) in [
            ("127.0.0.1:2223", "127.0.0.1", true),
            ("[::1]:2223", "::1", true),
            ("192.0.2.1:2223", "10.1.2.3", true),
            ("192.0.2.1:2223", "11.1.2.3", false),
            ("192.0.2.1:2223", "127.0.0.1", false),
            ("192.0.2.1:2223", "192.0.2.1", false),
            ("[2001:db8::1]:2223", "2001:db8::7", true),
            ("[2001:db8::1]:2223", "2001:db8::8", false),
            ("[::]:2223", "::ffff:10.1.2.3", true),
            ("[::]:2223", "::ffff:11.1.2.3", false),
        ] {
            assert_eq!(is_admitted(listen, peer), expected, "{peer} at {listen}");
        }
    }
}
