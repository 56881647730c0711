// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the fuzz targets share.
//!
//! They start from `seeds` and from the golden files in `../tests`, which are what real peers and
//! the standards send.

#![forbid(unsafe_code)]

use std::borrow::Cow;

use sallyport_signalling::random::{Random, RandomError};

/// More than any parser takes.
const TOO_LONG: usize = 70_000;

/// The fuzzer's bytes, or many more: `\xff`, a head, `\xff`, a unit, `\xff` and a tail stand for the
/// head, the unit over and over until all is longer than any parser takes, and the tail. So the
/// fuzzer reaches the limits of length, of lines and of depth with a few bytes.
pub fn grow(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut parts = bytes.splitn(4, |byte| *byte == 0xff);
    match [parts.next(), parts.next(), parts.next(), parts.next()] {
        [Some([]), Some(head), Some(unit), Some(tail)] if !unit.is_empty() => {
            let units = unit
                .iter()
                .cycle()
                .take(TOO_LONG.next_multiple_of(unit.len()));
            Cow::Owned([head, &units.copied().collect::<Vec<_>>(), tail].concat())
        }
        _ => Cow::Borrowed(bytes),
    }
}

/// One byte over and over, the next for the next key: all keys differ, and every run is the same.
#[derive(Default)]
pub struct Repeating(u8);

impl Random for Repeating {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.0 = self.0.wrapping_add(1);
        bytes.fill(self.0);
        Ok(())
    }
}
