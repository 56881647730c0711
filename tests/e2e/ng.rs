// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What SIP proxies ask for over ng, as far as media shows it.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sallyport_tests::patience::wait_until;
use sallyport_tests::{Family, Gateway, Topology, media, report, require};
use serde_json::{Value, json};

use crate::support::kamailio::with_ng;
use crate::support::{End, Key, Kind, Libsrtp, Proxy, Suite, leg, sdp};

const SUITE: Suite = Suite::CM_80;

#[test]
fn media_goes_on_as_agreed_while_an_offer_is_refused_and_after_it() {
    if !is_all_there() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = gateway(&topology);
    let proxy = Proxy::new(&topology, "refused");
    let offered = sdp(ue(5000), "RTP/SAVP", &crypto(1));
    let to_core = proxy.offer(
        ["ue", ""],
        &offered,
        json!({ "transport-protocol": "RTP/AVP" }),
    );
    let answered = sdp(core(5000), "RTP/AVP", "");
    let to_ue = proxy.answer(["ue", "core"], &answered, json!({}));
    let ends = [
        End::new(&topology.ue, ue(5000), false, &leg(&to_ue)),
        End::new(&topology.core, core(5000), false, &leg(&to_core)),
    ];
    let mut libsrtp = Libsrtp::new(SUITE, &SUITE.key(1), &key_in(&to_ue));
    let mut numbers = 1..;
    let mut talk = |libsrtp: &mut Libsrtp| {
        for number in numbers.by_ref().take(20) {
            cross(&ends, libsrtp, number);
        }
    };
    talk(&mut libsrtp);

    // The UE would move, hold the call and change its key, and is refused, of which ng says nothing.
    let moved = sdp(
        ue(6000),
        "RTP/SAVP",
        &format!("{}a=sendonly\r\n", crypto(2)),
    );
    let options = json!({
        "transport-protocol": "RTP/AVP", "media-address": "192.0.2.99",
        "flags": ["endpoint-learning-off", "asymmetric"],
    });
    proxy.offer(["ue", "core"], &moved, options);
    talk(&mut libsrtp);

    // The next offer is as if there had been none before.
    proxy.offer(
        ["ue", "core"],
        &offered,
        json!({ "transport-protocol": "RTP/AVP" }),
    );
    talk(&mut libsrtp);
    let again = proxy.answer(["ue", "core"], &answered, json!({}));
    assert_eq!(again, to_ue);
    talk(&mut libsrtp);

    // An offer of the core crosses one of the UE, which it answers all the same.
    proxy.offer(
        ["ue", "core"],
        &offered,
        json!({ "transport-protocol": "RTP/AVP" }),
    );
    proxy.offer(
        ["core", "ue"],
        &answered,
        json!({ "transport-protocol": "RTP/SAVP" }),
    );
    talk(&mut libsrtp);
    let again = proxy.answer(["ue", "core"], &answered, json!({}));
    assert_eq!(again, to_ue);
    talk(&mut libsrtp);
    for direction in ["access to core", "core to access"] {
        report::peer(
            &libsrtp.version,
            SUITE.name,
            direction,
            120,
            "refused offer",
        );
    }
    assert_eq!(gateway.frames_lost(), 0);
}

