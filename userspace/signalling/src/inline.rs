// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The key parameters of SDP security descriptions: `inline:<base64>[|lifetime][|MKI:length]`.
//!
//! Source: RFC 4568 sections 6.1 (meaning) and 9.2 (grammar). No error repeats any of the text,
//! since all of it may be a key.

use core::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::Suite;

/// A master key with its salt and what is said about it. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct InlineKey {
    suite: Suite,
    key: Zeroizing<Vec<u8>>,
    lifetime: Option<u64>,
}

impl InlineKey {
    /// The longest lifetime that may be stated, in packets (RFC 3711 section 9.2).
    pub const MAX_LIFETIME: u64 = 1 << 48;

    /// Reads the text behind a suite in `a=crypto`.
    ///
    /// # Errors
    /// An [`InlineError`] for the first part that is not as it should be.
    pub fn parse(suite: Suite, text: &str) -> Result<Self, InlineError> {
        let parameters = text.strip_prefix("inline:").ok_or(InlineError::Method)?;
        if parameters.contains(';') {
            return Err(InlineError::SeveralKeys);
        }
        let mut parts = parameters.split('|');
        let key = decode(suite, parts.next().unwrap_or_default())?;
        let mut lifetime = None;
        for (i, part) in parts.enumerate() {
            if part.contains(':') {
                return Err(InlineError::Mki);
            }
            if i > 0 {
                return Err(InlineError::Lifetime);
            }
            lifetime = Some(parse_lifetime(part).ok_or(InlineError::Lifetime)?);
        }
        Ok(Self {
            suite,
            key,
            lifetime,
        })
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
}

impl fmt::Debug for InlineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineKey")
            .field("suite", &self.suite)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
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
    /// There is a master key identifier.
    Mki,
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
                "master key identifiers are not supported yet; give one key without |MKI:length",
            ),
            Self::SeveralKeys => f.write_str(
                "several keys need master key identifiers, which are not supported yet; give one",
            ),
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
    let (is_power, digits) = text
        .strip_prefix("2^")
        .map_or((false, text), |exponent| (true, exponent));
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    let packets = if is_power {
        1_u64.checked_shl(digits.parse().ok()?)?
    } else {
        digits.parse().ok()?
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
            ("INLINE:AAAA", InlineError::Method),
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
                "inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA|1:4",
                InlineError::Mki,
            ),
            (
                "inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA|2^20|1:4",
                InlineError::Mki,
            ),
            (
                "inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA|2^20|2^20",
                InlineError::Lifetime,
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
            "InlineKey { suite: AesCm128HmacSha1_80, lifetime: None, .. }"
        );
    }

    fn any_suite() -> impl Strategy<Value = Suite> {
        proptest::sample::select(Suite::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn every_key_survives_its_text_padded_or_not(
            suite in any_suite(),
            bytes in proptest::collection::vec(any::<u8>(), 44),
            exponent in proptest::option::of(0_u32..=48),
        ) {
            let bytes = &bytes[..suite.key_len()];
            let text = BASE64_STANDARD.encode(bytes);
            let lifetime = exponent.map(|n| format!("|2^{n}")).unwrap_or_default();
            for text in [text.as_str(), text.trim_end_matches('=')] {
                let key = InlineKey::parse(suite, &format!("inline:{text}{lifetime}")).unwrap();
                prop_assert_eq!(key.expose(), bytes);
                prop_assert_eq!(key.lifetime(), exponent.map(|n| 1 << n));
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
