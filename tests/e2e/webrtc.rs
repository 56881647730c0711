// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A browser-like peer (aiortc: full ICE, DTLS-SRTP) on the access side, plain RTP on the core
//! side, audio in both directions compared code by code.

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sallyport_tests::media::{self, PCMA, RTP_HEADER_LEN};
use sallyport_tests::patience::wait_until;
use sallyport_tests::{Family, Gateway, Topology, report, require};
use serde_json::{Value, json};

use crate::support::audio::{Audio, FRAME};
use crate::support::capture::{Datagram, datagrams};
use crate::support::kamailio::with_ng;
use crate::support::{Capture, Ng, WebPeer, expect_balanced};

const PORT: u16 = 6000;
const SECONDS: usize = 3;
const MS_20: Duration = Duration::from_millis(20);

#[test]
fn a_browser_calls_a_plain_phone_in_the_core() {
    let Some(topology) = equipped() else { return };
    let gateway = Gateway::start(&topology, &with_ng());
    let bed = Bed::new(&topology);
    for (name, family, options) in [
        ("passive", Family::V4, json!({})),
        ("active", Family::V4, json!({ "DTLS-reverse": "active" })),
        ("ipv6", Family::V6, json!({})),
    ] {
        let mut peer = bed.peer();
        let offer = of_family(&peer.offer(), family);
        let (answer, way) = bed.browser_offers(name, &offer, &options);
        let ip = Topology::access_address(family);
        assert!(answer.contains(&format!(" {ip} ")), "{answer}");
        let role = if name == "active" { name } else { "passive" };
        assert!(answer.contains(&format!("a=setup:{role}")), "{answer}");
        peer.accept(&answer);
        bed.talk(peer, way, &format!("browser_calls_{name}"));
        bed.delete(name);
    }
    expect_balanced(&gateway);
}

#[test]
fn a_plain_phone_in_the_core_calls_a_browser() {
    let Some(topology) = equipped() else { return };
    let gateway = Gateway::start(&topology, &with_ng());
    let bed = Bed::new(&topology);
    for (ice, kind) in [("force", "host"), ("force-relay", "relay")] {
        let mut peer = bed.peer();
        let flags = ["WebRTC".to_owned(), format!("ICE={ice}")];
        let options = json!({ "flags": flags, "direction": ["core", "access"] });
        let offer = bed.ng.rewrite("offer", ice, &Bed::phone_sdp(), &options);
        assert!(offer.contains(&format!(" typ {kind}")), "{offer}");
        let answer = peer.answer(&offer);
        let passed = bed.ng.rewrite("answer", ice, &answer, &json!({}));
        expect_plain(&passed);
        bed.talk(
            peer,
            media_address(&passed),
            &format!("browser_is_called_{kind}"),
        );
        bed.delete(ice);
    }
    expect_balanced(&gateway);
}

#[test]
fn two_browsers_have_keys_of_their_own_with_the_gateway() {
    let Some(topology) = equipped() else { return };
    let gateway = Gateway::start(&topology, &with_ng());
    let bed = Bed::new(&topology);
    let mut caller = bed.peer();
    let mut called = WebPeer::start(&topology.core, &bed.core_audio);
    let options = json!({ "direction": ["access", "core"], "flags": ["no-rtcp-attribute"] });
    let offer = bed.ng.rewrite("offer", "call", &caller.offer(), &options);
    let answer = called.answer(&offer);
    caller.accept(&bed.ng.rewrite("answer", "call", &answer, &json!({})));
    for peer in [&mut caller, &mut called] {
        peer.wait_until_connected();
    }
    for peer in [&mut caller, &mut called] {
        peer.wait_for_audio(SECONDS);
    }
    let (heard_up, heard_down) = (called.finish(), caller.finish());
    let up = bed
        .ue_audio
        .expect_heard(heard_up.chunks(FRAME), SECONDS, "the called");
    let down = bed
        .core_audio
        .expect_heard(heard_down.chunks(FRAME), SECONDS, "the caller");
    Bed::report(up, down, "two_browsers");
    expect_balanced(&gateway);
}

