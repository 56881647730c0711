// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is written of a session: bytes that only an agent of the same version can read.

use std::cell::RefCell;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::{Zeroize, Zeroizing};

use crate::session::SessionId;

/// The version of a record's layout: of everything that [`State`] is made of.
pub(crate) const VERSION: u8 = 4;

/// What a record is sealed under: its version and session.
pub(super) fn name(id: SessionId) -> [u8; 9] {
    let mut name = [VERSION; 9];
    name[1..].copy_from_slice(&id.number().to_be_bytes());
    name
}

/// Encodes in one piece, and in a place that is wiped, so that no copy of a key is left behind.
pub(crate) fn encode<R>(value: &impl Serialize, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
    /// Longer than nearly all records.
    const USUAL: usize = 16 << 10;
    thread_local! {
        static PLACE: RefCell<Zeroizing<Vec<u8>>> = RefCell::new(Zeroizing::new(vec![0; USUAL]));
    }
    PLACE.with_borrow_mut(|place| {
        if let Ok(bytes) = postcard::to_slice(value, place) {
            let taken = take(bytes);
            bytes.zeroize();
            return Some(taken);
        }
        place.zeroize();
        place.resize(USUAL, 0);
        let len = postcard::experimental::serialized_size(value).ok()?;
        let mut bytes = Zeroizing::new(vec![0; len]);
        Some(take(postcard::to_slice(value, &mut bytes).ok()?))
    })
}

pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_usual_is_encoded_all_the_same() {
        for len in [0, 100, 16 << 10, 100 << 10] {
            let value = vec![7_u8; len];
            let bytes = encode(&value, <[u8]>::to_vec).unwrap();
            assert_eq!(from_bytes::<Vec<u8>>(&bytes).unwrap(), value);
        }
    }

    #[test]
    fn what_is_not_whole_is_not_read() {
        let bytes = encode(&(1_u64 << 40), <[u8]>::to_vec).unwrap();
        assert_eq!(from_bytes::<u64>(&bytes), Some(1 << 40));
        assert_eq!(from_bytes::<u64>(&bytes[..3]), None);
        assert_eq!(from_bytes::<u64>(&[bytes, vec![0]].concat()), None);
    }
}
