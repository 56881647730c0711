// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The control side: one task that owns what the workers do not, and tells them.
//!
//! It takes requests of agents one after another, and between them what workers and the kernel
//! report. Each request is done wholly or not at all: all checks come first. A flow is told to
//! the workers before the XDP program steers its packets to them, and taken from the XDP program
//! before it is taken from the workers, so that no packet meets a half of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use hashbrown::{HashMap, HashSet};
use rtnetlink::packet_route::RouteNetlinkMessage;
use sallyport_ebpf::{FlowKey, Verdict};
use sallyport_flow::{
    Crypto, Event, Flow, FlowId, FlowStatistics, FlowSummary, Mark, NicStatistics, Path, Realm,
    Refused, Remote, Reply, Request, ServerMessage, Source, Statistics, Update, WorkerStatistics,
};
use sallyport_srtp::{ContextSet, MasterKey, Policy, ReplayWindow, Suite};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use crate::config::RealmConfig;
use crate::error::DataPlaneError;
use crate::flow_table::{Claim, Contexts, FarEnd, FlowCounters, FlowEntry, SourceFilter};
use crate::header::PathHeader;
use crate::next_hop::{Change, HopId, NextHops, Notifications, SETTLE_INTERVAL, TOUCH_INTERVAL};
use crate::nic::{Nic, ids};
use crate::state::Events;
use crate::worker::{Command, WorkerHandle};
use crate::xdp::{NicId, Steer};

/// How long a worker may take to do what it is told.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a connection asks of the control task.
#[derive(Debug)]
pub struct Ask {
    /// What the agent wants.
    pub request: Request,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Reply, Refused>>,
    /// Where events go, if it subscribes.
    pub events: mpsc::Sender<ServerMessage>,
}

/// All that the control task owns.
pub struct Control {
    /// The XDP program.
    pub steer: Steer,
    /// The workers, by their numbers.
    pub workers: Vec<WorkerHandle>,
    /// The next hops in use.
    pub next_hops: NextHops,
    /// The two sides.
    pub realms: BTreeMap<Realm, RealmConfig>,
    /// The NICs' names, in the order of their [`NicId`]s.
    pub nics: Vec<String>,
    /// How each NIC's packets reach us, in the same order.
    pub rungs: Vec<String>,
    /// How many flows there may be.
    pub max_flows: u32,
    /// Where workers' events come from.
    pub events: Arc<Events>,
    /// The flows that are installed.
    pub flows: Flows,
    /// Who wants events.
    pub subscribers: Vec<mpsc::Sender<ServerMessage>>,
}

/// The flows that are installed, as the control side knows them.
#[derive(Debug, Default)]
pub struct Flows {
    by_id: BTreeMap<FlowId, Installed>,
    by_local: HashMap<(NicId, SocketAddr), FlowId>,
    /// Which flows go to the peer that a flow latches.
    followers: HashMap<FlowId, Vec<FlowId>>,
}

/// One flow that is installed.
#[derive(Debug)]
struct Installed {
    realm: Realm,
    nic: NicId,
    local: SocketAddr,
    source: Source,
    latched: Option<SocketAddr>,
    egress: Realm,
    rtp: Course,
    rtcp: Course,
}

/// Where one kind of a flow's packets goes, as far as it is known.
#[derive(Clone, Copy, Debug)]
struct Course {
    path: Path,
    hop: Option<HopId>,
    far_end: Option<FarEnd>,
}

