// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Bencode as ng uses it: integers `i-3e`, byte strings `4:ping`, lists `l…e`, dictionaries `d…e`.
//!
//! Our own, because the kept crates either insist on sorted keys, which no client sends, or recurse
//! as deep as the input tells them; and none finds the end of a document in a stream. What is
//! written has its keys sorted.

use core::fmt;
use std::io::{self, Write};

use super::MAX_MESSAGE;
use super::value::{Dictionary, Value};

/// How deep documents may be nested: a `query` reply, the deepest, has eight levels.
pub const MAX_DEPTH: usize = 16;

/// No number of 64 bits with its sign is longer.
const MAX_DIGITS: usize = 20;

/// Reads a dictionary that takes up all the bytes.
///
/// # Errors
/// A [`BencodeError`] for the first thing that is wrong.
pub fn decode(bytes: &[u8]) -> Result<Dictionary<'_>, BencodeError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(BencodeError::Size);
    }
    let mut decoder = Decoder { bytes, position: 0 };
    let dictionary = match decoder.token()? {
        Token::Dictionary => decoder.dictionary(1)?,
        _ => return Err(BencodeError::NoDictionary),
    };
    if decoder.position == bytes.len() {
        Ok(dictionary)
    } else {
        Err(BencodeError::Trailing)
    }
}

/// Writes a dictionary with its keys sorted.
///
/// # Errors
/// Those of the writer.
pub fn encode(dictionary: &Dictionary<'_>, to: &mut impl Write) -> io::Result<()> {
    to.write_all(b"d")?;
    for (key, value) in dictionary.sorted() {
        encode_bytes(key, to)?;
        encode_value(value, to)?;
    }
    to.write_all(b"e")
}

fn encode_value(value: &Value<'_>, to: &mut impl Write) -> io::Result<()> {
    match value {
        Value::Integer(integer) => write!(to, "i{integer}e"),
        Value::Bytes(bytes) => encode_bytes(bytes, to),
        Value::List(list) => {
            to.write_all(b"l")?;
            list.iter().try_for_each(|value| encode_value(value, to))?;
            to.write_all(b"e")
        }
        Value::Dictionary(dictionary) => encode(dictionary, to),
    }
}

fn encode_bytes(bytes: &[u8], to: &mut impl Write) -> io::Result<()> {
    write!(to, "{}:", bytes.len())?;
    to.write_all(bytes)
}

/// Finds the end of a document that arrives in pieces, looking at no piece twice.
#[derive(Debug, Default)]
pub struct Scanner {
    position: usize,
    depth: usize,
}

impl Scanner {
    /// Looks at what has arrived: all bytes from the document's first on, old ones included.
    /// `None` when its end is not among them.
    ///
    /// # Errors
    /// A [`BencodeError`] when no end can follow any more.
    pub fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, BencodeError> {
        loop {
            let (token, length) = match token(bytes, self.position) {
                Ok(found) => found,
                Err(BencodeError::Truncated) => return Ok(None),
                Err(error) => return Err(error),
            };
            match token {
                Token::List | Token::Dictionary if self.depth == MAX_DEPTH => {
                    return Err(BencodeError::Depth);
                }
                Token::List | Token::Dictionary => self.depth += 1,
                Token::End => self.depth = self.depth.saturating_sub(1),
                Token::Integer(_) | Token::Bytes(_) => {}
            }
            self.position += length;
            if self.depth == 0 {
                return Ok(Some(self.position));
            }
        }
    }
}

struct Decoder<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Decoder<'a> {
    fn token(&mut self) -> Result<Token<'a>, BencodeError> {
        let (token, length) = token(self.bytes, self.position)?;
        self.position += length;
        Ok(token)
    }

    fn dictionary(&mut self, depth: usize) -> Result<Dictionary<'a>, BencodeError> {
        let mut dictionary = Dictionary::new();
        loop {
            let at = self.position;
            let key = match self.token()? {
                Token::End => return Ok(dictionary),
                Token::Bytes(key) => key,
                _ => return Err(BencodeError::Syntax { at }),
            };
            let at = self.position;
            let first = self.token()?;
            let value = self
                .value(first, depth)?
                .ok_or(BencodeError::Syntax { at })?;
            dictionary.push(key, value);
        }
    }

    /// `None` for an end.
    fn value(&mut self, first: Token<'a>, depth: usize) -> Result<Option<Value<'a>>, BencodeError> {
        if matches!(first, Token::List | Token::Dictionary) && depth == MAX_DEPTH {
            return Err(BencodeError::Depth);
        }
        Ok(match first {
            Token::End => None,
            Token::Integer(integer) => Some(Value::Integer(integer)),
            Token::Bytes(bytes) => Some(bytes.into()),
            Token::Dictionary => Some(self.dictionary(depth + 1)?.into()),
            Token::List => {
                let mut list = Vec::new();
                loop {
                    let first = self.token()?;
                    match self.value(first, depth + 1)? {
                        Some(value) => list.push(value),
                        None => break Some(Value::List(list)),
                    }
                }
            }
        })
    }
}

