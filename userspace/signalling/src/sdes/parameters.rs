// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The session parameters of SDP security descriptions.
//!
//! Source: RFC 4568 sections 6.3 (meaning) and 9.2 (grammar).

use core::fmt::{self, Write};

use super::{CryptoError, InlineKey, Suite, crypto};
use crate::decimal::decimal;

/// What is said of a stream beside suite and key.
///
/// Those that start with UN are negotiated: an answer repeats them, and they hold in both
/// directions. The others are declared: each side says them about what it sends itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionParameters {
    /// KDR: session keys are derived anew every `2^n` packets, n being 0 to 24; `None` for once.
    pub key_derivation_rate: Option<u8>,
    /// Packets that are sent in clear, or without a tag.
    pub relaxed: Relaxed,
    /// Whether forward error correction comes before or after SRTP.
    pub fec_order: Option<FecOrder>,
    /// The keys of a stream of forward error correction that has a port of its own.
    pub fec_keys: Vec<InlineKey>,
    /// WSH: the replay window that the sender of the stream proposes, 64 packets or more.
    pub window_size_hint: Option<u32>,
    /// Parameters of others that may be ignored, with their leading `-`.
    pub extensions: Vec<String>,
}

/// What a stream does without: the negotiated session parameters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Relaxed {
    /// `UNENCRYPTED_SRTP`
    pub unencrypted_srtp: bool,
    /// `UNENCRYPTED_SRTCP`
    pub unencrypted_srtcp: bool,
    /// `UNAUTHENTICATED_SRTP`
    pub unauthenticated_srtp: bool,
}

impl Relaxed {
    /// Whether `other` does without nothing that this does not do without.
    pub const fn covers(self, other: Self) -> bool {
        (self.unencrypted_srtp || !other.unencrypted_srtp)
            && (self.unencrypted_srtcp || !other.unencrypted_srtcp)
            && (self.unauthenticated_srtp || !other.unauthenticated_srtp)
    }

    /// What both do without.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self {
            unencrypted_srtp: self.unencrypted_srtp && other.unencrypted_srtp,
            unencrypted_srtcp: self.unencrypted_srtcp && other.unencrypted_srtcp,
            unauthenticated_srtp: self.unauthenticated_srtp && other.unauthenticated_srtp,
        }
    }

    /// What a suite can do without: an AEAD cannot be taken apart (RFC 7714 section 12).
    #[must_use]
    pub(super) const fn of(self, suite: Suite) -> Self {
        Self {
            unencrypted_srtp: self.unencrypted_srtp && !suite.is_aead(),
            unencrypted_srtcp: self.unencrypted_srtcp,
            unauthenticated_srtp: self.unauthenticated_srtp && !suite.is_aead(),
        }
    }
}

/// What a stream is asked to do without or not to; `None` where nobody has said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AskedRelaxed {
    /// `UNENCRYPTED_SRTP`
    pub unencrypted_srtp: Option<bool>,
    /// `UNENCRYPTED_SRTCP`
    pub unencrypted_srtcp: Option<bool>,
    /// `UNAUTHENTICATED_SRTP`
    pub unauthenticated_srtp: Option<bool>,
}

impl AskedRelaxed {
    /// What is asked for, and where nobody has asked what is there.
    pub(super) fn or(self, there: Relaxed) -> Relaxed {
        let Relaxed {
            unencrypted_srtp,
            unencrypted_srtcp,
            unauthenticated_srtp,
        } = there;
        Relaxed {
            unencrypted_srtp: self.unencrypted_srtp.unwrap_or(unencrypted_srtp),
            unencrypted_srtcp: self.unencrypted_srtcp.unwrap_or(unencrypted_srtcp),
            unauthenticated_srtp: self.unauthenticated_srtp.unwrap_or(unauthenticated_srtp),
        }
    }
}

/// Which comes first at the sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FecOrder {
    /// Forward error correction, then SRTP: what holds where nothing is said.
    FecSrtp,
    /// SRTP, then forward error correction.
    SrtpFec,
}

