// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kernel for AVX-512: sixteen or 32 packets are hashed at once, four blocks are encrypted at
//! once.

use super::Kernel;
use super::block::CmKey;
use super::ctr::ctr512;
use super::driver::{GROUP, Tags, counter_mode, each_kind};
use super::lane::{Lane, Lanes};
use super::{gcm512, lone, sha_ni, sha1_x16};

/// From so many packets on, sixteen lanes are faster than four after four, even if most
/// of them are empty.
const WORTH_LANES: usize = 7;

/// See [`super::seal`].
pub(super) fn seal(lanes: &mut Lanes<'_>) {
    assert!(Kernel::Avx512.is_available());
    // SAFETY: the CPU has the instructions.
    unsafe {
        each_kind!(lanes, seal_cm, gcm512::seal);
    }
}

/// See [`super::open`].
pub(super) fn open(lanes: &mut Lanes<'_>) {
    assert!(Kernel::Avx512.is_available());
    // SAFETY: the CPU has the instructions.
    unsafe {
        each_kind!(lanes, open_cm, gcm512::open);
    }
}

counter_mode!(
    "avx512f,avx512bw,avx512dq,avx512vl,vaes,sha",
    GROUP,
    ctr,
    macs,
    lone::seal
);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,sha")]
fn ctr<const ROUNDS: usize>(lane: &mut Lane<'_, CmKey<ROUNDS>>) {
    let start = lane.counter_block();
    // SAFETY: a lane has at most MAX_TEXT bytes of text, and 80 bytes behind it.
    unsafe { ctr512(&lane.key.rounds, start, 0, lane.text(), lane.text_len()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,sha")]
fn macs<const ROUNDS: usize>(lanes: &[Lane<'_, CmKey<ROUNDS>>], group: &[u8], tags: &mut Tags) {
    if group.len() >= WORTH_LANES {
        sha1_x16::macs(lanes, group, tags);
    } else {
        sha_ni::macs(lanes, group, tags);
    }
}
