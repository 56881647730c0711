// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tags that carry the rollover counter, so that who joins late, or lost track, knows it
//! (RFC 4771).
//!
//! Of every R packets of a stream one has a tag of 14 bytes that are the ROC and an HMAC of 80
//! bits. What the others have is the mode.

use core::num::NonZeroU16;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use crate::derivation::SessionKey;

/// Length of a tag in place of the 80-bit tag, in bytes, as RFC 4771 section 4 recommends.
pub(crate) const LONG_TAG_LEN: usize = 14;

/// Length of the ROC in a tag, in bytes.
pub(crate) const ROC_LEN: usize = 4;

/// What the packets without ROC have for a tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RccMode {
    /// Nothing: they are not authenticated (RCCm1). A receiver decrypts what comes after the
    /// first packet with ROC, and takes nothing for seen; copies and forgeries pass.
    One,
    /// An HMAC of 14 bytes (RCCm2).
    Two,
}

/// Which packets carry the ROC, and what the others do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rcc {
    mode: RccMode,
    /// 2^64 divided by the rate, rounded up, modulo 2^64.
    reciprocal: u64,
}

impl Rcc {
    /// Every packet whose sequence number is a multiple of `rate`.
    pub fn new(mode: RccMode, rate: NonZeroU16) -> Self {
        let reciprocal = (u64::MAX / u64::from(rate.get())).wrapping_add(1);
        Self { mode, reciprocal }
    }

    pub(crate) fn mode(self) -> RccMode {
        self.mode
    }

    /// Whether the packet with this sequence number carries the ROC.
    pub(crate) fn carries(self, sequence: u16) -> bool {
        // A multiple leaves no remainder in the lower half of the product.
        u64::from(sequence).wrapping_mul(self.reciprocal) <= self.reciprocal.wrapping_sub(1)
    }
}

/// The HMAC of 14 bytes.
pub(crate) struct LongMac(Hmac<Sha1>);

impl LongMac {
    pub(crate) fn new(key: &SessionKey) -> Self {
        let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(key.auth());
        Self(mac.expect("HMAC takes keys of any length"))
    }

    pub(crate) fn tag(&self, packet: &[u8], index: u64) -> [u8; LONG_TAG_LEN] {
        let mut mac = self.0.clone();
        mac.update(packet);
        let [_, _, roc @ .., _, _] = index.to_be_bytes();
        mac.update(&roc);
        let full: [u8; 20] = mac.finalize().into_bytes().into();
        *full.first_chunk().expect("a hash is longer than the tag")
    }

    pub(crate) fn is_tag(&self, packet: &[u8], index: u64, tag: &[u8]) -> bool {
        self.tag(packet, index).ct_eq(tag).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_of_the_rate_carry_the_roc() {
        for rate in (1..=300).chain([1000, 4096, 32767, 32768, 65534, 65535]) {
            let rcc = Rcc::new(RccMode::Two, NonZeroU16::new(rate).unwrap());
            for sequence in 0..=u16::MAX {
                assert_eq!(
                    rcc.carries(sequence),
                    sequence % rate == 0,
                    "{rate} {sequence}"
                );
            }
        }
    }
}
