// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What `a=crypto` says beside a key, as far as media shows it.

use sallyport_tests::{Family, Gateway, GatewayOptions, Topology, media, report, require};
use serde_json::json;

use crate::support::{End, Key, Kind, Libsrtp, Proxy, Suite, leg, sdp};

const SUITE: Suite = Suite::CM_80;

#[test]
fn a_ue_that_names_its_keys_is_understood_under_each_of_them_and_no_other() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let options = GatewayOptions {
        agent: "[agent.ng]\n".to_owned(),
        ..GatewayOptions::default()
    };
    let gateway = Gateway::start(&topology, &options);
    let proxy = Proxy::new(&topology, "named keys");
    let ue = (Topology::ue_address(Family::V4), 5000).into();
    let core = (Topology::core_address(Family::V4), 5000).into();
    // As in RFC 4568 section 7.1.5: two keys, a lifetime, and identifiers of four bytes.
    let keys = [1, 2].map(|mki| format!("{}|2^20|{mki}:4", SUITE.key(mki).inline()));
    let line = format!("a=crypto:1 {} {} WSH=128\r\n", SUITE.name, keys.join(";"));
    let to_core = proxy.offer(
        ["ue", ""],
        &sdp(ue, "RTP/SAVP", &line),
        json!({ "transport-protocol": "RTP/AVP" }),
    );
    let to_ue = proxy.answer(["ue", "core"], &sdp(core, "RTP/AVP", ""), json!({}));
    let ue_end = End::new(&topology.ue, ue, false, &leg(&to_ue));
    let core_end = End::new(&topology.core, core, false, &leg(&to_core));

    let answered = to_ue.lines().find(|line| line.starts_with("a=crypto:"));
    let ours = Key::of_attribute(answered.expect("our key is there"));
    let mut down = Libsrtp::new(SUITE, &SUITE.key(1), &ours);
    let mut numbers = 1..;
    for (ssrc, mki, is_offered) in [(1, 1, true), (2, 2, true), (3, 3, false), (4, 1, true)] {
        let mut up = Libsrtp::with_mki(SUITE, &SUITE.key(mki), mki);
        for number in numbers.by_ref().take(20) {
            for (kind, packet) in [
                (Kind::Rtp, media::numbered_rtp(ssrc, number, 160)),
                (
                    Kind::Rtcp,
                    media::sender_report(ssrc, number, number, number),
                ),
            ] {
                ue_end.send(kind, &up.protect(kind, &packet));
                if is_offered {
                    // Nothing of what was sent under another key is in front of it.
                    assert_eq!(core_end.receive(kind), Some(packet), "{mki} {number}");
                }
            }
            if is_offered {
                // We send under one key, which needs no name.
                let packet = media::numbered_rtp(9, number, 160);
                core_end.send(Kind::Rtp, &packet);
                let arrived = ue_end.receive(Kind::Rtp).expect("it arrives at the UE");
                assert_eq!(down.unprotect(Kind::Rtp, &arrived), Ok(packet));
            }
        }
    }
    let totals = &proxy.query()["totals"];
    assert_eq!(totals["RTP"]["errors"], 20, "{totals}");
    assert_eq!(totals["RTCP"]["errors"], 20, "{totals}");
    report::peer(&down.version, SUITE.name, "access to core", 60, "MKI");
    assert_eq!(gateway.frames_lost(), 0);
}