#[test]
fn whoever_has_another_certificate_than_was_announced_neither_hears_nor_is_heard() {
    let Some(topology) = equipped() else { return };
    let gateway = Gateway::start(&topology, &with_ng());
    let bed = Bed::new(&topology);
    for (name, options) in [
        ("server", json!({})),
        ("client", json!({ "DTLS-reverse": "active" })),
    ] {
        let complaints_before = complaints(&gateway);
        let mut peer = bed.peer();
        let offer = with_another_fingerprint(&peer.offer());
        let (answer, way) = bed.browser_offers(name, &offer, &options);
        peer.accept(&answer);
        let capture = Capture::start(&topology.ue, "udp");
        let refused_before = Bed::refused(&gateway, "no-keys");
        let mut heard = Vec::new();
        let is_refused = wait_until(|| {
            heard.extend(bed.play(way, 50));
            complaints(&gateway) > complaints_before
                && Bed::refused(&gateway, "no-keys") > refused_before + 100
        });
        assert!(is_refused, "{name}");
        assert!(heard.is_empty(), "{name}: {} packets", heard.len());
        assert_ne!(peer.state(), "connected", "{name}");
        let recording = capture.stop();
        // RFC 7983: nothing but STUN and DTLS.
        let is_media = |datagram: &Datagram<'_>| datagram.payload[0] >= 128;
        assert_eq!(recording.datagrams().filter(is_media).count(), 0, "{name}");
        assert!(recording.datagrams().count() > 0, "{name}");
        assert_eq!(peer.finish(), b"");
        bed.delete(name);
    }
    expect_balanced(&gateway);
}

#[test]
fn a_flood_of_strangers_changes_nothing_and_costs_little() {
    let Some(topology) = equipped() else { return };
    let gateway = Gateway::start(&topology, &with_ng());
    let bed = Bed::new(&topology);
    let (peer, answer, way) = bed.connected();
    let port = media_address(&answer);
    let read_before = datagrams_read(&topology);
    let start = Instant::now();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let stranger = topology.ue.udp((Topology::ue_address(Family::V4), 0));
            let mut sent = 0_u64;
            while !is_over.load(Ordering::Relaxed) || sent < FLOOD {
                for datagram in [
                    &CLIENT_HELLO[..],
                    &CHECK_OF_NOBODY[..],
                    &[22; 1200],
                    &[0; 20],
                ] {
                    sent += u64::from(stranger.send_to(datagram, port).is_ok());
                }
                if sent.is_multiple_of(64) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            let mut buffer = [0; 2048];
            stranger.set_nonblocking(true).expect("it is a socket");
            let answer = stranger.recv(&mut buffer).ok().map(|len| &buffer[..len]);
            assert_eq!(answer, None);
            sent
        });
        let going_on = GoingOn(&is_over);
        bed.talk(peer, way, "flood");
        drop(going_on);
        let sent = flood.join().expect("it does not panic");
        let read = datagrams_read(&topology) - read_before;
        println!(
            "of {sent} datagrams in {:?} {read} were read",
            start.elapsed()
        );
        // A thousand at once and 10 000 a second are looked at, beside those of the peer and of the
        // proxy.
        let most = 1000 + start.elapsed().as_millis() * 10;
        if u128::from(sent) <= most {
            eprintln!("NOT PROVED: the machine is too slow to flood a socket: {sent} of {most}");
        }
        assert!(
            u128::from(read) < most + most / 10,
            "{read}, at most {most}"
        );
    });
    expect_balanced(&gateway);
}

#[test]
fn a_browser_stays_connected_though_the_agent_is_killed() {
    let Some(topology) = equipped() else { return };
    let gateway = Gateway::start(&topology, &with_ng());
    let bed = Bed::new(&topology);
    let (mut peer, _, way) = bed.connected();
    bed.play_until_heard(way, 10);
    gateway.without_agent(|| bed.play_until_heard(way, 50));
    // A browser leaves after 30 seconds without an answer to its checks (RFC 7675 section 5.1).
    thread::sleep(Duration::from_secs(35));
    assert_eq!(peer.state(), "connected");
    bed.talk(peer, way, "agent_killed");
    expect_balanced(&gateway);
}

