// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Some lines of a session description: those of the session, or those of one medium.

use core::fmt;

use zeroize::Zeroizing;

use super::{Connection, Origin, keep};

/// Lines of a session description, in order. May hold keys, so it is wiped when dropped.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Section {
    lines: Vec<Line>,
}

impl Section {
    /// The origin, which only the session has.
    pub fn origin(&self) -> Option<&Origin> {
        self.lines.iter().find_map(|line| match line {
            Line::Origin(origin) => Some(origin),
            _ => None,
        })
    }

    /// Puts another origin in place of the one there is.
    pub fn set_origin(&mut self, origin: Origin) {
        if let Some(line) = self
            .lines
            .iter_mut()
            .find(|line| matches!(line, Line::Origin(_)))
        {
            *line = Line::Origin(origin);
        }
    }

    /// Puts another name in place of the session's, if it has one.
    pub fn set_session_name(&mut self, name: &str) {
        let is_name =
            |line: &&mut Line| matches!(line, Line::Other(line) if line.starts_with("s="));
        if let Some(line) = self.lines.iter_mut().find(is_name) {
            *line = Line::Other(keep(&format!("s={name}")));
        }
    }

    /// The first connection of the section itself.
    pub fn connection(&self) -> Option<&Connection> {
        self.lines.iter().find_map(|line| match line {
            Line::Connection(connection) => Some(connection),
            _ => None,
        })
    }

    /// Makes this the only connection: in place of the first there is, or else where RFC 8866
    /// section 5 wants it, behind the title of a medium. Not for a session that has none.
    pub fn set_connection(&mut self, connection: Connection) {
        let is_connection = |line: &Line| matches!(line, Line::Connection(_));
        let is_title = |line: &Line| matches!(line, Line::Other(line) if line.starts_with("i="));
        let at = self
            .lines
            .iter()
            .position(is_connection)
            .unwrap_or_else(|| {
                let title = self.lines.iter().rposition(is_title);
                title.map_or(0, |title| title + 1)
            });
        self.lines.retain(|line| !is_connection(line));
        self.lines.insert(at, Line::Connection(connection));
    }

    /// The values of all attributes of a name, in order; empty for one without value.
    pub fn attributes(&self, name: &str) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(move |line| match line {
            Line::Attribute { name: own, value } if own == name => {
                Some(value.as_ref().map_or("", |value| value.as_str()))
            }
            _ => None,
        })
    }

    /// The value of the first attribute of a name; empty for one without value.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes(name).next()
    }

    /// Puts an attribute at the end.
    pub fn add_attribute(&mut self, name: &str, value: Option<&str>) {
        self.lines.push(Line::Attribute {
            name: name.to_owned(),
            value: value.map(keep),
        });
    }

    /// Makes this the only attribute of its name: in place of the first there is, or else at the
    /// end.
    pub fn set_attribute(&mut self, name: &str, value: Option<&str>) {
        let is_it = |line: &Line| matches!(line, Line::Attribute { name: own, .. } if own == name);
        let at = self.lines.iter().position(is_it);
        self.remove_attributes(&[name]);
        self.add_attribute(name, value);
        if let Some(at) = at {
            self.lines[at..].rotate_right(1);
        }
    }

    /// Removes all attributes of these names.
    pub fn remove_attributes(&mut self, names: &[&str]) {
        self.retain_attributes(|name, _| !names.contains(&name));
    }

    /// Removes the attributes whose name and value (empty for none) do not please.
    pub fn retain_attributes(&mut self, mut pleases: impl FnMut(&str, &str) -> bool) {
        self.lines.retain(|line| match line {
            Line::Attribute { name, value } => {
                pleases(name, value.as_ref().map_or("", |value| value.as_str()))
            }
            _ => true,
        });
    }

    /// Puts an attribute in place of each one whose name and value (empty for none) fit.
    pub fn replace_attributes(
        &mut self,
        by: &str,
        by_value: Option<&str>,
        mut fits: impl FnMut(&str, &str) -> bool,
    ) {
        for line in &mut self.lines {
            if let Line::Attribute { name, value } = line
                && fits(name, value.as_ref().map_or("", |value| value.as_str()))
            {
                by.clone_into(name);
                *value = by_value.map(keep);
            }
        }
    }

    pub(super) fn attribute_names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match line {
            Line::Attribute { name, .. } => Some(name.as_str()),
            _ => None,
        })
    }

    pub(super) fn push(&mut self, line: Line) {
        self.lines.push(line);
    }

    pub(super) fn write_to(&self, text: &mut impl fmt::Write, ending: &str) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Origin(origin) => write!(text, "o={origin}"),
                Line::Connection(connection) => write!(text, "c={connection}"),
                Line::Attribute { name, value: None } => write!(text, "a={name}"),
                Line::Attribute {
                    name,
                    value: Some(value),
                } => write!(text, "a={name}:{}", value.as_str()),
                Line::Other(line) => text.write_str(line),
            }?;
            text.write_str(ending)?;
        }
        Ok(())
    }
}

/// One line.
#[derive(Clone, Eq, PartialEq)]
pub(super) enum Line {
    Origin(Origin),
    Connection(Connection),
    Attribute {
        name: String,
        value: Option<Zeroizing<String>>,
    },
    /// A line with its letter, which nobody here needs to understand.
    Other(Zeroizing<String>),
}

impl Line {
    pub(super) fn attribute(text: &str) -> Self {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(keep(value))),
            None => (text, None),
        };
        Self::Attribute {
            name: name.to_owned(),
            value,
        }
    }
}
