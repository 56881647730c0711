// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sessions and flows are made to agree, whoever was away.
//!
//! After each connection to the data plane the sessions are reconciled with its flows:
//!
//! | session | its flows | then |
//! |---|---|---|
//! | known | all there | it goes on; the agent was away. Those of a call are changed to what they should be: a change may have been under way when the agent died |
//! | known | gone | installed again behind its marks; the data plane was away |
//! | known, refused by the data plane | gone | closed |
//! | unknown | there | removed; its creation was never answered, or its end |
//!
//! Then the agent asks again and again what all flows did: where their indices stand, and whether
//! media still arrives. A round takes a second, or with many sessions so long that requests hardly
//! notice it; until its index is asked for again, a flow must not send 2^15 packets.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sallyport_flow::{Event, FlowId, FlowStatistics, Request, Update};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, error, info, warn};

use crate::data_plane::{DataPlane, DataPlaneError};
use crate::flows::MAX_FLOWS;
use crate::manager::{Entry, Manager, lock};
use crate::session::SessionId;

/// How often the agent asks what the flows did.
const POLL: Duration = Duration::from_secs(1);

/// How long the agent leaves between two questions: a round for 100 000 sessions takes 8 seconds.
const BREATH: Duration = Duration::from_millis(4);

/// Of how many sessions one question is, so that reading its answer keeps no request waiting.
const QUESTION: usize = 50;

/// How long the agent waits when a data plane accepts its connection but not its sessions.
const PAUSE: Duration = Duration::from_millis(250);

/// How many sessions of one stream fit one request.
const PAGE: usize = Request::PAGE / MAX_FLOWS;

impl Manager {
    /// Connects to the data plane, again and again, and keeps the sessions in step with it.
    pub(crate) async fn follow_data_plane(&self, socket: &Path) -> Infallible {
        let mut instance = None;
        loop {
            let (data_plane, mut events) = DataPlane::connect(socket).await;
            let is_new = instance.replace(data_plane.instance()) != Some(data_plane.instance());
            info!(is_new, "connected to the data plane");
            if let Err(error) = self.connected(data_plane).await {
                error!("reconcile sessions with the data plane: {error}");
                sleep(PAUSE).await;
                continue;
            }
            let tell_all = async {
                while let Some(event) = events.recv().await {
                    tell(&event);
                }
            };
            tokio::select! {
                () = tell_all => {}
                never = self.poll_for_ever() => match never {},
            }
            *self.data_plane.write().await = None;
        }
    }

    /// Uses a data plane from now on, if it takes the sessions.
    async fn connected(&self, data_plane: Arc<DataPlane>) -> Result<(), DataPlaneError> {
        // Nothing changes meanwhile.
        let mut connection = self.data_plane.write().await;
        self.reconcile(&data_plane).await?;
        *connection = Some(data_plane);
        Ok(())
    }

    /// Makes sessions and flows agree; see the table at the top.
    async fn reconcile(&self, data_plane: &DataPlane) -> Result<(), DataPlaneError> {
        let listed = data_plane.list().await?.into_iter();
        let mut there: BTreeSet<FlowId> = listed.map(|flow| flow.id).collect();
        let (mut gone, mut doubtful) = (Vec::new(), Vec::new());
        let mut after = None;
        loop {
            let page = self.page(after, PAGE);
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for entry in page {
                let Some(state) = entry.state() else { continue };
                let flows = lock(&entry.watch).flows.clone();
                if flows.iter().all(|id| there.contains(id)) {
                    for id in &flows {
                        there.remove(id);
                    }
                    if state.call().is_some() && !flows.is_empty() {
                        doubtful.push(entry);
                    }
                } else {
                    gone.push(entry);
                }
            }
        }

        // What is left belongs to no session, or to one that is not whole.
        let strays: Vec<FlowId> = there.into_iter().collect();
        for page in strays.chunks(Request::PAGE) {
            let remove = Update {
                remove: page.to_vec(),
                ..Update::default()
            };
            let removed = data_plane.update(remove).await?;
            self.learn(&removed, None);
        }
        let unknown: BTreeSet<SessionId> = strays.into_iter().map(SessionId::of).collect();
        for id in unknown {
            if self.entry(id).is_none() {
                warn!(session = %id, "its flows removed: the session is not in the store");
            }
        }
        for entries in doubtful.chunks(PAGE) {
            self.agree(data_plane, entries, false).await?;
        }
        for entries in gone.chunks(PAGE) {
            self.agree(data_plane, entries, true).await?;
        }
        Ok(())
    }

