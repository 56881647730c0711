// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The load generator against a gateway that is twenty lines long, on loopback: what it does to
//! packets must stand in the tallies, and nothing else.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "a test, helpers included, may end where it fails"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sallyport_benches::load::{Call, Direction, Endpoints, Peer, Plan, Sockets, Tallies, Tally};
use sallyport_srtp::header::is_rtcp;
use sallyport_srtp::{ContextSets, HEADROOM, Job, Kind};
use sallyport_tests::Family;
use sallyport_tests::patience::wait_until;

const PLAN: Plan = Plan {
    calls: 10,
    seconds: 2,
    pps: 50,
    payload: 160,
};

/// What the relay does to a packet.
#[derive(Clone, Copy)]
enum Fate {
    Pass,
    Drop,
    Corrupt,
    Double,
}

#[test]
fn everything_arrives_intact_through_a_relay_that_does_its_work() {
    let tallies = run(|_, _| Fate::Pass);
    assert_eq!(tallies.total(Tally::sent), PLAN.total());
    assert_eq!(tallies.total(Tally::intact), PLAN.total());
    for line in tallies.lines() {
        assert!(line.tally.is_perfect(), "{line:?}");
        let median = line.tally.latency.snapshot().quantile(500).unwrap();
        assert!(median > 0, "{median} ns");
    }
}

#[test]
fn what_a_relay_drops_corrupts_or_doubles_is_counted_as_that() {
    type Count = fn(&Tally) -> u64;
    let cases: [(Fate, Count); 3] = [
        (Fate::Drop, Tally::missing),
        (Fate::Corrupt, Tally::corrupt),
        (Fate::Double, |tally| tally.duplicate() + tally.corrupt()),
    ];
    for (fate, count) in cases {
        let tallies = run(|_, number| if number == 3 { fate } else { Fate::Pass });
        for direction in Direction::BOTH {
            let lines = tallies
                .lines()
                .iter()
                .filter(|line| line.direction == direction);
            let counted: u64 = lines.map(|line| count(&line.tally)).sum();
            assert_eq!(counted, 1, "{direction}");
        }
        assert_eq!(tallies.total(count), 2);
    }
}

/// One of the four directed ways of packets through the relay for each call.
struct Way {
    direction: Direction,
    from: UdpSocket,
    to: UdpSocket,
    call: usize,
}

