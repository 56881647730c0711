// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The connection to the data plane: requests and their answers, and events between them.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sallyport_flow::{
    ClientMessage, Event, FlowId, FlowStatistics, FlowSummary, FrameBuffer, FrameError, Hello,
    HelloError, Refused, Reply, Request, ServerMessage, Statistics, Update, from_body, to_frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};
use zeroize::Zeroizing;

/// Requests that may wait to be sent.
const WAITING: usize = 64;

/// A connection. It ends when the data plane closes it, breaks the protocol or does not answer.
#[derive(Debug)]
pub(crate) struct DataPlane {
    instance: u64,
    number: AtomicU32,
    frames: mpsc::Sender<Zeroizing<Vec<u8>>>,
    waiting: Arc<Waiting>,
    hang_up: Arc<Notify>,
}

impl DataPlane {
    /// How long an answer may take. A data plane that needs longer is as good as gone, and whether
    /// it did what it was asked comes out when it is listed on the next connection.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Back-off between attempts to connect: short, since media waits for it.
    const PAUSE: Duration = Duration::from_millis(10);
    const MAX_PAUSE: Duration = Duration::from_millis(250);

    /// Events that may wait for their reader.
    const EVENTS: usize = 1024;

    /// How long the data plane may take to start without a warning.
    const NO_NEWS: Duration = Duration::from_secs(2);

    /// Connects, however long it takes, and subscribes to events. They end with the connection.
    pub(crate) async fn connect(path: &Path) -> (Arc<Self>, mpsc::Receiver<Event>) {
        let mut pause = Self::PAUSE;
        let mut complaint = String::new();
        let start = Instant::now();
        loop {
            match Self::try_connect(path).await {
                Ok(connected) => return connected,
                Err(error) => {
                    let error = error.to_string();
                    // Both processes start at once, so the first misses are no news.
                    if error != complaint && start.elapsed() > Self::NO_NEWS {
                        warn!("{error}; trying again");
                        complaint = error;
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(Self::MAX_PAUSE);
        }
    }

    async fn try_connect(
        path: &Path,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Event>), DataPlaneError> {
        let mut stream =
            UnixStream::connect(path)
                .await
                .map_err(|error| DataPlaneError::Connect {
                    path: path.to_owned(),
                    error,
                })?;
        let ours = Hello::new(getrandom::u64().unwrap_or_default());
        let mut theirs = [0; Hello::LEN];
        let greet = async {
            stream.write_all(&ours.encode()).await?;
            stream.read_exact(&mut theirs).await
        };
        match timeout(Self::PATIENCE, greet).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(DataPlaneError::Lost(Some(error))),
            Err(_) => return Err(DataPlaneError::Silent),
        }
        let Hello { instance, .. } = Hello::decode(theirs).map_err(DataPlaneError::Hello)?;

        let (reader, writer) = stream.into_split();
        let (frames, frames_out) = mpsc::channel(WAITING);
        let (events, events_out) = mpsc::channel(Self::EVENTS);
        let waiting = Arc::new(Waiting::default());
        let hang_up = Arc::new(Notify::new());
        let (told, heard) = (Arc::clone(&waiting), Arc::clone(&hang_up));
        tokio::spawn(async move {
            let end = tokio::select! {
                end = receive(reader, &told, events) => end,
                end = send(writer, frames_out) => end,
                () = heard.notified() => DataPlaneError::Lost(None),
            };
            warn!("{end}");
            told.close();
        });
        let data_plane = Self {
            instance,
            number: AtomicU32::new(0),
            frames,
            waiting,
            hang_up,
        };
        match data_plane.request(Request::Subscribe).await? {
            Reply::Subscribed => Ok((Arc::new(data_plane), events_out)),
            _ => Err(data_plane.broken()),
        }
    }

    /// Which data plane this is: another number means that its flows are gone.
    pub(crate) const fn instance(&self) -> u64 {
        self.instance
    }

    /// Installs, changes and removes flows, all or none; at most [`Request::PAGE`]. Returns the last
    /// counters of those removed.
    pub(crate) async fn update(
        &self,
        update: Update,
    ) -> Result<Vec<FlowStatistics>, DataPlaneError> {
        match self.request(Request::Update(update)).await? {
            Reply::Updated(statistics) => Ok(statistics),
            _ => Err(self.broken()),
        }
    }

    /// Every flow that is installed.
    pub(crate) async fn list(&self) -> Result<Vec<FlowSummary>, DataPlaneError> {
        let mut flows = Vec::<FlowSummary>::new();
        loop {
            let after = flows.last().map(|flow| flow.id);
            let Reply::Flows(page) = self.request(Request::List { after }).await? else {
                return Err(self.broken());
            };
            let Some(first) = page.first() else {
                return Ok(flows);
            };
            if Some(first.id) <= after || !page.is_sorted_by(|a, b| a.id < b.id) {
                return Err(self.broken());
            }
            flows.extend(page);
        }
    }

    /// The counters of some flows; at most [`Request::PAGE`].
    pub(crate) async fn flow_statistics(
        &self,
        flows: Vec<FlowId>,
    ) -> Result<Vec<FlowStatistics>, DataPlaneError> {
        match self.request(Request::FlowStatistics(flows)).await? {
            Reply::FlowStatistics(statistics) => Ok(statistics),
            _ => Err(self.broken()),
        }
    }

    /// The counters of the data plane.
    pub(crate) async fn statistics(&self) -> Result<Statistics, DataPlaneError> {
        match self.request(Request::Statistics).await? {
            Reply::Statistics(statistics) => Ok(statistics),
            _ => Err(self.broken()),
        }
    }

    async fn request(&self, request: Request) -> Result<Reply, DataPlaneError> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let frame = to_frame(&ClientMessage { number, request }).map_err(DataPlaneError::Frame)?;
        let answer = self.waiting.add(number).ok_or(DataPlaneError::Lost(None))?;
        let answered = async {
            // When sending fails the connection is closed, which ends the wait.
            let _ = self.frames.send(frame).await;
            answer.await
        };
        match timeout(Self::PATIENCE, answered).await {
            Ok(Ok(result)) => result.map_err(DataPlaneError::Refused),
            Ok(Err(_)) => Err(DataPlaneError::Lost(None)),
            Err(_) => {
                self.hang_up.notify_one();
                Err(DataPlaneError::Silent)
            }
        }
    }

    /// An answer does not fit its request: nothing more is believed.
    fn broken(&self) -> DataPlaneError {
        self.hang_up.notify_one();
        DataPlaneError::Unexpected
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.hang_up.notify_one();
    }
}

/// Who waits for which answer.
#[derive(Debug)]
struct Waiting(Mutex<Option<HashMap<u32, oneshot::Sender<Answer>>>>);

type Answer = Result<Reply, Refused>;

impl Default for Waiting {
    fn default() -> Self {
        Self(Mutex::new(Some(HashMap::new())))
    }
}

impl Waiting {
    /// `None` when the connection has ended.
    fn add(&self, number: u32) -> Option<oneshot::Receiver<Answer>> {
        let (answer, wait) = oneshot::channel();
        self.lock().as_mut()?.insert(number, answer);
        Some(wait)
    }

