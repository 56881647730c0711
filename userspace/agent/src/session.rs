// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sessions, their legs and their keys: what every front end hands to the manager.
//!
//! A value of these types is fit for use: front ends parse into them, nobody checks again.
//! A `Session` has no room for a key, so whatever shows or stores one cannot leak any.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use sallyport_flow::{FlowId, Realm, Secret, Suite};
use sallyport_signalling::InlineKey;
use serde::{Deserialize, Serialize};

/// One call, as it is set up in the data plane.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) name: Option<Name>,
    pub(crate) access: Leg,
    pub(crate) core: Leg,
}

impl Session {
    pub(crate) const fn leg(&self, realm: Realm) -> &Leg {
        match realm {
            Realm::Access => &self.access,
            Realm::Core => &self.core,
        }
    }
}

/// One side of a session.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Leg {
    pub(crate) profile: Profile,
    pub(crate) local: Ends,
    /// `None` until the peer is latched.
    pub(crate) remote: Option<Ends>,
}

impl Leg {
    /// Whether RTP and RTCP share a port (RFC 5761).
    pub(crate) fn is_muxed(&self) -> bool {
        self.local.rtp == self.local.rtcp
    }
}

/// The transport profile of a leg.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Profile {
    /// Plain RTP (RFC 3551).
    #[serde(rename = "RTP/AVP")]
    Avp,
    /// SRTP (RFC 3711).
    #[serde(rename = "RTP/SAVP")]
    Savp(Suite),
}

impl Profile {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Avp => "RTP/AVP",
            Self::Savp(_) => "RTP/SAVP",
        }
    }

    pub(crate) const fn suite(self) -> Option<Suite> {
        match self {
            Self::Avp => None,
            Self::Savp(suite) => Some(suite),
        }
    }
}

/// Where RTP and RTCP end, on our side or on the peer's; the same when they share a port.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ends {
    pub(crate) rtp: SocketAddr,
    pub(crate) rtcp: SocketAddr,
}

/// What a front end wants: a [`Session`] that has no id, no ports and still its keys.
#[derive(Debug)]
pub(crate) struct SessionRequest {
    pub(crate) name: Option<Name>,
    pub(crate) access: LegRequest,
    pub(crate) core: LegRequest,
}

/// What a front end wants one leg to be.
#[derive(Debug)]
pub(crate) struct LegRequest {
    /// `None` for plain RTP.
    pub(crate) keys: Option<Keys>,
    /// A certain local address.
    pub(crate) address: Option<IpAddr>,
    pub(crate) rtcp_mux: bool,
    /// `None` when the peer's address is to be latched.
    pub(crate) remote: Option<Ends>,
}

impl LegRequest {
    pub(crate) fn profile(&self) -> Profile {
        self.keys
            .as_ref()
            .map_or(Profile::Avp, |keys| Profile::Savp(keys.suite))
    }
}

/// The keys of a session.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct SessionKeys {
    pub(crate) access: Option<Keys>,
    pub(crate) core: Option<Keys>,
}

impl SessionKeys {
    pub(crate) const fn leg(&self, realm: Realm) -> Option<&Keys> {
        match realm {
            Realm::Access => self.access.as_ref(),
            Realm::Core => self.core.as_ref(),
        }
    }
}

/// Both keys of a leg, which differ.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Keys {
    pub(crate) suite: Suite,
    /// The peer's key, for what arrives.
    pub(crate) receive: Key,
    /// Our key, for what leaves.
    pub(crate) send: Key,
}

impl Keys {
    /// Joins the keys of both directions (RFC 4568 section 6.1: each direction has its own).
    ///
    /// # Errors
    /// [`SameKey`] when they are one key.
    pub(crate) fn new(
        suite: Suite,
        receive: &InlineKey,
        send: &InlineKey,
    ) -> Result<Self, SameKey> {
        if receive.expose() == send.expose() {
            return Err(SameKey);
        }
        Ok(Self {
            suite,
            receive: Key::new(receive),
            send: Key::new(send),
        })
    }
}

