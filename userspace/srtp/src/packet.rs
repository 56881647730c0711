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
//! (RFC 3711 sections 3.1 and 3.4, RFC 7714 sections 8 and 9.) An MKI stands in front of the tag
//! where HMAC made it, and at the very end where GCM did. It is not authenticated.

use crate::cryptex;
use crate::header::{Extension, FIXED_LEN, RtcpHeader, RtpHeader, csrcs_len};
use crate::rcc::{LONG_TAG_LEN, ROC_LEN};
use crate::{Kind, Rcc, RccMode, Refusal, Suite};

/// What the packets of a set have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub(crate) suite: Suite,
    /// Length of the MKI in each packet, in bytes.
    pub(crate) mki_len: usize,
    /// Whether SRTCP is only authenticated.
    pub(crate) unencrypted_srtcp: bool,
    /// Whether header extensions and CSRCs are encrypted as a whole (RFC 9335).
    pub(crate) cryptex: bool,
    /// Whether tags of SRTP carry the ROC (RFC 4771).
    pub(crate) rcc: Option<Rcc>,
}

/// What an SRTP packet has for a tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tag {
    /// That of the suite, as all SRTCP packets.
    Usual,
    /// The ROC, and then that of the suite.
    WithRoc,
    /// A longer one.
    Long,
    /// Nothing.
    Absent,
}

/// Who encrypts a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cipher {
    /// The kernel, when it authenticates.
    Kernel,
    /// Somebody else, before the kernel authenticates; see `around.rs`.
    Outside,
    /// Nobody.
    Null,
}

impl Format {
    /// Whether the kernel does all that there is to do for SRTP packets, if their session keys
    /// have no cipher of their own.
    pub(crate) fn is_plain(self) -> bool {
        self.cipher() == Cipher::Kernel && self.mki_len == 0 && !self.cryptex && self.rcc.is_none()
    }

    fn cipher(self) -> Cipher {
        match self.suite {
            Suite::F8128HmacSha1_80 => Cipher::Outside,
            suite if suite.encrypts() => Cipher::Kernel,
            _ => Cipher::Null,
        }
    }

    /// What a packet has for a tag, which begins with these bytes.
    fn tag(self, kind: Kind, bytes: &[u8]) -> Tag {
        match (self.rcc, kind, bytes) {
            (Some(rcc), Kind::Rtp, &[_, _, a, b, ..]) => match rcc.mode() {
                _ if rcc.carries(u16::from_be_bytes([a, b])) => Tag::WithRoc,
                RccMode::One => Tag::Absent,
                RccMode::Two => Tag::Long,
            },
            _ => Tag::Usual,
        }
    }

    /// How much longer protection may make a packet of this kind, in bytes.
    pub(crate) fn max_growth(self, kind: Kind) -> usize {
        let trailer = self.trailer_len(kind, Tag::Usual);
        match kind {
            Kind::Rtp => {
                let inserted = if self.cryptex {
                    Extension::HEADER_LEN
                } else {
                    0
                };
                let roc = if self.rcc.is_some() { ROC_LEN } else { 0 };
                trailer + inserted + roc
            }
            Kind::Rtcp => trailer,
        }
    }

    /// Length of what stands behind the text of a protected packet of this kind, in bytes.
    pub(crate) fn trailer_len(self, kind: Kind, tag: Tag) -> usize {
        self.mki_len
            + match tag {
                Tag::Usual => self.suite.growth(kind),
                Tag::WithRoc => self.suite.growth(kind) + ROC_LEN,
                Tag::Long => LONG_TAG_LEN,
                Tag::Absent => 0,
            }
    }

    /// Where the MKI of a protected packet stands, whose text ends at `end`.
    pub(crate) fn mki_at(self, kind: Kind, end: usize) -> usize {
        if self.suite.is_aead() {
            end + self.suite.growth(kind)
        } else {
            tag_at(kind, end)
        }
    }
}

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
    pub(crate) tag: Tag,
    /// Number of the master key in its set.
    pub(crate) key: usize,
    pub(crate) cipher: Cipher,
    /// If header extension and CSRCs are encrypted too: the length of the CSRCs, in bytes.
    pub(crate) cryptex: Option<usize>,
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
    /// SRTP with the ROC in its tag: this one.
    Whole(u64),
}

