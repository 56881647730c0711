// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sallyport run`: the supervisor. It starts both processes, starts again whichever dies, and
//! ends both on SIGTERM.
//!
//! It takes media down only when told to. When it is killed itself, both processes go on, and the
//! next `sallyport run` says so; each has a process group of its own, so that ^C reaches only the
//! supervisor, which ends them in order.

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio::{join, select};
use tracing::{error, info, warn};

use crate::back_off::{BackOff, GOOD_LIFE};
use crate::config::{Config, Host};
use crate::dataplane::Ladder;
use crate::failure::{Failure, MISCONFIGURED};
use crate::{event_loop, log, privileges};

/// How long a child may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) fn execute(path: &Path, ladder: Ladder) -> Result<(), Failure> {
    log::start();
    // What would make a child fail again and again is said once, here.
    let config = Config::read(path)?;
    config.fit(&Host::read(), path)?;
    config.suit_agent(path)?;
    privileges::suffice_for(&config.data_plane)?;
    nobody_serves(&config.data_plane.socket, config.agent.listen)?;
    let data_plane = Role::new("data plane", "dataplane", path, &ladder.to_args());
    let agent = Role::new("agent", "agent", path, &[]);
    event_loop::run(supervise(&data_plane?, &agent?))
}

/// Keeps both alive until a signal comes, or until one finds the configuration wrong.
async fn supervise(data_plane: &Role, agent: &Role) -> Result<(), Failure> {
    let signal = event_loop::end_signal()?;
    let (stop, _) = watch::channel(false);
    let until_signal = async {
        let mut stopped = stop.subscribe();
        select! {
            () = signal => info!("told to end"),
            () = told(&mut stopped) => {}
        }
        stop.send_replace(true);
    };
    let ((), data_plane, agent) = join!(until_signal, data_plane.keep(&stop), agent.keep(&stop));
    data_plane.and(agent)
}

/// What a child is there for, and how it is started.
#[derive(Debug)]
struct Role {
    name: &'static str,
    exe: PathBuf,
    args: Vec<OsString>,
}

impl Role {
    fn new(
        name: &'static str,
        subcommand: &str,
        config: &Path,
        flags: &[&str],
    ) -> Result<Self, Failure> {
        // Asked for once: a newer file may take its place, which is then what starts again.
        let exe = std::env::current_exe().map_err(|cause| Failure::Start { child: name, cause })?;
        let mut args: Vec<OsString> = vec![subcommand.into(), "--config".into(), config.into()];
        args.extend(flags.iter().map(Into::into));
        Ok(Self { name, exe, args })
    }

    /// Starts the child, and starts it again whenever it dies, until told to stop.
    ///
    /// # Errors
    /// Only when the first start fails: the child cannot be started, or says itself within
    /// [`GOOD_LIFE`] that it cannot go on. Everybody is told to stop then. Once media may flow,
    /// nothing stops them: not a file that is spoilt later, either.
    async fn keep(&self, stop: &watch::Sender<bool>) -> Result<(), Failure> {
        let mut stopped = stop.subscribe();
        let mut back_off = BackOff::default();
        let mut is_first = true;
        loop {
            let born = Instant::now();
            let life = match self.start() {
                Ok(mut child) => select! {
                    status = child.wait() => status,
                    () = told(&mut stopped) => {
                        self.end(child).await;
                        return Ok(());
                    }
                },
                Err(cause) => Err(cause),
            };
            let lived = born.elapsed();
            if is_first
                && lived < GOOD_LIFE
                && let Some(failure) = self.failure(&life)
            {
                stop.send_replace(true);
                return Err(failure);
            }
            is_first = false;
            let wait = back_off.after(lived);
            let when = match wait {
                Duration::ZERO => "at once".to_owned(),
                wait => format!("in {wait:?}"),
            };
            match life {
                Ok(status) => warn!("{} died: {status}; starts again {when}", self.name),
                Err(cause) => warn!("{} does not start: {cause}; again {when}", self.name),
            }
            select! {
                () = sleep(wait) => {}
                () = told(&mut stopped) => return Ok(()),
            }
        }
    }

