// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The host and the network around the gateway: what is not media is the kernel's as before, and
//! where media goes is the kernel's to say.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Command;

use sallyport_tests::patience::wait_until;
use sallyport_tests::{Family, Gateway, GatewayOptions, Namespace, Topology, media, require};
use serde_json::{Value, json};

use crate::support::frames::{datagram_frame, link_address, vlan_tags};
use crate::support::{Call, Capture, End, Frames, Kind, Libsrtp, Terms, expect_balanced};

#[test]
fn media_is_back_after_a_link_went_down_and_up() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    let call = Call::new(&topology, &gateway, Terms::default());
    let mut libsrtp = call.libsrtp();
    let mut number = 0;
    let mut crosses = || {
        number += 1;
        let packet = media::numbered_rtp(1, number, 160);
        // While the link is down the peer cannot even send.
        let _ = call
            .ue
            .socket(Kind::Rtp)
            .send(&libsrtp.protect(Kind::Rtp, &packet));
        media::receive_last(call.core.socket(Kind::Rtp)) == Some(packet)
    };
    assert!(wait_until(&mut crosses), "before");
    for nic in [Topology::ACCESS_NIC, Topology::CORE_NIC] {
        topology.gateway.ip(&format!("link set dev {nic} down"));
        assert!(!crosses(), "{nic} is down");
        topology.gateway.ip(&format!("link set dev {nic} up"));
        assert!(
            wait_until(&mut crosses),
            "{nic} is up again:\n{}",
            gateway.log()
        );
    }
    assert_eq!(gateway.frames_lost(), 0);
}

const PACKETS: u32 = 100;

#[test]
fn media_for_everybody_on_a_link_goes_nowhere() {
    if !require::root_and_namespaces() {
        return;
    }
    let topology = Topology::new();
    let everybody: SocketAddr = "192.0.2.255:5000".parse().unwrap();
    // So that the kernel can say how everybody is reached.
    let socket = (topology.gateway).udp((Topology::access_address(Family::V4), 0));
    socket.set_broadcast(true).unwrap();
    socket.send_to(b"hello", everybody).unwrap();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    let core: SocketAddr = (Topology::core_address(Family::V4), 6000).into();
    let session = gateway.create_session(&json!({
        "access": { "profile": "RTP/AVP", "remote": everybody.to_string() },
        "core": { "profile": "RTP/AVP", "remote": core.to_string() },
    }));
    let core = End::new(&topology.core, core, false, &session.description["core"]);
    for number in 0..PACKETS {
        core.send(Kind::Rtp, &media::numbered_rtp(1, number, 160));
    }
    let counters = || gateway.show(&session.id)["counters"]["core_to_access"].clone();
    let have_arrived = wait_until(|| counters()["packets_in"] == PACKETS);
    assert!(have_arrived, "{}", counters());
    let counters = counters();
    assert_eq!(counters["refused"]["no-route"], PACKETS, "{counters}");
    assert_eq!(counters["packets_out"], 0, "{counters}");
    expect_balanced(&gateway);
}

#[test]
fn a_media_port_without_a_flow_is_silent_and_counted() {
    if !require::root_and_namespaces() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    for family in Family::BOTH {
        let before = verdict(&gateway, Topology::ACCESS_NIC, "unknown-flow");
        let socket = topology.ue.udp((Topology::ue_address(family), 5000));
        socket
            .connect((Topology::access_address(family), 44_444))
            .unwrap();
        for number in 0..PACKETS {
            let packet = media::numbered_rtp(1, number, 160);
            socket.send(&packet).expect("no ICMP error comes back");
        }
        let counted = || verdict(&gateway, Topology::ACCESS_NIC, "unknown-flow") - before;
        wait_until(|| counted() >= u64::from(PACKETS));
        media::expect_silence(&socket);
        assert!(
            socket.take_error().unwrap().is_none(),
            "no ICMP error comes back"
        );
        assert_eq!(counted(), u64::from(PACKETS), "{family:?}");
    }
    expect_balanced(&gateway);
}

