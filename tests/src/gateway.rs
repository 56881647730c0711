// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A running `sallyport` in the middle of a [`Topology`].

mod options;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cleanup::{BPFFS, Cleanup, is_ending, temporary_folder, unique_name};
use crate::netns::expect_success;
use crate::patience::{PATIENCE, wait_until};
use crate::{Topology, binary};

pub use options::GatewayOptions;

/// A session as the gateway described it when it was created.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its name in `/v1/sessions/<id>`.
    pub id: String,
    /// The whole description.
    pub description: Value,
}

impl Session {
    /// The gateway's addresses on the side of the user equipment, for RTP and for RTCP.
    pub fn access(&self) -> [SocketAddr; 2] {
        self.local("access")
    }

    /// The gateway's addresses on the side of the core network, for RTP and for RTCP.
    pub fn core(&self) -> [SocketAddr; 2] {
        self.local("core")
    }

    fn local(&self, realm: &str) -> [SocketAddr; 2] {
        ["local", "local_rtcp"].map(|key| {
            self.description[realm][key]
                .as_str()
                .and_then(|address| address.parse().ok())
                .unwrap_or_else(|| panic!("no {realm}.{key} in {}", self.description))
        })
    }
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The JSON body; null where there is none.
    pub body: Value,
}

/// `sallyport run` in the gateway's namespace, with a configuration file, sockets and pinned maps of
/// its own. Ended and removed when dropped; if that is because of a panic, what it had printed is
/// printed.
#[derive(Debug)]
pub struct Gateway<'a> {
    topology: &'a Topology,
    folder: PathBuf,
    pin: PathBuf,
    process: Process,
    // In this order: processes end before what they use is removed.
    _end: Cleanup,
    _pin_cleanup: Cleanup,
    _folder_cleanup: Cleanup,
}

/// The child, if it runs. Shared with the clean-up.
type Process = Arc<Mutex<Option<Child>>>;

impl<'a> Gateway<'a> {
    /// Starts `sallyport run` and waits until the agent is connected to the data plane.
    ///
    /// # Panics
    ///
    /// If that does not happen within [`PATIENCE`].
    pub fn start(topology: &'a Topology, options: &GatewayOptions) -> Self {
        mount_bpffs();
        let (folder, folder_cleanup) = temporary_folder("gateway").expect("create a folder");
        let pin = Path::new(BPFFS).join(unique_name("pin"));
        let pins = pin.clone();
        let pin_cleanup = Cleanup::new(move || {
            // Without their pins and their process the links detach.
            let _ = fs::remove_dir_all(pins);
        });
        fs::write(folder.join(CONFIG), options.to_toml(&folder, &pin))
            .expect("write the configuration file");
        let process = Process::default();
        let doomed = Arc::clone(&process);
        let gateway = Self {
            topology,
            folder,
            pin,
            process,
            _end: Cleanup::new(move || {
                if let Some(child) = lock(&doomed).take() {
                    end(child);
                }
            }),
            _pin_cleanup: pin_cleanup,
            _folder_cleanup: folder_cleanup,
        };
        gateway.launch();
        gateway
    }

    /// Starts `sallyport run` again after [`Self::stop`], with the same configuration.
    ///
    /// # Panics
    ///
    /// If it still runs, or as [`Self::start`] does.
    pub fn restart(&self) {
        assert!(lock(&self.process).is_none(), "the gateway still runs");
        self.launch();
    }

    /// Creates a session, which must succeed.
    ///
    /// # Panics
    ///
    /// If the gateway refuses, with its answer.
    pub fn create_session(&self, session: &Value) -> Session {
        let answer = self.post("/v1/sessions", session);
        assert_eq!(answer.status, 201, "create a session: {}", answer.body);
        let id = answer.body["id"]
            .as_str()
            .expect("a session has an id")
            .to_owned();
        Session {
            id,
            description: answer.body,
        }
    }

    /// A session with its counters.
    ///
    /// # Panics
    ///
    /// If there is no such session, with the gateway's answer.
    pub fn show(&self, id: &str) -> Value {
        self.expect_ok("GET", &format!("/v1/sessions/{id}"))
    }

    /// Every session.
    ///
    /// # Panics
    ///
    /// If the gateway does not answer.
    pub fn list(&self) -> Value {
        self.expect_ok("GET", "/v1/sessions")
    }

    /// Ends a session.
    ///
    /// # Panics
    ///
    /// If there is no such session, with the gateway's answer.
    pub fn delete(&self, id: &str) -> Value {
        self.expect_ok("DELETE", &format!("/v1/sessions/{id}"))
    }

