// SPDX-License-Identifier: Apache-2.0 OR MIT

//! tshark on both links: what is plain on the core side does not exist on the access side.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use sallyport_tests::{Gateway, GatewayOptions, Topology, media, report, require};

use crate::support::capture::Recording;
use crate::support::{Call, Capture, Kind, Libsrtp, Suite, Terms, expect_balanced};

const SSRC: u32 = 0x7261_6469;
const CNAME: &str = "alice@home.example";

#[test]
fn tshark_finds_no_plain_rtp_and_no_plain_rtcp_on_the_access_side() {
    let programs = ["tcpdump", "tshark"];
    if !require::root_and_namespaces()
        || !Libsrtp::is_there()
        || !programs.into_iter().all(require::program)
    {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    let version = tshark_version();
    for (suite, port) in Suite::ALL.into_iter().zip((5000..).step_by(10)) {
        for (mux, port) in [(false, port), (true, port + 4)] {
            let terms = Terms {
                suite,
                mux,
                port,
                ..Terms::default()
            };
            let call = Call::new(&topology, &gateway, terms);
            let filter = format!("udp and portrange {port}-{}", port + 1);
            let access = Capture::start(&topology.ue, &filter);
            let core = Capture::start(&topology.core, &filter);
            let plain = talk(&call);
            let (access, core) = (access.stop(), core.stop());
            // Each packet crossed both links.
            for recording in [&access, &core] {
                assert_eq!(recording.datagrams().count(), plain.len(), "{terms:?}");
            }
            // What finds nothing on one side must find everything on the other.
            assert_eq!(
                cnames(&core, port),
                plain.len() / 4,
                "{terms:?}: CNAMEs in the core"
            );
            assert_eq!(
                cnames(&access, port),
                0,
                "{terms:?}: CNAMEs on the access side"
            );
            let core_words = words(core.datagrams().map(|datagram| datagram.payload));
            let access_words = words(access.datagrams().map(|datagram| datagram.payload));
            for packet in &plain {
                // Everything behind the header of RTP, or of the first RTCP packet, is encrypted.
                let secrets = words([&packet.bytes[packet.header_len()..]]);
                assert!(
                    secrets.is_subset(&core_words),
                    "{terms:?}: {packet:02x?} in the core"
                );
                let known: Vec<_> = secrets.intersection(&access_words).collect();
                assert!(
                    known.is_empty(),
                    "{terms:?}: {known:02x?} is plain on the access side"
                );
            }
            expect_encrypted_rtcp(&access, terms);
            let count = access.frames.len() as u64;
            report::peer(
                &version,
                suite.name,
                "both",
                count,
                "no_plain_media_on_the_access_side",
            );
        }
    }
    expect_balanced(&gateway);
}

#[derive(Debug)]
struct Plain {
    kind: Kind,
    bytes: Vec<u8>,
}

impl Plain {
    /// What SRTP and SRTCP leave readable (RFC 3711 sections 3.1 and 3.4).
    const fn header_len(&self) -> usize {
        match self.kind {
            Kind::Rtp => media::RTP_HEADER_LEN,
            Kind::Rtcp => 8,
        }
    }
}

/// Sends media and reports in both directions and returns them all: three RTP packets, one RTCP.
fn talk(call: &Call<'_>) -> Vec<Plain> {
    let mut libsrtp = call.libsrtp();
    let mut plain = Vec::new();
    for number in 0..40 {
        let (kind, bytes) = match number % 4 {
            3 => (Kind::Rtcp, report(number)),
            _ => (Kind::Rtp, media::numbered_rtp(SSRC, number, 200)),
        };
        call.ue.send(kind, &libsrtp.protect(kind, &bytes));
        let received = call
            .core
            .receive(kind)
            .expect("the packet arrives in the core");
        media::expect_same(&bytes, &received);
        plain.push(Plain { kind, bytes });
    }
    for number in 40..80 {
        let (kind, bytes) = match number % 4 {
            3 => (Kind::Rtcp, report(number)),
            _ => (Kind::Rtp, media::numbered_rtp(SSRC + 1, number, 200)),
        };
        call.core.send(kind, &bytes);
        let protected = call
            .ue
            .receive(kind)
            .expect("the packet arrives at the user equipment");
        let received = libsrtp
            .unprotect(kind, &protected)
            .expect("it authenticates");
        media::expect_same(&bytes, &received);
        plain.push(Plain { kind, bytes });
    }
    plain
}

/// A sender report and the name of the sender (RFC 3550 section 6.5.1).
fn report(number: u32) -> Vec<u8> {
    let mut compound = media::sender_report(SSRC, 0x1357_9bdf ^ number << 8, number, number * 200);
    let len = u8::try_from(CNAME.len()).expect("the name is short");
    let mut chunk = SSRC.to_be_bytes().to_vec();
    chunk.extend([1, len]);
    chunk.extend(CNAME.as_bytes());
    chunk.resize((chunk.len() + 1).next_multiple_of(4), 0);
    let words = u16::try_from(chunk.len() / 4).expect("the chunk is short");
    compound.extend([0x81, 202]);
    compound.extend(words.to_be_bytes());
    compound.extend(chunk);
    compound
}

/// Every run of eight bytes.
fn words<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> HashSet<&'a [u8]> {
    payloads
        .into_iter()
        .flat_map(|payload| payload.windows(8))
        .collect()
}

/// How many packets carry the CNAME when tshark takes everything for RTCP.
fn cnames(recording: &Recording, port: u16) -> usize {
    let output = tshark(
        recording.file(),
        port,
        &["-T", "fields", "-e", "rtcp.sdes.text"],
    );
    output.lines().filter(|line| line.contains(CNAME)).count()
}

/// Every SRTCP packet says that it is encrypted, and has an index of its own.
fn expect_encrypted_rtcp(access: &Recording, terms: Terms) {
    // The tag stands behind the index with AES-CM, before it with AES-GCM.
    let behind = if terms.suite.key_len == 30 { 10 } else { 0 };
    let mut seen = HashSet::new();
    let reports = access
        .datagrams()
        .filter(|datagram| (192..=223).contains(&datagram.payload[1]));
    for datagram in reports {
        let trailer = datagram.payload.len() - behind - 4;
        let word = datagram.payload[trailer..][..4]
            .try_into()
            .expect("four bytes are a word");
        let word = u32::from_be_bytes(word);
        assert!(
            word >> 31 == 1,
            "{terms:?}: an SRTCP packet that is not encrypted"
        );
        assert!(
            word & 0x7fff_ffff < 100,
            "{terms:?}: {word:#x} has no index"
        );
        assert!(
            seen.insert((datagram.source, word)),
            "{terms:?}: index {word:#x} used twice"
        );
    }
    assert_eq!(seen.len(), 20, "{terms:?}: RTCP packets on the access side");
}

fn tshark(file: &Path, port: u16, arguments: &[&str]) -> String {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(file)
        .args(["-d", &format!("udp.port=={port},rtcp")])
        .args(["-d", &format!("udp.port=={},rtcp", port + 1)])
        .args(arguments)
        .output()
        .expect("run tshark");
    assert!(
        output.status.success(),
        "tshark: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Such as `tshark 4.0.17`.
fn tshark_version() -> String {
    let output = Command::new("tshark")
        .arg("--version")
        .output()
        .expect("it is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text
        .split_whitespace()
        .nth(2)
        .expect("tshark says its version");
    format!("tshark {number}")
}
