// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What clients ask for, in words and in flows.

use sallyport_flow::{Gate, Realm, Remote};
use serde_json::json;

use super::{answer, flows, passed, reason, request, rtp};
use crate::harness::Agent;

#[test]
fn what_a_client_asks_for_is_in_the_sdp_and_in_the_flows() {
    let (agent, data_plane) = Agent::connected();
    let plain = rtp("192.0.2.7", 5004);
    let muxed = format!("{plain}a=rtcp-mux\r\n");
    let with_rtcp = format!("{plain}a=rtcp:5007\r\n");
    for (sdp, options, there, missing) in [
        (
            &plain,
            json!({ "transport-protocol": "RTP/SAVPF" }),
            "RTP/SAVPF",
            "3ge2ae",
        ),
        (
            &plain,
            json!({ "rtcp-mux": ["offer"] }),
            "a=rtcp-mux\r\n",
            "nothing",
        ),
        (
            &with_rtcp,
            json!({ "rtcp-mux": ["require"] }),
            "a=rtcp-mux\r\n",
            "a=rtcp:",
        ),
        (
            &plain,
            json!({ "rtcp-mux": ["require"], "ICE": "force" }),
            "a=candidate:1 1 ",
            "a=candidate:1 2 ",
        ),
        (
            &muxed,
            json!({ "rtcp-mux": ["demux"] }),
            "m=audio",
            "a=rtcp-mux",
        ),
        (
            &plain,
            json!({ "direction": ["external", "internal"] }),
            "c=IN IP4 10.0.0.1",
            "nothing",
        ),
        (
            &plain,
            json!({ "direction": ["internal", "external"] }),
            "c=IN IP4 192.0.2.1",
            "nothing",
        ),
        (
            &plain,
            json!({ "direction": ["access", "access"] }),
            "c=IN IP4 192.0.2.1",
            "nothing",
        ),
        (
            &plain,
            json!({ "direction": ["core", "access"], "address-family": "IP6" }),
            "c=IN IP6 2001:db8::1",
            "nothing",
        ),
        (
            &plain,
            json!({ "replace": ["origin"] }),
            "o=- 1 1 IN IP4 10.0.0.1",
            "192.0.2.7",
        ),
        (
            &plain,
            json!({ "replace": ["origin", "username"] }),
            "o=- 1 1 IN",
            "nothing",
        ),
        (
            &plain,
            json!({ "replace": ["SDP version"] }),
            "o=- 1 2 IN",
            "nothing",
        ),
        (
            &plain,
            json!({ "replace": ["session name"] }),
            "s=-",
            "nothing",
        ),
        (
            &plain,
            json!({ "flags": ["full-rtcp-attribute"], "direction": ["access", "core"] }),
            "a=rtcp:",
            "nothing",
        ),
        (
            &plain,
            json!({ "flags": ["generate-mid"] }),
            "a=mid:1",
            "nothing",
        ),
        (
            &plain,
            json!({ "flags": ["loop-protect"] }),
            "a=sallyport:",
            "nothing",
        ),
        (
            &plain,
            json!({ "transport-protocol": "RTP/SAVP", "SDES": ["only-AEAD_AES_128_GCM"] }),
            "a=crypto:1 AEAD_AES_128_GCM ",
            "a=crypto:2",
        ),
        (
            &plain,
            json!({
                "transport-protocol": "RTP/SAVP",
                "SDES": ["order:AES_CM_128_HMAC_SHA1_80;AEAD_AES_128_GCM"],
            }),
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 ",
            "nothing",
        ),
        (
            &plain,
            json!({ "transport-protocol": "RTP/SAVP", "flags": ["SDES-no-AEAD_AES_256_GCM"] }),
            "a=crypto:1 AEAD_AES_128_GCM ",
            "AES_256_GCM",
        ),
    ] {
        let text = passed(&agent, &request("offer", ("alice", None), sdp, &options));
        assert!(text.contains(there), "{options}: {text}");
        assert!(!text.contains(missing), "{options}: {text}");
        let delete = json!({ "command": "delete", "call-id": "call 1" });
        assert_eq!(agent.ng(&delete)["result"], "ok");
    }
    for (options, complaint) in [
        (
            json!({ "direction": ["dmz", "core"] }),
            "no realm has the name \"dmz\"",
        ),
        (
            json!({ "transport-protocol": "UDP/TLS/RTP/SAVPF", "DTLS": "off" }),
            "may not come from DTLS",
        ),
        (
            json!({ "transport-protocol": "RTP/SAVP", "SDES": ["off"], "DTLS": "off" }),
            "may not come from DTLS",
        ),
    ] {
        let refused = reason(&agent, &request("offer", ("alice", None), &plain, &options));
        assert!(refused.contains(complaint), "{refused}");
    }
    assert_eq!(agent.ng(&json!({ "command": "list" }))["calls"], json!([]));

    let options = json!({ "TOS": 184, "flags": ["asymmetric"], "drop-traffic": "start" });
    passed(&agent, &request("offer", ("alice", None), &plain, &options));
    answer(&agent, "bob");
    for flow in flows(&data_plane) {
        assert_eq!((flow.egress.dscp, flow.gate), (Some(46), Gate::Closed));
        let is_fixed = matches!(flow.egress.rtp.remote, Remote::Fixed(_));
        // Only who made the offer is said to send from elsewhere.
        assert_eq!(is_fixed, flow.egress.realm == Realm::Access);
    }
}
