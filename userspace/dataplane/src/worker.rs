// SPDX-License-Identifier: Apache-2.0 OR MIT

//! One pinned thread per queue: the thin loop of ring operations around
//! [`process_burst`].
//!
//! A worker owns its queue on every NIC, one UMEM that their sockets share, and a
//! [`WorkerState`]. Everything else reaches it through bounded queues that it looks at once per
//! burst: commands from the control side, and packets that other workers received for flows that
//! this one owns.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use arrayvec::ArrayVec;
use crossbeam::queue::ArrayQueue;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::Pid;
use sallyport_flow::{
    FlowId, FlowStatistics, FrameCount, Mark, QueueStatistics, Realm, Reason, WorkerStatistics,
};
use sallyport_srtp::{ContextSets, SetId};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use crate::burst::{Burst, Fate, MAX_BURST, Packet};
use crate::config::PollMode;
use crate::contexts::{Contexts, PropertyChange};
use crate::error::DataPlaneError;
use crate::flow_table::{FarEnd, FlowEntry, FlowTable, SourceFilter, Terms};
use crate::header::LinkHeader;
use crate::next_hop::HopId;
use crate::nic::{Nic, ids};
use crate::own::OwnAddresses;
use crate::stage::process_burst;
use crate::state::{Events, HopTable, WorkerState};
use crate::xdp::NicId;
use crate::xsk::{BindMode, FRAME_SIZE, FramePool, Received, Socket, SocketConfig, Umem, XskError};

/// Entries of each receive and transmit ring, and of each completion ring, which then never fills.
const RING: u32 = 2048;
/// The most entries of a fill ring.
const MAX_FILL: u32 = 4096;
/// Commands that may wait for a worker.
const COMMANDS: usize = 256;
/// Packets that may wait in a worker's inbox.
const INBOX: usize = 256;

/// What a worker needs to start.
#[derive(Clone, Debug)]
pub struct WorkerSetup {
    /// Its number, which is also that of its queue on every NIC.
    pub worker: u32,
    /// The processor to pin it to.
    pub cpu: Option<u32>,
    /// Each NIC's name, index and MTU, in the order of their [`NicId`]s.
    pub nics: Vec<Nic>,
    /// The media addresses of each NIC, in the same order.
    pub own: Vec<OwnAddresses>,
    /// Which NICs run native XDP, in the same order: only there zero copy is possible.
    pub native: Vec<bool>,
    /// UMEM frames.
    pub frames: u32,
    /// How many flows there may be.
    pub max_flows: u32,
    /// Refuse to start without zero copy.
    pub require_zero_copy: bool,
    /// What to do without packets.
    pub poll: PollMode,
    /// When the data plane started.
    pub started: Instant,
    /// Where events go.
    pub events: Arc<Events>,
    /// The inboxes of all workers, by their numbers.
    pub inboxes: Arc<[Inbox]>,
    /// Told the worker's number when its thread ends.
    pub ended: mpsc::UnboundedSender<u32>,
}

/// A running worker, as the control side sees it.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Its sockets, for the XDP program's map, in the order of the NICs.
    pub sockets: Vec<OwnedFd>,
    /// Whether each socket works without copying.
    pub zero_copy: Vec<bool>,
    commands: Arc<ArrayQueue<Command>>,
    wake: Arc<EventFd>,
    thread: thread::JoinHandle<()>,
}

/// What the control side tells a worker.
#[derive(Debug)]
pub enum Command {
    /// Install, change and remove flows.
    Update(Box<Update>, oneshot::Sender<LeftOver>),
    /// A next hop is known or no longer known.
    SetHop(HopId, Option<LinkHeader>),
    /// A flow's RTP and RTCP packets go elsewhere.
    SetFarEnds(FlowId, Box<(Option<FarEnd>, Option<FarEnd>)>),
    /// A NIC takes packets of another length now.
    SetMtu(NicId, usize),
    /// Count.
    Statistics(oneshot::Sender<WorkerStatistics>),
    /// Count for flows.
    FlowStatistics(Vec<FlowId>, oneshot::Sender<Vec<FlowStatistics>>),
    /// End.
    Stop,
}

