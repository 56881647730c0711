// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the words of a SIP proxy make of the flows of a call.

use std::time::Duration;

use sallyport_flow::{Flow, Gate, Latch, LatchOn, Realm, Source};
use serde_json::{Value, json};

use crate::harness::Agent;

const WATCH: Duration = Duration::from_secs(3);

fn sdp(ip: &str, port: u16, lines: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 8 96\r\na=rtpmap:96 opus/48000/2\r\n{lines}"
    )
}

/// A plain call that both messages say `options` of; what was passed on, and the RTP flow of each
/// side.
fn call(options: &Value, answer_lines: &str) -> (String, [Flow; 2]) {
    let (agent, data_plane) = Agent::connected();
    let mut passed = Vec::new();
    for (command, sdp) in [
        ("offer", sdp("192.0.2.7", 5004, "")),
        ("answer", sdp("10.0.0.9", 6000, answer_lines)),
    ] {
        let mut request = json!({
            "command": command, "call-id": "c", "from-tag": "a", "to-tag": "b", "sdp": sdp,
        });
        if command == "offer" {
            request.as_object_mut().expect("a request").remove("to-tag");
        }
        for (key, value) in options.as_object().expect("options") {
            request[key] = value.clone();
        }
        let reply = agent.ng(&request);
        assert_eq!(reply["result"], "ok", "{options}: {reply}");
        passed.push(reply["sdp"].as_str().expect("an SDP").to_owned());
    }
    let flows: Vec<_> = data_plane.state().flows.values().cloned().collect();
    assert_eq!(flows.len(), 4);
    (passed.swap_remove(0), [flows[0].clone(), flows[2].clone()])
}

fn latch(flow: &Flow) -> Latch {
    match flow.ingress.source {
        Source::Latch(latch) => latch,
        Source::Only(peer) => panic!("only {peer}"),
    }
}

#[test]
fn how_peers_are_learned_and_waited_for_is_up_to_the_proxy() {
    for (options, on, is_filtered, waits) in [
        (json!({}), LatchOn::First, true, false),
        (
            json!({ "flags": ["strict-source", "NAT-wait"] }),
            LatchOn::First,
            true,
            true,
        ),
        (
            json!({ "endpoint-learning": "immediate" }),
            LatchOn::First,
            true,
            false,
        ),
        (
            json!({ "endpoint-learning": "delayed" }),
            LatchOn::Late(WATCH),
            true,
            false,
        ),
        (
            json!({ "flags": ["endpoint-learning-heuristic"] }),
            LatchOn::Best(WATCH),
            true,
            false,
        ),
        (
            json!({ "flags": ["media handover"] }),
            LatchOn::Last,
            false,
            false,
        ),
    ] {
        let (_, flows) = call(&options, "");
        for flow in &flows {
            let latch = latch(flow);
            assert_eq!(latch.on, on, "{options}");
            assert_eq!(latch.from.is_some(), is_filtered, "{options}");
            assert_eq!(latch.waits, waits, "{options}");
        }
    }
    let (_, flows) = call(&json!({ "flags": ["endpoint-learning-off"] }), "");
    for (flow, peer) in flows.iter().zip(["192.0.2.7:5004", "10.0.0.9:6000"]) {
        let peer = peer.parse().expect("an address");
        assert_eq!(flow.ingress.source, Source::Only(peer));
    }
}

#[test]
fn media_goes_where_the_proxy_wants_and_is_marked_as_it_says() {
    use Realm::{Access, Core};
    let open = [Gate::Open; 2];
    for (options, to, gates, dscp) in [
        (json!({ "TOS": 184 }), [Core, Access], open, Some(46)),
        (json!({ "TOS": 256 }), [Core, Access], open, None),
        (json!({ "media-echo": "both" }), [Access, Core], open, None),
        // The offer is of the access side, and the answer, which comes last, of the core.
        (
            json!({ "media echo": "forward" }),
            [Access, Core],
            [Gate::Open, Gate::Closed],
            None,
        ),
        (
            json!({ "media-echo": "blackhole" }),
            [Core, Access],
            [Gate::Closed; 2],
            None,
        ),
        (
            json!({ "drop-traffic": "start" }),
            [Core, Access],
            [Gate::Closed; 2],
            None,
        ),
        (
            json!({ "drop-traffic": "stop", "media-echo": "sinkhole" }),
            [Core, Access],
            open,
            None,
        ),
    ] {
        let (_, flows) = call(&options, "");
        for ((flow, to), gate) in flows.iter().zip(to).zip(gates) {
            assert_eq!(flow.egress.realm, to, "{options}");
            assert_eq!(flow.gate, gate, "{options}");
            assert_eq!(flow.egress.dscp, dscp, "{options}");
        }
    }
}

#[test]
fn packets_are_marked_as_the_last_offer_says_or_else_as_they_arrive() {
    let (agent, data_plane) = Agent::connected();
    for (options, dscp) in [
        (json!({ "TOS": 184 }), Some(46)),
        (json!({ "TOS": -1 }), Some(46)),
        (json!({}), None),
    ] {
        for (command, sdp) in [
            ("offer", sdp("192.0.2.7", 5004, "")),
            ("answer", sdp("10.0.0.9", 6000, "")),
        ] {
            let mut request = json!({
                "command": command, "call-id": "c", "from-tag": "a", "to-tag": "b", "sdp": sdp,
            });
            if let (Some(tos), "offer") = (options.get("TOS"), command) {
                request["TOS"] = tos.clone();
            }
            assert_eq!(agent.ng(&request)["result"], "ok");
        }
        for flow in data_plane.state().flows.values() {
            assert_eq!(flow.egress.dscp, dscp, "{options}");
        }
    }
}