impl Control {
    /// Serves until a worker dies or `shutdown` is done.
    ///
    /// # Errors
    /// [`DataPlaneError::WorkerDied`].
    pub async fn run(
        &mut self,
        mut asks: mpsc::Receiver<Ask>,
        mut notifications: Notifications,
        mut ended: mpsc::UnboundedReceiver<u32>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), DataPlaneError> {
        let mut touch = tokio::time::interval(TOUCH_INTERVAL);
        let mut settle = tokio::time::interval(SETTLE_INTERVAL);
        settle.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let events = Arc::clone(&self.events);
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                Some(worker) = ended.recv() => return Err(DataPlaneError::WorkerDied { worker }),
                Some(ask) = asks.recv() => {
                    let result = self.answer(ask.request, &ask.events).await;
                    // An agent that has gone does not need an answer.
                    let _ = ask.answer.send(result);
                }
                event = events.next() => self.report(event).await,
                Some(message) = notifications.next() => {
                    self.tell_mtu(&message).await;
                    let changes = self.next_hops.follow(message).await;
                    self.tell_hops(&changes).await;
                }
                _ = settle.tick(), if self.next_hops.is_stale() => {
                    let changes = self.next_hops.settle().await;
                    self.tell_hops(&changes).await;
                }
                _ = touch.tick() => {
                    self.steer.flush_logs();
                    let changes = self.next_hops.refresh().await;
                    self.tell_hops(&changes).await;
                }
            }
        }
    }

    async fn answer(
        &mut self,
        request: Request,
        events: &mpsc::Sender<ServerMessage>,
    ) -> Result<Reply, Refused> {
        match request {
            Request::Update(Update {
                remove,
                change,
                install,
            }) => {
                if !change.is_empty() {
                    return Err(Refused::Failed("flows cannot be changed yet".to_owned()));
                }
                let removed = self.remove(remove).await?;
                self.install(install).await?;
                Ok(Reply::Updated(removed))
            }
            Request::List { after } => Ok(Reply::Flows(self.flows.list(after))),
            Request::FlowStatistics(ids) => {
                self.flow_statistics(ids).await.map(Reply::FlowStatistics)
            }
            Request::Statistics => self.statistics().await.map(Reply::Statistics),
            Request::Subscribe => {
                self.subscribers
                    .retain(|subscriber| !subscriber.is_closed());
                self.subscribers.push(events.clone());
                Ok(Reply::Subscribed)
            }
        }
    }

    async fn install(&mut self, flows: Vec<Flow>) -> Result<(), Refused> {
        let contexts = self.check(&flows)?;
        let ids: Vec<FlowId> = flows.iter().map(|flow| flow.id).collect();
        let mut entries: Vec<Vec<Box<FlowEntry>>> = self
            .workers
            .iter()
            .map(|_| Vec::with_capacity(flows.len()))
            .collect();
        // A flow may go to the peer that another one of the same request latches.
        for flow in &flows {
            for path in [flow.egress.rtp, flow.egress.rtcp] {
                if let Remote::Latched(leader) = path.remote {
                    self.flows.follow(leader, flow.id);
                }
            }
        }
        for (flow, contexts) in flows.into_iter().zip(contexts) {
            let nic = self.nic_of(flow.ingress.realm);
            let rtp = self.course(flow.egress.realm, flow.egress.rtp).await;
            let rtcp = self.course(flow.egress.realm, flow.egress.rtcp).await;
            let claim = Arc::new(Claim::new(contexts));
            for entries in &mut entries {
                entries.push(Box::new(FlowEntry {
                    id: flow.id,
                    key: FlowKey::new(nic.0, flow.ingress.local),
                    carries: flow.ingress.carries,
                    source: match flow.ingress.source {
                        Source::Only(peer) => SourceFilter::Only(peer),
                        Source::Latch(_) => SourceFilter::Latch(None),
                    },
                    protected: flow.ingress.unprotect.is_some(),
                    claim: Arc::clone(&claim),
                    owned: None,
                    egress: self.nic_of(flow.egress.realm),
                    rtp: rtp.far_end,
                    rtcp: rtcp.far_end,
                    dscp: flow.egress.dscp,
                    has_expired: false,
                    counters: FlowCounters::default(),
                }));
            }
            self.flows.add(
                flow.id,
                Installed {
                    realm: flow.ingress.realm,
                    nic,
                    local: flow.ingress.local,
                    source: flow.ingress.source,
                    latched: None,
                    egress: flow.egress.realm,
                    rtp,
                    rtcp,
                },
            );
        }
        let mut waits = Vec::with_capacity(entries.len());
        for (worker, entries) in entries.into_iter().enumerate() {
            let (done, wait) = oneshot::channel();
            self.tell(worker, Command::Install(entries, done)).await;
            waits.push(wait);
        }
        let mut result = all(waits).await.map(drop);
        for id in &ids {
            if let (Ok(()), Some(flow)) = (&result, self.flows.by_id.get(id)) {
                result = self
                    .steer
                    .insert_flow(flow.nic, flow.local)
                    .map_err(|error| Refused::Failed(error.to_string()));
            }
        }
        if let Err(refused) = result {
            // Back to before. What fails here fails for the reason that is reported.
            let _ = self.remove(ids).await;
            return Err(refused);
        }
        Ok(())
    }

    /// Checks all flows of a request, and makes their crypto contexts.
    fn check(&self, flows: &[Flow]) -> Result<Vec<Contexts>, Refused> {
        if flows.len() > Request::PAGE {
            return Err(Refused::PageTooLong);
        }
        if self.flows.by_id.len() + flows.len() > self.max_flows as usize {
            return Err(Refused::Full {
                limit: self.max_flows,
            });
        }
        let mut ids = HashSet::new();
        let mut locals: HashMap<(NicId, SocketAddr), FlowId> = HashMap::new();
        let mut contexts = Vec::with_capacity(flows.len());
        for flow in flows {
            let (id, ingress, egress) = (flow.id, &flow.ingress, &flow.egress);
            if self.flows.by_id.contains_key(&id) || !ids.insert(id) {
                return Err(Refused::FlowExists(id));
            }
            self.check_local(ingress.realm, ingress.local)?;
            let key = (self.nic_of(ingress.realm), ingress.local);
            if let Some(by) = self.flows.by_local.get(&key).or_else(|| locals.get(&key)) {
                return Err(Refused::AddressInUse {
                    local: ingress.local,
                    by: *by,
                });
            }
            locals.insert(key, id);
            let out_of_range = |field: &str| Refused::OutOfRange {
                flow: id,
                field: field.to_owned(),
            };
            for (path, field) in [(egress.rtp, "egress.rtp"), (egress.rtcp, "egress.rtcp")] {
                self.check_local(egress.realm, path.local)?;
                if let Remote::Fixed(remote) = path.remote
                    && PathHeader::new(path.local, remote).is_none()
                {
                    return Err(out_of_range(field));
                }
            }
            if egress.dscp.is_some_and(|dscp| dscp > 63) {
                return Err(out_of_range("egress.dscp"));
            }
            let set = |crypto: &Option<Crypto>, make: fn(&MasterKey, Policy) -> ContextSet| {
                crypto
                    .as_ref()
                    .map(|crypto| context_set(id, crypto, make))
                    .transpose()
            };
            contexts.push(Contexts {
                unprotect: set(&ingress.unprotect, ContextSet::receiver)?,
                protect: set(&egress.protect, ContextSet::sender)?,
            });
        }
        Ok(contexts)
    }

    /// Checks that an address and port are the realm's.
    fn check_local(&self, realm: Realm, local: SocketAddr) -> Result<(), Refused> {
        let is_ours = self.realms.get(&realm).is_some_and(|config| {
            config.addresses.contains(&local.ip()) && config.ports.contains(&local.port())
        });
        if is_ours {
            Ok(())
        } else {
            Err(Refused::NotInRealm { realm, local })
        }
    }

    async fn remove(&mut self, ids: Vec<FlowId>) -> Result<Vec<FlowStatistics>, Refused> {
        if ids.len() > Request::PAGE {
            return Err(Refused::PageTooLong);
        }
        for id in &ids {
            let flow = self.flows.by_id.get(id).ok_or(Refused::UnknownFlow(*id))?;
            // Gone already after an installation that failed half-way.
            if let Err(error) = self.steer.remove_flow(flow.nic, flow.local) {
                warn!(flow = %id, %error, "remove from the XDP program");
            }
        }
        let mut waits = Vec::with_capacity(self.workers.len());
        for worker in 0..self.workers.len() {
            let (done, wait) = oneshot::channel();
            self.tell(worker, Command::Remove(ids.clone(), done)).await;
            waits.push(wait);
        }
        let removed = all(waits).await;
        for id in &ids {
            if let Some(flow) = self.flows.take(*id) {
                for course in [flow.rtp, flow.rtcp] {
                    if let Some(hop) = course.hop {
                        self.next_hops.release(hop);
                    }
                }
            }
        }
        let statistics = removed?.into_iter().map(|removed| {
            removed
                .into_iter()
                .map(|removed| removed.statistics)
                .collect::<Vec<_>>()
        });
        Ok(merge(&ids, statistics))
    }

    async fn flow_statistics(&self, ids: Vec<FlowId>) -> Result<Vec<FlowStatistics>, Refused> {
        if ids.len() > Request::PAGE {
            return Err(Refused::PageTooLong);
        }
        if let Some(id) = ids.iter().find(|id| !self.flows.by_id.contains_key(*id)) {
            return Err(Refused::UnknownFlow(*id));
        }
        let mut waits = Vec::with_capacity(self.workers.len());
        for worker in 0..self.workers.len() {
            let (done, wait) = oneshot::channel();
            self.tell(worker, Command::FlowStatistics(ids.clone(), done))
                .await;
            waits.push(wait);
        }
        Ok(merge(&ids, all(waits).await?.into_iter()))
    }

    async fn statistics(&self) -> Result<Statistics, Refused> {
        let mut waits = Vec::with_capacity(self.workers.len());
        for worker in 0..self.workers.len() {
            let (done, wait) = oneshot::channel();
            self.tell(worker, Command::Statistics(done)).await;
            waits.push(wait);
        }
        let workers: Vec<WorkerStatistics> = all(waits).await?;
        let mut nics = Vec::with_capacity(self.nics.len());
        for (id, (name, rung)) in ids().zip(self.nics.iter().zip(&self.rungs)) {
            let counts = self
                .steer
                .verdicts(id)
                .map_err(|error| Refused::Failed(error.to_string()))?;
            let verdicts = Verdict::ALL.iter().zip(counts);
            nics.push(NicStatistics {
                name: name.clone(),
                rung: rung.clone(),
                verdicts: verdicts
                    .map(|(verdict, n)| (verdict.name().to_owned(), n))
                    .collect(),
            });
        }
        Ok(Statistics {
            flows: self.flows.by_id.len() as u64,
            nics,
            workers,
        })
    }

    /// Acts on what a worker reports, and passes it on.
    async fn report(&mut self, event: Event) {
        if let Event::Latched { flow, remote } = event {
            self.latched(flow, remote).await;
        }
        self.subscribers.retain(|subscriber| {
            // A subscriber that does not read loses events, not our time.
            let sent = subscriber.try_send(ServerMessage::Event(event.clone()));
            !matches!(sent, Err(mpsc::error::TrySendError::Closed(_)))
        });
    }

    /// A flow knows its peer now: the flows that go there can.
    async fn latched(&mut self, leader: FlowId, remote: SocketAddr) {
        let Some(flow) = self.flows.by_id.get_mut(&leader) else {
            return;
        };
        flow.latched = Some(remote);
        info!(flow = %leader, %remote, "latched");
        for follower in self
            .flows
            .followers
            .get(&leader)
            .cloned()
            .unwrap_or_default()
        {
            let Some(flow) = self.flows.by_id.get(&follower) else {
                continue;
            };
            let (egress, mut courses) = (flow.egress, [flow.rtp, flow.rtcp]);
            for course in &mut courses {
                if course.path.remote == Remote::Latched(leader) {
                    let old = course.hop;
                    *course = self.course(egress, course.path).await;
                    if let Some(hop) = old {
                        self.next_hops.release(hop);
                    }
                }
            }
            let [rtp, rtcp] = courses;
            if let Some(flow) = self.flows.by_id.get_mut(&follower) {
                (flow.rtp, flow.rtcp) = (rtp, rtcp);
            }
            for worker in 0..self.workers.len() {
                let far_ends = Box::new((rtp.far_end, rtcp.far_end));
                self.tell(worker, Command::SetFarEnds(follower, far_ends))
                    .await;
            }
        }
    }

    /// Finds out where a path leads, as far as it is known yet.
    async fn course(&mut self, realm: Realm, path: Path) -> Course {
        let remote = match path.remote {
            Remote::Fixed(remote) => Some(remote),
            Remote::Latched(leader) => self.flows.by_id.get(&leader).and_then(|flow| flow.latched),
        };
        let header = remote.and_then(|remote| PathHeader::new(path.local, remote));
        let (Some(remote), Some(header)) = (remote, header) else {
            return Course {
                path,
                hop: None,
                far_end: None,
            };
        };
        let (hop, change) = self.next_hops.acquire(realm, remote.ip()).await;
        if let Some(change) = change {
            self.tell_hops(&[change]).await;
        }
        Course {
            path,
            hop: Some(hop),
            far_end: Some(FarEnd { hop, header }),
        }
    }

    /// Tells the workers how long packets may be, if the message is about that.
    async fn tell_mtu(&self, message: &RouteNetlinkMessage) {
        let RouteNetlinkMessage::NewLink(link) = message else {
            return;
        };
        let Some(nic) = Nic::from_message(link) else {
            return;
        };
        for (id, _) in ids().zip(&self.nics).filter(|(_, name)| **name == nic.name) {
            for worker in 0..self.workers.len() {
                self.tell(worker, Command::SetMtu(id, nic.mtu)).await;
            }
        }
    }

    async fn tell_hops(&self, changes: &[Change]) {
        for (hop, header) in changes {
            for worker in 0..self.workers.len() {
                self.tell(worker, Command::SetHop(*hop, *header)).await;
            }
        }
    }

    /// Hands a command to a worker, waiting while it has too many.
    async fn tell(&self, worker: usize, command: Command) {
        let mut command = command;
        // A worker that died is noticed elsewhere; do not wait for it for ever.
        for _ in 0..PATIENCE.as_millis() {
            match self.workers[worker].tell(command) {
                Ok(()) => return,
                Err(back) => command = back,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        warn!(worker, "worker takes no commands");
    }

    /// The NIC of a realm. Both realms may be on one.
    fn nic_of(&self, realm: Realm) -> NicId {
        let nic = self.realms.get(&realm).map(|config| &config.nic);
        let found = ids().zip(&self.nics).find(|(_, name)| Some(*name) == nic);
        // Every realm has a NIC: `run` found them all.
        found.map_or(NicId(0), |(id, _)| id)
    }
}

impl Flows {
    fn add(&mut self, id: FlowId, flow: Installed) {
        self.by_local.insert((flow.nic, flow.local), id);
        self.by_id.insert(id, flow);
    }

    fn take(&mut self, id: FlowId) -> Option<Installed> {
        let flow = self.by_id.remove(&id)?;
        self.by_local.remove(&(flow.nic, flow.local));
        for course in [flow.rtp, flow.rtcp] {
            if let Remote::Latched(leader) = course.path.remote
                && let Some(followers) = self.followers.get_mut(&leader)
            {
                followers.retain(|follower| *follower != id);
                if followers.is_empty() {
                    self.followers.remove(&leader);
                }
            }
        }
        Some(flow)
    }

    fn follow(&mut self, leader: FlowId, follower: FlowId) {
        let followers = self.followers.entry(leader).or_default();
        if !followers.contains(&follower) {
            followers.push(follower);
        }
    }

    fn list(&self, after: Option<FlowId>) -> Vec<FlowSummary> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let flows = self
            .by_id
            .range((start, Bound::Unbounded))
            .take(Request::PAGE);
        flows
            .map(|(id, flow)| FlowSummary {
                id: *id,
                realm: flow.realm,
                local: flow.local,
                source: match flow.source {
                    Source::Only(peer) => Some(peer),
                    Source::Latch(_) => flow.latched,
                },
            })
            .collect()
    }
}