/// What is to become of some flows.
#[derive(Debug, Default)]
pub struct Update {
    /// Give these back.
    pub remove: Vec<FlowId>,
    /// Change these.
    pub change: Vec<Change>,
    /// Take these.
    pub install: Vec<Box<FlowEntry>>,
}

/// How a flow changes.
#[derive(Debug)]
pub struct Change {
    /// The flow.
    pub id: FlowId,
    /// What the agent says now, if that is something else.
    pub terms: Option<Terms>,
    /// Other crypto contexts, and more room, for the worker that owns the flow.
    pub property: Option<Box<PropertyChange>>,
}

/// What is left after an update. Freed, and its keys wiped, by whoever gets it.
#[derive(Debug)]
pub struct LeftOver {
    /// What was asked for. Where a flow changed, with what it had before in the place of what it
    /// has now.
    pub update: Box<Update>,
    /// The last counters of the flows that were removed.
    pub statistics: Vec<FlowStatistics>,
    /// These flows.
    pub entries: Vec<Box<FlowEntry>>,
    /// Their crypto contexts, if the worker owned them, and others that are no longer in use.
    pub contexts: Vec<Contexts>,
}

/// Packets that other workers received for flows of this one.
#[derive(Debug)]
pub struct Inbox {
    parcels: ArrayQueue<Parcel>,
    /// Memory for parcels, all of it made at the start.
    empty: ArrayQueue<Box<[u8; FRAME_SIZE]>>,
    wake: Arc<EventFd>,
}

/// One packet in an inbox.
#[derive(Debug)]
struct Parcel {
    bytes: Box<[u8; FRAME_SIZE]>,
    start: usize,
    len: usize,
    nic: NicId,
    returns: u8,
}

impl Inbox {
    /// An empty inbox. A lone worker needs no memory for parcels.
    ///
    /// # Errors
    /// [`DataPlaneError::Thread`] when the kernel gives no eventfd.
    pub fn new(is_alone: bool) -> Result<Self, DataPlaneError> {
        let capacity = if is_alone { 1 } else { INBOX };
        let empty = ArrayQueue::new(capacity);
        while !empty.is_full() {
            // Cannot fail: it is not full, and nobody else has it yet.
            let _ = empty.push(Box::new([0; FRAME_SIZE]));
        }
        let wake = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
            .map_err(|error| DataPlaneError::Thread(error.into()))?;
        Ok(Self {
            parcels: ArrayQueue::new(capacity),
            empty,
            wake: Arc::new(wake),
        })
    }

    /// Copies a packet in; `false` when there is no room.
    fn put(&self, packet: &Packet) -> bool {
        let Some(mut bytes) = self.empty.pop() else {
            return false;
        };
        bytes[packet.start..packet.start + packet.len].copy_from_slice(packet.bytes());
        let parcel = Parcel {
            bytes,
            start: packet.start,
            len: packet.len,
            nic: packet.nic,
            returns: packet.returns,
        };
        // There are as many places as boxes.
        self.parcels.push(parcel).is_ok()
    }
}

impl WorkerHandle {
    /// Starts a worker and waits until its sockets are open.
    ///
    /// # Errors
    /// What opening the sockets or starting the thread says.
    pub fn start(setup: WorkerSetup) -> Result<Self, DataPlaneError> {
        let commands = Arc::new(ArrayQueue::new(COMMANDS));
        let wake = Arc::clone(&setup.inboxes[setup.worker as usize].wake);
        let (opened, wait) = std::sync::mpsc::channel();
        let thread = thread::Builder::new()
            .name(format!("worker-{}", setup.worker))
            .spawn({
                let commands = Arc::clone(&commands);
                move || {
                    let _ended = Ended(setup.worker, setup.ended.clone());
                    match Worker::open(&setup, commands) {
                        Ok(mut worker) => {
                            let _ = opened.send(worker.describe());
                            worker.run();
                        }
                        Err(error) => drop(opened.send(Err(error))),
                    }
                }
            })
            .map_err(DataPlaneError::Thread)?;
        let died = || DataPlaneError::Thread(std::io::Error::other("it ended before it began"));
        let (sockets, zero_copy) = wait.recv().map_err(|_| died())??;
        Ok(Self {
            sockets,
            zero_copy,
            commands,
            wake,
            thread,
        })
    }

