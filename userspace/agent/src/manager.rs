// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The one state machine of all sessions, whichever front end speaks.
//!
//! A front end makes a new state of a session's old one, with no effect on anything. What it takes
//! to get from one to the other follows from both: ports, flows, the record in the store. Ports
//! come first, then the data plane changes all flows at once, then the store, or both together where
//! no key moves; whichever step fails, the others are taken back, and the session is what it was. A
//! change is carried out to its end even when who asked has gone.
//!
//! Requests for one session come one after the other, those for different ones at the same time:
//! each session has a lock of its own, and what they share (ports, indices by id and call-id) is
//! locked for a moment, never while somebody waits. Nothing looks at all sessions for the sake of
//! one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sallyport_flow::{Flow, FlowId, FlowStatistics, Realm, Refused, Request, Statistics, Update};
use sallyport_signalling::policy::Policy;
use tokio::sync::{OwnedMutexGuard, RwLock};
use tokio::time::Instant;
use tracing::{error, info};

use crate::config::{Config, Limits, RealmConfig, Timeouts};
use crate::data_plane::{DataPlane, DataPlaneError};
use crate::flows::{Counters, counters, find, update};
use crate::marks::{FlowMarks, loses_key};
use crate::ports::{Exhausted, Ports, Version};
use crate::send_keys::SendKeys;
use crate::session::{
    Ends, Leg, LegRequest, Name, Session, SessionId, SessionKeys, SessionRequest,
};
use crate::state::State;
use crate::store::{Found, Store, StoreError};
use crate::tally::Tally;

/// All sessions.
pub(crate) struct Manager {
    access: RealmConfig,
    core: RealmConfig,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) policy: Policy,
    pub(crate) tally: Tally,
    clock: Clock,
    is_draining: AtomicBool,
    ports: Mutex<Ports>,
    send_keys: Mutex<SendKeys>,
    sessions: Mutex<BTreeMap<SessionId, Arc<Entry>>>,
    /// Those that are calls, by their call-ids.
    calls: Mutex<HashMap<String, Arc<Entry>>>,
    /// When to look at which session again.
    pub(crate) deadlines: Mutex<BTreeSet<(Duration, SessionId)>>,
    pub(crate) store: Store,
    /// `None` until the sessions are reconciled with it. Held for reading while a session changes,
    /// so that none does during reconciliation.
    pub(crate) data_plane: RwLock<Option<Arc<DataPlane>>>,
}

/// A session, and all that belongs to it.
pub(crate) struct Entry {
    pub(crate) id: SessionId,
    /// One change after the other.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// As it was after its last change; `None` before the first and after the end.
    state: Mutex<Option<Arc<State>>>,
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
    /// When media last arrived, since the UNIX epoch.
    pub(crate) last_media: Option<Duration>,
    /// When it is looked at again.
    pub(crate) deadline: Option<Duration>,
}

/// The time since the UNIX epoch, which goes on evenly, whatever becomes of the system's clock.
#[derive(Debug)]
struct Clock {
    at: Duration,
    start: Instant,
}

impl Clock {
    fn start() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            at: now.unwrap_or_default(),
            start: Instant::now(),
        }
    }

    fn now(&self) -> Duration {
        self.at + self.start.elapsed()
    }
}

