// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Bencode or JSON, and the cookie in front.

use std::io::{self, Write};

use zeroize::Zeroizing;

use super::error::RequestError;
use super::value::Dictionary;
use super::{bencode, json};

/// The longest message, in bytes: what fits in a UDP datagram, which other transports need not
/// exceed.
pub const MAX_MESSAGE: usize = 65_507;

/// Where a cookie must have ended, in bytes.
const MAX_COOKIE: usize = 255;

/// A message, divided at its first space.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Message<'a> {
    /// What the reply repeats, so that the client knows its request and we a repeated one.
    pub cookie: &'a [u8],
    /// The rest.
    pub document: &'a [u8],
}

impl<'a> Message<'a> {
    /// Divides a message. `None` without a cookie: there is nothing to answer to.
    pub fn split(bytes: &'a [u8]) -> Option<Self> {
        let space = bytes
            .iter()
            .take(MAX_COOKIE + 1)
            .position(|byte| *byte == b' ')?;
        let (cookie, document) = (&bytes[..space], &bytes[space + 1..]);
        (!cookie.is_empty()).then_some(Self { cookie, document })
    }
}

/// How documents are written. Replies are written as their request was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// Bencode.
    Bencode,
    /// JSON.
    Json,
}

impl Encoding {
    /// How a document is written.
    ///
    /// # Errors
    /// [`RequestError::NoPayload`] and [`RequestError::Format`].
    pub fn of(document: &[u8]) -> Result<Self, RequestError> {
        match document.first() {
            Some(b'd') => Ok(Self::Bencode),
            Some(b'{') => Ok(Self::Json),
            Some(_) => Err(RequestError::Format),
            None => Err(RequestError::NoPayload),
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`RequestError::Bencode`] and [`RequestError::Json`].
    pub fn decode(self, document: &[u8]) -> Result<Dictionary<'_>, RequestError> {
        match self {
            Self::Bencode => bencode::decode(document).map_err(RequestError::Bencode),
            Self::Json => json::decode(document).map_err(RequestError::Json),
        }
    }

    /// Writes a document, which may hold keys, behind what is to come before it.
    pub(super) fn encode(self, before: &[u8], dictionary: &Dictionary<'_>) -> Zeroizing<Vec<u8>> {
        // Measured first: a vector that grows leaves its bytes behind in memory.
        let mut length = Length(before.len());
        self.write(dictionary, &mut length);
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
        bytes.extend_from_slice(before);
        self.write(dictionary, &mut *bytes);
        bytes
    }

    fn write(self, dictionary: &Dictionary<'_>, to: &mut impl Write) {
        match self {
            Self::Bencode => bencode::encode(dictionary, to),
            Self::Json => json::encode(dictionary, to),
        }
        .expect("neither a vector nor a length refuses bytes");
    }
}

/// Counts the bytes written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::value::tests::any_document;
    use super::*;

    #[test]
    fn a_message_is_divided_at_its_first_space() {
        let message = |cookie, document| Some(Message { cookie, document });
        let cases: [(&[u8], Option<Message<'_>>); 7] = [
            (
                b"5323_1 d7:command4:pinge",
                message(b"5323_1", b"d7:command4:pinge"),
            ),
            (b"a b c", message(b"a", b"b c")),
            (b"a ", message(b"a", b"")),
            (b"\xff\0 d", message(b"\xff\0", b"d")),
            (b" d7:command4:pinge", None),
            (b"d7:command4:pinge", None),
            (b"", None),
        ];
        for (bytes, message) in cases {
            assert_eq!(Message::split(bytes), message, "{}", bytes.escape_ascii());
        }
        let longest = [&[b'c'; MAX_COOKIE], b" d".as_slice()].concat();
        assert!(Message::split(&longest).is_some());
        assert_eq!(Message::split(&[b"c", longest.as_slice()].concat()), None);
    }

    proptest! {
        #[test]
        fn documents_are_written_into_a_buffer_that_never_grows(document in any_document()) {
            for encoding in [Encoding::Bencode, Encoding::Json] {
                let bytes = encoding.encode(b"cookie ", &document);
                prop_assert_eq!(bytes.len(), bytes.capacity());
                let message = Message::split(&bytes).unwrap();
                prop_assert_eq!(Encoding::of(message.document), Ok(encoding));
                prop_assert_eq!(encoding.decode(message.document).unwrap(), document.clone());
            }
        }
    }
}