#[test]
fn a_ue_that_moves_to_another_version_of_ip_and_back_goes_on_under_its_keys() {
    if !is_all_there() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = gateway(&topology);
    let proxy = Proxy::new(&topology, "moves");
    let places = [Family::V4, Family::V6, Family::V4]
        .map(|family| SocketAddr::new(Topology::ue_address(family), 5000));
    // The rollover counter is 1 before the UE moves, and moves along.
    let mut numbers = 65_530..;
    let mut call: Option<(Libsrtp, [End; 2])> = None;
    for place in places {
        let offered = sdp(place, "RTP/SAVP", &crypto(1));
        let to = if call.is_some() { "core" } else { "" };
        let options = json!({ "transport-protocol": "RTP/AVP", "address-family": "IP4" });
        let to_core = proxy.offer(["ue", to], &offered, options);
        if let Some((libsrtp, ends)) = &mut call {
            // There may never be an answer.
            for number in numbers.by_ref().take(20) {
                cross(ends, libsrtp, number);
            }
        }
        let answered = sdp(core(5000), "RTP/AVP", "");
        let to_ue = proxy.answer(["ue", "core"], &answered, json!({}));
        let (mut libsrtp, core_end) = match call.take() {
            // What the core was told has not changed.
            Some((libsrtp, [_, core_end])) => (libsrtp, core_end),
            None => (
                Libsrtp::new(SUITE, &SUITE.key(1), &key_in(&to_ue)),
                End::new(&topology.core, core(5000), false, &leg(&to_core)),
            ),
        };
        let ends = [End::new(&topology.ue, place, false, &leg(&to_ue)), core_end];
        for number in numbers.by_ref().take(20) {
            cross(&ends, &mut libsrtp, number);
        }
        call = Some((libsrtp, ends));
    }
    let (libsrtp, _) = call.expect("there is one");
    for direction in ["access to core", "core to access"] {
        report::peer(&libsrtp.version, SUITE.name, direction, 100, "moving UE");
    }
    assert_eq!(gateway.frames_lost(), 0);
}

#[test]
fn a_plain_peer_that_says_a_host_name_hears_at_once_where_the_proxy_says_that_it_is() {
    if !is_all_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = gateway(&topology);
    let proxy = Proxy::new(&topology, "host name");
    let offered = sdp(ue(5000), "RTP/AVP", "");
    let to_core = proxy.offer(["ue", ""], &offered, json!({}));
    let address = core(5000).ip().to_string();
    let answered = sdp(core(5000), "RTP/AVP", "").replace(
        &format!("c=IN IP4 {address}"),
        "c=IN IP4 media.core.example",
    );
    assert!(answered.contains("media.core.example"), "{answered}");
    let options = json!({ "media-address": address });
    let to_ue = proxy.answer(["ue", "core"], &answered, options);
    let ue_end = End::new(&topology.ue, ue(5000), false, &leg(&to_ue));
    let core_end = End::new(&topology.core, core(5000), false, &leg(&to_core));
    for number in 1..=20 {
        for (kind, packet) in [
            (Kind::Rtp, media::numbered_rtp(1, number, 160)),
            (Kind::Rtcp, media::sender_report(1, number, number, number)),
        ] {
            ue_end.send(kind, &packet);
            assert_eq!(core_end.receive(kind), Some(packet), "{number}");
        }
    }
    let packet = media::numbered_rtp(2, 1, 160);
    core_end.send(Kind::Rtp, &packet);
    assert_eq!(ue_end.receive(Kind::Rtp), Some(packet));
    assert_eq!(gateway.frames_lost(), 0);
}

#[test]
fn opportunistic_srtp_is_spoken_with_who_takes_it_and_rtp_with_who_does_not() {
    if !is_all_there() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = gateway(&topology);
    for (call_id, port, is_taken) in [("taken", 5000, true), ("not taken", 5010, false)] {
        let proxy = Proxy::new(&topology, call_id);
        let offered = sdp(ue(port), "RTP/AVP", &crypto(1));
        // The keys of the UE are passed on, and taken here if the core does not.
        let options = json!({ "transport-protocol": "RTP/AVP", "OSRTP": ["accept"] });
        let to_core = proxy.offer(["ue", ""], &offered, options);
        assert!(to_core.contains(&crypto(1)), "{to_core}");
        let lines = if is_taken { crypto(3) } else { String::new() };
        let answered = sdp(core(port), "RTP/AVP", &lines);
        let to_ue = proxy.answer(["ue", "core"], &answered, json!({ "OSRTP": ["accept"] }));
        let ends = [
            End::new(&topology.ue, ue(port), false, &leg(&to_ue)),
            End::new(&topology.core, core(port), false, &leg(&to_core)),
        ];
        let mut ue = Libsrtp::new(SUITE, &SUITE.key(1), &key_in(&to_ue));
        if !is_taken {
            for number in 1..=20 {
                cross(&ends, &mut ue, number);
            }
            report::peer(&ue.version, SUITE.name, "access to core", 20, "OSRTP");
            continue;
        }
        // The peers share their keys, and we are not asked.
        let mut core = Libsrtp::new(SUITE, &SUITE.key(3), &SUITE.key(1));
        for number in 1..=20 {
            let packet = media::numbered_rtp(1, number, 160);
            ends[0].send(Kind::Rtp, &ue.protect(Kind::Rtp, &packet));
            let arrived = ends[1].receive(Kind::Rtp).expect("it arrives in the core");
            assert_eq!(core.unprotect(Kind::Rtp, &arrived).as_ref(), Ok(&packet));
            ends[1].send(Kind::Rtp, &core.protect(Kind::Rtp, &packet));
            let arrived = ends[0].receive(Kind::Rtp).expect("it arrives at the UE");
            assert_eq!(ue.unprotect(Kind::Rtp, &arrived).as_ref(), Ok(&packet));
        }
    }
    assert_eq!(gateway.frames_lost(), 0);
}

