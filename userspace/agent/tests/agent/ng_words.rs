// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What each word of a SIP proxy makes of session descriptions. How media flows is in `ng_options`.

use std::net::SocketAddr;

use sallyport_flow::{Flow, FlowStatistics, Latch, Mark, Realm, Source};
use serde_json::{Value, json};

use crate::data_plane::DataPlane;
use crate::harness::Agent;

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const BROWSERS_CANDIDATE: &str = "192.0.2.9 51234";
const FINGERPRINT: &str = "a=fingerprint:sha-256 10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F:\
                           20:21:22:23:24:25:26:27:28:29:2A:2B:2C:2D:2E:2F\r\n";

fn sdp(ip: &str, lines: &str) -> String {
    format!("v=0\r\no=alice 1 1 IN IP4 {ip}\r\ns=talk\r\nc=IN IP4 {ip}\r\nt=0 0\r\n{lines}")
}

fn plain(lines: &str) -> String {
    sdp("192.0.2.7", &format!("m=audio 5004 RTP/AVP 0\r\n{lines}"))
}

/// What an SRTP phone offers.
fn protected() -> String {
    let crypto = ["80", "32"]
        .iter()
        .zip(1..)
        .map(|(bits, tag)| format!("a=crypto:{tag} AES_CM_128_HMAC_SHA1_{bits} inline:{KEY}\r\n"));
    let crypto: String = crypto.collect();
    sdp("192.0.2.7", &format!("m=audio 5004 RTP/SAVP 0\r\n{crypto}"))
}

/// What a browser offers.
fn browser(lines: &str) -> String {
    sdp(
        "192.0.2.9",
        &format!(
            "a=group:BUNDLE 0\r\nm=audio 51234 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
             a=ice-ufrag:Wvka\r\na=ice-pwd:asd88fgpdd777uzjYhagZgAa\r\n\
             a=candidate:1 1 udp 2113937151 {BROWSERS_CANDIDATE} typ host\r\n\
             {FINGERPRINT}a=setup:actpass\r\na=rtcp-mux\r\n{lines}"
        ),
    )
}

/// A phone in the core that takes the call.
fn phone() -> String {
    sdp("10.0.0.9", "m=audio 6000 RTP/AVP 0\r\n")
}

fn request(command: &str, sdp: &str, options: &Value) -> Value {
    let mut request = json!({
        "command": command, "call-id": "c", "from-tag": "a", "sdp": sdp,
        "direction": ["access", "core"],
    });
    if command == "answer" {
        request["to-tag"] = json!("b");
    }
    for (key, value) in options.as_object().expect("options") {
        request[key] = value.clone();
    }
    request
}

/// What is passed on.
fn passed(agent: &Agent, command: &str, sdp: &str, options: &Value) -> String {
    let reply = agent.ng(&request(command, sdp, options));
    assert_eq!(reply["result"], "ok", "{options}: {reply}");
    reply["sdp"].as_str().expect("an SDP").to_owned()
}

fn end(agent: &Agent) {
    let delete = json!({ "command": "delete", "call-id": "c" });
    assert_eq!(agent.ng(&delete)["result"], "ok");
}

fn expect(options: &Value, text: &str, there: &[&str], missing: &[&str]) {
    for line in there {
        assert!(text.contains(line), "{options}: no {line} in {text}");
    }
    for line in missing {
        assert!(!text.contains(line), "{options}: {line} in {text}");
    }
}