/// A master key with its salt.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Key {
    pub(crate) secret: Secret,
    /// In packets; `None` for the suite's own limit.
    pub(crate) lifetime: Option<u64>,
}

impl Key {
    fn new(key: &InlineKey) -> Self {
        Self {
            secret: Secret::new(key.expose().to_vec()),
            lifetime: key.lifetime(),
        }
    }
}

/// One key was given for both directions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SameKey;

impl fmt::Display for SameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the same key as for the other direction; draw a new random one")
    }
}

/// The number of a session: when it began, in 34 bits of milliseconds, 14 random bits, and 16 zero
/// bits, where its flows count themselves.
///
/// Sessions that began together are beside each other wherever they are in the order of their
/// numbers, so that an offer and its answer find what they need in the cache, and the store writes
/// the changes of a moment to a few pages.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct SessionId(u64);

impl SessionId {
    const FLOW_BITS: u64 = 0xffff;

    const RANDOM_BITS: u64 = 0x3fff_0000;

    /// A number for a session that begins so long after the UNIX epoch.
    ///
    /// # Errors
    /// When the kernel has no random numbers.
    pub(crate) fn new(now: Duration) -> Result<Self, getrandom::Error> {
        // In half a year they come again, and those that are left have other random bits.
        let milliseconds = now.as_secs() * 1000 + u64::from(now.subsec_millis());
        let random = getrandom::u64()? & Self::RANDOM_BITS;
        Ok(Self(milliseconds << 30 | random))
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// The number of one of its flows.
    pub(crate) fn flow(self, index: u16) -> FlowId {
        FlowId(self.0 | u64::from(index))
    }

    /// Which session a flow belongs to.
    pub(crate) const fn of(flow: FlowId) -> Self {
        Self(flow.0 & !Self::FLOW_BITS)
    }
}

impl TryFrom<u64> for SessionId {
    type Error = NotASessionId;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        if number & Self::FLOW_BITS == 0 {
            Ok(Self(number))
        } else {
            Err(NotASessionId)
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for SessionId {
    type Err = NotASessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = text.len() == 16
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u64::from_str_radix(text, 16)
            .ok()
            .filter(|id| is_hex && id & Self::FLOW_BITS == 0)
            .map(Self)
            .ok_or(NotASessionId)
    }
}

impl TryFrom<String> for SessionId {
    type Error = NotASessionId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.to_string()
    }
}

/// No session can have this id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NotASessionId;

impl fmt::Display for NotASessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a session id has 16 hexadecimal digits, the last four 0")
    }
}

/// A label that operators give a session: at most 128 bytes, none of them a control character.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Name(String);

impl Name {
    const MAX_LEN: usize = 128;

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() > Self::MAX_LEN || text.contains(char::is_control) {
            return Err(NotAName);
        }
        Ok(Self(text))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// A text cannot be a session's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NotAName;

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a name has at most {} bytes and no control characters",
            Name::MAX_LEN
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_is_found_from_each_of_its_flows() {
        let id = SessionId::new(Duration::from_secs(1 << 33)).unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        for index in [0, 1, 3, u16::MAX] {
            assert_eq!(SessionId::of(id.flow(index)), id);
        }
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in [
            "",
            "0",
            "000000000001000",
            "0000000000010001",
            "00000000000100000",
            "ABCDEF0000000000",
            "+00000000000000 ",
            "+000000000010000",
            "zzzzzzzzzzzz0000",
            "１00000000010000",
        ] {
            assert_eq!(text.parse::<SessionId>(), Err(NotASessionId), "{text:?}");
        }
    }

    #[test]
    fn a_name_that_could_forge_a_log_line_is_refused() {
        for (text, fits) in [
            (String::new(), true),
            ("call 7, Zoë".to_owned(), true),
            ("x".repeat(128), true),
            ("x".repeat(129), false),
            ("a\nb".to_owned(), false),
            ("\u{9b}0m".to_owned(), false),
        ] {
            assert_eq!(Name::try_from(text.clone()).is_ok(), fits, "{text:?}");
        }
    }
}
