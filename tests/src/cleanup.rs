// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Nothing that the test bed creates outlives it: not on success, panic, SIGINT or SIGTERM, and
//! after SIGKILL only until the next process sweeps.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Where the gateways pin their maps and links, one folder each.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Runs its action when dropped or when the process is told to end, whichever is first.
#[derive(Debug)]
#[must_use = "the clean-up runs as soon as this is dropped"]
pub struct Cleanup {
    number: u32,
}

impl Cleanup {
    /// Promises that `action` will run, later actions before earlier ones.
    pub fn new(action: impl FnOnce() + Send + 'static) -> Self {
        let number = next_number();
        actions().insert(number, Box::new(action));
        Self { number }
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        while is_ending() {
            // Were this thread to go on, it might end the process before all actions have run.
            thread::park();
        }
        let action = actions().remove(&self.number);
        if let Some(action) = action {
            action();
        }
    }
}

/// A name that no other process and no other call has: `sp-<pid>-<number>-<what>`.
pub fn unique_name(what: &str) -> String {
    format!("{PREFIX}{}-{}-{what}", process::id(), next_number())
}

/// A new folder under the system's temporary one, and the promise to remove it.
pub fn temporary_folder(what: &str) -> io::Result<(PathBuf, Cleanup)> {
    let path = temporary_folders().join(unique_name(what));
    fs::create_dir(&path)?;
    let doomed = path.clone();
    let cleanup = Cleanup::new(move || {
        let _ = fs::remove_dir_all(doomed);
    });
    Ok((path, cleanup))
}

/// In memory, as `/run` is where a gateway usually keeps its files: a busy disk can keep a write
/// waiting for seconds.
fn temporary_folders() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        return memory.to_owned();
    }
    std::env::temp_dir()
}

/// Whether the process was told to end and is cleaning up. What fails now fails because of that.
pub fn is_ending() -> bool {
    ENDING.load(Ordering::Relaxed)
}

const PREFIX: &str = "sp-";

type Action = Box<dyn FnOnce() + Send>;

static ENDING: AtomicBool = AtomicBool::new(false);

/// What is still to be done. The first use sweeps and starts to listen for signals.
static ACTIONS: LazyLock<Mutex<BTreeMap<u32, Action>>> = LazyLock::new(|| {
    sweep();
    let listening = ctrlc::set_handler(|| {
        ENDING.store(true, Ordering::Relaxed);
        while let Some((_, action)) = { actions().pop_last() } {
            action();
        }
        process::exit(130);
    });
    if let Err(error) = listening {
        eprintln!("namespaces will stay behind after a signal: {error}");
    }
    Mutex::default()
});

fn actions() -> MutexGuard<'static, BTreeMap<u32, Action>> {
    ACTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn next_number() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// Removes what processes that are dead now have left behind.
fn sweep() {
    for name in left_behind(Path::new("/run/netns")) {
        for pid in processes_in(&name) {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let _ = Command::new("ip").args(["netns", "delete", &name]).status();
    }
    for folder in [Path::new(BPFFS), &temporary_folders()] {
        for name in left_behind(folder) {
            let _ = fs::remove_dir_all(folder.join(name));
        }
    }
}

/// Our names in this folder whose process is dead.
fn left_behind(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| creator(name).is_some_and(|pid| !Path::new("/proc").join(pid).exists()))
        .collect()
}

/// The process id in one of our names.
fn creator(name: &str) -> Option<&str> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse::<u32>().is_ok().then_some(pid)
}

/// The processes whose network namespace this is.
pub(crate) fn processes_in(namespace: &str) -> Vec<Pid> {
    let Ok(output) = Command::new("ip")
        .args(["netns", "pids", namespace])
        .output()
    else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok().map(Pid::from_raw))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_action_runs_when_its_promise_is_dropped() {
        let ran = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ran);
        drop(Cleanup::new(move || seen.store(true, Ordering::Relaxed)));
        assert!(ran.load(Ordering::Relaxed));
    }

    #[test]
    fn only_our_own_names_have_a_creator() {
        assert_eq!(creator("sp-17-3-ue"), Some("17"));
        for name in ["sp-ue", "sp-x-3-ue", "spare-17-3", "17-3-ue", "sp-17"] {
            assert_eq!(creator(name), None, "{name}");
        }
    }
}