#[test]
fn an_offer_is_passed_on_with_the_ice_that_is_asked_for() {
    let (agent, _data_plane) = Agent::connected();
    let host = "a=candidate:1 1 UDP 2130706431 10.0.0.1 ";
    let relay = "a=candidate:1 1 UDP 16777215 10.0.0.1 ";
    let none = &["a=ice", "a=candidate"][..];
    let not_the_browsers = &["Wvka", BROWSERS_CANDIDATE][..];
    for (offer, options, there, missing) in [
        (plain(""), json!({}), &[][..], none),
        (browser(""), json!({}), &[host][..], not_the_browsers),
        (browser(""), json!({ "ICE": "remove" }), &[], none),
        (
            browser(""),
            json!({ "ICE": "default" }),
            &[host],
            not_the_browsers,
        ),
        (plain(""), json!({ "ICE": "force" }), &[host], &["relay"]),
        (plain(""), json!({ "ICE": "optional" }), &[host], &["relay"]),
        (
            browser(""),
            json!({ "ICE": "optional" }),
            &[host],
            not_the_browsers,
        ),
        (
            browser(""),
            json!({ "ICE": "force-relay" }),
            &[relay, " typ relay raddr 0.0.0.0 rport 9\r\n"],
            not_the_browsers,
        ),
        (
            plain(""),
            json!({ "ICE": ["force", "trickle"] }),
            &["a=ice-options:ice2 trickle\r\n", "a=end-of-candidates\r\n"],
            &[],
        ),
        (
            plain(""),
            json!({ "ICE": "force", "ICE-lite": "forward" }),
            &["a=ice-lite\r\n", "a=ice-options:ice2\r\n"],
            &[],
        ),
        // There is no other agent here than a lite one, so that is what is said.
        (
            plain(""),
            json!({ "ICE": "force", "ICE-lite": "off" }),
            &["a=ice-lite\r\n"],
            &[],
        ),
        (
            browser(""),
            json!({ "bundle": ["reject"] }),
            &[],
            &["BUNDLE"],
        ),
    ] {
        let text = passed(&agent, "offer", &offer, &options);
        expect(&options, &text, there, missing);
        end(&agent);
    }
}

#[test]
fn an_offer_is_passed_on_with_the_keys_that_are_asked_for() {
    let (agent, _data_plane) = Agent::connected();
    let dtls = |more: &Value| {
        let mut options = json!({ "transport-protocol": "UDP/TLS/RTP/SAVPF" });
        for (key, value) in more.as_object().expect("options") {
            options[key] = value.clone();
        }
        options
    };
    for (offer, options, there, missing) in [
        (
            plain(""),
            dtls(&json!({})),
            &["a=fingerprint:sha-256 ", "a=setup:actpass", "a=tls-id:"][..],
            &["a=crypto:"][..],
        ),
        // Who answers chooses.
        (
            plain(""),
            dtls(&json!({ "DTLS": "passive" })),
            &["a=setup:actpass\r\n"],
            &[],
        ),
        (
            plain(""),
            dtls(&json!({ "flags": ["no-tls-id"] })),
            &[],
            &["a=tls-id"],
        ),
        (
            plain(""),
            dtls(&json!({ "DTLS-fingerprint": "SHA-384" })),
            &["a=fingerprint:sha-384 "],
            &["sha-256"],
        ),
        (
            plain(""),
            dtls(&json!({ "DTLS-fingerprint": "sha-1" })),
            &["a=fingerprint:sha-256 "],
            &["sha-1 "],
        ),
        (
            plain(""),
            json!({ "flags": ["WebRTC"] }),
            &[
                " UDP/TLS/RTP/SAVPF ",
                "a=rtcp-mux\r\n",
                "a=mid:1\r\n",
                "a=ice-options:ice2 trickle\r\n",
            ],
            &["a=rtcp:", "a=crypto", "a=candidate:1 2 "],
        ),
        (
            plain(""),
            json!({ "transport-protocol": "RTP/SAVP", "SDES": ["off"] }),
            &[" RTP/SAVP ", "a=fingerprint:"],
            &["a=crypto:"],
        ),
        (
            plain(""),
            json!({ "transport-protocol": "RTP/SAVP", "SDES": ["only-AEAD_AES_128_GCM", "pad"] }),
            &["==\r\n"],
            &[],
        ),
        (
            protected(),
            json!({ "transport-protocol": "RTP/SAVP", "SDES": ["nonew"] }),
            &["a=crypto:1 AES_CM_128_HMAC_SHA1_80 "],
            &["AEAD", KEY],
        ),
        // The peers share their keys, unless they are not to.
        (protected(), json!({}), &[KEY], &["AEAD"]),
        (
            protected(),
            json!({ "flags": ["recrypt"] }),
            &["a=crypto:1 AEAD_AES_256_GCM "],
            &[KEY],
        ),
        (
            plain(""),
            json!({ "OSRTP": ["offer-legacy"] }),
            &[" RTP/SAVP 0\r\n", " RTP/AVP 0\r\n"],
            &[],
        ),
    ] {
        let text = passed(&agent, "offer", &offer, &options);
        expect(&options, &text, there, missing);
        end(&agent);
    }
}

