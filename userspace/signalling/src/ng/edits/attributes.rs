// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Attributes that clients add, remove, or put in place of others.

use crate::ng::value::Value;
use crate::ng::word::{MAX_TEXT, normal};
use crate::sdp::{Medium, Sdp, Section};

/// How many edits there may be: each looks through all lines.
const MAX: usize = 64;

/// What becomes of attributes, in this order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attributes(Vec<(Option<Medium>, AttributeEdit)>);

/// What becomes of some attributes, all of them without `a=`. One is meant by its name, by name and
/// first word of the value, or by all of it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AttributeEdit {
    /// This one is added, unless it is there.
    Add(String),
    /// Those meant by this are removed.
    Remove(String),
    /// Those meant by the first become the second.
    Substitute(String, String),
}

impl Attributes {
    /// The edits, each with the media it is for; `None` for the session.
    pub fn iter(&self) -> impl Iterator<Item = &(Option<Medium>, AttributeEdit)> {
        self.0.iter()
    }

    /// Takes `<command>-<medium>-<value>`, where `--` stands for `=`, `..` for a space, and `>`
    /// between the two values of a substitution. False if it is none.
    pub(in crate::ng) fn word(&mut self, word: &str) -> bool {
        let mut parts = word.splitn(3, '-');
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let (Some(command), Some(medium), Some(value)) = (part(), part(), part()) else {
            return false;
        };
        let value = value.replace("--", "=").replace("..", " ");
        let values: Vec<_> = match normal(command).as_str() {
            // The documentation of clients has it with a d, too.
            "substitute" | "substitude" => value.split('>').collect(),
            _ => vec![value.as_str()],
        };
        self.add(medium, command, &values)
    }

    /// Takes a dictionary of media, each a dictionary of commands, each a list of values. False if
    /// a part of it is none.
    pub(in crate::ng) fn read(&mut self, value: &Value<'_>) -> bool {
        let Value::Dictionary(media) = value else {
            return false;
        };
        let mut is_read = true;
        for (medium, commands) in media.iter() {
            let (Ok(medium), Value::Dictionary(commands)) = (str::from_utf8(medium), commands)
            else {
                is_read = false;
                continue;
            };
            for (command, values) in commands.iter() {
                let command = String::from_utf8_lossy(command);
                is_read &= self.values(medium, &command, values);
            }
        }
        is_read
    }

    fn values(&mut self, medium: &str, command: &str, values: &Value<'_>) -> bool {
        let Value::List(values) = values else {
            return false;
        };
        if normal(command) != "substitute" {
            let mut texts = values.iter().map(Value::text);
            return texts.all(|text| text.is_some_and(|text| self.add(medium, command, &[text])));
        }
        // One pair, or a list of them.
        if values.iter().any(|value| matches!(value, Value::List(_))) {
            return values.iter().all(|pair| self.values(medium, command, pair));
        }
        let texts: Option<Vec<_>> = values.iter().map(Value::text).collect();
        texts.is_some_and(|texts| self.add(medium, command, &texts))
    }

    fn add(&mut self, medium: &str, command: &str, values: &[&str]) -> bool {
        let is_line = |value: &&str| {
            !value.is_empty() && value.len() <= MAX_TEXT && !value.contains(['\r', '\n', '\0'])
        };
        if self.0.len() >= MAX || !values.iter().all(is_line) {
            return false;
        }
        let edit = match (normal(command).as_str(), values) {
            ("add", [value]) => AttributeEdit::Add((*value).to_owned()),
            ("remove", [value]) => AttributeEdit::Remove((*value).to_owned()),
            ("substitute" | "substitude", [from, to, ..]) => {
                AttributeEdit::Substitute((*from).to_owned(), (*to).to_owned())
            }
            _ => return false,
        };
        let medium = match normal(medium).as_str() {
            "none" | "global" => None,
            name => Some(Medium::from(name)),
        };
        self.0.push((medium, edit));
        true
    }

    pub(super) fn apply(&self, sdp: &mut Sdp) {
        for (medium, edit) in &self.0 {
            let Some(medium) = medium else {
                edit.apply(sdp.session_mut());
                continue;
            };
            for media in sdp.media_mut() {
                if media.medium() == medium {
                    edit.apply(media.section_mut());
                }
            }
        }
    }
}

impl AttributeEdit {
    fn apply(&self, lines: &mut Section) {
        match self {
            Self::Add(text) => {
                let (name, value) = split(text);
                let is_it = |there: &str| there == value.unwrap_or_default();
                if !lines.attributes(name).any(is_it) {
                    lines.add_attribute(name, value);
                }
            }
            Self::Remove(meant) => lines.retain_attributes(|name, value| !is(meant, name, value)),
            Self::Substitute(meant, by) => {
                let (by_name, by_value) = split(by);
                lines.replace_attributes(by_name, by_value, |name, value| is(meant, name, value));
            }
        }
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    }
}

/// Whether an attribute is meant.
fn is(meant: &str, name: &str, value: &str) -> bool {
    let (meant_name, meant_value) = split(meant);
    let first = value.split(' ').next();
    meant_name == name && meant_value.is_none_or(|meant| meant == value || Some(meant) == first)
}
