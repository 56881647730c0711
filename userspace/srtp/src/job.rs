// SPDX-License-Identifier: Apache-2.0 OR MIT

//! One packet to protect or unprotect, and what became of it.

use core::fmt;

use crate::SetId;

/// Bytes in front of a packet that belong to the crypto.
pub const HEADROOM: usize = 64;

/// Bytes behind a packet, at its longest, that belong to the crypto.
pub const TAILROOM: usize = 80;

/// The most bytes that protection adds: a GCM tag, an MKI, and four bytes that are the index of
/// SRTCP or the header of an empty extension (RFC 9335).
pub const MAX_GROWTH: usize = 16 + 4 + crate::MAX_MKI_LEN;

/// The most packets that the crypto takes at once; longer slices are processed in pieces.
pub const MAX_BURST: usize = 64;

/// The longest packet; more does not fit into UDP, and counter mode could not encrypt 2^20 bytes.
const MAX_LEN: usize = 65_535;

/// What a packet is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// An RTP packet, or an SRTP packet.
    Rtp,
    /// A compound RTCP packet, or an SRTCP packet.
    Rtcp,
}

/// One packet to protect or unprotect.
#[derive(Debug)]
pub struct Job<'f> {
    /// The packet and what is around it. Belongs to the crypto during the call: [`HEADROOM`]
    /// bytes before the packet and [`TAILROOM`] behind the longest result may be overwritten.
    pub frame: &'f mut [u8],
    /// Where the packet starts in the frame.
    pub start: usize,
    /// The length of the packet; that of the result after success.
    pub len: usize,
    /// What the packet is.
    pub kind: Kind,
    /// The contexts that it belongs to.
    pub set: SetId,
    /// `Ok` to have it processed; a job that is refused on entry is skipped.
    pub outcome: Result<(), Refusal>,
}

impl<'f> Job<'f> {
    /// A job to be processed.
    pub fn new(frame: &'f mut [u8], start: usize, len: usize, kind: Kind, set: SetId) -> Self {
        Self {
            frame,
            start,
            len,
            kind,
            set,
            outcome: Ok(()),
        }
    }

    /// See [`packet`].
    pub(crate) fn packet(&self, growth: usize) -> Result<&[u8], Refusal> {
        packet(self.frame, self.start, self.len, growth)
    }
}

/// The packet in a frame, if there is room around it once it has grown by `growth` bytes.
#[inline]
pub(crate) fn packet(
    frame: &[u8],
    start: usize,
    len: usize,
    growth: usize,
) -> Result<&[u8], Refusal> {
    let from = frame.get(start..).ok_or(Refusal::TooBig)?;
    let packet = from.get(..len).ok_or(Refusal::TooBig)?;
    let behind = from.len() - len;
    if start < HEADROOM || len > MAX_LEN || behind < TAILROOM || behind - TAILROOM < growth {
        return Err(Refusal::TooBig);
    }
    Ok(packet)
}

/// Why a packet was not processed. Its bytes are as they were.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Refusal {
    /// Shorter than the header of RTP, or than the part of RTCP that stays in the clear.
    TruncatedHeader,
    /// Neither RTP nor RTCP of version 2.
    NotVersion2,
    /// CSRCs or header extension go beyond the end.
    TruncatedExtension,
    /// Without room for what stands behind the text: tag, MKI, index of SRTCP.
    TruncatedTrailer,
    /// SRTCP that says it is not encrypted, which was not agreed on.
    NotEncrypted,
    /// RTP to be protected whose header extension says that it is encrypted (RFC 9335).
    AlreadyEncrypted,
    /// The tag is not that of this packet under this key.
    AuthFailed,
    /// A packet with this index was there before.
    Replayed,
    /// The index is below the replay window.
    TooOld,
    /// The master key has protected as many packets as it may, or the indices are used up.
    KeyExpired,
    /// The set has as many SSRCs as it may.
    TooManySsrcs,
    /// Longer than a datagram, or without [`HEADROOM`] or [`TAILROOM`] in its frame.
    TooBig,
    /// No such set, or one for the other direction.
    UnknownSet,
    /// No master key of the set has the MKI of this packet.
    UnknownMki,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TruncatedHeader => "packet shorter than its header",
            Self::NotVersion2 => "not RTP or RTCP of version 2",
            Self::TruncatedExtension => "CSRCs or header extension beyond the end of the packet",
            Self::TruncatedTrailer => "packet without room for its tag",
            Self::NotEncrypted => "SRTCP that is not encrypted",
            Self::AlreadyEncrypted => "RTP that says it is encrypted",
            Self::AuthFailed => "authentication failed",
            Self::Replayed => "replayed packet",
            Self::TooOld => "packet older than the replay window",
            Self::KeyExpired => "master key expired",
            Self::TooManySsrcs => "too many SSRCs under one key",
            Self::TooBig => "no room for the packet in its frame",
            Self::UnknownSet => "no crypto contexts under this id",
            Self::UnknownMki => "unknown master key identifier",
        })
    }
}

impl core::error::Error for Refusal {}
