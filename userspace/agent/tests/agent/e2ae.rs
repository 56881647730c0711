// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The e2ae procedures over HTTP.

use sallyport_flow::{Carries, Flow, Realm, Source};
use serde_json::{Value, json};

use crate::harness::Agent;

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

fn ue_sdp() -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
         m=audio 5004 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n\
         a=3ge2ae:requested\r\n"
    )
}

fn core_sdp() -> String {
    "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n\
     m=audio 6000 RTP/AVP 0\r\n"
        .to_owned()
}

fn body(from: &str, to: Option<&str>, sdp: &str) -> Value {
    json!({
        "call_id": "c/1@ims.example", "from_tag": from, "to_tag": to, "sdp": sdp,
        "ue": {
            "security_client": ["sdes-srtp;mediasec"],
            "security_server": ["sdes-srtp;mediasec"],
            "access_network": "3GPP-E-UTRAN-FDD",
            "signalling": "confidential",
            "received_from": "192.0.2.7",
        },
    })
}

fn post(agent: &Agent, path: &str, body: &Value) -> (u16, Value) {
    agent.request("POST", &format!("/v1/e2ae/{path}"), &[], &body.to_string())
}

fn passed(agent: &Agent, path: &str, body: &Value) -> String {
    let (status, answer) = post(agent, path, body);
    assert_eq!(status, 200, "{answer}");
    answer["sdp"].as_str().expect("an SDP").to_owned()
}

#[test]
fn the_originating_procedure_protects_the_access_side() {
    let (agent, data_plane) = Agent::connected();
    let offered = passed(&agent, "originating/offer", &body("ue", None, &ue_sdp()));
    assert!(
        offered.contains("RTP/AVP") && !offered.contains("crypto"),
        "{offered}"
    );
    let answered = passed(
        &agent,
        "originating/answer",
        &body("ue", Some("as"), &core_sdp()),
    );
    assert!(
        answered.contains("RTP/SAVP") && answered.contains("a=crypto:1 "),
        "{answered}"
    );
    for flow in data_plane.state().flows.values() {
        let is_access = flow.ingress.realm == Realm::Access;
        assert_eq!(flow.ingress.unprotect.is_some(), is_access);
    }
    let line = |profile: &str, protection: &str, suite: Option<&str>| {
        json!([{
            "medium": "audio", "profile": profile, "protection": protection, "suite": suite,
            "packets": 0, "bytes": 0, "errors": 0,
        }])
    };
    let query = json!({ "call_id": "c/1@ims.example" });
    let suite = Some("AES_CM_128_HMAC_SHA1_80");
    let peers = json!([
        { "tag": "ue", "media": line("RTP/SAVP", "end-to-access-edge", suite) },
        { "tag": "as", "media": line("RTP/AVP", "none", None) },
    ]);
    assert_eq!(
        post(&agent, "query", &query),
        (200, json!({ "peers": peers }))
    );
    let delete = json!({ "call_id": "c/1@ims.example", "from_tag": "ue" });
    let (status, did) = post(&agent, "delete", &delete);
    assert_eq!(
        (status, did),
        (200, json!({ "packets": 0, "bytes": 0, "errors": 0 }))
    );
    assert_eq!(post(&agent, "query", &query).0, 404);
    assert!(data_plane.state().flows.is_empty());
    assert_eq!(post(&agent, "delete", &delete).0, 404);
}

#[test]
fn a_query_tells_what_is_protected_from_end_to_end() {
    let (agent, _data_plane) = Agent::connected();
    let mut offer = body("ue", None, &ue_sdp());
    offer["ue"] = Value::Null;
    passed(&agent, "originating/offer", &offer);
    let mut answer = body("ue", Some("as"), &ue_sdp().replace("WVNf", "PS1u"));
    answer["ue"] = Value::Null;
    passed(&agent, "originating/answer", &answer);
    let (_, told) = post(&agent, "query", &json!({ "call_id": "c/1@ims.example" }));
    for peer in told["peers"].as_array().expect("two peers") {
        let line = &peer["media"][0];
        assert_eq!(line["profile"], "RTP/SAVP", "{told}");
        assert_eq!(line["protection"], "end-to-end", "{told}");
    }
}