impl SessionParameters {
    /// Reads what stands behind the keys.
    pub(super) fn parse<'a>(
        suite: Suite,
        texts: impl Iterator<Item = &'a str>,
    ) -> Result<Self, CryptoError> {
        let mut parameters = Self::default();
        for text in texts {
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (text, None),
            };
            parameters.take(suite, &name.to_ascii_uppercase(), value, text)?;
        }
        let relaxed = parameters.relaxed;
        if suite.is_aead() && (relaxed.unencrypted_srtp || relaxed.unauthenticated_srtp) {
            return Err(ParameterError::Aead.into());
        }
        Ok(parameters)
    }

    fn take(
        &mut self,
        suite: Suite,
        name: &str,
        value: Option<&str>,
        text: &str,
    ) -> Result<(), CryptoError> {
        match (name, value) {
            ("KDR", Some(value)) => {
                let rate = decimal(value).filter(|rate| *rate <= 24);
                set(&mut self.key_derivation_rate, rate, ParameterError::Kdr)?;
            }
            ("UNENCRYPTED_SRTP", None) => raise(&mut self.relaxed.unencrypted_srtp)?,
            ("UNENCRYPTED_SRTCP", None) => raise(&mut self.relaxed.unencrypted_srtcp)?,
            ("UNAUTHENTICATED_SRTP", None) => raise(&mut self.relaxed.unauthenticated_srtp)?,
            ("FEC_ORDER", Some(value)) => {
                let order = match value.to_ascii_uppercase().as_str() {
                    "FEC_SRTP" => Some(FecOrder::FecSrtp),
                    "SRTP_FEC" => Some(FecOrder::SrtpFec),
                    _ => None,
                };
                set(&mut self.fec_order, order, ParameterError::FecOrder)?;
            }
            ("FEC_KEY", Some(value)) => {
                if !self.fec_keys.is_empty() {
                    return Err(ParameterError::Twice.into());
                }
                self.fec_keys = crypto::parse_keys(suite, value)?;
            }
            ("WSH", Some(value)) => {
                let window = decimal(value).filter(|window| *window >= 64);
                set(&mut self.window_size_hint, window, ParameterError::Wsh)?;
            }
            _ if text.starts_with('-') => self.extensions.push(text.to_owned()),
            _ => return Err(ParameterError::Unknown.into()),
        }
        Ok(())
    }

    /// Appends what [`SessionParameters::parse`] reads, each with a space in front.
    pub(super) fn write_to(&self, text: &mut String) -> fmt::Result {
        if let Some(rate) = self.key_derivation_rate {
            write!(text, " KDR={rate}")?;
        }
        for (is_set, name) in [
            (self.relaxed.unencrypted_srtp, " UNENCRYPTED_SRTP"),
            (self.relaxed.unencrypted_srtcp, " UNENCRYPTED_SRTCP"),
            (self.relaxed.unauthenticated_srtp, " UNAUTHENTICATED_SRTP"),
        ] {
            text.write_str(if is_set { name } else { "" })?;
        }
        text.write_str(match self.fec_order {
            Some(FecOrder::FecSrtp) => " FEC_ORDER=FEC_SRTP",
            Some(FecOrder::SrtpFec) => " FEC_ORDER=SRTP_FEC",
            None => "",
        })?;
        if !self.fec_keys.is_empty() {
            text.write_str(" FEC_KEY=")?;
            crypto::write_keys(&self.fec_keys, text)?;
        }
        if let Some(window) = self.window_size_hint {
            write!(text, " WSH={window}")?;
        }
        self.extensions
            .iter()
            .try_for_each(|extension| write!(text, " {extension}"))
    }
}

fn set<T>(
    slot: &mut Option<T>,
    value: Option<T>,
    error: ParameterError,
) -> Result<(), ParameterError> {
    let value = value.ok_or(error)?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ParameterError::Twice),
    }
}

fn raise(flag: &mut bool) -> Result<(), ParameterError> {
    if core::mem::replace(flag, true) {
        return Err(ParameterError::Twice);
    }
    Ok(())
}

/// Why a session parameter is of no use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ParameterError {
    /// The key derivation rate is out of range.
    Kdr,
    /// The order of forward error correction is not one of the two.
    FecOrder,
    /// The window size hint is out of range.
    Wsh,
    /// A parameter is there twice.
    Twice,
    /// An AEAD suite cannot leave out encryption or authentication of SRTP.
    Aead,
    /// Nobody knows the parameter, and it does not start with `-`.
    Unknown,
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kdr => "KDR is not 0 to 24; write KDR=<exponent>, or leave it out",
            Self::FecOrder => "FEC_ORDER is neither FEC_SRTP nor SRTP_FEC; write one of them",
            Self::Wsh => "WSH is not a number from 64 on; write WSH=<packets>, or leave it out",
            Self::Twice => "a session parameter is there twice; write it once",
            Self::Aead => {
                "an AEAD suite both encrypts and authenticates SRTP; leave out UNENCRYPTED_SRTP \
                 and UNAUTHENTICATED_SRTP, or take another suite"
            }
            Self::Unknown => "unknown session parameter; leave it out",
        })
    }
}

impl core::error::Error for ParameterError {}