/// Locks for a moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Manager {
    /// Takes over the sessions that the store remembers.
    pub(crate) fn new(config: &Config, store: Store, found: Vec<Found>) -> Self {
        let manager = Self {
            access: config.access.clone(),
            core: config.core.clone(),
            limits: config.limits,
            timeouts: config.timeouts,
            policy: config.policy.clone(),
            tally: Tally::default(),
            clock: Clock::start(),
            is_draining: AtomicBool::new(false),
            ports: Mutex::default(),
            send_keys: Mutex::default(),
            sessions: Mutex::default(),
            calls: Mutex::default(),
            deadlines: Mutex::default(),
            store,
            data_plane: RwLock::new(None),
        };
        {
            let mut ports = lock(&manager.ports);
            for realm in Realm::ALL {
                let RealmConfig {
                    addresses,
                    ports: range,
                } = manager.realm(realm);
                ports.add(realm, addresses, range);
            }
        }
        for Found { id, state, marks } in found {
            manager.restore(id, state, marks);
        }
        manager
    }

    fn restore(&self, id: SessionId, state: State, mut marks: FlowMarks) {
        for (realm, rtp) in state.ports() {
            lock(&self.ports).retake(realm, rtp);
        }
        if let State::Session(_, keys) = &state {
            // They were all different when they were given.
            let _ = lock(&self.send_keys).add(keys);
        }
        let flows = state.flows(id);
        marks.turn_to(&flows);
        let flows = flows.iter().map(|flow| flow.id).collect();
        let call_id = state.call().map(|call| call.call_id.clone());
        let entry = Arc::new(Entry {
            id,
            turn: Arc::default(),
            state: Mutex::new(Some(Arc::new(state))),
            watch: Mutex::new(Watch {
                flows,
                marks,
                ..Watch::default()
            }),
        });
        lock(&self.sessions).insert(id, Arc::clone(&entry));
        if let Some(call_id) = call_id {
            lock(&self.calls).insert(call_id, Arc::clone(&entry));
        }
        self.schedule(&entry);
    }

    /// Sets a session up.
    ///
    /// # Errors
    /// A [`ManagerError`]; nothing is left of the session then.
    pub(crate) async fn create(
        self: &Arc<Self>,
        request: SessionRequest,
    ) -> Result<Session, ManagerError> {
        let manager = Arc::clone(self);
        to_its_end(async move { manager.create_now(request).await }).await
    }

    async fn create_now(&self, request: SessionRequest) -> Result<Session, ManagerError> {
        let local = |realm, leg: &LegRequest| local_address(realm, self.realm(realm), leg);
        let access_address = local(Realm::Access, &request.access)?;
        let core_address = local(Realm::Core, &request.core)?;
        self.is_connected()
            .await
            .then_some(())
            .ok_or(ManagerError::NotConnected)?;
        let new = self.new_entry(None)?;
        let mut taken = self.taken();
        let access = taken.leg(Realm::Access, access_address, &request.access)?;
        let core = taken.leg(Realm::Core, core_address, &request.core)?;
        let session = Session {
            id: new.entry.id,
            name: request.name,
            access,
            core,
        };
        let keys = SessionKeys {
            access: request.access.keys,
            core: request.core.keys,
        };
        taken.keys(&keys)?;
        let state = State::Session(Box::new(session.clone()), keys);
        self.change(&new.entry, Some(state), taken).await?;
        new.keep();
        info!(
            session = %session.id,
            name = session.name.as_ref().map(Name::as_str),
            access = %session.access.local.rtp,
            core = %session.core.local.rtp,
            "created"
        );
        Ok(session)
    }

    /// Every session that HTTP clients set up, in the order of their ids.
    pub(crate) fn list(&self) -> Vec<Session> {
        let entries: Vec<_> = lock(&self.sessions).values().cloned().collect();
        let sessions = entries.iter().filter_map(|entry| entry.state());
        sessions
            .filter_map(|state| state.session().cloned())
            .collect()
    }

    /// One session and what its flows did until now.
    pub(crate) async fn show(&self, id: SessionId) -> Result<(Session, Counters), ManagerError> {
        let (entry, session) = self.session(id)?;
        let flows = lock(&entry.watch).flows.clone();
        let flows = self.connection().await?.flow_statistics(flows).await?;
        let counters = counters(&session, &flows);
        Ok((session, counters))
    }

    /// Ends a session. Returns it, and what its flows did.
    ///
    /// # Errors
    /// A [`ManagerError`]; the session goes on then.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        id: SessionId,
    ) -> Result<(Session, Counters), ManagerError> {
        let manager = Arc::clone(self);
        to_its_end(async move {
            let (entry, _) = manager.session(id)?;
            let _turn = entry.turn().await;
            let (_, session) = manager.session(id)?;
            let flows = manager.change(&entry, None, manager.taken()).await?;
            info!(session = %id, "deleted");
            let counters = counters(&session, &flows);
            Ok((session, counters))
        })
        .await
    }

    /// The counters of the whole data plane.
    pub(crate) async fn statistics(&self) -> Result<Statistics, ManagerError> {
        Ok(self.connection().await?.statistics().await?)
    }

    /// Whether sessions can be set up.
    pub(crate) async fn is_connected(&self) -> bool {
        self.data_plane.read().await.is_some()
    }

    /// Whether new sessions are refused.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Refuses new sessions from now on, or no longer.
    pub(crate) fn drain(&self, drain: bool) {
        self.is_draining.store(drain, Ordering::Relaxed);
    }

    /// How many sessions there are.
    pub(crate) fn count(&self) -> usize {
        lock(&self.sessions).len()
    }

    /// The time since the UNIX epoch.
    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// When this agent started.
    pub(crate) const fn started(&self) -> Duration {
        self.clock.at
    }

    pub(crate) async fn connection(&self) -> Result<Arc<DataPlane>, ManagerError> {
        let data_plane = self.data_plane.read().await;
        data_plane.clone().ok_or(ManagerError::NotConnected)
    }

    pub(crate) fn entry(&self, id: SessionId) -> Option<Arc<Entry>> {
        lock(&self.sessions).get(&id).cloned()
    }

    pub(crate) fn entry_of_call(&self, call_id: &str) -> Option<Arc<Entry>> {
        lock(&self.calls).get(call_id).cloned()
    }

    /// Some entries in the order of their ids.
    pub(crate) fn page(&self, after: Option<SessionId>, length: usize) -> Vec<Arc<Entry>> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let sessions = lock(&self.sessions);
        let page = sessions.range((after, Bound::Unbounded)).take(length);
        page.map(|(_, entry)| Arc::clone(entry)).collect()
    }

    /// The call-ids of some calls.
    pub(crate) fn call_ids(&self, limit: usize) -> Vec<String> {
        lock(&self.calls).keys().take(limit).cloned().collect()
    }

    fn session(&self, id: SessionId) -> Result<(Arc<Entry>, Session), ManagerError> {
        let entry = self.entry(id).ok_or(ManagerError::UnknownSession)?;
        let state = entry.state().ok_or(ManagerError::UnknownSession)?;
        let session = state.session().ok_or(ManagerError::UnknownSession)?.clone();
        Ok((entry, session))
    }

    /// The place of a call: the one that there is, or a new one where everybody who asks for the
    /// same call meets.
    pub(crate) fn new_call(
        &self,
        call_id: &str,
    ) -> Result<(Arc<Entry>, Option<NewEntry<'_>>), ManagerError> {
        let mut calls = lock(&self.calls);
        if let Some(entry) = calls.get(call_id) {
            return Ok((Arc::clone(entry), None));
        }
        let new = self.new_entry(Some(call_id))?;
        calls.insert(call_id.to_owned(), Arc::clone(&new.entry));
        Ok((Arc::clone(&new.entry), Some(new)))
    }

    /// A place for a new session, unless there are too many.
    pub(crate) fn new_entry(&self, call_id: Option<&str>) -> Result<NewEntry<'_>, ManagerError> {
        if self.is_draining() {
            return Err(ManagerError::Draining);
        }
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= self.limits.max_sessions {
            return Err(ManagerError::TooMany);
        }
        let id = loop {
            let id = SessionId::new(self.now()).map_err(ManagerError::Random)?;
            if !sessions.contains_key(&id) {
                break id;
            }
        };
        let entry = Arc::new(Entry {
            id,
            turn: Arc::default(),
            state: Mutex::new(None),
            watch: Mutex::default(),
        });
        sessions.insert(id, Arc::clone(&entry));
        Ok(NewEntry {
            manager: self,
            entry,
            call_id: call_id.map(str::to_owned),
            is_kept: false,
        })
    }

    /// Everything that a request takes, given back if it fails.
    pub(crate) const fn taken(&self) -> Taken<'_> {
        Taken {
            manager: self,
            ports: BTreeSet::new(),
            keys: None,
        }
    }

    /// Carries out what makes a new state of a session's old one, which is whoever has its turn to
    /// do; without a new one, the session ends. Returns the last counters of flows that are no
    /// longer.
    ///
    /// # Errors
    /// A [`ManagerError`]; the session is as it was then.
    pub(crate) async fn change(
        &self,
        entry: &Arc<Entry>,
        after: Option<State>,
        taken: Taken<'_>,
    ) -> Result<Vec<FlowStatistics>, ManagerError> {
        let before = entry.state();
        let flows =
            |state: Option<&State>| state.map_or_else(Vec::new, |state| state.flows(entry.id));
        let (old, new) = (flows(before.as_deref()), flows(after.as_ref()));
        // All of them go with one request when the session ends.
        if new.len() > Request::PAGE {
            return Err(ManagerError::TooManyFlows { found: new.len() });
        }
        let guard = self.data_plane.read().await;
        let data_plane = guard.as_ref().ok_or(ManagerError::NotConnected)?;
        // Reconciliation may have closed it meanwhile.
        if !self
            .entry(entry.id)
            .is_some_and(|it| Arc::ptr_eq(&it, entry))
        {
            return Err(ManagerError::UnknownSession);
        }
        let _changing = Changing::begin(entry);
        let is_beginning = old.is_empty() && lock(&entry.watch).marks.is_empty();
        let (applied, stored) = if is_beginning || after.is_none() {
            // No key moves, and nobody need wait for one after the other.
            let applied = entry.apply(data_plane, &old, &new);
            tokio::join!(applied, self.write(entry, after.as_ref(), false))
        } else {
            let applied = entry.apply(data_plane, &old, &new).await?;
            let stored = self.write(entry, after.as_ref(), applied.moves_marks);
            (Ok(applied), stored.await)
        };
        let applied = match applied {
            Ok(applied) => applied,
            Err(problem) => {
                if stored.is_ok()
                    && let Err(problem) = self.write_again(entry, before.as_deref()).await
                {
                    error!(session = %entry.id, "take a change back: {problem}");
                }
                return Err(problem.into());
            }
        };
        if let Err(problem) = stored {
            if after.is_some() {
                // If this fails, too, flows are made to agree at the next reconciliation.
                if let Err(problem) = entry.apply(data_plane, &new, &old).await {
                    error!(session = %entry.id, "take a change back: {problem}");
                }
                return Err(problem.into());
            }
            // The record is still there; its session ends at the next start for want of activity.
            error!("{problem}");
        }
        drop(guard);
        self.publish(entry, before.as_deref(), after, taken);
        lock(&entry.watch).flows = new.iter().map(|flow| flow.id).collect();
        self.schedule(entry);
        Ok(applied.removed)
    }

    /// Has the store remember what a session has become.
    async fn write(
        &self,
        entry: &Entry,
        after: Option<&State>,
        moves_marks: bool,
    ) -> Result<(), StoreError> {
        let Some(state) = after else {
            return self.store.remove(entry.id).await;
        };
        if moves_marks {
            // First: whatever is remembered of the session, no key may come back without them.
            let marks = lock(&entry.watch).marks.clone();
            self.store.put_marks([(entry.id, marks)]).await?;
        }
        self.store.put(entry.id, state).await
    }

    /// Has the store remember again what a session was and is: its marks may have gone with it.
    async fn write_again(&self, entry: &Entry, state: Option<&State>) -> Result<(), StoreError> {
        self.write(entry, state, false).await?;
        let marks = lock(&entry.watch).marks.clone();
        let marks = state.map(|_| (entry.id, marks));
        self.store.put_marks(marks).await
    }

    /// Ends a session whose flows are gone, or not to be removed now.
    pub(crate) async fn forget(&self, entry: &Arc<Entry>) {
        let before = entry.state();
        self.publish(entry, before.as_deref(), None, self.taken());
        self.schedule(entry);
        if let Err(problem) = self.store.remove(entry.id).await {
            error!("{problem}");
        }
    }

    /// Shows a session as it is from now on, and gives back what it no longer needs.
    fn publish(
        &self,
        entry: &Arc<Entry>,
        before: Option<&State>,
        after: Option<State>,
        taken: Taken<'_>,
    ) {
        let had = before.map(State::ports).unwrap_or_default();
        let has = after.as_ref().map(State::ports).unwrap_or_default();
        let is_over = after.is_none();
        *lock(&entry.state) = after.map(Arc::new);
        // What was taken and is not needed goes back with the rest.
        let had: BTreeSet<_> = had.union(&taken.keep()).copied().collect();
        {
            let mut ports = lock(&self.ports);
            for (realm, rtp) in had.difference(&has) {
                ports.free(*realm, *rtp);
            }
        }
        if is_over {
            if let Some(State::Session(_, keys)) = before {
                lock(&self.send_keys).remove(keys);
            }
            let call_id = before
                .and_then(State::call)
                .map(|call| call.call_id.as_str());
            self.remove_entry(entry, call_id);
        }
    }

    fn remove_entry(&self, entry: &Arc<Entry>, call_id: Option<&str>) {
        lock(&self.sessions).remove(&entry.id);
        if let Some(call_id) = call_id {
            let mut calls = lock(&self.calls);
            if calls
                .get(call_id)
                .is_some_and(|other| Arc::ptr_eq(other, entry))
            {
                calls.remove(call_id);
            }
        }
    }

    const fn realm(&self, realm: Realm) -> &RealmConfig {
        match realm {
            Realm::Access => &self.access,
            Realm::Core => &self.core,
        }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("sessions", &self.count())
            .finish_non_exhaustive()
    }
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
    async fn apply(
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

/// What a change of flows was.
#[derive(Debug, Default)]
struct Applied {
    /// The last counters of flows that are no longer.
    removed: Vec<FlowStatistics>,
    /// Keys went from flows, or came back.
    moves_marks: bool,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Somebody changes the flows of a session.
struct Changing<'a>(&'a Entry);

impl<'a> Changing<'a> {
    fn begin(entry: &'a Entry) -> Self {
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
    manager: &'a Manager,
    pub(crate) entry: Arc<Entry>,
    call_id: Option<String>,
    is_kept: bool,
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

/// What a request has taken and is given back, unless it is kept.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    manager: &'a Manager,
    ports: BTreeSet<(Realm, SocketAddr)>,
    keys: Option<SessionKeys>,
}

impl Taken<'_> {
    /// Ports for RTP and RTCP, of any address that fits.
    pub(crate) fn any(
        &mut self,
        realm: Realm,
        version: Option<Version>,
    ) -> Option<Result<Ends, Exhausted>> {
        let taken = lock(&self.manager.ports).take_any(realm, version)?;
        Some(taken.map(|rtp| self.pair(realm, rtp)))
    }

    fn leg(
        &mut self,
        realm: Realm,
        address: IpAddr,
        request: &LegRequest,
    ) -> Result<Leg, Exhausted> {
        let rtp = lock(&self.manager.ports).take(realm, address)?;
        let mut local = self.pair(realm, rtp);
        if request.rtcp_mux {
            local.rtcp = rtp;
        }
        Ok(Leg {
            profile: request.profile(),
            local,
            remote: request.remote,
        })
    }

    fn pair(&mut self, realm: Realm, rtp: SocketAddr) -> Ends {
        self.ports.insert((realm, rtp));
        let mut rtcp = rtp;
        // The odd port behind an even one.
        rtcp.set_port(rtp.port() | 1);
        Ends { rtp, rtcp }
    }

    fn keys(&mut self, keys: &SessionKeys) -> Result<(), ManagerError> {
        lock(&self.manager.send_keys)
            .add(keys)
            .map_err(|realm| ManagerError::KeyInUse { realm })?;
        self.keys = Some(keys.clone());
        Ok(())
    }

    /// Keeps all of it. Returns the ports.
    fn keep(mut self) -> BTreeSet<(Realm, SocketAddr)> {
        self.keys = None;
        std::mem::take(&mut self.ports)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.ports.is_empty() {
            let mut ports = lock(&self.manager.ports);
            for (realm, rtp) in &self.ports {
                ports.free(*realm, *rtp);
            }
        }
        if let Some(keys) = &self.keys {
            lock(&self.manager.send_keys).remove(keys);
        }
    }
}

/// Goes on with `work` even when the caller is dropped, as a front end is when its client leaves.
pub(crate) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and with it this very task.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Which local address a leg gets: the one it asks for, or the realm's first of the peer's family.
fn local_address(
    realm: Realm,
    config: &RealmConfig,
    leg: &LegRequest,
) -> Result<IpAddr, ManagerError> {
    let fits = |address: &IpAddr| {
        leg.remote
            .is_none_or(|remote| remote.rtp.is_ipv4() == address.is_ipv4())
    };
    match leg.address {
        Some(address) if !config.addresses.contains(&address) => {
            Err(ManagerError::AddressNotInRealm {
                realm,
                known: config.addresses.clone(),
            })
        }
        Some(address) if !fits(&address) => Err(ManagerError::OtherFamily { realm }),
        Some(address) => Ok(address),
        None => config
            .addresses
            .iter()
            .copied()
            .find(fits)
            .ok_or(ManagerError::NoAddressOfFamily { realm }),
    }
}

/// Why the manager did not do what it was asked.
#[derive(Debug)]
pub(crate) enum ManagerError {
    /// The data plane is not there, or not yet in step.
    NotConnected,
    /// No session has this id.
    UnknownSession,
    /// A leg asks for a local address that its realm does not have.
    AddressNotInRealm { realm: Realm, known: Vec<IpAddr> },
    /// The local address that a leg asks for and its peer's are not of one family.
    OtherFamily { realm: Realm },
    /// The realm has no address of the peer's family.
    NoAddressOfFamily { realm: Realm },
    /// A leg's sending key is in use.
    KeyInUse { realm: Realm },
    /// All ports are taken.
    Exhausted(Exhausted),
    /// The kernel has no random numbers.
    Random(getrandom::Error),
    /// As many sessions as there may be.
    TooMany,
    /// More flows than one session may have.
    TooManyFlows { found: usize },
    /// No new sessions any more.
    Draining,
    /// The session could not be remembered.
    Store(StoreError),
    /// The data plane did not do its part.
    DataPlane(DataPlaneError),
}

impl fmt::Display for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str(
                "data plane not connected; start sallyport dataplane with the same configuration, \
                 then ask again",
            ),
            Self::UnknownSession => f.write_str("no such session; GET /v1/sessions lists them"),
            Self::AddressNotInRealm { realm, known } => {
                let known: Vec<_> = known.iter().map(IpAddr::to_string).collect();
                write!(
                    f,
                    "not an address of realm {realm}; leave it out or use one of {}",
                    known.join(", ")
                )
            }
            Self::OtherFamily { realm } => write!(
                f,
                "the peer has an address of the other IP version; give {realm}.address one of the \
                 peer's version or leave it out"
            ),
            Self::NoAddressOfFamily { realm } => write!(
                f,
                "realm {realm} has no local address of the peer's IP version; add one to \
                 realm.{realm}.addresses in the configuration"
            ),
            Self::KeyInUse { .. } => f.write_str(
                "this key protects another leg already; draw a new random one for each leg",
            ),
            Self::Exhausted(exhausted) => exhausted.fmt(f),
            Self::TooMany => f.write_str(
                "as many sessions as there may be; end some, or raise agent.max_sessions",
            ),
            Self::TooManyFlows { found } => write!(
                f,
                "the call would have {found} flows, more than {}; end some of its branches first",
                Request::PAGE
            ),
            Self::Draining => {
                f.write_str("this agent drains and takes no new session; ask another")
            }
            Self::Random(error) => write!(f, "draw a random session id: {error}; ask again"),
            Self::Store(error) => error.fmt(f),
            Self::DataPlane(error) => error.fmt(f),
        }
    }
}

