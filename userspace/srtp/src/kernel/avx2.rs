// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kernel for AVX2, AES-NI and PCLMULQDQ: eight packets are hashed at once, eight blocks are
//! encrypted at once. Where the CPU has SHA-NI, small groups use it.

use std::arch::is_x86_feature_detected;

use super::aesni::ctr;
use super::block::CmKey;
use super::driver::{Tags, counter_mode};
use super::lane::{Lane, Lanes};
use super::sha1_x8::LANES;
use super::{Kernel, gcm128, sha_ni, sha1_x8};

/// From so many packets on, eight lanes are faster than four after four, even if some of
/// them are empty.
const WORTH_LANES: usize = 7;

/// See [`super::seal`].
pub(super) fn seal(lanes: &mut Lanes<'_>) {
    assert!(Kernel::Avx2.is_available());
    // SAFETY: the CPU has the instructions.
    unsafe {
        seal_cm(&mut lanes.cm128);
        seal_cm(&mut lanes.cm192);
        seal_cm(&mut lanes.cm256);
        gcm128::seal(&mut lanes.gcm128);
        gcm128::seal(&mut lanes.gcm256);
    }
}

/// See [`super::open`].
pub(super) fn open(lanes: &mut Lanes<'_>) {
    assert!(Kernel::Avx2.is_available());
    // SAFETY: the CPU has the instructions.
    unsafe {
        open_cm(&mut lanes.cm128);
        open_cm(&mut lanes.cm192);
        open_cm(&mut lanes.cm256);
        gcm128::open(&mut lanes.gcm128);
        gcm128::open(&mut lanes.gcm256);
    }
}

counter_mode!("avx2,aes", LANES, ctr, macs);

#[target_feature(enable = "avx2")]
fn macs<const ROUNDS: usize>(lanes: &[Lane<'_, CmKey<ROUNDS>>], group: &[u8], tags: &mut Tags) {
    if group.len() < WORTH_LANES && is_x86_feature_detected!("sha") {
        // SAFETY: the CPU has the instructions; AVX2 includes the others.
        unsafe { sha_ni::macs(lanes, group, tags) }
    } else {
        sha1_x8::macs(lanes, group, tags);
    }
}
