// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Every request that is wrong is answered with the field at fault, and leaves nothing behind.

use std::fs;

use sallyport_agent::AgentError;
use sallyport_flow::Refused;
use serde_json::{Value, json};

use crate::harness::{Agent, inline, new_key, rtp_to_rtp, srtp_to_rtp, wait_until};

/// A good body with one value changed, or taken away by `null`.
fn with(pointer: &str, value: Value) -> String {
    let mut body = srtp_to_rtp();
    let (parent, key) = pointer.rsplit_once('.').unwrap_or(("", pointer));
    let parent = match parent {
        "" => &mut body,
        parent => &mut body[parent],
    };
    let parent = parent.as_object_mut().expect("an object");
    if value.is_null() {
        parent.remove(key);
    } else {
        parent.insert(key.to_owned(), value);
    }
    body.to_string()
}

#[test]
fn a_wrong_body_is_answered_with_the_field_and_a_remedy() {
    let (agent, data_plane) = Agent::connected_with_ports(40000..=40003);
    let used = new_key(30);
    let mut body = srtp_to_rtp();
    body["access"]["send"] = json!(inline(&used));
    let id = agent.created(&body);

    let same = inline(&new_key(30));
    let mut one_key = srtp_to_rtp();
    one_key["access"]["receive"] = json!(same);
    one_key["access"]["send"] = json!(same);
    let mut two_legs_one_key = srtp_to_rtp();
    two_legs_one_key["core"] = two_legs_one_key["access"].clone();
    two_legs_one_key["core"]["remote"] = json!("10.0.0.9:6000");
    let v4_peer_of_v6 = {
        let mut body = srtp_to_rtp();
        body["access"]["address"] = json!("2001:db8::1");
        body.to_string()
    };
    let rtcp_of_any = {
        let mut body = srtp_to_rtp();
        body["access"]["remote"] = json!("any");
        body["access"]["remote_rtcp"] = json!("192.0.2.7:5005");
        body.to_string()
    };
    let rtcp_of_mux = {
        let mut body = srtp_to_rtp();
        body["access"]["rtcp_mux"] = json!(true);
        body["access"]["remote_rtcp"] = json!("192.0.2.7:5005");
        body.to_string()
    };
    let twice = r#"{"access":{"remote":"any","remote":"any"}}"#.to_owned();

    let cases: Vec<(String, &str, &str)> = vec![
        // Not JSON, or not this JSON.
        (String::new(), "", "not JSON"),
        ("{".to_owned(), "", "not JSON"),
        ("[]".to_owned(), "", "expected an object"),
        ("\u{0}".to_owned(), "", "not JSON"),
        (
            format!("{} {{}}", srtp_to_rtp()),
            "",
            "not JSON: trailing characters",
        ),
        (with("access", json!("any")), "access", "expected an object"),
        (with("core", Value::Null), "core", "missing"),
        (with("colour", json!("red")), "colour", "unknown key"),
        (
            with("access.colour", json!("red")),
            "access.colour",
            "unknown key",
        ),
        (twice, "access", "remote is there twice"),
        (with("name", json!(7)), "name", "expected a string"),
        (with("name", json!("a\nb")), "name", "control characters"),
        // Profiles.
        (
            with("access.profile", Value::Null),
            "access.profile",
            "missing",
        ),
        (
            with("access.profile", json!("RTP/SAVPF")),
            "access.profile",
            "expected `RTP/AVP` or `RTP/SAVP`",
        ),
        (
            with("access.profile", json!("RTP/AVP")),
            "access.suite",
            "RTP/AVP has no keys",
        ),
        (
            with("core.receive", json!("inline:")),
            "core.receive",
            "RTP/AVP has no keys",
        ),
        (
            with("core.profile", json!("RTP/SAVP")),
            "core.suite",
            "RTP/SAVP needs it",
        ),
        // Addresses.
        (
            with("access.remote", Value::Null),
            "access.remote",
            "missing",
        ),
        (
            with("access.remote", json!("")),
            "access.remote",
            "not a peer",
        ),
        (
            with("access.remote", json!("192.0.2.7")),
            "access.remote",
            "not a peer",
        ),
        (
            with("access.remote", json!("example.net:5004")),
            "access.remote",
            "not a peer",
        ),
        (
            with("access.remote", json!("192.0.2.7:0")),
            "access.remote",
            "not a peer",
        ),
        (
            with("access.remote", json!("192.0.2.7:65536")),
            "access.remote",
            "not a peer",
        ),
        (
            with("access.remote", json!("0.0.0.0:5004")),
            "access.remote",
            "not a peer",
        ),
        (
            with("access.remote", json!("127.0.0.1:5004")),
            "access.remote",
            "not a peer",
        ),
        (
            with("access.remote", json!("255.255.255.255:5004")),
            "access.remote",
            "not a peer",
        ),
        (
            with("access.remote", json!("239.1.1.1:5004")),
            "access.remote",
            "not a peer",
        ),
        (
            with("access.remote", json!("[ff02::1]:5004")),
            "access.remote",
            "not a peer",
        ),
        (
            with("access.remote", json!("[::ffff:127.0.0.1]:5004")),
            "access.remote",
            "not a peer",
        ),
        (
            with("access.remote", json!("[fe80::1%2]:5004")),
            "access.remote",
            "not a peer",
        ),
        (
            with("core.remote", json!("[2001:db8::9]:6000")),
            "core.remote",
            "realm.core.addresses",
        ),
        (
            with("access.remote", json!("192.0.2.7:65535")),
            "access.remote_rtcp",
            "no port follows",
        ),
        (
            with("access.remote_rtcp", json!("nowhere")),
            "access.remote_rtcp",
            "not a peer",
        ),
        (
            with("access.remote_rtcp", json!("192.0.2.7:5004")),
            "access.remote_rtcp",
            "rtcp_mux",
        ),
        (
            with("access.remote_rtcp", json!("[2001:db8::7]:5005")),
            "access.remote_rtcp",
            "IP version",
        ),
        (rtcp_of_any, "access.remote_rtcp", "leave it out"),
        (rtcp_of_mux, "access.remote_rtcp", "leave out one"),
        (
            with("access.rtcp_mux", json!("yes")),
            "access.rtcp_mux",
            "expected a boolean",
        ),
        (
            with("access.address", json!("here")),
            "access.address",
            "not an IP address",
        ),
        (
            with("access.address", json!("192.0.2.77")),
            "access.address",
            "use one of 192.0.2.1, 2001:db8::1, 192.0.2.2",
        ),
        (v4_peer_of_v6, "access.address", "other IP version"),
        // Keys.
        (
            with("access.suite", Value::Null),
            "access.suite",
            "RTP/SAVP needs it",
        ),
        (
            with("access.suite", json!("SEED_128_GCM_96")),
            "access.suite",
            "unknown crypto suite; known are",
        ),
        (
            with("access.suite", json!("AEAD_AES_256_GCM")),
            "access.receive",
            "have 44 bytes together, found 30",
        ),
        (
            with("access.receive", Value::Null),
            "access.receive",
            "RTP/SAVP needs it",
        ),
        (
            with("access.receive", json!(inline(&new_key(29)))),
            "access.receive",
            "found 29",
        ),
        (
            with("access.receive", json!("outline:AAAA")),
            "access.receive",
            "inline:",
        ),
        (
            with("access.receive", json!("inline:?")),
            "access.receive",
            "not base64",
        ),
        (
            with("access.send", Value::Null),
            "access.send",
            "RTP/SAVP needs it",
        ),
        (
            with("access.send", json!(format!("{}|0", inline(&new_key(30))))),
            "access.send",
            "lifetime",
        ),
        (
            with(
                "access.send",
                json!(format!("{}|1:4", inline(&new_key(30)))),
            ),
            "access.send",
            "master key identifiers",
        ),
        (
            one_key.to_string(),
            "access.send",
            "same key as for the other direction",
        ),
        (
            two_legs_one_key.to_string(),
            "core.send",
            "protects another leg",
        ),
        (
            with("access.send", json!(inline(&used))),
            "access.send",
            "protects another leg",
        ),
    ];
    for (body, field, message) in cases {
        let (status, answer) = agent.request("POST", "/v1/sessions", &[], &body);
        assert_eq!(status, 400, "{body}: {answer}");
        assert_eq!(answer["error"]["field"], field, "{body}: {answer}");
        let found = answer["error"]["message"].as_str().unwrap();
        assert!(found.contains(message), "{body}: {answer}");
    }

    assert_eq!(data_plane.state().flows.len(), 4);
    assert_eq!(agent.ids(), [id]);
    // No port was lost either: the second pair is still free.
    agent.created(&rtp_to_rtp());
}

