// SPDX-License-Identifier: Apache-2.0 OR MIT

//! ffmpeg's `srtp://` as user equipment, in both directions. The A-law bytes of a file are carried
//! without a codec between, so that what arrives must be the file.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sallyport_tests::cleanup::temporary_folder;
use sallyport_tests::patience::wait_until;
use sallyport_tests::{Gateway, GatewayOptions, Topology, media, report, require};

use crate::support::call::local;
use crate::support::{Collector, End, Kind, Suite, Terms, expect_balanced};

/// Three seconds of G.711.
const BYTES: usize = 24_000;
/// Of one 20 ms packet.
const PAYLOAD: usize = 160;

#[test]
fn a_file_that_ffmpeg_protects_arrives_byte_for_byte_in_the_core() {
    if !require::root_and_namespaces() || !require::program("ffmpeg") {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    thread::scope(|scope| {
        for (suite, port) in [(Suite::CM_80, 5000), (Suite::CM_32, 5010)] {
            let (topology, gateway) = (&topology, &gateway);
            scope.spawn(move || ffmpeg_sends(topology, gateway, suite, port));
        }
    });
    expect_balanced(&gateway);
}

fn ffmpeg_sends(topology: &Topology, gateway: &Gateway<'_>, suite: Suite, port: u16) {
    let terms = Terms {
        suite,
        port,
        ..Terms::default()
    };
    let session = gateway.create_session(&terms.offer()).description;
    let core = End::new(&topology.core, terms.core(), false, &session["core"]);

    let (folder, _cleanup) = temporary_folder("ffmpeg-send").expect("create a folder");
    let file = folder.join("sent.al");
    let sent = media::payload(u32::from(port), 0, BYTES);
    fs::write(&file, &sent).expect("write the file");
    let to = local(&session["access"], "local");
    let collector = Collector::start(core.socket(Kind::Rtp));
    let output = topology
        .ue
        .output(
            ffmpeg()
                .args(["-re", "-f", "alaw", "-ar", "8000", "-ac", "1", "-i"])
                .arg(&file)
                .args(["-c", "copy", "-f", "rtp", "-srtp_out_suite", name_of(suite)])
                .args(["-srtp_out_params", &terms.up().base64()])
                .arg(format!(
                    "srtp://{to}?rtcpport={}&localrtpport={}&localrtcpport={}&pkt_size=188",
                    local(&session["access"], "local_rtcp").port(),
                    port,
                    port + 1,
                )),
        )
        .expect("run ffmpeg");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let packets = collector.finish(|packets| packets.len() >= BYTES / PAYLOAD);
    let received: Vec<u8> = packets
        .iter()
        .flat_map(|packet| &packet[media::RTP_HEADER_LEN..])
        .copied()
        .collect();
    media::expect_same(&sent, &received);
    // ffmpeg numbers its SRTCP packets from 0, libsrtp from 1.
    let report = core
        .receive(Kind::Rtcp)
        .expect("ffmpeg sends a sender report first");
    assert_eq!(
        report[1], 200,
        "the first report is a sender report: {report:02x?}"
    );
    assert_eq!(report[4..8], packets[0][8..12], "of the SSRC that sends");
    let count = packets.len() as u64 + 1;
    report::peer(
        &version(),
        suite.name,
        "access to core",
        count,
        "ffmpeg_protects",
    );
}

#[test]
fn media_from_the_core_arrives_byte_for_byte_in_the_file_that_ffmpeg_unprotects() {
    if !require::root_and_namespaces() || !require::program("ffmpeg") {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    thread::scope(|scope| {
        for (suite, port) in [(Suite::CM_80, 5000), (Suite::CM_32, 5010)] {
            let (topology, gateway) = (&topology, &gateway);
            scope.spawn(move || ffmpeg_receives(topology, gateway, suite, port));
        }
    });
    expect_balanced(&gateway);
}

fn ffmpeg_receives(topology: &Topology, gateway: &Gateway<'_>, suite: Suite, port: u16) {
    let terms = Terms {
        suite,
        port,
        ..Terms::default()
    };
    let session = gateway.create_session(&terms.offer()).description;
    let core = End::new(&topology.core, terms.core(), false, &session["core"]);

    let (folder, _cleanup) = temporary_folder("ffmpeg-receive").expect("create a folder");
    let (sdp, file, log) = (
        folder.join("sdp"),
        folder.join("received.al"),
        folder.join("log"),
    );
    let description = format!(
        "v=0\r\no=- 0 0 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/SAVP 8\r\na=rtpmap:8 PCMA/8000\r\na=crypto:1 {} {}\r\n",
        suite.name,
        terms.down().inline(),
        ip = terms.ue().ip(),
    );
    fs::write(&sdp, description).expect("write the description");
    let mut process = topology
        .ue
        .spawn(
            ffmpeg()
                .args(["-protocol_whitelist", "file,udp,rtp,srtp", "-i"])
                .arg(&sdp)
                .args(["-c", "copy", "-f", "alaw", "-flush_packets", "1"])
                .arg(&file)
                .stderr(File::create(&log).expect("create the log")),
        )
        .expect("run ffmpeg");
    let listens = wait_until(|| topology.ue.has_udp(port));
    assert!(
        listens,
        "ffmpeg does not listen: {}",
        fs::read_to_string(&log).unwrap_or_default()
    );

    let sent = media::payload(u32::from(port), 0, BYTES);
    let start = Instant::now();
    for (number, payload) in (0_u16..).zip(sent.chunks(PAYLOAD)) {
        let timestamp = u32::from(number) * 160;
        core.send(
            Kind::Rtp,
            &media::rtp(media::PCMA, number, timestamp, 0x1234_5678, payload),
        );
        let due = Duration::from_millis(20) * u32::from(number + 1);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    wait_until(|| len(&file) >= sent.len() as u64);
    let _ = process.kill();
    let _ = process.wait();
    let received = fs::read(&file).unwrap_or_default();
    assert!(
        !received.is_empty(),
        "{}",
        fs::read_to_string(&log).unwrap_or_default()
    );
    media::expect_same(&sent, &received);
    let count = sent.chunks(PAYLOAD).len() as u64;
    report::peer(
        &version(),
        suite.name,
        "core to access",
        count,
        "ffmpeg_unprotects",
    );
}

/// Under the name of RFC 4568 ffmpeg shortens the tag of SRTCP, too, and that is wrong.
fn name_of(suite: Suite) -> &'static str {
    match suite.name {
        "AES_CM_128_HMAC_SHA1_32" => "SRTP_AES128_CM_HMAC_SHA1_32",
        name => name,
    }
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-hide_banner", "-nostdin", "-loglevel", "warning"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn len(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// Such as `ffmpeg 5.1.9-0+deb12u1`.
fn version() -> String {
    let output = Command::new("ffmpeg")
        .arg("-version")
        .output()
        .expect("it is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text
        .split_whitespace()
        .nth(2)
        .expect("ffmpeg says its version");
    format!("ffmpeg {number}")
}
