// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The control side: one task that owns what the workers do not, and tells them.
//!
//! It takes requests of agents one after another, and between them what workers and the kernel
//! report. Each request is done wholly or not at all: what may fail comes first.

mod update;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use hashbrown::HashMap;
use rtnetlink::packet_route::RouteNetlinkMessage;
use sallyport_ebpf::Verdict;
use sallyport_flow::{
    FlowId, FlowStatistics, FlowSummary, NicStatistics, Path, Realm, Refused, Remote, Reply,
    Request, ServerMessage, Source, Statistics, WorkerStatistics,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use crate::config::RealmConfig;
use crate::contexts::Claim;
use crate::error::DataPlaneError;
use crate::flow_table::{FarEnd, SourceFilter, Terms};
use crate::header::PathHeader;
use crate::next_hop::{Change, NextHops, Notifications, SETTLE_INTERVAL, TOUCH_INTERVAL};
use crate::nic::{Nic, ids};
use crate::rekey::{Fingerprints, Keys};
use crate::state::{Event, Events};
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
    /// Tells keys apart.
    pub fingerprints: Fingerprints,
    /// Flows with keys that were replaced, and when these retire, in this order.
    pub retiring: VecDeque<(Instant, FlowId)>,
    /// Who wants events.
    pub subscribers: Vec<mpsc::Sender<ServerMessage>>,
}

/// The flows that are installed, as the control side knows them.
#[derive(Debug, Default)]
pub struct Flows {
    /// In boxes: a tree has as much room again.
    by_id: BTreeMap<FlowId, Box<Installed>>,
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
    /// Whether STUN and DTLS go up to the kernel.
    handshakes: bool,
    source: Source,
    egress: Realm,
    rtp: Path,
    rtcp: Path,
    keys: Keys,
    claim: Arc<Claim>,
    /// As the workers have them; who is latched, as far as they have told.
    terms: Terms,
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
            let retirement = self.retiring.front().map(|(time, _)| (*time).into());
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
                () = tokio::time::sleep_until(retirement.unwrap_or_else(tokio::time::Instant::now)),
                    if retirement.is_some() => self.retire().await,
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
            Request::Update(update) => self.update(update).await.map(Reply::Updated),
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
        let event = match event {
            Event::Latched {
                flow,
                remote,
                round,
            } => {
                if !self.latch(flow, remote, round) {
                    return;
                }
                info!(%flow, %remote, "latched");
                self.redirect(flow).await;
                sallyport_flow::Event::Latched { flow, remote }
            }
            Event::KeyExpired { flow } => sallyport_flow::Event::KeyExpired { flow },
            Event::Missed { count } => sallyport_flow::Event::Missed { count },
        };
        self.subscribers.retain(|subscriber| {
            // A subscriber that does not read loses events, not our time.
            let sent = subscriber.try_send(ServerMessage::Event(event.clone()));
            !matches!(sent, Err(mpsc::error::TrySendError::Closed(_)))
        });
    }

    /// Notes a flow's peer; `false` when that was a former peer of it.
    fn latch(&mut self, flow: FlowId, remote: SocketAddr, round: u32) -> bool {
        let flow = self.flows.by_id.get_mut(&flow);
        match flow.map(|flow| &mut flow.terms.source) {
            Some(SourceFilter::Latch(latching)) if latching.round == round => {
                latching.latched = Some(remote);
                true
            }
            _ => false,
        }
    }

    /// The peer of a flow is known, or is elsewhere: so is the way of those that go there.
    async fn redirect(&mut self, leader: FlowId) {
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
            let realm = flow.egress;
            let before = flow.far_ends();
            let (mut far_ends, mut left) = (before, [None; 2]);
            let paths = [flow.rtp, flow.rtcp];
            for ((path, far_end), left) in paths.into_iter().zip(&mut far_ends).zip(&mut left) {
                if path.remote == Remote::Latched(leader) {
                    let new = self.far_end(realm, path).await;
                    *left = std::mem::replace(far_end, new);
                }
            }
            if far_ends != before {
                let [rtp, rtcp] = far_ends;
                if let Some(flow) = self.flows.by_id.get_mut(&follower) {
                    (flow.terms.rtp, flow.terms.rtcp) = (rtp, rtcp);
                }
                for worker in 0..self.workers.len() {
                    let far_ends = Box::new((rtp, rtcp));
                    self.tell(worker, Command::SetFarEnds(follower, far_ends))
                        .await;
                }
            }
            for far_end in left {
                self.release(far_end);
            }
        }
    }

    /// Finds out where a path leads, as far as it is known yet.
    async fn far_end(&mut self, realm: Realm, path: Path) -> Option<FarEnd> {
        let remote = match path.remote {
            Remote::Fixed(remote) => remote,
            Remote::Latched(leader) => self.flows.by_id.get(&leader)?.peer()?,
        };
        let header = PathHeader::new(path.local, remote)?;
        let (hop, change) = self.next_hops.acquire(realm, remote.ip()).await;
        if let Some(change) = change {
            self.tell_hops(&[change]).await;
        }
        Some(FarEnd { hop, header })
    }

    /// Gives up a way out, of which the workers have been told: its number is soon another's.
    fn release(&mut self, far_end: Option<FarEnd>) {
        if let Some(far_end) = far_end {
            self.next_hops.release(far_end.hop);
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

impl Installed {
    /// Where its RTP and RTCP packets go, as far as that is known.
    const fn far_ends(&self) -> [Option<FarEnd>; 2] {
        [self.terms.rtp, self.terms.rtcp]
    }

    /// Where its peer is, as far as that is known.
    fn peer(&self) -> Option<SocketAddr> {
        let signalled = match self.source {
            Source::Only(peer) => Some(peer),
            Source::Latch(latch) => latch.signalled.filter(|_| !latch.waits),
        };
        self.sender().or(signalled)
    }

    /// Who sends to it, as far as that is known.
    fn sender(&self) -> Option<SocketAddr> {
        match self.terms.source {
            SourceFilter::Only(peer) => Some(peer),
            SourceFilter::Latch(latching) => latching.latched,
        }
    }
}

impl Flows {
    /// Adds a flow, or puts it in the place of the one of the same number, which is returned.
    fn put(&mut self, id: FlowId, flow: Installed) -> Option<Box<Installed>> {
        let old = self.take(id);
        for path in [flow.rtp, flow.rtcp] {
            if let Remote::Latched(leader) = path.remote {
                let followers = self.followers.entry(leader).or_default();
                if !followers.contains(&id) {
                    followers.push(id);
                }
            }
        }
        self.by_local.insert((flow.nic, flow.local), id);
        self.by_id.insert(id, Box::new(flow));
        old
    }

    fn take(&mut self, id: FlowId) -> Option<Box<Installed>> {
        let flow = self.by_id.remove(&id)?;
        self.by_local.remove(&(flow.nic, flow.local));
        for path in [flow.rtp, flow.rtcp] {
            if let Remote::Latched(leader) = path.remote
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
                source: flow.sender(),
            })
            .collect()
    }
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
        sum.idle = sum.idle.or(statistics.idle);
        sum.ssrcs.extend(statistics.ssrcs);
        sum.sent.extend(statistics.sent);
        sum.received.extend(statistics.received);
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