    /// Hands a command over; gives it back while the worker has too many to do.
    ///
    /// # Errors
    /// The command itself.
    pub fn tell(&self, command: Command) -> Result<(), Command> {
        self.commands.push(command)?;
        // EAGAIN means that the counter is at its maximum: it will wake up anyway.
        let _ = self.wake.write(1);
        Ok(())
    }

    /// Ends the worker and waits for it.
    pub fn stop(self) {
        let mut command = Command::Stop;
        while let Err(back) = self.tell(command) {
            if self.thread.is_finished() {
                return;
            }
            command = back;
            thread::yield_now();
        }
        let _ = self.thread.join();
    }
}

/// Tells that a worker's thread has ended, however it did.
struct Ended(u32, mpsc::UnboundedSender<u32>);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.1.send(self.0);
    }
}

/// The thread's own view.
struct Worker {
    state: WorkerState,
    umem: Umem,
    pool: FramePool,
    /// In the order of the NICs.
    sockets: Vec<Socket>,
    nics: Vec<String>,
    commands: Arc<ArrayQueue<Command>>,
    inboxes: Arc<[Inbox]>,
    poll: PollMode,
    cpu: Option<u32>,
    bursts: u64,
    packets_in: u64,
    /// Packets that come back; empty between two bursts.
    returned: Burst,
    /// The last error of a transmit ring.
    flush_error: Option<XskError>,
}

impl Worker {
    /// Pins the thread, then makes everything that should be near its processor.
    fn open(
        setup: &WorkerSetup,
        commands: Arc<ArrayQueue<Command>>,
    ) -> Result<Self, DataPlaneError> {
        let cpu = setup.cpu.filter(|cpu| match pin(*cpu) {
            Ok(()) => true,
            Err(error) => {
                warn!(worker = setup.worker, cpu, %error, "not pinned");
                false
            }
        });
        let (mut umem, mut pool) = Umem::allocate(setup.frames)?;
        let sockets = open_sockets(setup, &mut umem, &mut pool)?;
        Ok(Self {
            state: WorkerState {
                worker: setup.worker,
                now: Instant::now(),
                started: setup.started,
                flows: FlowTable::with_capacity(setup.max_flows),
                contexts: ContextSets::with_capacity(2 * setup.max_flows as usize),
                hops: HopTable::default(),
                mtu: setup.nics.iter().map(|nic| nic.mtu).collect(),
                own: setup.own.clone(),
                events: Arc::clone(&setup.events),
                refused: sallyport_flow::Refusals::default(),
                packets_out: 0,
            },
            umem,
            pool,
            sockets,
            nics: setup.nics.iter().map(|nic| nic.name.clone()).collect(),
            commands,
            inboxes: Arc::clone(&setup.inboxes),
            poll: setup.poll,
            cpu,
            bursts: 0,
            packets_in: 0,
            returned: Burst::new(),
            flush_error: None,
        })
    }

    /// What the control side wants to know of the sockets.
    fn describe(&self) -> Result<(Vec<OwnedFd>, Vec<bool>), DataPlaneError> {
        let fds = self
            .sockets
            .iter()
            .map(|socket| socket.as_fd().try_clone_to_owned());
        Ok((
            fds.collect::<Result<_, _>>()
                .map_err(DataPlaneError::Thread)?,
            self.sockets.iter().map(Socket::zero_copy).collect(),
        ))
    }