#[test]
fn a_key_may_protect_again_once_its_session_has_ended() {
    let (agent, _data_plane) = Agent::connected();
    let body = srtp_to_rtp();
    let id = agent.created(&body);
    assert_eq!(agent.create(&body).0, 400);
    assert_eq!(agent.delete(&format!("/v1/sessions/{id}")).0, 200);
    agent.created(&body);
}

#[test]
fn a_request_beside_the_api_is_answered_in_json_too() {
    let (agent, _data_plane) = Agent::connected();
    let id = agent.created(&srtp_to_rtp());
    let long = "x".repeat(65 << 10);
    for (method, path, headers, body, expected) in [
        ("GET", "/", &[][..], "", 404),
        ("GET", "/v1/session", &[], "", 404),
        ("GET", "/v2/sessions", &[], "", 404),
        ("GET", "/v1/sessions/", &[], "", 404),
        ("GET", "/v1/sessions/0000000000000000", &[], "", 404),
        ("GET", "/v1/sessions/call7", &[], "", 404),
        ("GET", "/v1/sessions/%ff", &[], "", 404),
        ("DELETE", "/v1/sessions/00000000000a0001", &[], "", 404),
        ("PUT", "/v1/sessions", &[], "{}", 405),
        ("DELETE", "/v1/sessions", &[], "", 405),
        ("POST", "/v1/statistics", &[], "{}", 405),
        ("POST", &format!("/v1/sessions/{id}"), &[], "{}", 405),
        ("POST", "/v1/sessions", &[], &long, 413),
        (
            "GET",
            "/v1/sessions",
            &[("origin", "http://example.net")],
            "",
            403,
        ),
    ] {
        let (status, answer) = agent.request(method, path, headers, body);
        assert_eq!(status, expected, "{method} {path}: {answer}");
        assert_eq!(answer["error"]["field"], "", "{method} {path}: {answer}");
        assert!(
            answer["error"]["message"].is_string(),
            "{method} {path}: {answer}"
        );
    }
}