#[test]
fn protected_media_comes_back_under_our_key_where_an_echo_is_asked_for() {
    if !is_all_there() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = gateway(&topology);
    let proxy = Proxy::new(&topology, "echo");
    let options = json!({ "transport-protocol": "RTP/AVP", "media-echo": "backwards" });
    let offered = sdp(ue(5000), "RTP/SAVP", &crypto(1));
    let to_core = proxy.offer(["ue", ""], &offered, options);
    let answered = sdp(core(5000), "RTP/AVP", "");
    let to_ue = proxy.answer(["ue", "core"], &answered, json!({}));
    let ue_end = End::new(&topology.ue, ue(5000), false, &leg(&to_ue));
    let core_end = End::new(&topology.core, core(5000), false, &leg(&to_core));
    let mut libsrtp = Libsrtp::new(SUITE, &SUITE.key(1), &key_in(&to_ue));
    for number in 1..=20 {
        for (kind, packet) in [
            (Kind::Rtp, media::numbered_rtp(1, number, 160)),
            (Kind::Rtcp, media::sender_report(1, number, number, number)),
        ] {
            ue_end.send(kind, &libsrtp.protect(kind, &packet));
            let echoed = ue_end.receive(kind).expect("it comes back");
            assert_eq!(libsrtp.unprotect(kind, &echoed), Ok(packet), "{number}");
        }
    }
    core_end.expect_silence();
    let direction = "access to access";
    report::peer(&libsrtp.version, SUITE.name, direction, 40, "media-echo");
    assert_eq!(gateway.frames_lost(), 0);
}

