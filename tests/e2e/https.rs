// SPDX-License-Identifier: Apache-2.0 OR MIT

//! HTTP for other hosts: curl and OpenSSL ask from the core network.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sallyport_tests::cleanup::{Cleanup, temporary_folder};
use sallyport_tests::patience::wait_until;
use sallyport_tests::{Family, Gateway, GatewayOptions, Namespace, Topology, require};
use serde_json::{Value, json};

const TOKEN: &str = "0123456789abcdef0123";
const PORT: u16 = 8443;

#[test]
fn who_is_listed_asks_the_api_and_ng_with_tls_and_who_is_not_gets_no_connection() {
    if !is_all_there() {
        return;
    }
    let topology = Topology::new();
    let files = Files::new();
    let gateway = Gateway::start(&topology, &files.options());
    let ask = |from: &Namespace, token: &str, path: &str, body: &str| {
        let mut command = files.curl(path);
        command.args(["--header", token, "--data-binary", body]);
        answered(from, &mut command)
    };
    let bearer = &format!("Authorization: Bearer {TOKEN}");
    let core = &topology.core;
    let unknown = ask(core, "Authorization: Bearer x", "ng", "1 d7:command4:pinge");
    assert!(
        unknown.is_some_and(|answer| answer.contains("send the token of agent.https.token_file"))
    );
    assert_eq!(
        ask(core, bearer, "ng", "1 d7:command4:pinge").as_deref(),
        Some("1 d6:result4:ponge")
    );
    let session = json!({
        "access": { "profile": "RTP/AVP", "remote": "192.0.2.2:5004" },
        "core": { "profile": "RTP/AVP", "remote": "10.0.0.2:6000" },
    });
    let created = ask(core, bearer, "v1/sessions", &session.to_string()).expect("an answer");
    let created: Value = serde_json::from_str(&created).expect("JSON");
    assert_eq!(gateway.list()["sessions"][0]["id"], created["id"]);

    // Neither who is not listed, nor who has no TLS, nor who has an old one.
    assert_eq!(ask(&topology.ue, bearer, "ng", "1 d7:command4:pinge"), None);
    let mut plain = Command::new("curl");
    plain.args(["--silent", "--max-time", "60"]);
    plain.arg(format!("http://{}/v1/sessions", place()));
    assert_eq!(answered(core, &mut plain), None);
    for (version, is_spoken) in [("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)] {
        let mut client = Command::new("openssl");
        client
            .args(["s_client", "-brief", version, "-verify_return_error"])
            // Debian's own would not even ask with TLS 1.1.
            .args(["-cipher", "DEFAULT@SECLEVEL=0", "-connect", &place()])
            .arg("-CAfile")
            .arg(&files.certificate)
            .stdin(Stdio::null());
        let output = core.output(&mut client).expect("openssl starts");
        assert_eq!(output.status.success(), is_spoken, "{version}: {output:?}");
    }
    assert!(!gateway.log().contains(TOKEN));
    gateway.stop();
}

#[test]
fn a_renewed_certificate_is_shown_while_the_gateway_runs() {
    if !is_all_there() {
        return;
    }
    let topology = Topology::new();
    let files = Files::new();
    let gateway = Gateway::start(&topology, &files.options());
    let first = fs::read(&files.certificate).expect("a certificate");
    let agent = gateway.agent_pid();
    let is_served = |authority: &Path| {
        let mut curl = files.curl("v1/health");
        curl.arg("--cacert").arg(authority);
        curl.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
        answered(&topology.core, &mut curl).is_some()
    };
    assert!(is_served(&files.certificate));
    // One after the other, in place.
    files.issue();
    let old = files.folder.join("old.pem");
    fs::write(&old, first).expect("a file");
    let is_renewed = || is_served(&files.certificate);
    assert!(wait_until(is_renewed));
    assert!(!is_served(&old));
    assert_eq!(gateway.agent_pid(), agent);
}

#[test]
fn what_would_keep_the_agent_from_serving_is_said_before_anything_starts() {
    if !is_all_there() {
        return;
    }
    let topology = Topology::new();
    let files = Files::new();
    let gateway = Gateway::start(&topology, &files.options());
    let said = |command: &str| {
        let mut command = gateway.command(command);
        let output = topology.gateway.output(&mut command).expect("it starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    };
    let (status, text) = said("check");
    assert_eq!(status, Some(0), "{text}");
    let (_, text) = said("doctor");
    let listens = format!(
        "ok       agent: http://127.0.0.1:8080, udp://127.0.0.1:2223, https://{}\n",
        place()
    );
    assert!(text.contains(&listens), "{text}");

    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).expect("a mode");
    let complaint = format!(
        "agent.https.key: everybody may read {}; chmod 600 it",
        files.key.display()
    );
    for command in ["check", "doctor", "agent", "run"] {
        let (status, text) = said(command);
        assert_ne!(status, Some(0), "{command}: {text}");
        assert!(text.contains(&complaint), "{command}: {text}");
    }
}

fn is_all_there() -> bool {
    require::root_and_namespaces() && require::program("curl") && require::program("openssl")
}

fn place() -> String {
    format!("{}:{PORT}", Topology::core_side_address(Family::V4))
}

/// What a command printed, if it ended well.
fn answered(from: &Namespace, command: &mut Command) -> Option<String> {
    let Output { status, stdout, .. } = from.output(command).expect("it starts");
    status
        .success()
        .then(|| String::from_utf8(stdout).expect("text"))
}

/// What the listener needs, and a client that trusts it.
struct Files {
    folder: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    token: PathBuf,
    _cleanup: Cleanup,
}

impl Files {
    fn new() -> Self {
        let (folder, cleanup) = temporary_folder("https").expect("a folder");
        let files = Self {
            certificate: folder.join("https.pem"),
            key: folder.join("https.key"),
            token: folder.join("https.token"),
            folder,
            _cleanup: cleanup,
        };
        files.issue();
        fs::write(&files.token, TOKEN).expect("a file");
        fs::set_permissions(&files.token, fs::Permissions::from_mode(0o600)).expect("a mode");
        files
    }

    /// Makes a key and a certificate of its own.
    fn issue(&self) {
        let host = Topology::core_side_address(Family::V4);
        let output = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-days",
                "2",
                "-nodes",
                "-subj",
                "/CN=gateway",
            ])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-addext", &format!("subjectAltName=IP:{host}")])
            .arg("-keyout")
            .arg(&self.key)
            .arg("-out")
            .arg(&self.certificate)
            .output()
            .expect("openssl starts");
        assert!(output.status.success(), "{output:?}");
    }

    fn options(&self) -> GatewayOptions {
        let agent = format!(
            "[agent.ng]\n[agent.https]\nlisten = [\"{}\"]\nallow = [\"{}/32\"]\n\
             certificate = \"{}\"\nkey = \"{}\"\ntoken_file = \"{}\"\n",
            place(),
            Topology::core_address(Family::V4),
            self.certificate.display(),
            self.key.display(),
            self.token.display()
        );
        GatewayOptions {
            agent,
            ..GatewayOptions::default()
        }
    }

    /// curl, which trusts the certificate that is in the file now.
    fn curl(&self, path: &str) -> Command {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--max-time", "60", "--cacert"])
            .arg(&self.certificate)
            .arg(format!("https://{}/{path}", place()));
        command
    }
}
