// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Why a request cannot be understood.

use core::fmt;

use super::bencode::BencodeError;
use super::json::JsonError;
use super::word::MAX_TEXT;

/// Why a request cannot be understood. Displayed as the `error-reason` that clients look for; what
/// exactly is wrong with the encoding is its source.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RequestError {
    /// Nothing follows the cookie.
    NoPayload,
    /// The document is neither bencode nor JSON.
    Format,
    /// The document is not bencode.
    Bencode(BencodeError),
    /// The document is not JSON.
    Json(JsonError),
    /// There is no `command`.
    NoCommand,
    /// The command is unknown, or one that this gateway leaves to others.
    UnrecognizedCommand,
    /// There is no `sdp`.
    NoSdp,
    /// There is no `call-id`.
    NoCallId,
    /// There is no `from-tag`.
    NoFromTag,
    /// There is no `to-tag`.
    NoToTag,
    /// `limit` is no number above 0.
    Limit,
    /// What says whom the request is about is there twice.
    Twice(&'static str),
    /// What says whom the request is about is not UTF-8.
    NotText(&'static str),
    /// What says whom the request is about has more than 1024 bytes.
    TooLong(&'static str),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPayload => f.write_str("Invalid data (no payload)"),
            Self::Format => f.write_str("Invalid NG data format"),
            Self::Bencode(_) => f.write_str("Could not decode bencode dictionary"),
            Self::Json(JsonError::Syntax { .. }) => f.write_str("Failed to parse JSON document"),
            Self::Json(_) => f.write_str("Could not decode JSON dictionary"),
            Self::NoCommand => f.write_str("Dictionary contains no key \"command\""),
            Self::UnrecognizedCommand => f.write_str("Unrecognized command"),
            Self::NoSdp => f.write_str("No SDP body in message"),
            Self::NoCallId => f.write_str("No call-id in message"),
            Self::NoFromTag => f.write_str("No from-tag in message"),
            Self::NoToTag => f.write_str("No to-tag in message"),
            Self::Limit => f.write_str("invalid limit, must be >= 0"),
            Self::Twice(key) => write!(f, "More than one {key} in message"),
            Self::NotText(key) => write!(f, "{key} is not UTF-8"),
            Self::TooLong(key) => write!(f, "{key} has more than {MAX_TEXT} bytes"),
        }
    }
}

impl core::error::Error for RequestError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Bencode(error) => Some(error),
            Self::Json(error) => Some(error),
            _ => None,
        }
    }
}
