// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The one state machine of all sessions, whichever front end speaks.
//!
//! A session exists once its flows are installed and it is in the store, and ends when its flows
//! are removed. Everything is done one after the other under one lock, so that no two requests
//! see half of each other, and to its end, even when who asked has gone.
//!
//! After each connection to the data plane the sessions are reconciled with its flows:
//!
//! | session | its flows | then |
//! |---|---|---|
//! | known | all there | it goes on; the agent was away |
//! | known, keys at hand or not needed | gone | installed again behind its marks; the data plane was away |
//! | known, keys lost | gone | closed; both were away |
//! | unknown | there | removed; its creation was never answered, or its end |

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sallyport_flow::{Event, FlowId, FlowStatistics, Realm, Refused, Request, Statistics};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, error, info, warn};

use crate::config::{Config, RealmConfig};
use crate::data_plane::{DataPlane, DataPlaneError};
use crate::flows::{Counters, MAX_FLOWS, counters, flow_ids, flows, has_keys};
use crate::marks::Marks;
use crate::ports::{Exhausted, Ports};
use crate::session::{
    Ends, Leg, LegRequest, Name, Session, SessionId, SessionKeys, SessionRequest,
};
use crate::store::{Store, StoreError};

/// How often the agent asks where the indices stand.
const POLL: Duration = Duration::from_secs(1);

/// How long the agent waits when a data plane accepts its connection but not its sessions.
const PAUSE: Duration = Duration::from_millis(250);

/// How many sessions fit one request.
const PAGE: usize = Request::PAGE / MAX_FLOWS;

/// All sessions.
pub(crate) struct Manager {
    state: Mutex<State>,
}

impl Manager {
    /// Takes over the sessions that the store remembers.
    pub(crate) fn new(config: &Config, store: Store, sessions: Vec<Session>) -> Self {
        let mut state = State {
            access: config.access.clone(),
            core: config.core.clone(),
            ports: Ports::default(),
            send_keys: SendKeys::default(),
            sessions: BTreeMap::new(),
            store,
            data_plane: None,
        };
        for realm in Realm::ALL {
            let RealmConfig { addresses, ports } = state.realm(realm).clone();
            state.ports.add(realm, &addresses, &ports);
        }
        for session in sessions {
            for realm in Realm::ALL {
                state.ports.retake(realm, session.leg(realm).local.rtp);
            }
            let entry = Entry {
                session,
                keys: SessionKeys::default(),
                marks: HashMap::new(),
            };
            state.sessions.insert(entry.session.id, entry);
        }
        Self {
            state: Mutex::new(state),
        }
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
        to_its_end(async move { manager.state.lock().await.create(request).await }).await
    }

    /// Every session, in the order of their ids.
    pub(crate) async fn list(&self) -> Vec<Session> {
        let state = self.state.lock().await;
        state
            .sessions
            .values()
            .map(|entry| entry.session.clone())
            .collect()
    }

    /// One session and what its flows did until now.
    pub(crate) async fn show(&self, id: SessionId) -> Result<(Session, Counters), ManagerError> {
        let state = self.state.lock().await;
        let session = &state.entry(id)?.session;
        let flows = state
            .data_plane()?
            .flow_statistics(flow_ids(session).collect())
            .await?;
        Ok((session.clone(), counters(session, &flows)))
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
        to_its_end(async move { manager.state.lock().await.delete(id).await }).await
    }

    /// The counters of the whole data plane.
    pub(crate) async fn statistics(&self) -> Result<Statistics, ManagerError> {
        let data_plane = self.state.lock().await.data_plane()?;
        Ok(data_plane.statistics().await?)
    }

    /// Whether sessions can be set up.
    pub(crate) async fn is_connected(&self) -> bool {
        self.state.lock().await.data_plane.is_some()
    }

