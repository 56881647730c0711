// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Keys and words, however they are spelt.

/// The longest call-id, tag, branch, label or interface name, in bytes.
pub(super) const MAX_TEXT: usize = 1024;

/// A key or word as it is written here: `call-id` for `call-ID` and `call id`, `sdes` for `SDES`.
pub(super) fn normal(word: &str) -> String {
    word.chars()
        .map(|c| match c {
            ' ' | '_' => '-',
            _ => c.to_ascii_lowercase(),
        })
        .collect()
}

/// Defines an enum whose values are words of the protocol, given as [`normal`] makes them.
macro_rules! words {
    ($(
        $(#[$about:meta])*
        enum $Name:ident {
            $($(#[$meaning:meta])* $Word:ident = $($word:literal)|+,)+
        }
    )+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum $Name {
            $($(#[$meaning])* $Word,)+
        }

        impl $Name {
            pub(super) fn parse(word: &str) -> Option<Self> {
                match $crate::ng::word::normal(word).as_str() {
                    $($($word)|+ => Some(Self::$Word),)+
                    _ => None,
                }
            }
        }
    )+};
}

pub(super) use words;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_key_is_one() {
        for key in ["call-id", "call-ID", "Call id", "call_id"] {
            assert_eq!(normal(key), "call-id");
        }
    }
}
