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

/// The time.
mod clock;

/// The place of a session.
mod entry;

/// Why the manager did not do what it was asked.
mod error;

/// What the sockets of calls report.
mod proof;

/// What a request takes.
mod taken;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sallyport_flow::{FlowStatistics, Realm, Request, Statistics};
use sallyport_signalling::policy::Policy;
use tokio::sync::{RwLock, mpsc};
use tracing::{error, info};

pub(crate) use entry::{Entry, NewEntry, Watch};
pub(crate) use error::ManagerError;
pub(crate) use taken::Taken;

use clock::Clock;
use entry::Changing;

use crate::config::{Config, Limits, RealmConfig, Timeouts};
use crate::data_plane::{DataPlane, DataPlaneError};
use crate::flows::{Counters, counters};
use crate::marks::FlowMarks;
use crate::ports::Ports;
use crate::send_keys::SendKeys;
use crate::session::{LegRequest, Name, Session, SessionId, SessionKeys, SessionRequest};
use crate::state::State;
use crate::store::{Found, Store, StoreError};
use crate::tally::Tally;
use crate::webrtc::{Endpoints, Report, Wanted};

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
    endpoints: Option<Endpoints>,
    /// What they report, until somebody follows it.
    reports: Mutex<Option<mpsc::Receiver<Report>>>,
    /// `None` until the sessions are reconciled with it. Held for reading while a session changes,
    /// so that none does during reconciliation.
    pub(crate) data_plane: RwLock<Option<Arc<DataPlane>>>,
}

/// Locks for a moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Manager {
    /// Takes over the sessions that the store remembers.
    pub(crate) fn new(config: &Config, store: Store, found: Vec<Found>) -> Self {
        let (endpoints, reports) = Endpoints::new(|purpose| store.secret(purpose)).unzip();
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
            endpoints,
            reports: Mutex::new(reports),
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

    fn restore(&self, id: SessionId, state: State, marks: FlowMarks) {
        let mut marks = marks.restored();
        for (realm, rtp) in state.ports() {
            lock(&self.ports).retake(realm, rtp);
        }
        if let State::Session(_, keys) = &state {
            // They were all different when they were given.
            let _ = lock(&self.send_keys).add(keys);
        }
        self.turn_sockets(&Wanted::new(), state.sockets(id));
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

    /// Whether what changes can be remembered.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) async fn check_store(&self) -> Result<(), ManagerError> {
        Ok(self.store.check().await?)
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
        // Should the agent die in between, its successor must not start at these indices again.
        if let Some(marks) = entry.marks_ahead_of(&new) {
            self.store.put_marks([(entry.id, marks)]).await?;
        }
        let sockets =
            |state: Option<&State>| state.map_or_else(Wanted::new, |state| state.sockets(entry.id));
        let (had, has) = (sockets(before.as_deref()), sockets(after.as_ref()));
        // New ones are there before their packets come, and old ones until no more do.
        let mut all = had.clone();
        all.extend(has.clone());
        self.turn_sockets(&had, all.clone());
        let is_beginning = old.is_empty() && lock(&entry.watch).marks.is_empty();
        let (applied, stored) = if is_beginning || after.is_none() {
            // No key moves, and nobody need wait for one after the other.
            let applied = entry.apply(data_plane, &old, &new);
            let (applied, stored) = tokio::join!(applied, self.write(entry, after.as_ref(), false));
            (applied, Some(stored))
        } else {
            match entry.apply(data_plane, &old, &new).await {
                Ok(applied) => {
                    let stored = self.write(entry, after.as_ref(), applied.moves_marks);
                    (Ok(applied), Some(stored.await))
                }
                Err(error) => (Err(error), None),
            }
        };
        let applied = match applied {
            Ok(applied) => applied,
            Err(error) => {
                let mut taken_back = Ok(());
                if !matches!(error, DataPlaneError::Refused(_)) {
                    // It may have been done, and nobody has heard of it.
                    let marks = [(entry.id, entry.doubt(&new))];
                    taken_back = self.store.put_marks(marks).await;
                }
                if matches!(stored, Some(Ok(()))) {
                    let written = self.write_again(entry, before.as_deref()).await;
                    taken_back = taken_back.and(written);
                }
                if let Err(problem) = taken_back {
                    error!(session = %entry.id, "take a change back: {problem}");
                }
                self.turn_sockets(&all, had);
                return Err(error.into());
            }
        };
        if let Some(Err(problem)) = stored {
            if after.is_some() {
                // If this fails, too, flows are made to agree at the next reconciliation.
                if let Err(problem) = entry.apply(data_plane, &new, &old).await {
                    entry.doubt(&old);
                    error!(session = %entry.id, "take a change back: {problem}");
                }
                self.turn_sockets(&all, had);
                return Err(problem.into());
            }
            // The record is still there; its session ends at the next start for want of activity.
            error!("{problem}");
        }
        self.turn_sockets(&all, has);
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
        if let Some(before) = &before {
            self.turn_sockets(&before.sockets(entry.id), Wanted::new());
        }
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

#[cfg(test)]
#[path = "../tests/agent/data_plane.rs"]
mod pretended;

#[cfg(test)]
mod tests;
