// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Ethernet frames as no socket sends them, through `peers/frame_peer.c`.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::LazyLock;

use sallyport_tests::compile::compile;
use sallyport_tests::{Namespace, Topology, require};
use serde_json::Value;

/// Sends frames on a peer's NIC.
pub(crate) struct Frames {
    process: Child,
    frames: ChildStdin,
}

impl Frames {
    /// Whether a compiler is installed.
    pub(crate) fn is_there() -> bool {
        require::program("gcc")
    }

    pub(crate) fn new(peer: &Namespace) -> Self {
        static PROGRAM: LazyLock<PathBuf> =
            LazyLock::new(|| compile(env!("CARGO_TARGET_TMPDIR"), "frame_peer", None));
        let mut command = Command::new(&*PROGRAM);
        command.arg(Topology::PEER_NIC).stdin(Stdio::piped());
        let mut process = peer.spawn(&mut command).expect("start frame_peer");
        let frames = process.stdin.take().expect("standard input is a pipe");
        Self { process, frames }
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        let len = u16::try_from(frame.len()).expect("a frame has fewer than 65536 bytes");
        let mut request = len.to_be_bytes().to_vec();
        request.extend(frame);
        self.frames.write_all(&request).expect("frame_peer lives");
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The Ethernet address of a NIC.
pub(crate) fn link_address(host: &Namespace, nic: &str) -> [u8; 6] {
    let links: Value =
        serde_json::from_str(&host.ip(&format!("-json link show {nic}"))).expect("ip speaks JSON");
    let text = links[0]["address"].as_str().expect("a NIC has an address");
    let mut bytes = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("it is hex"));
    std::array::from_fn(|_| bytes.next().expect("an address has six bytes"))
}

/// The type and the tag of each VLAN, as they stand in a frame: 802.1ad around 802.1Q.
pub(crate) fn vlan_tags(identifiers: &[u16]) -> Vec<u8> {
    let (inner, outer) = ([0x81, 0x00], [0x88, 0xa8]);
    let count = identifiers.len();
    let tag = |(at, identifier): (usize, &u16)| {
        let kind = if at + 1 < count { outer } else { inner };
        [kind, identifier.to_be_bytes()].concat()
    };
    identifiers.iter().enumerate().flat_map(tag).collect()
}

/// A frame with a UDP datagram over IPv4, and these bytes behind the Ethernet addresses.
pub(crate) fn datagram_frame(
    link: ([u8; 6], [u8; 6]),
    tags: &[u8],
    (source, destination): (SocketAddr, SocketAddr),
    payload: &[u8],
) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (source.ip(), destination.ip()) else {
        panic!("{source} and {destination} are not both IPv4");
    };
    let udp_len = u16::try_from(8 + payload.len()).expect("the payload is short");
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_len).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(from.octets());
    ip.extend(to.octets());
    let sum: u32 = ip
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    let checksum = u16::try_from(0xffff - sum % 0xffff).expect("it is less than 2^16");
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = [link.1, link.0].concat();
    frame.extend(tags);
    frame.extend([0x08, 0x00]);
    frame.extend(ip);
    frame.extend(source.port().to_be_bytes());
    frame.extend(destination.port().to_be_bytes());
    frame.extend(udp_len.to_be_bytes());
    // No checksum, which IPv4 allows (RFC 768).
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}
