// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The key parameters of SDP security descriptions: `inline:<base64>[|lifetime][|MKI:length]`.
//!
//! Source: RFC 4568 sections 6.1 (meaning) and 9.2 (grammar). No error repeats any of the text,
//! since all of it may be a key.

use core::fmt::{self, Write};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::Suite;
use crate::decimal::decimal;
use crate::random::{Random, RandomError};

/// A master key with its salt and what is said about it. Wiped when dropped, never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct InlineKey {
    suite: Suite,
    key: Zeroizing<Vec<u8>>,
    lifetime: Option<u64>,
    mki: Option<Mki>,
}

impl InlineKey {
    /// The longest lifetime that may be stated, in packets (RFC 3711 section 9.2).
    pub const MAX_LIFETIME: u64 = 1 << 48;

    /// More than the longest text has. Who has that much room at first leaves no unwiped copy
    /// behind by growing.
    pub(super) const MAX_TEXT_LEN: usize = 512;

    /// Draws a new key, without lifetime and MKI.
    pub fn random(suite: Suite, random: &mut impl Random) -> Result<Self, RandomError> {
        let mut key = Zeroizing::new(vec![0; suite.key_len()]);
        random.fill(&mut key)?;
        Ok(Self {
            suite,
            key,
            lifetime: None,
            mki: None,
        })
    }

    /// The same with a lifetime, or without.
    #[must_use]
    pub(super) fn with_lifetime(self, lifetime: Option<u64>) -> Self {
        Self { lifetime, ..self }
    }

    /// Reads one key of the text behind a suite in `a=crypto`.
    ///
    /// # Errors
    /// An [`InlineError`] for the first part that is not as it should be.
    pub fn parse(suite: Suite, text: &str) -> Result<Self, InlineError> {
        let parameters = text
            .split_once(':')
            .filter(|(method, _)| method.eq_ignore_ascii_case("inline"))
            .map(|(_, parameters)| parameters)
            .ok_or(InlineError::Method)?;
        if parameters.contains(';') {
            return Err(InlineError::SeveralKeys);
        }
        let mut parts = parameters.split('|');
        let key = decode(suite, parts.next().unwrap_or_default())?;
        let mut parts = parts.peekable();
        // Only the MKI has a colon.
        let lifetime = parts
            .next_if(|part| !part.contains(':'))
            .map(|part| parse_lifetime(part).ok_or(InlineError::Lifetime))
            .transpose()?;
        let mki = parts
            .next()
            .map(|part| Mki::parse(part).ok_or(InlineError::Mki))
            .transpose()?;
        if parts.next().is_some() {
            return Err(InlineError::Surplus);
        }
        Ok(Self {
            suite,
            key,
            lifetime,
            mki,
        })
    }

    /// The text that [`InlineKey::parse`] reads, with its padding.
    pub fn write(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(Self::MAX_TEXT_LEN));
        self.write_to(&mut text).unwrap_or_default();
        text
    }

    /// Appends the text, which [`InlineKey::MAX_TEXT_LEN`] bytes have room for.
    pub(super) fn write_to(&self, text: &mut String) -> fmt::Result {
        text.write_str("inline:")?;
        BASE64.encode_string(&*self.key, text);
        match self.lifetime {
            None => Ok(()),
            Some(packets) if packets.is_power_of_two() => write!(text, "|2^{}", packets.ilog2()),
            Some(packets) => write!(text, "|{packets}"),
        }?;
        match &self.mki {
            None => Ok(()),
            Some(mki) => write!(text, "|{}:{}", mki.text, mki.bytes.len()),
        }
    }

    /// The crypto suite that the key is for.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Master key and master salt, one behind the other: [`Suite::key_len`] bytes. Copy them only
    /// into something that is wiped, too.
    pub fn expose(&self) -> &[u8] {
        &self.key
    }

    /// How many packets the key may protect; `None` for the suite's own limit.
    pub const fn lifetime(&self) -> Option<u64> {
        self.lifetime
    }

    /// The master key identifier as packets carry it, 1 to 128 bytes; `None` if they carry none.
    pub fn mki(&self) -> Option<&[u8]> {
        self.mki.as_ref().map(|mki| mki.bytes.as_slice())
    }
}

impl fmt::Debug for InlineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineKey")
            .field("suite", &self.suite)
            .field("lifetime", &self.lifetime)
            .field("mki", &self.mki())
            .finish_non_exhaustive()
    }
}

/// A master key identifier: a decimal number, and the same number on the wire.
#[derive(Clone, Eq, PartialEq)]
struct Mki {
    text: String,
    bytes: Vec<u8>,
}

impl Mki {
    /// The most bytes that an identifier may have.
    const MAX_LEN: usize = 128;

