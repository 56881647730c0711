// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The many ways to say the same.

use super::*;
use crate::ng::Dictionary;

fn flags(words: &[&'static str]) -> Options {
    let mut options = Options::default();
    options.option("flags", &Value::from(words.to_vec()));
    options
}

#[test]
fn a_word_with_a_prefix_is_the_same_as_a_key() {
    for (key, value, word) in [
        ("SDES", "off", "SDES-off"),
        (
            "SDES",
            "no-AES_CM_128_HMAC_SHA1_32",
            "SDES-no-AES_CM_128_HMAC_SHA1_32",
        ),
        ("rtcp mux", "demux", "rtcp-mux-demux"),
        ("OSRTP", "offer-legacy", "OSRTP-offer-legacy"),
        ("endpoint_learning", "off", "endpoint-learning-off"),
        ("replace", "zero address", "replace-zero-address"),
        ("transport-protocol", "RTP/SAVP", "RTP/SAVP"),
        (
            "transport protocol",
            "RTP/AVP",
            "transport-protocol=RTP/AVP",
        ),
        ("ICE", "remove", "ICE=remove"),
        ("ICE", "trickle", "trickle-ICE"),
        ("ICE", "lite-both", "ICE-lite=both"),
        ("generate RTCP", "on", "generate-RTCP"),
        ("SDES", "pad", "pad-crypto"),
    ] {
        let mut by_key = Options::default();
        by_key.option(key, &value.into());
        assert_eq!(by_key, flags(&[word]), "{word}");
        assert_ne!(by_key, Options::default(), "{word}");
        assert_eq!(by_key.ignored.count(), 0, "{word}");
    }
}

#[test]
fn what_is_understood_and_not_done_is_listed() {
    for (words, of_offer, of_answer) in [
        (
            &[
                "RTP/AVP",
                "ICE=remove",
                "DTLS=off",
                "trust-address",
                "port-latching",
                "strict-source",
                "unidirectional",
                "provisional",
                "new-branch",
                "original-sendrecv",
                "no-tls-id",
                "reject-ICE",
                "endpoint-learning-immediate",
                "generate-RTCP=off",
                "replace-origin",
                "SIP-code=183",
                "SIP-message-type=SIP response",
            ][..],
            &[][..],
            &[][..],
        ),
        (
            &["ICE=force", "DTLS=passive", "OSRTP-offer", "OSRTP-accept"],
            &[],
            &[],
        ),
        (
            &["ICE=optional", "ICE-lite=off", "DTLS-fingerprint=sha-1"],
            &["ICE-lite", "DTLS-fingerprint"],
            &["ICE-lite", "DTLS-fingerprint"],
        ),
        (
            &["no-port-latching", "generate-RTCP", "debug", "NAT-wait"],
            &["generate-RTCP"],
            &["generate-RTCP"],
        ),
        (
            &[
                "SDES-prefer",
                "DTLS=active",
                "delete-delay=5",
                "ICE=force-relay",
                "bundle-reject",
            ],
            &[],
            &[],
        ),
        (
            &[
                "SDES-lifetime",
                "SDES-encrypted_srtp",
                "rtcp-mux-demux",
                "address-family=IP4",
                "metadata=a:b",
                "single-codec",
                "ptime=20",
            ],
            &["ptime"],
            &["ptime"],
        ),
    ] {
        for (is_answer, expected) in [(false, of_offer), (true, of_answer)] {
            let mut options = flags(words);
            options.close(is_answer);
            let listed: Vec<_> = options.ignored.entries().collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|name| (Why::Unsupported, *name))
                .collect();
            assert_eq!(listed, expected, "{words:?}");
        }
    }
}

#[test]
fn what_says_nothing_in_an_offer_or_an_answer_is_left_out_there() {
    let words = ["codec-mask-PCMU", "codec-strip-G729", "single-codec"];
    for (is_answer, masks, is_single) in [(false, 1, false), (true, 0, true)] {
        let mut options = flags(&words);
        options.close(is_answer);
        let codecs = &options.edits.codecs;
        assert_eq!((codecs.mask.len(), codecs.single), (masks, is_single));
        assert_eq!(codecs.strip, ["G729"]);
        assert_eq!(options.ignored.count(), 0);
    }
}

