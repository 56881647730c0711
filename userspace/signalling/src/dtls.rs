// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What session descriptions say about DTLS-SRTP: whose certificate to expect, who starts, and
//! whether a handshake is still the same one (RFC 5763, RFC 8122, RFC 8842).

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::random::{Random, RandomError};
use crate::sdp::{Media, Sdp};

/// A hash that a fingerprint may be made with. MD5 and SHA-1 are broken, and none of these
/// (RFC 8122 section 5).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Hash {
    /// `sha-224`
    Sha224,
    /// `sha-256`
    Sha256,
    /// `sha-384`
    Sha384,
    /// `sha-512`
    Sha512,
}

impl Hash {
    /// Every hash.
    pub const ALL: [Self; 4] = [Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name in a fingerprint.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha224 => "sha-224",
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    const fn len(self) -> usize {
        match self {
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// `a=fingerprint`: the hash of a certificate (RFC 8122 section 5).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fingerprint {
    /// The hash it is made with.
    pub hash: Hash,
    /// What comes out.
    pub digest: Vec<u8>,
}

impl Fingerprint {
    /// Reads the value of the attribute; `None` for a hash that is not known, too.
    pub fn parse(value: &str) -> Option<Self> {
        let (name, digest) = value.trim_end().split_once(' ')?;
        let mut hashes = Hash::ALL.into_iter();
        let hash = hashes.find(|hash| hash.name().eq_ignore_ascii_case(name))?;
        let byte = |text: &str| {
            let is_hex = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hex.then(|| u8::from_str_radix(text, 16).ok()).flatten()
        };
        let digest: Option<Vec<u8>> = digest.trim_start().split(':').map(byte).collect();
        let digest = digest.filter(|digest| digest.len() == hash.len())?;
        Some(Self { hash, digest })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.hash.name())?;
        for (place, byte) in self.digest.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

/// `a=setup`: who starts (RFC 4145 section 4, RFC 5763 section 5).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Setup {
    /// Who says this does.
    Active,
    /// The other one does.
    Passive,
    /// The other one may choose.
    ActPass,
}

impl Setup {
    /// Reads the value of the attribute. `holdconn` means that there is no handshake, and is not
    /// known here.
    pub fn parse(value: &str) -> Option<Self> {
        [Self::Active, Self::Passive, Self::ActPass]
            .into_iter()
            .find(|setup| setup.name() == value.trim_end())
    }

    /// The value of the attribute.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
        }
    }
}

/// What a peer says about its end of a handshake.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DtlsPeer {
    /// Any of its certificates, of which one is used. None of them is of use if this is empty.
    pub fingerprints: Vec<Fingerprint>,
    /// Who starts, if it says so.
    pub setup: Option<Setup>,
    /// `a=tls-id`: another one means another handshake (RFC 8842 section 4).
    pub id: Option<String>,
}

impl DtlsPeer {
    /// How many fingerprints are looked at.
    pub const MAX_FINGERPRINTS: usize = 8;

    /// What holds for a medium; `None` where there is no `a=fingerprint`.
    pub fn parse(sdp: &Sdp, media: &Media) -> Option<Self> {
        let own = media.section();
        let section = match own.attribute("fingerprint") {
            Some(_) => own,
            None => sdp.session(),
        };
        section.attribute("fingerprint")?;
        Some(Self {
            fingerprints: section
                .attributes("fingerprint")
                .filter_map(Fingerprint::parse)
                .take(Self::MAX_FINGERPRINTS)
                .collect(),
            setup: sdp.attribute(media, "setup").and_then(Setup::parse),
            id: sdp
                .attribute(media, "tls-id")
                .filter(|id| id.len() <= 255)
                .map(str::to_owned),
        })
    }
}

/// A handshake that gives a leg its keys.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Dtls {
    /// How many there were before it on this leg.
    pub round: u32,
    /// Whether we start it.
    pub is_client: bool,
    /// Our `a=tls-id`.
    pub id: String,
    /// What the peer says about its end.
    pub peer: DtlsPeer,
}

impl Dtls {
    /// The handshake with this peer, which is the one `before` unless it says otherwise.
    #[must_use]
    pub fn new(before: Option<&Self>, is_client: bool, id: String, peer: DtlsPeer) -> Self {
        let is_same = |before: &&Self| {
            before.is_client == is_client
                && before.peer.fingerprints == peer.fingerprints
                && before.peer.id == peer.id
        };
        let round = match before {
            None => 0,
            Some(before) if is_same(&before) => before.round,
            Some(before) => before.round.wrapping_add(1),
        };
        Self {
            round,
            is_client,
            id,
            peer,
        }
    }

    /// A value for `a=tls-id`.
    pub fn random_id(random: &mut impl Random) -> Result<String, RandomError> {
        // 120 bits, as section 4 of RFC 8842 asks for; it wants 20 characters.
        let mut id = [0; 15];
        random.fill(&mut id)?;
        Ok(STANDARD.encode(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_and_written() {
        let bytes = |n: usize| vec!["0A"; n].join(":");
        for (value, is_read) in [
            (format!("sha-256 {}", bytes(32)), true),
            (format!("SHA-256 {}", bytes(32)), true),
            (format!("sha-512 {}", bytes(64)), true),
            (format!("sha-256 {}", bytes(32).to_lowercase()), true),
            (format!("sha-256 {}", bytes(31)), false),
            (format!("sha-256 {}", bytes(33)), false),
            (format!("sha-256 {}:+A", bytes(31)), false),
            (format!("sha-1 {}", bytes(20)), false),
            (format!("md5 {}", bytes(16)), false),
            ("sha-256".to_owned(), false),
            ("sha-256 ".to_owned(), false),
            (String::new(), false),
        ] {
            let fingerprint = Fingerprint::parse(&value);
            assert_eq!(fingerprint.is_some(), is_read, "{value}");
            if let Some(fingerprint) = fingerprint {
                assert!(fingerprint.to_string().eq_ignore_ascii_case(&value));
            }
        }
    }

    #[test]
    fn a_handshake_is_another_when_the_peer_says_so_and_only_then() {
        let peer = |digest: u8, id: &str| DtlsPeer {
            fingerprints: vec![Fingerprint {
                hash: Hash::Sha256,
                digest: vec![digest; 32],
            }],
            setup: Some(Setup::ActPass),
            id: Some(id.to_owned()),
        };
        let first = Dtls::new(None, false, "a".to_owned(), peer(1, "x"));
        assert_eq!(first.round, 0);
        let answers = DtlsPeer {
            setup: Some(Setup::Active),
            ..peer(1, "x")
        };
        for (name, is_client, peer, round) in [
            ("all as before", false, peer(1, "x"), 0),
            ("it offers and then answers", false, answers, 0),
            ("another certificate", false, peer(2, "x"), 1),
            ("another id", false, peer(1, "y"), 1),
            ("another role", true, peer(1, "x"), 1),
        ] {
            let next = Dtls::new(Some(&first), is_client, "a".to_owned(), peer);
            assert_eq!(next.round, round, "{name}");
        }
    }
}