/// Makes the crypto contexts of one direction of a flow.
fn context_set(
    flow: FlowId,
    crypto: &Crypto,
    make: fn(&MasterKey, Policy) -> ContextSet,
) -> Result<ContextSet, Refused> {
    let suite = match crypto.suite {
        sallyport_flow::Suite::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        sallyport_flow::Suite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        sallyport_flow::Suite::AeadAes128Gcm => Suite::AeadAes128Gcm,
        sallyport_flow::Suite::AeadAes256Gcm => Suite::AeadAes256Gcm,
        sallyport_flow::Suite::Aes192CmHmacSha1_80 => Suite::Aes192CmHmacSha1_80,
        sallyport_flow::Suite::Aes192CmHmacSha1_32 => Suite::Aes192CmHmacSha1_32,
        sallyport_flow::Suite::Aes256CmHmacSha1_80 => Suite::Aes256CmHmacSha1_80,
        sallyport_flow::Suite::Aes256CmHmacSha1_32 => Suite::Aes256CmHmacSha1_32,
        sallyport_flow::Suite::F8128HmacSha1_80 => Suite::F8128HmacSha1_80,
        sallyport_flow::Suite::NullHmacSha1_80 => Suite::NullHmacSha1_80,
        sallyport_flow::Suite::NullHmacSha1_32 => Suite::NullHmacSha1_32,
        _ => {
            return Err(Refused::OutOfRange {
                flow,
                field: "suite".to_owned(),
            });
        }
    };
    let key = crypto.keys[0].secret.expose();
    let key = MasterKey::new(suite, key).map_err(|_| Refused::KeyLength {
        flow,
        suite: crypto.suite,
        found: key.len(),
    })?;
    let out_of_range = |field: &str| Refused::OutOfRange {
        flow,
        field: field.to_owned(),
    };
    let replay_window = match crypto.replay_window {
        0 => ReplayWindow::default(),
        packets => ReplayWindow::new(packets).map_err(|_| out_of_range("replay_window"))?,
    };
    let policy = Policy {
        replay_window,
        lifetime: crypto.lifetime,
        ..Policy::default()
    };
    let mut set = make(&key, policy);
    let mark = |mark: &Mark| sallyport_srtp::Mark {
        ssrc: mark.ssrc,
        rtp: mark.rtp,
        rtcp: mark.rtcp,
    };
    let marks: Vec<_> = crypto.marks.iter().map(mark).collect();
    set.resume(&marks).map_err(|_| out_of_range("marks"))?;
    Ok(set)
}

