// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What lets a restarted agent find its sessions again: one record for each, with its keys, sealed.
//!
//! A record is its version and, sealed, the session as it was after its last change. Beside it lie
//! the marks of its flows, which are no secret and change more often. One thread writes: it takes
//! all changes that wait and commits them together, so that a disk that is slow to sync makes
//! requests wait and not fewer. A change is answered once it is committed.
//!
//! An agent that is killed loses nothing that was answered. At a power failure the folder decides:
//! in `/run`, the default, nothing is left, and calls could not outlive their flows anyhow; on a
//! disk nothing that was answered is lost.
//!
//! Records do not describe themselves, so another layout is another version. Those of an older one
//! are removed at the start: the data plane that went with it spoke another version too, so their
//! flows are gone.
//!
//! What cannot be written is refused, on a full disk, say. The file is opened anew then, so that the
//! next change finds it as it was after the last commit.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};
use zeroize::{Zeroize, Zeroizing};

use crate::marks::FlowMarks;
use crate::seal::{Seal, SealError};
use crate::session::SessionId;
use crate::state::State;

const SESSIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("sessions");
const MARKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("marks");

/// The version of a record's layout: of everything that [`State`] is made of.
const VERSION: u8 = 3;

/// What the database may keep in memory.
const CACHE: usize = 64 << 20;

/// The least time from one commit to the next: what comes meanwhile shares the next one. A change
/// that comes alone waits for nothing.
const SPACING: Duration = Duration::from_micros(150);

/// How many changes may wait, and how many are committed together.
const WAITING: usize = 4096;

/// Remembers sessions.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    path: Arc<Path>,
    seal: Arc<Seal>,
    writer: Arc<Writer>,
    /// Whether the last change was not written.
    is_failing: Arc<AtomicBool>,
}

/// The thread that writes. It ends, and closes the file, before the store is gone.
#[derive(Debug)]
struct Writer {
    writes: Option<mpsc::Sender<Write>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A session as the agent before left it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: SessionId,
    pub(crate) state: State,
    pub(crate) marks: FlowMarks,
}

