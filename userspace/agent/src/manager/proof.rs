// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the sockets of calls report becomes part of their calls: keys, and where media is to go.

use std::convert::Infallible;
use std::sync::Arc;

use sallyport_signalling::dtls::{Fingerprint, Hash};
use tracing::{debug, warn};

use super::{Manager, ManagerError, lock};
use crate::data_plane::DataPlaneError;
use crate::state::State;
use crate::webrtc::{Fact, Place, Report, Wanted};

impl Manager {
    /// Follows what the sockets of calls report, for ever.
    pub(crate) async fn follow_sockets(self: &Arc<Self>) -> Infallible {
        let reports = lock(&self.reports).take();
        if let Some(mut reports) = reports {
            while let Some(Report {
                place,
                fact,
                is_done,
            }) = reports.recv().await
            {
                let manager = Arc::clone(self);
                tokio::spawn(async move {
                    let is_taken = manager.prove(place, &fact).await;
                    // Who has reported it may be gone.
                    let _ = is_done.send(is_taken);
                });
            }
        }
        std::future::pending().await
    }

    /// The hash of our certificate; `None` when there is no DTLS.
    pub(crate) fn fingerprint(&self, hash: Hash) -> Option<Fingerprint> {
        let endpoints = self.endpoints.as_ref()?;
        Some(endpoints.fingerprint(hash))
    }

    /// Opens, changes and closes the sockets of a session.
    pub(super) fn turn_sockets(&self, before: &Wanted, after: Wanted) {
        if let Some(endpoints) = &self.endpoints {
            endpoints.turn(before, after);
        }
    }

    /// Makes what a peer has proved part of its call. Returns false if that should be tried again.
    async fn prove(&self, place: Place, fact: &Fact) -> bool {
        let Some(entry) = self.entry(place.session) else {
            return true;
        };
        let _turn = entry.turn().await;
        let state = entry.state();
        let Some(mut call) = state.as_deref().and_then(State::call).cloned() else {
            return true;
        };
        if !call.prove(place, fact) {
            return true;
        }
        debug!(session = %entry.id, index = place.index, side = ?place.side, "proved");
        let call = State::Call(Box::new(call));
        match self.change(&entry, Some(call), self.taken()).await {
            Ok(_) => true,
            Err(problem) => {
                // The data plane may be back soon, or the disk have room again.
                let is_refused =
                    matches!(problem, ManagerError::DataPlane(DataPlaneError::Refused(_)));
                if !matches!(problem, ManagerError::NotConnected) {
                    warn!(session = %entry.id, "take over what ICE and DTLS found: {problem}");
                }
                is_refused
            }
        }
    }
}
