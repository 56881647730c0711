// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Calls that a SIP proxy drives over ng, down to the flows.

/// Where the indices of their keys stand.
mod marks;
/// What clients ask for.
mod options;

use std::collections::BTreeSet;
use std::time::Duration;

use sallyport_flow::{Flow, FlowStatistics, Gate, Realm, Refused, Source, SsrcStatistics};
use serde_json::{Value, json};

use crate::data_plane::DataPlane;
use crate::harness::Agent;

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

/// A session description from an address, with one medium.
fn sdp(ip: &str, media: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n{media}")
}

fn srtp(ip: &str, port: u16) -> String {
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
    sdp(ip, &format!("m=audio {port} RTP/SAVP 0\r\n{crypto}\r\n"))
}

fn rtp(ip: &str, port: u16) -> String {
    sdp(ip, &format!("m=audio {port} RTP/AVP 0\r\n"))
}

/// A request of one dialog: who offers, who answers.
fn request(command: &str, tags: (&str, Option<&str>), sdp: &str, options: &Value) -> Value {
    let mut request = json!({
        "command": command, "call-id": "call 1", "from-tag": tags.0, "sdp": sdp,
        "supports": ["load limit"],
    });
    if let Some(to) = tags.1 {
        request["to-tag"] = json!(to);
    }
    for (key, value) in options.as_object().expect("options") {
        request[key] = value.clone();
    }
    request
}

/// What is passed on; the request must succeed.
fn passed(agent: &Agent, request: &Value) -> String {
    let answer = agent.ng(request);
    assert_eq!(answer["result"], "ok", "{answer}");
    answer["sdp"].as_str().expect("an SDP").to_owned()
}

fn reason(agent: &Agent, request: &Value) -> String {
    let answer = agent.ng(request);
    assert_eq!(answer["result"], "error", "{answer}");
    answer["error-reason"]
        .as_str()
        .expect("a reason")
        .to_owned()
}

fn offer(agent: &Agent) -> String {
    let options = json!({ "transport-protocol": "RTP/AVP", "direction": ["access", "core"] });
    passed(
        agent,
        &request("offer", ("alice", None), &srtp("192.0.2.7", 5004), &options),
    )
}

fn answer(agent: &Agent, to: &str) -> String {
    let tags = ("alice", Some(to));
    passed(
        agent,
        &request("answer", tags, &rtp("10.0.0.9", 6000), &json!({})),
    )
}

/// A call with SRTP on the access side and RTP on the core side.
fn set_up(agent: &Agent) -> (String, String) {
    (offer(agent), answer(agent, "bob"))
}

fn flows(data_plane: &DataPlane) -> Vec<Flow> {
    data_plane.state().flows.values().cloned().collect()
}

fn without_marks(mut flows: Vec<Flow>) -> Vec<Flow> {
    for flow in &mut flows {
        let (ingress, egress) = (&mut flow.ingress, &mut flow.egress);
        for crypto in [&mut ingress.unprotect, &mut egress.protect]
            .into_iter()
            .flatten()
        {
            crypto.marks.clear();
        }
    }
    flows
}

fn media_port(sdp: &str) -> u16 {
    let line = sdp.lines().find(|line| line.starts_with("m=")).expect("m=");
    line.split(' ')
        .nth(1)
        .expect("a port")
        .parse()
        .expect("a number")
}

