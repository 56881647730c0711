// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the command says and how it exits when something is wrong.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

const SALLYPORT: &str = env!("CARGO_BIN_EXE_sallyport");

/// A configuration that fits every host, but for its NIC.
const CONFIG: &str = r#"version = 1
[realm.access]
nic = "no-such-nic"
addresses = ["192.0.2.1"]
ports = [40000, 49999]
[realm.core]
nic = "no-such-nic"
addresses = ["192.0.2.2"]
ports = [40000, 49999]
"#;

/// A configuration file of one test, removed at its end.
struct ConfigFile(PathBuf);

impl ConfigFile {
    fn new(test: &str, text: &str) -> Self {
        let name = format!("sallyport-{test}-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("the folder for temporary files is writable");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().expect("the program starts");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn a_wrong_configuration_is_exit_status_2_whichever_process_reads_it() {
    let unknown = CONFIG.replace("ports", "port");
    for (test, text, subcommands, complaint) in [
        (
            "unknown",
            &*unknown,
            &["check", "run", "dataplane", "agent"][..],
            "realm.access.port: line 5: unknown field `port`, expected one of ",
        ),
        (
            "nic",
            CONFIG,
            &["check", "run", "dataplane"],
            "realm.access.nic: no such network interface \"no-such-nic\"; the host has ",
        ),
    ] {
        let file = ConfigFile::new(test, text);
        for subcommand in subcommands {
            let mut command = Command::new(SALLYPORT);
            command.arg(subcommand).arg("--config").arg(file.path());
            let (status, said) = run(&mut command);
            assert_eq!(status, Some(2), "{subcommand}: {said}");
            let expected = format!("sallyport: {}: {complaint}", file.path().display());
            assert!(said.starts_with(&expected), "{subcommand}: {said}");
            assert_eq!(said.lines().count(), 1, "{subcommand}: {said}");
        }
    }
}

#[test]
fn a_configuration_that_is_not_there_is_exit_status_2() {
    let mut command = Command::new(SALLYPORT);
    let (status, said) = run(command.args(["run", "--config", "/no/such/sallyport.toml"]));
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("--config FILE"), "{said}");
}

#[test]
fn a_data_plane_without_capabilities_names_each_that_it_lacks() {
    let loopback = CONFIG
        .replace("no-such-nic", "lo")
        .replace("192.0.2.1", "127.0.0.1")
        .replace("192.0.2.2", "127.0.0.1")
        .replacen("[40000, 49999]", "[30000, 39999]", 1);
    let file = ConfigFile::new("capabilities", &loopback);
    // Of util-linux, which every host has; root keeps nothing either.
    let mut command = Command::new("setpriv");
    let (bounded, said) = run(Command::new("setpriv").args(["--bounding-set=-all", "true"]));
    if bounded == Some(0) {
        command.arg("--bounding-set=-all");
    }
    command.args(["--inh-caps=-all", SALLYPORT, "dataplane", "--config"]);
    let (status, lacks) = run(command.arg(file.path()));
    assert_eq!(status, Some(1), "{said}{lacks}");
    let expected =
        "sallyport: the data plane lacks CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_NET_RAW";
    assert!(lacks.starts_with(expected), "{lacks}");
    assert!(
        lacks.contains("setcap cap_bpf,cap_perfmon,cap_net_admin,"),
        "{lacks}"
    );
}

#[test]
fn an_agent_that_does_not_answer_is_exit_status_1() {
    // Bound and let go: nobody listens there now.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let api = format!("http://127.0.0.1:{port}");
    let mut command = Command::new(SALLYPORT);
    let (status, said) = run(command.args(["session", "list", "--api", &api]));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("does `sallyport run` run"), "{said}");
}

#[test]
fn a_refusal_of_the_agent_names_the_field() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let agent = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut part = [0; 1024];
        while !request.ends_with(b"}") {
            let len = stream.read(&mut part).unwrap();
            assert_ne!(len, 0, "the request ended early");
            request.extend_from_slice(&part[..len]);
        }
        let body = r#"{"error":{"field":"access.send","message":"key is too short"}}"#;
        let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        String::from_utf8(request).unwrap()
    });
    let mut command = Command::new(SALLYPORT);
    command.env("TEST_KEY", "inline:short");
    command.args([
        "session",
        "add",
        "--api",
        &api,
        "--access-profile",
        "RTP/SAVP",
    ]);
    let (status, said) = run(command.args(["--access-send", "env:TEST_KEY"]));
    assert_eq!(status, Some(1), "{said}");
    assert_eq!(
        said,
        "sallyport: the agent refuses (400): access.send: key is too short\n"
    );
    let request = agent.join().unwrap();
    assert!(
        request.starts_with("POST /v1/sessions HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains(r#""send":"inline:short""#), "{request}");
}
