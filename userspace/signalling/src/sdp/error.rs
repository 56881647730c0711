// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Why a text is not a session description. No error repeats any of it, since it may hold keys.

use core::fmt;

use super::Sdp;

/// Why a text is not a session description.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SdpError {
    /// It has too many bytes.
    TooLong {
        /// How many it has.
        len: usize,
    },
    /// It has too many lines.
    TooManyLines,
    /// It is not UTF-8.
    NotUtf8,
    /// It does not start with `v=0`.
    Version,
    /// A line is not a letter, `=` and a value, or has a control character.
    Line {
        /// The number of the line, from 1 on.
        number: usize,
    },
    /// An `o=` line has not its six fields, is not the only one, or stands behind an `m=` line.
    Origin {
        /// The number of the line, from 1 on.
        number: usize,
    },
    /// A `c=` line has not its three fields, or its address is not of the type that it names.
    Connection {
        /// The number of the line, from 1 on.
        number: usize,
    },
    /// An `m=` line has not its four fields, or its port is not a number.
    Media {
        /// The number of the line, from 1 on.
        number: usize,
    },
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len } => write!(
                f,
                "the session description has {len} bytes; send at most {}",
                Sdp::MAX_LEN
            ),
            Self::TooManyLines => write!(
                f,
                "the session description has too many lines; send at most {}",
                Sdp::MAX_LINES
            ),
            Self::NotUtf8 => f.write_str("the session description is not UTF-8; send UTF-8"),
            Self::Version => f.write_str("no session description; let the first line be \"v=0\""),
            Self::Line { number } => write!(
                f,
                "line {number} is no line of a session description; write <letter>=<value> \
                 without control characters"
            ),
            Self::Origin { number } => write!(
                f,
                "line {number} is no origin; write one line o=<username> <id> <version> IN IP4 \
                 <address> in front of the first m= line"
            ),
            Self::Connection { number } => write!(
                f,
                "line {number} is no connection; write c=IN IP4 <address> or c=IN IP6 <address>"
            ),
            Self::Media { number } => write!(
                f,
                "line {number} is no media description; write m=<medium> <port> <profile> \
                 <formats>"
            ),
        }
    }
}

impl core::error::Error for SdpError {}
