// SPDX-License-Identifier: Apache-2.0 OR MIT

//! RTP and RTCP packets (RFC 3550), made and compared byte by byte.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::patience::{SILENCE, SOON};

/// Length of an RTP header without CSRCs and extension.
pub const RTP_HEADER_LEN: usize = 12;

/// Payload type of 20 ms of G.711 A-law (RFC 3551).
pub const PCMA: u8 = 8;

/// An RTP packet without padding, CSRCs and extension (RFC 3550 section 5.1).
pub fn rtp(payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// The `number`th packet of a stream of `len` bytes each, 20 ms apart; its payload differs from
/// that of every other packet and stream.
pub fn numbered_rtp(ssrc: u32, number: u32, len: usize) -> Vec<u8> {
    let sequence = (number & 0xffff) as u16;
    rtp(
        PCMA,
        sequence,
        number.wrapping_mul(160),
        ssrc,
        &payload(ssrc, number, len),
    )
}

/// An RTCP sender report without report blocks (RFC 3550 section 6.4.1).
pub fn sender_report(ssrc: u32, timestamp: u32, packets: u32, octets: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(0x83aa_7e80_0000_0000_u64.to_be_bytes()); // 1970 in NTP's calendar
    for word in [timestamp, packets, octets] {
        packet.extend(word.to_be_bytes());
    }
    packet
}

/// An RTCP receiver report without report blocks (RFC 3550 section 6.4.2).
pub fn receiver_report(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet
}

/// An RTCP receiver report with a block on another SSRC: when its last sender report was made, and
/// how long ago that arrived, both in 65536 parts of a second (RFC 3550 section 6.4.2).
pub fn reception_report(ssrc: u32, on: u32, last_report: u32, delay: u32) -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7];
    for word in [ssrc, on, 0, 0, 0, last_report, delay] {
        packet.extend(word.to_be_bytes());
    }
    packet
}

/// Bytes that are a function of their arguments and of nothing else.
pub fn payload(stream: u32, number: u32, len: usize) -> Vec<u8> {
    // SplitMix64 (Steele, Lea, Flood 2014).
    let mut state = u64::from(stream) << 32 | u64::from(number);
    let mut bytes = Vec::with_capacity(len.next_multiple_of(8));
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The next datagram, or `None` if none comes within the socket's read timeout.
///
/// # Panics
///
/// If the socket fails otherwise.
pub fn receive(socket: &UdpSocket) -> Option<Vec<u8>> {
    receive_from(socket).map(|(packet, _)| packet)
}

/// The next datagram and its sender, or `None` if none comes within the socket's read timeout.
///
/// # Panics
///
/// If the socket fails otherwise.
pub fn receive_from(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = vec![0; 65_536];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) => return Some((buffer[..len].to_vec(), from)),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return None,
                // The kernel's memory of an ICMP error after an earlier send.
                ErrorKind::ConnectionRefused | ErrorKind::Interrupted => {}
                _ => panic!("receive on {:?}: {error}", socket.local_addr()),
            },
        }
    }
}

/// The last datagram before none comes for as long as [`SOON`] is: for who goes on sending until what
/// was sent last arrives.
pub fn receive_last(socket: &UdpSocket) -> Option<Vec<u8>> {
    with_timeout(socket, SOON, || {
        std::iter::from_fn(|| receive(socket)).last()
    })
}

/// Fails if a datagram arrives within [`SILENCE`].
///
/// # Panics
///
/// With the datagram's first bytes.
pub fn expect_silence(socket: &UdpSocket) {
    let start = Instant::now();
    if let Some(packet) = with_timeout(socket, SILENCE, || receive(socket)) {
        let head = &packet[..packet.len().min(32)];
        panic!(
            "nothing should have arrived, but {} bytes did after {:?}: {head:02x?}",
            packet.len(),
            start.elapsed(),
        );
    }
}

/// Fails if a packet is not what was sent.
///
/// # Panics
///
/// With the place of the first difference.
pub fn expect_same(sent: &[u8], received: &[u8]) {
    assert_eq!(
        sent.len(),
        received.len(),
        "{} bytes were sent, {} arrived: {received:02x?}",
        sent.len(),
        received.len(),
    );
    if let Some(place) = sent
        .iter()
        .zip(received)
        .position(|(sent, received)| sent != received)
    {
        panic!(
            "byte {place} of {} was {:#04x} when sent and {:#04x} on arrival",
            sent.len(),
            sent[place],
            received[place],
        );
    }
}

fn with_timeout<T>(socket: &UdpSocket, timeout: Duration, work: impl FnOnce() -> T) -> T {
    let before = socket.read_timeout().expect("the socket is open");
    socket
        .set_read_timeout(Some(timeout))
        .expect("the timeout is not zero");
    let result = work();
    socket
        .set_read_timeout(before)
        .expect("the timeout was set before");
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_of_every_stream_has_a_payload_of_its_own() {
        let mut seen: Vec<_> = (0..20)
            .flat_map(|s| (0..20).map(move |n| payload(s, n, 9)))
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 400);
        assert_eq!(payload(3, 4, 160), payload(3, 4, 160));
    }

    #[test]
    fn reports_are_as_long_as_their_length_field_says() {
        for report in [
            sender_report(1, 2, 3, 4),
            receiver_report(1),
            reception_report(1, 2, 3, 4),
        ] {
            let words = u16::from_be_bytes([report[2], report[3]]);
            assert_eq!(report.len(), 4 * (usize::from(words) + 1));
        }
    }

    #[test]
    #[should_panic(expected = "byte 1 of 2 was 0x02")]
    fn a_difference_is_named() {
        expect_same(&[1, 2], &[1, 3]);
    }
}
