// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The one thread that writes.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redb::{Database, Durability, ReadableTable};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::database::{MARKS, SESSIONS};
use crate::session::SessionId;

/// The least time from one commit to the next: what comes meanwhile shares the next one. A change
/// that comes alone waits for nothing.
const SPACING: Duration = Duration::from_micros(150);

/// How many changes may wait, and how many are committed together.
const WAITING: usize = 4096;

/// The thread that writes. It ends, and closes the file, before the store is gone.
#[derive(Debug, Default)]
pub(super) struct Writer {
    writes: Option<mpsc::Sender<Write>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Begins. `marked` are the sessions that may have marks.
    pub(super) fn start(
        database: Database,
        reopen: impl Fn() -> Result<Database, redb::Error> + Send + 'static,
        marked: HashSet<u64>,
    ) -> io::Result<Self> {
        let (writes, waiting) = mpsc::channel(WAITING);
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write_all(database, reopen, marked, waiting))?;
        Ok(Self {
            writes: Some(writes),
            thread: Some(thread),
        })
    }

    /// Has a change written. What is returned says whether it is, or that the thread has ended.
    pub(super) async fn send(&self, change: Change) -> oneshot::Receiver<Written> {
        let (done, wait) = oneshot::channel();
        if let Some(writes) = &self.writes {
            // A thread that has ended drops what waits for it.
            let _ = writes.send(Write { change, done }).await;
        }
        wait
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A change that waits for its commit.
struct Write {
    change: Change,
    done: oneshot::Sender<Written>,
}

/// What has come of a change.
pub(super) type Written = Result<(), Arc<redb::Error>>;

/// What is to be written.
pub(super) enum Change {
    Session(SessionId, Option<Vec<u8>>),
    Marks(SessionId, Vec<u8>),
    /// Whether there is room.
    Nothing,
}

/// Writes until nobody is left who could want it.
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

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::{ReadableDatabase, StorageBackend};

    use super::super::database::make_tables;
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
        let writer = Writer::start(database, open.clone(), HashSet::new()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        let change = |change| runtime.block_on(async { writer.send(change).await.await.unwrap() });
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
        drop(writer);

        let transaction = open().unwrap().begin_read().unwrap();
        let sessions = transaction.open_table(SESSIONS).unwrap();
        let numbers = sessions.iter().unwrap();
        let numbers: Vec<_> = numbers
            .map(|entry| entry.unwrap().0.value() >> 16)
            .collect();
        assert_eq!(numbers, [1, 4]);
        fs::remove_file(path).unwrap();
    }
}
