// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a user of the host types and sees.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use sallyport_tests::{Gateway, GatewayOptions, Topology, binary, media, report, require};
use serde_json::Value;

use crate::support::{End, Kind, Libsrtp, Suite, Terms, expect_balanced};

#[test]
fn a_session_that_was_typed_carries_a_call_until_it_is_removed_and_shows_no_key() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    let terms = Terms {
        suite: Suite::GCM_128,
        mux: true,
        ..Terms::default()
    };
    let (up, down) = (terms.up(), terms.down());
    let file = gateway.folder().join("up");
    fs::write(&file, up.inline()).unwrap();
    let session = |arguments: &str| {
        let mut command = gateway.command(&format!("session --json {arguments}"));
        topology
            .gateway
            .output(command.env("DOWN", down.inline()))
            .unwrap()
    };

    let added = session(&format!(
        "add --name typed --access-profile RTP/SAVP --access-remote {} --access-rtcp-mux \
         --access-suite {} --access-receive @{} --access-send env:DOWN --core-remote {}",
        terms.ue(),
        terms.suite.name,
        file.display(),
        terms.core(),
    ));
    let added: Value = serde_json::from_str(&expect(&added, 0)).unwrap();
    let id = added["id"].as_str().unwrap();
    let ue = End::new(&topology.ue, terms.ue(), terms.mux, &added["access"]);
    let core = End::new(&topology.core, terms.core(), false, &added["core"]);
    let mut libsrtp = Libsrtp::new(terms.suite, &up, &down);
    let report = media::receiver_report(1);
    for (kind, packet) in [
        (Kind::Rtp, media::numbered_rtp(1, 0, 160)),
        (Kind::Rtcp, report),
    ] {
        ue.send(kind, &libsrtp.protect(kind, &packet));
        assert_eq!(core.receive(kind).as_ref(), Some(&packet));
        core.send(kind, &packet);
        let received = ue.receive(kind).expect("it arrives at the user equipment");
        assert_eq!(libsrtp.unprotect(kind, &received).as_ref(), Ok(&packet));
    }

    let shown = expect(&session(&format!("show {id}")), 0);
    let counters = &serde_json::from_str::<Value>(&shown).unwrap()["counters"];
    assert_eq!(counters["access_to_core"]["packets_out"], 2, "{counters}");
    assert_eq!(counters["core_to_access"]["packets_out"], 2, "{counters}");
    let listed = expect(&session("list"), 0);
    assert!(listed.contains(id) && listed.contains("typed"), "{listed}");
    let removed = expect(&session(&format!("rm {id}")), 0);
    for text in [
        &added.to_string(),
        &shown,
        &listed,
        &removed,
        &gateway.log(),
    ] {
        for key in [&up, &down] {
            assert!(
                !text.contains(&key.base64()) && !text.contains(&key.hex()),
                "{text}"
            );
        }
    }

    assert!(!expect(&session("list"), 0).contains(id));
    assert!(expect(&session(&format!("show {id}")), 1).contains("session"));
    ue.send(
        Kind::Rtp,
        &libsrtp.protect(Kind::Rtp, &media::numbered_rtp(1, 1, 160)),
    );
    core.expect_silence();
    assert!(
        ue.socket(Kind::Rtp).take_error().unwrap().is_none(),
        "no ICMP error comes back"
    );
    assert_eq!(gateway.statistics()["flows"], 0);
    expect_balanced(&gateway);
    report::peer(
        &libsrtp.version,
        terms.suite.name,
        "both",
        4,
        "session_command",
    );
}