#[test]
fn an_offer_reserves_an_answer_installs_and_a_deletion_removes() {
    let (agent, data_plane) = Agent::connected();
    let offered = offer(&agent);
    assert!(offered.contains("c=IN IP4 10.0.0.1\r\n"), "{offered}");
    assert!(offered.contains(" RTP/AVP 0\r\n"), "{offered}");
    assert!(!offered.contains("crypto"), "{offered}");
    assert!(flows(&data_plane).is_empty());

    let answered = answer(&agent, "bob");
    assert!(answered.contains("c=IN IP4 192.0.2.1\r\n"), "{answered}");
    assert!(answered.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"));
    let flows_now = flows(&data_plane);
    assert_eq!(flows_now.len(), 4);
    for flow in &flows_now {
        let is_access = flow.ingress.realm == Realm::Access;
        assert_eq!(flow.ingress.unprotect.is_some(), is_access);
        assert_eq!(flow.egress.protect.is_some(), !is_access);
        assert_eq!(flow.gate, Gate::Open);
        let Source::Latch(latch) = flow.ingress.source else {
            panic!("{flow:?}");
        };
        // Who authenticates may come from anywhere.
        let from = (!is_access).then(|| "10.0.0.9/32".parse().expect("a network"));
        assert_eq!(latch.from, from);
        assert!(latch.signalled.is_some());
    }
    let ports: BTreeSet<_> = flows_now
        .iter()
        .map(|flow| flow.ingress.local.port())
        .collect();
    assert!(ports.contains(&media_port(&offered)) && ports.contains(&media_port(&answered)));

    let delete = json!({ "command": "delete", "call-id": "call 1", "from-tag": "alice" });
    let deleted = agent.ng(&delete);
    assert_eq!(deleted["result"], "ok", "{deleted}");
    assert!(flows(&data_plane).is_empty());
    assert_eq!(agent.ng(&json!({ "command": "list" }))["calls"], json!([]));
    let again = agent.ng(&delete);
    assert_eq!(again["warning"], "Call-ID not found or tags didn't match");
}

#[test]
fn hold_closes_the_gate_one_way_and_keeps_the_keys() {
    let (agent, data_plane) = Agent::connected();
    set_up(&agent);
    let before = flows(&data_plane);
    let held = format!("{}a=sendonly\r\n", srtp("192.0.2.7", 5004));
    let tags = ("alice", Some("bob"));
    let options = json!({ "transport-protocol": "RTP/AVP" });
    passed(&agent, &request("offer", tags, &held, &options));
    assert_eq!(flows(&data_plane), before);
    let taken = format!("{}a=recvonly\r\n", rtp("10.0.0.9", 6000));
    let answered = passed(&agent, &request("answer", tags, &taken, &json!({})));
    assert!(answered.contains("RTP/SAVP"), "{answered}");
    for (before, after) in before.iter().zip(&flows(&data_plane)) {
        assert_eq!(before.id, after.id);
        assert_eq!(before.ingress.unprotect, after.ingress.unprotect);
        assert_eq!(before.egress.protect, after.egress.protect);
        let is_open = after.ingress.realm == Realm::Access;
        assert_eq!(after.gate == Gate::Open, is_open);
    }
    // And the other one resumes.
    let tags = ("bob", Some("alice"));
    let options = json!({ "transport-protocol": "RTP/SAVP" });
    let offered = passed(
        &agent,
        &request("offer", tags, &rtp("10.0.0.9", 6000), &options),
    );
    assert!(offered.contains("RTP/SAVP"), "{offered}");
    let taken = srtp("192.0.2.7", 5004);
    passed(&agent, &request("answer", tags, &taken, &json!({})));
    assert_eq!(flows(&data_plane), before);
}

#[test]
fn of_offers_that_cross_either_may_be_answered_and_the_call_goes_on() {
    let (agent, data_plane) = Agent::connected();
    set_up(&agent);
    let before = flows(&data_plane);
    let options = json!({ "transport-protocol": "RTP/AVP" });
    let first = request(
        "offer",
        ("alice", Some("bob")),
        &srtp("192.0.2.7", 5004),
        &options,
    );
    let second = request(
        "offer",
        ("bob", Some("alice")),
        &rtp("10.0.0.9", 6000),
        &json!({ "transport-protocol": "RTP/SAVP" }),
    );
    passed(&agent, &first);
    passed(&agent, &second);
    answer(&agent, "bob");
    assert_eq!(flows(&data_plane), before);
    passed(&agent, &second);
    let tags = ("bob", Some("alice"));
    let taken = srtp("192.0.2.7", 5004);
    passed(&agent, &request("answer", tags, &taken, &json!({})));
    assert_eq!(flows(&data_plane), before);
}

#[test]
fn of_forked_answers_the_last_one_flows_with_keys_and_ports_of_its_own() {
    let (agent, data_plane) = Agent::connected();
    let (_, first) = set_up(&agent);
    let before = flows(&data_plane);
    let second = answer(&agent, "carol");
    assert_ne!(media_port(&first), media_port(&second));
    let key = |sdp: &str| sdp.split("inline:").nth(1).expect("a key").to_owned();
    assert_ne!(key(&first), key(&second));
    let after = flows(&data_plane);
    assert_eq!(after.len(), 4);
    let core = |flows: &[Flow]| -> BTreeSet<_> {
        let core = flows
            .iter()
            .filter(|flow| flow.ingress.realm == Realm::Core);
        core.map(|flow| flow.ingress.local).collect()
    };
    assert_eq!(core(&before), core(&after), "all were told the same ports");
    // In the end the first one takes the call, and the other goes.
    assert_eq!(key(&answer(&agent, "bob")), key(&first));
    assert_eq!(without_marks(flows(&data_plane)), before);
    let delete = json!({
        "command": "delete", "call-id": "call 1", "from-tag": "alice", "to-tag": "carol",
    });
    assert_eq!(agent.ng(&delete)["result"], "ok");
    assert_eq!(without_marks(flows(&data_plane)), before);
}

#[test]
fn branches_have_ports_of_their_own_and_end_one_by_one() {
    let (agent, data_plane) = Agent::connected();
    let branch = |command: &str, branch: &str, to: Option<&str>, sdp: &str| {
        let options = json!({ "transport-protocol": "RTP/AVP", "via-branch": branch });
        passed(&agent, &request(command, ("alice", to), sdp, &options))
    };
    let caller = srtp("192.0.2.7", 5004);
    let first = branch("offer", "one", None, &caller);
    let second = branch("offer", "two", None, &caller);
    assert_ne!(media_port(&first), media_port(&second));
    branch("answer", "one", Some("bob"), &rtp("10.0.0.9", 6000));
    branch("answer", "two", Some("carol"), &rtp("10.0.0.8", 6000));
    assert_eq!(flows(&data_plane).len(), 8);
    let delete = |branch: &str| {
        let delete = json!({
            "command": "delete", "call-id": "call 1", "from-tag": "alice", "via-branch": branch,
        });
        assert_eq!(agent.ng(&delete)["result"], "ok");
    };
    delete("two");
    assert_eq!(flows(&data_plane).len(), 4);
    // A BYE has a branch of its own.
    delete("three");
    assert!(flows(&data_plane).is_empty());
}

#[test]
fn a_data_plane_that_refuses_leaves_the_call_as_it_was() {
    let (agent, data_plane) = Agent::connected_with_ports(40000..=40003);
    offer(&agent);
    let tags = ("alice", Some("bob"));
    let answer_once = request("answer", tags, &rtp("10.0.0.9", 6000), &json!({}));
    data_plane.state().refuse_installs = vec![Refused::Failed("no memory".to_owned())];
    assert!(reason(&agent, &answer_once).contains("no memory"));
    assert!(flows(&data_plane).is_empty());
    passed(&agent, &answer_once);
    assert_eq!(flows(&data_plane).len(), 4);
    // A fork that cannot be leaves nothing, its ports included: there is but one pair more.
    for _ in 0..3 {
        data_plane.state().refuse_installs = vec![Refused::Failed("no memory".to_owned())];
        let fork = request(
            "answer",
            ("alice", Some("carol")),
            &rtp("10.0.0.8", 6000),
            &json!({}),
        );
        assert!(reason(&agent, &fork).contains("no memory"));
    }
    answer(&agent, "carol");
}

#[test]
fn limits_are_refused_in_words_that_make_clients_try_elsewhere() {
    let mut agent = Agent::stopped(40000..=40003);
    agent.config.limits.max_sessions = 2;
    agent.config.limits.max_streams = 2;
    let data_plane = DataPlane::start(&agent.config.flow_socket);
    agent.start();
    agent.wait_until_connected();
    let call = |id: &str, sdp: &str| {
        let mut call = request("offer", ("alice", None), sdp, &json!({}));
        call["call-id"] = json!(id);
        call
    };
    let one = rtp("192.0.2.7", 5004);
    let many = format!("{one}{}", "m=audio 5006 RTP/AVP 0\r\n".repeat(2));
    assert!(reason(&agent, &call("many", &many)).contains("3 m= lines"));
    let two = format!("{one}m=audio 5006 RTP/AVP 0\r\n");
    passed(&agent, &call("a", &two));
    assert_eq!(reason(&agent, &call("b", &one)), "Ran out of ports");
    let delete = json!({ "command": "delete", "call-id": "a", "from-tag": "alice" });
    assert_eq!(agent.ng(&delete)["result"], "ok");
    passed(&agent, &call("a", &one));
    passed(&agent, &call("b", &one));
    let answer = agent.ng(&call("c", &one));
    assert_eq!(answer["result"], "load limit");
    assert_eq!(answer["message"], "Parallel session limit reached");
    // Those that exist are served.
    passed(&agent, &call("b", &one));

    let (status, shown) = agent.request("PUT", "/v1/agent/drain", &[], "");
    assert_eq!((status, &shown["draining"]), (200, &json!(true)));
    assert_eq!(shown["calls"]["rejected"], 1);
    let delete = json!({ "command": "delete", "call-id": "a", "from-tag": "alice" });
    assert_eq!(agent.ng(&delete)["result"], "ok");
    let answer = agent.ng(&call("d", &one));
    assert_eq!(answer["message"], "Load limit exceeded");
    passed(&agent, &call("b", &one));
    agent.request("DELETE", "/v1/agent/drain", &[], "");
    passed(&agent, &call("d", &one));
    assert!(flows(&data_plane).is_empty());
}

#[test]
fn a_restarted_agent_answers_changes_and_ends_the_calls_of_the_one_before() {
    let (mut agent, data_plane) = Agent::connected();
    offer(&agent);
    agent.stop();
    agent.start();
    agent.wait_until_connected();
    let answered = answer(&agent, "bob");
    let before = flows(&data_plane);
    assert_eq!(before.len(), 4);
    // Both away: the flows are the same again, behind marks.
    let path = agent.config.flow_socket.clone();
    drop(data_plane);
    agent.stop();
    let data_plane = DataPlane::start(&path);
    agent.start();
    agent.wait_until_connected();
    let after = flows(&data_plane);
    assert_eq!(after.len(), 4);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(
            (before.id, before.ingress.local),
            (after.id, after.ingress.local)
        );
        let protect = after.egress.protect.as_ref();
        assert!(protect.is_none_or(|protect| !protect.marks.is_empty()));
    }
    // The same answer once more is the same text.
    assert_eq!(answer(&agent, "bob"), answered);
    let delete = json!({ "command": "delete", "call-id": "call 1" });
    assert_eq!(agent.ng(&delete)["result"], "ok");
    assert!(flows(&data_plane).is_empty());
}

