// SPDX-License-Identifier: Apache-2.0 OR MIT

//! NICs with several queues: a flow has one owner, wherever its packets arrive.

use sallyport_tests::patience::wait_until;
use sallyport_tests::{Gateway, GatewayOptions, Topology, TopologyOptions, media, report, require};

use crate::support::{Call, Kind, Libsrtp, Terms};

/// Packets for each source port.
const ROUNDS: u16 = 50;
/// Enough that the hash of the addresses and ports spreads them over both queues.
const PORTS: u16 = 16;

#[test]
fn a_caller_whose_packets_arrive_on_two_queues_has_one_set_of_indices() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::with(TopologyOptions {
        queues: 2,
        ..TopologyOptions::default()
    });
    let options = GatewayOptions {
        dataplane: "queues = 2".to_owned(),
        ..GatewayOptions::default()
    };
    let gateway = Gateway::start(&topology, &options);
    let call = Call::new(
        &topology,
        &gateway,
        Terms {
            latch: true,
            ..Terms::default()
        },
    );
    let mut libsrtp = call.libsrtp();
    let sockets: Vec<_> = (0..PORTS)
        .map(|number| {
            let socket = topology.ue.udp((call.terms.ue().ip(), 7000 + number));
            socket
                .connect(call.ue.gateway(Kind::Rtp))
                .expect("the gateway is in reach");
            socket
        })
        .collect();

    for sequence in 0..ROUNDS * PORTS {
        let plain = media::rtp(
            0,
            sequence,
            u32::from(sequence) * 160,
            0x71de_0000,
            &[7; 160],
        );
        let srtp = libsrtp.protect(Kind::Rtp, &plain);
        let socket = &sockets[usize::from(sequence % PORTS)];
        socket.send(&srtp).expect("the gateway takes it");
        assert_eq!(
            call.core.receive(Kind::Rtp),
            Some(plain),
            "packet {sequence}"
        );
        // A copy is a replay, on whichever queue it arrives.
        let socket = &sockets[usize::from((sequence + 1) % PORTS)];
        socket.send(&srtp).expect("the gateway takes it");
    }

    let sent = u64::from(ROUNDS * PORTS);
    assert!(
        wait_until(|| { call.refused("access_to_core", "replayed") == sent }),
        "{}",
        call.counters("access_to_core"),
    );
    assert_eq!(call.packets("access_to_core"), (2 * sent, sent));
    let statistics = gateway.statistics();
    let workers = statistics["workers"].as_array().expect("there are workers");
    assert_eq!(workers.len(), 2);
    for worker in workers {
        assert!(
            worker["bursts"].as_u64() > Some(0),
            "a queue got nothing: {statistics}"
        );
    }
    assert_eq!(gateway.frames_lost(), 0);
    report::peer(
        &libsrtp.version,
        call.terms.suite.name,
        "access to core",
        sent,
        "two_queues",
    );
}

#[test]
fn a_worker_that_never_sleeps_serves_and_obeys_as_well() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let options = GatewayOptions {
        dataplane: "poll = \"busy\"".to_owned(),
        ..GatewayOptions::default()
    };
    let gateway = Gateway::start(&topology, &options);
    let call = Call::new(&topology, &gateway, Terms::default());
    let mut libsrtp = call.libsrtp();
    for sequence in 0..ROUNDS {
        let plain = media::rtp(0, sequence, 0, 0x71de_0001, &[7; 160]);
        call.ue.send(Kind::Rtp, &libsrtp.protect(Kind::Rtp, &plain));
        assert_eq!(
            call.core.receive(Kind::Rtp),
            Some(plain),
            "packet {sequence}"
        );
    }
    gateway.delete(&call.id);
    assert_eq!(gateway.frames_lost(), 0);
}