impl Store {
    /// Opens the store, or makes a new one. Returns the sessions in it.
    ///
    /// # Errors
    /// When there is one that cannot be read, or that a newer agent wrote: to go on without its
    /// sessions would end them.
    pub(crate) fn open(path: &Path, key: &Path) -> Result<(Self, Vec<Found>), StoreError> {
        let read = |problem: String| StoreError::new("read", path, problem);
        for folder in [path, key].into_iter().filter_map(Path::parent) {
            make_folder(folder).map_err(|problem| StoreError::new("make", folder, problem))?;
        }
        let seal = Seal::load(key).map_err(StoreError::key)?;
        let file = open_file(path, true)
            .map_err(|problem| StoreError::new("open", path, problem.to_string()))?;
        let database = open_database(file).map_err(|problem| read(problem.to_string()))?;
        make_tables(&database).map_err(|problem| read(problem.to_string()))?;
        match remove_older(&database).map_err(|problem| read(problem.to_string()))? {
            Ages::Newer(version) => {
                let problem = format!("version {version} instead of {VERSION}");
                return Err(StoreError::new("understand", path, problem));
            }
            Ages::Older(0) => (),
            Ages::Older(sessions) => warn!(
                sessions,
                "removed sessions from {}: an older version of the agent wrote them, and their \
                 flows ended with its data plane",
                path.display()
            ),
        }
        let found = load(&database, &seal).map_err(read)?;

        let marked = found.iter().map(|found| found.id.number()).collect();
        let (writes, waiting) = mpsc::channel(WAITING);
        // A store that somebody removed is not made anew: its sessions would be missing.
        let reopen = {
            let path = path.to_owned();
            move || open_database(open_file(&path, false)?)
        };
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write_all(database, reopen, marked, waiting))
            .map_err(|problem| StoreError::new("start a thread for", path, problem.to_string()))?;
        let store = Self {
            path: path.into(),
            seal: Arc::new(seal),
            writer: Arc::new(Writer {
                writes: Some(writes),
                thread: Some(thread),
            }),
            is_failing: Arc::default(),
        };
        Ok((store, found))
    }

    /// Puts the record of a session in place of the one there is.
    ///
    /// # Errors
    /// When that fails; the record is then the old one.
    pub(crate) async fn put(&self, id: SessionId, state: &State) -> Result<(), StoreError> {
        let seal = |record: &[u8]| self.seal.close(VERSION, &name(id), record).ok();
        let bytes = encode(state, seal)
            .flatten()
            .ok_or_else(|| self.failed("the record could not be made".to_owned()))?;
        self.commit(Change::Session(id, Some(bytes))).await
    }

    /// Removes the record of a session, and its marks.
    ///
    /// # Errors
    /// When that fails; the record is then still there.
    pub(crate) async fn remove(&self, id: SessionId) -> Result<(), StoreError> {
        self.commit(Change::Session(id, None)).await
    }

    /// Remembers where the indices of sessions' flows stand.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) async fn put_marks(
        &self,
        marks: impl IntoIterator<Item = (SessionId, FlowMarks)>,
    ) -> Result<(), StoreError> {
        let mut waits = Vec::new();
        for (id, marks) in marks {
            let bytes = encode(&marks, <[u8]>::to_vec)
                .ok_or_else(|| self.failed("the marks could not be encoded".to_owned()))?;
            waits.push(self.send(Change::Marks(id, bytes)).await);
        }
        for wait in waits {
            self.done(wait).await?;
        }
        Ok(())
    }

    /// A secret for a purpose, which is the same as long as the key of the store is.
    pub(crate) fn secret(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        self.seal.secret(purpose)
    }

    /// Whether changes are written. One that failed is asked anew.
    ///
    /// # Errors
    /// Why they are not.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        if self.is_failing.load(Ordering::Relaxed) {
            return self.commit(Change::Nothing).await;
        }
        Ok(())
    }

    /// The same with nobody who writes.
    #[cfg(test)]
    pub(crate) fn broken(&self) -> Self {
        Self {
            writer: Arc::new(Writer {
                writes: None,
                thread: None,
            }),
            ..self.clone()
        }
    }

    async fn commit(&self, change: Change) -> Result<(), StoreError> {
        let wait = self.send(change).await;
        self.done(wait).await
    }

    async fn send(&self, change: Change) -> oneshot::Receiver<Written> {
        let (done, wait) = oneshot::channel();
        if let Some(writes) = &self.writer.writes {
            // A thread that has ended drops what waits for it.
            let _ = writes.send(Write { change, done }).await;
        }
        wait
    }

    async fn done(&self, wait: oneshot::Receiver<Written>) -> Result<(), StoreError> {
        let result = match wait.await {
            Ok(result) => result.map_err(|problem| self.failed(problem.to_string())),
            Err(_) => Err(self.failed("its thread has ended".to_owned())),
        };
        self.is_failing.store(result.is_err(), Ordering::Relaxed);
        result
    }

    fn failed(&self, problem: String) -> StoreError {
        StoreError::new("write", &self.path, problem)
    }
}

/// A change that waits for its commit.
struct Write {
    change: Change,
    done: oneshot::Sender<Written>,
}

type Written = Result<(), Arc<redb::Error>>;

enum Change {
    Session(SessionId, Option<Vec<u8>>),
    Marks(SessionId, Vec<u8>),
    /// Whether there is room.
    Nothing,
}

