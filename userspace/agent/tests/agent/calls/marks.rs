// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where the indices of keys stand when these come back.

use sallyport_flow::{Crypto, FlowStatistics, Mark, MasterKey, Secret};
use serde_json::json;

use super::{answer, flows, passed, request, rtp, set_up, srtp, without_marks};
use crate::data_plane::DataPlane;
use crate::harness::{Agent, wait_until};

#[test]
fn a_key_that_the_ues_of_two_dialogs_share_is_never_used_twice_at_one_index() {
    let (agent, data_plane) = Agent::connected();
    let options = json!({
        "transport-protocol": "RTP/SAVP", "SDES": ["only-AES_CM_128_HMAC_SHA1_80"],
    });
    let caller = rtp("10.0.0.9", 6000);
    passed(&agent, &request("offer", ("as", None), &caller, &options));
    let answer = |to: &str| {
        let tags = ("as", Some(to));
        passed(
            &agent,
            &request("answer", tags, &srtp("192.0.2.7", 5004), &json!({})),
        )
    };
    answer("one");
    let sending = |data_plane: &DataPlane| {
        let flows = flows(data_plane).into_iter();
        flows
            .filter_map(|flow| Some((flow.id, flow.egress.protect?)))
            .collect::<Vec<_>>()
    };
    let mark = Mark {
        ssrc: 9,
        rtp: Some(5),
        rtcp: Some(6),
    };
    for (id, protect) in sending(&data_plane) {
        assert!(protect.marks.is_empty());
        let did = FlowStatistics {
            id,
            protect: vec![mark],
            ..FlowStatistics::default()
        };
        data_plane.state().statistics.insert(id, did);
    }
    answer("two");
    for (_, protect) in sending(&data_plane) {
        assert!(protect.marks.contains(&mark), "{:?}", protect.marks);
    }
}

/// Has each flow that sends say that it has sent this, and each that receives that it has received.
fn did(data_plane: &DataPlane, mark: Mark) {
    for flow in flows(data_plane) {
        let marks = |is_protected: bool| if is_protected { vec![mark] } else { Vec::new() };
        let did = FlowStatistics {
            id: flow.id,
            unprotect: marks(flow.ingress.unprotect.is_some()),
            protect: marks(flow.egress.protect.is_some()),
            ..FlowStatistics::default()
        };
        data_plane.state().statistics.insert(flow.id, did);
    }
}

/// All marks with which flows go on.
fn marks(data_plane: &DataPlane) -> Vec<Vec<Mark>> {
    let flows = flows(data_plane).into_iter();
    let cryptos = flows.flat_map(|flow| [flow.ingress.unprotect, flow.egress.protect]);
    cryptos.flatten().map(|crypto| crypto.marks).collect()
}

const FAR: Mark = Mark {
    ssrc: 9,
    rtp: Some(1 << 17),
    rtcp: Some(6),
};

#[test]
fn the_keys_of_a_dialog_that_comes_back_go_on_behind_their_marks() {
    for dies_between in [false, true] {
        let (mut agent, data_plane) = Agent::connected();
        set_up(&agent);
        did(&data_plane, FAR);
        answer(&agent, "carol");
        // The UE sends with one key to both, we answer with two.
        for flow in flows(&data_plane) {
            let marks = |crypto: Option<Crypto>| crypto.map(|crypto| crypto.marks);
            assert!(marks(flow.ingress.unprotect).is_none_or(|marks| marks == [FAR]));
            assert!(marks(flow.egress.protect).is_none_or(|marks| marks.is_empty()));
        }
        if dies_between {
            agent.stop();
            agent.start();
            agent.wait_until_connected();
        }
        // Flows that vanish at this very time change nothing.
        data_plane.state().flows.pop_last();
        answer(&agent, "bob");
        assert_eq!(marks(&data_plane), vec![vec![FAR]; 4]);
    }
}

#[test]
fn keys_that_the_store_knows_go_on_behind_their_marks_where_the_data_plane_has_others() {
    let (mut agent, data_plane) = Agent::connected();
    set_up(&agent);
    did(&data_plane, FAR);
    data_plane.state().polls = 0;
    wait_until("the agent has polled twice", || {
        data_plane.state().polls >= 2
    });
    agent.stop();
    // As if it had died when the data plane had new keys and the store did not.
    data_plane.state().statistics.clear();
    let before = flows(&data_plane);
    for flow in data_plane.state().flows.values_mut() {
        if let Some(protect) = &mut flow.egress.protect {
            protect.keys[0] = MasterKey::new(Secret::new(vec![7; 30]));
        }
    }
    agent.start();
    agent.wait_until_connected();
    assert_eq!(without_marks(flows(&data_plane)), before);
    assert_eq!(marks(&data_plane), vec![vec![FAR]; 4]);
}