#[test]
fn a_session_that_is_refused_names_the_field_and_leaves_nothing_behind() {
    if !require::root_and_namespaces() {
        return;
    }
    let topology = Topology::new();
    let options = GatewayOptions {
        ports: [40_000, 40_001],
        ..GatewayOptions::default()
    };
    let gateway = Gateway::start(&topology, &options);
    let terms = Terms::default();
    let (up, down) = (terms.up().inline(), terms.down().inline());
    let long = Suite::GCM_256.key(1).inline();
    let savp = "--access-profile RTP/SAVP --access-remote any --core-remote 10.0.0.2:5000";
    let suite = "--access-suite AES_CM_128_HMAC_SHA1_80";
    let table = [
        (
            format!("add {savp} {suite} --access-receive {long} --access-send {down}"),
            "access.receive",
        ),
        (
            format!("add {savp} {suite} --access-receive {up} --access-send inline:*"),
            "access.send",
        ),
        (
            format!("add {savp} {suite} --access-receive {up} --access-send {up}"),
            "access.send",
        ),
        (
            format!("add {savp} {suite} --access-receive {up}"),
            "access.send",
        ),
        (
            format!("add {savp} --access-suite ROT13 --access-receive {up} --access-send {down}"),
            "access.suite",
        ),
        (
            "add --access-remote 192.0.2.2 --core-remote any".to_owned(),
            "access.remote",
        ),
        (
            "add --access-remote any --core-remote any --core-address 192.0.2.99".to_owned(),
            "core.address",
        ),
        ("show 0123456789ab0000".to_owned(), "session"),
        ("rm 0123456789ab0000".to_owned(), "session"),
    ];
    for (arguments, field) in &table {
        let output = topology
            .gateway
            .output(&mut gateway.command(&format!("session {arguments}")));
        let message = expect(&output.unwrap(), 1);
        assert!(message.contains(field), "{arguments}: {message}");
        assert_eq!(gateway.statistics()["flows"], 0, "{arguments}");
    }
    // The two ports of each realm are one session's.
    gateway.create_session(&terms.offer());
    let flows = gateway.statistics()["flows"].clone();
    let second = Terms {
        port: 5010,
        ..terms
    };
    let answer = gateway.post("/v1/sessions", &second.offer());
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert!(answer.body["error"]["message"].is_string(), "{answer:?}");
    assert_eq!(gateway.statistics()["flows"], flows);
    let answer = gateway
        .request("POST", "/v1/sessions", "{\"access\":")
        .unwrap();
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[test]
fn a_wrong_configuration_is_refused_with_file_key_and_remedy() {
    if !require::root_and_namespaces() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    let good = fs::read_to_string(gateway.config()).unwrap();
    gateway.stop();
    let file = gateway.folder().join("wrong.toml");
    for (from, to, key) in [
        ("version = 1", "version = 1\nspeed = 9", "speed"),
        ("nic = \"core0\"", "nic = \"core7\"", "realm.core.nic"),
        ("\"10.0.0.1\"", "\"10.0.0.99\"", "realm.core.addresses"),
        (
            "ports = [40000, 49999]",
            "ports = [49999, 40000]",
            "realm.access.ports",
        ),
    ] {
        assert!(good.contains(from), "{from} is in {good}");
        fs::write(&file, good.replacen(from, to, 1)).unwrap();
        for subcommand in ["check", "run"] {
            let mut command = std::process::Command::new(binary::sallyport());
            command.arg(subcommand).arg("--config").arg(&file);
            let message = expect(&topology.gateway.output(&mut command).unwrap(), 2);
            assert!(message.contains("wrong.toml"), "{message}");
            assert!(message.contains(key), "{key}: {message}");
        }
    }
}

#[test]
fn a_nic_without_zero_copy_is_refused_where_zero_copy_is_required() {
    if !require::root_and_namespaces() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    gateway.stop();
    let mut command = gateway.command("dataplane --require-zero-copy");
    let message = expect(&topology.gateway.output(&mut command).unwrap(), 1);
    for word in [Topology::ACCESS_NIC, "veth", "drop --require-zero-copy"] {
        assert!(message.contains(word), "{word}: {message}");
    }
}

#[test]
fn the_agent_holds_no_capability_and_only_root_reaches_the_data_plane() {
    if !require::root_and_namespaces() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.agent_pid())).unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let line = status.lines().find(|line| line.starts_with(set)).unwrap();
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
    let socket = fs::metadata(gateway.folder().join("flow.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}

/// What a command printed, and on which stream it should have, once it ended with this status.
fn expect(output: &Output, status: i32) -> String {
    let [said, complained] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(output.status.code(), Some(status), "{said}{complained}");
    if status == 0 { said } else { complained }
}
