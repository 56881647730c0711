// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Media while processes die and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use sallyport_tests::patience::wait_until;
use sallyport_tests::{Gateway, GatewayOptions, Topology, media, report, require};

use crate::support::{Call, Collector, End, Kind, Libsrtp, Suite, Terms};

const SSRC: u32 = 0x0a11_0ca7;

#[test]
fn no_packet_is_lost_when_the_agent_is_killed_and_it_finds_its_sessions_again() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    let calls = calls(&topology, &gateway);
    let before = calls.each_ref().map(both_ways);
    let media = calls.each_ref().map(Media::start);
    for _ in 0..3 {
        expect_media(&calls);
        gateway.kill_agent();
        let list = gateway.list().to_string();
        for call in &calls {
            assert!(
                list.contains(&call.id),
                "session {} is not in {list}",
                call.id
            );
        }
    }
    expect_media(&calls);
    for ((call, media), before) in calls.iter().zip(media).zip(before) {
        let crossed = media.stop();
        let libsrtp = &crossed.version;
        for (direction, lost) in [
            ("access to core", crossed.lost_up()),
            ("core to access", crossed.lost_down()),
        ] {
            assert_eq!(
                lost, 0,
                "{:?}: packets lost, {direction}, of {}",
                call.terms, crossed.sent
            );
            report::peer(
                libsrtp,
                call.terms.suite.name,
                direction,
                crossed.sent.into(),
                "agent_killed",
            );
        }
        // The agent that came back counts and ends the sessions that it did not create.
        let sent = u64::from(crossed.sent + crossed.sent / PACKETS_PER_REPORT);
        let expected = before.map(|(arrived, left)| (arrived + sent, left + sent));
        assert_eq!(both_ways(call), expected);
        gateway.delete(&call.id);
        assert!(!gateway.list().to_string().contains(&call.id));
    }
    assert_eq!(gateway.frames_lost(), 0);
}

#[test]
fn media_is_back_when_the_data_plane_is_killed_and_no_index_is_used_twice() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    let calls = calls(&topology, &gateway);
    let media = calls.each_ref().map(Media::start);
    for _ in 0..2 {
        expect_media(&calls);
        // Longer than the agent takes to ask where the indices stand.
        thread::sleep(Duration::from_secs(3));
        gateway.kill_data_plane();
    }
    expect_media(&calls);
    for (call, media) in calls.iter().zip(media) {
        let crossed = media.stop();
        for (direction, received) in [
            ("access to core", &crossed.at_core),
            ("core to access", &crossed.at_ue),
        ] {
            let gap = longest_gap(received, crossed.sent);
            eprintln!(
                "{} {direction}: no media for {gap:?}",
                call.terms.suite.name
            );
            assert_eq!(
                received.last(),
                Some(&(crossed.sent - 1)),
                "{:?}: no media any more, {direction}:\n{}",
                call.terms,
                gateway.log(),
            );
            let count = received.len() as u64;
            report::peer(
                &crossed.version,
                call.terms.suite.name,
                direction,
                count,
                "data_plane_killed",
            );
        }
    }
    assert_eq!(gateway.frames_lost(), 0);
}

#[test]
fn a_gateway_that_was_stopped_starts_again_on_the_same_pins() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    let first = Call::new(&topology, &gateway, Terms::default());
    cross(&first);
    for (round, signal) in (1..).zip([Signal::SIGTERM, Signal::SIGINT, Signal::SIGTERM]) {
        let children = [gateway.agent_pid(), gateway.data_plane_pid()];
        kill(gateway.pid(), signal).expect("the gateway runs");
        gateway.stop();
        for child in children {
            let is_gone = || !std::path::Path::new(&format!("/proc/{child}")).exists();
            assert!(wait_until(is_gone), "a child outlived {signal}");
        }
        gateway.restart();
        let terms = Terms {
            port: 5000 + 10 * round,
            ..Terms::default()
        };
        cross(&Call::new(&topology, &gateway, terms));
        assert_eq!(gateway.frames_lost(), 0);
    }
}

fn calls<'a>(topology: &Topology, gateway: &'a Gateway<'a>) -> [Call<'a>; 2] {
    let calls = [
        (Suite::CM_80, 5000, false, false),
        (Suite::GCM_128, 5010, true, true),
    ];
    calls.map(|(suite, port, mux, latch)| {
        let terms = Terms {
            suite,
            mux,
            latch,
            port,
            ..Terms::default()
        };
        let call = Call::new(topology, gateway, terms);
        if latch {
            call.latch(&mut call.libsrtp());
        }
        call
    })
}

/// The packets of each direction that arrived, and those that left.
fn both_ways(call: &Call<'_>) -> [(u64, u64); 2] {
    ["access_to_core", "core_to_access"].map(|direction| call.packets(direction))
}

