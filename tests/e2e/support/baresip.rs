// SPDX-License-Identifier: Apache-2.0 OR MIT

//! baresip as user equipment: it registers, plays a file, and records what it hears.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use sallyport_tests::cleanup::{Cleanup, temporary_folder};
use sallyport_tests::patience::{PATIENCE, wait_until};
use sallyport_tests::{Family, Namespace, Topology};
use serde_json::json;

use super::audio::{Audio, codes_of};

/// Who a baresip is.
#[derive(Clone, Copy)]
pub(crate) struct Account {
    pub(crate) user: &'static str,
    pub(crate) address: IpAddr,
}

impl Account {
    /// The first UE.
    pub(crate) const UE: Self = Self {
        user: "ue",
        address: Topology::ue_address(Family::V4),
    };
}

/// A running baresip, registered, that takes every call.
pub(crate) struct Baresip<'a> {
    host: &'a Namespace,
    process: Child,
    folder: PathBuf,
    _cleanup: Cleanup,
}

impl<'a> Baresip<'a> {
    /// Starts it and waits until it is registered. It wants SRTP, and has no calls without.
    pub(crate) fn start(host: &'a Namespace, account: Account, audio: &Audio) -> Self {
        let (folder, cleanup) = temporary_folder("baresip").expect("create a folder");
        let proxy = Topology::access_address(Family::V4);
        let write = |name, content: &[u8]| {
            fs::write(folder.join(name), content).expect("write a file");
        };
        write("audio.wav", &audio.wav());
        write(
            "config",
            configuration(account, &folder.display().to_string()).as_bytes(),
        );
        let line = format!(
            "<sip:{user}@{proxy}>;outbound=\"sip:{proxy}\";regint=60;auth_pass=none;answermode=auto;\
             mediaenc=srtp-mand;audio_codecs=PCMA/8000/1\n",
            user = account.user
        );
        write("accounts", line.as_bytes());
        // Else it makes examples of these.
        write("contacts", b"");
        let log = File::create(folder.join(LOG)).expect("create a file");
        let mut command = Command::new("baresip");
        command
            // With all SIP messages in its log.
            .args(["-4", "-v", "-s", "-f"])
            .arg(&folder)
            .env("HOME", &folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("there are file descriptors left"))
            .stderr(log);
        let process = host.spawn(&mut command).expect("start baresip");
        let baresip = Self {
            host,
            process,
            folder,
            _cleanup: cleanup,
        };
        baresip.wait_for("[1 binding]", 1);
        baresip
    }

    /// Gives it a command of its menu, such as `dial`, with what belongs to it.
    pub(crate) fn command(&self, name: &str, parameters: &str) {
        let mut control = self
            .host
            .run(|| TcpStream::connect(CONTROL))
            .expect("baresip listens");
        control
            .set_read_timeout(Some(PATIENCE))
            .expect("the timeout is not zero");
        let command = json!({"command": name, "params": parameters}).to_string();
        // Netstrings, both ways.
        write!(control, "{}:{command},", command.len()).expect("baresip lives");
        let mut said = String::new();
        let mut buffer = [0; 4096];
        while !said.contains("\"response\":true") {
            let len = control.read(&mut buffer).expect("baresip answers");
            assert!(len > 0, "baresip does not answer {command}: {said}");
            said.push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
        assert!(said.contains("\"ok\":true"), "{command}: {said}");
    }

    /// Waits until its log has this text so many times.
    pub(crate) fn wait_for(&self, text: &str, times: usize) {
        let has_said = wait_until(|| self.log().matches(text).count() >= times);
        assert!(
            has_said,
            "baresip did not say {text} {times} times: {}",
            self.log()
        );
    }

    /// Everything that it said, all SIP messages among it.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.folder.join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The A-law codes that it has heard in all calls that are over.
    pub(crate) fn heard(&self) -> Vec<u8> {
        let entries = fs::read_dir(&self.folder).expect("the folder is there");
        let mut recordings: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().ends_with("-dec.wav"))
            .map(|entry| entry.path())
            .collect();
        recordings.sort();
        let wavs = recordings
            .iter()
            .map(|path| fs::read(path).expect("it is a file"));
        wavs.flat_map(|wav| codes_of(&wav)).collect()
    }
}

impl Drop for Baresip<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("What baresip said:\n{}", self.log());
        }
    }
}

/// Such as `baresip 1.0.0`.
pub(crate) fn version() -> String {
    let output = Command::new("baresip")
        .arg("-h")
        .output()
        .expect("it is installed");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let number = said
        .split_whitespace()
        .nth(1)
        .expect("baresip says its version");
    format!("baresip {}", number.trim_start_matches('v'))
}

fn configuration(account: Account, folder: &str) -> String {
    let settings = [
        ("sip_listen", format!("{}:5060", account.address)),
        ("audio_source", format!("aufile,{folder}/audio.wav")),
        // It has to play what it hears somewhere.
        ("audio_player", "aubridge,ear".to_owned()),
        ("audio_alert", "aubridge,bell".to_owned()),
        ("ausrc_srate", "8000".to_owned()),
        ("auplay_srate", "8000".to_owned()),
        ("ausrc_channels", "1".to_owned()),
        ("auplay_channels", "1".to_owned()),
        ("rtp_ports", "20000-20999".to_owned()),
        ("snd_path", folder.to_owned()),
        ("ctrl_tcp_listen", CONTROL.to_owned()),
        ("module_path", "/usr/lib/baresip/modules".to_owned()),
    ];
    let modules = [
        ("module", "g711.so"),
        ("module", "aufile.so"),
        ("module", "aubridge.so"),
        ("module", "sndfile.so"),
        ("module", "srtp.so"),
        ("module_app", "account.so"),
        ("module_app", "menu.so"),
        ("module_app", "ctrl_tcp.so"),
    ];
    let modules = modules.map(|(key, value)| (key, value.to_owned()));
    let lines = settings.into_iter().chain(modules);
    lines.fold(String::new(), |text, (key, value)| {
        text + key + "\t" + &value + "\n"
    })
}

/// Every host has a loopback interface of its own.
const CONTROL: &str = "127.0.0.1:4444";
const LOG: &str = "log";