#[test]
fn what_is_not_media_reaches_the_kernel_as_before() {
    if !require::root_and_namespaces() || !require::program("ping") {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    for family in Family::BOTH {
        let sides = [
            (
                &topology.ue,
                Topology::ue_address(family),
                Topology::access_address(family),
            ),
            (
                &topology.core,
                Topology::core_address(family),
                Topology::core_side_address(family),
            ),
        ];
        for (peer, peer_address, address) in sides {
            // ARP or neighbour discovery first, from both ends.
            for (from, to) in [(peer, address), (&topology.gateway, peer_address)] {
                from.ip("neighbour flush all");
                ping(from, &to.to_string());
            }
            let closed = peer.udp((peer_address, 6000));
            closed.connect((address, 39_999)).unwrap();
            closed.send(b"anybody there?").unwrap();
            let answer = closed.recv(&mut [0; 64]).map_err(|error| error.kind());
            assert_eq!(
                answer,
                Err(ErrorKind::ConnectionRefused),
                "a closed port, {family:?}"
            );

            let service = topology.gateway.udp((address, 5060));
            let client = peer.udp((peer_address, 5060));
            client.send_to(b"OPTIONS", (address, 5060)).unwrap();
            assert_eq!(
                media::receive(&service).as_deref(),
                Some(&b"OPTIONS"[..]),
                "{family:?}"
            );
            // Larger than the MTU: fragments.
            let large = vec![7; 4000];
            client.send_to(&large, (address, 5060)).unwrap();
            assert_eq!(
                media::receive(&service),
                Some(large),
                "fragments, {family:?}"
            );
        }
    }
    expect_balanced(&gateway);
}

#[test]
fn media_follows_the_routes_and_neighbours_of_the_kernel() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let router = Topology::core_address(Family::V4);
    topology.core.ip("address add 198.51.100.7/32 dev lo");
    topology.core.ip(&format!(
        "route add default via {}",
        Topology::core_side_address(Family::V4)
    ));
    topology
        .gateway
        .ip(&format!("route add 198.51.100.0/24 via {router}"));
    let gateway = Gateway::start(&topology, &GatewayOptions::default());

    let terms = Terms::default();
    let core: SocketAddr = "198.51.100.7:5000".parse().unwrap();
    let mut offer = terms.offer();
    offer["core"]["remote"] = json!(core.to_string());
    let session = gateway.create_session(&offer);
    let description = &session.description;
    let ue = End::new(&topology.ue, terms.ue(), terms.mux, &description["access"]);
    let core = End::new(&topology.core, core, false, &description["core"]);
    let mut libsrtp = Libsrtp::new(terms.suite, &terms.up(), &terms.down());
    let mut number = 0;
    let mut crosses = || {
        number += 1;
        let packet = media::numbered_rtp(1, number, 160);
        ue.send(Kind::Rtp, &libsrtp.protect(Kind::Rtp, &packet));
        media::receive_last(core.socket(Kind::Rtp)) == Some(packet)
    };
    assert!(wait_until(&mut crosses), "over a router");

    topology.core.ip(&format!(
        "link set dev {} address 02:00:00:00:00:77",
        Topology::PEER_NIC
    ));
    ping(
        &topology.core,
        &Topology::core_side_address(Family::V4).to_string(),
    );
    assert!(wait_until(&mut crosses), "to the router's new MAC address");

    topology
        .gateway
        .ip(&format!("route delete 198.51.100.0/24 via {router}"));
    let is_gone = || {
        let counters = &gateway.show(&session.id)["counters"];
        let refused = &counters["access_to_core"]["refused"]["no-route"];
        !crosses() && refused.as_u64() > Some(0)
    };
    assert!(wait_until(is_gone), "the route is gone");

    topology
        .gateway
        .ip(&format!("route add 198.51.100.0/24 via {router}"));
    assert!(wait_until(&mut crosses), "the route is back");
    expect_balanced(&gateway);
}

