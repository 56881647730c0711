// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Why something is refused, and how SIP says so.

use core::fmt;

use crate::random::RandomError;
use crate::sdes::{AnswerError, NoAcceptableCrypto};

/// Why an offer or an answer is refused as a whole. The call stays as it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// An offer came while the one of the other side had no answer yet.
    Glare,
    /// An answer came, and no offer before it.
    NoOffer,
    /// There are not as many `m=` lines as there have to be.
    MediaCount {
        /// How many there have to be: at least, in an offer; exactly, in an answer.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The caller has provided no ports for a stream.
    NoPorts {
        /// Which `m=` line, from 0 on.
        index: usize,
    },
    /// A stream cannot be as it is offered or answered, and the call not go on without it.
    Media {
        /// Which `m=` line, from 0 on.
        index: usize,
        /// Why.
        reason: MediaRefusal,
    },
    /// There are no random bytes for a key.
    Random(RandomError),
}

impl Refusal {
    /// The status code of the SIP answer that fits.
    pub const fn sip_status(self) -> u16 {
        match self {
            // Request Pending
            Self::Glare => 491,
            // Not Acceptable Here
            Self::MediaCount { .. } | Self::Media { .. } => 488,
            // Server Internal Error
            Self::NoOffer | Self::Random(_) => 500,
            // Service Unavailable
            Self::NoPorts { .. } => 503,
        }
    }

    /// The code for a header field Warning (RFC 3261 section 20.43), whose text is the refusal's
    /// own.
    pub const fn sip_warning(self) -> u16 {
        match self {
            Self::Media { reason, .. } => match reason {
                // Incompatible network address formats
                MediaRefusal::Address => 301,
                // Incompatible transport protocol
                MediaRefusal::Unprotected
                | MediaRefusal::Downgrade
                | MediaRefusal::EndToEnd
                | MediaRefusal::Off
                | MediaRefusal::Profile
                | MediaRefusal::DtlsOff
                | MediaRefusal::NoSuite => 302,
                // Attribute not understood
                MediaRefusal::Offer(_)
                | MediaRefusal::Answer(_)
                | MediaRefusal::NotRtp
                | MediaRefusal::Fingerprint => 306,
                MediaRefusal::SeveralPorts => 399,
            },
            // Miscellaneous
            _ => 399,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Glare => {
                f.write_str("the other side's offer has no answer yet; answer it, or try again")
            }
            Self::NoOffer => f.write_str("there is no offer to answer; send an offer first"),
            Self::MediaCount { expected, found } => write!(
                f,
                "{found} m= lines where there have to be {expected}; keep every m= line, with \
                 port 0 for what is not wanted"
            ),
            Self::NoPorts { index } => {
                write!(f, "no ports for m= line {}; reserve some", index + 1)
            }
            Self::Media { index, reason } => write!(f, "m= line {}: {reason}", index + 1),
            Self::Random(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Refusal {}

impl From<RandomError> for Refusal {
    fn from(error: RandomError) -> Self {
        Self::Random(error)
    }
}

/// Why a stream is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MediaRefusal {
    /// Nothing in an SRTP offer is acceptable.
    Offer(NoAcceptableCrypto),
    /// The answer to our SRTP offer is not acceptable.
    Answer(AnswerError),
    /// It is not protected on the access side, and policy wants it to be.
    Unprotected,
    /// It would no longer be protected on the access side.
    Downgrade,
    /// It is protected end to end, and policy does not want that.
    EndToEnd,
    /// Its protection on the access side is to end here, and policy does not want that.
    Off,
    /// It has `a=crypto`, and is not RTP (TS 33.328 section 4.1.2.1).
    NotRtp,
    /// It asks for several ports.
    SeveralPorts,
    /// It has no address of one host to send to.
    Address,
    /// It is answered with another profile than was offered.
    Profile,
    /// Its keys are to be from DTLS, and no fingerprint that can be checked is there.
    Fingerprint,
    /// Its keys are to be from DTLS, and nobody wants that.
    DtlsOff,
    /// Keys are to be offered, and no suite is left for that.
    NoSuite,
}

impl fmt::Display for MediaRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offer(error) => error.fmt(f),
            Self::Answer(error) => error.fmt(f),
            Self::Unprotected => {
                f.write_str("media has to be protected here; use RTP/SAVP with a=crypto, or TLS")
            }
            Self::Downgrade => f.write_str(
                "protection cannot be given up; keep a protected profile, such as RTP/SAVP",
            ),
            Self::EndToEnd => f.write_str(
                "media protected end to end may not pass; offer RTP/SAVP with \
                 a=3ge2ae:requested, or RTP/AVP",
            ),
            Self::Off => f.write_str(
                "protection may not end here; leave the profile as it is offered, or set e2ae to \
                 optional",
            ),
            Self::NotRtp => f.write_str("a=crypto is for RTP only; leave it out"),
            Self::SeveralPorts => f.write_str("several ports in one m= line; offer one"),
            Self::Address => f.write_str(
                "no address of a host to send to; write c=IN IP4 <address> or c=IN IP6 <address>",
            ),
            Self::Profile => {
                f.write_str("the profile is not the offered one; answer with that, or with port 0")
            }
            Self::NoSuite => f.write_str(
                "no suite is left that may be offered; allow one of policy.suites with SDES-only \
                 or SDES-no",
            ),
            Self::Fingerprint => f.write_str(
                "keys from DTLS need the certificate's a=fingerprint, by SHA-256 or another hash of \
                 the SHA-2 family",
            ),
            Self::DtlsOff => f.write_str(
                "keys may not come from DTLS; offer RTP/SAVP with a=crypto, or allow DTLS",
            ),
        }
    }
}

impl core::error::Error for MediaRefusal {}

/// Why one `m=` line cannot be, and whether that is its own fault.
pub(super) enum Fault {
    Media(MediaRefusal),
    NoPorts,
    Random(RandomError),
}

impl Fault {
    /// The refusal of all because of the line at this index.
    pub(super) const fn at(self, index: usize) -> Refusal {
        match self {
            Self::Media(reason) => Refusal::Media { index, reason },
            Self::NoPorts => Refusal::NoPorts { index },
            Self::Random(error) => Refusal::Random(error),
        }
    }
}

impl From<MediaRefusal> for Fault {
    fn from(reason: MediaRefusal) -> Self {
        Self::Media(reason)
    }
}

impl From<RandomError> for Fault {
    fn from(error: RandomError) -> Self {
        Self::Random(error)
    }
}