    /// The counters of the whole gateway.
    ///
    /// # Panics
    ///
    /// If the gateway does not answer.
    pub fn statistics(&self) -> Value {
        self.expect_ok("GET", "/v1/statistics")
    }

    /// Frames of any UMEM that are nowhere. Anything but 0 is a defect.
    ///
    /// # Panics
    ///
    /// If the gateway does not answer.
    pub fn frames_lost(&self) -> i64 {
        frames_lost(&self.statistics())
    }

    /// An HTTP request with a body; whatever the answer, it is returned.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, body.to_string())
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// An HTTP request with any body, even one that is not JSON.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        body: impl Into<String>,
    ) -> Result<Answer, ureq::Error> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{LISTEN}{path}"))
            .header("content-type", "application/json")
            .body(body.into())?;
        let mut answer = self.topology.gateway.run(|| {
            ureq::Agent::config_builder()
                .timeout_global(Some(PATIENCE))
                .http_status_as_error(false)
                .allow_non_standard_methods(true)
                .proxy(None)
                .build()
                .new_agent()
                .run(request)
        })?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_string()?;
        Ok(Answer {
            status,
            body: serde_json::from_str(&body).unwrap_or(Value::String(body)),
        })
    }

    /// The process id of `sallyport run`.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn pid(&self) -> Pid {
        let process = lock(&self.process);
        pid_of(process.as_ref().expect("the gateway runs"))
    }

    /// The process id of its agent.
    ///
    /// # Panics
    ///
    /// If there is none within [`PATIENCE`].
    pub fn agent_pid(&self) -> Pid {
        self.child("agent")
    }

    /// The process id of its data plane.
    ///
    /// # Panics
    ///
    /// If there is none within [`PATIENCE`].
    pub fn data_plane_pid(&self) -> Pid {
        self.child("dataplane")
    }

    /// Kills the agent, and waits until there is another and it is connected.
    ///
    /// # Panics
    ///
    /// If there is none within [`PATIENCE`].
    pub fn kill_agent(&self) {
        self.without_agent(|| ());
    }

    /// Kills the agent, and has no other until `work` is done and this one is connected.
    ///
    /// # Panics
    ///
    /// If there is none within [`PATIENCE`].
    pub fn without_agent<T>(&self, work: impl FnOnce() -> T) -> T {
        let agent = self.agent_pid();
        // Who would start another at once.
        signal(self.pid(), Signal::SIGSTOP);
        signal(agent, Signal::SIGKILL);
        let result = work();
        signal(self.pid(), Signal::SIGCONT);
        self.wait_for_another(agent, Self::agent_pid);
        result
    }

    /// Kills the data plane, and waits until there is another and the agent is connected to it.
    ///
    /// # Panics
    ///
    /// If there is none within [`PATIENCE`].
    pub fn kill_data_plane(&self) {
        let data_plane = self.data_plane_pid();
        signal(data_plane, Signal::SIGKILL);
        self.wait_for_another(data_plane, Self::data_plane_pid);
    }

    fn wait_for_another(&self, dead: Pid, child: fn(&Self) -> Pid) {
        let is_started = wait_until(|| child(self) != dead);
        assert!(is_started, "{dead} was not started again:\n{}", self.log());
        self.wait_until_healthy();
    }

    /// Whether the agent answers and is connected to the data plane.
    pub fn is_healthy(&self) -> bool {
        self.request("GET", "/v1/health", "")
            .is_ok_and(|answer| answer.body["data_plane"] == "connected")
    }

    /// Waits until [`Self::is_healthy`].
    ///
    /// # Panics
    ///
    /// After [`PATIENCE`], or when `sallyport run` ended.
    pub fn wait_until_healthy(&self) {
        let mut ended = None;
        let healthy = wait_until(|| {
            ended = lock(&self.process)
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            ended.is_some() || self.is_healthy()
        });
        if let Some(status) = ended {
            panic!("sallyport run ended with {status}");
        }
        assert!(healthy, "sallyport run does not connect");
    }

    /// Ends `sallyport run` by SIGTERM, as an init system does, and expects exit status 0.
    ///
    /// # Panics
    ///
    /// If it ends otherwise or not within [`PATIENCE`].
    pub fn stop(&self) {
        let mut child = lock(&self.process).take().expect("the gateway runs");
        let _ = kill(pid_of(&child), Signal::SIGTERM);
        let status = wait(&mut child);
        if status.is_none() {
            end(child);
        }
        let succeeded = status.is_some_and(|status| status.success());
        assert!(succeeded, "after SIGTERM: {status:?} instead of 0");
    }

    /// Everything that `sallyport run` and its children printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join(LOG)).unwrap_or_default()
    }

    /// A `sallyport` command with this gateway's configuration, such as `session list`; run it with
    /// [`crate::Namespace::output`] in the gateway's namespace.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(binary::sallyport());
        command
            .args(arguments.split_whitespace())
            .arg("--config")
            .arg(self.config());
        command
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join(CONFIG)
    }

    /// The folder with the configuration file, the log, the flow socket and the session store.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder with the pinned maps and links.
    pub fn pin(&self) -> &Path {
        &self.pin
    }

    fn launch(&self) {
        let log = || {
            File::options()
                .create(true)
                .append(true)
                .open(self.folder.join(LOG))
                .expect("open the log")
        };
        let mut command = self.command("run");
        command
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            // So that ^C reaches us first and we end it in order.
            .process_group(0);
        let child = self
            .topology
            .gateway
            .spawn(&mut command)
            .unwrap_or_else(|error| panic!("run {command:?}: {error}"));
        *lock(&self.process) = Some(child);
        self.wait_until_healthy();
    }

    fn expect_ok(&self, method: &str, path: &str) -> Value {
        let answer = self
            .request(method, path, "")
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let ok = (200..300).contains(&answer.status);
        assert!(ok, "{method} {path}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// The child of `sallyport run` that was started with this subcommand.
    fn child(&self, subcommand: &str) -> Pid {
        let parent = self.pid();
        let mut found = None;
        wait_until(|| {
            found = children_of(parent).into_iter().find(|&child| {
                let arguments = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
                arguments
                    .split(|&byte| byte == 0)
                    .any(|argument| argument == subcommand.as_bytes())
            });
            found.is_some()
        });
        found.unwrap_or_else(|| panic!("sallyport run has no child {subcommand}"))
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        if thread::panicking() && !is_ending() {
            eprintln!("What sallyport run printed:\n{}", self.log());
        }
    }
}

/// Frames that are nowhere, summed over the workers in these statistics.
///
/// # Panics
///
/// If the statistics have no workers with frame counts.
pub fn frames_lost(statistics: &Value) -> i64 {
    let workers = statistics["workers"]
        .as_array()
        .expect("statistics list the workers");
    assert!(!workers.is_empty(), "there is a worker");
    workers
        .iter()
        .map(|worker| {
            let count = |part: &str| worker["frames"][part].as_i64().expect("a number of frames");
            count("total") - count("free") - count("receive") - count("transmit")
        })
        .sum()
}

const CONFIG: &str = "sallyport.toml";
const LOG: &str = "log";
/// Every gateway has a namespace, and so a loopback interface, of its own.
const LISTEN: &str = "127.0.0.1:8080";

fn mount_bpffs() {
    let mounted = statfs(BPFFS).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
    if !mounted {
        expect_success(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]));
    }
}

