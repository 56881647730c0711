// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Kamailio on the gateway's host, with one of the example configurations.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use sallyport_tests::cleanup::{Cleanup, temporary_folder, wait_until};
use sallyport_tests::{Family, GatewayOptions, Namespace, Topology};

/// A running Kamailio.
pub(crate) struct Kamailio {
    process: Child,
    folder: PathBuf,
    _cleanup: Cleanup,
}

impl Kamailio {
    /// Starts it on the gateway's host, and waits until it answers.
    pub(crate) fn start(topology: &Topology, configuration: &str) -> Self {
        let [access, core, next_hop] = [
            Topology::access_address(Family::V4),
            Topology::core_side_address(Family::V4),
            Topology::core_address(Family::V4),
        ];
        let mut command = command(configuration);
        command
            .args(["-A", &format!("ACCESS={access}")])
            .args(["-A", &format!("CORE={core}")])
            .args(["-A", &format!("NEXT_HOP={next_hop}")]);
        let ue = topology.ue.udp((Topology::ue_address(Family::V4), 0));
        Self::run(&topology.gateway, command, access, &ue)
    }

    /// Starts one in the core that sends every call back to the gateway.
    pub(crate) fn start_core(topology: &Topology) -> Self {
        let core = Topology::core_address(Family::V4);
        let gateway = Topology::core_side_address(Family::V4);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/kamailio/core.cfg");
        let mut command = Command::new("kamailio");
        command
            .arg("-f")
            .arg(file)
            .args(["-A", &format!("CORE={core}")])
            .args(["-A", &format!("GATEWAY={gateway}")]);
        let neighbour = topology.gateway.udp((gateway, 0));
        Self::run(&topology.core, command, core, &neighbour)
    }

    /// Runs it on a host, until it answers to a neighbour at its address.
    fn run(host: &Namespace, mut command: Command, address: IpAddr, neighbour: &UdpSocket) -> Self {
        let (folder, cleanup) = temporary_folder("kamailio").expect("create a folder");
        let log = File::create(folder.join(LOG)).expect("create a file");
        command
            // In the foreground, messages to standard error, little memory.
            .args(["-DD", "-E", "-m", "32", "-M", "4"])
            .arg("-Y")
            .arg(&folder)
            .arg("-P")
            .arg(folder.join("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("there are file descriptors left"))
            .stderr(log)
            .process_group(0);
        let process = host.spawn(&mut command).expect("start Kamailio");
        let kamailio = Self {
            process,
            folder,
            _cleanup: cleanup,
        };
        neighbour
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("the timeout is not zero");
        let answers = wait_until(Duration::from_secs(10), || {
            // Until it is there, an ICMP error may come back.
            let from = neighbour.local_addr().expect("it is bound");
            let asked = neighbour.send_to(&options(&from, address), (address, 5060));
            let mut buffer = [0; 2048];
            asked.is_ok()
                && neighbour
                    .recv(&mut buffer)
                    .is_ok_and(|len| buffer[..len].starts_with(b"SIP/2.0 200"))
        });
        assert!(answers, "Kamailio does not answer: {}", kamailio.log());
        kamailio
    }

    /// Everything that it said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join(LOG)).unwrap_or_default()
    }
}

impl Drop for Kamailio {
    /// As if the power had failed: all its processes at once.
    fn drop(&mut self) {
        let _ = killpg(
            Pid::from_raw(self.process.id().cast_signed()),
            Signal::SIGKILL,
        );
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("What Kamailio said:\n{}", self.log());
        }
    }
}

/// A gateway that Kamailio can drive.
pub(crate) fn with_ng() -> GatewayOptions {
    GatewayOptions {
        agent: "[agent.ng]\n".to_owned(),
        ..GatewayOptions::default()
    }
}

/// Kamailio with one of the example configurations.
pub(crate) fn command(configuration: &str) -> Command {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../xtask/deploy/kamailio")
        .join(configuration);
    let mut command = Command::new("kamailio");
    command.arg("-f").arg(file);
    command
}

fn options(from: &SocketAddr, to: IpAddr) -> Vec<u8> {
    format!(
        "OPTIONS sip:{to} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {from};branch=z9hG4bKping\r\n\
         From: <sip:test@{from}>;tag=1\r\n\
         To: <sip:{to}>\r\n\
         Call-ID: ping@{from}\r\n\
         CSeq: 1 OPTIONS\r\n\
         Max-Forwards: 1\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

const LOG: &str = "log";
