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

/// What is written of a session.
pub(crate) mod record;

/// The file.
mod database;

/// The one thread that writes.
mod writer;

/// Why it cannot be read or written.
mod error;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use tracing::warn;
use zeroize::Zeroizing;

pub(crate) use error::StoreError;

use crate::marks::FlowMarks;
use crate::seal::Seal;
use crate::session::SessionId;
use crate::state::State;
use database::{Ages, load, make_tables, open_database, open_file, remove_older};
use record::{VERSION, encode, name};
use writer::{Change, Writer, Written};

/// Remembers sessions.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    path: Arc<Path>,
    seal: Arc<Seal>,
    writer: Arc<Writer>,
    /// Whether the last change was not written.
    is_failing: Arc<AtomicBool>,
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
        // A store that somebody removed is not made anew: its sessions would be missing.
        let reopen = {
            let path = path.to_owned();
            move || open_database(open_file(&path, false)?)
        };
        let writer = Writer::start(database, reopen, marked)
            .map_err(|problem| StoreError::new("start a thread for", path, problem.to_string()))?;
        let store = Self {
            path: path.into(),
            seal: Arc::new(seal),
            writer: Arc::new(writer),
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
            waits.push(self.writer.send(Change::Marks(id, bytes)).await);
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
            writer: Arc::default(),
            ..self.clone()
        }
    }

    async fn commit(&self, change: Change) -> Result<(), StoreError> {
        let wait = self.writer.send(change).await;
        self.done(wait).await
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

#[cfg(test)]
mod tests {
    use std::fs;

    use redb::{ReadableDatabase, ReadableTable};

    use super::database::{MARKS, SESSIONS};
    use super::*;

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
        let change = Change::Session(id, Some(vec![VERSION]));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let written = async { store.writer.send(change).await.await };
        runtime.unwrap().block_on(written).unwrap().unwrap();
        drop(store);
        assert_eq!(records(), [VERSION]);

        put(VERSION + 1);
        let problem = Store::open(&path, &key).unwrap_err().to_string();
        assert!(problem.contains("move it away"), "{problem}");
        assert_eq!(records().len(), 3);
        fs::remove_dir_all(folder).unwrap();
    }
}
