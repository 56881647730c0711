// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is sent: RTP with and without CSRCs and header extensions, RTCP, of four SSRCs.

use sallyport_srtp::Kind;
use sallyport_tests::media;

/// How many SSRCs there are, each with a form of header of its own.
const SSRCS: u16 = 4;

/// One RTP and one RTCP packet of each length, by turns from each SSRC. All sequence numbers wrap
/// under way.
pub(crate) fn stream(lengths: impl Iterator<Item = usize>) -> Vec<(Kind, Vec<u8>)> {
    (0u16..)
        .zip(lengths)
        .flat_map(|(number, len)| {
            let ssrc = u32::from(number % SSRCS);
            let sequence = (number / SSRCS).wrapping_sub(7);
            [Kind::Rtp, Kind::Rtcp].map(|kind| (kind, packet(kind, ssrc, sequence, len)))
        })
        .collect()
}

/// A packet with this many bytes behind what is never encrypted.
pub(crate) fn packet(kind: Kind, ssrc: u32, sequence: u16, len: usize) -> Vec<u8> {
    let body = media::payload(ssrc, sequence.into(), len);
    if kind == Kind::Rtcp {
        let mut packet = media::receiver_report(ssrc);
        packet.extend(body);
        return packet;
    }
    let mut packet = media::rtp(
        media::PCMA,
        sequence,
        u32::from(sequence) * 160,
        ssrc,
        &body,
    );
    // CSRCs, the head of an extension, its elements with identifiers 1, 2, 3 and 200. Padding only
    // at the end: libsrtp has no keystream for it, where RFC 6904 section 3.2 has.
    let (first, between): (u8, &[u8]) = match ssrc {
        0 => (0x80, &[]),
        1 => (
            0x90,
            b"\xbe\xde\0\x02\
              \x10\xaa\x31\xbb\xbb\x20\xcc\0",
        ),
        2 => (
            0x92,
            b"\0\x01\xe2\x40\0\0\xb2\x6e\
              \x10\0\0\x02\x01\0\x02\0\xc8\x02\xbb\xbb",
        ),
        _ => (
            0x91,
            b"\0\x01\xe2\x40\
              \xbe\xde\0\x01\x10\xaa\x20\xbb",
        ),
    };
    packet[0] = first;
    packet.splice(12..12, between.iter().copied());
    packet
}
