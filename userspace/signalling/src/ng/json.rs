// SPDX-License-Identifier: Apache-2.0 OR MIT

//! JSON as ng uses it: what has a counterpart in bencode, and `true`, `false` and `null`, which
//! become `yes`, `no` and an empty string.

use core::fmt;
use std::borrow::Cow;
use std::io::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::error::Category;

use super::bencode::MAX_DEPTH;
use super::value::{Dictionary, Value};

/// Reads an object that takes up all the bytes.
///
/// # Errors
/// A [`JsonError`] that repeats nothing of them.
pub(super) fn decode(bytes: &[u8]) -> Result<Dictionary<'_>, JsonError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let explain = |error: serde_json::Error| match error.classify() {
        Category::Data => JsonError::Value {
            line: error.line(),
            column: error.column(),
        },
        Category::Io | Category::Syntax | Category::Eof => JsonError::Syntax {
            line: error.line(),
            column: error.column(),
        },
    };
    let value = Depth(0).deserialize(&mut json).map_err(explain)?;
    json.end().map_err(explain)?;
    match value {
        Value::Dictionary(dictionary) => Ok(dictionary),
        _ => Err(JsonError::NoObject),
    }
}

/// Writes an object with its keys sorted. What is not UTF-8 is replaced as U+FFFD.
///
/// # Errors
/// Those of the writer.
pub(super) fn encode(dictionary: &Dictionary<'_>, to: &mut impl Write) -> io::Result<()> {
    Ok(serde_json::to_writer(to, dictionary)?)
}

impl Serialize for Dictionary<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (key, value) in self.sorted() {
            map.serialize_entry(&String::from_utf8_lossy(key), value)?;
        }
        map.end()
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(integer) => to.serialize_i64(*integer),
            Self::Bytes(bytes) => to.serialize_str(&String::from_utf8_lossy(bytes)),
            Self::List(list) => list.serialize(to),
            Self::Dictionary(dictionary) => dictionary.serialize(to),
        }
    }
}

/// Reads a value that lies this deep.
#[derive(Clone, Copy)]
struct Depth(usize);

impl Depth {
    fn next<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.0 == MAX_DEPTH {
            return Err(E::custom("nested too deep"));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value<'de>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an integer, a list or an object")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(if value { "yes" } else { "no" }.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value<'de>, E> {
        let value = i64::try_from(value).map_err(|_| E::custom("more than 63 bits"))?;
        Ok(Value::Integer(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(text.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(text.to_owned().into())
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok("".into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value<'de>, A::Error> {
        let inner = self.next()?;
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(inner)? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value<'de>, A::Error> {
        let inner = self.next()?;
        let mut dictionary = Dictionary::new();
        while let Some(key) = from.next_key::<String>()? {
            let key = Cow::Owned(key.into_bytes());
            dictionary.push(key, from.next_value_seed(inner)?);
        }
        Ok(dictionary.into())
    }
}

/// Why bytes are no JSON object of ng.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum JsonError {
    /// They are not JSON.
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A value has no counterpart in ng: a fraction, a number of more than 63 bits, more than
    /// [`MAX_DEPTH`] lists and objects in each other.
    Value {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// The document is no object.
    NoObject,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { line, column } => {
                write!(f, "not JSON from line {line}, column {column} on")
            }
            Self::Value { line, column } => write!(
                f,
                "line {line}, column {column}: a fraction, a number of more than 63 bits, or \
                 nested more than {MAX_DEPTH} deep; write strings, integers, lists and objects"
            ),
            Self::NoObject => f.write_str("document is no object; start it with {"),
        }
    }
}

impl core::error::Error for JsonError {}

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
    fn what_is_no_object_of_ng_is_refused_for_its_own_reason() {
        let value = |column| JsonError::Value { line: 1, column };
        let syntax = |column| JsonError::Syntax { line: 1, column };
        let deep = format!("{{\"a\":{}", "[".repeat(1 << 16));
        for (text, error) in [
            ("[]", JsonError::NoObject),
            ("{", syntax(1)),
            ("{\"a\"}", syntax(5)),
            ("{} x", syntax(4)),
            ("{\"a\":1.5}", value(8)),
            ("{\"a\":9223372036854775808}", value(24)),
            (&deep, value(21)),
        ] {
            assert_eq!(decode(text.as_bytes()).unwrap_err(), error, "{text:.40}");
        }
        assert!(matches!(
            decode(b"{\"a\":\"\xff\"}"),
            Err(JsonError::Syntax { .. })
        ));
    }

    #[test]
    fn words_for_yes_no_and_nothing_become_strings() {
        let dictionary = decode(br#"{"a":true,"b":false,"c":null}"#).unwrap();
        assert_eq!(encoded(&dictionary), br#"{"a":"yes","b":"no","c":""}"#);
    }

    proptest! {
        #[test]
        fn documents_survive_their_encoding(document in any_document()) {
            let bytes = encoded(&document);
            prop_assert_eq!(decode(&bytes), Ok(document));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            likely in "\\{[]\\[{}\":,a0-9.e-]{0,40}",
        ) {
            let _ = decode(&bytes);
            let _ = decode(likely.as_bytes());
        }
    }
}
