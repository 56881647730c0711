// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Agent and data plane die and come back.

use sallyport_flow::{FlowId, FlowStatistics, Mark, Refused};
use serde_json::json;

use crate::data_plane::DataPlane;
use crate::harness::{Agent, log, rtp_to_rtp, srtp_to_rtp, wait_until};

#[test]
fn an_agent_that_comes_back_finds_its_sessions_and_their_ports() {
    let (mut agent, data_plane) = Agent::connected();
    let kept = agent.created(&srtp_to_rtp());
    let mended = agent.created(&srtp_to_rtp());
    let before = agent.get(&format!("/v1/sessions/{kept}"));
    let flows = data_plane.state().flows.clone();
    agent.stop();

    // While it was away: flows of one session went, and some came that nobody knows.
    let mut stray = flows.values().next().unwrap().clone();
    stray.id = FlowId(0xdead_0000);
    stray.ingress.local.set_port(40900);
    {
        let mut state = data_plane.state();
        state
            .flows
            .retain(|id, _| !format!("{id}").starts_with(&mended[..12]));
        state.flows.insert(stray.id, stray);
    }
    agent.start();
    agent.wait_until_connected();

    assert_eq!(agent.ids().len(), 2);
    assert_eq!(agent.get(&format!("/v1/sessions/{kept}")), before);
    assert!(data_plane.state().flows.keys().eq(flows.keys()));
    let log = log();
    assert!(log.contains(&format!("installed again session={mended}")));
    assert!(
        log.contains("its flows removed: the session is not in the store session=00000000dead0000")
    );

    // Its ports are still taken, and it can be ended.
    for _ in 0..498 {
        let (status, answer) = agent.create(&rtp_to_rtp());
        assert_eq!(status, 201, "{answer}");
        assert_ne!(answer["access"]["local"], before.1["access"]["local"]);
    }
    assert_eq!(agent.create(&rtp_to_rtp()).0, 409);
    assert_eq!(agent.delete(&format!("/v1/sessions/{kept}")).0, 200);
}

#[test]
fn a_data_plane_that_comes_back_gets_its_flows_again_behind_their_marks() {
    let (agent, data_plane) = Agent::connected();
    let mut body = srtp_to_rtp();
    body["access"]["remote"] = json!("any");
    let id = agent.created(&body);
    let plain = agent.created(&rtp_to_rtp());
    let before = data_plane.state().flows.clone();
    let number = u64::from_str_radix(&id, 16).unwrap();
    let mark = |rtp, rtcp| Mark {
        ssrc: 0xcafe_babe,
        rtp,
        rtcp,
    };
    {
        let mut state = data_plane.state();
        for (index, unprotect, protect) in [
            (0, vec![mark(Some(70_000), None)], vec![]),
            (1, vec![mark(None, Some(12))], vec![]),
            (2, vec![], vec![mark(Some(80_000), None)]),
            (3, vec![], vec![mark(None, Some(34))]),
        ] {
            let id = FlowId(number | index);
            let latched = (index == 0).then(|| "192.0.2.99:1".parse().unwrap());
            let did = FlowStatistics {
                id,
                unprotect,
                protect,
                latched,
                ..FlowStatistics::default()
            };
            state.statistics.insert(id, did);
        }
        state.polls = 0;
    }
    wait_until("the agent has polled twice", || {
        data_plane.state().polls >= 2
    });
    let path = data_plane_path(&agent);
    drop(data_plane);
    agent.wait_until_disconnected();
    assert_eq!(agent.ids().len(), 2);

    let data_plane = DataPlane::start(&path);
    agent.wait_until_connected();
    let mut expected = before;
    for (index, unprotect, protect) in [
        (0, Some(mark(Some(70_000), None)), None),
        (1, Some(mark(None, Some(12))), None),
        (2, None, Some(mark(Some(80_000), None))),
        (3, None, Some(mark(None, Some(34)))),
    ] {
        let flow = expected.get_mut(&FlowId(number | index)).unwrap();
        if let Some(crypto) = &mut flow.ingress.unprotect {
            crypto.marks.extend(unprotect);
        }
        if let Some(crypto) = &mut flow.egress.protect {
            crypto.marks.extend(protect);
        }
    }
    assert_eq!(data_plane.state().flows, expected);
    let mut ids = vec![id, plain];
    ids.sort();
    assert_eq!(agent.ids(), ids);
}

