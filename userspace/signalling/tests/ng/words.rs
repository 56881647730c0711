// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Every key and every flag that proxies may say with an offer or an answer, and whether it is read.
//! What comes of those that are is for the tests of the agent (`userspace/agent/tests/agent`).

use sallyport_signalling::ng::{Command, Options, Why};

use super::parse;

/// What becomes of a word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// It is read, for what comes after to do it.
    Done,
    /// What it asks for is so anyhow, or it says nothing in this message.
    SoAnyhow,
    /// It is left out, logged and counted, and the call goes on.
    Counted,
    /// The same, as a word that nobody knows.
    Unknown,
}

use Fate::{Counted, Done, SoAnyhow, Unknown};

/// Keys and their values, in an offer and in an answer.
const KEYS: [(&str, Fate, Fate); 91] = [
    (r#""via-branch": "z9hG4bK1""#, Done, Done),
    (r#""received-from": ["IP4", "192.0.2.7"]"#, Done, Done),
    (r#""direction": ["access", "core"]"#, Done, Done),
    (r#""interface": "core""#, Done, Done),
    (r#""from-interface": "access""#, Done, Done),
    (r#""to-interface": "core""#, Done, Done),
    (r#""flags": []"#, SoAnyhow, SoAnyhow),
    (r#""rtpp-flags": "symmetric ICE=force""#, Done, Done),
    (r#""replace": ["origin"]"#, Done, Done),
    (r#""replace": ["origin-full"]"#, Done, Done),
    (r#""replace": ["session name"]"#, Done, Done),
    (r#""replace": ["SDP version"]"#, Done, Done),
    (r#""replace": ["username"]"#, Done, Done),
    (r#""replace": ["zero address"]"#, Done, Done),
    (r#""replace": ["force-increment-sdp-ver"]"#, Done, Done),
    // Of the session, which is always ours.
    (r#""replace": ["session-connection"]"#, Done, Done),
    (r#""transport-protocol": "RTP/SAVP""#, Done, Done),
    (r#""transport protocol": "accept""#, Done, Done),
    (r#""ICE": "remove""#, Done, Done),
    (r#""ICE": "force""#, Done, Done),
    (r#""ICE": "default""#, Done, Done),
    (r#""ICE": "force-relay""#, Done, Done),
    (r#""ICE": "optional""#, Done, Done),
    (r#""ICE": ["trickle"]"#, Done, Done),
    (r#""ICE": ["ice2"]"#, Done, Done),
    (r#""ICE": ["lite-both"]"#, Done, Done),
    (r#""ICE-lite": "forward""#, Done, Done),
    (r#""ICE-lite": "backward""#, Done, Done),
    (r#""ICE-lite": "both""#, Done, Done),
    (r#""ICE-lite": "off""#, Counted, Counted),
    (r#""DTLS": "off""#, Done, Done),
    (r#""DTLS": "passive""#, Done, Done),
    (r#""DTLS": ["active"]"#, Done, Done),
    (r#""DTLS-reverse": "active""#, Done, Done),
    (r#""DTLS-fingerprint": "sha-384""#, Done, Done),
    (r#""DTLS-fingerprint": "SHA-1""#, Counted, Counted),
    (r#""SDES": "off""#, Done, Done),
    (r#""SDES": ["no-AES_CM_128_HMAC_SHA1_32"]"#, Done, Done),
    (r#""SDES": ["only-AEAD_AES_256_GCM"]"#, Done, Done),
    (r#""SDES": ["nonew"]"#, Done, Done),
    (r#""SDES": ["order:AEAD_AES_128_GCM"]"#, Done, Done),
    (r#""SDES": ["offerer_pref:AEAD_AES_128_GCM"]"#, Done, Done),
    // It is always there.
    (r#""SDES": ["pad"]"#, Done, Done),
    (r#""SDES": ["lifetime"]"#, Done, Done),
    (r#""SDES": ["static"]"#, Done, Done),
    (r#""SDES": ["prefer"]"#, Done, Done),
    (r#""SDES": ["unencrypted_srtp"]"#, Done, Done),
    (r#""SDES": ["UNENCRYPTED_SRTCP"]"#, Done, Done),
    (r#""SDES": ["unauthenticated_srtp"]"#, Done, Done),
    (r#""SDES": ["encrypted_srtp"]"#, Done, Done),
    (r#""SDES": ["encrypted_srtcp"]"#, Done, Done),
    (r#""SDES": ["authenticated_srtp"]"#, Done, Done),
    (r#""OSRTP": ["offer"]"#, Done, Done),
    (r#""OSRTP": ["offer-RFC"]"#, Done, Done),
    (r#""OSRTP": ["offer-legacy"]"#, Done, Done),
    (r#""OSRTP": ["accept"]"#, Done, Done),
    (r#""OSRTP": ["accept-RFC"]"#, Done, Done),
    (r#""OSRTP": ["accept-legacy"]"#, Done, Done),
    (r#""rtcp-mux": ["offer"]"#, Done, Done),
    (r#""rtcp-mux": ["require"]"#, Done, Done),
    (r#""rtcp-mux": ["demux"]"#, Done, Done),
    (r#""rtcp-mux": ["accept"]"#, Done, Done),
    (r#""rtcp-mux": ["reject"]"#, Done, Done),
    (r#""address family": "IP6""#, Done, Done),
    (r#""media-address": "2001:db8::7""#, Done, Done),
    (r#""TOS": 184"#, Done, Done),
    (r#""supports": ["load limit"]"#, Done, Done),
    (r#""label": "caller""#, Done, Done),
    // It is about the deletion that it is said with.
    (r#""delete delay": 5"#, Done, Done),
    (r#""record-call": "off""#, SoAnyhow, SoAnyhow),
    (r#""record-call": "yes""#, Counted, Counted),
    (r#""endpoint-learning": "delayed""#, Done, Done),
    (r#""drop-traffic": "start""#, Done, Done),
    (r#""media echo": "both""#, Done, Done),
    (r#""metadata": "a:b""#, Done, Done),
    (r#""sdp-media-remove": ["video"]"#, Done, Done),
    (r#""codec": {"strip": ["G729"]}"#, Done, Done),
    (r#""codec": {"transcode": ["opus"]}"#, Counted, Counted),
    (r#""extmap": {"strip": ["all"]}"#, Done, Done),
    (
        r#""sdp-attr": {"audio": {"add": ["ptime:20"]}}"#,
        Done,
        Done,
    ),
    (
        r#""sdp-attr": {"none": {"remove": ["x-tool:s"]}}"#,
        Done,
        Done,
    ),
    (r#""generate RTCP": "on""#, Counted, Counted),
    (r#""peer": "core""#, Counted, Counted),
    (r#""inbound-peer": "access""#, Counted, Counted),
    (r#""outbound-peer": "core""#, Counted, Counted),
    (r#""template": "webrtc""#, Counted, Counted),
    (r#""xmlrpc-callback": "192.0.2.7""#, Counted, Counted),
    (r#""bundle": ["reject"]"#, SoAnyhow, SoAnyhow),
    (r#""bundle": ["accept"]"#, Counted, Counted),
    (r#""T.38": ["decode"]"#, Counted, Counted),
    (r#""frobnicate": "yes""#, Unknown, Unknown),
];

/// Words of `flags`, in an offer and in an answer.
const FLAGS: [(&str, Fate, Fate); 42] = [
    ("trust-address", Done, Done),
    ("SIP-source-address", Done, Done),
    ("symmetric", Done, Done),
    ("asymmetric", Done, Done),
    ("strict source", Done, Done),
    ("media-handover", Done, Done),
    ("port-latching", Done, Done),
    ("no-port-latching", Done, Done),
    ("no-rtcp-attribute", Done, Done),
    ("full-rtcp-attribute", Done, Done),
    ("generate-mid", Done, Done),
    ("loop-protect", Done, Done),
    ("original-sendrecv", Done, Done),
    ("reset", Done, Done),
    ("unidirectional", Done, Done),
    ("pierce-NAT", Done, Done),
    ("NAT-wait", Done, Done),
    ("reject-ICE", Done, Done),
    ("trickle-ICE", Done, Done),
    ("fragment", Done, Done),
    ("recrypt", Done, Done),
    ("pad-crypto", Done, Done),
    ("no-tls-id", Done, Done),
    ("WebRTC", Done, Done),
    ("debug", Done, Done),
    ("provisional", Done, Done),
    ("new-branch", Done, Done),
    ("RTP/SAVPF", Done, Done),
    ("internal", Done, Done),
    ("SDES-off", Done, Done),
    ("OSRTP-accept", Done, Done),
    ("rtcp-mux-demux", Done, Done),
    ("endpoint-learning-off", Done, Done),
    ("codec-mask-opus", Done, SoAnyhow),
    ("single-codec", SoAnyhow, Done),
    ("sdp-attr-add-audio-ptime:20", Done, Done),
    ("bundle-offer", Counted, Counted),
    ("generate RTCP", Counted, Counted),
    ("record-call", Counted, Counted),
    ("transcode-opus", Counted, Counted),
    ("early-media", Counted, Counted),
    ("frobnicate", Unknown, Unknown),
];

fn options(command: &str, rest: &str) -> (Option<String>, Options) {
    let document = format!(
        r#"{{"command": "{command}", "call-id": "c", "from-tag": "a", "to-tag": "b",
            "sdp": "v=0", {rest}}}"#
    );
    match parse(document.as_bytes()) {
        Ok(Command::Offer(offer)) => (offer.via_branch, offer.options),
        Ok(Command::Answer(answer)) => (answer.via_branch, answer.options),
        other => panic!("{rest}: {other:?}"),
    }
}

#[test]
fn every_key_and_flag_is_done_or_so_anyhow_or_counted() {
    let flags = FLAGS.map(|(word, offer, answer)| {
        let flags = format!(r#""flags": ["{word}"]"#);
        (flags, offer, answer)
    });
    let keys = KEYS.map(|(key, offer, answer)| (key.to_owned(), offer, answer));
    for (text, in_offer, in_answer) in keys.into_iter().chain(flags) {
        for (command, expected) in [("offer", in_offer), ("answer", in_answer)] {
            let (via, found) = options(command, &text);
            let left_out: Vec<_> = found.ignored.entries().map(|(why, _)| why).collect();
            let fate = match left_out[..] {
                [] if found == Options::default() && via.is_none() => SoAnyhow,
                [] => Done,
                [Why::Unsupported] => Counted,
                [Why::Unknown] => Unknown,
                _ => panic!("{command} {text}: {left_out:?}"),
            };
            assert_eq!(fate, expected, "{command} {text}");
        }
    }
}