#[test]
fn a_query_tells_what_arrived_as_proxies_read_it() {
    let (agent, data_plane) = Agent::connected();
    let options = json!({
        "transport-protocol": "RTP/AVP", "direction": ["access", "core"], "label": "caller",
    });
    let first = request("offer", ("alice", None), &srtp("192.0.2.7", 5004), &options);
    passed(&agent, &first);
    answer(&agent, "bob");
    for (number, flow) in (1..).zip(flows(&data_plane)) {
        let did = FlowStatistics {
            id: flow.id,
            packets_in: number,
            bytes_in: 100 * number,
            packets_out: 10 * number,
            bytes_out: 1000 * number,
            latched: Some("192.0.2.99:7000".parse().expect("an address")),
            idle: Some(Duration::ZERO),
            ssrcs: vec![SsrcStatistics {
                ssrc: u32::try_from(number).expect("a few"),
                packets: 95,
                expected: 100,
                jitter: Some(Duration::from_millis(4)),
                ..SsrcStatistics::default()
            }],
            ..FlowStatistics::default()
        };
        data_plane.state().statistics.insert(flow.id, did);
    }
    let query = json!({ "command": "query", "call-id": "call 1" });
    let report = agent.ng(&query);
    assert_eq!(report["result"], "ok", "{report}");
    // RTP and RTCP of the access side, then those of the core side.
    assert_eq!(report["totals"]["RTP"]["packets"], 1 + 3);
    assert_eq!(report["totals"]["RTP"]["bytes"], 100 + 300);
    assert_eq!(report["totals"]["RTCP"]["packets"], 2 + 4);
    let caller = &report["tags"]["alice"];
    assert_eq!(caller["label"], "caller");
    assert_eq!(caller["in dialogue with"], "bob");
    let media = &caller["medias"][0];
    assert_eq!(
        (&media["index"], &media["protocol"]),
        (&json!(1), &json!("RTP/SAVP"))
    );
    let stream = &media["streams"][0];
    assert_eq!(stream["crypto suite"], "AES_CM_128_HMAC_SHA1_80");
    assert_eq!(stream["endpoint"]["address"], "192.0.2.99");
    assert_eq!(stream["advertised endpoint"]["address"], "192.0.2.7");
    // By this, and the label, proxies tell whose media they are told about.
    assert_eq!(stream["SSRC"], 1);
    for ssrc in ["1", "3"] {
        let quality = &report["SSRC"][ssrc];
        for which in ["average MOS", "lowest MOS", "highest MOS"] {
            let quality = &quality[which];
            assert_eq!(quality["packet loss"], 5, "{report}");
            assert_eq!(quality["jitter"], 4);
            assert_eq!(quality["MOS"], 39);
        }
        assert_eq!(quality["average MOS"]["samples"], 1);
    }
    assert_eq!(stream["stats"]["packets"], 1);
    // What arrived on the core side left here.
    assert_eq!(stream["stats_out"]["packets"], 30);
    let media = &report["tags"]["bob"]["medias"][0];
    assert_eq!(media["protocol"], "RTP/AVP");
    assert_eq!(media["streams"][0]["SSRC"], 3);

    let delete = json!({ "command": "delete", "call-id": "call 1", "from-tag": "alice" });
    let deleted = agent.ng(&delete);
    assert_eq!(deleted["totals"], report["totals"]);
    assert_eq!(reason(&agent, &query), "Unknown call-id");
}

