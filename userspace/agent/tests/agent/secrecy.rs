// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Keys go in and never out.

use std::fmt::Write;
use std::fs;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::json;

use crate::data_plane::DataPlane;
use crate::harness::{Agent, inline, log, new_key};

#[test]
fn no_answer_file_or_log_line_has_any_part_of_a_key() {
    let (mut agent, data_plane) = Agent::connected();
    let keys = [new_key(44), new_key(44)];
    let [receive, send] = [inline(&keys[0]), inline(&keys[1])];
    let body = json!({
        "name": "secret",
        "access": {
            "profile": "RTP/SAVP", "remote": "any", "suite": "AEAD_AES_256_GCM",
            "receive": receive, "send": send,
        },
        "core": { "profile": "RTP/AVP", "remote": "10.0.0.9:6000" },
    });
    let mut seen = String::new();
    let mut see = |(_, answer): (u16, serde_json::Value)| {
        seen.push_str(&answer.to_string());
        answer
    };
    let id = see(agent.create(&body))["id"].as_str().unwrap().to_owned();
    // A second time, and with every value wrong in turn, the keys among them misplaced.
    see(agent.create(&body));
    for (leg, key) in [
        ("access", "profile"),
        ("access", "remote"),
        ("access", "remote_rtcp"),
        ("access", "rtcp_mux"),
        ("access", "address"),
        ("access", "suite"),
        ("access", &send),
        ("core", "receive"),
    ] {
        let mut wrong = body.clone();
        wrong[leg][key] = json!(send);
        see(agent.create(&wrong));
    }
    let truncated = body.to_string();
    see(agent.request(
        "POST",
        "/v1/sessions",
        &[],
        &truncated[..truncated.len() - 1],
    ));
    see(agent.get(&format!("/v1/sessions/{id}")));
    see(agent.get("/v1/sessions"));
    see(agent.get("/v1/statistics"));
    let path = agent.config.flow_socket.clone();
    drop(data_plane);
    agent.wait_until_disconnected();
    let _data_plane = DataPlane::start(&path);
    agent.wait_until_connected();
    let store = fs::read(&agent.config.store).unwrap();
    let number = u64::from_str_radix(&id, 16).unwrap();
    let is_there = store.windows(8).any(|bytes| bytes == number.to_le_bytes());
    assert!(is_there, "the store knows the session");
    see(agent.delete(&format!("/v1/sessions/{id}")));
    agent.stop();
    let log = log();
    assert!(log.contains(&id), "the log knows the session");

    // The bytes that a key shares with no other are its first; the rest all test keys share.
    for part in [&keys[0][..6], &keys[1][..6], &keys[0][6..12]] {
        let hex = part.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let decimal = format!("{part:?}");
        for form in [
            BASE64_STANDARD.encode(part).into_bytes(),
            BASE64_URL_SAFE_NO_PAD.encode(part).into_bytes(),
            hex.to_uppercase().into_bytes(),
            hex.into_bytes(),
            decimal.trim_matches(['[', ']']).into(),
            part.to_vec(),
        ] {
            for (place, bytes) in [
                ("an answer", seen.as_bytes()),
                ("the store", &store),
                ("the log", log.as_bytes()),
            ] {
                let is_there = bytes.windows(form.len()).any(|bytes| bytes == form);
                assert!(!is_there, "{} is in {place}", form.escape_ascii());
            }
        }
    }
}