#[derive(Clone, Copy)]
enum Token<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
    List,
    Dictionary,
    End,
}

/// The token that starts at `at`, and its length.
fn token(bytes: &[u8], at: usize) -> Result<(Token<'_>, usize), BencodeError> {
    let rest = bytes.get(at..).unwrap_or_default();
    match rest.first().ok_or(BencodeError::Truncated)? {
        b'l' => Ok((Token::List, 1)),
        b'd' => Ok((Token::Dictionary, 1)),
        b'e' => Ok((Token::End, 1)),
        b'i' => {
            let (integer, length) = number(&rest[1..], b'e', at)?;
            Ok((Token::Integer(integer), 1 + length))
        }
        b'0'..=b'9' => {
            let (length, start) = number(rest, b':', at)?;
            let length = usize::try_from(length).map_err(|_| BencodeError::Size)?;
            if length > MAX_MESSAGE {
                return Err(BencodeError::Size);
            }
            let end = start + length;
            let bytes = rest.get(start..end).ok_or(BencodeError::Truncated)?;
            Ok((Token::Bytes(bytes), end))
        }
        _ => Err(BencodeError::Syntax { at }),
    }
}

/// A decimal number without leading zeros up to `end`, and the length of both.
fn number(bytes: &[u8], end: u8, at: usize) -> Result<(i64, usize), BencodeError> {
    let syntax = BencodeError::Syntax { at };
    let window = &bytes[..bytes.len().min(MAX_DIGITS + 1)];
    let Some(length) = window.iter().position(|byte| *byte == end) else {
        let may_go_on = window.len() <= MAX_DIGITS
            && window
                .iter()
                .all(|byte| byte.is_ascii_digit() || *byte == b'-');
        return Err(if may_go_on {
            BencodeError::Truncated
        } else {
            syntax
        });
    };
    let text = str::from_utf8(&window[..length]).map_err(|_| syntax)?;
    let number: i64 = text.parse().map_err(|_| syntax)?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_canonical = match digits.as_bytes() {
        [b'0'] => text == digits,
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    if is_canonical {
        Ok((number, length + 1))
    } else {
        Err(syntax)
    }
}

/// Why bytes are no bencoded dictionary.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BencodeError {
    /// The bytes end before the document does.
    Truncated,
    /// The document is no dictionary.
    NoDictionary,
    /// Bytes follow the document.
    Trailing,
    /// More than [`MAX_DEPTH`] lists and dictionaries are in each other.
    Depth,
    /// The document, or a string in it, is longer than [`MAX_MESSAGE`].
    Size,
    /// What starts at this byte is not bencode, or a number of more than 64 bits.
    Syntax {
        /// Counted from 0.
        at: usize,
    },
}

impl fmt::Display for BencodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("document ends early; send all of it"),
            Self::NoDictionary => f.write_str("document is no dictionary; start it with d"),
            Self::Trailing => f.write_str("bytes follow the document; send one in each message"),
            Self::Depth => write!(f, "nested more than {MAX_DEPTH} deep; make it flatter"),
            Self::Size => write!(f, "more than {MAX_MESSAGE} bytes; send less at once"),
            Self::Syntax { at } => write!(f, "byte {at} starts nothing that bencode knows"),
        }
    }
}