#[test]
fn a_query_tells_how_long_both_ways_are_as_the_peers_report() {
    if !is_all_there() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = gateway(&topology);
    let proxy = Proxy::new(&topology, "round trips");
    let offered = sdp(ue(5000), "RTP/SAVP", &crypto(1));
    let options = json!({ "transport-protocol": "RTP/AVP" });
    let to_core = proxy.offer(["ue", ""], &offered, options);
    let answered = sdp(core(5000), "RTP/AVP", "");
    let to_ue = proxy.answer(["ue", "core"], &answered, json!({}));
    let ue_end = End::new(&topology.ue, ue(5000), false, &leg(&to_ue));
    let core_end = End::new(&topology.core, core(5000), false, &leg(&to_core));
    let mut libsrtp = Libsrtp::new(SUITE, &SUITE.key(1), &key_in(&to_ue));
    let (of_ue, of_core) = (1, 2);
    for number in 1..=10 {
        let packet = media::numbered_rtp(of_ue, number, 160);
        ue_end.send(Kind::Rtp, &libsrtp.protect(Kind::Rtp, &packet));
        assert!(core_end.receive(Kind::Rtp).is_some());
        core_end.send(Kind::Rtp, &media::numbered_rtp(of_core, number, 160));
        assert!(ue_end.receive(Kind::Rtp).is_some());
    }

    // Each takes its time to answer, the core says how much, and the way there is none.
    let (report, time) = (|ssrc| media::sender_report(ssrc, 0, 10, 1720), 0x7e80_0000);
    let start = Instant::now();
    ue_end.send(Kind::Rtcp, &libsrtp.protect(Kind::Rtcp, &report(of_ue)));
    assert!(core_end.receive(Kind::Rtcp).is_some());
    sleep(Duration::from_millis(80));
    let answer = media::reception_report(of_core, of_ue, time, 65_536 / 50);
    core_end.send(Kind::Rtcp, &answer);
    assert!(ue_end.receive(Kind::Rtcp).is_some());
    let to_core = Duration::from_millis(60)..start.elapsed();
    let start = Instant::now();
    core_end.send(Kind::Rtcp, &report(of_core));
    assert!(ue_end.receive(Kind::Rtcp).is_some());
    sleep(Duration::from_millis(30));
    let answer = media::reception_report(of_ue, of_core, time, 0);
    ue_end.send(Kind::Rtcp, &libsrtp.protect(Kind::Rtcp, &answer));
    assert!(core_end.receive(Kind::Rtcp).is_some());
    let to_ue = Duration::from_millis(30)..start.elapsed();

    let did = proxy.query();
    let quality = |ssrc: u32| &did["SSRC"][ssrc.to_string()]["average MOS"];
    let time = |ssrc, which: &str| {
        let micros = quality(ssrc)[which].as_u64();
        Duration::from_micros(micros.unwrap_or_else(|| panic!("no {which} in {did}")))
    };
    let [there, back] = [of_ue, of_core].map(|ssrc| time(ssrc, "round-trip time leg"));
    assert!(to_core.contains(&there), "{there:?} and not {to_core:?}");
    assert!(to_ue.contains(&back), "{back:?} and not {to_ue:?}");
    for ssrc in [of_ue, of_core] {
        let whole = time(ssrc, "round-trip time");
        assert!(whole.abs_diff(there + back) <= Duration::from_micros(1));
        assert_eq!(quality(ssrc)["packet loss"], 0);
        // How good it is depends on how long the ways are, and that on the machine: exact scores
        // are for the unit tests.
        let score = quality(ssrc)["MOS"].as_u64();
        assert!(
            score.is_some_and(|score| (10..=45).contains(&score)),
            "{did}"
        );
    }
    report::peer(
        &libsrtp.version,
        SUITE.name,
        "access to core",
        12,
        "round trips",
    );
    assert_eq!(gateway.frames_lost(), 0);
}