fn open_file(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn open_database(file: File) -> Result<Database, redb::Error> {
    let database = Database::builder()
        .set_cache_size(CACHE)
        .create_file(file)?;
    Ok(database)
}

/// Writes until nobody is left who could want it. `marked` are the sessions that may have marks.
fn write_all(
    database: Database,
    reopen: impl Fn() -> Result<Database, redb::Error>,
    mut marked: HashSet<u64>,
    mut waiting: mpsc::Receiver<Write>,
) {
    let mut database = Some(database);
    let mut batch = Vec::new();
    let mut last: Option<Instant> = None;
    while waiting.blocking_recv_many(&mut batch, WAITING) > 0 {
        if let Some(rest) = last.and_then(|last| SPACING.checked_sub(last.elapsed())) {
            thread::sleep(rest);
            while batch.len() < WAITING
                && let Ok(write) = waiting.try_recv()
            {
                batch.push(write);
            }
        }
        let result = database
            .take()
            .map_or_else(&reopen, Ok)
            .and_then(|open| {
                write(&open, &mut marked, &batch)?;
                // One that failed takes nothing more, and is closed here.
                database = Some(open);
                Ok(())
            })
            .map_err(Arc::new);
        last = Some(Instant::now());
        if let Err(problem) = &result {
            error!("write the store: {problem}");
        }
        for write in batch.drain(..) {
            // Who asked may have gone.
            let _ = write.done.send(result.clone());
        }
    }
}

/// Commits changes. The marks of sessions that have none are not looked for.
fn write(
    database: &Database,
    marked: &mut HashSet<u64>,
    batch: &[Write],
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let (mut ended, mut polled) = (Vec::new(), Vec::new());
    {
        let mut sessions = transaction.open_table(SESSIONS)?;
        for Write { change, .. } in batch {
            match change {
                Change::Session(id, Some(record)) => {
                    sessions.insert(id.number(), record.as_slice())?;
                }
                Change::Session(id, None) => {
                    sessions.remove(id.number())?;
                    ended.push(id.number());
                }
                Change::Marks(id, bytes) => polled.push((id.number(), bytes)),
                Change::Nothing => {}
            }
        }
        ended.retain(|id| marked.contains(id));
        if !ended.is_empty() || !polled.is_empty() {
            let mut marks = transaction.open_table(MARKS)?;
            for id in &ended {
                marks.remove(id)?;
            }
            for (id, bytes) in polled {
                // Marks may come late, when their session has ended.
                if sessions.get(id)?.is_some() {
                    marks.insert(id, bytes.as_slice())?;
                    marked.insert(id);
                }
            }
        }
    }
    transaction.commit()?;
    for id in ended {
        marked.remove(&id);
    }
    Ok(())
}

fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(SESSIONS)?;
    transaction.open_table(MARKS)?;
    transaction.commit()?;
    Ok(())
}

/// What there is beside records of this version.
enum Ages {
    /// So many older ones, which have been removed.
    Older(usize),
    /// A newer one, of this version. Nothing has been removed.
    Newer(u8),
}

/// Removes the records of older versions, and their marks.
fn remove_older(database: &Database) -> Result<Ages, redb::Error> {
    let transaction = database.begin_write()?;
    let mut older = Vec::new();
    {
        let mut sessions = transaction.open_table(SESSIONS)?;
        for entry in sessions.iter()? {
            let (id, record) = entry?;
            match record.value().first() {
                Some(&version) if version > VERSION => return Ok(Ages::Newer(version)),
                Some(&version) if version < VERSION => older.push(id.value()),
                _ => (),
            }
        }
        let mut marks = transaction.open_table(MARKS)?;
        for id in &older {
            sessions.remove(id)?;
            marks.remove(id)?;
        }
    }
    if !older.is_empty() {
        transaction.commit()?;
    }
    Ok(Ages::Older(older.len()))
}

