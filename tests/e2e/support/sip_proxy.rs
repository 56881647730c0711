// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A SIP proxy that is not ours: Kamailio or OpenSIPS.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use sallyport_tests::Namespace;
use sallyport_tests::cleanup::{Cleanup, temporary_folder};
use sallyport_tests::patience::{SOON, wait_until};

/// A running proxy.
pub(crate) struct SipProxy {
    process: Child,
    folder: PathBuf,
    _cleanup: Cleanup,
}

impl SipProxy {
    /// Runs a program on a host, until it answers to a neighbour at its address.
    pub(crate) fn start(
        host: &Namespace,
        mut command: Command,
        address: IpAddr,
        neighbour: &UdpSocket,
    ) -> Self {
        let (folder, cleanup) = temporary_folder("proxy").expect("create a folder");
        let log = File::create(folder.join(LOG)).expect("create a file");
        command
            .current_dir(&folder)
            .arg("-P")
            .arg(folder.join("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("there are file descriptors left"))
            .stderr(log)
            .process_group(0);
        let process = host.spawn(&mut command).expect("start the proxy");
        let proxy = Self {
            process,
            folder,
            _cleanup: cleanup,
        };
        neighbour
            .set_read_timeout(Some(SOON))
            .expect("the timeout is not zero");
        let answers = wait_until(|| {
            // Until it is there, an ICMP error may come back.
            let from = neighbour.local_addr().expect("it is bound");
            let asked = neighbour.send_to(&options(&from, address), (address, 5060));
            let mut buffer = [0; 2048];
            asked.is_ok()
                && neighbour
                    .recv(&mut buffer)
                    .is_ok_and(|len| buffer[..len].starts_with(b"SIP/2.0 200"))
        });
        assert!(answers, "the proxy does not answer: {}", proxy.log());
        proxy
    }

    /// Everything that it said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join(LOG)).unwrap_or_default()
    }
}

impl Drop for SipProxy {
    /// As if the power had failed: all its processes at once.
    fn drop(&mut self) {
        let _ = killpg(
            Pid::from_raw(self.process.id().cast_signed()),
            Signal::SIGKILL,
        );
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("What the proxy said:\n{}", self.log());
        }
    }
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