impl core::error::Error for BencodeError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::value::tests::any_document;
    use super::*;

    fn encoded(dictionary: &Dictionary<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(dictionary, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn keys_are_read_in_any_order_and_written_sorted() {
        let dictionary = decode(b"d2:toi1e4:fromle1:xdee").unwrap();
        assert_eq!(encoded(&dictionary), b"d4:fromle2:toi1e1:xdee");
    }

    #[test]
    fn what_is_not_one_dictionary_is_refused_for_its_own_reason() {
        use BencodeError::{Depth, NoDictionary, Size, Syntax, Trailing, Truncated};
        let deep = [b"d1:a".as_slice(), &b"l".repeat(1 << 15)].concat();
        let cases: [(&[u8], BencodeError); 31] = [
            (b"", Truncated),
            (b"d", Truncated),
            (b"d7", Truncated),
            (b"d7:command", Truncated),
            (b"d7:command4:pin", Truncated),
            (b"d7:command4:ping", Truncated),
            (b"d1:ai", Truncated),
            (b"d1:ai-", Truncated),
            (b"d1:al", Truncated),
            (b"d65507:x", Truncated),
            (b"d65508:x", Size),
            (b"d9223372036854775807:x", Size),
            (b"d9223372036854775808:x", Syntax { at: 1 }),
            (b"d99999999999999999999999999:x", Syntax { at: 1 }),
            (b"d01:ai1ee", Syntax { at: 1 }),
            (b"d-1:ai1ee", Syntax { at: 1 }),
            (b"d1:ai9223372036854775808ee", Syntax { at: 4 }),
            (b"d1:ai-9223372036854775809ee", Syntax { at: 4 }),
            (b"d1:ai00ee", Syntax { at: 4 }),
            (b"d1:ai-0ee", Syntax { at: 4 }),
            (b"d1:ai03ee", Syntax { at: 4 }),
            (b"d1:aiee", Syntax { at: 4 }),
            (b"d1:ai+1ee", Syntax { at: 4 }),
            (b"d1:ai1.5ee", Syntax { at: 4 }),
            (b"d1:ae", Syntax { at: 4 }),
            (b"di1ei1ee", Syntax { at: 1 }),
            (b"d1:a1:bex", Trailing),
            (b"l4:pinge", NoDictionary),
            (b"4:ping", NoDictionary),
            (b"{}", Syntax { at: 0 }),
            (&deep, Depth),
        ];
        for (bytes, error) in cases {
            let found = decode(bytes).unwrap_err();
            assert_eq!(
                found,
                error,
                "{}",
                bytes[..bytes.len().min(40)].escape_ascii()
            );
        }
    }

    #[test]
    fn the_extreme_numbers_are_read() {
        let document = b"d1:ai-9223372036854775808e1:bi9223372036854775807ee";
        assert_eq!(encoded(&decode(document).unwrap()), document);
    }

    #[test]
    fn nesting_is_read_up_to_the_limit() {
        let nested = |depth: usize| {
            [
                b"d1:a".as_slice(),
                &b"l".repeat(depth - 1),
                &b"e".repeat(depth),
            ]
            .concat()
        };
        assert!(decode(&nested(MAX_DEPTH)).is_ok());
        assert!(Scanner::default().end(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(decode(&nested(MAX_DEPTH + 1)), Err(BencodeError::Depth));
        assert_eq!(
            Scanner::default().end(&nested(MAX_DEPTH + 1)),
            Err(BencodeError::Depth)
        );
    }

    proptest! {
        #[test]
        fn documents_survive_their_encoding(document in any_document()) {
            let bytes = encoded(&document);
            prop_assert_eq!(decode(&bytes), Ok(document));
        }

        #[test]
        fn the_end_is_found_wherever_a_document_is_cut(
            document in any_document(), cut in any::<prop::sample::Index>(), tail in "[a-z0-9 ]{0,9}",
        ) {
            let mut bytes = encoded(&document);
            let length = bytes.len();
            bytes.extend_from_slice(tail.as_bytes());
            let mut scanner = Scanner::default();
            prop_assert_eq!(scanner.end(&bytes[..cut.index(length)]), Ok(None));
            prop_assert_eq!(scanner.end(&bytes), Ok(Some(length)));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            likely in "d[dlei0-9:a-]{0,40}",
        ) {
            for bytes in [&bytes, likely.as_bytes()] {
                let scanned = Scanner::default().end(bytes);
                if decode(bytes).is_ok() {
                    prop_assert_eq!(scanned, Ok(Some(bytes.len())));
                }
            }
        }
    }
}