    /// Connects to the data plane, again and again, and keeps the sessions in step with it.
    pub(crate) async fn follow_data_plane(&self, socket: &Path) -> Infallible {
        let mut instance = None;
        loop {
            let (data_plane, mut events) = DataPlane::connect(socket).await;
            let is_new = instance.replace(data_plane.instance()) != Some(data_plane.instance());
            info!(is_new, "connected to the data plane");
            if let Err(error) = self.state.lock().await.connected(data_plane).await {
                error!("reconcile sessions with the data plane: {error}");
                sleep(PAUSE).await;
                continue;
            }
            let mut poll = interval(POLL);
            poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    event = events.recv() => match event {
                        Some(event) => tell(&event),
                        None => break,
                    },
                    _ = poll.tick() => self.poll().await,
                }
            }
            self.state.lock().await.data_plane = None;
        }
    }

    /// Learns where the indices of all flows stand, page by page, so that requests come between.
    async fn poll(&self) {
        let mut after = Bound::Unbounded;
        loop {
            let mut state = self.state.lock().await;
            let polled = state.poll_page(after).await;
            match polled {
                Ok(Some(last)) => after = Bound::Excluded(last),
                Ok(None) => return,
                Err(DataPlaneError::Refused(refused)) => {
                    warn!("{refused}: reconciling sessions with the data plane");
                    if let Err(error) = state.reconcile().await {
                        error!("reconcile sessions with the data plane: {error}");
                    }
                    return;
                }
                // The connection has ended, which `events` tell.
                Err(error) => {
                    warn!("ask where the indices stand: {error}");
                    return;
                }
            }
        }
    }
}

/// Goes on with `work` even when the caller is dropped, as a front end is when its client leaves.
async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and with it this very task.
            Err(_) => std::future::pending().await,
        },
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

struct State {
    access: RealmConfig,
    core: RealmConfig,
    ports: Ports,
    send_keys: SendKeys,
    sessions: BTreeMap<SessionId, Entry>,
    store: Store,
    /// `None` until the sessions are reconciled with it.
    data_plane: Option<Arc<DataPlane>>,
}

struct Entry {
    session: Session,
    keys: SessionKeys,
    marks: HashMap<FlowId, Marks>,
}

impl State {
    async fn create(&mut self, request: SessionRequest) -> Result<Session, ManagerError> {
        let data_plane = self.data_plane()?;
        let mut entry = self.reserve(request)?;
        let flows = flows(&entry.session, &entry.keys, &entry.marks).unwrap_or_default();
        if let Err(error) = data_plane.install(flows).await {
            self.release(&entry);
            return Err(error.into());
        }
        let session = entry.session.clone();
        // From now on its keys are in use, whether the agent has asked where they stand or not.
        let in_use = flow_ids(&session).map(|id| (id, Marks::default()));
        entry.marks.extend(in_use);
        self.sessions.insert(session.id, entry);
        if let Err(error) = self.save() {
            // If this fails, too, the flows are removed at the next reconciliation.
            let _ = data_plane.remove(flow_ids(&session).collect()).await;
            self.forget(session.id);
            return Err(error.into());
        }
        let Session {
            id,
            name,
            access,
            core,
        } = &session;
        info!(
            session = %id,
            name = name.as_ref().map(Name::as_str),
            access = %access.local.rtp,
            core = %core.local.rtp,
            "created"
        );
        Ok(session)
    }

    async fn delete(&mut self, id: SessionId) -> Result<(Session, Counters), ManagerError> {
        let session = self.entry(id)?.session.clone();
        let data_plane = self.data_plane()?;
        let flows = match data_plane.remove(flow_ids(&session).collect()).await {
            Err(DataPlaneError::Refused(Refused::UnknownFlow(_))) => {
                remove_what_is_there(&data_plane, flow_ids(&session)).await?
            }
            other => other?,
        };
        self.forget(id);
        // The file still has the session; without its flows it would be closed at the next start.
        if let Err(error) = self.save() {
            error!("{error}");
        }
        info!(session = %id, "deleted");
        Ok((session.clone(), counters(&session, &flows)))
    }

