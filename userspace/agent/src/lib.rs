// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The control agent: what operators and SIP proxies ask for becomes flows in the data plane.
//!
//! The way of a call is the order of the modules: a front end parses the request, a call makes a
//! new state of its old one, the manager gives it ports, its flows go to the data plane, the store
//! remembers it. The agent holds no capability and links nothing of the data plane; it talks to it over a Unix socket, and
//! media flows on while the agent is away.

#![forbid(unsafe_code)]

/// What an agent is told at its start, and its errors.
mod config;

/// The HTTP front end, version 1.
mod http;

/// What flows did that are no longer.
mod past;

/// Who may ask.
mod peers;

/// What HTTP clients must know.
mod token;

pub mod https;

pub mod ng;

/// The calls of the ng front end.
mod ng_calls;

/// What ng clients want to see in the log.
mod ng_debug;

/// The keys that ng clients ask for.
mod ng_keys;

/// The lines that ng clients want to be ours.
mod ng_lines;

/// What a call did, as the ng front end tells it.
mod report;

/// How well media arrived, sample by sample.
mod quality;

/// What listeners would say of it.
mod mos;

/// How long packets are under way, as peers report.
mod round_trip;

/// What HTTP clients hand to the manager: sessions, legs, keys.
mod session;

/// Calls that SDP drives, without any effect on anything.
mod call;

/// Why an offer, an answer or a deletion is refused.
mod call_error;

/// What is known of a session.
mod state;

/// The one state machine of all sessions, whichever front end speaks.
mod manager;

/// Calls as the manager carries them out.
mod calls;

/// Sessions and flows are made to agree.
mod reconcile;

/// What is counted.
mod tally;

/// Local ports for legs.
mod ports;

/// Which keys that clients gave are in use.
mod send_keys;

/// What every session comes down to.
mod stream;

/// The flows of a session.
mod flows;

/// NATs are opened.
mod pierce;

/// Where the indices of a flow stand, for the data plane that has lost them.
mod marks;

/// ICE and DTLS.
mod webrtc;

/// The connection to the data plane.
mod data_plane;

/// What a restarted agent finds again.
mod store;

/// What keeps the keys in the store to itself.
mod seal;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

pub use config::{AgentError, Config, Limits, RealmConfig, Timeouts, default_policy};
pub use token::TokenError;

use manager::Manager;
use ng_calls::NgCalls;
use store::Store;

/// How long requests under way may take once the agent is told to end.
const GRACE: Duration = Duration::from_secs(2);

/// Serves sessions until `shutdown` completes. Flows stay in the data plane: media goes on, and
/// the next agent finds its sessions again.
///
/// Runs on any tokio runtime with I/O and time enabled; on one with several threads, requests run
/// on all of them.
///
/// # Errors
/// An [`AgentError`] when the agent cannot start, or cannot accept connections any more. A data
/// plane that does not run is no error: the agent waits for it.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    config.check()?;
    // A second agent of the same configuration must fail here, before it touches any flow.
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| AgentError::Listen {
            listen: config.listen,
            error,
        })?;
    let (store, found) =
        Store::open(&config.store, &config.store_key).map_err(AgentError::Store)?;
    info!(listen = %config.listen, sessions = found.len(), "agent started");

    let manager = Arc::new(Manager::new(&config, store, found));
    let ng = match &config.ng {
        None => None,
        Some(ng) => {
            let calls = NgCalls::new(Arc::clone(&manager), ng);
            let server = ng::Server::bind(ng, Arc::new(calls)).await;
            Some(server.map_err(AgentError::Ng)?)
        }
    };
    let control = ng.as_ref().map(ng::Server::control);
    let https = match &config.https {
        None => None,
        Some(https) => {
            let control = control.clone().unwrap_or_default();
            let server = https::Server::bind(https, &control).await;
            Some(server.map_err(AgentError::Https)?)
        }
    };
    let follow = {
        let manager = Arc::clone(&manager);
        async move { manager.follow_data_plane(&config.flow_socket).await }
    };
    let deadlines = {
        let manager = Arc::clone(&manager);
        async move { manager.watch_deadlines().await }
    };
    let proofs = {
        let manager = Arc::clone(&manager);
        async move { manager.follow_sockets().await }
    };
    let (stop, stopped) = watch::channel(());
    let end = |mut stopped: watch::Receiver<()>| async move {
        // The one message is that there are no more.
        let _ = stopped.changed().await;
    };
    let router = http::router(manager, control);
    let all = match (&ng, &config.https) {
        (Some(ng), Some(https)) => {
            let has_token = https.token_file.is_some();
            router.clone().merge(ng.https_router(has_token))
        }
        _ => router.clone(),
    };
    let ng = async {
        if let Some(ng) = ng {
            ng.run(end(stopped.clone())).await;
        }
    };
    let https = async {
        if let Some(https) = https {
            https.run(all, || end(stopped.clone())).await;
        }
    };
    let serve = axum::serve(listener, router).with_graceful_shutdown(end(stopped.clone()));
    let served = async {
        let (served, (), ()) = tokio::join!(serve.into_future(), ng, https);
        served
    };
    let mut served = pin!(served);
    tokio::select! {
        result = &mut served => return result.map_err(AgentError::Serve),
        never = follow => match never {},
        never = deadlines => match never {},
        never = proofs => match never {},
        () = shutdown => {}
    }
    drop(stop);
    // A request that takes longer is cut off: whatever it left half-done is mended at the start.
    let _ = tokio::time::timeout(GRACE, served).await;
    info!("agent ended");
    Ok(())
}