#[test]
fn a_browser_that_restarts_ice_is_served_where_it_is_then() {
    let Some(topology) = equipped() else { return };
    let gateway = Gateway::start(&topology, &with_ng());
    let bed = Bed::new(&topology);
    let mut peer = bed.peer();
    let first = peer.offer();
    let (answer, way) = bed.connect(&mut peer, &first);
    bed.play_until_heard(way, 10);

    let second = peer.restart();
    let ports = [&first, &second].map(|offer| candidate_port(offer));
    assert_ne!(ports[0], ports[1]);
    let in_dialog = json!({ "to-tag": "b" });
    let (restarted, same_way) = bed.browser_offers("call", &second, &in_dialog);
    assert_eq!(way, same_way);
    for name in ["a=ice-ufrag:", "a=ice-pwd:"] {
        let of = |sdp: &str| {
            sdp.lines()
                .find(|line| line.starts_with(name))
                .map(str::to_owned)
        };
        assert!(of(&restarted).is_some(), "{restarted}");
        assert_ne!(of(&restarted), of(&answer), "{name}");
    }
    peer.accept_restart(&restarted);
    let to = |port| {
        format!(
            "udp and src host {} and dst port {port}",
            media_address(&answer).ip()
        )
    };
    let new = Capture::start(&topology.ue, &to(ports[1]));
    let has_moved = wait_until(|| {
        bed.play(way, 10);
        let frames = new.frames();
        datagrams(&frames).any(|datagram| is_audio(datagram.payload))
    });
    assert!(has_moved, "nothing goes to where it is");
    let old = Capture::start(&topology.ue, &to(ports[0]));
    bed.talk(peer, way, "ice_restarted");
    let [old, new] = [old, new].map(|capture| capture.stop().datagrams().count());
    assert!(new >= SECONDS * 50, "{new}");
    // What was on its way.
    assert!(old < 5, "{old} still go to where it was");
    expect_balanced(&gateway);
}

#[test]
fn no_peer_is_told_that_nobody_is_there() {
    let Some(topology) = equipped() else { return };
    let gateway = Gateway::start(&topology, &with_ng());
    let bed = Bed::new(&topology);
    let (_peer, answer, _) = bed.connected();
    let port = media_address(&answer);
    let complaints = Capture::start(&topology.ue, "icmp or icmp6[0] < 128");
    let is_over = AtomicBool::new(false);
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let host = topology.ue.udp((Topology::ue_address(Family::V4), 0));
            while !is_over.load(Ordering::Relaxed) {
                for datagram in [&CLIENT_HELLO[..], &CHECK_OF_NOBODY[..]] {
                    let _ = host.send_to(datagram, port);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_micros(500));
            }
        });
        let _going_on = GoingOn(&is_over);
        let goes_on = || {
            let before = sent.load(Ordering::Relaxed);
            assert!(wait_until(|| sent.load(Ordering::Relaxed) > before + 500));
        };
        gateway.without_agent(goes_on);
        goes_on();
        bed.delete("call");
        goes_on();
    });
    let complaints = complaints.stop().frames;
    assert!(complaints.is_empty(), "{complaints:02x?}");
    let nics = gateway.statistics()["nics"].to_string();
    assert!(nics.contains("\"no-socket\":"), "{nics}");
    expect_balanced(&gateway);
}

fn equipped() -> Option<Topology> {
    let is_equipped =
        require::root_and_namespaces() && require::program("tcpdump") && WebPeer::is_there();
    is_equipped.then(Topology::new)
}

/// The same offer of a peer that has this version of IP.
fn of_family(offer: &str, family: Family) -> String {
    match family {
        Family::V4 => offer.to_owned(),
        Family::V6 => {
            let lines = offer.lines().map(|line| match line {
                line if line.starts_with("c=") => "c=IN IP6 ::",
                line => line,
            });
            lines.flat_map(|line| [line, "\r\n"]).collect()
        }
    }
}

/// The same offer of somebody else.
fn with_another_fingerprint(offer: &str) -> String {
    let sdp = offer.lines().map(|line| {
        if line.starts_with("a=fingerprint:sha-256 ") {
            let other = ["5A"; 32].join(":");
            format!("a=fingerprint:sha-256 {other}\r\n")
        } else if line.starts_with("a=fingerprint:") {
            String::new()
        } else {
            format!("{line}\r\n")
        }
    });
    sdp.collect()
}

fn expect_plain(sdp: &str) {
    for gone in ["UDP/TLS", "fingerprint", "setup", "ice-", "candidate"] {
        assert!(!sdp.contains(gone), "{gone}: {sdp}");
    }
}

/// As long as this is there a thread goes on, and not when the test has failed.
struct GoingOn<'a>(&'a AtomicBool);

