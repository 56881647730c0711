// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What an attacker can send: nothing of it leaves, nothing of it changes what the gateway knows.

use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeFrom;
use std::thread;

use sallyport_tests::patience::wait_until;
use sallyport_tests::{Gateway, GatewayOptions, Topology, media, report, require};

use crate::support::{Call, Capture, Kind, Libsrtp, Noise, Suite, Terms, expect_balanced};

const SSRC: u32 = 0x5a11_9047;
const UP: &str = "access_to_core";
const DOWN: &str = "core_to_access";
/// More than the replay window.
const RTP_PACKETS: u32 = 300;
const RTCP_PACKETS: u32 = 20;
const FORGED_PACKETS: u32 = 200;
const FROM_ACCESS: u64 = 1_500_000;
const FROM_CORE: u64 = 1_000_000;

#[test]
fn a_replayed_capture_is_refused_and_counted() {
    if !is_equipped() || !require::program("tcpdump") {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    for (suite, port) in Suite::ALL.into_iter().zip((5000..).step_by(2)) {
        let terms = Terms {
            suite,
            port,
            ..Terms::default()
        };
        let call = Call::new(&topology, &gateway, terms);
        let mut libsrtp = call.libsrtp();
        let capture = Capture::start(
            &topology.ue,
            &format!("udp and src portrange {port}-{}", port + 1),
        );
        for number in 0..RTP_PACKETS {
            pass(&call, &mut libsrtp, Kind::Rtp, &rtp(number));
        }
        for number in 0..RTCP_PACKETS {
            pass(
                &call,
                &mut libsrtp,
                Kind::Rtcp,
                &media::sender_report(SSRC, number, 1, 160),
            );
        }
        let recording = capture.stop();
        let mut replayed = 0;
        for datagram in recording.datagrams() {
            let kinds = [Kind::Rtp, Kind::Rtcp];
            let kind = kinds
                .into_iter()
                .find(|&kind| call.ue.gateway(kind) == datagram.destination);
            call.ue.send(
                kind.expect("the capture has the call only"),
                datagram.payload,
            );
            replayed += 1;
        }
        assert_eq!(
            replayed,
            u64::from(RTP_PACKETS + RTCP_PACKETS),
            "packets in the capture"
        );
        call.expect_refused(UP, &["replayed", "too-old"], replayed);
        call.core.expect_silence();
        let (seen, old) = (call.refused(UP, "replayed"), call.refused(UP, "too-old"));
        assert!(seen > 0 && old > 0, "{}: {}", suite.name, call.counters(UP));
        pass(&call, &mut libsrtp, Kind::Rtp, &rtp(RTP_PACKETS));
        report::peer(
            &libsrtp.version,
            suite.name,
            "access to core",
            replayed,
            "replayed_capture",
        );
    }
    expect_balanced(&gateway);
}

#[test]
fn a_packet_with_any_one_bit_flipped_is_refused_and_changes_nothing() {
    if !is_equipped() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    for (suite, port) in Suite::ALL.into_iter().zip((5000..).step_by(2)) {
        for (mux, port) in [(false, port), (true, port + 100)] {
            let terms = Terms {
                suite,
                mux,
                port,
                ..Terms::default()
            };
            let call = Call::new(&topology, &gateway, terms);
            let mut libsrtp = call.libsrtp();
            // Near the wrap, where a flipped sequence number suggests another rollover counter.
            let mut number = 65_400;
            let mut flipped = 0;
            for kind in [Kind::Rtp, Kind::Rtcp] {
                for bit in 0.. {
                    let packet = match kind {
                        Kind::Rtp => media::numbered_rtp(SSRC, number, 4),
                        Kind::Rtcp => media::receiver_report(SSRC),
                    };
                    number += 1;
                    let genuine = libsrtp.protect(kind, &packet);
                    let mut forged = genuine.clone();
                    let Some(byte) = forged.get_mut(bit / 8) else {
                        break;
                    };
                    *byte ^= 1 << (bit % 8);
                    call.ue.send(kind, &forged);
                    call.ue.send(kind, &genuine);
                    let Some(received) = call.core.receive(kind) else {
                        panic!("{terms:?}: the genuine {kind:?} after bit {bit} did not arrive");
                    };
                    assert_eq!(packet, received, "{terms:?}: what arrived after bit {bit}");
                    flipped += 1;
                }
            }
            // The genuine ones came later, each behind its forgery.
            call.core.expect_silence();
            let (arrived, left) = call.packets(UP);
            assert_eq!(left, flipped, "{terms:?}: only genuine packets left");
            assert_eq!(
                arrived - left,
                call.refused_total(UP),
                "{terms:?}: the others were counted"
            );
            report::peer(
                &libsrtp.version,
                suite.name,
                "access to core",
                2 * flipped,
                "flipped_bits",
            );
        }
    }
    expect_balanced(&gateway);
}

#[test]
fn wrong_keys_refuse_everything() {
    if !is_equipped() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    for (suite, port) in Suite::ALL.into_iter().zip((5000..).step_by(2)) {
        let terms = Terms {
            suite,
            port,
            ..Terms::default()
        };
        let call = Call::new(&topology, &gateway, terms);
        let (wrong_up, wrong_down) = (suite.key(1), suite.key(2));
        let mut stranger = Libsrtp::new(suite, &wrong_up, &wrong_down);
        for number in 0..FORGED_PACKETS {
            // Each from another SSRC: none of them may take room that genuine ones need.
            let packet = media::numbered_rtp(number, number, 160);
            call.ue
                .send(Kind::Rtp, &stranger.protect(Kind::Rtp, &packet));
            let report = media::sender_report(number, number, 1, 160);
            call.ue
                .send(Kind::Rtcp, &stranger.protect(Kind::Rtcp, &report));
        }
        let refused = u64::from(2 * FORGED_PACKETS);
        call.expect_refused(UP, &["auth-failed"], refused);
        call.core.expect_silence();
        assert_eq!(call.packets(UP), (refused, 0), "{}", suite.name);

        let mut libsrtp = call.libsrtp();
        for number in 0..FORGED_PACKETS {
            let packet = rtp(number);
            call.core.send(Kind::Rtp, &packet);
            let protected = call.ue.receive(Kind::Rtp).expect("the core side is plain");
            let result = stranger.unprotect(Kind::Rtp, &protected);
            assert_eq!(result, Err(Libsrtp::AUTH_FAIL), "{}", suite.name);
            let received = libsrtp
                .unprotect(Kind::Rtp, &protected)
                .expect("the keys are right");
            media::expect_same(&packet, &received);
        }
        pass(&call, &mut libsrtp, Kind::Rtp, &rtp(0));
        pass(
            &call,
            &mut libsrtp,
            Kind::Rtcp,
            &media::receiver_report(SSRC),
        );
        report::peer(
            &libsrtp.version,
            suite.name,
            "access to core",
            refused,
            "wrong_keys",
        );
        report::peer(
            &libsrtp.version,
            suite.name,
            "core to access",
            FORGED_PACKETS.into(),
            "wrong_keys",
        );
    }
    expect_balanced(&gateway);
}

#[test]
fn only_an_authenticated_packet_latches_the_access_side() {
    if !is_equipped() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    for (suite, port) in Suite::ALL.into_iter().zip((5000..).step_by(2)) {
        let terms = Terms {
            suite,
            port,
            latch: true,
            ..Terms::default()
        };
        let call = Call::new(&topology, &gateway, terms);
        let mut libsrtp = call.libsrtp();
        let at_ue = |port| {
            let address = (Topology::ue_address(terms.family), port);
            connected(topology.ue.udp(address), call.ue.gateway(Kind::Rtp))
        };
        let attacker = at_ue(port + 1000);
        let mut numbers = 2..;

        call.core.send(Kind::Rtp, &rtp(0));
        call.expect_refused(DOWN, &["no-route"], 1);
        call.ue.expect_silence();

        let mut stranger = Libsrtp::new(suite, &suite.key(1), &suite.key(2));
        attacker
            .send(&stranger.protect(Kind::Rtp, &rtp(0)))
            .unwrap();
        call.expect_refused(UP, &["auth-failed"], 1);
        call.core.send(Kind::Rtp, &rtp(1));
        call.expect_refused(DOWN, &["no-route"], 2);
        media::expect_silence(&attacker);

        let genuine = libsrtp.protect(Kind::Rtp, &rtp(0));
        call.ue.send(Kind::Rtp, &genuine);
        assert_eq!(call.core.receive(Kind::Rtp), Some(rtp(0)));
        arrives(&call, &mut libsrtp, call.ue.socket(Kind::Rtp), &mut numbers);

        // What the attacker overheard, from the attacker's port.
        attacker.send(&genuine).unwrap();
        call.expect_refused(UP, &["replayed"], 1);
        call.core.expect_silence();
        arrives(&call, &mut libsrtp, call.ue.socket(Kind::Rtp), &mut numbers);
        media::expect_silence(&attacker);

        // The user equipment's NAT gives it another port.
        let moved = at_ue(port + 2000);
        moved.send(&libsrtp.protect(Kind::Rtp, &rtp(1))).unwrap();
        assert_eq!(call.core.receive(Kind::Rtp), Some(rtp(1)));
        arrives(&call, &mut libsrtp, &moved, &mut numbers);
        // What was sent before the gateway heard of it went the old way.
        while media::receive_last(call.ue.socket(Kind::Rtp)).is_some() {}
        arrives(&call, &mut libsrtp, &moved, &mut numbers);
        media::expect_silence(call.ue.socket(Kind::Rtp));
    }
    expect_balanced(&gateway);
}

#[test]
fn millions_of_random_and_truncated_packets_neither_crash_nor_leak_a_frame() {
    if !is_equipped() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    let data_plane = gateway.data_plane_pid();
    let calls =
        [(Suite::CM_80, false, 5000), (Suite::GCM_256, true, 5010)].map(|(suite, mux, port)| {
            Call::new(
                &topology,
                &gateway,
                Terms {
                    suite,
                    mux,
                    port,
                    ..Terms::default()
                },
            )
        });
    let mut peers = calls.each_ref().map(Call::libsrtp);
    let mut templates = Vec::new();
    for (call, libsrtp) in calls.iter().zip(&mut peers) {
        pass(call, libsrtp, Kind::Rtp, &rtp(0));
        // Never sent as they are.
        templates.push((Kind::Rtp, libsrtp.protect(Kind::Rtp, &rtp(1))));
        templates.push((
            Kind::Rtcp,
            libsrtp.protect(Kind::Rtcp, &media::receiver_report(SSRC)),
        ));
    }
    let nobody = SocketAddr::new(Topology::access_address(calls[0].terms.family), 49_998);
    let to_nobody = connected(
        topology
            .ue
            .udp((Topology::ue_address(calls[0].terms.family), 7000)),
        nobody,
    );
    let mut noises = [Noise::new(1), Noise::new(2)];
    let mut flood = || {
        let [of_access, of_core] = &mut noises;
        thread::scope(|scope| {
            scope.spawn(|| {
                let noise = of_access;
                for _ in 0..FROM_ACCESS {
                    let call = &calls[noise.below(calls.len())];
                    let (kind, genuine) = &templates[noise.below(templates.len())];
                    let packet = noise.packet(genuine);
                    if noise.below(16) == 0 {
                        // Here an ICMP error would show.
                        to_nobody.send(&packet).expect("the gateway stays silent");
                    } else {
                        call.ue.send(*kind, &packet);
                    }
                }
            });
            scope.spawn(|| {
                let noise = of_core;
                let plain = [rtp(1), media::sender_report(SSRC, 1, 2, 3)];
                for _ in 0..FROM_CORE {
                    let call = &calls[noise.below(calls.len())];
                    let genuine = &plain[noise.below(plain.len())];
                    let packet = noise.packet(genuine);
                    let kind = [Kind::Rtp, Kind::Rtcp][noise.below(2)];
                    call.core.send(kind, &packet);
                }
            });
        });
    };
    // Much of it is dropped before it comes so far, most where the machine is slow.
    let has_come = wait_until(|| {
        flood();
        calls
            .iter()
            .all(|call| call.packets(UP).0 > FROM_ACCESS / 20)
    });
    assert!(has_come, "too few came so far");
    expect_balanced(&gateway);
    for (call, libsrtp) in calls.iter().zip(&mut peers) {
        let (arrived, left) = call.packets(UP);
        assert_eq!(
            left, 1,
            "{:?}: nothing but the genuine packet left",
            call.terms
        );
        assert_eq!(
            arrived - left,
            call.refused_total(UP),
            "{:?}: each is counted",
            call.terms
        );
        call.core.expect_silence();
        pass(call, libsrtp, Kind::Rtp, &rtp(2));
    }
    assert_eq!(
        gateway.data_plane_pid(),
        data_plane,
        "the data plane crashed:\n{}",
        gateway.log()
    );
    expect_balanced(&gateway);
}

fn is_equipped() -> bool {
    require::root_and_namespaces() && Libsrtp::is_there()
}

fn rtp(number: u32) -> Vec<u8> {
    media::numbered_rtp(SSRC, number, 160)
}

/// A genuine packet from the user equipment arrives in the core.
fn pass(call: &Call<'_>, libsrtp: &mut Libsrtp, kind: Kind, packet: &[u8]) {
    call.ue.send(kind, &libsrtp.protect(kind, packet));
    let received = call.core.receive(kind);
    let received = received.unwrap_or_else(|| {
        panic!(
            "{:?}: a genuine {kind:?} packet did not arrive: {}",
            call.terms,
            call.counters(UP)
        )
    });
    media::expect_same(packet, &received);
}

/// Packets from the core arrive at this socket of the user equipment, once the gateway has found the
/// way to a peer that it has just learned.
fn arrives(
    call: &Call<'_>,
    libsrtp: &mut Libsrtp,
    socket: &UdpSocket,
    numbers: &mut RangeFrom<u32>,
) {
    let arrives = wait_until(|| {
        let packet = rtp(numbers.next().expect("it has no end"));
        call.core.send(Kind::Rtp, &packet);
        media::receive_last(socket).is_some_and(|protected| {
            let received = libsrtp.unprotect(Kind::Rtp, &protected);
            received.expect("the keys are right") == packet
        })
    });
    assert!(arrives, "no packet arrives: {}", call.counters(DOWN));
}

fn connected(socket: UdpSocket, to: SocketAddr) -> UdpSocket {
    socket.connect(to).expect("the gateway is in reach");
    socket
}