#[test]
fn opportunistic_keys_are_offered_and_used_if_they_are_taken() {
    let options =
        json!({ "OSRTP": ["offer"], "SDES": ["only-AES_CM_128_HMAC_SHA1_80", "lifetime"] });
    let (offered, flows) = call(&options, "");
    assert!(offered.contains("RTP/AVP 0 8 96\r\n"), "{offered}");
    assert!(
        offered.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"),
        "{offered}"
    );
    assert!(offered.contains("|2^31\r\n"), "{offered}");
    assert!(flows.iter().all(|flow| flow.egress.protect.is_none()));
    let key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 \
               inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    let (_, [up, down]) = call(&options, key);
    let sent = up.egress.protect.expect("keys of ours");
    assert_eq!(sent.lifetime, Some(1 << 31));
    assert!(down.ingress.unprotect.is_some() && down.egress.protect.is_none());
}

#[test]
fn what_the_proxy_notes_of_a_call_is_told_with_it_until_it_notes_something_else() {
    let (agent, _data_plane) = Agent::connected();
    let (plain, no_note) = (sdp("192.0.2.7", 5004, ""), json!({}));
    for (note, told) in [
        (json!({ "metadata": "caller:alice" }), "caller:alice"),
        (no_note, "caller:alice"),
        (json!({ "flags": ["metadata=bob"] }), "bob"),
    ] {
        let mut offer = json!({
            "command": "offer", "call-id": "c", "from-tag": "a", "sdp": plain,
        });
        for (key, value) in note.as_object().expect("options") {
            offer[key] = value.clone();
        }
        assert_eq!(agent.ng(&offer)["result"], "ok");
        let report = agent.ng(&json!({ "command": "query", "call-id": "c" }));
        assert_eq!(report["metadata"], told, "{report}");
    }
}

#[test]
fn what_would_take_protection_away_is_refused_in_words() {
    let (agent, _data_plane) = Agent::connected();
    for (command, options, remedy) in [
        (
            "offer",
            json!({ "SDES": ["unencrypted_srtp"], "transport-protocol": "RTP/SAVP" }),
            "leave SDES-unencrypted_srtp",
        ),
        (
            "offer",
            json!({ "SDES": ["UNAUTHENTICATED_SRTP"], "OSRTP": ["offer"] }),
            "leave SDES-unencrypted_srtp",
        ),
        (
            "offer",
            json!({ "flags": ["SDES-unencrypted_srtcp"], "transport-protocol": "RTP/SAVP" }),
            "agent.policy.unencrypted_srtcp = true",
        ),
        (
            "offer",
            json!({ "SDES": ["encrypted_srtp"], "transport-protocol": "RTP/SAVP" }),
            "",
        ),
    ] {
        let request = request(command, &options);
        let reply = agent.ng(&request);
        assert_eq!(
            reply["result"] == "ok",
            remedy.is_empty(),
            "{options}: {reply}"
        );
        let reason = reply["error-reason"].as_str().unwrap_or_default();
        assert!(reason.contains(remedy), "{options}: {reason}");
    }
}

/// A message about the call of `a` and `b`.
fn request(command: &str, options: &Value) -> Value {
    let mut request = json!({
        "command": command, "call-id": "c", "from-tag": "a", "sdp": sdp("192.0.2.7", 5004, ""),
    });
    if command == "answer" {
        request["to-tag"] = json!("b");
    }
    for (key, value) in options.as_object().expect("options") {
        request[key] = value.clone();
    }
    request
}

#[test]
fn words_that_turn_out_to_be_about_nothing_are_counted_and_the_call_goes_on() {
    let (agent, data_plane) = Agent::connected();
    let unsupported = || agent.get("/v1/agent").1["ng"]["unsupported_options"].as_u64();
    let mut before = unsupported().expect("a count");
    for (command, options, is_noted) in [
        ("offer", json!({ "SDES": ["unencrypted_srtp"] }), true),
        (
            "offer",
            json!({ "SDES": ["unauthenticated_srtp"], "transport-protocol": "RTP/AVP" }),
            true,
        ),
        (
            "offer",
            json!({ "SDES": ["off", "unencrypted_srtcp"], "transport-protocol": "RTP/SAVPF" }),
            true,
        ),
        ("offer", json!({ "SDES": ["encrypted_srtp"] }), false),
        ("answer", json!({ "address-family": "IP6" }), true),
        ("answer", json!({ "address-family": "IP4" }), false),
    ] {
        let reply = agent.ng(&request(command, &options));
        assert_eq!(reply["result"], "ok", "{options}: {reply}");
        let after = unsupported().expect("a count");
        assert_eq!(after - before, u64::from(is_noted), "{options}");
        before = after;
    }
    assert_eq!(data_plane.state().flows.len(), 4);
}

#[test]
fn codecs_and_attributes_are_edited_in_what_is_passed_on() {
    let options = json!({
        "codec": { "strip": ["PCMU"], "offer": ["opus"] },
        "sdp-attr": { "audio": { "add": ["ptime:20"] }, "none": { "add": ["x-tool:s"] } },
        "flags": ["codec-strip-G729"],
    });
    let (offered, _) = call(&options, "");
    assert!(offered.contains(" RTP/AVP 96 8\r\n"), "{offered}");
    assert!(
        offered.contains("t=0 0\r\na=x-tool:s\r\nm=audio "),
        "{offered}"
    );
    assert!(offered.ends_with("a=ptime:20\r\n"), "{offered}");
}
