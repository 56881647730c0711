// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The event loop of a process, and the signals that end it in order.

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// Runs this to its end, on the thread that calls.
///
/// # Errors
/// Its own, or [`Failure::Runtime`].
pub(crate) fn run(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?
        .block_on(work)
}

/// From the call on, SIGTERM, SIGINT and SIGHUP no longer kill: the first completes the future.
/// Call it inside a runtime.
///
/// # Errors
/// [`Failure::Runtime`].
pub(crate) fn end_signal() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(Failure::Runtime);
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}
