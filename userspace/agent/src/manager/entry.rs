// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The place of a session, and how its flows are changed.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sallyport_flow::{Flow, FlowId, FlowStatistics, Refused, Update};
use tokio::sync::OwnedMutexGuard;

use super::{Manager, lock};
use crate::data_plane::{DataPlane, DataPlaneError};
use crate::flows::{find, update};
use crate::marks::{FlowMarks, loses_key};
use crate::past::Past;
use crate::quality::Qualities;
use crate::session::SessionId;
use crate::state::State;

/// A session, and all that belongs to it.
pub(crate) struct Entry {
    pub(crate) id: SessionId,
    /// One change after the other.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// As it was after its last change; `None` before the first and after the end.
    pub(super) state: Mutex<Option<Arc<State>>>,
    pub(crate) watch: Mutex<Watch>,
}

/// What is learned of a session without a change.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Counts the beginnings and ends of changes, and so is odd during one: what was asked before
    /// says nothing about the flows after it.
    pub(crate) change: u64,
    pub(crate) flows: Vec<FlowId>,
    pub(crate) marks: FlowMarks,
    pub(crate) qualities: Qualities,
    /// What flows did that are no longer.
    pub(crate) past: Past,
    /// When media last arrived, since the UNIX epoch.
    pub(crate) last_media: Option<Duration>,
    /// When it is looked at again.
    pub(crate) deadline: Option<Duration>,
}

impl Entry {
    /// As it was after its last change; `None` before the first and after the end.
    pub(crate) fn state(&self) -> Option<Arc<State>> {
        lock(&self.state).clone()
    }

    /// Waits until it is one's turn to change the session.
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Removes flows; also when some are not there.
    pub(crate) async fn remove(
        &self,
        data_plane: &DataPlane,
        flows: &[Flow],
    ) -> Result<(), DataPlaneError> {
        self.apply(data_plane, flows, &[]).await.map(|_| ())
    }

    /// Turns flows into others, all or none; also when some are not there.
    pub(super) async fn apply(
        &self,
        data_plane: &DataPlane,
        old: &[Flow],
        new: &[Flow],
    ) -> Result<Applied, DataPlaneError> {
        if update(old, new) == Update::default() {
            return Ok(Applied::default());
        }
        self.ask_before(data_plane, old, new).await;
        let (removed, marked) = match self.send(data_plane, old, new).await {
            Err(DataPlaneError::Refused(Refused::UnknownFlow(_))) => {
                // They vanished: in place of changing them they are installed again.
                let mut there = Vec::new();
                for flow in old {
                    match data_plane.flow_statistics(vec![flow.id]).await {
                        Ok(_) => there.push(flow.clone()),
                        Err(DataPlaneError::Refused(Refused::UnknownFlow(_))) => {}
                        Err(error) => return Err(error),
                    }
                }
                self.send(data_plane, &there, new).await?
            }
            other => other?,
        };
        let mut watch = lock(&self.watch);
        for flow in &removed {
            watch.marks.learn(flow);
        }
        let has_lost = watch.marks.turn_to(new);
        watch.marks.hand_out(&marked);
        Ok(Applied {
            removed,
            moves_marks: has_lost || !marked.is_empty(),
        })
    }

    /// Sends what turns flows into others, each key behind its marks. Returns the last counters of
    /// those removed, and which have been given marks to send behind.
    async fn send(
        &self,
        data_plane: &DataPlane,
        there: &[Flow],
        new: &[Flow],
    ) -> Result<(Vec<FlowStatistics>, Vec<FlowId>), DataPlaneError> {
        let mut update = update(there, new);
        if update == Update::default() {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut marked = Vec::new();
        {
            let watch = lock(&self.watch);
            for flow in update.install.iter_mut().chain(&mut update.change) {
                watch.marks.put(flow, find(there, flow.id));
                let protect = flow.egress.protect.as_ref();
                if protect.is_some_and(|protect| !protect.marks.is_empty()) {
                    marked.push(flow.id);
                }
            }
        }
        Ok((data_plane.update(update).await?, marked))
    }

    /// See [`FlowMarks::ahead_of`].
    pub(super) fn marks_ahead_of(&self, flows: &[Flow]) -> Option<FlowMarks> {
        lock(&self.watch).marks.ahead_of(flows)
    }

    /// See [`FlowMarks::doubt`].
    pub(super) fn doubt(&self, flows: &[Flow]) -> FlowMarks {
        let mut watch = lock(&self.watch);
        watch.marks.doubt(flows);
        watch.marks.clone()
    }

    /// Has all flows of the session go on behind their marks, wherever the data plane stands.
    pub(crate) fn put_marks(&self, flows: &mut [Flow]) {
        let mut watch = lock(&self.watch);
        watch.marks.turn_to(flows);
        for flow in flows.iter_mut() {
            watch.marks.put(flow, None);
        }
        let sending = flows.iter().filter(|flow| flow.egress.protect.is_some());
        let sending: Vec<_> = sending.map(|flow| flow.id).collect();
        watch.marks.hand_out(&sending);
    }

    /// Learns where the keys stand that flows are to lose: others may get them at once.
    async fn ask_before(&self, data_plane: &DataPlane, old: &[Flow], new: &[Flow]) {
        let losing = old
            .iter()
            .filter(|flow| loses_key(flow, find(new, flow.id)));
        let losing: Vec<_> = losing.map(|flow| flow.id).collect();
        if losing.is_empty() || new.is_empty() {
            return;
        }
        // Without an answer the marks are those of the last poll.
        if let Ok(statistics) = data_plane.flow_statistics(losing).await {
            let mut watch = lock(&self.watch);
            for flow in &statistics {
                watch.marks.learn(flow);
            }
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What a change of flows was.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// The last counters of flows that are no longer.
    pub(super) removed: Vec<FlowStatistics>,
    /// Keys went from flows, or came back.
    pub(super) moves_marks: bool,
}

/// Somebody changes the flows of a session.
pub(super) struct Changing<'a>(&'a Entry);

impl<'a> Changing<'a> {
    pub(super) fn begin(entry: &'a Entry) -> Self {
        lock(&entry.watch).change += 1;
        Self(entry)
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        lock(&self.0.watch).change += 1;
    }
}

/// A session that does not exist yet: gone again, unless it is kept.
#[derive(Debug)]
pub(crate) struct NewEntry<'a> {
    pub(super) manager: &'a Manager,
    pub(crate) entry: Arc<Entry>,
    pub(super) call_id: Option<String>,
    pub(super) is_kept: bool,
}

impl NewEntry<'_> {
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for NewEntry<'_> {
    fn drop(&mut self) {
        // Somebody else may have met it here, and made it a session.
        if !self.is_kept && self.entry.state().is_none() {
            self.manager
                .remove_entry(&self.entry, self.call_id.as_deref());
        }
    }
}
