// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where the parts of a packet are.
//!
//! ```text
//! SRTP            header | payload | tag
//! SRTCP           8 bytes | the rest | E + index | tag
//! SRTCP, AEAD     8 bytes | the rest | tag | E + index
//!                 clear   | text     | trailer
//! ```
//!
//! (RFC 3711 sections 3.1 and 3.4, RFC 7714 sections 8 and 9.) An MKI would stand in front of the
//! tag of the first two, and at the end of the third.

use crate::header::{RtcpHeader, RtpHeader};
use crate::{Kind, Suite};

/// Length of the flag E and the index behind an SRTCP packet, in bytes.
pub(crate) const INDEX_WORD_LEN: usize = 4;

/// Flag E of that word: the packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;

/// What a packet says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    /// The stream it belongs to.
    pub(crate) ssrc: u32,
    /// What it says of its index.
    pub(crate) claim: Claim,
    /// Length of the part that stays in the clear.
    pub(crate) clear: usize,
    /// Where the text ends, counted from the start of the packet.
    pub(crate) end: usize,
}

/// What a packet says of its index.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Claim {
    /// RTP or SRTP: these are its lower bits.
    Sequence(u16),
    /// RTCP: whichever is next.
    Next,
    /// SRTCP: this one.
    Index(u32),
}

impl Packet {
    /// Reads an RTP or RTCP packet; `None` when it is malformed.
    pub(crate) fn plain(kind: Kind, bytes: &[u8]) -> Option<Self> {
        Some(match kind {
            Kind::Rtp => {
                let header = RtpHeader::parse(bytes)?;
                Self {
                    ssrc: header.ssrc,
                    claim: Claim::Sequence(header.sequence),
                    clear: header.len,
                    end: bytes.len(),
                }
            }
            Kind::Rtcp => Self {
                ssrc: RtcpHeader::parse(bytes)?.ssrc,
                claim: Claim::Next,
                clear: RtcpHeader::LEN,
                end: bytes.len(),
            },
        })
    }

    /// Reads an SRTP or SRTCP packet; `None` when it is malformed.
    pub(crate) fn protected(suite: Suite, kind: Kind, bytes: &[u8]) -> Option<Self> {
        let end = bytes.len().checked_sub(suite.growth(kind))?;
        let mut packet = Self::plain(kind, &bytes[..end])?;
        if kind == Kind::Rtcp {
            let word = bytes[index_word_at(suite, end)..].first_chunk()?;
            let word = u32::from_be_bytes(*word);
            if word & ENCRYPTED == 0 {
                return None;
            }
            packet.claim = Claim::Index(word & !ENCRYPTED);
        }
        Some(packet)
    }
}

/// Where the word with the index of an SRTCP packet stands, whose text ends at `end`.
pub(crate) fn index_word_at(suite: Suite, end: usize) -> usize {
    if suite.is_aead() {
        end + suite.rtcp_tag_len()
    } else {
        end
    }
}

/// The word with the index of an SRTCP packet.
#[expect(
    clippy::cast_possible_truncation,
    reason = "an SRTCP index has 31 bits"
)]
pub(crate) fn index_word(index: u64) -> [u8; INDEX_WORD_LEN] {
    (ENCRYPTED | index as u32).to_be_bytes()
}
