// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The control agent: what operators and SIP proxies ask for becomes flows in the data plane.
//!
//! The way of a call is the order of the modules: a front end parses the request, the manager
//! gives it ports and an id, its flows go to the data plane, the store remembers it. The agent
//! holds no capability and links nothing of the data plane; it talks to it over a Unix socket, and
//! media flows on while the agent is away.

#![forbid(unsafe_code)]

/// What an agent is told at its start, and its errors.
mod config;

/// The HTTP front end, version 1.
mod http;

pub mod ng;

/// What a front end hands to the manager: sessions, legs, keys.
mod session;

/// The one state machine of all sessions, whichever front end speaks.
mod manager;

/// Local ports for legs.
mod ports;

/// The flows of a session.
mod flows;

/// Where the indices of a flow stand, for the data plane that has lost them.
mod marks;

/// The connection to the data plane.
mod data_plane;

/// What a restarted agent finds again.
mod store;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tracing::info;

pub use config::{AgentError, Config, RealmConfig};

use manager::Manager;
use store::Store;

/// How long requests under way may take once the agent is told to end.
const GRACE: Duration = Duration::from_secs(2);

/// Serves sessions until `shutdown` completes. Flows stay in the data plane: media goes on, and
/// the next agent finds its sessions again.
///
/// Runs on any tokio runtime with I/O and time enabled.
///
/// # Errors
/// An [`AgentError`] when the agent cannot start, or cannot accept connections any more. A data
/// plane that does not run is no error: the agent waits for it.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
    if !config.listen.ip().is_loopback() {
        return Err(AgentError::NotLoopback {
            listen: config.listen,
        });
    }
    let store = Store::new(config.store.clone());
    let sessions = store.load().map_err(AgentError::Store)?;
    // A second agent of the same configuration must fail here, before it touches any flow.
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| AgentError::Listen {
            listen: config.listen,
            error,
        })?;
    info!(listen = %config.listen, sessions = sessions.len(), "agent started");

    let manager = Arc::new(Manager::new(&config, store, sessions));
    let follow = {
        let manager = Arc::clone(&manager);
        async move { manager.follow_data_plane(&config.flow_socket).await }
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = axum::serve(listener, http::router(manager)).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let mut serve = pin!(serve.into_future());
    tokio::select! {
        result = &mut serve => return result.map_err(AgentError::Serve),
        never = follow => match never {},
        () = shutdown => {}
    }
    let _ = stop.send(());
    // A request that takes longer is cut off: whatever it left half-done is mended at the start.
    let _ = tokio::time::timeout(GRACE, serve).await;
    info!("agent ended");
    Ok(())
}
