// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kernel for AES-NI, PCLMULQDQ and SHA-NI: four packets are hashed at once, eight blocks are
//! encrypted at once.

use super::block::CmKey;
use super::ctr::ctr128;
use super::driver::{GROUP, counter_mode, each_kind};
use super::lane::{Lane, Lanes};
use super::{Kernel, gcm128, lone, sha_ni};

/// See [`super::seal`].
pub(super) fn seal(lanes: &mut Lanes<'_>) {
    assert!(Kernel::AesNi.is_available());
    // SAFETY: the CPU has the instructions.
    unsafe {
        each_kind!(lanes, seal_cm, gcm128::seal);
    }
}

/// See [`super::open`].
pub(super) fn open(lanes: &mut Lanes<'_>) {
    assert!(Kernel::AesNi.is_available());
    // SAFETY: the CPU has the instructions.
    unsafe {
        each_kind!(lanes, open_cm, gcm128::open);
    }
}

counter_mode!("aes,sha,ssse3,sse4.1", GROUP, ctr, sha_ni::macs, lone::seal);

#[inline]
#[target_feature(enable = "aes")]
pub(super) fn ctr<const ROUNDS: usize>(lane: &mut Lane<'_, CmKey<ROUNDS>>) {
    let start = lane.counter_block();
    // SAFETY: a lane has at most MAX_TEXT bytes of text, and 80 bytes behind it.
    unsafe { ctr128(&lane.key.rounds, start, 0, lane.text(), lane.text_len()) }
}
