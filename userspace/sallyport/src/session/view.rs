// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The agent's answers for people: tables with a line for each session, leg or direction.

use std::fmt::Write;

use serde_json::Value;

/// `GET /v1/sessions`
pub(super) fn list(answer: &Value) -> String {
    let sessions = answer["sessions"].as_array().map_or(&[][..], Vec::as_slice);
    let mut rows =
        vec![["ID", "NAME", "ACCESS", "SUITE", "PEER", "CORE", "PEER"].map(str::to_owned)];
    for session in sessions {
        let (access, core) = (&session["access"], &session["core"]);
        rows.push([
            word(&session["id"]),
            word(&session["name"]),
            word(&access["local"]),
            word(&access["suite"]),
            word(&access["remote"]),
            word(&core["local"]),
            word(&core["remote"]),
        ]);
    }
    table(&rows)
}

/// A session, with its counters if they are there.
pub(super) fn session(answer: &Value) -> String {
    let mut text = format!("session {} {}", word(&answer["id"]), word(&answer["state"]));
    if let Some(name) = answer["name"].as_str() {
        let _ = write!(text, " \"{name}\"");
    }
    text.push('\n');
    let head = ["LEG", "PROFILE", "SUITE", "LOCAL", "RTCP", "PEER", "RTCP"];
    let mut rows = vec![head.map(str::to_owned)];
    let latched = &answer["counters"]["latched"];
    for realm in ["access", "core"] {
        let leg = &answer[realm];
        let peer = |given: &str, latch: &str| match (word(&leg[given]), latched[latch].as_str()) {
            (given, Some(latch)) if given != latch => format!("{latch} (latched)"),
            (given, _) => given,
        };
        rows.push([
            realm.to_owned(),
            word(&leg["profile"]),
            word(&leg["suite"]),
            word(&leg["local"]),
            word(&leg["local_rtcp"]),
            peer("remote", realm),
            peer("remote_rtcp", &format!("{realm}_rtcp")),
        ]);
    }
    text.push_str(&table(&rows));
    text.push_str(&counters(&answer["counters"]));
    text
}

fn counters(counters: &Value) -> String {
    if counters.is_null() {
        return String::new();
    }
    let head = ["DIRECTION", "IN", "BYTES", "OUT", "BYTES", "REFUSED"];
    let mut rows = vec![head.map(str::to_owned)];
    for (key, name) in [
        ("access_to_core", "access to core"),
        ("core_to_access", "core to access"),
    ] {
        let direction = &counters[key];
        rows.push([
            name.to_owned(),
            word(&direction["packets_in"]),
            word(&direction["bytes_in"]),
            word(&direction["packets_out"]),
            word(&direction["bytes_out"]),
            refusals(&direction["refused"]),
        ]);
    }
    table(&rows) + &media(counters)
}

/// How well RTP arrives, if any has.
fn media(counters: &Value) -> String {
    let head = ["FROM", "SSRC", "PACKETS", "LOST", "LATE", "JITTER"];
    let mut rows = vec![head.map(str::to_owned)];
    for (key, from) in [("access_to_core", "access"), ("core_to_access", "core")] {
        for ssrc in counters[key]["ssrcs"].as_array().into_iter().flatten() {
            let jitter = ssrc["jitter_us"].as_u64();
            rows.push([
                from.to_owned(),
                word(&ssrc["ssrc"]),
                word(&ssrc["packets"]),
                word(&ssrc["lost"]),
                word(&ssrc["late"]),
                jitter.map_or_else(|| "-".to_owned(), |jitter| format!("{jitter} µs")),
            ]);
        }
    }
    if rows.len() == 1 {
        return String::new();
    }
    table(&rows)
}

/// `auth-failed 3, replayed 1`
fn refusals(refused: &Value) -> String {
    let reasons = refused.as_object().into_iter().flatten();
    let reasons = reasons.filter(|(_, count)| count.as_u64() != Some(0));
    let reasons: Vec<String> = reasons
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if reasons.is_empty() {
        return "-".to_owned();
    }
    reasons.join(", ")
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Columns as wide as their widest cell, two spaces apart.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.into_iter().zip(row) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn legs() -> Value {
        json!({
            "id": "0123456789ab0000",
            "state": "active",
            "access": {
                "profile": "RTP/SAVP",
                "suite": "AEAD_AES_128_GCM",
                "local": "192.0.2.1:40000",
                "local_rtcp": "192.0.2.1:40001",
                "remote": "any",
            },
            "core": {
                "profile": "RTP/AVP",
                "local": "10.0.0.1:40000",
                "local_rtcp": "10.0.0.1:40001",
                "remote": "10.0.0.7:5004",
                "remote_rtcp": "10.0.0.7:5005",
            },
        })
    }

    #[test]
    fn a_list_has_a_line_for_each_session() {
        assert_eq!(
            list(&json!({ "sessions": [legs()] })),
            "\
ID                NAME  ACCESS           SUITE             PEER  CORE            PEER
0123456789ab0000  -     192.0.2.1:40000  AEAD_AES_128_GCM  any   10.0.0.1:40000  10.0.0.7:5004
"
        );
    }

    #[test]
    fn a_session_has_a_line_for_each_leg_and_direction() {
        let mut answer = legs();
        answer["name"] = json!("call 7");
        let direction = json!({
            "packets_in": 10, "bytes_in": 1820, "packets_out": 7, "bytes_out": 1204,
            "refused": { "auth-failed": 3, "replayed": 0 },
            "ssrcs": [
                { "ssrc": 7, "packets": 10, "lost": 1, "late": 2, "jitter_us": 3500 },
                { "ssrc": 8, "packets": 1, "lost": 0, "late": 0, "jitter_us": null },
            ],
        });
        answer["counters"] = json!({
            "access_to_core": direction,
            "core_to_access": {
                "packets_in": 0, "bytes_in": 0, "packets_out": 0, "bytes_out": 0, "refused": {},
            },
            "latched": { "access": "192.0.2.7:5004", "access_rtcp": null },
        });
        assert_eq!(
            session(&answer),
            "\
session 0123456789ab0000 active \"call 7\"
LEG     PROFILE   SUITE             LOCAL            RTCP             PEER                      RTCP
access  RTP/SAVP  AEAD_AES_128_GCM  192.0.2.1:40000  192.0.2.1:40001  192.0.2.7:5004 (latched)  -
core    RTP/AVP   -                 10.0.0.1:40000   10.0.0.1:40001   10.0.0.7:5004             10.0.0.7:5005
DIRECTION       IN  BYTES  OUT  BYTES  REFUSED
access to core  10  1820   7    1204   auth-failed 3
core to access  0   0      0    0      -
FROM    SSRC  PACKETS  LOST  LATE  JITTER
access  7     10       1     2     3500 µs
access  8     1        0     0     -
"
        );
    }

    #[test]
    fn an_answer_of_another_shape_is_shown_as_far_as_it_goes() {
        assert!(session(&json!({})).starts_with("session - -\n"));
        assert_eq!(list(&json!([])).lines().count(), 1);
    }
}