impl Drop for GoingOn<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How many datagrams the programs of the gateway's host have read (RFC 4113: udpInDatagrams).
fn datagrams_read(topology: &Topology) -> u64 {
    let read = || std::fs::read_to_string("/proc/thread-self/net/snmp");
    let counters = topology.gateway.run(read).expect("/proc is mounted");
    let mut lines = counters
        .lines()
        .filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next(), lines.next());
    let names = names.into_iter().flat_map(str::split_whitespace);
    let values = values.into_iter().flat_map(str::split_whitespace);
    let mut found = names.zip(values).filter(|(name, _)| *name == "InDatagrams");
    let count = found.next().and_then(|(_, value)| value.parse().ok());
    count.unwrap_or_else(|| panic!("no InDatagrams in {counters}"))
}

/// How many handshakes the gateway has refused for their certificate.
fn complaints(gateway: &Gateway<'_>) -> usize {
    let log = gateway.log();
    log.matches("certificate is not that of a=fingerprint")
        .count()
}

/// More than are looked at within a second.
const FLOOD: u64 = 100_000;

/// The head of a `ClientHello` (RFC 6347 section 4.2.2).
const CLIENT_HELLO: [u8; 60] = {
    let mut record = [0; 60];
    record[0] = 22;
    (record[1], record[2]) = (254, 253);
    record[12] = 47;
    record[13] = 1;
    record[16] = 35;
    record[24] = 35;
    record
};

/// A check with neither name nor integrity (RFC 8489 section 5), with its fingerprint.
const CHECK_OF_NOBODY: [u8; 28] = [
    0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x80, 0x28, 0, 4,
    0x5b, 0x20, 0xf9, 0xcc,
];

/// Where the only medium of an SDP is to be sent.
fn media_address(sdp: &str) -> SocketAddr {
    let field = |start: &str, nth| {
        let line = sdp.lines().find(|line| line.starts_with(start));
        let field = line.and_then(|line| line.split(' ').nth(nth));
        field.unwrap_or_else(|| panic!("{start}: {sdp}"))
    };
    let (ip, port) = (field("c=", 2), field("m=", 1));
    let ip = ip.parse().expect("an address");
    SocketAddr::new(ip, port.parse().expect("a port"))
}

/// The port of the IPv4 address of a browser.
fn candidate_port(sdp: &str) -> u16 {
    let address = format!(" {} ", Topology::ue_address(Family::V4));
    let candidates = sdp.lines().filter(|line| line.starts_with("a=candidate:"));
    let mut behind = candidates.filter_map(|line| Some(line.split_once(&address)?.1));
    let port = behind.next().and_then(|behind| behind.split(' ').next());
    port.and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("{sdp}"))
}

/// A phone without any protection in the core, and what both sides play.
struct Bed<'a> {
    topology: &'a Topology,
    ng: Ng,
    phone: UdpSocket,
    ue_audio: Audio,
    core_audio: Audio,
    /// How many frames the phone has played.
    played: Cell<u16>,
}

impl<'a> Bed<'a> {
    fn new(topology: &'a Topology) -> Self {
        let at = (Topology::core_address(Family::V4), PORT);
        let phone = topology.core.udp(at);
        phone
            .set_read_timeout(Some(Duration::from_millis(1)))
            .expect("the timeout is not zero");
        Self {
            topology,
            ng: Ng::new(topology),
            phone,
            ue_audio: Audio::new(1, 10),
            core_audio: Audio::new(2, 10),
            played: Cell::new(0),
        }
    }

    fn peer(&self) -> WebPeer {
        WebPeer::start(&self.topology.ue, &self.ue_audio)
    }