    /// The loop: until told to stop.
    fn run(&mut self) {
        info!(worker = self.state.worker, cpu = self.cpu, "worker runs");
        let mut burst = Burst::new();
        loop {
            while let Some(command) = self.commands.pop() {
                if self.obey(command).is_break() {
                    return;
                }
            }
            let mut is_idle = true;
            for (nic, id) in (0..self.sockets.len()).zip(ids()) {
                let taken = self.sockets[nic]
                    .receive(MAX_BURST, |received| burst.push(Packet::new(received, id)));
                is_idle &= taken == 0;
                self.process(&mut burst);
            }
            is_idle &= !self.open_inbox(&mut burst);
            for socket in &mut self.sockets {
                // A NIC that went away says so in every round: once is enough.
                let error = socket.flush().err();
                if let Some(error) = error.as_ref().filter(|_| error != self.flush_error) {
                    warn!(worker = self.state.worker, %error, "transmit");
                }
                if error.is_some() {
                    self.flush_error = error;
                }
                socket.reclaim(&mut self.pool);
                socket.refill(&mut self.pool);
            }
            if is_idle && self.poll == PollMode::Wait {
                self.sleep();
            }
        }
    }

    /// Takes what other workers received for us. Returns whether there was anything.
    fn open_inbox(&mut self, burst: &mut Burst) -> bool {
        let inbox = &self.inboxes[self.state.worker as usize];
        while !burst.is_full()
            && let Some(mut frame) = self.pool.take()
        {
            let Some(parcel) = inbox.parcels.pop() else {
                self.pool.give(frame);
                break;
            };
            let Parcel {
                bytes,
                start,
                len,
                nic,
                returns,
            } = parcel;
            frame.bytes_mut()[start..start + len].copy_from_slice(&bytes[start..start + len]);
            let _ = inbox.empty.push(bytes);
            burst.push(Packet {
                returns,
                ..Packet::new(Received { frame, start, len }, nic)
            });
        }
        let found = !burst.is_empty();
        self.process(burst);
        found
    }

    /// Processes the burst and hands every packet on, back to the pool or to its owner; those that
    /// go to our own media addresses after they were processed there, too.
    fn process(&mut self, burst: &mut Burst) {
        if burst.is_empty() {
            return;
        }
        self.bursts += 1;
        self.packets_in += burst.len() as u64;
        self.state.now = Instant::now();
        loop {
            process_burst(burst, &mut self.state);
            self.hand_on(burst);
            if self.returned.is_empty() {
                return;
            }
            std::mem::swap(burst, &mut self.returned);
        }
    }

    /// Hands every packet of a processed burst on; those that come back are in `returned` then.
    fn hand_on(&mut self, burst: &mut Burst) {
        for mut packet in burst.drain(..) {
            match packet.fate {
                Fate::Onward => self.transmit(packet),
                Fate::Returned => {
                    self.state.count_passed(packet.flow, packet.payload_len);
                    packet.come_back();
                    self.returned.push(packet);
                }
                Fate::Refused(reason) => self.end(packet, reason),
                Fate::HandedOver(owner) => {
                    // The owner counts it in; here it was only passing through.
                    self.packets_in -= 1;
                    let inbox = &self.inboxes[owner as usize];
                    if inbox.put(&packet) {
                        let _ = inbox.wake.write(1);
                        self.pool.give(packet.frame);
                    } else {
                        self.packets_in += 1;
                        self.end(packet, Reason::RingFull);
                    }
                }
            }
        }
    }

    /// Hands a packet to its NIC. A full ring gets one chance to drain.
    fn transmit(&mut self, packet: Packet) {
        let Packet {
            frame,
            start,
            len,
            nic,
            flow,
            payload_len,
            ..
        } = packet;
        let Some(socket) = self.sockets.get_mut(usize::from(nic.0)) else {
            return self.pool.give(frame);
        };
        let sent = socket.transmit(frame, start, len).or_else(|frame| {
            // An error is one of the NIC; what it means for this packet is a full ring.
            let _ = socket.flush();
            socket.reclaim(&mut self.pool);
            socket.transmit(frame, start, len)
        });
        match sent {
            Ok(()) => self.state.count_sent(flow, payload_len),
            Err(frame) => {
                self.state.count_refused(flow, Reason::RingFull);
                self.pool.give(frame);
            }
        }
    }

    /// Counts a packet that does not leave, and takes its frame back.
    fn end(&mut self, packet: Packet, reason: Reason) {
        self.state.count_refused(packet.flow, reason);
        self.pool.give(packet.frame);
    }

