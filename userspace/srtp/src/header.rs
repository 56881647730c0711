// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The headers that stay in the clear: RTP and the first eight bytes of RTCP.

use core::ops::Range;

use crate::Refusal;

/// Length of an RTP header without CSRCs and extension, in bytes (RFC 3550 section 5.1).
pub(crate) const FIXED_LEN: usize = 12;

/// What SRTP needs to know of an RTP header (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RtpHeader {
    /// The synchronisation source.
    pub ssrc: u32,
    /// The sequence number.
    pub sequence: u16,
    /// Length of the header with its CSRCs and its extension, in bytes: where the payload starts.
    pub len: usize,
}

impl RtpHeader {
    /// Reads the header at the start of `packet`.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, Refusal> {
        let fixed: &[u8; FIXED_LEN] = packet.first_chunk().ok_or(Refusal::TruncatedHeader)?;
        if fixed[0] >> 6 != 2 {
            return Err(Refusal::NotVersion2);
        }
        let csrc_count = usize::from(fixed[0] & 0x0f);
        let mut len = FIXED_LEN + 4 * csrc_count;
        if fixed[0] & 0x10 != 0 {
            // Profile (2 bytes), length in 32-bit words without these first four bytes.
            let extension = packet.get(len..).and_then(<[u8]>::first_chunk::<4>);
            let [_, _, high, low] = extension.ok_or(Refusal::TruncatedExtension)?;
            len += 4 + 4 * usize::from(u16::from_be_bytes([*high, *low]));
        }
        if len > packet.len() {
            return Err(Refusal::TruncatedExtension);
        }
        Ok(Self {
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            len,
        })
    }
}

/// Where the header extension of an RTP packet is (RFC 3550 section 5.3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Extension {
    /// Where its own header of four bytes starts, behind the CSRCs.
    pub(crate) at: usize,
    /// What the body is made of.
    pub(crate) profile: u16,
    /// Length of the body, in bytes.
    body_len: usize,
}

impl Extension {
    /// Length of an extension's own header, in bytes.
    pub(crate) const HEADER_LEN: usize = 4;

    /// Finds it in a packet that [`RtpHeader::parse`] takes; `None` if there is none.
    pub(crate) fn find(packet: &[u8]) -> Option<Self> {
        if packet.first()? & 0x10 == 0 {
            return None;
        }
        let at = FIXED_LEN + csrcs_len(packet);
        let header: &[u8; Self::HEADER_LEN] = packet.get(at..)?.first_chunk()?;
        let body_len = 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
        (at + Self::HEADER_LEN + body_len <= packet.len()).then_some(Self {
            at,
            profile: u16::from_be_bytes([header[0], header[1]]),
            body_len,
        })
    }

    pub(crate) fn body(self) -> Range<usize> {
        let start = self.at + Self::HEADER_LEN;
        start..start + self.body_len
    }
}

/// Length of the CSRCs of an RTP packet, in bytes.
pub(crate) fn csrcs_len(packet: &[u8]) -> usize {
    4 * usize::from(packet[0] & 0x0f)
}

/// What SRTCP needs to know of the first packet of an RTCP compound (RFC 3550 section 6.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RtcpHeader {
    /// The synchronisation source of the sender.
    pub ssrc: u32,
}

impl RtcpHeader {
    /// Length of the part that stays in the clear, in bytes (RFC 3711 section 3.4).
    pub const LEN: usize = 8;

    /// Reads the header at the start of `packet`.
    pub fn parse(packet: &[u8]) -> Result<Self, Refusal> {
        let fixed: &[u8; Self::LEN] = packet.first_chunk().ok_or(Refusal::TruncatedHeader)?;
        if fixed[0] >> 6 != 2 {
            return Err(Refusal::NotVersion2);
        }
        Ok(Self {
            ssrc: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
        })
    }
}

/// Whether a packet on a port that carries both is RTCP: its second byte is an RTCP packet type
/// (RFC 5761 section 4), not an RTP payload type.
pub fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet.get(1), Some(192..=223))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Refusal::{NotVersion2, TruncatedExtension, TruncatedHeader};
    use hex_literal::hex;
    use proptest::prelude::*;

    #[test]
    fn the_payload_starts_behind_csrcs_and_extension() {
        for (packet, len) in [
            (hex!("800f1234decafbadcafebabe").as_slice(), Ok(12)),
            (&hex!("800f1234decafbadcafebabeabab"), Ok(12)),
            (&hex!("820f1234decafbadcafebabe0000000100000002"), Ok(20)),
            (
                &hex!("820f1234decafbadcafebabe00000001000000"),
                Err(TruncatedExtension),
            ),
            (&hex!("900f1234decafbadcafebabebede00015100020011"), Ok(20)),
            (&hex!("900f1234decafbadcafebabebede0000"), Ok(16)),
            (
                &hex!("900f1234decafbadcafebabebede00"),
                Err(TruncatedExtension),
            ),
            (
                &hex!("900f1234decafbadcafebabebede0001510002"),
                Err(TruncatedExtension),
            ),
            (
                &hex!("910f1234decafbadcafebabe00000001bede000151000200"),
                Ok(24),
            ),
            (&hex!("400f1234decafbadcafebabe"), Err(NotVersion2)),
            (&hex!("800f1234decafbadcafeba"), Err(TruncatedHeader)),
            (&[], Err(TruncatedHeader)),
        ] {
            let header = RtpHeader::parse(packet);
            assert_eq!(header.map(|header| header.len), len, "{packet:02x?}");
            if let Ok(header) = header {
                assert_eq!((header.ssrc, header.sequence), (0xcafe_babe, 0x1234));
            }
        }
    }

    #[test]
    fn the_ssrc_of_a_compound_is_that_of_its_first_packet() {
        let packet = hex!("81c8000bcafebabe");
        assert_eq!(
            RtcpHeader::parse(&packet),
            Ok(RtcpHeader { ssrc: 0xcafe_babe })
        );
        assert_eq!(RtcpHeader::parse(&packet[..7]), Err(TruncatedHeader));
        assert_eq!(
            RtcpHeader::parse(&hex!("01c8000bcafebabe")),
            Err(NotVersion2)
        );
    }

    #[test]
    fn rtcp_is_what_has_a_second_byte_from_192_to_223() {
        for second in 0..=255 {
            let rtcp = (192..=223).contains(&second);
            assert_eq!(is_rtcp(&[0x80, second]), rtcp, "{second}");
        }
        assert!(!is_rtcp(&[]) && !is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(packet in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(header) = RtpHeader::parse(&packet) {
                prop_assert!(header.len >= 12 && header.len <= packet.len());
            }
            let _ = RtcpHeader::parse(&packet);
        }
    }
}