impl From<Exhausted> for ManagerError {
    fn from(error: Exhausted) -> Self {
        Self::Exhausted(error)
    }
}

impl From<StoreError> for ManagerError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<DataPlaneError> for ManagerError {
    fn from(error: DataPlaneError) -> Self {
        Self::DataPlane(error)
    }
}

#[cfg(test)]
#[path = "../tests/agent/data_plane.rs"]
mod pretended;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use sallyport_flow::{Mark, Secret, Suite};

    use super::*;
    use crate::config::default_policy;
    use crate::session::{Key, Keys};

    fn realm(address: &str) -> RealmConfig {
        RealmConfig {
            addresses: vec![address.parse().unwrap()],
            ports: 40000..=40001,
        }
    }

    fn leg() -> LegRequest {
        LegRequest {
            keys: None,
            address: None,
            rtcp_mux: false,
            remote: None,
        }
    }

    fn request() -> SessionRequest {
        SessionRequest {
            name: None,
            access: leg(),
            core: leg(),
        }
    }

    fn keys(send: u8) -> Keys {
        let key = |byte| Key {
            secret: Secret::new(vec![byte; Suite::AeadAes128Gcm.key_len()]),
            lifetime: None,
        };
        Keys {
            suite: Suite::AeadAes128Gcm,
            receive: key(100 + send),
            send: key(send),
        }
    }

    /// A manager and a data plane that are connected, and a folder of their own.
    struct Played {
        data_plane: pretended::DataPlane,
        manager: Manager,
        folder: Folder,
    }

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    impl Played {
        async fn start(name: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("sallyport-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            let config = Config {
                listen: ([127, 0, 0, 1], 0).into(),
                store: folder.join("store"),
                store_key: folder.join("key"),
                flow_socket: folder.join("flow.sock"),
                access: realm("192.0.2.1"),
                core: realm("10.0.0.1"),
                limits: Limits::default(),
                timeouts: Timeouts::default(),
                policy: default_policy(),
                ng: None,
            };
            let data_plane = pretended::DataPlane::start(&config.flow_socket);
            let (store, _) = Store::open(&config.store, &config.store_key).unwrap();
            let manager = Manager::new(&config, store, Vec::new());
            let (connection, _events) = DataPlane::connect(&config.flow_socket).await;
            *manager.data_plane.write().await = Some(connection);
            Self {
                data_plane,
                manager,
                folder: Folder(folder),
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn when_the_store_cannot_be_written_nothing_is_left_of_the_session() {
        let mut played = Played::start("nothing-left").await;
        let store = played.manager.store.clone();
        played.manager.store = store.broken();
        let error = played.manager.create_now(request()).await.unwrap_err();
        assert!(error.to_string().contains("agent.store"), "{error}");
        assert!(played.data_plane.state().flows.is_empty());
        assert_eq!(played.manager.count(), 0);
        // The only ports are free again.
        played.manager.store = store;
        played.manager.create_now(request()).await.unwrap();
        assert_eq!(played.data_plane.state().flows.len(), 4);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_data_plane_refuses_is_in_the_store_as_it_was() {
        let played = Played::start("refused").await;
        let manager = &played.manager;
        let refused = || vec![Refused::Failed("for a test".to_owned())];
        played.data_plane.state().refuse_installs = refused();
        manager.create_now(request()).await.unwrap_err();
        let mut protected = request();
        protected.access.keys = Some(keys(1));
        let session = manager.create_now(protected).await.unwrap();
        let entry = manager.entry(session.id).unwrap();
        played.data_plane.state().refuse_removals = refused();
        let removed = manager.change(&entry, None, manager.taken()).await;
        removed.unwrap_err();
        assert!(entry.state().is_some());

        drop(played.data_plane);
        drop(played.manager);
        let [store, key] = ["store", "key"].map(|name| played.folder.0.join(name));
        let (_, found) = Store::open(&store, &key).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, session.id);
        assert!(!found[0].marks.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn keys_whose_change_is_taken_back_go_on_behind_their_marks() {
        let mut played = Played::start("taken-back").await;
        let manager = &mut played.manager;
        let mut protected = request();
        protected.access.keys = Some(keys(1));
        let session = manager.create_now(protected).await.unwrap();
        let entry = manager.entry(session.id).unwrap();
        let mark = |rtcp| Mark {
            ssrc: 7,
            rtp: Some(1 << 17),
            rtcp,
        };
        let sending = FlowId(session.id.number() | 2);
        let did = FlowStatistics {
            id: sending,
            protect: vec![mark(Some(9))],
            ..FlowStatistics::default()
        };
        played.data_plane.state().statistics.insert(sending, did);
        manager.store = manager.store.broken();
        let other = SessionKeys {
            access: Some(keys(2)),
            core: None,
        };
        let other = State::Session(Box::new(session), other);
        let changed = manager.change(&entry, Some(other), manager.taken());
        changed.await.unwrap_err();
        let protect = played.data_plane.state().flows[&sending]
            .egress
            .protect
            .clone()
            .unwrap();
        assert_eq!(protect.keys[0].secret, keys(1).send.secret);
        assert_eq!(protect.marks, [mark(Some(9))]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_that_waits_while_its_session_is_closed_does_not_bring_it_back() {
        let played = Played::start("closed").await;
        let manager = &played.manager;
        let session = manager.create_now(request()).await.unwrap();
        let entry = manager.entry(session.id).unwrap();
        let same = State::Session(Box::new(session), SessionKeys::default());
        let reconciling = manager.data_plane.write().await;
        let (changed, ()) =
            tokio::join!(manager.change(&entry, Some(same), manager.taken()), async {
                manager.forget(&entry).await;
                drop(reconciling);
            });
        assert!(matches!(changed, Err(ManagerError::UnknownSession)));
        assert!(entry.state().is_none());
        assert_eq!(manager.count(), 0);
    }
}
