// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What `SDES` asks for: how keys are offered in `a=crypto` (RFC 4568).

use super::word::normal;

/// What `SDES` asks for. Suites are named as registered; one that this gateway does not speak is
/// in a list all the same, and matches nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of the protocol"
)]
pub struct Sdes {
    /// Offer no SDES (`off`).
    pub off: bool,
    /// Prefer SDES to DTLS-SRTP (`prefer`).
    pub prefer: bool,
    /// Offer only suites that were offered to us (`nonew`), whatever `without` and `only` say.
    pub no_new: bool,
    /// Keep the padding of base64 (`pad`).
    pub pad: bool,
    /// State a lifetime with each key (`lifetime`).
    pub lifetime: bool,
    /// A new answer leaves the suite agreed before in place (`static`).
    pub keep: bool,
    /// Suites not to offer (`no-…`).
    pub without: Vec<String>,
    /// The only suites to offer (`only-…`); empty for all. Takes precedence over `without`.
    pub only: Vec<String>,
    /// Suites to write first (`order:…;…`).
    pub order: Vec<String>,
    /// Suites to choose first from what the offerer lists (`offerer_pref:…;…`).
    pub offerer_preference: Vec<String>,
    /// `unencrypted_srtp` for true, `encrypted_srtp` for false.
    pub unencrypted_srtp: Option<bool>,
    /// `unencrypted_srtcp` for true, `encrypted_srtcp` for false.
    pub unencrypted_srtcp: Option<bool>,
    /// `unauthenticated_srtp` for true, `authenticated_srtp` for false.
    pub unauthenticated_srtp: Option<bool>,
}

impl Sdes {
    /// Takes one word of the list. False when it is unknown.
    pub(super) fn word(&mut self, word: &str) -> bool {
        match normal(word).as_str() {
            "off" | "no" | "disable" => self.off = true,
            "prefer" => self.prefer = true,
            "nonew" => self.no_new = true,
            "pad" => self.pad = true,
            "lifetime" => self.lifetime = true,
            "static" => self.keep = true,
            "unencrypted-srtp" => self.unencrypted_srtp = Some(true),
            "encrypted-srtp" => self.unencrypted_srtp = Some(false),
            "unencrypted-srtcp" => self.unencrypted_srtcp = Some(true),
            "encrypted-srtcp" => self.unencrypted_srtcp = Some(false),
            "unauthenticated-srtp" => self.unauthenticated_srtp = Some(true),
            "authenticated-srtp" => self.unauthenticated_srtp = Some(false),
            _ => return self.suites(word),
        }
        true
    }

    fn suites(&mut self, word: &str) -> bool {
        let one = |suite: &str| suite.to_owned();
        let several = |suites: &str| {
            suites
                .split(';')
                .filter(|s| !s.is_empty())
                .map(one)
                .collect()
        };
        if let Some(suite) = word.strip_prefix("no-") {
            self.without.push(one(suite));
        } else if let Some(suite) = word.strip_prefix("only-") {
            self.only.push(one(suite));
        } else if let Some(suites) = word.strip_prefix("order:") {
            self.order = several(suites);
        } else if let Some(suites) = word.strip_prefix("offerer_pref:") {
            self.offerer_preference = several(suites);
        } else {
            return false;
        }
        true
    }
}