fn load(database: &Database, seal: &Seal) -> Result<Vec<Found>, String> {
    let said = |problem: redb::Error| problem.to_string();
    let read = || -> Result<_, redb::Error> {
        let transaction = database.begin_read()?;
        Ok((
            transaction.open_table(SESSIONS)?,
            transaction.open_table(MARKS)?,
        ))
    };
    let (sessions, marks) = read().map_err(said)?;
    let mut opener = seal.opener();
    let mut found = Vec::new();
    for entry in sessions.iter().map_err(|problem| problem.to_string())? {
        let (number, record) = entry.map_err(|problem| problem.to_string())?;
        let id = SessionId::try_from(number.value()).map_err(|problem| problem.to_string())?;
        let sealed = match record.value().split_first() {
            Some((&VERSION, sealed)) => sealed,
            Some((other, _)) => return Err(format!("version {other} instead of {VERSION}")),
            None => return Err("an empty record".to_owned()),
        };
        let record = opener
            .open(&name(id), sealed)
            .map_err(|_| format!("session {id} was sealed with another key, or was changed"))?;
        let marks = marks
            .get(id.number())
            .map_err(|problem| problem.to_string())?;
        let marks = marks.as_ref().and_then(|marks| from_bytes(marks.value()));
        found.push(Found {
            id,
            state: from_bytes(&record).ok_or_else(|| format!("session {id} is damaged"))?,
            marks: marks.unwrap_or_default(),
        });
    }
    Ok(found)
}

/// What a record is sealed under: its version and session.
fn name(id: SessionId) -> [u8; 9] {
    let mut name = [VERSION; 9];
    name[1..].copy_from_slice(&id.number().to_be_bytes());
    name
}

/// Encodes in one piece, and in a place that is wiped, so that no copy of a key is left behind.
fn encode<R>(value: &impl Serialize, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
    /// Longer than nearly all records.
    const USUAL: usize = 16 << 10;
    thread_local! {
        static PLACE: RefCell<Zeroizing<Vec<u8>>> = RefCell::new(Zeroizing::new(vec![0; USUAL]));
    }
    PLACE.with_borrow_mut(|place| {
        if let Ok(bytes) = postcard::to_slice(value, place) {
            let taken = take(bytes);
            bytes.zeroize();
            return Some(taken);
        }
        place.zeroize();
        place.resize(USUAL, 0);
        let len = postcard::experimental::serialized_size(value).ok()?;
        let mut bytes = Zeroizing::new(vec![0; len]);
        Some(take(postcard::to_slice(value, &mut bytes).ok()?))
    })
}

fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}

fn make_folder(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|problem| problem.to_string())
}

