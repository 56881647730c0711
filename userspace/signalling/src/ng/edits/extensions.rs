// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which of the header extensions in an SDP pass (RFC 8285).

use std::collections::HashSet;

use crate::sdp::Section;

/// Which of the header extensions in an SDP pass: by their full names, or `all`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Extensions {
    /// These do not.
    pub strip: Vec<String>,
    /// These do not, either: who does not know of them does not accept them.
    pub mask: Vec<String>,
}

impl Extensions {
    /// Those that do not.
    pub(super) fn gone(&self) -> HashSet<&str> {
        let gone = self.strip.iter().chain(&self.mask);
        gone.map(String::as_str).collect()
    }

    /// Takes out what does not pass.
    pub(super) fn apply(gone: &HashSet<&str>, lines: &mut Section) {
        lines.retain_attributes(|name, value| {
            let uri = value.split_ascii_whitespace().nth(1).unwrap_or_default();
            name != "extmap" || !(gone.contains("all") || gone.contains(uri))
        });
    }
}