    /// Waits for packets, commands or parcels.
    fn sleep(&self) {
        let wake = &self.inboxes[self.state.worker as usize].wake;
        let mut fds: ArrayVec<PollFd<'_>, { Realm::ALL.len() + 1 }> = self
            .sockets
            .iter()
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        fds.push(PollFd::new(wake.as_fd(), PollFlags::POLLIN));
        // Frames on their way out come back without a wake-up: look again soon.
        let is_sending = self
            .sockets
            .iter()
            .any(|socket| socket.outstanding().transmit > 0);
        let timeout: u16 = if is_sending { 1 } else { 1000 };
        // Interrupted or not: the loop looks at everything anyway.
        let _ = nix::poll::poll(&mut fds, PollTimeout::from(timeout));
        if fds.last().and_then(PollFd::any) == Some(true) {
            let _ = wake.read();
        }
    }

    /// Does what the control side says.
    fn obey(&mut self, command: Command) -> core::ops::ControlFlow<()> {
        let state = &mut self.state;
        match command {
            Command::Update(update, done) => drop(done.send(apply(state, update))),
            Command::SetHop(hop, header) => state.hops.set(hop, header),
            Command::SetFarEnds(flow, far_ends) => {
                if let Some(slot) = state.flows.slot_of(flow)
                    && let Some(entry) = state.flows.entry_mut(slot)
                {
                    (entry.terms.rtp, entry.terms.rtcp) = *far_ends;
                }
            }
            Command::SetMtu(nic, mtu) => {
                if let Some(place) = state.mtu.get_mut(usize::from(nic.0)) {
                    *place = mtu;
                }
            }
            Command::Statistics(done) => drop(done.send(self.statistics())),
            Command::FlowStatistics(ids, done) => {
                let statistics = ids.into_iter().map(|id| {
                    let slot = state.flows.slot_of(id);
                    let entry = slot.and_then(|slot| state.flows.entry(slot));
                    entry.map_or_else(
                        || FlowStatistics {
                            id,
                            ..FlowStatistics::default()
                        },
                        |entry| flow_statistics(entry, state),
                    )
                });
                let _ = done.send(statistics.collect());
            }
            Command::Stop => return core::ops::ControlFlow::Break(()),
        }
        core::ops::ControlFlow::Continue(())
    }

    fn statistics(&self) -> WorkerStatistics {
        let (mut receive, mut transmit) = (0, 0);
        for socket in &self.sockets {
            let outstanding = socket.outstanding();
            receive += outstanding.receive;
            transmit += outstanding.transmit;
        }
        let queues = self.nics.iter().zip(&self.sockets).map(|(nic, socket)| {
            // A socket whose NIC went away has no counters any more.
            let kernel = socket.statistics().unwrap_or_default();
            QueueStatistics {
                nic: nic.clone(),
                rx_dropped: kernel.rx_dropped,
                rx_invalid_descs: kernel.rx_invalid_descs,
                tx_invalid_descs: kernel.tx_invalid_descs,
                rx_ring_full: kernel.rx_ring_full,
                rx_fill_ring_empty_descs: kernel.rx_fill_ring_empty_descs,
                tx_ring_empty_descs: kernel.tx_ring_empty_descs,
            }
        });
        WorkerStatistics {
            queue: self.state.worker,
            cpu: self.cpu,
            bursts: self.bursts,
            packets_in: self.packets_in,
            packets_out: self.state.packets_out,
            refused: self.state.refused,
            frames: FrameCount {
                total: self.umem.frames(),
                free: u32::try_from(self.pool.len()).unwrap_or(u32::MAX),
                receive,
                transmit,
            },
            queues: queues.collect(),
        }
    }
}

/// Opens a socket on every NIC, all without copying or all with: they share one UMEM, and so the
/// mode of the first.
fn open_sockets(
    setup: &WorkerSetup,
    umem: &mut Umem,
    pool: &mut FramePool,
) -> Result<Vec<Socket>, DataPlaneError> {
    let all_native = setup.native.iter().all(|native| *native);
    if all_native || setup.require_zero_copy {
        match open_all(setup, umem, pool, BindMode::ZeroCopy) {
            Ok(sockets) => return Ok(sockets),
            Err(error) if setup.require_zero_copy || !error.is_zero_copy_refused() => {
                return Err(error.into());
            }
            Err(error) => info!(worker = setup.worker, %error, "no zero copy, copying instead"),
        }
        // The failed attempt may have registered the old one.
        (*umem, *pool) = Umem::allocate(setup.frames)?;
    }
    Ok(open_all(setup, umem, pool, BindMode::Copy)?)
}

