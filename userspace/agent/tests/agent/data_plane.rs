// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A data plane without packets: it speaks sallyport-flow on a Unix socket and keeps the flows.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use sallyport_flow::{
    ClientMessage, Flow, FlowId, FlowStatistics, FlowSummary, Hello, NicStatistics, Refused, Reply,
    Request, ServerMessage, Source, Statistics, Update, WorkerStatistics, from_body,
    read_frame_len, to_frame,
};

/// Runs until dropped.
pub(crate) struct DataPlane {
    path: PathBuf,
    shared: Arc<Shared>,
    accept: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    is_over: AtomicBool,
}

/// What a test may look at and change.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) flows: BTreeMap<FlowId, Flow>,
    /// What flows did; zeros for the others.
    pub(crate) statistics: BTreeMap<FlowId, FlowStatistics>,
    /// The answer to the next installations, in their order.
    pub(crate) refuse_installs: Vec<Refused>,
    /// The answer to the next changes of what is installed.
    pub(crate) refuse_changes: Vec<Refused>,
    /// The answer to the next pure removals.
    pub(crate) refuse_removals: Vec<Refused>,
    /// Installations are not answered, but the connection is closed.
    pub(crate) hangs_up_on_install: bool,
    /// Changes of what is installed are not answered, but the connection is closed.
    pub(crate) hangs_up_on_change: bool,
    /// How many requests for flow statistics were answered.
    pub(crate) polls: usize,
    connections: Vec<UnixStream>,
}

impl DataPlane {
    /// A new process: no flows, a new instance number.
    pub(crate) fn start(path: &Path) -> Self {
        Self::start_refusing(path, Vec::new())
    }

    /// One that refuses the first installations.
    pub(crate) fn start_refusing(path: &Path, refuse_installs: Vec<Refused>) -> Self {
        static INSTANCE: AtomicU64 = AtomicU64::new(1);
        let instance = INSTANCE.fetch_add(1, Ordering::Relaxed);
        let _ = fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("bind the flow socket");
        let shared = Arc::new(Shared::default());
        lock(&shared).refuse_installs = refuse_installs;
        let accept = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming().flatten() {
                    if shared.is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        let _ = serve(&shared, stream, instance);
                    });
                }
            }
        });
        Self {
            path: path.to_owned(),
            shared,
            accept: Some(accept),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        let _ = UnixStream::connect(&self.path);
        let _ = fs::remove_file(&self.path);
        for connection in self.state().connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        if let Some(accept) = self.accept.take() {
            let _ = accept.join();
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(shared: &Shared, mut stream: UnixStream, instance: u64) -> io::Result<()> {
    lock(shared).connections.push(stream.try_clone()?);
    let mut hello = [0; Hello::LEN];
    stream.read_exact(&mut hello)?;
    Hello::decode(hello).map_err(io::Error::other)?;
    stream.write_all(&Hello::new(instance).encode())?;
    loop {
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let mut body = vec![0; read_frame_len(head).map_err(io::Error::other)?];
        stream.read_exact(&mut body)?;
        let ClientMessage { number, request } = from_body(&body).map_err(io::Error::other)?;
        let mut state = lock(shared);
        let hangs_up = matches!(
            &request,
            Request::Update(update)
                if (state.hangs_up_on_install && !update.install.is_empty())
                    || (state.hangs_up_on_change && !update.change.is_empty())
        );
        if hangs_up {
            // It is done, but nobody hears of it.
            let _ = state.answer(request);
            return stream.shutdown(Shutdown::Both);
        }
        let result = state.answer(request);
        drop(state);
        let answer = ServerMessage::Answer { number, result };
        stream.write_all(&to_frame(&answer).map_err(io::Error::other)?)?;
    }
}

impl State {
    fn answer(&mut self, request: Request) -> Result<Reply, Refused> {
        match request {
            Request::Update(update) => self.update(update).map(Reply::Updated),
            Request::List { after } => Ok(Reply::Flows(
                self.flows
                    .values()
                    .filter(|flow| Some(flow.id) > after)
                    // A short page, so that there are several.
                    .take(3)
                    .map(|flow| FlowSummary {
                        id: flow.id,
                        realm: flow.ingress.realm,
                        local: flow.ingress.local,
                        source: match flow.ingress.source {
                            Source::Only(source) => Some(source),
                            Source::Latch(_) => None,
                        },
                    })
                    .collect(),
            )),
            Request::FlowStatistics(ids) => {
                self.polls += 1;
                self.statistics_of(&ids).map(Reply::FlowStatistics)
            }
            Request::Statistics => Ok(Reply::Statistics(Statistics {
                flows: self.flows.len() as u64,
                nics: vec![NicStatistics {
                    name: "eth0".to_owned(),
                    rung: "generic".to_owned(),
                    verdicts: vec![("redirected".to_owned(), 7)],
                }],
                workers: vec![WorkerStatistics::default()],
            })),
            Request::Subscribe => Ok(Reply::Subscribed),
        }
    }

    fn update(&mut self, update: Update) -> Result<Vec<FlowStatistics>, Refused> {
        let Update {
            remove,
            change,
            install,
        } = update;
        if remove.len() + change.len() + install.len() > Request::PAGE {
            return Err(Refused::PageTooLong);
        }
        if !install.is_empty() && !self.refuse_installs.is_empty() {
            return Err(self.refuse_installs.remove(0));
        }
        if !change.is_empty() && !self.refuse_changes.is_empty() {
            return Err(self.refuse_changes.remove(0));
        }
        let removes = change.is_empty() && install.is_empty();
        if removes && !self.refuse_removals.is_empty() {
            return Err(self.refuse_removals.remove(0));
        }
        let removed = self.statistics_of(&remove)?;
        for flow in &change {
            if !self.flows.contains_key(&flow.id) {
                return Err(Refused::UnknownFlow(flow.id));
            }
        }
        for flow in &install {
            if self.flows.contains_key(&flow.id) {
                return Err(Refused::FlowExists(flow.id));
            }
            let local = flow.ingress.local;
            let taken = |other: &&Flow| other.ingress.local == local && !remove.contains(&other.id);
            if let Some(by) = self.flows.values().find(taken).map(|other| other.id) {
                return Err(Refused::AddressInUse { local, by });
            }
        }
        for id in &remove {
            self.flows.remove(id);
        }
        let flows = change.into_iter().chain(install);
        self.flows.extend(flows.map(|flow| (flow.id, flow)));
        Ok(removed)
    }

    fn statistics_of(&self, ids: &[FlowId]) -> Result<Vec<FlowStatistics>, Refused> {
        if ids.len() > Request::PAGE {
            return Err(Refused::PageTooLong);
        }
        ids.iter()
            .map(|id| {
                if !self.flows.contains_key(id) {
                    return Err(Refused::UnknownFlow(*id));
                }
                let nothing = || FlowStatistics {
                    id: *id,
                    ..FlowStatistics::default()
                };
                Ok(self.statistics.get(id).cloned().unwrap_or_else(nothing))
            })
            .collect()
    }
}
