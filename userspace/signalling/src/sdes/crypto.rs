// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The attribute `a=crypto:<tag> <suite> <keys> [<session parameters>]`.
//!
//! Source: RFC 4568 sections 4, 6 and 9. No error repeats any of the text, since it holds keys.

use core::fmt::{self, Write};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use super::{InlineError, InlineKey, ParameterError, SessionParameters, Suite};
use crate::decimal::decimal;

/// The value of an attribute `a=crypto`: how its sender protects what it sends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Crypto {
    /// Tells the attributes of one medium apart: at most nine digits.
    pub tag: u32,
    /// The crypto suite.
    pub suite: Suite,
    /// One key, or several that each have a master key identifier of the same length.
    pub keys: Vec<InlineKey>,
    /// What else is said.
    pub parameters: SessionParameters,
}

impl Crypto {
    /// The name of the attribute.
    pub const NAME: &str = "crypto";

    /// Reads the value of the attribute.
    ///
    /// # Errors
    /// A [`CryptoError`] for the first part that is not as it should be.
    pub fn parse(text: &str) -> Result<Self, CryptoError> {
        let mut fields = text.split([' ', '\t']).filter(|field| !field.is_empty());
        let tag = parse_tag(fields.next().unwrap_or_default()).ok_or(CryptoError::Tag)?;
        let suite = fields.next().ok_or(CryptoError::Incomplete)?;
        let suite = suite.parse().map_err(|_| CryptoError::UnknownSuite)?;
        let keys = parse_keys(suite, fields.next().ok_or(CryptoError::Incomplete)?)?;
        let parameters = SessionParameters::parse(suite, fields)?;
        Ok(Self {
            tag,
            suite,
            keys,
            parameters,
        })
    }

    /// The text that [`Crypto::parse`] reads.
    pub fn write(&self) -> Zeroizing<String> {
        let parameters = &self.parameters;
        let extensions: usize = parameters.extensions.iter().map(String::len).sum();
        let keys = self.keys.len() + parameters.fec_keys.len();
        let len = (keys + 1) * InlineKey::MAX_TEXT_LEN + 2 * extensions;
        let mut text = Zeroizing::new(String::with_capacity(len));
        self.write_to(&mut text).unwrap_or_default();
        text
    }

    fn write_to(&self, text: &mut String) -> fmt::Result {
        write!(text, "{} {} ", self.tag, self.suite)?;
        write_keys(&self.keys, text)?;
        self.parameters.write_to(text)
    }
}

impl Serialize for Crypto {
    /// The text, keys and all.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.write())
    }
}

impl<'de> Deserialize<'de> for Crypto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// `1*9DIGIT`
fn parse_tag(text: &str) -> Option<u32> {
    decimal(text).filter(|_| text.len() <= 9)
}

/// Reads one key, or several with `;` between them (RFC 4568 section 6.1).
pub(super) fn parse_keys(suite: Suite, text: &str) -> Result<Vec<InlineKey>, CryptoError> {
    let keys = text
        .split(';')
        .map(|text| InlineKey::parse(suite, text))
        .collect::<Result<Vec<_>, _>>()?;
    if let [first, rest @ ..] = keys.as_slice()
        && !rest.is_empty()
    {
        let len = first.mki().map(<[u8]>::len).ok_or(CryptoError::NoMki)?;
        for (i, key) in keys.iter().enumerate() {
            let mki = key.mki().ok_or(CryptoError::NoMki)?;
            if mki.len() != len || keys[..i].iter().any(|other| other.mki() == Some(mki)) {
                return Err(CryptoError::Mkis);
            }
        }
    }
    Ok(keys)
}

pub(super) fn write_keys(keys: &[InlineKey], text: &mut String) -> fmt::Result {
    for (i, key) in keys.iter().enumerate() {
        if i > 0 {
            text.write_str(";")?;
        }
        key.write_to(text)?;
    }
    Ok(())
}

/// Why an attribute `a=crypto` is of no use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CryptoError {
    /// The tag is not a number of one to nine digits.
    Tag,
    /// There is no suite, or no key.
    Incomplete,
    /// The suite is none that we know.
    UnknownSuite,
    /// A key is not as it should be.
    Key(InlineError),
    /// There are several keys, and one has no master key identifier.
    NoMki,
    /// Two keys have the same master key identifier, or identifiers of different lengths.
    Mkis,
    /// A session parameter is not as it should be.
    Parameter(ParameterError),
}

