// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The ng front end: where SIP proxies send their requests, and what becomes of them on the way to
//! the calls and back.
//!
//! The way of a message is the order of the modules: a peer that may ask sends it over UDP, TCP,
//! HTTP or a WebSocket; one whose cookie is known gets the answer it got before; the others are
//! parsed (`sallyport_signalling::ng`) and handed to [`Calls`], many at a time.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use sallyport_agent::ng::{Calls, Config, NgError, Server};
//! # async fn start(calls: Arc<impl Calls>) -> Result<(), NgError> {
//! let server = Server::bind(&Config::default(), calls).await?;
//! server.run(std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

/// What the front end is told at its start, and why it cannot run.
mod config;

/// Datagrams.
mod udp;

/// Requests back to back on a connection.
mod tcp;

/// HTTP and WebSocket.
mod http;

/// The answers given lately.
mod cookies;

/// From message to command to reply.
mod front;

/// What is counted.
mod counters;

/// Those who know the calls.
mod calls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

pub use calls::Calls;
pub use config::{Config, DeleteReply, NgError};
pub use counters::Counters;
pub use front::Control;

use crate::peers::{Guarded, Peers};
use crate::token::Token;
use front::Front;
use http::Over;

/// How long requests under way may take once the front end is told to end.
const GRACE: Duration = Duration::from_secs(2);

/// The front end with its sockets.
#[derive(Debug)]
pub struct Server<C> {
    front: Arc<Front<C>>,
    udp: Vec<(UdpSocket, Peers)>,
    tcp: Vec<Guarded>,
    http: Vec<Guarded>,
    token: Option<Token>,
}

impl<C: Calls> Server<C> {
    /// Opens every socket, so that no one is told to ask where nobody listens.
    ///
    /// # Errors
    /// An [`NgError`] for the first thing in the configuration that cannot be done.
    pub async fn bind(config: &Config, calls: Arc<C>) -> Result<Self, NgError> {
        config.check()?;
        let front = Arc::new(Front::new(config, calls));
        let peers = |listen: SocketAddr| Peers::new(listen, &config.allow, front.control());
        let mut server = Self {
            front: Arc::clone(&front),
            udp: Vec::new(),
            tcp: Vec::new(),
            http: Vec::new(),
            token: config.token()?,
        };
        for listen in &config.udp {
            let socket = UdpSocket::bind(listen)
                .await
                .map_err(|error| NgError::listen("udp", *listen, error))?;
            server.udp.push((socket, peers(*listen)));
        }
        for (key, addresses, guarded) in [
            ("tcp", &config.tcp, &mut server.tcp),
            ("http", &config.http, &mut server.http),
        ] {
            for listen in addresses {
                let listener = TcpListener::bind(listen)
                    .await
                    .map_err(|error| NgError::listen(key, *listen, error))?;
                guarded.push(Guarded::new(listener, peers(*listen)));
            }
        }
        Ok(server)
    }

    /// Where UDP is listened on, in the order of the configuration.
    pub fn udp_addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.udp.iter().map(|(socket, _)| socket.local_addr());
        addresses.filter_map(Result::ok).collect()
    }

    /// Where TCP is listened on, in the order of the configuration.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(Guarded::address).collect()
    }

    /// Where HTTP is listened on, in the order of the configuration.
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        self.http.iter().filter_map(Guarded::address).collect()
    }

    /// What is counted, and the drain.
    pub fn control(&self) -> Control {
        self.front.control()
    }

    /// What is served over HTTPS. Our token is not asked for where one of its own is.
    pub(crate) fn https_router(&self, has_token: bool) -> Router {
        let router = http::router(Arc::clone(&self.front), Over::Tls);
        match self.token.clone().filter(|_| !has_token) {
            Some(token) => token.guard(router),
            None => router,
        }
    }

    /// Answers requests until `shutdown` completes, and then those that are under way.
    ///
    /// Runs on any tokio runtime with I/O and time enabled; on one with several threads, requests
    /// run on all of them.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            front,
            udp,
            tcp,
            http,
            token,
        } = self;
        let mut listeners = JoinSet::new();
        for (socket, peers) in udp {
            listeners.spawn(udp::serve(socket, peers, Arc::clone(&front)));
        }
        for listener in tcp {
            listeners.spawn(tcp::serve(listener, Arc::clone(&front)));
        }
        let router = http::router(Arc::clone(&front), Over::Tcp);
        let router = match token {
            Some(token) => token.guard(router),
            None => router,
        };
        for listener in http {
            listeners.spawn(http::serve(listener, router.clone(), Arc::clone(&front)));
        }
        // It would hold the front end open.
        drop(router);
        info!(listeners = listeners.len(), "ng front end started");
        tokio::select! {
            () = shutdown => {}
            () = forget_cookies(&front) => {}
        }
        if timeout(GRACE, front.finish()).await.is_err() {
            warn!("requests that were under way are not answered");
        }
        info!("ng front end ended");
    }
}

async fn forget_cookies<C: Calls>(front: &Front<C>) {
    let mut ticks = interval(cookies::LIFETIME);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        front.forget_cookies();
    }
}
