// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A call as OpenSIPS drives it: its requests, recorded from OpenSIPS 4.1 with the example
//! configuration, byte for byte, and media both ways. `sip.rs` has calls through OpenSIPS itself,
//! which Debian 12 does not have.

use std::fs;
use std::path::Path;

use sallyport_tests::{Gateway, Topology, media, report, require};
use serde_json::json;

use crate::support::kamailio::with_ng;
use crate::support::phone::Message;
use crate::support::talk::Talk;
use crate::support::{Key, Libsrtp, Suite, expect_balanced};

const SUITE: Suite = Suite::CM_80;

#[test]
fn a_call_that_opensips_sets_up_holds_resumes_and_ends_has_media_both_ways() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &with_ng());
    let ng = topology.gateway.udp(([127, 0, 0, 1], 0));
    ng.connect("127.0.0.1:2223").expect("it is on this host");
    let ask = |name: &str| {
        ng.send(&request(name)).expect("the agent listens");
        let reply = media::receive(&ng).expect("it answers");
        let reply = String::from_utf8(reply).expect("SDP is text");
        assert!(reply.contains("6:result2:ok"), "{name}: {reply}");
        reply
    };
    let exchange = |offer, answer| [ask(offer), ask(answer)].map(|reply| sdp(&reply));

    let [to_core, to_ue] = exchange("1-offer", "2-answer");
    assert_eq!(to_core.audio().1, "RTP/AVP");
    assert_eq!(to_ue.audio().1, "RTP/SAVP");
    // What was recorded says where both are.
    let [ue, core] = ["1-offer", "2-answer"].map(|name| {
        let request = String::from_utf8(request(name)).expect("SDP is text");
        sdp(&request)
    });
    let (up, down) = (key(&ue), key(&to_ue));
    let mut talk = Talk::new(
        (&topology.ue, ue.audio().0),
        (&topology.core, core.audio().0),
        SUITE,
        [&up, &down],
    );
    talk.connect(&to_ue, &to_core);
    talk.cross(20);

    let [_, held] = exchange("3-offer-of-hold", "4-answer");
    assert_eq!(key(&held).bytes(), down.bytes());
    // The UE holds.
    talk.expect_unheard();
    assert!(talk.up(), "and goes on with its music");

    let [to_core, to_ue] = exchange("5-offer-to-resume", "6-answer");
    talk.connect(&to_ue, &to_core);
    talk.cross(20);

    let statistics = ask("7-query");
    // What came while the UE held is none.
    let rtp = "6:errorsi0e7:packetsi82e";
    assert!(statistics.contains(rtp), "{statistics}");
    ask("8-delete");
    assert_eq!(gateway.list()["sessions"], json!([]));
    assert_eq!(gateway.statistics()["flows"], 0);
    expect_balanced(&gateway);
    for direction in ["access to core", "core to access"] {
        let peer = format!("{}, by OpenSIPS as recorded", talk.version());
        report::peer(&peer, SUITE.name, direction, 40, "opensips");
    }
}

/// What OpenSIPS sent.
fn request(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/opensips");
    fs::read(folder.join(name).with_extension("ng")).expect("it is there")
}

/// The SDP in a bencoded dictionary.
fn sdp(document: &str) -> Message {
    let (_, rest) = document.split_once("3:sdp").expect("there is one");
    let (len, rest) = rest.split_once(':').expect("a string has a length");
    let len: usize = len.parse().expect("a length is a number");
    Message::of_sdp(&rest[..len])
}

/// The only key of our suite.
fn key(sdp: &Message) -> Key {
    let mut keys = sdp.attributes("crypto");
    let key = keys.find(|key| key.contains(SUITE.name));
    Key::of_attribute(key.expect("there is one"))
}