#[test]
fn the_terminating_procedure_offers_our_keys_and_takes_the_ues() {
    let (agent, data_plane) = Agent::connected();
    let mut request = body("as", None, &core_sdp());
    request["policy"] = json!({ "suites": ["AES_CM_128_HMAC_SHA1_80"] });
    let offered = passed(&agent, "terminating/offer", &request);
    assert!(
        offered.contains("RTP/SAVP") && offered.contains("a=3ge2ae:applied"),
        "{offered}"
    );
    assert_eq!(offered.matches("a=crypto:").count(), 1, "{offered}");
    let answered = passed(
        &agent,
        "terminating/answer",
        &body("as", Some("ue"), &ue_sdp()),
    );
    assert!(
        answered.contains("RTP/AVP") && !answered.contains("crypto"),
        "{answered}"
    );
    assert_eq!(data_plane.state().flows.len(), 4);
    // The UE makes an offer in its turn: that is the originating procedure.
    let again = body("ue", Some("as"), &ue_sdp());
    assert_eq!(post(&agent, "terminating/offer", &again).0, 409);
    passed(&agent, "originating/offer", &again);
}

#[test]
fn a_plain_peer_that_says_a_host_name_is_where_its_media_address_says() {
    let (agent, data_plane) = Agent::connected();
    passed(&agent, "originating/offer", &body("ue", None, &ue_sdp()));
    let named = core_sdp().replace("c=IN IP4 10.0.0.9", "c=IN IP4 media.example");
    let mut answer = body("ue", Some("as"), &named);
    let (status, refused) = post(&agent, "originating/answer", &answer);
    assert_eq!(status, 422, "{refused}");
    assert!(refused.to_string().contains("media_address"), "{refused}");
    answer["media_address"] = json!("10.0.0.9");
    passed(&agent, "originating/answer", &answer);
    let state = data_plane.state();
    let is_core = |flow: &&Flow| flow.ingress.realm == Realm::Core;
    let core: Vec<_> = state.flows.values().filter(is_core).collect();
    assert_eq!(core.len(), 2);
    for flow in core {
        // Not only after it has sent something.
        let expected = match flow.ingress.carries {
            Carries::Rtcp => "10.0.0.9:6001",
            _ => "10.0.0.9:6000",
        };
        let Source::Latch(latch) = &flow.ingress.source else {
            panic!("{:?}", flow.ingress.source);
        };
        let from = latch.from.map(|from| from.to_string());
        assert_eq!(from.as_deref(), Some("10.0.0.9/32"));
        let signalled = latch.signalled.map(|signalled| signalled.to_string());
        assert_eq!(signalled.as_deref(), Some(expected));
    }
}

#[test]
fn what_is_refused_has_the_codes_for_sip_beside_its_message() {
    let (agent, _data_plane) = Agent::connected();
    let mut plain = body("ue", None, &core_sdp());
    plain["policy"] = json!({ "e2ae": "required" });
    let (status, answer) = post(&agent, "originating/offer", &plain);
    assert_eq!(status, 422, "{answer}");
    assert_eq!(answer["error"]["sip_status"], 488);
    assert_eq!(answer["error"]["sip_warning"], 302);
    for (key, value, field) in [
        ("sdp", json!("v=1"), "sdp"),
        ("from_tag", json!(1), "from_tag"),
        ("call_id", json!("c".repeat(1025)), "call_id"),
        ("via_branch", json!("z".repeat(1025)), "via_branch"),
        ("policy", json!({ "e2ae": "perhaps" }), "policy.e2ae"),
        ("policy", json!({ "suites": ["ROT13"] }), "policy.suites"),
        ("policy", json!({ "suits": [] }), "policy.suits"),
        ("ue", json!({ "signalling": "secret" }), "ue.signalling"),
    ] {
        let mut wrong = body("ue", None, &ue_sdp());
        wrong[key] = value;
        let (status, answer) = post(&agent, "originating/offer", &wrong);
        assert_eq!(
            (status, &answer["error"]["field"]),
            (400, &json!(field)),
            "{answer}"
        );
        assert!(!answer.to_string().contains(KEY));
    }
    let unknown = body("ue", Some("as"), &core_sdp());
    assert_eq!(post(&agent, "originating/answer", &unknown).0, 404);
}