/// Runs all calls; `fate` decides over the nth packet in a direction.
fn run(fate: impl Fn(Direction, u32) -> Fate + Sync) -> Tallies {
    // Tests run at the same time, on one loopback interface.
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let tallies = Tallies::new();
    let calls = Call::all(PLAN);
    let mut ue = Peer::new(Direction::ToCore, PLAN).unwrap();
    let mut core = Peer::new(Direction::ToAccess, PLAN).unwrap();
    let mut ways = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        let address = match call.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let bind =
            || Sockets::bind(address, PORT.fetch_add(2, Ordering::Relaxed), call.muxed).unwrap();
        let (ue_sockets, core_sockets) = (bind(), bind());
        let relay = |peer: Endpoints| {
            let socket = |peer| {
                let socket = UdpSocket::bind((address, 0)).unwrap();
                socket.connect(peer).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            };
            let rtp = socket(peer.rtp);
            let rtcp = if call.muxed {
                None
            } else {
                Some(socket(peer.rtcp))
            };
            let local = rtp.local_addr().unwrap();
            let rtcp_local = rtcp
                .as_ref()
                .map_or(local, |rtcp| rtcp.local_addr().unwrap());
            (
                Endpoints {
                    rtp: local,
                    rtcp: rtcp_local,
                },
                [Some(rtp), rtcp],
            )
        };
        let (access_ends, access) = relay(ue_sockets.endpoints().unwrap());
        let (core_ends, far) = relay(core_sockets.endpoints().unwrap());
        ue_sockets.connect(access_ends).unwrap();
        core_sockets.connect(core_ends).unwrap();
        ue.add(call, ue_sockets, &tallies).unwrap();
        core.add(call, core_sockets, &tallies).unwrap();
        for (access, far) in access.into_iter().zip(far) {
            let (Some(access), Some(far)) = (access, far) else {
                continue;
            };
            let (access_too, far_too) = (access.try_clone().unwrap(), far.try_clone().unwrap());
            ways.extend([
                Way {
                    direction: Direction::ToCore,
                    from: access,
                    to: far,
                    call: number,
                },
                Way {
                    direction: Direction::ToAccess,
                    from: far_too,
                    to: access_too,
                    call: number,
                },
            ]);
        }
    }
    let stop = AtomicBool::new(false);
    let relayed = Relayed::default();
    let total = |count: fn(&Tally) -> u64| tallies.total(count);
    // Everything was sent, has come to the relay, and from there to where it goes.
    let is_done = || {
        let arrived = total(Tally::intact) + total(Tally::corrupt) + total(Tally::duplicate);
        total(Tally::sent) == PLAN.total()
            && relayed.taken.load(Ordering::Acquire) == PLAN.total()
            && arrived == relayed.passed.load(Ordering::Relaxed)
    };
    let start = Instant::now() + Duration::from_millis(20);
    thread::scope(|scope| {
        scope.spawn(|| ue.run(start, &stop).unwrap());
        scope.spawn(|| core.run(start, &stop).unwrap());
        scope.spawn(|| relay(&calls, &ways, &fate, &relayed, &stop));
        wait_until(is_done);
        stop.store(true, Ordering::Relaxed);
    });
    tallies
}

/// What a relay did.
#[derive(Default)]
struct Relayed {
    /// Packets that came.
    taken: AtomicU64,
    /// Packets, and copies, that were sent on.
    passed: AtomicU64,
}

/// Forwards until told to stop.
fn relay(
    calls: &[Call],
    ways: &[Way],
    fate: &impl Fn(Direction, u32) -> Fate,
    relayed: &Relayed,
    stop: &AtomicBool,
) {
    let mut contexts = ContextSets::new();
    let unprotect: Vec<_> = calls
        .iter()
        .map(|call| contexts.insert(call.receiver(Direction::ToCore)))
        .collect();
    let protect: Vec<_> = calls
        .iter()
        .map(|call| contexts.insert(call.sender(Direction::ToAccess)))
        .collect();
    let mut numbers = [0, 0];
    let mut frame = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        for way in ways {
            while let Ok(len) = way.from.recv(&mut frame[HEADROOM..][..1500]) {
                let number = &mut numbers[way.direction as usize];
                let fate = fate(way.direction, *number);
                *number += 1;
                let is_rtcp = is_rtcp(&frame[HEADROOM..]);
                let kind = if is_rtcp { Kind::Rtcp } else { Kind::Rtp };
                let set = match way.direction {
                    Direction::ToCore => unprotect[way.call],
                    Direction::ToAccess => protect[way.call],
                };
                let mut jobs = [Job::new(&mut frame, HEADROOM, len, kind, set)];
                match way.direction {
                    Direction::ToCore => contexts.unprotect(&mut jobs),
                    Direction::ToAccess => contexts.protect(&mut jobs),
                }
                let [Job { len, outcome, .. }] = jobs;
                assert_eq!(outcome, Ok(()));
                let packet = &mut frame[HEADROOM..][..len];
                let copies = match fate {
                    Fate::Pass => 1,
                    Fate::Drop => 0,
                    Fate::Corrupt => {
                        packet[20] ^= 1;
                        1
                    }
                    Fate::Double => 2,
                };
                for _ in 0..copies {
                    way.to.send(packet).unwrap();
                }
                relayed.passed.fetch_add(copies, Ordering::Relaxed);
                relayed.taken.fetch_add(1, Ordering::Release);
            }
        }
        thread::sleep(Duration::from_micros(200));
    }
}
