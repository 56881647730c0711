// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Options as one text, which the newer clients leave to the gateway to read: words and
//! `key=value` with spaces between them. A value may be a list, `[a b]`, or a dictionary,
//! `[a=[b] c=d]`.

use super::value::{Dictionary, Value};

/// One option.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Item<'a> {
    /// A word, which may be `key=value`.
    Word(&'a str),
    /// A key with a value in brackets.
    Pair(&'a str, Value<'a>),
}

/// How deep brackets may be in each other.
const MAX_DEPTH: usize = 4;

/// Reads a text. Brackets that do not fit each other are parts of words.
pub(super) fn items(text: &str) -> Vec<Item<'_>> {
    read(text, 0)
}

fn read(text: &str, depth: usize) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let inside = rest.find("=[").filter(|at| *at < end && depth < MAX_DEPTH);
        let bracket = inside.and_then(|at| Some((at, at + 2 + closing(&rest[at + 2..])?)));
        if let Some((at, close)) = bracket {
            items.push(Item::Pair(
                &rest[..at],
                value(&rest[at + 2..close], depth + 1),
            ));
            rest = rest[close + 1..].trim_start();
        } else {
            items.push(Item::Word(&rest[..end]));
            rest = rest[end..].trim_start();
        }
    }
    items
}

/// Where the bracket in front of a text is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    text.bytes().position(|byte| match byte {
        b']' if depth == 0 => true,
        b']' => {
            depth -= 1;
            false
        }
        b'[' => {
            depth += 1;
            false
        }
        _ => false,
    })
}

/// What brackets hold: a dictionary as soon as there is a key.
fn value(text: &str, depth: usize) -> Value<'_> {
    let mut dictionary = Dictionary::new();
    let mut list = Vec::new();
    let mut has_keys = false;
    for item in read(text, depth) {
        match item {
            Item::Pair(key, value) => {
                has_keys = true;
                dictionary.push(key.as_bytes(), value);
            }
            Item::Word(word) => {
                list.push(Value::from(word));
                if let Some((key, value)) = word.split_once('=') {
                    dictionary.push(key.as_bytes(), value);
                }
            }
        }
    }
    if has_keys {
        dictionary.into()
    } else {
        Value::List(list)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn brackets_make_lists_and_dictionaries() {
        let list = |words: &[&'static str]| Value::from(words.to_vec());
        for (text, expected) in [
            ("", vec![]),
            ("  a  b=c ", vec![Item::Word("a"), Item::Word("b=c")]),
            (
                "OSRTP=[accept] x",
                vec![Item::Pair("OSRTP", list(&["accept"])), Item::Word("x")],
            ),
            (
                "codec=[strip=[EVS opus/48000/2] offer=[PCMA]]y",
                vec![
                    Item::Pair(
                        "codec",
                        Dictionary::new()
                            .with("strip", list(&["EVS", "opus/48000/2"]))
                            .with("offer", list(&["PCMA"]))
                            .into(),
                    ),
                    Item::Word("y"),
                ],
            ),
            ("a=[]", vec![Item::Pair("a", list(&[]))]),
            // What is not closed is no list.
            ("a=[b c", vec![Item::Word("a=[b"), Item::Word("c")]),
            ("a]=b [", vec![Item::Word("a]=b"), Item::Word("[")]),
            (
                "media-address=[2001:db8::1]",
                vec![Item::Pair("media-address", list(&["2001:db8::1"]))],
            ),
        ] {
            assert_eq!(items(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[a=\\[\\] ä]{0,40}") {
            items(&text);
        }
    }
}
