// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a re-INVITE does to media: new keys, hold, other ways. Not a packet is lost by it.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use sallyport_flow::{
    Carries, Crypto, Egress, Event, Flow, FlowId, Gate, Ingress, Latch, MasterKey, Path, Realm,
    Reason, Refused, Remote, Secret, Source, Update,
};
use sallyport_tests::patience::wait_until;
use sallyport_tests::{
    Family, Gateway, GatewayOptions, Topology, TopologyOptions, media, report, require,
};

use crate::support::{DataPlane, End, Key, Kind, Libsrtp, Suite, expect_balanced};

const SSRC: u32 = 0x0e1d_0ca7;
/// From the access side: SRTP and SRTCP on one port.
const UP: FlowId = FlowId(0xffff_0000);
/// From the core: RTP.
const DOWN: FlowId = FlowId(0xffff_0001);
/// From the core: RTCP.
const DOWN_RTCP: FlowId = FlowId(0xffff_0002);

/// A muxed SRTP leg over IPv4, and over IPv6 an RTP leg with RTCP on a port of its own. All peers
/// are latched.
struct Reinvite {
    data_plane: DataPlane,
    suite: Suite,
    ue: End,
    core: End,
    /// The flows as they are installed.
    flows: [Flow; 3],
}

const fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

impl Reinvite {
    /// The first keys: of the UE, and ours.
    const FIRST: [u32; 2] = [1, 2];

    fn new(topology: &Topology, gateway: &Gateway<'_>, suite: Suite) -> Self {
        let access = at(Topology::access_address(Family::V4), 40_000);
        let core = [40_000, 40_001].map(|port| at(Topology::core_side_address(Family::V6), port));
        let peer = Topology::core_address(Family::V6);
        let ue = at(Topology::ue_address(Family::V4), 5000);
        let to_ue = Path {
            local: access,
            remote: Remote::Latched(UP),
        };
        let to_core = |local, flow| Path {
            local,
            remote: Remote::Latched(flow),
        };
        let from_core = |id, local, carries, port| Flow {
            id,
            gate: Gate::Open,
            ingress: Ingress {
                realm: Realm::Core,
                local,
                carries,
                handshakes: false,
                clocks: Vec::new(),
                source: Source::Latch(Latch {
                    signalled: Some(at(peer, port)),
                    from: Some(peer.into()),
                    window: Some(Duration::from_mins(1)),
                    ..Latch::default()
                }),
                unprotect: None,
                expect: None,
            },
            egress: Egress {
                realm: Realm::Access,
                rtp: to_ue,
                rtcp: to_ue,
                protect: Some(crypto(suite, &suite.key(Self::FIRST[1]))),
                dscp: Some(46),
            },
        };
        let flows = [
            Flow {
                id: UP,
                gate: Gate::Open,
                ingress: Ingress {
                    realm: Realm::Access,
                    local: access,
                    carries: Carries::Muxed,
                    handshakes: false,
                    clocks: Vec::new(),
                    source: Source::Latch(Latch {
                        signalled: Some(ue),
                        ..Latch::default()
                    }),
                    unprotect: Some(crypto(suite, &suite.key(Self::FIRST[0]))),
                    expect: None,
                },
                egress: Egress {
                    realm: Realm::Core,
                    rtp: to_core(core[0], DOWN),
                    rtcp: to_core(core[1], DOWN_RTCP),
                    protect: None,
                    dscp: None,
                },
            },
            from_core(DOWN, core[0], Carries::Rtp, 5000),
            from_core(DOWN_RTCP, core[1], Carries::Rtcp, 5001),
        ];
        let leg = |rtp: SocketAddr, rtcp: SocketAddr| serde_json::json!({ "local": rtp.to_string(), "local_rtcp": rtcp.to_string() });
        let mut reinvite = Self {
            data_plane: DataPlane::of(gateway),
            suite,
            ue: End::new(&topology.ue, ue, true, &leg(access, access)),
            core: End::new(
                &topology.core,
                at(peer, 5000),
                false,
                &leg(core[0], core[1]),
            ),
            flows,
        };
        let install = reinvite.flows.to_vec();
        reinvite.update(|update| update.install = install);
        reinvite
    }

    fn update(&mut self, fill: impl FnOnce(&mut Update)) {
        let mut update = Update::default();
        fill(&mut update);
        self.data_plane
            .update(update)
            .expect("the data plane agrees");
    }

    /// Changes all flows at once.
    fn change(&mut self, change: impl Fn(&mut Flow)) {
        self.flows.iter_mut().for_each(change);
        let change = self.flows.to_vec();
        self.update(|update| update.change = change);
    }

    /// A packet from the UE arrives in the core as it was.
    fn up(&self, libsrtp: &mut Libsrtp, kind: Kind, plain: &[u8]) {
        self.ue.send(kind, &libsrtp.protect(kind, plain));
        assert_eq!(self.core.receive(kind).as_deref(), Some(plain), "{kind:?}");
    }