/// Waits for all workers.
async fn all<T>(waits: Vec<oneshot::Receiver<T>>) -> Result<Vec<T>, Refused> {
    let failed = || Refused::Failed("a worker did not answer; see the data plane's log".to_owned());
    let answers = tokio::time::timeout(PATIENCE, join_all(waits))
        .await
        .map_err(|_| failed())?;
    answers
        .into_iter()
        .map(|answer| answer.map_err(|_| failed()))
        .collect()
}

/// Adds up what the workers counted, in the order of `ids`. State comes from the flow's owner,
/// the only worker that has any.
fn merge(
    ids: &[FlowId],
    workers: impl Iterator<Item = Vec<FlowStatistics>>,
) -> Vec<FlowStatistics> {
    let mut sums: HashMap<FlowId, FlowStatistics> = HashMap::with_capacity(ids.len());
    for statistics in workers.flatten() {
        let sum = sums.entry(statistics.id).or_insert_with(|| FlowStatistics {
            id: statistics.id,
            ..FlowStatistics::default()
        });
        sum.packets_in += statistics.packets_in;
        sum.bytes_in += statistics.bytes_in;
        sum.packets_out += statistics.packets_out;
        sum.bytes_out += statistics.bytes_out;
        sum.refused.add(&statistics.refused);
        sum.latched = sum.latched.or(statistics.latched);
        sum.unprotect.extend(statistics.unprotect);
        sum.protect.extend(statistics.protect);
    }
    ids.iter()
        .map(|id| {
            sums.remove(id).unwrap_or_else(|| FlowStatistics {
                id: *id,
                ..FlowStatistics::default()
            })
        })
        .collect()
}