    /// Reads `MKI:length`.
    fn parse(text: &str) -> Option<Self> {
        let (value, len) = text.split_once(':')?;
        let len = decimal(len).filter(|len| (1..=Self::MAX_LEN).contains(len))?;
        let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
        // A positive number without leading zeros; some senders count their keys from 0 on.
        if !is_number || value.is_empty() || (value.len() > 1 && value.starts_with('0')) {
            return None;
        }
        let mut bytes = vec![0; len];
        for digit in value.bytes() {
            let mut carry = u16::from(digit - b'0');
            for byte in bytes.iter_mut().rev() {
                let [high, low] = (u16::from(*byte) * 10 + carry).to_be_bytes();
                (*byte, carry) = (low, u16::from(high));
            }
            if carry != 0 {
                return None;
            }
        }
        Some(Self {
            text: value.to_owned(),
            bytes,
        })
    }
}

/// Why a key parameter is of no use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum InlineError {
    /// The text does not start with `inline:`, the only key method that exists.
    Method,
    /// What follows is not base64.
    Base64,
    /// Master key and master salt have another length than the suite's.
    KeyLength {
        /// The suite.
        suite: Suite,
        /// How many bytes were found.
        found: usize,
    },
    /// The lifetime is not a number of packets, or is out of range.
    Lifetime,
    /// The master key identifier is not a number and a length, or the number is too long for it.
    Mki,
    /// There is more than key, lifetime and master key identifier, or in another order.
    Surplus,
    /// There is more than one key.
    SeveralKeys,
}

impl fmt::Display for InlineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str(
                "key does not start with \"inline:\"; write inline:<base64 of master key and salt>",
            ),
            Self::Base64 => f.write_str(
                "key is not base64; encode master key and salt with the alphabet A-Z a-z 0-9 + /",
            ),
            Self::KeyLength { suite, found } => write!(
                f,
                "master key and salt of {suite} have {} bytes together, found {found}; give a key \
                 of this suite, or the suite of this key",
                suite.key_len()
            ),
            Self::Lifetime => f.write_str(
                "lifetime is not 1 to 2^48 packets; write it as 2^20 or 1048576, without leading \
                 zeros and behind the key, or leave it out",
            ),
            Self::Mki => f.write_str(
                "master key identifier is not <number>:<length>; write a number without leading \
                 zeros that fits into the length, which is 1 to 128 bytes, or leave it out",
            ),
            Self::Surplus => f.write_str(
                "key has too many parts; write inline:<base64>|<lifetime>|<MKI>:<length>",
            ),
            Self::SeveralKeys => f.write_str("there is more than one key; give one"),
        }
    }
}

impl core::error::Error for InlineError {}

/// Some senders leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn decode(suite: Suite, text: &str) -> Result<Zeroizing<Vec<u8>>, InlineError> {
    // Four characters for each three bytes: decoding never outgrows the vector, so no unwiped copy
    // of a key is left behind.
    let mut key = Zeroizing::new(vec![0; text.len().div_ceil(4) * 3]);
    let found = BASE64
        .decode_slice(text, &mut key)
        .map_err(|_| InlineError::Base64)?;
    if found != suite.key_len() {
        return Err(InlineError::KeyLength { suite, found });
    }
    key.truncate(found);
    Ok(key)
}

