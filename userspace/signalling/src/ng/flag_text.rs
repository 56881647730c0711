// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Options as one text, which the newer clients leave to the gateway to read: words and
//! `key=value` with spaces between them. A value may be a list, `[a b]`, or a dictionary,
//! `[a=[b] c=d]`.

use core::ops::Range;
use std::collections::HashMap;

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
    let reader = Reader {
        closings: closings(text),
        text,
    };
    reader.items(0..text.len(), 0)
}

/// A text with what was found out about it. Each byte is looked at a few times, whatever it says:
/// clients pass on what users have written.
struct Reader<'a> {
    text: &'a str,
    /// Where the bracket at a place is closed.
    closings: HashMap<usize, usize>,
}

impl<'a> Reader<'a> {
    fn items(&self, part: Range<usize>, depth: usize) -> Vec<Item<'a>> {
        let mut items = Vec::new();
        let mut at = part.start;
        loop {
            let rest = &self.text[at..part.end];
            let word = rest.trim_start();
            if word.is_empty() {
                return items;
            }
            at += rest.len() - word.len();
            let opens = |at: usize| word[at..].starts_with("=[");
            let mut chars = word.char_indices();
            let stop = chars.find(|(at, char)| char.is_whitespace() || opens(*at));
            let stop = stop.map_or(word.len(), |(at, _)| at);
            let bracket = Some(at + stop + 1).filter(|_| depth < MAX_DEPTH && opens(stop));
            if let Some(open) = bracket
                && let Some(close) = self.closings.get(&open)
            {
                let value = self.value(open + 1..*close, depth + 1);
                items.push(Item::Pair(&word[..stop], value));
                at = close + 1;
            } else {
                let rest = word[stop..].find(char::is_whitespace);
                let end = rest.map_or(word.len(), |rest| stop + rest);
                items.push(Item::Word(&word[..end]));
                at += end;
            }
        }
    }

    /// What brackets hold: a dictionary as soon as there is a key.
    fn value(&self, part: Range<usize>, depth: usize) -> Value<'a> {
        let mut dictionary = Dictionary::new();
        let mut list = Vec::new();
        let mut has_keys = false;
        for item in self.items(part, depth) {
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
}

/// Where each bracket that is closed is closed.
fn closings(text: &str) -> HashMap<usize, usize> {
    let mut closings = HashMap::new();
    let mut open = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' => open.push(at),
            b']' => closings.extend(open.pop().map(|open| (open, at))),
            _ => (),
        }
    }
    closings
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

    /// Were any of them read from the start again and again, this would not come to an end.
    #[test]
    fn a_long_text_is_read_once() {
        const TIMES: usize = 1 << 18;
        for part in [
            "a=[ ",
            "a=[] ",
            "a=[]",
            "a ",
            "[ ",
            "] ",
            "a=[b=[c=[d=[e=[ ",
            "a=[b=[c=[d=[e=[]]]]]",
        ] {
            assert_eq!(items(&part.repeat(TIMES)).len(), TIMES, "{part:?}");
        }
        // One word, and one value.
        assert_eq!(items(&"a=[".repeat(TIMES)).len(), 1);
        let deep = ["a=[".repeat(TIMES), "]".repeat(TIMES)].concat();
        assert_eq!(items(&deep).len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[a=\\[\\] ä]{0,40}") {
            items(&text);
        }
    }
}