#[test]
fn a_browser_is_talked_to_as_browsers_want() {
    let options = flags(&["WebRTC"]);
    let mut expected = flags(&[
        "transport-protocol=UDP/TLS/RTP/SAVPF",
        "rtcp-mux-offer",
        "rtcp-mux-require",
        "no-rtcp-attribute",
        "SDES-off",
        "generate-mid",
        "trickle-ICE",
        "ICE=force",
    ]);
    expected.flags.insert(Flag::WebRtc);
    assert_eq!(options, expected);
}

#[test]
fn a_value_that_a_key_cannot_have_is_left_out_and_listed() {
    for (key, value) in [
        ("ICE-lite", "sometimes".into()),
        ("DTLS", Value::Integer(1)),
        ("TOS", "high".into()),
        ("TOS", Value::List(vec![])),
        ("media-address", "example.com".into()),
        ("address-family", "IP5".into()),
        ("direction", vec!["access"].into()),
        ("direction", Value::Integer(1)),
        ("extmap", "strip".into()),
        ("sdp-attr", "add".into()),
        ("sdp-attr", Dictionary::new().with("audio", "add").into()),
        ("received-from", vec!["IP4", "here"].into()),
        ("delete delay", Value::Integer(-1)),
        ("label", Value::from([0xff_u8].as_slice())),
        ("SIP code", Value::Integer(99)),
        ("codec", "strip".into()),
        ("flags", vec![Value::Integer(1)].into()),
    ] {
        let mut options = Options::default();
        options.option(key, &value);
        assert_eq!(
            options.ignored.entries().collect::<Vec<_>>(),
            [(Why::Value, key)]
        );
    }
}

#[test]
fn what_is_left_out_is_listed_without_end_but_not_kept_without_end() {
    let words = vec!["frobnicate"; 1000];
    let options = flags(&words);
    assert_eq!(options.ignored.count(), 1000);
    assert_eq!(options.ignored.entries().count(), 32);
}

#[test]
fn the_type_of_service_has_three_ways_to_be_said() {
    for (value, tos) in [
        (-1, Tos::Unchanged),
        (184, Tos::Octet(184)),
        (256, Tos::Default),
    ] {
        let mut options = Options::default();
        options.option("TOS", &Value::Integer(value));
        assert_eq!(options.tos, Some(tos));
        options.option("TOS", &value.to_string().into());
        assert_eq!(options.tos, Some(tos));
    }
}

#[test]
fn the_text_of_newer_clients_says_the_same_as_lists_and_dictionaries() {
    let mut by_text = Options::default();
    let text = "direction=access direction=core SDES=[no-AES_CM_128_HMAC_SHA1_32 pad] \
                codec=[strip=[EVS opus] offer=[PCMA]] extmap=[strip=[all]] OSRTP=[accept] \
                media-address=[2001:db8::1] trust-address sdp-attr-add-audio-ptime:20 \
                flags=[asymmetric]";
    by_text.option("rtpp_flags", &text.into());
    let mut by_keys = Options::default();
    let list = |words: &[&'static str]| Value::from(words.to_vec());
    by_keys.option("direction", &list(&["access", "core"]));
    by_keys.option("SDES", &list(&["no-AES_CM_128_HMAC_SHA1_32", "pad"]));
    let codecs = Dictionary::new()
        .with("strip", list(&["EVS", "opus"]))
        .with("offer", list(&["PCMA"]));
    by_keys.option("codec", &codecs.into());
    by_keys.option(
        "flags",
        &list(&["strip extmap", "OSRTP-accept", "trust address"]),
    );
    by_keys.option("media address", &"2001:db8::1".into());
    let attributes = Dictionary::new().with("add", list(&["ptime:20"]));
    by_keys.option(
        "sdp-attr",
        &Dictionary::new().with("audio", attributes).into(),
    );
    // Words within words have no end.
    by_keys.ignored.add(Why::Value, "flags");
    assert_eq!(by_text, by_keys);
}

#[test]
fn both_realms_may_be_named_in_both_ways() {
    let mut by_list = Options::default();
    by_list.option("direction", &vec!["access", "core"].into());
    assert_eq!(
        by_list,
        flags(&["from-interface=access", "to-interface=core"])
    );
}