    /// Makes the flows of some sessions what they should be: all of them are there, or none.
    async fn agree(
        &self,
        data_plane: &DataPlane,
        entries: &[Arc<Entry>],
        are_gone: bool,
    ) -> Result<(), DataPlaneError> {
        let mut update = Update::default();
        for entry in entries {
            let Some(state) = entry.state() else { continue };
            let mut flows = state.flows(entry.id);
            entry.put_marks(&mut flows);
            if are_gone {
                update.install.extend(flows);
            } else {
                update.change.extend(flows);
            }
        }
        if update.install.len() + update.change.len() > Request::PAGE
            && let (left, right @ [_, ..]) = entries.split_at(entries.len() / 2)
            && !left.is_empty()
        {
            Box::pin(self.agree(data_plane, left, are_gone)).await?;
            return Box::pin(self.agree(data_plane, right, are_gone)).await;
        }
        // Should both die now, too, nobody may start at these indices again.
        self.remember_marks(entries).await;
        match data_plane.update(update).await {
            Ok(_) => {
                for entry in entries.iter().filter(|_| are_gone) {
                    lock(&entry.watch).qualities.forget_reports();
                    info!(session = %entry.id, "installed again");
                }
                Ok(())
            }
            // One of them is at fault: the others must not suffer.
            Err(DataPlaneError::Refused(refused)) => {
                if let [entry] = entries {
                    if !are_gone && let Some(state) = entry.state() {
                        // Its ports are free for others only without them.
                        match entry.remove(data_plane, &state.flows(entry.id)).await {
                            Err(DataPlaneError::Refused(refused)) => {
                                error!(session = %entry.id, "remove its flows: {refused}");
                            }
                            other => other?,
                        }
                    }
                    self.close(entry, &refused.to_string()).await;
                    return Ok(());
                }
                for entry in entries {
                    Box::pin(self.agree(data_plane, std::slice::from_ref(entry), are_gone)).await?;
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Ends a session whose flows the data plane does not take.
    async fn close(&self, entry: &Arc<Entry>, reason: &str) {
        if let Some(state) = entry.state()
            && let Some(call) = state.call()
        {
            let lasted = self.now().saturating_sub(call.created);
            self.tally.end(&self.tally.lost, lasted);
        }
        self.forget(entry).await;
        warn!(session = %entry.id, "closed: {reason}; set the call up again");
    }

    async fn poll_for_ever(&self) -> Infallible {
        let mut rounds = interval(POLL);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            self.poll().await;
        }
    }

    /// Learns what all flows did, page by page, so that requests come between.
    async fn poll(&self) {
        let mut after = None;
        loop {
            let Ok(data_plane) = self.connection().await else {
                return;
            };
            let page = self.page(after, QUESTION);
            let Some(last) = page.last() else { return };
            if after.is_some() {
                sleep(BREATH).await;
            }
            after = Some(last.id);
            if let Err(error) = self.poll_page(&data_plane, &page).await {
                let DataPlaneError::Refused(refused) = error else {
                    // The connection has ended, which `events` tell.
                    warn!("ask where the indices stand: {error}");
                    return;
                };
                warn!("{refused}: reconciling sessions with the data plane");
                let _nothing_changes = self.data_plane.write().await;
                if let Err(error) = self.reconcile(&data_plane).await {
                    error!("reconcile sessions with the data plane: {error}");
                }
                return;
            }
        }
    }

    async fn poll_page(
        &self,
        data_plane: &DataPlane,
        page: &[Arc<Entry>],
    ) -> Result<(), DataPlaneError> {
        let mut asked = Vec::new();
        let mut ids = Vec::new();
        for entry in page {
            let watch = lock(&entry.watch);
            if watch.change.is_multiple_of(2) {
                asked.push((entry, watch.change));
                ids.extend(&watch.flows);
            }
        }
        let mut far = Vec::new();
        for ids in ids.chunks(Request::PAGE) {
            let statistics = match data_plane.flow_statistics(ids.to_vec()).await {
                // One of their sessions may have changed since.
                Err(DataPlaneError::Refused(_))
                    if asked
                        .iter()
                        .any(|(entry, change)| lock(&entry.watch).change != *change) =>
                {
                    continue;
                }
                other => other?,
            };
            far.extend(self.learn(&statistics, Some(&asked)));
        }
        self.remember_marks(&far).await;
        Ok(())
    }

    /// Takes over what flows did, unless their sessions have changed since they were asked.
    /// Returns those whose marks the store has to know.
    fn learn(
        &self,
        statistics: &[FlowStatistics],
        asked: Option<&[(&Arc<Entry>, u64)]>,
    ) -> Vec<Arc<Entry>> {
        let now = self.now();
        let mut far = Vec::<Arc<Entry>>::new();
        for flow in statistics {
            let id = SessionId::of(flow.id);
            let (entry, change) = match asked {
                Some(asked) => match asked.binary_search_by_key(&id, |(entry, _)| entry.id) {
                    Ok(at) => (Arc::clone(asked[at].0), Some(asked[at].1)),
                    Err(_) => continue,
                },
                None => match self.entry(id) {
                    Some(entry) => (entry, None),
                    None => continue,
                },
            };
            let mut watch = lock(&entry.watch);
            if change.is_some_and(|change| watch.change != change) {
                continue;
            }
            if let Some(idle) = flow.idle {
                watch.last_media = watch.last_media.max(now.checked_sub(idle));
            }
            watch.qualities.learn(flow, now);
            let is_far = watch.marks.learn(flow);
            drop(watch);
            if is_far && far.last().is_none_or(|last| last.id != id) {
                far.push(entry);
            }
        }
        far
    }

    /// Writes down where the indices of some sessions stand.
    async fn remember_marks(&self, entries: &[Arc<Entry>]) {
        let marks = entries
            .iter()
            .map(|entry| (entry.id, lock(&entry.watch).marks.clone()))
            .collect::<Vec<_>>();
        if let Err(error) = self.store.put_marks(marks).await {
            error!("{error}");
        }
    }
}

fn tell(event: &Event) {
    match event {
        Event::Latched { flow, remote } => {
            info!(session = %SessionId::of(*flow), %flow, %remote, "latched");
        }
        Event::KeyExpired { flow } => {
            warn!(session = %SessionId::of(*flow), %flow, "key expired: set the call up again");
        }
        Event::Missed { count } => debug!(count, "events missed"),
        _ => debug!("unknown event"),
    }
}