#[test]
fn an_offer_is_passed_on_with_the_lines_that_are_asked_for() {
    let (agent, _data_plane) = Agent::connected();
    let held = plain("").replace("192.0.2.7\r\nt", "0.0.0.0\r\nt");
    for (offer, options, there, missing) in [
        (
            plain("a=rtcp:5007\r\n"),
            json!({ "flags": ["no-rtcp-attribute"] }),
            &[][..],
            &["a=rtcp:"][..],
        ),
        (
            plain("a=rtcp-mux\r\n"),
            json!({ "rtcp-mux": ["accept"] }),
            &["a=rtcp-mux\r\n"],
            &[],
        ),
        (
            plain("a=sendonly\r\n"),
            json!({ "flags": ["original-sendrecv"] }),
            &["a=sendonly\r\n"],
            &[],
        ),
        (
            plain(""),
            json!({ "replace": ["origin-full", "session-name"] }),
            &[" IN IP4 10.0.0.1\r\n", "s=-\r\n"],
            &["alice", "192.0.2.7"],
        ),
        (
            plain(""),
            json!({ "replace": ["username"] }),
            &["o=- 1 1 IN IP4 192.0.2.7\r\n"],
            &[],
        ),
        (
            plain(""),
            json!({ "replace": ["force-increment-sdp-ver"] }),
            &["o=alice 1 2 IN"],
            &[],
        ),
        (held.clone(), json!({}), &["c=IN IP4 0.0.0.0"], &[]),
        (
            held,
            json!({ "replace": ["zero address"] }),
            &["c=IN IP4 10.0.0.1"],
            &["0.0.0.0"],
        ),
    ] {
        let text = passed(&agent, "offer", &offer, &options);
        expect(&options, &text, there, missing);
        end(&agent);
    }
}

