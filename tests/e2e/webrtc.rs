// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A browser-like peer (aiortc: full ICE, DTLS-SRTP) on the access side, plain RTP on the core
//! side, audio in both directions compared code by code.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use sallyport_tests::media::{self, PCMA, RTP_HEADER_LEN};
use sallyport_tests::{Family, Gateway, Topology, report, require};
use serde_json::{Value, json};

use crate::support::audio::{Audio, FRAME};
use crate::support::kamailio::with_ng;
use crate::support::{Ng, WebPeer, expect_balanced};

const PORT: u16 = 6000;
const SECONDS: usize = 3;
const MS_20: Duration = Duration::from_millis(20);

#[test]
fn a_browser_calls_a_plain_phone_in_the_core() {
    if !is_equipped() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &with_ng());
    let bed = Bed::new(&topology);
    let mut peer = bed.peer();
    let offer = peer.offer();
    let options = json!({ "transport-protocol": "RTP/AVP", "direction": ["access", "core"] });
    let passed = bed.ng.rewrite("offer", "call", &offer, &with(&options, "ICE", json!("remove")));
    for gone in ["UDP/TLS", "fingerprint", "setup", "ice-", "candidate"] {
        assert!(!passed.contains(gone), "{passed}");
    }
    let answer = bed.ng.rewrite("answer", "call", &bed.phone_sdp(), &json!({}));
    assert!(answer.contains("UDP/TLS/RTP/SAVPF"), "{answer}");
    peer.accept(&answer);
    bed.talk(peer, media_address(&passed), "browser_calls");
    expect_balanced(&gateway);
}

fn is_equipped() -> bool {
    require::root_and_namespaces() && WebPeer::is_there()
}

fn with(options: &Value, key: &str, value: Value) -> Value {
    let mut options = options.clone();
    options[key] = value;
    options
}

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

/// A phone without any protection in the core, and what both sides play.
struct Bed<'a> {
    topology: &'a Topology,
    ng: Ng,
    phone: UdpSocket,
    ue_audio: Audio,
    core_audio: Audio,
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
        }
    }

    fn peer(&self) -> WebPeer {
        WebPeer::start(&self.topology.ue, &self.ue_audio)
    }

    fn phone_sdp(&self) -> String {
        let ip = Topology::core_address(Family::V4);
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {PORT} RTP/AVP {PCMA}\r\na=rtpmap:{PCMA} PCMA/8000\r\na=sendrecv\r\n"
        )
    }

    /// Both talk to each other, and hear each other word by word.
    fn talk(&self, mut peer: WebPeer, gateway: SocketAddr, test: &str) {
        peer.wait_until_connected();
        let mut heard = Vec::new();
        // The first packets of either side may be lost until the other side's way is known.
        let frames = self.core_audio.codes().chunks(FRAME);
        let start = Instant::now();
        for (number, frame) in (0..).zip(frames.take((SECONDS + 1) * 50)) {
            let packet = media::rtp(PCMA, number, u32::from(number) * 160, 0x5a11, frame);
            self.phone.send_to(&packet, gateway).expect("the way is free");
            let next = start + MS_20 * (u32::from(number) + 1);
            while Instant::now() < next {
                heard.extend(media::receive(&self.phone).filter(|packet| is_audio(packet)));
            }
        }
        thread::sleep(MS_20 * 10);
        let by_peer = peer.finish();
        let heard = heard.iter().map(|packet| &packet[RTP_HEADER_LEN..]);
        let up = self.ue_audio.expect_heard(heard, SECONDS, "the phone");
        let by_peer = by_peer.chunks(FRAME);
        let down = self.core_audio.expect_heard(by_peer, SECONDS, "the browser");
        for (direction, count) in [("access to core", up), ("core to access", down)] {
            report::peer("aiortc", "DTLS-SRTP", direction, count as u64, test);
        }
    }
}

fn is_audio(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|byte| byte & 0x7f == PCMA)
}