/// The store cannot be read or written.
#[derive(Debug)]
pub struct StoreError {
    /// `None` when there is no key.
    step: Option<(&'static str, PathBuf)>,
    problem: String,
}

impl StoreError {
    fn new(step: &'static str, path: &Path, problem: String) -> Self {
        Self {
            step: Some((step, path.to_owned())),
            problem,
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
    fn key(error: SealError) -> Self {
        Self {
            step: None,
            problem: error.to_string(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((step, path)) = &self.step else {
            return f.write_str(&self.problem);
        };
        let remedy = match *step {
            "read" => {
                "give it the agent.store_key that it was written with, or move it away to start \
                 without its sessions"
            }
            "understand" => {
                "start an agent that is not older than the one that wrote it, or move it away to \
                 start without its sessions"
            }
            _ => "make room and give the agent write permission, or set another agent.store",
        };
        write!(f, "{step} {}: {}; {remedy}", path.display(), self.problem)
    }
}

impl std::error::Error for StoreError {}

#[cfg(test)]
mod tests {
    use redb::StorageBackend;
    use std::fs;
    use std::os::unix::fs::FileExt;

    use super::*;

    /// A disk that may be full.
    #[derive(Clone, Debug)]
    struct Disk {
        file: Arc<File>,
        is_full: Arc<AtomicBool>,
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            Ok(self.file.metadata()?.len())
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.file.read_exact_at(out, offset)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.file.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.file.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            if self.is_full.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.file.write_all_at(data, offset)
        }
    }

    #[test]
    fn once_there_is_room_again_the_store_is_written_again() {
        let path = std::env::temp_dir().join(format!("sallyport-store-{}", std::process::id()));
        let disk = Disk {
            file: Arc::new(File::create_new(&path).unwrap()),
            is_full: Arc::default(),
        };
        let open = {
            let disk = disk.clone();
            move || Ok(Database::builder().create_with_backend(disk.clone())?)
        };
        let database = open().unwrap();
        make_tables(&database).unwrap();
        let (writes, waiting) = mpsc::channel(1);
        let reopen = open.clone();
        let thread = thread::spawn(move || write_all(database, reopen, HashSet::new(), waiting));
        let change = |change| {
            let (done, wait) = oneshot::channel();
            writes.blocking_send(Write { change, done }).ok().unwrap();
            wait.blocking_recv().unwrap()
        };
        let put = |number: u64| {
            let id = SessionId::try_from(number << 16).unwrap();
            change(Change::Session(id, Some(vec![7; 100])))
        };
        put(1).unwrap();
        disk.is_full.store(true, Ordering::Relaxed);
        for number in [2, 3] {
            let problem = put(number).unwrap_err().to_string();
            assert!(!problem.contains("Previous"), "{problem}");
        }
        change(Change::Nothing).unwrap_err();
        disk.is_full.store(false, Ordering::Relaxed);
        change(Change::Nothing).unwrap();
        put(4).unwrap();
        drop(writes);
        thread.join().unwrap();

        let transaction = open().unwrap().begin_read().unwrap();
        let sessions = transaction.open_table(SESSIONS).unwrap();
        let numbers = sessions.iter().unwrap();
        let numbers: Vec<_> = numbers
            .map(|entry| entry.unwrap().0.value() >> 16)
            .collect();
        assert_eq!(numbers, [1, 4]);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn records_of_an_older_version_are_removed_and_one_of_a_newer_is_refused() {
        let folder = std::env::temp_dir().join(format!("sallyport-ages-{}", std::process::id()));
        let (path, key) = (folder.join("sessions"), folder.join("key"));
        let put = |version: u8| {
            make_folder(&folder).unwrap();
            let database = open_database(open_file(&path, true).unwrap()).unwrap();
            let transaction = database.begin_write().unwrap();
            for table in [SESSIONS, MARKS] {
                let mut table = transaction.open_table(table).unwrap();
                table
                    .insert(7 << 16, [version, 0xff, 1].as_slice())
                    .unwrap();
            }
            transaction.commit().unwrap();
        };
        let records = || {
            let database = open_database(open_file(&path, false).unwrap()).unwrap();
            let transaction = database.begin_read().unwrap();
            let tables = [SESSIONS, MARKS].map(|table| transaction.open_table(table).unwrap());
            let records = tables.iter().flat_map(|table| table.iter().unwrap());
            records
                .map(|entry| entry.unwrap().1.value()[0])
                .collect::<Vec<_>>()
        };
        put(VERSION - 1);
        let (store, found) = Store::open(&path, &key).unwrap();
        assert!(found.is_empty());
        let id = SessionId::try_from(8 << 16).unwrap();
        store
            .writer
            .writes
            .as_ref()
            .unwrap()
            .blocking_send(Write {
                change: Change::Session(id, Some(vec![VERSION])),
                done: oneshot::channel().0,
            })
            .ok()
            .unwrap();
        drop(store);
        assert_eq!(records(), [VERSION]);

        put(VERSION + 1);
        let problem = Store::open(&path, &key).unwrap_err().to_string();
        assert!(problem.contains("move it away"), "{problem}");
        assert_eq!(records().len(), 3);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_longer_than_usual_is_encoded_all_the_same() {
        for len in [0, 100, 16 << 10, 100 << 10] {
            let value = vec![7_u8; len];
            let bytes = encode(&value, <[u8]>::to_vec).unwrap();
            assert_eq!(from_bytes::<Vec<u8>>(&bytes).unwrap(), value);
        }
    }

    #[test]
    fn what_is_not_whole_is_not_read() {
        let bytes = encode(&(1_u64 << 40), <[u8]>::to_vec).unwrap();
        assert_eq!(from_bytes::<u64>(&bytes), Some(1 << 40));
        assert_eq!(from_bytes::<u64>(&bytes[..3]), None);
        assert_eq!(from_bytes::<u64>(&[bytes, vec![0]].concat()), None);
    }
}