    /// A packet from the core arrives at the UE as it was.
    fn down(&self, libsrtp: &mut Libsrtp, kind: Kind, plain: &[u8]) {
        self.core.send(kind, plain);
        let srtp = self.ue.receive(kind).expect("it arrives at the UE");
        assert_eq!(libsrtp.unprotect(kind, &srtp).as_deref(), Ok(plain));
    }

    /// Two packets of each kind in each direction.
    fn talk(&self, libsrtp: &mut Libsrtp, numbers: &mut std::ops::RangeFrom<u32>) {
        for number in numbers.take(2) {
            let plain = media::numbered_rtp(SSRC, number, 160);
            self.up(libsrtp, Kind::Rtp, &plain);
            self.down(libsrtp, Kind::Rtp, &plain);
            let plain = media::receiver_report(SSRC);
            self.up(libsrtp, Kind::Rtcp, &plain);
            self.down(libsrtp, Kind::Rtcp, &plain);
        }
    }

    /// Waits until a flow has refused so many packets for this reason.
    fn expect_refused(&mut self, flow: FlowId, reason: Reason, count: u64) {
        let data_plane = &mut self.data_plane;
        let is_refused = wait_until(|| data_plane.statistics(flow).refused.of(reason) == count);
        assert!(is_refused, "{:?}", data_plane.statistics(flow));
    }

    fn ue_with(&self, [send, receive]: [u32; 2]) -> Libsrtp {
        Libsrtp::new(self.suite, &self.suite.key(send), &self.suite.key(receive))
    }
}

fn crypto(suite: Suite, key: &Key) -> Crypto {
    Crypto {
        suite: suite.name.parse().expect("both know this suite"),
        keys: vec![MasterKey::new(Secret::new(key.bytes().to_vec()))],
        lifetime: None,
        replay_window: 0,
        key_derivation_rate: None,
        unencrypted_srtcp: false,
        marks: Vec::new(),
    }
}

#[test]
fn a_call_is_rekeyed_without_the_loss_of_a_packet_and_the_old_key_retires() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    for (suite, queues) in [(Suite::CM_80, 1), (Suite::GCM_256, 2)] {
        let topology = Topology::with(TopologyOptions {
            queues,
            ..TopologyOptions::default()
        });
        let options = GatewayOptions {
            dataplane: format!("queues = {queues}"),
            ..GatewayOptions::default()
        };
        let gateway = Gateway::start(&topology, &options);
        let mut call = Reinvite::new(&topology, &gateway, suite);
        let mut old = call.ue_with(Reinvite::FIRST);
        // Across a turn of the sequence number, so that the old key has a rollover counter.
        let mut numbers = 65_530..;
        for _ in 0..10 {
            call.talk(&mut old, &mut numbers);
        }
        let latched = Event::Latched {
            flow: UP,
            remote: at(Topology::ue_address(Family::V4), 5000),
        };
        assert_eq!(call.data_plane.event(), latched);

        // The UE offers a new key, and uses it as soon as it likes.
        let second = [3, 4];
        let keys = second.map(|number| crypto(suite, &suite.key(number)));
        let mut new = call.ue_with(second);
        call.change(|flow| {
            if flow.id == UP {
                flow.ingress.expect = Some(keys[0].clone());
            }
        });
        for number in numbers.by_ref().take(20) {
            let libsrtp = if number % 2 == 0 { &mut old } else { &mut new };
            let plain = media::numbered_rtp(SSRC, number, 160);
            call.up(libsrtp, Kind::Rtp, &plain);
            call.up(libsrtp, Kind::Rtcp, &media::receiver_report(SSRC));
            // What we send with has not changed.
            call.down(&mut old, Kind::Rtp, &plain);
        }

        // The answer: both directions have new keys; packets under the old are still on their way.
        call.change(|flow| match flow.id {
            UP => {
                flow.ingress.unprotect = flow.ingress.expect.take();
            }
            _ => flow.egress.protect = Some(keys[1].clone()),
        });
        // They are for as long as the keys overlap, and no longer.
        // In this order: what ends first is asked first, and no number is lost.
        for (at, number) in (0..20).zip(numbers.by_ref()) {
            let is_old = at < 5 && at % 2 == 0;
            let libsrtp = if is_old { &mut old } else { &mut new };
            let plain = media::numbered_rtp(SSRC, number, 160);
            call.up(libsrtp, Kind::Rtp, &plain);
            call.down(&mut new, Kind::Rtp, &plain);
            call.down(&mut new, Kind::Rtcp, &media::receiver_report(SSRC));
        }

        thread::sleep(Flow::OVERLAP + Duration::from_millis(200));
        let late = media::numbered_rtp(SSRC, numbers.start, 160);
        call.ue.send(Kind::Rtp, &old.protect(Kind::Rtp, &late));
        call.expect_refused(UP, Reason::AuthFailed, 1);
        call.core.expect_silence();
        let start = Instant::now();
        call.talk(&mut new, &mut numbers);

        let statistics = call.data_plane.statistics(UP);
        assert_eq!(statistics.refused.of(Reason::AuthFailed), 1);
        assert_eq!(statistics.refused.total(), 1);
        assert_eq!(statistics.packets_in, statistics.packets_out + 1);
        let ssrcs: Vec<_> = statistics
            .ssrcs
            .iter()
            .map(|it| (it.ssrc, it.packets, it.bytes))
            .collect();
        let packets = 2 * 10 + 20 + 20 + 2;
        assert_eq!(ssrcs, [(SSRC, packets, packets * 172)]);
        assert!(statistics.idle.is_some_and(|idle| idle < start.elapsed()));
        expect_balanced(&gateway);
        report::peer(
            &old.version,
            suite.name,
            "both",
            statistics.packets_out,
            "rekey",
        );
    }
}

