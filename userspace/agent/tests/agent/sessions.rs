// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sessions come, show and go.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sallyport_flow::{FlowId, FlowStatistics, Reason, Refusals, SsrcStatistics};
use serde_json::json;

use crate::harness::{Agent, inline, new_key, rtp_to_rtp, srtp_to_rtp};

fn flow(id: &str, index: u64) -> FlowId {
    FlowId(u64::from_str_radix(id, 16).expect("an id") | index)
}

#[test]
fn a_session_is_created_shown_listed_and_deleted() {
    let (agent, data_plane) = Agent::connected();
    let mut body = srtp_to_rtp();
    body["name"] = json!("call 7");
    let (status, created) = agent.create(&body);
    assert_eq!(status, 201);
    let id = created["id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 16);
    let summary = json!({
        "id": id,
        "name": "call 7",
        "state": "active",
        "access": {
            "profile": "RTP/SAVP",
            "rtcp_mux": false,
            "local": "192.0.2.1:40000",
            "local_rtcp": "192.0.2.1:40001",
            "remote": "192.0.2.7:5004",
            "remote_rtcp": "192.0.2.7:5005",
            "suite": "AES_CM_128_HMAC_SHA1_80",
        },
        "core": {
            "profile": "RTP/AVP",
            "rtcp_mux": false,
            "local": "10.0.0.1:40000",
            "local_rtcp": "10.0.0.1:40001",
            "remote": "10.0.0.9:6000",
            "remote_rtcp": "10.0.0.9:6001",
        },
    });
    assert_eq!(created, summary);
    assert_eq!(
        agent.get("/v1/sessions"),
        (200, json!({ "sessions": [summary] }))
    );
    assert_eq!(data_plane.state().flows.len(), 4);

    let mut refused = Refusals::default();
    for _ in 0..3 {
        refused.count(Reason::AuthFailed);
    }
    let arrived = FlowStatistics {
        id: flow(&id, 0),
        packets_in: 10,
        bytes_in: 1820,
        packets_out: 7,
        bytes_out: 1204,
        refused,
        latched: Some("192.0.2.99:5004".parse().unwrap()),
        ssrcs: vec![SsrcStatistics {
            ssrc: 7,
            packets: 10,
            bytes: 1720,
            expected: 12,
            late: 1,
            jitter: Some(Duration::from_micros(1500)),
        }],
        ..FlowStatistics::default()
    };
    data_plane.state().statistics.insert(arrived.id, arrived);
    let nothing = json!({
        "packets_in": 0, "bytes_in": 0, "packets_out": 0, "bytes_out": 0, "refused": {}, "ssrcs": [],
    });
    let mut expected = summary;
    expected["counters"] = json!({
        "access_to_core": {
            "packets_in": 10, "bytes_in": 1820, "packets_out": 7, "bytes_out": 1204,
            "refused": { "auth-failed": 3 },
            "ssrcs": [{
                "ssrc": 7, "packets": 10, "bytes": 1720, "lost": 2, "late": 1, "jitter_us": 1500,
            }],
        },
        "core_to_access": nothing,
        "latched": {
            "access": "192.0.2.99:5004", "access_rtcp": null, "core": null, "core_rtcp": null,
        },
    });
    let path = format!("/v1/sessions/{id}");
    assert_eq!(agent.get(&path), (200, expected.clone()));
    expected["state"] = json!("deleted");
    assert_eq!(agent.delete(&path), (200, expected));
    assert_eq!(agent.get(&path).0, 404);
    assert_eq!(agent.delete(&path).0, 404);
    assert_eq!(agent.get("/v1/sessions"), (200, json!({ "sessions": [] })));
    assert!(data_plane.state().flows.is_empty());
}

#[test]
fn a_leg_gets_the_address_it_asks_for_or_the_first_that_fits_its_peer() {
    let (agent, _data_plane) = Agent::connected();
    for (remote, address, expected) in [
        ("any", None, "192.0.2.1:40000"),
        ("192.0.2.7:5004", None, "192.0.2.1:40002"),
        ("[2001:db8::7]:5004", None, "[2001:db8::1]:40000"),
        ("any", Some("2001:db8::1"), "[2001:db8::1]:40002"),
        ("192.0.2.7:5004", Some("192.0.2.2"), "192.0.2.2:40000"),
        ("[::ffff:192.0.2.7]:5004", None, "192.0.2.1:40004"),
    ] {
        let mut body = rtp_to_rtp();
        body["access"]["remote"] = json!(remote);
        body["access"]["address"] = json!(address);
        let (status, answer) = agent.create(&body);
        assert_eq!(
            (status, &answer["access"]["local"]),
            (201, &json!(expected)),
            "{answer}"
        );
    }
}

#[test]
fn a_muxed_leg_has_one_port_and_an_unknown_peer_none() {
    let (agent, data_plane) = Agent::connected();
    let mut body = srtp_to_rtp();
    body["access"]["remote"] = json!("any");
    body["access"]["rtcp_mux"] = json!(true);
    body["core"]["remote_rtcp"] = json!("10.0.0.10:7000");
    let (_, answer) = agent.create(&body);
    assert_eq!(answer["access"]["local"], answer["access"]["local_rtcp"]);
    assert_eq!(answer["access"]["rtcp_mux"], json!(true));
    assert_eq!(answer["access"]["remote"], json!("any"));
    assert_eq!(answer["access"]["remote_rtcp"], json!(null));
    assert_eq!(answer["core"]["remote_rtcp"], json!("10.0.0.10:7000"));
    assert_eq!(data_plane.state().flows.len(), 3);
}

#[test]
fn either_leg_may_be_protected_with_every_suite_and_its_lifetime_is_passed_on() {
    let (agent, data_plane) = Agent::connected();
    for (suite, len) in [
        ("AES_CM_128_HMAC_SHA1_80", 30),
        ("AES_CM_128_HMAC_SHA1_32", 30),
        ("AEAD_AES_128_GCM", 28),
        ("AEAD_AES_256_GCM", 44),
    ] {
        let leg = |remote| {
            json!({
                "profile": "RTP/SAVP",
                "remote": remote,
                "suite": suite,
                "receive": inline(&new_key(len)),
                "send": format!("{}|2^20", inline(&new_key(len))),
            })
        };
        let id = agent.created(&json!({
            "access": leg("192.0.2.7:5004"), "core": leg("10.0.0.9:6000"),
        }));
        for index in 0..4 {
            let state = data_plane.state();
            let flow = &state.flows[&flow(&id, index)];
            let (unprotect, protect) = (
                flow.ingress.unprotect.as_ref().unwrap(),
                flow.egress.protect.as_ref().unwrap(),
            );
            assert_eq!(
                (unprotect.suite.name(), protect.suite.name()),
                (suite, suite)
            );
            assert_eq!(
                (unprotect.lifetime, protect.lifetime),
                (None, Some(1 << 20))
            );
        }
    }
}

#[test]
fn statistics_and_health_tell_of_the_data_plane() {
    let (agent, data_plane) = Agent::connected();
    agent.created(&srtp_to_rtp());
    let (status, statistics) = agent.get("/v1/statistics");
    assert_eq!(status, 200);
    assert_eq!(statistics["flows"], 4);
    assert_eq!(
        statistics["nics"],
        json!([{ "name": "eth0", "rung": "generic", "verdicts": { "redirected": 7 } }])
    );
    assert_eq!(
        statistics["workers"][0]["frames"],
        json!({ "total": 0, "free": 0, "receive": 0, "transmit": 0, "lost": 0 })
    );
    assert_eq!(statistics["workers"][0]["refused"], json!({}));
    assert_eq!(
        agent.get("/v1/health"),
        (
            200,
            json!({ "agent": "ok", "data_plane": "connected", "store": "ok" })
        )
    );

    drop(data_plane);
    agent.wait_until_disconnected();
    assert_eq!(
        agent.get("/v1/health"),
        (
            503,
            json!({ "agent": "ok", "data_plane": "not connected", "store": "ok" })
        )
    );
    for (status, answer) in [agent.get("/v1/statistics"), agent.create(&rtp_to_rtp())] {
        assert_eq!(status, 503);
        assert_eq!(answer["error"]["field"], "");
    }
    assert_eq!(agent.ids().len(), 1);
}

#[test]
fn the_store_can_be_read_by_its_owner_only() {
    let (agent, _data_plane) = Agent::connected();
    agent.created(&srtp_to_rtp());
    let mode = std::fs::metadata(&agent.config.store)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
