// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Calls that nobody ends.

use std::time::Duration;

use sallyport_agent::Timeouts;
use sallyport_flow::FlowStatistics;
use serde_json::{Value, json};

use crate::data_plane::DataPlane;
use crate::harness::{Agent, wait_until};

const NEVER: Timeouts = Timeouts {
    unanswered: None,
    inactive: None,
    held: None,
    total: None,
};

/// Over when deadlines are looked at next, and not before this test is.
const SOON: Duration = Duration::from_millis(1);
const LATE: Duration = Duration::from_hours(1);

fn agent(timeouts: Timeouts) -> (Agent, DataPlane) {
    let mut agent = Agent::stopped(40000..=40001);
    agent.config.timeouts = timeouts;
    let data_plane = DataPlane::start(&agent.config.flow_socket);
    agent.start();
    agent.wait_until_connected();
    (agent, data_plane)
}

/// The same agent with the same calls, and other timeouts.
fn turn(agent: &mut Agent, timeouts: Timeouts) {
    agent.stop();
    agent.config.timeouts = timeouts;
    agent.start();
    agent.wait_until_connected();
}

/// Fails unless the call is there after deadlines have been looked at a few times.
fn expect_alive(agent: &Agent, data_plane: &DataPlane) {
    std::thread::sleep(Duration::from_secs(3));
    let calls = &agent.ng(&json!({ "command": "list" }))["calls"];
    assert_eq!(calls, &json!(["c"]));
    assert_eq!(data_plane.state().flows.len(), 4);
}

fn ask(agent: &Agent, command: &str, lines: &str) {
    ask_with(agent, command, lines, &[]);
}

fn ask_with(agent: &Agent, command: &str, lines: &str, flags: &[&str]) {
    let sdp = format!(
        "v=0\no=- 1 1 IN IP4 10.0.0.9\ns=-\nc=IN IP4 10.0.0.9\nt=0 0\nm=audio 6000 RTP/AVP 0\n{lines}"
    );
    let request = json!({
        "command": command, "call-id": "c", "from-tag": "a", "to-tag": "b", "sdp": sdp,
        "flags": flags,
    });
    let answer = agent.ng(&request);
    assert_eq!(answer["result"], "ok", "{answer}");
}

/// Waits until the call has ended for this reason, and nothing of it is left.
fn wait_for_end(agent: &Agent, data_plane: &DataPlane, why: &str) {
    wait_until("the call has ended", || {
        agent.ng(&json!({ "command": "list" }))["calls"] == json!([])
    });
    assert!(data_plane.state().flows.is_empty());
    let counts: Value = agent.get("/v1/agent").1["calls"].clone();
    assert_eq!(counts[why], 1, "{counts}");
    // There is but one pair of ports.
    ask(agent, "offer", "");
}

#[test]
fn a_call_that_nobody_answers_ends() {
    let (agent, data_plane) = agent(Timeouts {
        unanswered: Some(Duration::from_secs(1)),
        ..NEVER
    });
    ask(&agent, "offer", "");
    wait_for_end(&agent, &data_plane, "unanswered");
}

#[test]
fn a_call_goes_on_while_media_arrives_and_ends_when_it_stops() {
    let inactive = Duration::from_secs(10);
    let (agent, data_plane) = agent(Timeouts {
        inactive: Some(inactive),
        held: Some(SOON),
        unanswered: Some(SOON),
        ..NEVER
    });
    ask(&agent, "offer", "");
    ask(&agent, "answer", "");
    let set_idle = |idle| {
        let mut state = data_plane.state();
        let id = *state.flows.keys().next().expect("a flow");
        let did = FlowStatistics {
            id,
            idle: Some(idle),
            ..FlowStatistics::default()
        };
        state.statistics.insert(id, did);
    };
    set_idle(Duration::ZERO);
    std::thread::sleep(inactive);
    expect_alive(&agent, &data_plane);
    set_idle(Duration::from_hours(1));
    wait_for_end(&agent, &data_plane, "inactive");
}

#[test]
fn a_call_on_hold_may_be_silent_for_longer_and_ends_in_the_end() {
    let held = |time| Timeouts {
        inactive: Some(SOON),
        held: Some(time),
        ..NEVER
    };
    let (mut agent, data_plane) = agent(held(LATE));
    ask(&agent, "offer", "a=inactive\n");
    ask(&agent, "answer", "a=inactive\n");
    expect_alive(&agent, &data_plane);
    turn(&mut agent, held(SOON));
    wait_for_end(&agent, &data_plane, "held");
}

#[test]
fn who_only_listens_is_on_hold_though_media_may_pass_one_way() {
    let held = |time| Timeouts {
        inactive: Some(SOON),
        held: Some(time),
        unanswered: Some(SOON),
        ..NEVER
    };
    let (mut agent, data_plane) = agent(held(LATE));
    ask(&agent, "offer", "a=sendonly\n");
    ask(&agent, "answer", "a=recvonly\n");
    expect_alive(&agent, &data_plane);
    turn(&mut agent, held(SOON));
    wait_for_end(&agent, &data_plane, "held");
}

#[test]
fn a_phone_that_is_answered_for_may_ring_for_longer_than_media_may_stop() {
    let unanswered = |time| Timeouts {
        inactive: Some(SOON),
        unanswered: Some(time),
        ..NEVER
    };
    let (mut agent, data_plane) = agent(unanswered(LATE));
    ask(&agent, "offer", "");
    ask(&agent, "answer", "");
    expect_alive(&agent, &data_plane);
    turn(&mut agent, unanswered(SOON));
    wait_for_end(&agent, &data_plane, "inactive");
}

#[test]
fn a_call_that_was_taken_for_sure_ends_without_media_as_if_that_had_stopped() {
    let (agent, data_plane) = agent(Timeouts {
        inactive: Some(Duration::from_secs(1)),
        unanswered: Some(LATE),
        ..NEVER
    });
    ask(&agent, "offer", "");
    // A 200 may be that to an UPDATE of a phone that rings.
    for code in ["SIP-code=183", "SIP-code=200"] {
        ask_with(&agent, "answer", "", &[code]);
    }
    expect_alive(&agent, &data_plane);
    ask_with(&agent, "answer", "", &["final"]);
    wait_for_end(&agent, &data_plane, "inactive");
}

#[test]
fn no_call_lasts_longer_than_it_may() {
    let (agent, data_plane) = agent(Timeouts {
        total: Some(Duration::from_secs(1)),
        ..NEVER
    });
    ask(&agent, "offer", "");
    ask(&agent, "answer", "");
    wait_for_end(&agent, &data_plane, "total");
}

#[test]
fn a_deletion_with_a_delay_lets_the_call_go_on_for_so_long() {
    let (agent, data_plane) = agent(NEVER);
    ask(&agent, "offer", "");
    ask(&agent, "answer", "");
    let delete = |delay: u32| {
        let delete = json!({
            "command": "delete", "call-id": "c", "from-tag": "a", "delete-delay": delay,
        });
        assert_eq!(agent.ng(&delete)["result"], "ok");
    };
    delete(3600);
    expect_alive(&agent, &data_plane);
    delete(1);
    wait_for_end(&agent, &data_plane, "ended");
}
