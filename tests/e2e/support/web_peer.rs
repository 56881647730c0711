// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A browser-like peer: aiortc, with full ICE, DTLS and audio that is known code by code.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use sallyport_tests::cleanup::{Cleanup, temporary_folder};
use sallyport_tests::patience::wait_until;
use sallyport_tests::{Namespace, require};
use serde_json::{Value, json};

use super::audio::{Audio, FRAME, FRAMES_PER_SECOND};

/// A running peer. It ends when dropped.
pub(crate) struct WebPeer {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    folder: PathBuf,
    _cleanup: Cleanup,
}

impl WebPeer {
    /// Whether there can be one.
    pub(crate) fn is_there() -> bool {
        require::python_module("aiortc")
    }

    /// Starts a peer that plays this audio.
    pub(crate) fn start(host: &Namespace, audio: &Audio) -> Self {
        let (folder, cleanup) = temporary_folder("web-peer").expect("create a folder");
        fs::write(folder.join(PLAY), audio.codes()).expect("write the audio");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/web_peer/peer.py");
        let mut command = Command::new(require::PYTHON);
        command
            // Its warnings are for who writes scripts.
            .args(["-W", "ignore"])
            .arg(script)
            .args([folder.join(PLAY), folder.join(HEARD)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = host.spawn(&mut command).expect("start Python");
        Self {
            commands: process.stdin.take().expect("it is piped"),
            answers: BufReader::new(process.stdout.take().expect("it is piped")),
            process,
            folder,
            _cleanup: cleanup,
        }
    }

    /// Its offer.
    pub(crate) fn offer(&mut self) -> String {
        self.sdp(&json!({ "do": "offer" }))
    }

    /// Its answer to an offer.
    pub(crate) fn answer(&mut self, offer: &str) -> String {
        self.sdp(&json!({ "do": "answer", "sdp": offer }))
    }

    /// Takes the answer to its offer.
    pub(crate) fn accept(&mut self, answer: &str) {
        self.ask(&json!({ "do": "accept", "sdp": answer }));
    }

    /// Its offer to restart ICE: with other names and from another port.
    pub(crate) fn restart(&mut self) -> String {
        self.sdp(&json!({ "do": "restart" }))
    }

    /// Takes the answer to that, and checks the way anew.
    pub(crate) fn accept_restart(&mut self, answer: &str) {
        self.ask(&json!({ "do": "accept restart", "sdp": answer }));
    }

    /// What it calls the state of its connection.
    pub(crate) fn state(&mut self) -> String {
        let answer = self.ask(&json!({ "do": "state" }));
        answer["state"].as_str().expect("a state").to_owned()
    }

    /// How many bytes of audio it has heard.
    pub(crate) fn heard(&mut self) -> usize {
        let answer = self.ask(&json!({ "do": "state" }));
        let heard = answer["heard"].as_u64().expect("a number");
        usize::try_from(heard).expect("it is short")
    }

    /// Waits until it has heard so many seconds of audio.
    pub(crate) fn wait_for_audio(&mut self, seconds: usize) {
        let enough = seconds * FRAMES_PER_SECOND * FRAME;
        assert!(
            wait_until(|| self.heard() >= enough),
            "{} bytes",
            self.heard()
        );
    }

    /// Waits until ICE and DTLS are done.
    pub(crate) fn wait_until_connected(&mut self) {
        let is_connected = wait_until(|| self.state() == "connected");
        assert!(is_connected, "the peer is {}", self.state());
    }

    /// Ends it. Returns everything that it has heard.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.ask(&json!({ "do": "end" }));
        fs::read(self.folder.join(HEARD)).expect("read what the peer has heard")
    }

    fn sdp(&mut self, command: &Value) -> String {
        let answer = self.ask(command);
        answer["sdp"].as_str().expect("an SDP").to_owned()
    }

    fn ask(&mut self, command: &Value) -> Value {
        writeln!(self.commands, "{command}").expect("the peer runs");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the peer runs");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{command}: {line:?}"))
    }
}

impl Drop for WebPeer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const PLAY: &str = "play";
const HEARD: &str = "heard";