fn open_all(
    setup: &WorkerSetup,
    umem: &mut Umem,
    pool: &mut FramePool,
    mode: BindMode,
) -> Result<Vec<Socket>, XskError> {
    // Half of the frames wait for packets, the other half are on their way out or free.
    let nics = u32::try_from(setup.nics.len().max(1)).unwrap_or(u32::MAX);
    let share = setup.frames / 2 / nics;
    let fill = (1 << share.max(1).ilog2()).min(MAX_FILL);
    let open = |nic: &Nic| {
        let config = SocketConfig {
            nic: &nic.name,
            ifindex: nic.index,
            queue: setup.worker,
            receive: RING,
            fill,
            transmit: RING,
            completion: RING,
            mode,
        };
        Socket::open(umem, pool, &config)
    };
    setup.nics.iter().map(open).collect()
}

/// Pins the calling thread.
fn pin(cpu: u32) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu as usize)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

impl Update {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.change.is_empty() && self.install.is_empty()
    }
}

/// Installs, changes and removes flows.
pub(crate) fn apply(state: &mut WorkerState, mut update: Box<Update>) -> LeftOver {
    let (mut statistics, mut entries, mut contexts) = (Vec::new(), Vec::new(), Vec::new());
    for id in &update.remove {
        if let Some(mut entry) = state.flows.remove(*id) {
            statistics.push(flow_statistics(&entry, state));
            let owned = entry.owned.take();
            contexts.extend(owned.map(|owned| owned.release(&mut state.contexts)));
            entries.push(entry);
        }
    }
    for Change {
        id,
        terms,
        property,
    } in &mut update.change
    {
        let slot = state.flows.slot_of(*id);
        let Some(entry) = slot.and_then(|slot| state.flows.entry_mut(slot)) else {
            continue;
        };
        if let Some(terms) = terms {
            entry.change(terms);
        }
        if let (Some(owned), Some(property)) = (&mut entry.owned, property) {
            entry.counters.observed.take_room(&mut property.observed);
            let change = std::mem::take(&mut property.contexts);
            contexts.push(owned.change(change, &mut state.contexts));
        }
    }
    for entry in update.install.drain(..) {
        state.flows.insert(entry);
    }
    LeftOver {
        update,
        statistics,
        entries,
        contexts,
    }
}

fn flow_statistics(entry: &FlowEntry, state: &WorkerState) -> FlowStatistics {
    let sets = entry.owned.as_ref().map(|owned| owned.sets);
    let sets = sets.unwrap_or_default();
    let marks = |id: Option<SetId>| -> Vec<Mark> {
        let set = id.and_then(|id| state.contexts.set(id));
        let marks = set.into_iter().flat_map(sallyport_srtp::ContextSet::marks);
        marks
            .map(|mark| Mark {
                ssrc: mark.ssrc,
                rtp: mark.rtp,
                rtcp: mark.rtcp,
            })
            .collect()
    };
    let counters = &entry.counters;
    let receptions = counters.observed.receptions.iter();
    let reports = counters.observed.reports.as_deref();
    FlowStatistics {
        id: entry.id,
        packets_in: counters.packets_in,
        bytes_in: counters.bytes_in,
        packets_out: counters.packets_out,
        bytes_out: counters.bytes_out,
        refused: counters.refused,
        idle: counters.last.map(|last| last.elapsed()),
        ssrcs: receptions.flat_map(|it| it.statistics()).collect(),
        sent: reports.map_or_else(Vec::new, |it| it.sent().to_vec()),
        received: reports.map_or_else(Vec::new, |it| it.received().to_vec()),
        latched: match entry.terms.source {
            SourceFilter::Latch(latching) => latching.latched,
            SourceFilter::Only(_) => None,
        },
        unprotect: marks(sets.unprotect),
        protect: marks(sets.protect),
    }
}