    /// Gives a request all that makes it a session, or takes nothing.
    fn reserve(&mut self, request: SessionRequest) -> Result<Entry, ManagerError> {
        let access_address = local_address(Realm::Access, &self.access, &request.access)?;
        let core_address = local_address(Realm::Core, &self.core, &request.core)?;
        let id = loop {
            let id = SessionId::random().map_err(ManagerError::Random)?;
            if !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let access = self.reserve_leg(Realm::Access, access_address, &request.access)?;
        let core = match self.reserve_leg(Realm::Core, core_address, &request.core) {
            Ok(core) => core,
            Err(exhausted) => {
                self.ports.free(Realm::Access, access.local.rtp);
                return Err(exhausted.into());
            }
        };
        let entry = Entry {
            session: Session {
                id,
                name: request.name,
                access,
                core,
            },
            keys: SessionKeys {
                access: request.access.keys,
                core: request.core.keys,
            },
            marks: HashMap::new(),
        };
        if let Err(realm) = self.send_keys.add(&entry.keys) {
            for realm in Realm::ALL {
                self.ports.free(realm, entry.session.leg(realm).local.rtp);
            }
            return Err(ManagerError::KeyInUse { realm });
        }
        Ok(entry)
    }

    fn reserve_leg(
        &mut self,
        realm: Realm,
        address: IpAddr,
        request: &LegRequest,
    ) -> Result<Leg, Exhausted> {
        let rtp = self.ports.take(realm, address)?;
        let mut rtcp = rtp;
        if !request.rtcp_mux {
            // The odd port behind an even one.
            rtcp.set_port(rtp.port() | 1);
        }
        Ok(Leg {
            profile: request.profile(),
            local: Ends { rtp, rtcp },
            remote: request.remote,
        })
    }

    /// Gives back what [`Self::reserve`] took.
    fn release(&mut self, entry: &Entry) {
        for realm in Realm::ALL {
            self.ports.free(realm, entry.session.leg(realm).local.rtp);
        }
        self.send_keys.remove(&entry.keys);
    }

    fn forget(&mut self, id: SessionId) {
        if let Some(entry) = self.sessions.remove(&id) {
            self.release(&entry);
        }
    }

    fn save(&self) -> Result<(), StoreError> {
        self.store
            .save(self.sessions.values().map(|entry| &entry.session))
    }

    fn entry(&self, id: SessionId) -> Result<&Entry, ManagerError> {
        self.sessions.get(&id).ok_or(ManagerError::UnknownSession)
    }

    fn data_plane(&self) -> Result<Arc<DataPlane>, ManagerError> {
        self.data_plane.clone().ok_or(ManagerError::NotConnected)
    }

    const fn realm(&self, realm: Realm) -> &RealmConfig {
        match realm {
            Realm::Access => &self.access,
            Realm::Core => &self.core,
        }
    }

    /// Uses a data plane from now on, if it takes the sessions.
    async fn connected(&mut self, data_plane: Arc<DataPlane>) -> Result<(), DataPlaneError> {
        self.data_plane = Some(data_plane);
        let result = self.reconcile().await;
        if result.is_err() {
            self.data_plane = None;
        }
        result
    }

    /// Makes sessions and flows agree; see the table at the top.
    async fn reconcile(&mut self) -> Result<(), DataPlaneError> {
        let Some(data_plane) = self.data_plane.clone() else {
            return Ok(());
        };
        let mut there: BTreeSet<FlowId> = data_plane
            .list()
            .await?
            .into_iter()
            .map(|flow| flow.id)
            .collect();
        let mut gone = Vec::new();
        for entry in self.sessions.values() {
            if flow_ids(&entry.session).all(|id| there.contains(&id)) {
                flow_ids(&entry.session).for_each(|id| {
                    there.remove(&id);
                });
            } else {
                gone.push(entry.session.id);
            }
        }

        // What is left belongs to no session, or to one that is not whole.
        let strays: Vec<FlowId> = there.into_iter().collect();
        for page in strays.chunks(Request::PAGE) {
            let removed = data_plane.remove(page.to_vec()).await?;
            self.learn(&removed);
        }
        let unknown: BTreeSet<SessionId> = strays.into_iter().map(SessionId::of).collect();
        for id in unknown.iter().filter(|id| !self.sessions.contains_key(*id)) {
            warn!(session = %id, "its flows removed: the session is not in the store");
        }

        let (lost, gone): (Vec<_>, Vec<_>) = gone.into_iter().partition(|id| {
            let entry = self.sessions.get(id);
            entry.is_none_or(|entry| !has_keys(&entry.session, &entry.keys))
        });
        for id in &lost {
            self.close(
                *id,
                "data plane and agent have both restarted, and with them its keys are lost",
            );
        }
        for page in gone.chunks(PAGE) {
            self.install_again(&data_plane, page).await?;
        }
        if !(lost.is_empty() && gone.is_empty())
            && let Err(error) = self.save()
        {
            error!("{error}");
        }
        Ok(())
    }

    async fn install_again(
        &mut self,
        data_plane: &DataPlane,
        ids: &[SessionId],
    ) -> Result<(), DataPlaneError> {
        let installation = |ids: &[SessionId]| {
            let entries = ids.iter().filter_map(|id| self.sessions.get(id));
            entries
                .filter_map(|entry| flows(&entry.session, &entry.keys, &entry.marks))
                .flatten()
                .collect::<Vec<_>>()
        };
        let flows = installation(ids);
        for id in ids {
            if let Some(entry) = self.sessions.get_mut(id) {
                entry.marks.values_mut().for_each(Marks::hand_out);
            }
        }
        match data_plane.install(flows).await {
            Ok(()) => {
                for id in ids {
                    info!(session = %id, "installed again");
                }
                Ok(())
            }
            // One of them is at fault: the others must not suffer.
            Err(DataPlaneError::Refused(refused)) => {
                if let [id] = ids {
                    self.close(*id, &refused.to_string());
                    return Ok(());
                }
                for id in ids {
                    Box::pin(self.install_again(data_plane, &[*id])).await?;
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Ends a session whose flows are gone.
    fn close(&mut self, id: SessionId, reason: &str) {
        self.forget(id);
        warn!(session = %id, "closed: {reason}; set the call up again");
    }

    /// Learns the marks of one page of sessions. Returns the last of them, if there was one.
    async fn poll_page(
        &mut self,
        after: Bound<SessionId>,
    ) -> Result<Option<SessionId>, DataPlaneError> {
        let Some(data_plane) = self.data_plane.clone() else {
            return Ok(None);
        };
        let page = self.sessions.range((after, Bound::Unbounded)).take(PAGE);
        let (mut last, mut ids) = (None, Vec::new());
        for (id, entry) in page {
            last = Some(*id);
            ids.extend(flow_ids(&entry.session));
        }
        if !ids.is_empty() {
            let statistics = data_plane.flow_statistics(ids).await?;
            self.learn(&statistics);
        }
        Ok(last)
    }

    fn learn(&mut self, statistics: &[FlowStatistics]) {
        for flow in statistics {
            if let Some(entry) = self.sessions.get_mut(&SessionId::of(flow.id)) {
                entry.marks.entry(flow.id).or_default().learn(flow);
            }
        }
    }
}

/// Removes those of the flows that are there.
async fn remove_what_is_there(
    data_plane: &DataPlane,
    flows: impl Iterator<Item = FlowId>,
) -> Result<Vec<FlowStatistics>, DataPlaneError> {
    let mut removed = Vec::new();
    for flow in flows {
        match data_plane.remove(vec![flow]).await {
            Ok(statistics) => removed.extend(statistics),
            Err(DataPlaneError::Refused(Refused::UnknownFlow(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
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

/// The keys that protect something, as keyed hashes: one key that protected two streams would give
/// away both, should they ever have an SSRC in common (RFC 3711 section 9.1).
#[derive(Default)]
struct SendKeys {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl SendKeys {
    /// Adds a session's keys, or none when one of them is in use; then says of which leg.
    fn add(&mut self, keys: &SessionKeys) -> Result<(), Realm> {
        let hashes = self.hashes_of(keys);
        let is_used = |realm: &(Realm, u64)| self.hashes.contains(&realm.1);
        if let Some((realm, _)) = hashes.iter().copied().find(is_used) {
            return Err(realm);
        }
        if let [(_, access), (realm, core)] = hashes[..]
            && access == core
        {
            return Err(realm);
        }
        self.hashes.extend(hashes.into_iter().map(|(_, hash)| hash));
        Ok(())
    }

    fn remove(&mut self, keys: &SessionKeys) {
        for (_, hash) in self.hashes_of(keys) {
            self.hashes.remove(&hash);
        }
    }

    fn hashes_of(&self, keys: &SessionKeys) -> Vec<(Realm, u64)> {
        let hash = |realm| {
            let keys = keys.leg(realm)?;
            Some((realm, self.hasher.hash_one(keys.send.secret.expose())))
        };
        Realm::ALL.into_iter().filter_map(hash).collect()
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