#[test]
fn a_plain_peer_is_waited_for_opened_followed_or_echoed_as_asked() {
    if !is_all_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = gateway(&topology);
    let packet = |number| media::numbered_rtp(7, number, 160);

    // Nothing is sent to who has sent nothing.
    let [ue_end, core_end] = plain(&topology, 5000, &json!({ "flags": ["NAT-wait"] }));
    core_end.send(Kind::Rtp, &packet(1));
    ue_end.expect_silence();
    ue_end.send(Kind::Rtp, &packet(1));
    assert_eq!(core_end.receive(Kind::Rtp), Some(packet(1)));
    // The other direction hears a moment later where the peer is.
    let mut numbers = 2..;
    let mut is_heard = || {
        let packet = packet(numbers.next().expect("it has no end"));
        core_end.send(Kind::Rtp, &packet);
        media::receive_last(ue_end.socket(Kind::Rtp)) == Some(packet)
    };
    assert!(wait_until(&mut is_heard), "the core is not heard");

    // Empty packets are, before any other.
    let [ue_end, core_end] = plain(&topology, 5010, &json!({ "flags": ["pierce-NAT"] }));
    assert_eq!(ue_end.receive(Kind::Rtp), Some(Vec::new()));
    assert_eq!(ue_end.receive(Kind::Rtcp), Some(Vec::new()));
    core_end.expect_silence();

    // Who sends from elsewhere is a stranger, or followed.
    for (port, flags, is_followed) in [(5020, vec![], false), (5030, vec!["media-handover"], true)]
    {
        let [ue_end, core_end] = plain(&topology, port, &json!({ "flags": flags }));
        ue_end.send(Kind::Rtp, &packet(1));
        assert_eq!(core_end.receive(Kind::Rtp), Some(packet(1)));
        let elsewhere = topology.ue.udp(ue(port + 4));
        // Nobody is followed back and forth.
        sleep(Duration::from_millis(200));
        elsewhere
            .send_to(&packet(2), ue_end.gateway(Kind::Rtp))
            .expect("the gateway is in reach");
        if is_followed {
            assert_eq!(core_end.receive(Kind::Rtp), Some(packet(2)), "{flags:?}");
            // The other direction hears of it a moment later.
            let mut numbers = 3..;
            let mut is_heard = || {
                let packet = packet(numbers.next().expect("it has no end"));
                core_end.send(Kind::Rtp, &packet);
                media::receive_last(&elsewhere) == Some(packet)
            };
            assert!(wait_until(&mut is_heard), "the core is not heard elsewhere");
        } else {
            core_end.expect_silence();
            core_end.send(Kind::Rtp, &packet(3));
            assert_eq!(ue_end.receive(Kind::Rtp), Some(packet(3)));
        }
    }

    // Media goes back to who sent it, and nobody else's goes anywhere.
    let [ue_end, core_end] = plain(&topology, 5040, &json!({ "media-echo": "backwards" }));
    for number in 1..=5 {
        ue_end.send(Kind::Rtp, &packet(number));
        assert_eq!(ue_end.receive(Kind::Rtp), Some(packet(number)));
        core_end.send(Kind::Rtp, &packet(number));
    }
    ue_end.expect_silence();
    core_end.expect_silence();
    assert_eq!(gateway.frames_lost(), 0);
}

fn is_all_there() -> bool {
    require::root_and_namespaces()
}

fn gateway(topology: &Topology) -> Gateway<'_> {
    Gateway::start(topology, &with_ng())
}

fn ue(port: u16) -> SocketAddr {
    (Topology::ue_address(Family::V4), port).into()
}

fn core(port: u16) -> SocketAddr {
    (Topology::core_address(Family::V4), port).into()
}

/// The line with the key of this number.
fn crypto(number: u32) -> String {
    format!(
        "a=crypto:1 {} {}\r\n",
        SUITE.name,
        SUITE.key(number).inline()
    )
}

fn key_in(sdp: &str) -> Key {
    let line = sdp.lines().find(|line| line.starts_with("a=crypto:"));
    Key::of_attribute(line.unwrap_or_else(|| panic!("no key in {sdp}")))
}

/// A plain call, offered by the UE with options.
fn plain(topology: &Topology, port: u16, options: &Value) -> [End; 2] {
    let call_id = format!("plain {port}").leak();
    let proxy = Proxy::new(topology, call_id);
    let offered = sdp(ue(port), "RTP/AVP", "");
    let to_core = proxy.offer(["ue", ""], &offered, options.clone());
    let core_end = End::new(&topology.core, core(port), false, &leg(&to_core));
    let answered = sdp(core(port), "RTP/AVP", "");
    let to_ue = proxy.answer(["ue", "core"], &answered, json!({}));
    [
        End::new(&topology.ue, ue(port), false, &leg(&to_ue)),
        core_end,
    ]
}

/// One packet each way, between SRTP of the UE and RTP of the core.
fn cross([ue, core]: &[End; 2], libsrtp: &mut Libsrtp, number: u32) {
    let packet = media::numbered_rtp(1, number, 160);
    ue.send(Kind::Rtp, &libsrtp.protect(Kind::Rtp, &packet));
    let arrived = core.receive(Kind::Rtp).expect("it arrives in the core");
    media::expect_same(&packet, &arrived);
    core.send(Kind::Rtp, &packet);
    let arrived = ue.receive(Kind::Rtp).expect("it arrives at the UE");
    let received = libsrtp.unprotect(Kind::Rtp, &arrived);
    media::expect_same(&packet, &received.expect("it authenticates"));
}