#[test]
fn a_call_is_held_and_resumed_where_it_stood() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    let suite = Suite::GCM_128;
    let mut call = Reinvite::new(&topology, &gateway, suite);
    // Other keys before the first packet, when no worker has any yet.
    let keys = [3, 4];
    let [receive, send] = keys.map(|number| crypto(suite, &suite.key(number)));
    call.change(|flow| match flow.id {
        UP => flow.ingress.unprotect = Some(receive.clone()),
        _ => flow.egress.protect = Some(send.clone()),
    });
    let mut ue = call.ue_with(keys);
    let mut numbers = 65_530..;
    for _ in 0..5 {
        call.talk(&mut ue, &mut numbers);
    }
    let held = media::numbered_rtp(SSRC, 9, 160);
    let [first, second, third] = [(); 3].map(|()| {
        let number = numbers.next().expect("it has no end");
        ue.protect(Kind::Rtp, &media::numbered_rtp(SSRC, number, 160))
    });

    call.change(|flow| flow.gate = Gate::Closed);
    call.ue.send(Kind::Rtp, &first);
    call.core.send(Kind::Rtp, &held);
    for flow in [UP, DOWN] {
        call.expect_refused(flow, Reason::GateClosed, 1);
    }
    call.core.expect_silence();
    call.ue.expect_silence();
    let report = media::receiver_report(SSRC);
    call.up(&mut ue, Kind::Rtcp, &report);
    call.down(&mut ue, Kind::Rtcp, &report);
    for flow in [UP, DOWN] {
        let statistics = call.data_plane.statistics(flow);
        assert_eq!(statistics.refused.of(Reason::GateClosed), 1);
        assert_eq!(statistics.refused.total(), 1);
    }

    // A request that is refused for one flow changes none.
    let mut wanted = call.flows.to_vec();
    for flow in &mut wanted {
        flow.gate = Gate::Open;
    }
    let mut stray = wanted[1].clone();
    stray.id = FlowId(0xffff_0003);
    stray.ingress.local.set_port(9);
    let refused = call.data_plane.update(Update {
        change: wanted,
        install: vec![stray.clone()],
        ..Update::default()
    });
    let not_in_realm = Refused::NotInRealm {
        realm: Realm::Core,
        local: stray.ingress.local,
    };
    assert_eq!(refused, Err(not_in_realm));
    call.ue.send(Kind::Rtp, &second);
    call.expect_refused(UP, Reason::GateClosed, 2);
    call.core.expect_silence();

    call.change(|flow| flow.gate = Gate::Open);
    // What came at the closed gate was taken note of: the stream goes on, and that is a replay.
    call.ue.send(Kind::Rtp, &third);
    assert!(call.core.receive(Kind::Rtp).is_some());
    call.ue.send(Kind::Rtp, &first);
    call.expect_refused(UP, Reason::Replayed, 1);
    call.core.expect_silence();
    call.talk(&mut ue, &mut numbers);

    // The core's leg multiplexes now, and then no longer. No SRTCP index may be used twice under
    // our key, or else libsrtp takes it for a replay.
    for _ in 0..2 {
        let [up, mut down, down_rtcp] = call.flows.clone();
        down.ingress.carries = Carries::Muxed;
        call.update(|update| {
            update.change = vec![up.clone(), down.clone()];
            update.remove = vec![DOWN_RTCP];
        });
        for _ in 0..3 {
            call.core.send(Kind::Rtp, &report);
            let srtcp = call.ue.receive(Kind::Rtcp).expect("it arrives at the UE");
            let plain = ue.unprotect(Kind::Rtcp, &srtcp);
            assert_eq!(plain.as_ref(), Ok(&report));
        }
        down.ingress.carries = Carries::Rtp;
        call.update(|update| {
            update.change = vec![up, down];
            update.install = vec![down_rtcp];
        });
        call.talk(&mut ue, &mut numbers);
    }

    let removed = call
        .data_plane
        .update(Update {
            remove: vec![UP, DOWN, DOWN_RTCP],
            ..Update::default()
        })
        .expect("they are there");
    assert_eq!(removed[0].refused.of(Reason::Replayed), 1);
    assert_eq!(removed[0].refused.total(), 3);
    assert_eq!(gateway.statistics()["flows"], 0);
    expect_balanced(&gateway);
}