#[test]
fn calls_are_served_at_the_same_time() {
    let (agent, data_plane) = Agent::connected_with_ports(40000..=40999);
    let call = |number: usize| {
        let with_id = |mut request: Value| {
            request["call-id"] = json!(format!("call {number}"));
            agent.ng(&request)
        };
        let plain = rtp("10.0.0.9", 6000);
        let options = json!({});
        let offer = request("offer", ("a", None), &plain, &options);
        let answer = request("answer", ("a", Some("b")), &plain, &options);
        assert_eq!(with_id(offer)["result"], "ok");
        assert_eq!(with_id(answer)["result"], "ok");
        if number.is_multiple_of(2) {
            let delete = json!({ "command": "delete", "from-tag": "a" });
            assert_eq!(with_id(delete)["result"], "ok");
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let call = &call;
            scope.spawn(move || (0..20).for_each(|number| call(20 * thread + number)));
        }
    });
    assert_eq!(data_plane.state().flows.len(), 80 * 4);
    let listed = agent.ng(&json!({ "command": "list", "limit": 1000 }));
    assert_eq!(listed["calls"].as_array().expect("calls").len(), 80);
}

#[test]
fn a_call_never_has_more_flows_than_can_be_removed_at_once() {
    let (agent, data_plane) = Agent::connected_with_ports(40000..=49999);
    let medium = "m=audio 6000 RTP/AVP 0\r\n".repeat(16);
    let branch = |command: &str, number: usize, to: Option<&str>| {
        let options = json!({ "via-branch": number.to_string() });
        let sdp = sdp("10.0.0.9", &medium);
        agent.ng(&request(command, ("alice", to), &sdp, &options))
    };
    let answered = (0..16).take_while(|number| {
        assert_eq!(branch("offer", *number, None)["result"], "ok");
        let answer = branch("answer", *number, Some(&format!("bob {number}")));
        if answer["result"] != "ok" {
            let reason = answer["error-reason"].as_str().expect("a reason");
            assert!(reason.contains("1024 flows"), "{reason}");
        }
        answer["result"] == "ok"
    });
    assert_eq!(answered.count(), 15);
    assert_eq!(data_plane.state().flows.len(), 15 * 64);
    let delete = json!({ "command": "delete", "call-id": "call 1" });
    assert_eq!(agent.ng(&delete)["result"], "ok");
    assert!(flows(&data_plane).is_empty());
}

#[test]
fn a_call_whose_flows_the_data_plane_keeps_is_not_forgotten() {
    let (agent, data_plane) = Agent::connected();
    set_up(&agent);
    data_plane.state().refuse_removals = vec![Refused::Failed("not now".to_owned())];
    let delete = json!({ "command": "delete", "call-id": "call 1" });
    assert!(reason(&agent, &delete).contains("not now"));
    assert_eq!(flows(&data_plane).len(), 4);
    assert_eq!(agent.ng(&delete)["result"], "ok");
    assert!(flows(&data_plane).is_empty());
}

#[test]
fn a_call_whose_flows_cannot_be_made_to_agree_is_closed_with_them() {
    let (mut agent, data_plane) = Agent::connected();
    set_up(&agent);
    agent.stop();
    data_plane.state().refuse_changes = vec![Refused::Failed("no memory".to_owned())];
    agent.start();
    agent.wait_until_connected();
    assert!(flows(&data_plane).is_empty());
    assert_eq!(agent.ng(&json!({ "command": "list" }))["calls"], json!([]));
    set_up(&agent);
}