impl fmt::Display for CryptoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag => f.write_str("tag is not a number of one to nine digits; write 1, 2, ..."),
            Self::Incomplete => {
                f.write_str("suite or key is missing; write a=crypto:<tag> <suite> inline:<base64>")
            }
            Self::UnknownSuite => super::UnknownSuite.fmt(f),
            Self::Key(error) => error.fmt(f),
            Self::NoMki => {
                f.write_str("several keys need master key identifiers; give each key its own")
            }
            Self::Mkis => f.write_str(
                "master key identifiers are the same, or of different lengths; give each key its \
                 own, all of one length",
            ),
            Self::Parameter(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CryptoError {}

impl From<InlineError> for CryptoError {
    fn from(error: InlineError) -> Self {
        Self::Key(error)
    }
}

impl From<ParameterError> for CryptoError {
    fn from(error: ParameterError) -> Self {
        Self::Parameter(error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sdes::FecOrder;
    use crate::sdes::parameters::Relaxed;

    const KEY: &str = "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    const KEY2: &str = "inline:QUJjZGVmMTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5";
    const GCM: &str = "inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";

    /// The examples of RFC 4568 sections 4, 5.1.4 and 7.1.5.
    #[test]
    fn the_attributes_of_the_rfc_survive_their_text() {
        for text in [
            "1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20|1:32",
            "1 AES_CM_128_HMAC_SHA1_32 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj|2^20|1:32",
            "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4 \
             FEC_ORDER=FEC_SRTP",
            "2 F8_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5QUJjZGVm|2^20|1:4;\
             inline:QUJjZGVmMTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5|2^20|2:4 FEC_ORDER=FEC_SRTP",
        ] {
            assert_eq!(*Crypto::parse(text).unwrap().write(), text);
        }
    }

    #[test]
    fn every_session_parameter_is_read() {
        let text = format!(
            "7 AES_CM_128_HMAC_SHA1_80 {KEY}|2^20 KDR=10 UNENCRYPTED_SRTP UNENCRYPTED_SRTCP \
             UNAUTHENTICATED_SRTP FEC_ORDER=SRTP_FEC FEC_KEY={KEY2} WSH=128 -NEW=1 -OTHER"
        );
        let crypto = Crypto::parse(&text).unwrap();
        assert_eq!(*crypto.write(), text);
        assert_eq!(crypto.tag, 7);
        let parameters = crypto.parameters;
        assert_eq!(parameters.key_derivation_rate, Some(10));
        assert_eq!(
            parameters.relaxed,
            Relaxed {
                unencrypted_srtp: true,
                unencrypted_srtcp: true,
                unauthenticated_srtp: true
            }
        );
        assert_eq!(parameters.fec_order, Some(FecOrder::SrtpFec));
        assert_eq!(parameters.fec_keys.len(), 1);
        assert_eq!(parameters.window_size_hint, Some(128));
        assert_eq!(parameters.extensions, ["-NEW=1", "-OTHER"]);
    }

    #[test]
    fn names_may_be_written_in_either_case() {
        let text = format!("1 aes_cm_128_hmac_sha1_80 {KEY} unencrypted_srtcp kdr=3")
            .replace("inline", "INLINE");
        let crypto = Crypto::parse(&text).unwrap();
        assert_eq!(crypto.suite, Suite::AesCm128HmacSha1_80);
        assert!(crypto.parameters.relaxed.unencrypted_srtcp);
    }

    #[test]
    fn what_is_not_valid_is_refused_for_its_own_reason() {
        use CryptoError as E;
        use ParameterError as P;
        let cm = "1 AES_CM_128_HMAC_SHA1_80";
        let cases = [
            (String::new(), E::Tag),
            (format!("x AES_CM_128_HMAC_SHA1_80 {KEY}"), E::Tag),
            (format!("-1 AES_CM_128_HMAC_SHA1_80 {KEY}"), E::Tag),
            (format!("1234567890 AES_CM_128_HMAC_SHA1_80 {KEY}"), E::Tag),
            ("1".to_owned(), E::Incomplete),
            (cm.to_owned(), E::Incomplete),
            (format!("1 NEW_SUITE {KEY}"), E::UnknownSuite),
            (format!("{cm} url:x"), E::Key(InlineError::Method)),
            (format!("{cm} {KEY};"), E::Key(InlineError::Method)),
            (
                format!("{cm} {GCM}"),
                E::Key(InlineError::KeyLength {
                    suite: Suite::AesCm128HmacSha1_80,
                    found: 28,
                }),
            ),
            (format!("{cm} {KEY};{KEY2}"), E::NoMki),
            (format!("{cm} {KEY}|1:1;{KEY2}"), E::NoMki),
            (format!("{cm} {KEY}|1:1;{KEY2}|2:2"), E::Mkis),
            (format!("{cm} {KEY}|1:1;{KEY2}|1:1"), E::Mkis),
            (format!("{cm} {KEY} KDR=25"), E::Parameter(P::Kdr)),
            (format!("{cm} {KEY} KDR=01"), E::Parameter(P::Kdr)),
            (format!("{cm} {KEY} KDR="), E::Parameter(P::Kdr)),
            (format!("{cm} {KEY} KDR"), E::Parameter(P::Unknown)),
            (format!("{cm} {KEY} WSH=63"), E::Parameter(P::Wsh)),
            (format!("{cm} {KEY} WSH=064"), E::Parameter(P::Wsh)),
            (format!("{cm} {KEY} WSH=99999999999"), E::Parameter(P::Wsh)),
            (format!("{cm} {KEY} FEC_ORDER=X"), E::Parameter(P::FecOrder)),
            (format!("{cm} {KEY} FEC_KEY=x"), E::Key(InlineError::Method)),
            (format!("{cm} {KEY} KDR=1 KDR=1"), E::Parameter(P::Twice)),
            (
                format!("{cm} {KEY} FEC_KEY={KEY2} FEC_KEY={KEY2}"),
                E::Parameter(P::Twice),
            ),
            (
                format!("{cm} {KEY} UNENCRYPTED_SRTP UNENCRYPTED_SRTP"),
                E::Parameter(P::Twice),
            ),
            (format!("{cm} {KEY} NEW"), E::Parameter(P::Unknown)),
            (
                format!("{cm} {KEY} UNENCRYPTED_SRTP=1"),
                E::Parameter(P::Unknown),
            ),
            (
                format!("1 AEAD_AES_128_GCM {GCM} UNENCRYPTED_SRTP"),
                E::Parameter(P::Aead),
            ),
            (
                format!("1 AEAD_AES_128_GCM {GCM} UNAUTHENTICATED_SRTP"),
                E::Parameter(P::Aead),
            ),
        ];
        for (text, error) in cases {
            assert_eq!(Crypto::parse(&text).map(drop), Err(error), "{text:?}");
        }
        let text = format!("1 AEAD_AES_128_GCM {GCM} UNENCRYPTED_SRTCP");
        assert!(Crypto::parse(&text).is_ok());
    }

    #[test]
    fn no_key_is_ever_printed() {
        let text = format!("1 AES_CM_128_HMAC_SHA1_80 {KEY} FEC_KEY={KEY2}");
        let crypto = Crypto::parse(&text).unwrap();
        let printed = format!("{crypto:?}");
        assert!(
            !printed.contains("d0Rm") && !printed.contains("QUJj"),
            "{printed}"
        );
        assert!(!printed.contains("119, 68"), "{printed}");
    }

    proptest! {
        #[test]
        fn what_is_read_survives_its_text(
            tag in "[0-9]{1,10}",
            lifetime in "(\\|2\\^[0-9]{1,2}|\\|[0-9]{1,4})?",
            mki in "(\\|[0-9]{1,3}:[0-9])?",
            parameters in proptest::collection::vec(
                "KDR=[0-9]{1,2}|WSH=[0-9]{2,3}|UN(ENCRYPTED_SRTC?P|AUTHENTICATED_SRTP)\
                 |FEC_ORDER=FEC_SRTP|-[A-Z=]{1,5}",
                0..3,
            ),
        ) {
            let parameters = parameters.join(" ");
            let text = format!("{tag} AES_CM_128_HMAC_SHA1_80 {KEY}{lifetime}{mki} {parameters}");
            if let Ok(crypto) = Crypto::parse(&text) {
                prop_assert_eq!(Crypto::parse(&crypto.write()), Ok(crypto));
            }
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in ".*", tail in "[ -~]{0,80}") {
            let _ = Crypto::parse(&text);
            let _ = Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 {text}"));
            let _ = Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 {KEY}{tail}"));
        }
    }
}