#[test]
fn who_offered_is_answered_as_is_asked_for_in_either_message() {
    let (agent, _data_plane) = Agent::connected();
    let to_plain = |more: &Value| {
        let mut options = json!({ "transport-protocol": "RTP/AVP", "ICE": "remove" });
        for (key, value) in more.as_object().expect("options") {
            options[key] = value.clone();
        }
        options
    };
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n");
    for (offer, of_offer, of_answer, there, missing) in [
        (
            browser(""),
            to_plain(&json!({})),
            json!({}),
            &["a=setup:passive\r\n", " typ host\r\n"][..],
            &["relay"][..],
        ),
        (
            browser(""),
            to_plain(&json!({ "DTLS": "passive" })),
            json!({}),
            &["a=setup:passive\r\n"],
            &[],
        ),
        (
            browser(""),
            to_plain(&json!({ "DTLS": "active" })),
            json!({}),
            &["a=setup:passive\r\n"],
            &[],
        ),
        (
            browser(""),
            to_plain(&json!({ "DTLS-reverse": "active" })),
            json!({}),
            &["a=setup:active\r\n"],
            &[],
        ),
        (
            browser(""),
            to_plain(&json!({})),
            json!({ "DTLS": "active", "DTLS-reverse": "passive" }),
            &["a=setup:active\r\n"],
            &[],
        ),
        (
            browser(""),
            to_plain(&json!({})),
            json!({ "DTLS": "off", "DTLS-reverse": "active" }),
            &["a=setup:active\r\n"],
            &[],
        ),
        (
            browser(""),
            to_plain(&json!({ "DTLS-reverse": "active" })),
            json!({ "DTLS": "passive" }),
            &["a=setup:passive\r\n"],
            &[],
        ),
        (
            browser(""),
            to_plain(&json!({ "flags": ["reject-ICE"] })),
            json!({}),
            &["a=fingerprint:"],
            &["a=ice", "a=candidate"],
        ),
        (
            browser(""),
            to_plain(&json!({})),
            json!({ "ICE": "remove" }),
            &["a=fingerprint:"],
            &["a=ice", "a=candidate"],
        ),
        (
            browser(""),
            to_plain(&json!({})),
            json!({ "ICE": "force-relay" }),
            &[" typ relay raddr 0.0.0.0 rport 9\r\n"],
            &[],
        ),
        (
            browser(&crypto),
            to_plain(&json!({})),
            json!({}),
            &["UDP/TLS/RTP/SAVPF", "a=fingerprint:"],
            &["a=crypto:"],
        ),
        (
            browser(&crypto),
            to_plain(&json!({ "flags": ["SDES-prefer"], "DTLS": "off" })),
            json!({}),
            &["UDP/TLS/RTP/SAVPF", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 "],
            &["a=fingerprint:", "a=setup:", KEY],
        ),
        (
            protected(),
            to_plain(&json!({})),
            json!({ "SDES": ["lifetime"] }),
            &["a=crypto:1 AES_CM_128_HMAC_SHA1_80 ", "|2^31\r\n"],
            &[],
        ),
        (
            protected(),
            to_plain(&json!({ "SDES": ["offerer_pref:AES_CM_128_HMAC_SHA1_32"] })),
            json!({}),
            &["a=crypto:2 AES_CM_128_HMAC_SHA1_32 "],
            &[],
        ),
        (
            plain(&crypto),
            to_plain(&json!({ "OSRTP": ["accept-RFC"] })),
            json!({ "OSRTP": ["accept-RFC"] }),
            &[" RTP/AVP ", "a=crypto:1 "],
            &[KEY],
        ),
        (
            plain("a=rtcp-mux\r\n"),
            json!({ "rtcp-mux": ["demux"] }),
            json!({}),
            &["a=rtcp-mux\r\n"],
            &[],
        ),
        (
            plain("a=rtcp-mux\r\n"),
            json!({ "rtcp-mux": ["reject"] }),
            json!({}),
            &[],
            &["a=rtcp-mux"],
        ),
    ] {
        passed(&agent, "offer", &offer, &of_offer);
        let text = passed(&agent, "answer", &phone(), &of_answer);
        expect(&json!([of_offer, of_answer]), &text, there, missing);
        end(&agent);
    }
}

#[test]
fn a_peer_is_where_the_proxy_says_or_where_its_signalling_comes_from() {
    let (agent, data_plane) = Agent::connected();
    let from_nat = json!(["IP4", "198.51.100.1"]);
    for (options, address) in [
        (json!({ "received-from": from_nat }), "192.0.2.7:5004"),
        (
            json!({ "received-from": from_nat, "flags": ["SIP-source-address"] }),
            "198.51.100.1:5004",
        ),
        (
            json!({
                "received-from": from_nat, "flags": ["SIP-source-address", "trust-address"],
            }),
            "192.0.2.7:5004",
        ),
        (
            json!({ "media-address": "203.0.113.9" }),
            "203.0.113.9:5004",
        ),
    ] {
        passed(&agent, "offer", &plain(""), &options);
        passed(&agent, "answer", &phone(), &json!({}));
        let flow = data_plane.state().flows.values().next().cloned();
        let expected: SocketAddr = address.parse().expect("an address");
        match flow.expect("a flow").ingress.source {
            Source::Latch(Latch { signalled, .. }) => {
                assert_eq!(signalled, Some(expected), "{options}");
            }
            Source::Only(peer) => panic!("only {peer}"),
        }
        end(&agent);
    }
}

#[test]
fn an_offer_that_comes_round_is_left_alone_if_it_is_to_be() {
    let (agent, _data_plane) = Agent::connected();
    let options = json!({ "flags": ["loop-protect"] });
    let first = passed(&agent, "offer", &plain(""), &options);
    assert_eq!(passed(&agent, "offer", &first, &options), first);
}

#[test]
fn of_a_trickled_fragment_no_candidate_is_passed_on() {
    let (agent, _data_plane) = Agent::connected();
    let fragment = format!(
        "a=ice-ufrag:Wvka\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
         a=candidate:1 1 udp 1 {BROWSERS_CANDIDATE} typ host\r\n"
    );
    let options = json!({ "flags": ["fragment"] });
    let early = agent.ng(&request("offer", &fragment, &options));
    assert_eq!(early["error-reason"], "Unknown call-id");
    passed(&agent, "offer", &browser(""), &json!({}));
    let left = passed(&agent, "offer", &fragment, &options);
    assert_eq!(left, "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n");
}

/// The flows, and where RTP of the access side and that of the core side arrive.
fn locals(data_plane: &DataPlane) -> (Vec<Flow>, [SocketAddr; 2]) {
    let flows: Vec<_> = data_plane.state().flows.values().cloned().collect();
    let local = |realm| {
        let mut of = flows.iter().filter(|flow| flow.ingress.realm == realm);
        of.next().expect("a flow").ingress.local
    };
    let locals = [local(Realm::Access), local(Realm::Core)];
    (flows, locals)
}

#[test]
fn who_moves_is_led_to_other_ports_if_that_is_asked_for_or_the_version_of_ip_needs_it() {
    let moved = protected().replace("5004", "5014");
    let over_ipv6 = protected().replace("IP4 192.0.2.7", "IP6 2001:db8::7");
    let no_latching = json!({ "flags": ["no-port-latching"] });
    let restarted = browser("").replace("Wvka", "Wvkb");
    for (first, second, options, moves) in [
        (protected(), moved.clone(), json!({}), false),
        (protected(), moved.clone(), no_latching.clone(), true),
        (
            protected(),
            moved,
            json!({ "flags": ["no-port-latching", "port-latching"] }),
            false,
        ),
        (protected(), protected(), no_latching.clone(), false),
        (protected(), over_ipv6, json!({}), true),
        (browser(""), browser(""), no_latching.clone(), false),
        (browser(""), restarted.clone(), json!({}), false),
        (browser(""), restarted, no_latching, true),
    ] {
        let (agent, data_plane) = Agent::connected();
        let mut all = json!({ "transport-protocol": "RTP/AVP", "ICE": "remove" });
        passed(&agent, "offer", &first, &all);
        passed(&agent, "answer", &phone(), &json!({}));
        let (before, [near, far]) = locals(&data_plane);
        // The UE and we have sent this.
        let sent = Mark {
            ssrc: 9,
            rtp: Some(1 << 17),
            rtcp: None,
        };
        for flow in &before {
            let marks = |crypto: &Option<_>| Vec::from_iter(crypto.as_ref().map(|_| sent));
            let did = FlowStatistics {
                id: flow.id,
                packets_in: 10,
                bytes_in: 2000,
                unprotect: marks(&flow.ingress.unprotect),
                protect: marks(&flow.egress.protect),
                ..FlowStatistics::default()
            };
            data_plane.state().statistics.insert(flow.id, did);
        }
        let query = json!({ "command": "query", "call-id": "c" });
        let totals = agent.ng(&query)["totals"].clone();
        assert_eq!(totals["RTP"]["bytes"], 4000, "{totals}");

        for (key, value) in options.as_object().expect("options") {
            all[key] = value.clone();
        }
        all["to-tag"] = json!("b");
        let offered = passed(&agent, "offer", &second, &all);
        assert!(offered.contains(&format!("m=audio {} ", far.port())));
        // Until there is an answer, media flows as it did.
        assert_eq!(locals(&data_plane), (before, [near, far]), "{options}");
        let answered = passed(&agent, "answer", &phone(), &json!({}));
        let (after, [new_near, new_far]) = locals(&data_plane);
        assert_eq!((new_near != near, new_far), (moves, far), "{options}");
        assert!(answered.contains(&format!("m=audio {} ", new_near.port())));
        assert_eq!(agent.ng(&query)["totals"], totals, "{options}");
        for crypto in after
            .iter()
            .flat_map(|flow| [&flow.ingress.unprotect, &flow.egress.protect])
        {
            let goes_on = crypto
                .as_ref()
                .is_none_or(|it| !moves || it.marks == [sent]);
            assert!(goes_on, "{options}: {crypto:?}");
        }
        end(&agent);
        assert_eq!(data_plane.state().flows.len(), 0);
    }
}

#[test]
fn who_answers_is_led_to_the_version_of_ip_that_the_proxy_says_later() {
    let (agent, data_plane) = Agent::connected();
    let core = sdp("10.0.0.9", "m=audio 6000 RTP/AVP 0\r\n");
    let ue = |ip: &str| sdp(ip, "m=audio 5004 RTP/AVP 0\r\n").replace("IP4 2001", "IP6 2001");
    let to_ue = |more: Value| {
        let mut options = more;
        options["direction"] = json!(["core", "access"]);
        options
    };
    passed(
        &agent,
        "offer",
        &core,
        &to_ue(json!({ "address-family": "IP4" })),
    );
    passed(&agent, "answer", &ue("192.0.2.7"), &json!({}));
    let again = to_ue(json!({ "address-family": "IP6", "to-tag": "b" }));
    let offered = passed(&agent, "offer", &core, &again);
    assert!(offered.contains("c=IN IP6 2001:db8::1\r\n"), "{offered}");
    assert_eq!(passed(&agent, "offer", &core, &again), offered);
    passed(&agent, "answer", &ue("2001:db8::7"), &json!({}));
    let (_, [access, _]) = locals(&data_plane);
    assert!(access.is_ipv6());
    end(&agent);
}