    fn phone_sdp() -> String {
        let ip = Topology::core_address(Family::V4);
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {PORT} RTP/AVP {PCMA}\r\na=rtpmap:{PCMA} PCMA/8000\r\na=sendrecv\r\n"
        )
    }

    /// A browser's offer to the phone. Returns the answer, and where the phone is to send.
    fn browser_offers(&self, call: &str, offer: &str, options: &Value) -> (String, SocketAddr) {
        let mut all = json!({
            "transport-protocol": "RTP/AVP",
            "direction": ["access", "core"],
            "address-family": "IP4",
            "ICE": "remove",
        });
        for (key, value) in options.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let passed = self.ng.rewrite("offer", call, offer, &all);
        expect_plain(&passed);
        let answer = self
            .ng
            .rewrite("answer", call, &Self::phone_sdp(), &json!({}));
        assert!(answer.contains("UDP/TLS/RTP/SAVPF"), "{answer}");
        (answer, media_address(&passed))
    }

    /// A browser that has called the phone. Returns it, the answer that it got, and where the phone
    /// is to send.
    fn connected(&self) -> (WebPeer, String, SocketAddr) {
        let mut peer = self.peer();
        let offer = peer.offer();
        let (answer, way) = self.connect(&mut peer, &offer);
        (peer, answer, way)
    }

    /// The same for a browser that has made its offer.
    fn connect(&self, peer: &mut WebPeer, offer: &str) -> (String, SocketAddr) {
        let (answer, way) = self.browser_offers("call", offer, &json!({}));
        peer.accept(&answer);
        peer.wait_until_connected();
        (answer, way)
    }

    fn delete(&self, call: &str) {
        let deleted = self
            .ng
            .ask(&json!({ "command": "delete", "call-id": call }));
        assert_eq!(deleted["result"], "ok", "{deleted}");
        while media::receive(&self.phone).is_some() {
            // The next call is to hear nothing of this one.
        }
    }

    /// How many packets were refused for this reason.
    fn refused(gateway: &Gateway<'_>, reason: &str) -> u64 {
        let statistics = gateway.statistics();
        let workers = statistics["workers"].as_array().expect("there are some");
        let counts = workers.iter().map(|worker| &worker["refused"][reason]);
        counts.filter_map(Value::as_u64).sum()
    }

    /// The phone plays so many frames. Returns the audio packets that it gets meanwhile.
    fn play(&self, gateway: SocketAddr, count: usize) -> Vec<Vec<u8>> {
        let mut heard = Vec::new();
        let frames = self.core_audio.codes().chunks(FRAME).cycle();
        let first = self.played.get();
        for (number, frame) in (0..).zip(frames.skip(first.into()).take(count)) {
            let sequence = first.wrapping_add(number);
            let timestamp = u32::from(sequence) * 160;
            let packet = media::rtp(PCMA, sequence, timestamp, 0x5a11, frame);
            self.phone
                .send_to(&packet, gateway)
                .expect("the way is free");
            // Whoever is late does not make up for it: no peer's buffer has room for that.
            let next = Instant::now() + MS_20;
            while Instant::now() < next {
                let packet = media::receive(&self.phone);
                heard.extend(packet.filter(|packet| is_audio(packet)));
            }
        }
        let count = u16::try_from(count).expect("it is short");
        self.played.set(first.wrapping_add(count));
        heard
    }

    /// The phone plays until it has heard so many packets of audio. Returns all that it got.
    fn play_until_heard(&self, gateway: SocketAddr, count: usize) -> Vec<Vec<u8>> {
        let mut heard = Vec::new();
        let is_heard = wait_until(|| {
            heard.extend(self.play(gateway, 10));
            heard.len() >= count
        });
        assert!(is_heard, "the phone hears {} packets", heard.len());
        heard
    }

    /// Both talk to each other, and hear each other word by word.
    fn talk(&self, mut peer: WebPeer, gateway: SocketAddr, test: &str) {
        peer.wait_until_connected();
        let mut heard = Vec::new();
        let is_enough = wait_until(|| {
            heard.extend(self.play_until_heard(gateway, 50));
            heard.len() >= SECONDS * 50 && peer.heard() >= SECONDS * 50 * FRAME
        });
        assert!(is_enough, "they do not hear each other");
        let by_peer = peer.finish();
        let heard = heard.iter().map(|packet| &packet[RTP_HEADER_LEN..]);
        let up = self.ue_audio.expect_heard(heard, SECONDS, "the phone");
        let by_peer = by_peer.chunks(FRAME);
        let down = self
            .core_audio
            .expect_heard(by_peer, SECONDS, "the browser");
        Self::report(up, down, test);
    }

    fn report(up: usize, down: usize, test: &str) {
        for (direction, count) in [("access to core", up), ("core to access", down)] {
            report::peer("aiortc", "DTLS-SRTP", direction, count as u64, test);
        }
    }
}

fn is_audio(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|byte| byte & 0x7f == PCMA)
}