impl Packet {
    /// Reads an RTP or RTCP packet.
    pub(crate) fn plain(
        format: Format,
        kind: Kind,
        bytes: &[u8],
        key: usize,
    ) -> Result<Self, Refusal> {
        Ok(match kind {
            Kind::Rtp => {
                let header = RtpHeader::parse(bytes)?;
                let packet = Self {
                    ssrc: header.ssrc,
                    claim: Claim::Sequence(header.sequence),
                    clear: header.len,
                    tag: format.tag(kind, bytes),
                    end: bytes.len(),
                    key,
                    cipher: format.cipher(),
                    cryptex: None,
                };
                match Extension::find(bytes) {
                    _ if !format.cryptex => packet,
                    Some(extension) if cryptex::hidden(extension.profile).is_some() => {
                        packet.with_cryptex(format, bytes)
                    }
                    // It says that it is encrypted already; a receiver would believe it.
                    Some(extension) if cryptex::shown(extension.profile).is_some() => {
                        return Err(Refusal::AlreadyEncrypted);
                    }
                    None if csrcs_len(bytes) > 0 => Self {
                        // It gets an empty one.
                        end: bytes.len() + Extension::HEADER_LEN,
                        ..packet.with_cryptex(format, bytes)
                    },
                    _ => packet,
                }
            }
            Kind::Rtcp => Self {
                ssrc: RtcpHeader::parse(bytes)?.ssrc,
                claim: Claim::Next,
                clear: RtcpHeader::LEN,
                tag: Tag::Usual,
                end: bytes.len(),
                key,
                cipher: if format.unencrypted_srtcp {
                    Cipher::Null
                } else {
                    format.cipher()
                },
                cryptex: None,
            },
        })
    }

    /// Reads an SRTP or SRTCP packet.
    pub(crate) fn protected(format: Format, kind: Kind, bytes: &[u8]) -> Result<Self, Refusal> {
        let end = bytes
            .len()
            .checked_sub(format.trailer_len(kind, format.tag(kind, bytes)));
        let end = end.ok_or_else(|| truncated(kind, bytes))?;
        let plain = Format {
            cryptex: false,
            ..format
        };
        let packet = Self::plain(plain, kind, &bytes[..end], 0);
        let mut packet = packet.map_err(|_| truncated(kind, bytes))?;
        if kind == Kind::Rtp && format.cryptex {
            let extension = Extension::find(&bytes[..end]);
            if extension.is_some_and(|it| cryptex::shown(it.profile).is_some()) {
                packet = packet.with_cryptex(format, bytes);
            }
        }
        if let (Tag::WithRoc, Claim::Sequence(sequence)) = (packet.tag, packet.claim) {
            let roc = bytes[end + format.mki_len..].first_chunk();
            let roc = roc.ok_or(Refusal::TruncatedTrailer)?;
            let roc = u64::from(u32::from_be_bytes(*roc));
            packet.claim = Claim::Whole((roc << 16) | u64::from(sequence));
        }
        if kind == Kind::Rtcp {
            let word = bytes[index_word_at(format.suite, end)..].first_chunk();
            let word = word.ok_or(Refusal::TruncatedTrailer)?;
            let word = u32::from_be_bytes(*word);
            packet.cipher = if word & ENCRYPTED != 0 {
                format.cipher()
            } else if format.unencrypted_srtcp || format.cipher() == Cipher::Null {
                Cipher::Null
            } else {
                return Err(Refusal::NotEncrypted);
            };
            packet.claim = Claim::Index(word & !ENCRYPTED);
        }
        Ok(packet)
    }

    /// The same RTP packet with header extension and CSRCs encrypted; see `cryptex.rs`.
    fn with_cryptex(self, format: Format, bytes: &[u8]) -> Self {
        let csrcs = csrcs_len(bytes);
        Self {
            clear: FIXED_LEN + Extension::HEADER_LEN,
            // HMAC authenticates the packet as it is sent, CSRCs first.
            cipher: match self.cipher {
                Cipher::Kernel if csrcs > 0 && !format.suite.is_aead() => Cipher::Outside,
                cipher => cipher,
            },
            cryptex: Some(csrcs),
            ..self
        }
    }
}

/// What is wrong with a protected packet that is no packet without its trailer: its header, or
/// that the trailer is not all there.
#[cold]
pub(crate) fn truncated(kind: Kind, bytes: &[u8]) -> Refusal {
    let header = match kind {
        Kind::Rtp => RtpHeader::parse(bytes).map(|_| ()),
        Kind::Rtcp => RtcpHeader::parse(bytes).map(|_| ()),
    };
    header.err().unwrap_or(Refusal::TruncatedTrailer)
}

/// Where the tag of HMAC stands when there is no MKI, in a packet whose text ends at `end`.
pub(crate) fn tag_at(kind: Kind, end: usize) -> usize {
    match kind {
        Kind::Rtp => end,
        Kind::Rtcp => end + INDEX_WORD_LEN,
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
pub(crate) fn index_word(index: u64, cipher: Cipher) -> [u8; INDEX_WORD_LEN] {
    let flag = match cipher {
        Cipher::Null => 0,
        Cipher::Kernel | Cipher::Outside => ENCRYPTED,
    };
    (flag | index as u32).to_be_bytes()
}
