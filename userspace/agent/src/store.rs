// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The file that lets a restarted agent find its sessions again. It holds no key.
//!
//! It is replaced as a whole, by rename: an agent that is killed leaves the old or the new one.
//! It need not outlive the machine, since flows do not either; so nothing waits for a disk.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::session::Session;

/// Remembers sessions.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
}

impl Store {
    /// A file of another version is not read.
    const VERSION: u32 = 1;

    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The sessions of the agent before; none when there is no file.
    ///
    /// # Errors
    /// When there is a file that cannot be read: to go on without its sessions would end them.
    pub(crate) fn load(&self) -> Result<Vec<Session>, StoreError> {
        let error = |step, error: io::Error| StoreError::new(step, &self.path, error);
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(other) => return Err(error("read", other)),
        };
        let head: Head =
            serde_json::from_slice(&bytes).map_err(|other| error("read", other.into()))?;
        if head.version != Self::VERSION {
            let other = format!("version {} instead of {}", head.version, Self::VERSION);
            return Err(error("read", io::Error::other(other)));
        }
        let file: File<Vec<Session>> =
            serde_json::from_slice(&bytes).map_err(|other| error("read", other.into()))?;
        Ok(file.sessions)
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// When that fails; the file is then the old one.
    pub(crate) fn save<'a>(
        &self,
        sessions: impl Iterator<Item = &'a Session>,
    ) -> Result<(), StoreError> {
        self.replace(&sessions.collect::<Vec<_>>())
            .map_err(|error| StoreError::new("write", &self.path, error))
    }

    fn replace(&self, sessions: &[&Session]) -> io::Result<()> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.exists()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let new = self.path.with_added_extension("new");
        // What an agent that was killed left behind may have another mode.
        if let Err(error) = fs::remove_file(&new)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let bytes = serde_json::to_vec(&File {
            version: Self::VERSION,
            sessions,
        })?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?
            .write_all(&bytes)?;
        fs::rename(new, &self.path)
    }
}

/// What every version of the file has.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File<S> {
    version: u32,
    sessions: S,
}

/// The file cannot be read or written.
#[derive(Debug)]
pub struct StoreError {
    step: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl StoreError {
    fn new(step: &'static str, path: &Path, error: io::Error) -> Self {
        Self {
            step,
            path: path.to_owned(),
            error,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, path, error } = self;
        let remedy = match *step {
            "read" => "move it away to start without its sessions",
            _ => "make room and give the agent write permission, or set another agent.store",
        };
        write!(f, "{step} {}: {error}; {remedy}", path.display())
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn store(name: &str) -> Store {
        let folder = std::env::temp_dir().join(format!("sallyport-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        Store::new(folder.join("inner/sessions.json"))
    }

    fn remove(store: &Store) {
        fs::remove_dir_all(store.path.parent().unwrap().parent().unwrap()).unwrap();
    }

    fn session() -> Session {
        serde_json::from_str(
            r#"{"id":"00000000000a0000","name":"call 7",
                "access":{"profile":{"RTP/SAVP":"AeadAes128Gcm"},
                          "local":{"rtp":"192.0.2.1:40000","rtcp":"192.0.2.1:40001"},
                          "remote":null},
                "core":{"profile":"RTP/AVP",
                        "local":{"rtp":"[2001:db8::1]:40000","rtcp":"[2001:db8::1]:40000"},
                        "remote":{"rtp":"[2001:db8::9]:6000","rtcp":"[2001:db8::9]:6000"}}}"#,
        )
        .unwrap()
    }

    #[test]
    fn sessions_survive_in_a_file_that_only_its_owner_reads() {
        let store = store("store-mode");
        assert_eq!(store.load().unwrap(), []);
        store.save([].into_iter()).unwrap();
        // What an agent that was killed may have left.
        fs::write(store.path.with_added_extension("new"), "half").unwrap();
        store.save([&session()].into_iter()).unwrap();
        assert_eq!(store.load().unwrap(), [session()]);
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(store.path.as_path()), 0o600);
        assert_eq!(mode(store.path.parent().unwrap()), 0o700);
        remove(&store);
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_an_error_with_a_remedy() {
        let store = store("store-version");
        store.save([].into_iter()).unwrap();
        for (content, complaint) in [
            (r#"{"version":2,"calls":[]}"#, "version 2 instead of 1"),
            (r#"{"version":1,"sessions":[{}]}"#, "missing field"),
            ("", "EOF"),
        ] {
            fs::write(&store.path, content).unwrap();
            let error = store.load().unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
            assert!(
                error.ends_with("move it away to start without its sessions"),
                "{error}"
            );
        }
        remove(&store);
    }
}