/// `["2^"] 1*DIGIT` without leading zeros, 1 to [`InlineKey::MAX_LIFETIME`].
fn parse_lifetime(text: &str) -> Option<u64> {
    let packets = match text.strip_prefix("2^") {
        Some(exponent) => 1_u64.checked_shl(decimal(exponent)?)?,
        None => decimal(text)?,
    };
    (1..=InlineKey::MAX_LIFETIME)
        .contains(&packets)
        .then_some(packets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use base64::prelude::BASE64_STANDARD;

    const CM: Suite = Suite::AesCm128HmacSha1_80;

    /// An example of RFC 4568.
    const RFC: &str = "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    #[test]
    fn the_key_of_the_rfc_is_read() {
        let key = InlineKey::parse(CM, &format!("{RFC}|2^20")).unwrap();
        assert_eq!(key.suite(), CM);
        assert_eq!(key.expose(), b"wDfvg&T+)xG7@fb5jU,RaA}\\|p0%*#");
        assert_eq!(key.lifetime(), Some(1 << 20));
    }

    #[test]
    fn every_lifetime_of_the_grammar_is_read_and_no_other() {
        let cases: [(&str, Option<u64>); 27] = [
            ("1", Some(1)),
            ("9", Some(9)),
            ("1048576", Some(1 << 20)),
            ("281474976710656", Some(1 << 48)),
            ("281474976710657", None),
            ("18446744073709551616", None),
            ("2^0", Some(1)),
            ("2^1", Some(2)),
            ("2^31", Some(1 << 31)),
            ("2^48", Some(1 << 48)),
            ("2^49", None),
            ("2^64", None),
            ("2^4294967296", None),
            ("2^00", None),
            ("2^031", None),
            ("0", None),
            ("00", None),
            ("01", None),
            ("", None),
            ("2^", None),
            ("^2", None),
            ("3^2", None),
            ("+1", None),
            ("-1", None),
            ("2^+1", None),
            (" 1", None),
            ("٣", None),
        ];
        for (text, packets) in cases {
            let lifetime = InlineKey::parse(CM, &format!("{RFC}|{text}")).map(|key| key.lifetime());
            let expected = packets.map(Some).ok_or(InlineError::Lifetime);
            assert_eq!(lifetime, expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_one_inline_key_is_refused_for_its_own_reason() {
        let short = InlineError::KeyLength {
            suite: CM,
            found: 28,
        };
        let empty = InlineError::KeyLength {
            suite: CM,
            found: 0,
        };
        let cases = [
            ("", InlineError::Method),
            ("inline", InlineError::Method),
            (" inline:AAAA", InlineError::Method),
            ("inline:", empty),
            ("inline:|2^20", empty),
            ("inline:!!!!", InlineError::Base64),
            ("inline:AAAAA", InlineError::Base64),
            ("inline:A=AA", InlineError::Base64),
            ("inline:AAAA AAAA", InlineError::Base64),
            ("inline:AAAA-_AA", InlineError::Base64),
            ("inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", short),
            (
                "inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA|1:4|2^20",
                InlineError::Surplus,
            ),
            (
                "inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA|2^20|2^20",
                InlineError::Mki,
            ),
            (
                "inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA|",
                InlineError::Lifetime,
            ),
            ("inline:AAAA|1:4;inline:AAAA|2:4", InlineError::SeveralKeys),
        ];
        for (text, error) in cases {
            assert_eq!(InlineKey::parse(CM, text).map(drop), Err(error), "{text:?}");
        }
    }

    #[test]
    fn every_identifier_of_the_grammar_is_read_and_no_other() {
        let cases: [(&str, Option<&[u8]>); 22] = [
            ("1:1", Some(&[1])),
            ("1:4", Some(&[0, 0, 0, 1])),
            ("1066:4", Some(&[0, 0, 4, 42])),
            ("255:1", Some(&[255])),
            ("256:1", None),
            ("65535:2", Some(&[255, 255])),
            ("65536:2", None),
            ("18446744073709551616:9", Some(&[1, 0, 0, 0, 0, 0, 0, 0, 0])),
            ("0:1", Some(&[0])),
            ("01:1", None),
            ("1:01", None),
            ("1:0", None),
            ("1:129", None),
            ("1:", None),
            (":1", None),
            ("1:1:1", None),
            ("-1:1", None),
            ("+1:1", None),
            ("x:1", None),
            ("1:x", None),
            (" 1:1", None),
            ("1:1 ", None),
        ];
        for (text, mki) in cases {
            for lifetime in ["", "|2^20"] {
                let key = InlineKey::parse(CM, &format!("{RFC}{lifetime}|{text}"));
                let found = key.map(|key| key.mki().map(<[u8]>::to_vec));
                let expected = mki.map(|mki| Some(mki.to_vec())).ok_or(InlineError::Mki);
                assert_eq!(found, expected, "{text:?}");
            }
        }
        let longest = format!("{RFC}|1{}:128", "0".repeat(308));
        assert_eq!(
            InlineKey::parse(CM, &longest)
                .unwrap()
                .mki()
                .map(<[u8]>::len),
            Some(128)
        );
    }

    #[test]
    fn a_key_of_another_length_is_refused_with_suite_expected_and_found() {
        let error = InlineKey::parse(Suite::AeadAes256Gcm, RFC).unwrap_err();
        assert_eq!(
            error.to_string(),
            "master key and salt of AEAD_AES_256_GCM have 44 bytes together, found 30; give a key \
             of this suite, or the suite of this key"
        );
    }

    #[test]
    fn a_key_does_not_print_its_bytes() {
        let printed = format!("{:?}", InlineKey::parse(CM, RFC).unwrap());
        assert_eq!(
            printed,
            "InlineKey { suite: AesCm128HmacSha1_80, lifetime: None, mki: None, .. }"
        );
    }

    fn any_suite() -> impl Strategy<Value = Suite> {
        proptest::sample::select(Suite::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn every_key_survives_its_text_padded_or_not(
            suite in any_suite(),
            bytes in proptest::collection::vec(any::<u8>(), 46),
            exponent in proptest::option::of(0_u32..=48),
        ) {
            let bytes = &bytes[..suite.key_len()];
            let text = BASE64_STANDARD.encode(bytes);
            let lifetime = exponent.map(|n| format!("|2^{n}")).unwrap_or_default();
            for text in [text.as_str(), text.trim_end_matches('=')] {
                let key = InlineKey::parse(suite, &format!("inline:{text}{lifetime}")).unwrap();
                prop_assert_eq!(key.expose(), bytes);
                prop_assert_eq!(key.lifetime(), exponent.map(|n| 1 << n));
                prop_assert_eq!(InlineKey::parse(suite, &key.write()), Ok(key));
            }
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(suite in any_suite(), text in ".*") {
            let _ = InlineKey::parse(suite, &text);
            let _ = InlineKey::parse(suite, &format!("inline:{text}"));
            let _ = InlineKey::parse(suite, &format!("{RFC}|{text}"));
        }

        #[test]
        fn text_of_the_grammars_own_characters_is_read_or_refused_without_panic(
            suite in any_suite(), text in "[A-Za-z0-9+/=|^:;]{0,64}",
        ) {
            let _ = InlineKey::parse(suite, &format!("inline:{text}"));
        }
    }
}