/// Ends the process and all its children, the parent first: it would restart the children.
fn end(mut child: Child) {
    let children = children_of(pid_of(&child));
    let _ = child.kill();
    let _ = child.wait();
    for &child in &children {
        let _ = kill(child, Signal::SIGKILL);
    }
    wait_until(|| {
        // A process that only waits to be reaped has no executable any more.
        let has_ended = |child: &Pid| fs::read_link(format!("/proc/{child}/exe")).is_err();
        children.iter().all(has_ended)
    });
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let mut status = None;
    wait_until(|| {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    status
}

fn signal(process: Pid, signal: Signal) {
    kill(process, signal).unwrap_or_else(|errno| panic!("send {signal} to {process}: {errno}"));
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// The processes whose parent this is (proc(5), field 4 of /proc/pid/stat).
fn children_of(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
                return false;
            };
            // The name in parentheses may have anything in it.
            let after_name = stat.rsplit(')').next().unwrap_or_default();
            after_name.split_whitespace().nth(1) == Some(&parent.to_string())
        })
        .map(Pid::from_raw)
        .collect()
}

fn lock(process: &Process) -> MutexGuard<'_, Option<Child>> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lost_frames_are_summed_over_the_workers() {
        let worker =
            |free| json!({"frames": {"total": 8, "free": free, "receive": 4, "transmit": 1}});
        assert_eq!(frames_lost(&json!({"workers": [worker(3), worker(1)]})), 2);
    }

    #[test]
    fn a_child_is_found_under_its_parent() {
        let mut child = Command::new("sleep").arg("5").spawn().unwrap();
        let found = children_of(Pid::this()).contains(&pid_of(&child));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
    }
}