/// Waits until media of every call has gone on for a while in both directions.
fn expect_media(calls: &[Call<'_>]) {
    for call in calls {
        let left = || both_ways(call).map(|(_, left)| left);
        let before = left();
        let goes_on = wait_until(|| {
            let grown = left().into_iter().zip(before);
            grown.into_iter().all(|(now, before)| now >= before + 100)
        });
        assert!(goes_on, "{:?}: no media", call.terms);
    }
}

/// One packet in each direction.
fn cross(call: &Call<'_>) {
    let mut libsrtp = call.libsrtp();
    let packet = media::numbered_rtp(SSRC, 0, 160);
    call.ue
        .send(Kind::Rtp, &libsrtp.protect(Kind::Rtp, &packet));
    media::expect_same(
        &packet,
        &call
            .core
            .receive(Kind::Rtp)
            .expect("it arrives in the core"),
    );
    call.core.send(Kind::Rtp, &packet);
    let protected = call
        .ue
        .receive(Kind::Rtp)
        .expect("it arrives at the user equipment");
    let received = libsrtp
        .unprotect(Kind::Rtp, &protected)
        .expect("it authenticates");
    media::expect_same(&packet, &received);
}

/// One RTP packet each [`PACE`] in both directions, and now and then an RTCP packet.
struct Media {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u32>,
    libsrtp: Libsrtp,
    at_core: Collector,
    at_ue: Collector,
    at_core_rtcp: Collector,
    at_ue_rtcp: Option<Collector>,
}

const PACE: Duration = Duration::from_millis(2);
const PACKETS_PER_REPORT: u32 = 50;

impl Media {
    fn start(call: &Call<'_>) -> Self {
        let socket = |end: &End, kind| {
            let socket = end.socket(kind).try_clone();
            socket.expect("there are file descriptors left")
        };
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let mut libsrtp = call.libsrtp();
        let ways = [Kind::Rtp, Kind::Rtcp]
            .map(|kind| (kind, socket(&call.ue, kind), socket(&call.core, kind)));
        Self {
            stop,
            libsrtp: call.libsrtp(),
            at_core: Collector::start(call.core.socket(Kind::Rtp)),
            at_ue: Collector::start(call.ue.socket(Kind::Rtp)),
            at_core_rtcp: Collector::start(call.core.socket(Kind::Rtcp)),
            at_ue_rtcp: (!call.terms.mux).then(|| Collector::start(call.ue.socket(Kind::Rtcp))),
            sender: thread::spawn(move || {
                let start = Instant::now();
                let mut number = 0;
                while !over.load(Ordering::Relaxed) {
                    for (kind, ue, core) in &ways {
                        let packet = match kind {
                            Kind::Rtp => packet(number),
                            Kind::Rtcp if number % PACKETS_PER_REPORT == PACKETS_PER_REPORT - 1 => {
                                media::receiver_report(SSRC)
                            }
                            Kind::Rtcp => continue,
                        };
                        // A failure would be an ICMP error; it is lost then, and that is counted.
                        ue.send(&libsrtp.protect(*kind, &packet))
                            .expect("no ICMP error");
                        core.send(&packet).expect("no ICMP error");
                    }
                    number += 1;
                    thread::sleep((PACE * number).saturating_sub(start.elapsed()));
                }
                number
            }),
        }
    }

    /// Ends the media and checks that everything that arrived is what was sent.
    fn stop(mut self) -> Crossed {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self
            .sender
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // What comes last ends the wait. SRTP leaves its number readable.
        let last = sequence(sent - 1).to_be_bytes();
        let is_all = |packets: &[Vec<u8>]| {
            let mut latest = packets.iter().rev();
            latest.any(|packet| packet[1] == media::PCMA && packet[2..4] == last)
        };
        let number_of = |packet: &[u8]| -> u32 {
            let number = u32::from_be_bytes(packet[4..8].try_into().expect("a word")) / 160;
            media::expect_same(&self::packet(number), packet);
            number
        };
        let at_core = self
            .at_core
            .finish(is_all)
            .iter()
            .map(|packet| number_of(packet))
            .collect();
        let mut at_ue = Vec::new();
        let some = |reports: &[Vec<u8>]| !reports.is_empty();
        let mut reports = self.at_core_rtcp.finish(some).len();
        let rtcp = self.at_ue_rtcp.map(|rtcp| rtcp.finish(some));
        let rtcp = rtcp.unwrap_or_default();
        for protected in self.at_ue.finish(is_all).into_iter().chain(rtcp) {
            let kind = if (192..=223).contains(&protected[1]) {
                Kind::Rtcp
            } else {
                Kind::Rtp
            };
            // libsrtp refuses an index that it has seen.
            let packet = self.libsrtp.unprotect(kind, &protected);
            let packet =
                packet.unwrap_or_else(|status| panic!("libsrtp: status {status} for {kind:?}"));
            match kind {
                Kind::Rtp => at_ue.push(number_of(&packet)),
                Kind::Rtcp => reports += 1,
            }
        }
        assert!(reports > 0, "RTCP crosses, too");
        Crossed {
            sent,
            at_core,
            at_ue,
            version: self.libsrtp.version.clone(),
        }
    }
}

/// The packet with this number; the sequence number wraps after a hundred.
fn packet(number: u32) -> Vec<u8> {
    let payload = media::payload(SSRC, number, 160);
    media::rtp(media::PCMA, sequence(number), number * 160, SSRC, &payload)
}

const fn sequence(number: u32) -> u16 {
    (number.wrapping_sub(100) & 0xffff) as u16
}

/// What became of the media of a call.
struct Crossed {
    /// In each direction.
    sent: u32,
    /// The numbers of the packets that arrived in the core.
    at_core: Vec<u32>,
    /// The numbers of the packets that arrived at the user equipment.
    at_ue: Vec<u32>,
    version: String,
}

impl Crossed {
    fn lost_up(&self) -> u64 {
        u64::from(self.sent) - self.at_core.len() as u64
    }

    fn lost_down(&self) -> u64 {
        u64::from(self.sent) - self.at_ue.len() as u64
    }
}

/// For how long no packet arrived.
fn longest_gap(received: &[u32], sent: u32) -> Duration {
    let ends = received.iter().copied().chain([sent]);
    let starts = [0].into_iter().chain(received.iter().copied());
    let longest = starts
        .zip(ends)
        .map(|(from, to)| to.saturating_sub(from))
        .max();
    PACE * longest.unwrap_or(sent)
}
