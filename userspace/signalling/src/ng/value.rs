// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The values of documents: what bencode knows, and of JSON what has a counterpart there.

use core::fmt;
use std::borrow::Cow;

/// One value of a document. Byte strings may hold keys, so only their lengths are printed.
#[derive(Clone, Eq, PartialEq)]
pub enum Value<'a> {
    /// A number.
    Integer(i64),
    /// A string, of bytes: nothing says that they are UTF-8.
    Bytes(Cow<'a, [u8]>),
    /// A list.
    List(Vec<Self>),
    /// A dictionary in this one.
    Dictionary(Dictionary<'a>),
}

impl Value<'_> {
    /// The text, unless it is no string or not UTF-8.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Bytes(bytes) => str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The number, which clients also write as a string.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(integer) => Some(*integer),
            _ => self.text()?.parse().ok(),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Bytes(bytes) => write!(f, "<{} bytes>", bytes.len()),
            Self::List(list) => list.fmt(f),
            Self::Dictionary(dictionary) => dictionary.fmt(f),
        }
    }
}

impl From<u64> for Value<'_> {
    /// Counters that outgrow the format stay at its end.
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        text.as_bytes().into()
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Bytes(Cow::Owned(text.into_bytes()))
    }
}

impl<T: Into<Self>> From<Vec<T>> for Value<'_> {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

impl<'a> From<Dictionary<'a>> for Value<'a> {
    fn from(dictionary: Dictionary<'a>) -> Self {
        Self::Dictionary(dictionary)
    }
}

/// Keys with their values, in the order in which they came: no client sorts them. A key may come
/// twice; it is up to the reader what that means.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dictionary<'a>(Vec<(Key<'a>, Value<'a>)>);

type Key<'a> = Cow<'a, [u8]>;

impl<'a> Dictionary<'a> {
    /// A dictionary with nothing in it.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a key at the end.
    pub fn push(&mut self, key: impl Into<Key<'a>>, value: impl Into<Value<'a>>) {
        self.0.push((key.into(), value.into()));
    }

    /// The same with one more key.
    #[must_use]
    pub fn with(mut self, key: &'a str, value: impl Into<Value<'a>>) -> Self {
        self.push(key.as_bytes(), value);
        self
    }

    /// Keys and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Value<'a>)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    /// Keys and values, sorted by key as bencode wants them.
    pub(super) fn sorted(&self) -> Vec<(&[u8], &Value<'a>)> {
        let mut entries: Vec<_> = self.iter().collect();
        entries.sort_by_key(|(key, _)| *key);
        entries
    }
}

impl<'a> IntoIterator for Dictionary<'a> {
    type Item = (Key<'a>, Value<'a>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    /// Documents whose strings are text, so that JSON can carry them, with sorted keys.
    pub(in super::super) fn any_document() -> impl Strategy<Value = Dictionary<'static>> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::Integer),
            ".{0,20}".prop_map(Value::from)
        ];
        let value = leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Value::List),
                btree_map(".{0,8}", inner, 0..6).prop_map(|map| from_sorted(map).into()),
            ]
        });
        btree_map(".{0,8}", value, 0..6).prop_map(from_sorted)
    }

    fn from_sorted(
        entries: impl IntoIterator<Item = (String, Value<'static>)>,
    ) -> Dictionary<'static> {
        let mut dictionary = Dictionary::new();
        for (key, value) in entries {
            dictionary.push(key.into_bytes(), value);
        }
        dictionary
    }

    #[test]
    fn strings_are_never_printed() {
        let value = Value::from(vec!["inline:secret"]);
        assert_eq!(format!("{value:?}"), "[<13 bytes>]");
    }

    #[test]
    fn numbers_may_be_written_as_strings() {
        assert_eq!(Value::from("184").integer(), Some(184));
        assert_eq!(Value::Integer(-1).integer(), Some(-1));
        assert_eq!(Value::from("9223372036854775808").integer(), None);
        assert_eq!(Value::from("x").integer(), None);
    }
}