    fn answer(&self, number: u32, result: Answer) {
        let waiting = self
            .lock()
            .as_mut()
            .and_then(|waiting| waiting.remove(&number));
        if let Some(waiting) = waiting {
            // Who asked may have gone.
            let _ = waiting.send(result);
        }
    }

    /// Ends every wait, and all that are to come.
    fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u32, oneshot::Sender<Answer>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn receive(
    mut reader: OwnedReadHalf,
    waiting: &Waiting,
    events: mpsc::Sender<Event>,
) -> DataPlaneError {
    let mut buffer = FrameBuffer::default();
    loop {
        let body = match buffer.next_body() {
            Ok(Some(body)) => body,
            Ok(None) => match reader.read(buffer.room()).await {
                Ok(0) => return DataPlaneError::Lost(None),
                Ok(len) => {
                    buffer.fill(len);
                    continue;
                }
                Err(error) => return DataPlaneError::Lost(Some(error)),
            },
            Err(error) => return DataPlaneError::Frame(error),
        };
        match from_body(body) {
            Ok(ServerMessage::Answer { number, result }) => waiting.answer(number, result),
            Ok(ServerMessage::Event(event)) => {
                // To wait here would hold up the answers.
                if let Err(error) = events.try_send(event) {
                    debug!("event lost: {error}");
                }
            }
            Err(error) => return DataPlaneError::Frame(error),
        }
    }
}

async fn send(
    mut writer: OwnedWriteHalf,
    mut requests: mpsc::Receiver<Zeroizing<Vec<u8>>>,
) -> DataPlaneError {
    let mut waiting = Vec::new();
    while requests.recv_many(&mut waiting, WAITING).await > 0 {
        // All with one system call.
        let len = waiting.iter().map(|frame| frame.len()).sum();
        let mut frames = Zeroizing::new(Vec::with_capacity(len));
        for frame in waiting.drain(..) {
            frames.extend_from_slice(&frame);
        }
        if let Err(error) = writer.write_all(&frames).await {
            return DataPlaneError::Lost(Some(error));
        }
    }
    DataPlaneError::Lost(None)
}

/// Why the data plane did not do what it was asked.
#[derive(Debug)]
pub(crate) enum DataPlaneError {
    /// Nobody listens at the socket.
    Connect { path: PathBuf, error: io::Error },
    /// Who listens is not a data plane of this release.
    Hello(HelloError),
    /// A message is too long or damaged.
    Frame(FrameError),
    /// The connection has ended.
    Lost(Option<io::Error>),
    /// No answer came in time.
    Silent,
    /// The answer is one to another question.
    Unexpected,
    /// It said no.
    Refused(Refused),
}

impl fmt::Display for DataPlaneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { path, error } => write!(
                f,
                "connect to the data plane at {}: {error}; start sallyport dataplane with the \
                 same configuration, as the same user",
                path.display()
            ),
            Self::Hello(error) => error.fmt(f),
            Self::Frame(error) => error.fmt(f),
            Self::Lost(Some(error)) => write!(f, "data plane lost: {error}"),
            Self::Lost(None) => f.write_str("data plane lost"),
            Self::Silent => write!(
                f,
                "data plane lost: no answer within {:?}; see its log",
                DataPlane::PATIENCE
            ),
            Self::Unexpected => f.write_str(
                "data plane lost: an answer does not fit its request; run agent and data plane \
                 of one release",
            ),
            Self::Refused(refused) => write!(f, "data plane: {refused}"),
        }
    }
}

impl std::error::Error for DataPlaneError {}
