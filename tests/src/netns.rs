// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Network namespaces. Work enters one on a thread of its own, never through `ip netns exec`: that
//! remounts /sys and so hides the BPF file system.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::panic;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};

use crate::cleanup::{Cleanup, processes_in, unique_name};
use crate::patience::PATIENCE;

/// A network namespace that is removed, with every process in it, when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    _cleanup: Cleanup,
}

impl Namespace {
    /// Creates a namespace whose name ends with `role`, with the loopback interface up and without
    /// duplicate address detection (which would keep addresses unusable for a second).
    ///
    /// # Panics
    ///
    /// If `ip` fails, with its message; see [`crate::require::root_and_namespaces`].
    pub fn new(role: &str) -> Self {
        let name = unique_name(role);
        let doomed = name.clone();
        let cleanup = Cleanup::new(move || {
            for pid in processes_in(&doomed) {
                let _ = kill(pid, Signal::SIGKILL);
            }
            let _ = Command::new("ip")
                .args(["netns", "delete", &doomed])
                .status();
        });
        expect_success(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Self {
            name,
            _cleanup: cleanup,
        };
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0");
        namespace.ip("link set lo up");
        namespace
    }

    /// The name under which `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` inside, on a thread of its own, and waits for it. Sockets and processes that it
    /// creates stay inside.
    ///
    /// # Panics
    ///
    /// If `work` does, with its panic.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = self.path();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&path);
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }

    /// Starts a named thread inside.
    ///
    /// # Panics
    ///
    /// If the machine has no room for one more thread.
    pub fn thread<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let path = self.path();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                enter(&path);
                work()
            })
            .expect("start a thread")
    }

    /// Starts a process inside.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.run(|| command.spawn())
    }

    /// Runs a process inside to its end.
    pub fn output(&self, command: &mut Command) -> io::Result<Output> {
        self.run(|| command.output())
    }

    /// Runs `ip` with these arguments inside and returns what it printed.
    ///
    /// # Panics
    ///
    /// If it fails, with its message.
    pub fn ip(&self, arguments: &str) -> String {
        let arguments = arguments.split_whitespace();
        expect_success(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    /// Runs `ethtool` with these arguments inside and returns what it printed.
    ///
    /// # Panics
    ///
    /// If it fails, with its message.
    pub fn ethtool(&self, arguments: &str) -> String {
        self.run(|| expect_success(Command::new("ethtool").args(arguments.split_whitespace())))
    }

    /// Sets a kernel parameter, such as `net/ipv4/ip_forward`, inside.
    ///
    /// # Panics
    ///
    /// If there is no such parameter.
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{key}");
        self.run(|| std::fs::write(&path, value))
            .unwrap_or_else(|error| panic!("write {value} to {path}: {error}"));
    }

    /// Binds a UDP socket inside; its reads give up after [`PATIENCE`].
    ///
    /// # Panics
    ///
    /// If the address is not this namespace's or is taken.
    pub fn udp(&self, address: impl Into<SocketAddr>) -> UdpSocket {
        let address = address.into();
        let socket = self
            .run(|| UdpSocket::bind(address))
            .unwrap_or_else(|error| panic!("bind {address} in {}: {error}", self.name));
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("the timeout is not zero");
        socket
    }

    /// Whether a UDP socket is bound to this port inside. Looked up, not tried: our own socket would
    /// be in the way.
    pub fn has_udp(&self, port: u16) -> bool {
        let tables = ["udp", "udp6"].map(|table| format!("/proc/thread-self/net/{table}"));
        let read = || tables.map(|table| std::fs::read_to_string(table).unwrap_or_default());
        let sockets = self.run(read).concat();
        let mut local = sockets
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1));
        local.any(|local| local.ends_with(&format!(":{port:04X}")))
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }
}

/// Moves the calling thread into the namespace.
fn enter(path: &PathBuf) {
    let entered =
        File::open(path).and_then(|namespace| Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?));
    if let Err(error) = entered {
        panic!("enter the network namespace {}: {error}", path.display());
    }
}

/// Runs to the end and returns standard output; panics with standard error if it fails.
pub(crate) fn expect_success(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim(),
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require;

    #[test]
    fn a_namespace_is_gone_with_its_processes_when_dropped() {
        if !require::root_and_namespaces() {
            return;
        }
        let namespace = Namespace::new("gone");
        let path = namespace.path();
        let mut child = namespace.spawn(Command::new("sleep").arg("60")).unwrap();
        assert!(path.exists());
        drop(namespace);
        assert!(!path.exists());
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn sockets_belong_to_the_namespace_in_which_they_were_bound() {
        if !require::root_and_namespaces() {
            return;
        }
        let (one, other) = (Namespace::new("one"), Namespace::new("other"));
        let address = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let (_here, _there) = (one.udp(address), other.udp(address));
    }

    #[test]
    #[should_panic(expected = "from inside")]
    fn a_panic_inside_comes_out() {
        assert!(
            require::root_and_namespaces(),
            "SKIPPED: a panic from inside"
        );
        Namespace::new("panic").run(|| panic!("from inside"));
    }
}
