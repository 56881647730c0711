// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What session descriptions say about ICE (RFC 8839), as far as a lite agent needs it.
//!
//! A lite agent (RFC 8445 section 2.5) has one candidate, where it is, and sends no checks: its peer
//! finds the way, and says which it has chosen. So the peer's own candidates are of no interest.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::random::{Random, RandomError};
use crate::sdp::{Media, Sdp};

/// Attributes of ICE (RFC 8839). Who found another way by those of somebody else would go past us.
pub const ATTRIBUTES: [&str; 9] = [
    "candidate",
    "end-of-candidates",
    "ice-lite",
    "ice-mismatch",
    "ice-options",
    "ice-pacing",
    "ice-pwd",
    "ice-ufrag",
    "remote-candidates",
];

/// What is left of a fragment of a session description, as trickle ICE sends them (RFC 8840 section
/// 9), without ICE; `None` if that is no fragment, but a whole session description. What it says of
/// candidates a lite agent need not know, and nobody else may.
pub fn without_candidates(fragment: &str) -> Option<String> {
    if fragment.starts_with("v=") {
        return None;
    }
    let is_ice = |line: &str| {
        let name = line.trim_end().strip_prefix("a=")?.split(':').next()?;
        Some(ATTRIBUTES.contains(&name))
    };
    let lines = fragment.split_inclusive('\n');
    Some(lines.filter(|line| is_ice(line) != Some(true)).collect())
}

/// `a=ice-ufrag` and `a=ice-pwd` of one side (RFC 8839 section 5.4). The password is wiped when
/// dropped and never printed.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize, Zeroize, ZeroizeOnDrop)]
pub struct Credentials {
    fragment: String,
    password: String,
}

impl Credentials {
    /// Those that hold for a medium, if there are any.
    pub fn parse(sdp: &Sdp, media: &Media) -> Option<Self> {
        let value = |name, min| {
            let value = sdp.attribute(media, name)?.trim_end();
            // RFC 8839 section 5.4: both are at most 256 characters.
            let is_well_formed =
                (min..=256).contains(&value.len()) && value.bytes().all(is_ice_char);
            is_well_formed.then(|| value.to_owned())
        };
        Some(Self {
            fragment: value("ice-ufrag", 4)?,
            password: value("ice-pwd", 22)?,
        })
    }

    /// New ones: 48 bits tell legs apart, 144 bits keep others out (RFC 8445 section 5.3 asks for
    /// 24 and 128).
    pub fn random(random: &mut impl Random) -> Result<Self, RandomError> {
        let (mut fragment, mut password) = ([0; 6], Zeroizing::new([0; 18]));
        random.fill(&mut fragment)?;
        random.fill(&mut *password)?;
        Ok(Self {
            fragment: STANDARD.encode(fragment),
            password: STANDARD.encode(*password),
        })
    }

    /// The user name fragment.
    pub fn fragment(&self) -> &str {
        &self.fragment
    }

    /// The password.
    pub fn expose(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("fragment", &self.fragment)
            .finish_non_exhaustive()
    }
}

/// ICE of one leg.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ice {
    /// What the peer proves to know in its checks.
    pub local: Credentials,
    /// What we would prove to know. Others than before mean that the peer restarts ICE (RFC 8445
    /// section 9).
    pub remote: Credentials,
    /// The peer is a lite agent, too: nobody sends checks, and media goes to where it says that it
    /// is.
    pub peer_is_lite: bool,
}

/// What makes up user name fragments and passwords.
const fn is_ice_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::testing::Counting;

    fn parse(lines: &str) -> Option<Credentials> {
        let text = format!("v=0\no=- 1 1 IN IP4 192.0.2.7\ns=-\nm=audio 9 RTP/AVP 0\n{lines}");
        let sdp = Sdp::parse(text.as_bytes()).unwrap();
        Credentials::parse(&sdp, &sdp.media()[0])
    }

    #[test]
    fn credentials_are_read_if_they_are_whole_and_well_formed() {
        let password = "asd88fgpdd777uzjYhagZg";
        for (lines, is_read) in [
            (format!("a=ice-ufrag:8hhY\na=ice-pwd:{password}\n"), true),
            (format!("a=ice-ufrag:8hh\na=ice-pwd:{password}\n"), false),
            (format!("a=ice-ufrag:8h Y\na=ice-pwd:{password}\n"), false),
            (
                format!("a=ice-ufrag:8hhY\na=ice-pwd:{}\n", &password[1..]),
                false,
            ),
            (
                format!("a=ice-ufrag:{}\na=ice-pwd:{password}\n", "a".repeat(257)),
                false,
            ),
            ("a=ice-ufrag:8hhY\n".to_owned(), false),
            (format!("a=ice-pwd:{password}\n"), false),
        ] {
            assert_eq!(parse(&lines).is_some(), is_read, "{lines}");
        }
    }

    #[test]
    fn of_a_fragment_everything_is_left_but_ice() {
        let fragment = "a=ice-ufrag:8hhY\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\nm=audio 9 RTP/AVP \
                        0\r\na=mid:1\r\na=candidate:1 1 UDP 1 192.0.2.7 4 typ \
                        host\r\na=end-of-candidates\r\n";
        let left = without_candidates(fragment);
        assert_eq!(left.as_deref(), Some("m=audio 9 RTP/AVP 0\r\na=mid:1\r\n"));
        assert_eq!(without_candidates("v=0\r\n"), None);
        assert_eq!(without_candidates("").as_deref(), Some(""));
    }

    #[test]
    fn new_credentials_are_such_as_are_read_again_and_not_printed() {
        let mut random = Counting::default();
        let new = Credentials::random(&mut random).unwrap();
        let (fragment, password) = (new.fragment(), new.expose());
        let lines = format!("a=ice-ufrag:{fragment}\na=ice-pwd:{password}\n");
        assert_eq!(parse(&lines).as_ref(), Some(&new));
        assert_ne!(Credentials::random(&mut random).unwrap(), new);
        assert!(!format!("{new:?}").contains(password));
    }
}