#[test]
fn a_neighbour_that_the_kernel_forgot_is_found_again() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    for (family, port) in Family::BOTH.into_iter().zip([5000, 5010]) {
        let call = Call::new(
            &topology,
            &gateway,
            Terms {
                family,
                port,
                ..Terms::default()
            },
        );
        let mut libsrtp = call.libsrtp();
        let mut number = 0;
        for round in 0..4 {
            if round > 0 {
                topology.gateway.ip(&format!(
                    "neighbour delete {} dev {}",
                    call.terms.core().ip(),
                    Topology::CORE_NIC,
                ));
            }
            let arrives = wait_until(|| {
                number += 1;
                let packet = media::numbered_rtp(1, number, 160);
                call.ue
                    .send(Kind::Rtp, &libsrtp.protect(Kind::Rtp, &packet));
                media::receive_last(call.core.socket(Kind::Rtp)) == Some(packet)
            });
            assert!(arrives, "{family:?}: {}", call.counters("access_to_core"));
        }
    }
    expect_balanced(&gateway);
}

#[test]
fn media_crosses_vlans_with_one_tag_and_with_two() {
    if !require::root_and_namespaces()
        || !Libsrtp::is_there()
        || !Frames::is_there()
        || !require::program("tcpdump")
    {
        return;
    }
    for identifiers in [&[100][..], &[100, 7]] {
        let topology = Topology::new();
        // Nobody here needs VLAN interfaces, which not every kernel has: neighbours are found
        // without tags, and the user equipment reads and writes frames.
        let access = format!("vlan = {identifiers:?}");
        let options = GatewayOptions {
            access,
            ..GatewayOptions::default()
        };
        let gateway = Gateway::start(&topology, &options);
        let call = Call::new(&topology, &gateway, Terms::default());
        let mut libsrtp = call.libsrtp();
        let mut frames = Frames::new(&topology.ue);
        let link = (
            link_address(&topology.ue, Topology::PEER_NIC),
            link_address(&topology.gateway, Topology::ACCESS_NIC),
        );
        let ends = (call.terms.ue(), call.ue.gateway(Kind::Rtp));
        let tags = vlan_tags(identifiers);
        let capture = Capture::start(&topology.ue, "ether[12:2] != 0x0806");
        for number in 0..10 {
            let up = media::numbered_rtp(1, number, 160);
            let protected = libsrtp.protect(Kind::Rtp, &up);
            frames.send(&datagram_frame(link, &tags, ends, &protected));
            assert_eq!(call.core.receive(Kind::Rtp), Some(up), "{identifiers:?}");
            call.core
                .send(Kind::Rtp, &media::numbered_rtp(2, number, 160));
        }
        let is_tagged = |frame: &&Vec<u8>| frame[..6] == link.0 && frame[12..].starts_with(&tags);
        wait_until(|| capture.frames().iter().filter(is_tagged).count() >= 10);
        let recording = capture.stop();
        let mut number = 0;
        for frame in recording.frames.iter().filter(is_tagged) {
            // Addresses, tags, EtherType, IPv4, UDP.
            let protected = &frame[12 + tags.len() + 2 + 20 + 8..];
            let down = media::numbered_rtp(2, number, 160);
            assert_eq!(
                libsrtp.unprotect(Kind::Rtp, protected),
                Ok(down),
                "{identifiers:?}"
            );
            number += 1;
        }
        assert_eq!(
            number, 10,
            "{identifiers:?}: tagged frames from the gateway"
        );
        expect_balanced(&gateway);
    }
}

fn ping(from: &Namespace, to: &str) {
    let output = from
        .output(Command::new("ping").args(["-c", "1", "-W", "60", to]))
        .expect("run ping");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// How many packets on a NIC got this verdict of the XDP program.
fn verdict(gateway: &Gateway<'_>, nic: &str, name: &str) -> u64 {
    let statistics = gateway.statistics();
    let nics = statistics["nics"]
        .as_array()
        .expect("statistics list the NICs");
    let nic = nics
        .iter()
        .find(|entry| entry["name"] == nic)
        .expect("the NIC is listed");
    match &nic["verdicts"] {
        Value::Object(verdicts) => verdicts[name].as_u64(),
        verdicts => panic!("verdicts are {verdicts}"),
    }
    .unwrap_or_else(|| panic!("no {name} in {nic}"))
}