    fn start(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.exe);
        command.args(&self.args);
        let child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        info!(process = child.id(), "{} started", self.name);
        Ok(child)
    }

    /// What makes it useless to try again.
    fn failure(&self, life: &io::Result<ExitStatus>) -> Option<Failure> {
        let child = self.name;
        match life {
            Ok(status) if status.code() == Some(MISCONFIGURED.into()) => {
                Some(Failure::ChildConfig { child })
            }
            Ok(status) if !status.success() && status.code().is_some() => {
                Some(Failure::Child { child })
            }
            Ok(_) => None,
            Err(cause) => {
                let cause = io::Error::new(cause.kind(), cause.to_string());
                Some(Failure::Start { child, cause })
            }
        }
    }

    /// Ends it in order, or else by force.
    async fn end(&self, mut child: Child) {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid {
            // It may be dead already, but it is not reaped: the number is still its own.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if timeout(GRACE, child.wait()).await.is_ok() {
            return;
        }
        warn!("{} did not end in {GRACE:?}: killed", self.name);
        if let Err(cause) = child.kill().await {
            error!("{} cannot be killed: {cause}", self.name);
        }
    }
}

/// Waits until everybody is told to stop. What is read is let go here: while somebody holds it,
/// nobody else could tell.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Makes sure that no data plane and no agent are there already.
fn nobody_serves(socket: &Path, listen: SocketAddr) -> Result<(), Failure> {
    if let Ok(stream) = UnixStream::connect(socket) {
        let pid = getsockopt(&stream, PeerCredentials).map(|peer| peer.pid());
        return Err(Failure::DataPlaneThere {
            socket: socket.to_owned(),
            pid: pid.ok(),
        });
    }
    match TcpListener::bind(listen) {
        Ok(_) => Ok(()),
        Err(cause) => Err(Failure::AgentThere { listen, cause }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time;

    use super::*;

    /// A child that is a shell script; `$1` is a file of its own.
    fn script(test: &str, script: &str) -> (Role, PathBuf) {
        let name = format!("sallyport-{test}-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        let _ = fs::remove_file(&file);
        let args = ["-c", script, "sh"].map(OsString::from);
        let role = Role {
            name: "script",
            exe: "/bin/sh".into(),
            args: args.into_iter().chain([file.clone().into()]).collect(),
        };
        (role, file)
    }

    fn lines(file: &Path) -> usize {
        fs::read_to_string(file).unwrap_or_default().lines().count()
    }

    async fn wait_for_lines(file: &Path, count: usize) {
        let there = async {
            while lines(file) < count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(90), there).await.unwrap();
    }

    #[tokio::test]
    async fn a_child_that_dies_is_started_again() {
        let (role, file) = script("dies", "echo >> $1; kill -9 $$");
        let (stop, _) = watch::channel(false);
        let (kept, ()) = join!(role.keep(&stop), async {
            wait_for_lines(&file, 3).await;
            stop.send_replace(true);
        });
        assert!(kept.is_ok(), "{kept:?}");
        fs::remove_file(file).unwrap();
    }

    #[tokio::test]
    async fn a_child_is_told_to_end_and_may_tidy_up() {
        let tidy = "trap 'echo >> $1; exit' TERM; echo >> $1; while :; do sleep 0.01; done";
        let (role, file) = script("tidy", tidy);
        let (stop, _) = watch::channel(false);
        let (kept, ()) = join!(role.keep(&stop), async {
            wait_for_lines(&file, 1).await;
            stop.send_replace(true);
        });
        assert!(kept.is_ok(), "{kept:?}");
        assert_eq!(lines(&file), 2);
        fs::remove_file(file).unwrap();
    }

    #[tokio::test]
    async fn a_child_that_finds_the_configuration_wrong_stops_everything() {
        let (role, _) = script("wrong", "exit 2");
        let (stop, stopped) = watch::channel(false);
        let kept = role.keep(&stop).await;
        assert!(matches!(kept, Err(Failure::ChildConfig { .. })), "{kept:?}");
        assert!(*stopped.borrow());
    }

    #[tokio::test]
    async fn a_child_that_cannot_do_its_work_at_first_stops_everything() {
        let (role, _) = script("unable", "exit 1");
        let (stop, stopped) = watch::channel(false);
        let kept = role.keep(&stop).await;
        assert!(matches!(kept, Err(Failure::Child { .. })), "{kept:?}");
        assert!(*stopped.borrow());
    }

    #[test]
    fn one_that_cannot_do_its_work_ends_the_other_and_the_supervisor() {
        let (other, file) = script("other", "echo >> $1; exec sleep 1000");
        let (unable, _) = script("first", "until test -s $1; do sleep 0.01; done; exit 1");
        let unable = Role {
            args: [&unable.args[..3], &other.args[3..]].concat(),
            ..unable
        };
        let (ended, wait) = std::sync::mpsc::channel();
        // Whoever blocked the loop would block its clock, too.
        std::thread::spawn(move || {
            for roles in [[&unable, &other], [&other, &unable]] {
                let result = event_loop::run(supervise(roles[0], roles[1]));
                ended.send(result.is_err()).unwrap();
            }
        });
        for _ in 0..2 {
            let has_failed = wait.recv_timeout(Duration::from_mins(1));
            assert!(has_failed.expect("it hangs"));
        }
        fs::remove_file(file).unwrap();
    }

    #[tokio::test]
    async fn a_configuration_that_is_spoilt_later_stops_nothing() {
        let spoilt = "echo >> $1; test $(wc -l < $1) -gt 1 && exit 2; kill -9 $$";
        let (role, file) = script("spoilt", spoilt);
        let (stop, _) = watch::channel(false);
        let (kept, ()) = join!(role.keep(&stop), async {
            wait_for_lines(&file, 3).await;
            stop.send_replace(true);
        });
        assert!(kept.is_ok(), "{kept:?}");
        fs::remove_file(file).unwrap();
    }

    #[tokio::test]
    async fn a_child_that_fails_after_a_good_life_is_started_again() {
        let until_told =
            "echo >> $1; until test $(wc -l < $1) -gt 1; do sleep 0.01; done; exit 101";
        let (role, file) = script("late", until_told);
        let (stop, _) = watch::channel(false);
        let (kept, ()) = join!(role.keep(&stop), async {
            wait_for_lines(&file, 1).await;
            time::pause();
            time::advance(GOOD_LIFE).await;
            time::resume();
            fs::write(&file, "\n\n").unwrap();
            wait_for_lines(&file, 4).await;
            stop.send_replace(true);
        });
        assert!(kept.is_ok(), "{kept:?}");
        fs::remove_file(file).unwrap();
    }

    #[tokio::test]
    async fn a_child_that_cannot_be_started_stops_everything() {
        let (mut role, _) = script("absent", "");
        role.exe = "/no/such/program".into();
        let (stop, stopped) = watch::channel(false);
        let kept = role.keep(&stop).await;
        assert!(matches!(kept, Err(Failure::Start { .. })), "{kept:?}");
        assert!(*stopped.borrow());
    }

    #[test]
    fn a_socket_that_is_served_is_said_to_be_so() {
        let name = format!("sallyport-served-{}", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let error = nobody_serves(&socket, listen).unwrap_err().to_string();
        let me = format!("process {} serves {}", std::process::id(), socket.display());
        assert!(error.starts_with(&me), "{error}");
        drop(listener);
        assert!(
            nobody_serves(&socket, listen).is_ok(),
            "a stale socket is no obstacle"
        );
        fs::remove_file(socket).unwrap();
    }

    #[test]
    fn an_address_that_is_served_is_said_to_be_so() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let listen = listener.local_addr().unwrap();
        let error = nobody_serves(Path::new("/no/such/socket"), listen).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("listen on {listen}: ")),
            "{error}"
        );
    }
}
