// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Calls from one UE to another: the core sends them back, and media crosses the gateway twice
//! without leaving it in between.

use std::net::{IpAddr, Ipv4Addr};

use sallyport_tests::media::RTP_HEADER_LEN;
use sallyport_tests::{Gateway, GatewayOptions, Topology, TopologyOptions, report, require};
use serde_json::json;

use crate::support::audio::{Audio, FRAME, FRAMES_PER_SECOND};
use crate::support::baresip::{self, Account, Baresip};
use crate::support::kamailio::{Kamailio, with_ng};
use crate::support::wires::{Recorded, Way, Wires, keys_in};
use crate::support::{Kind, Libsrtp, expect_balanced};

/// The UE that is called.
const OTHER: Account = Account {
    user: "other",
    address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3)),
};

#[test]
fn a_ue_calls_another_through_the_core_and_media_crosses_the_gateway_twice() {
    call_between(1, "one queue");
}

#[test]
fn a_call_between_ues_crosses_workers() {
    call_between(2, "two queues");
}

/// A call of several seconds with hold and resume.
fn call_between(queues: u32, test: &str) {
    let programs = ["kamailio", "baresip", "tcpdump"];
    let are_there = require::root_and_namespaces()
        && Libsrtp::is_there()
        && programs.into_iter().all(require::program);
    if !are_there {
        return;
    }
    let topology = Topology::with(TopologyOptions {
        queues,
        ..TopologyOptions::default()
    });
    let neighbour = topology.neighbour_of_ue(OTHER.address);
    let gateway = Gateway::start(
        &topology,
        &GatewayOptions {
            dataplane: format!("queues = {queues}"),
            ..with_ng()
        },
    );
    let _core = Kamailio::start_core(&topology);
    let kamailio = Kamailio::start(&topology, "anchor.cfg");
    let audio = [Audio::new(1, 60), Audio::new(2, 60)];
    let caller = Baresip::start(&topology.ue, Account::UE, &audio[0]);
    let called = Baresip::start(&neighbour, OTHER, &audio[1]);
    let wires = Wires::record(&topology);

    caller.command("dial", "sip:other@ims.example");
    called.wait_for("Call established", 1);
    let both_hear = |seconds: usize| {
        wires.wait_until(|recorded| {
            [Account::UE, OTHER].iter().all(|account| {
                let heard = recorded.of_ue(account.address, Way::FromCore).count();
                heard >= seconds * FRAMES_PER_SECOND
            })
        });
    };
    both_hear(3);
    for (command, acks) in [("hold", 2), ("resume", 3)] {
        called.command(command, "");
        caller.wait_for("ACK sip:", acks);
    }
    both_hear(6);
    caller.command("hangup", "");
    called.wait_for("BYE sip:", 1);

    let wires = wires.stop();
    for way in [Way::FromAccess, Way::FromCore] {
        assert_eq!(wires.on_core(way).count(), 0, "media left the gateway");
    }
    let [first, second] = [(Account::UE, &caller), (OTHER, &called)].map(|(account, baresip)| {
        let heard = &audio[usize::from(account.user == "ue")];
        let said = &audio[usize::from(account.user != "ue")];
        heard.expect_heard(baresip.heard().chunks(FRAME), 2, account.user);
        crossed(&wires, account, &baresip.log(), said, heard)
    });
    assert_eq!(gateway.list()["sessions"], json!([]));
    assert_eq!(gateway.statistics()["flows"], 0, "{}", kamailio.log());
    expect_balanced(&gateway);
    let peers = format!("{} twice, by Kamailio", baresip::version());
    report::peer(&peers, first.0, "both ways", first.1 + second.1, test);
}

/// Fails unless all that a UE sent and got is audio under the two keys of its leg. Returns the suite
/// and how much the UE got.
fn crossed(
    wires: &Recorded,
    account: Account,
    log: &str,
    said: &Audio,
    heard: &Audio,
) -> (&'static str, u64) {
    let (suite, [up, down]) = keys_in(log, account.address);
    let expect = |way, receive, send, audio: &Audio| {
        let mut end = Libsrtp::new(suite, send, receive);
        let rtp = wires.of_ue(account.address, way).map(|srtp| {
            let rtp = end.unprotect(Kind::Rtp, srtp.payload);
            rtp.unwrap_or_else(|status| panic!("{}: libsrtp: status {status}", account.user))
        });
        let rtp: Vec<_> = rtp.collect();
        let frames = rtp.iter().map(|packet| &packet[RTP_HEADER_LEN..]);
        audio.expect_heard(frames, 5, account.user)
    };
    expect(Way::FromAccess, &up, &down, said);
    let got = expect(Way::FromCore, &down, &up, heard);
    (suite.name, got as u64)
}
