// SPDX-License-Identifier: Apache-2.0 OR MIT

//! SIPp as core network: one call, and audio.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use sallyport_tests::cleanup::{Cleanup, temporary_folder};
use sallyport_tests::patience::wait_until;
use sallyport_tests::{Family, Topology};

use super::audio::Audio;

/// What SIPp does.
#[derive(Clone, Copy)]
pub(crate) enum Scenario {
    /// It is called, put on hold and taken back, and the other side ends the call.
    Called,
    /// It calls `ue`, puts it on hold, takes it back and ends the call, each when told to go on.
    Calling,
    /// See [`Sipp::replay`].
    Replaying,
}

/// A running SIPp.
pub(crate) struct Sipp {
    process: Child,
    folder: PathBuf,
    _cleanup: Cleanup,
}

impl Sipp {
    pub(crate) fn start(topology: &Topology, scenario: Scenario, audio: &Audio) -> Self {
        Self::with_media(topology, scenario, audio.codes())
    }

    /// It is called, plays a recording in pcap format, and the other side ends the call.
    pub(crate) fn replay(topology: &Topology, recording: &[u8]) -> Self {
        Self::with_media(topology, Scenario::Replaying, recording)
    }

    fn with_media(topology: &Topology, scenario: Scenario, media: &[u8]) -> Self {
        let (folder, cleanup) = temporary_folder("sipp").expect("create a folder");
        let xml = match scenario {
            Scenario::Called => include_str!("../sipp/called.xml"),
            Scenario::Calling => include_str!("../sipp/calling.xml"),
            Scenario::Replaying => include_str!("../sipp/replaying.xml"),
        };
        fs::write(folder.join("scenario.xml"), xml).expect("write a file");
        fs::write(folder.join("audio"), media).expect("write a file");
        let address = Topology::core_address(Family::V4).to_string();
        let proxy = Topology::core_side_address(Family::V4);
        let mut command = Command::new("sipp");
        command
            .current_dir(&folder)
            .args([
                "-sf",
                "scenario.xml",
                "-i",
                &address,
                "-p",
                "5060",
                "-mi",
                &address,
            ])
            .args(["-m", "1", "-nostdin", "-trace_err", "-error_file", ERRORS])
            .args(["-trace_msg", "-message_file", MESSAGES])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Scenario::Calling = scenario {
            command.args(["-s", "ue", &format!("{proxy}:5060")]);
        }
        let process = topology.core.spawn(&mut command).expect("start SIPp");
        let sipp = Self {
            process,
            folder,
            _cleanup: cleanup,
        };
        if let Scenario::Called | Scenario::Replaying = scenario {
            let is_there = || topology.core.has_udp(PORT);
            assert!(wait_until(is_there), "SIPp does not listen");
        }
        sipp
    }

    /// Waits until this text is in so many places of the SIP messages that it sent or received.
    pub(crate) fn wait_for(&self, text: &str, times: usize) {
        let is_there = wait_until(|| self.messages().matches(text).count() >= times);
        assert!(
            is_there,
            "SIPp did not see {text} {times} times: {}",
            self.story()
        );
    }

    /// Lets it go on with [`Scenario::Calling`]: it waits for a request within the call.
    pub(crate) fn go_on(&self, topology: &Topology) {
        let messages = self.messages();
        let mut lines = messages.lines();
        let call = lines.find(|line| line.starts_with("Call-ID:"));
        let call = call.expect("there is a call").trim_end();
        let core = Topology::core_address(Family::V4);
        let request = format!(
            "INFO sip:{core} SIP/2.0\r\nVia: SIP/2.0/UDP {core}:5080;branch=z9hG4bK{}\r\n\
             From: <sip:test@{core}>;tag=t\r\nTo: <sip:{core}>\r\n{call}\r\nCSeq: 1 INFO\r\n\
             Content-Length: 0\r\n\r\n",
            messages.len()
        );
        let socket = topology.core.udp((core, 0));
        let sent = socket.send_to(request.as_bytes(), (core, PORT));
        sent.expect("SIPp is on this host");
    }

    /// Every SIP message that it sent or received.
    pub(crate) fn messages(&self) -> String {
        self.read(MESSAGES)
    }

    /// Waits until the call is over, which has to be as the scenario says, and returns all SIP
    /// messages.
    pub(crate) fn finish(mut self) -> String {
        let mut status = None;
        wait_until(|| {
            status = self.process.try_wait().expect("it is our child");
            status.is_some()
        });
        let went_well = status.is_some_and(|status| status.success());
        assert!(went_well, "SIPp: {status:?}: {}", self.story());
        self.messages()
    }

    fn read(&self, file: &str) -> String {
        let bytes = fs::read(self.folder.join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn story(&self) -> String {
        self.read(ERRORS) + &self.messages()
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("What SIPp saw:\n{}", self.story());
        }
    }
}

/// Such as `SIPp 3.6.1`.
pub(crate) fn version() -> String {
    let output = Command::new("sipp")
        .arg("-v")
        .output()
        .expect("it is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    let number = said
        .split_whitespace()
        .nth(1)
        .expect("SIPp says its version");
    let number = number.split('-').next().unwrap_or(number);
    format!("SIPp {}", number.trim_start_matches('v'))
}

/// Where SIP is spoken.
const PORT: u16 = 5060;
const ERRORS: &str = "errors";
const MESSAGES: &str = "messages";