#[test]
fn when_both_come_back_all_sessions_go_on_behind_what_the_store_knows() {
    let (mut agent, data_plane) = Agent::connected();
    let protected = agent.created(&srtp_to_rtp());
    agent.created(&rtp_to_rtp());
    let before = data_plane.state().flows.clone();
    let sending = FlowId(u64::from_str_radix(&protected, 16).unwrap() | 2);
    let mark = Mark {
        ssrc: 0xcafe_babe,
        rtp: Some(80_000),
        rtcp: None,
    };
    {
        let mut state = data_plane.state();
        let did = FlowStatistics {
            id: sending,
            protect: vec![mark],
            ..FlowStatistics::default()
        };
        state.statistics.insert(sending, did);
        state.polls = 0;
    }
    wait_until("the agent has polled twice", || {
        data_plane.state().polls >= 2
    });
    let path = data_plane_path(&agent);
    drop(data_plane);
    agent.stop();
    let data_plane = DataPlane::start(&path);
    agent.start();
    agent.wait_until_connected();
    let flows = data_plane.state().flows.clone();
    assert!(flows.keys().eq(before.keys()));
    let protect = |id: FlowId| flows[&id].egress.protect.clone().unwrap();
    let keys = |flows: &std::collections::BTreeMap<FlowId, sallyport_flow::Flow>| {
        flows[&sending].egress.protect.clone().unwrap().keys
    };
    assert_eq!(keys(&flows), keys(&before));
    assert_eq!(protect(sending).marks, [mark]);
    // A key that was in use is never sent without a mark.
    assert!(!protect(FlowId(sending.0 | 3)).marks.is_empty());
}

#[test]
fn a_store_with_another_key_is_not_opened_and_nothing_in_it_is_lost() {
    let (mut agent, data_plane) = Agent::connected();
    agent.created(&srtp_to_rtp());
    agent.stop();
    let aside = agent.folder.join("aside");
    std::fs::rename(&agent.config.store_key, &aside).unwrap();
    let run = sallyport_agent::run(agent.config.clone(), async {});
    let error = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(run)
        .unwrap_err()
        .to_string();
    assert!(error.contains("agent.store_key"), "{error}");
    std::fs::rename(&aside, &agent.config.store_key).unwrap();
    agent.start();
    agent.wait_until_connected();
    assert_eq!(agent.ids().len(), 1);
    assert_eq!(data_plane.state().flows.len(), 4);
}

#[test]
fn a_session_that_the_new_data_plane_refuses_is_closed_and_the_others_go_on() {
    let (agent, data_plane) = Agent::connected();
    for _ in 0..3 {
        agent.created(&srtp_to_rtp());
    }
    let before = agent.ids();
    let path = data_plane_path(&agent);
    drop(data_plane);
    agent.wait_until_disconnected();
    // All together first, then the first one alone.
    let refusals = vec![Refused::PageTooLong, Refused::Failed("too late".to_owned())];
    let data_plane = DataPlane::start_refusing(&path, refusals);
    wait_until("two sessions go on", || agent.ids().len() == 2);
    agent.wait_until_connected();
    assert_eq!(agent.ids(), before[1..]);
    assert_eq!(data_plane.state().flows.len(), 8);
    assert!(log().contains(&format!(
        "closed: too late; set the call up again session={}",
        before[0]
    )));
}

#[test]
fn flows_that_vanish_are_installed_again_at_the_next_poll_as_keys_in_use() {
    let (agent, data_plane) = Agent::connected();
    agent.created(&srtp_to_rtp());
    let before: Vec<_> = data_plane.state().flows.keys().copied().collect();
    data_plane.state().flows.pop_last();
    wait_until("all flows are back", || {
        data_plane.state().flows.keys().eq(&before)
    });
    // Nothing was sent yet that the agent knows of, and still these are no new keys.
    let state = data_plane.state();
    let mut protected = state
        .flows
        .values()
        .filter_map(|flow| flow.egress.protect.as_ref());
    assert!(protected.all(|crypto| !crypto.marks.is_empty()));
}

#[test]
fn a_session_whose_flows_vanished_can_still_be_deleted() {
    let (agent, data_plane) = Agent::connected();
    let id = agent.created(&srtp_to_rtp());
    data_plane.state().flows.pop_last();
    assert_eq!(agent.delete(&format!("/v1/sessions/{id}")).0, 200);
    assert!(data_plane.state().flows.is_empty());
    assert!(agent.ids().is_empty());
}

#[test]
fn an_agent_waits_for_a_data_plane_that_starts_later() {
    let mut agent = Agent::stopped(40000..=40001);
    agent.start();
    assert_eq!(agent.get("/v1/health").0, 503);
    assert_eq!(agent.create(&rtp_to_rtp()).0, 503);
    let _data_plane = DataPlane::start(&data_plane_path(&agent));
    agent.wait_until_connected();
    agent.created(&rtp_to_rtp());
}

fn data_plane_path(agent: &Agent) -> std::path::PathBuf {
    agent.config.flow_socket.clone()
}