#[test]
fn when_all_ports_are_taken_the_answer_says_where_and_a_freed_one_serves_again() {
    let (agent, data_plane) = Agent::connected_with_ports(40000..=40003);
    let mut ids = vec![agent.created(&rtp_to_rtp()), agent.created(&rtp_to_rtp())];
    // The access side has a second address, the core side only one.
    let mut third = rtp_to_rtp();
    third["access"]["address"] = json!("192.0.2.2");
    for (body, field) in [(&rtp_to_rtp(), "access.address"), (&third, "core.address")] {
        let (status, answer) = agent.create(body);
        assert_eq!(status, 409, "{answer}");
        assert_eq!(answer["error"]["field"], field);
    }
    assert_eq!(data_plane.state().flows.len(), 8);
    let id = ids.remove(0);
    assert_eq!(agent.delete(&format!("/v1/sessions/{id}")).0, 200);
    // The access port that the core side failed was given back.
    let (status, answer) = agent.create(&third);
    assert_eq!(status, 201, "{answer}");
}

#[test]
fn when_the_data_plane_refuses_nothing_is_left_of_the_session() {
    let (agent, data_plane) = Agent::connected_with_ports(40000..=40001);
    data_plane.state().refuse_installs = vec![
        Refused::Full { limit: 4 },
        Refused::Failed("no memory".to_owned()),
    ];
    let body = srtp_to_rtp();
    for (expected, message) in [(409, "max_flows"), (500, "no memory")] {
        let (status, answer) = agent.create(&body);
        assert_eq!(status, expected, "{answer}");
        assert!(
            answer["error"]["message"]
                .as_str()
                .unwrap()
                .contains(message),
            "{answer}"
        );
        assert!(agent.ids().is_empty());
    }
    // The only port and the key are free again.
    agent.created(&body);
}

#[test]
fn when_the_data_plane_goes_while_it_installs_nothing_is_left_of_the_session() {
    let (agent, data_plane) = Agent::connected_with_ports(40000..=40001);
    data_plane.state().hangs_up_on_install = true;
    let body = srtp_to_rtp();
    let (status, answer) = agent.create(&body);
    assert_eq!(status, 503, "{answer}");
    data_plane.state().hangs_up_on_install = false;
    agent.wait_until_connected();
    wait_until("the flows that nobody knows are removed", || {
        data_plane.state().flows.is_empty()
    });
    agent.wait_until_connected();
    agent.created(&body);
}

#[test]
fn an_agent_does_not_start_where_it_must_not_and_says_why() {
    let start = |agent: &Agent| -> AgentError {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(sallyport_agent::run(agent.config.clone(), async {}))
            .unwrap_err()
    };
    let mut agent = Agent::stopped(40000..=40001);
    agent.config.listen = "0.0.0.0:8080".parse().unwrap();
    assert!(start(&agent).to_string().contains("loopback"));

    let (running, _data_plane) = Agent::connected();
    assert!(
        start(&running)
            .to_string()
            .contains("choose another agent.listen")
    );

    let agent = Agent::stopped(40000..=40001);
    fs::write(&agent.config.store, "{").unwrap();
    assert!(start(&agent).to_string().contains("move it away"));
}
