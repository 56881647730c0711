// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What was not understood and left out.

/// What of a request was left out. Clients count on it that unknown keys and flags do no harm;
/// operators want to see them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ignored {
    entries: Vec<(Why, String)>,
    count: usize,
}

/// Why something was left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Why {
    /// The key or flag is unknown.
    Unknown,
    /// The key or flag is known, and this gateway does not do it, or leaves it to others: codecs,
    /// recording, tones.
    Unsupported,
    /// The key is known and its value is not one of those it can have.
    Value,
}

impl Ignored {
    /// The most that are listed, and the most bytes of each.
    const MAX: usize = 32;

    /// What was left out, at most 32 of them. Keys and flags, never values.
    pub fn entries(&self) -> impl Iterator<Item = (Why, &str)> {
        self.entries.iter().map(|(why, name)| (*why, name.as_str()))
    }

    /// How many were left out.
    pub const fn count(&self) -> usize {
        self.count
    }

    pub(super) fn add(&mut self, why: Why, name: &str) {
        self.count += 1;
        if self.entries.len() < Self::MAX {
            let end = name.floor_char_boundary(Self::MAX);
            self.entries.push((why, name[..end].to_owned()));
        }
    }
}
