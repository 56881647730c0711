// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Requests that no client sends on purpose.

use proptest::prelude::*;
use sallyport_signalling::ng::{Command, Encoding, MAX_MESSAGE, Reply};

use super::parse;

/// The `error-reason` that a document is answered with.
fn reason(document: &[u8]) -> String {
    parse(document).expect_err("an error").to_string()
}

#[test]
fn every_error_has_the_text_that_clients_look_for() {
    let cases: [(&[u8], &str); 25] = [
        (b"", "Invalid data (no payload)"),
        (b"hello", "Invalid NG data format"),
        (b"\xff", "Invalid NG data format"),
        (b"l4:pinge", "Invalid NG data format"),
        (b"d7:command", "Could not decode bencode dictionary"),
        (b"d7:command4:pingex", "Could not decode bencode dictionary"),
        (b"{\"command\"", "Failed to parse JSON document"),
        (b"{\"command\":1.5}", "Could not decode JSON dictionary"),
        (b"de", "Dictionary contains no key \"command\""),
        (b"d7:command0:e", "Dictionary contains no key \"command\""),
        (b"d7:commandi1ee", "command is not UTF-8"),
        (b"d7:command5:dancee", "Unrecognized command"),
        (b"d7:command10:play mediae", "Unrecognized command"),
        (b"d7:command5:offere", "No SDP body in message"),
        (b"d7:command5:offer3:sdpi1ee", "No SDP body in message"),
        (b"d7:command5:offer3:sdp0:e", "No SDP body in message"),
        (b"d7:command5:offer3:sdp1:ve", "No call-id in message"),
        (
            b"d7:call-id1:c7:command5:offer3:sdp1:ve",
            "No from-tag in message",
        ),
        (
            b"d7:call-id0:7:command5:offer3:sdp1:ve",
            "No call-id in message",
        ),
        (
            b"d7:call-id1:c7:command6:answer8:from-tag1:a3:sdp1:ve",
            "No to-tag in message",
        ),
        (b"d7:command6:deletee", "No call-id in message"),
        (b"d7:command5:querye", "No call-id in message"),
        (
            b"d7:command4:list5:limiti0ee",
            "invalid limit, must be >= 0",
        ),
        (
            b"d7:command4:list5:limiti-1ee",
            "invalid limit, must be >= 0",
        ),
        (
            b"d7:command4:list5:limit3:alle",
            "invalid limit, must be >= 0",
        ),
    ];
    for (document, text) in cases {
        assert_eq!(reason(document), text, "{}", document.escape_ascii());
    }
}

#[test]
fn what_makes_a_request_ambiguous_is_refused() {
    for (document, text) in [
        (
            "d7:command6:delete7:call-id1:a7:call-id1:be",
            "More than one call-id in message",
        ),
        (
            "d7:command6:delete7:call-id1:a7:call-ID1:ae",
            "More than one call-id in message",
        ),
        (
            "d7:command6:delete8:from-tag1:a8:from-tag1:be",
            "More than one from-tag in message",
        ),
        (
            "d7:command6:delete6:to-tag1:a6:to_tag1:be",
            "More than one to-tag in message",
        ),
        (
            "d7:command4:ping7:command5:offere",
            "More than one command in message",
        ),
        (
            "d3:sdp1:v3:sdp1:v7:command5:offere",
            "More than one sdp in message",
        ),
    ] {
        assert_eq!(reason(document.as_bytes()), text, "{document}");
    }
    assert_eq!(
        reason(b"d7:call-id1:\xff7:command5:querye"),
        "call-id is not UTF-8"
    );
    let long = format!("d7:call-id1025:{}7:command5:querye", "c".repeat(1025));
    assert_eq!(reason(long.as_bytes()), "call-id has more than 1024 bytes");
}

#[test]
fn what_is_too_big_or_too_deep_is_refused() {
    let big = format!(
        "d7:command4:ping1:x{MAX_MESSAGE}:{}e",
        "x".repeat(MAX_MESSAGE)
    );
    assert_eq!(
        reason(big.as_bytes()),
        "Could not decode bencode dictionary"
    );
    for open in ["l", "d1:a"] {
        let deep = format!("d1:a{}", open.repeat(10_000));
        assert_eq!(
            reason(deep.as_bytes()),
            "Could not decode bencode dictionary"
        );
    }
    let deep = format!("{{\"a\":{}", "[".repeat(60_000));
    assert_eq!(reason(deep.as_bytes()), "Could not decode JSON dictionary");
}

#[test]
fn words_that_bring_words_end() {
    let words = format!("{}x", "flags=rtpp-flags=".repeat(3000));
    let document = format!(
        "d7:call-id1:c7:command5:offer10:rtpp-flags{}:{words}3:sdp1:v8:from-tag1:ae",
        words.len()
    );
    let command = parse(document.as_bytes()).expect("an offer");
    assert_eq!(command.ignored().expect("of an offer").count(), 1);
}

#[test]
fn no_key_of_an_sdp_body_is_ever_printed() {
    let document = b"d7:call-id1:c7:command5:offer8:from-tag1:a3:sdp15:a=crypto:secrete";
    let command = parse(document).expect("an offer");
    assert!(!format!("{command:?}").contains("secret"));
    let Command::Offer(offer) = command else {
        panic!("no offer");
    };
    assert!(!format!("{:?}", Reply::Sdp(offer.sdp)).contains("secret"));
    let dictionary = Encoding::Bencode.decode(document);
    assert!(!format!("{dictionary:?}").contains("secret"));
}

/// Any value that bencode knows.
fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|integer| format!("i{integer}e")),
        "[A-Za-z0-9=:;./ -]{0,24}".prop_map(|text| format!("{}:{text}", text.len())),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let list = proptest::collection::vec(inner, 0..4);
        prop_oneof![
            list.clone().prop_map(|list| format!("l{}e", list.concat())),
            list.prop_map(|list| {
                let entries: Vec<_> = list.iter().map(|value| format!("5:strip{value}")).collect();
                format!("d{}e", entries.concat())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn an_offer_survives_any_value_of_any_option(
        key in proptest::sample::select(vec![
            "flags", "replace", "direction", "received-from", "ICE", "SDES", "OSRTP", "DTLS",
            "rtcp-mux", "TOS", "codec", "delete delay", "supports", "rtpp-flags", "label",
            "transport-protocol", "media address", "endpoint-learning", "nonsense",
        ]),
        value in any_value(),
    ) {
        let document = format!(
            "d7:call-id1:c7:command5:offer8:from-tag1:a3:sdp1:v{}:{key}{value}e", key.len()
        );
        let command = parse(document.as_bytes());
        prop_assert!(matches!(command, Ok(Command::Offer(_))), "{command:?}");
    }

    #[test]
    fn any_document_is_read_or_refused_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..256),
        cut in any::<prop::sample::Index>(),
        flip in any::<(prop::sample::Index, u8)>(),
    ) {
        let _ = parse(&bytes);
        let mut request =
            include_bytes!("requests/kamailio_5.6.3_offer_with_every_option").to_vec();
        let _ = parse(&request[..cut.index(request.len())]);
        let at = flip.0.index(request.len());
        request[at] = flip.1;
        let _ = parse(&request[b"0_25675_3 ".len()..]);
    }
}
