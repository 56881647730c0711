// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kernel for AVX2, AES-NI and PCLMULQDQ: eight packets are hashed at once, eight blocks are
//! encrypted at once. What the CPU has beyond that, see [`Extras`], is used too.

use core::arch::x86_64::__cpuid;
use std::arch::is_x86_feature_detected;
use std::sync::LazyLock;

use super::aesni::ctr;
use super::block::{CmKey, GcmKey};
use super::ctr::ctr256;
use super::driver::{GROUP, Tags, counter_mode, each_kind};
use super::lane::{Lane, Lanes};
use super::sha1_x8::LANES;
use super::{Kernel, gcm128, gcm256, lone, sha_ni, sha1_x8};

/// From so many packets on, eight lanes are faster than four after four, even if some of
/// them are empty.
const WORTH_LANES: usize = 7;

/// Instructions that are used where there are some; each has those before it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Extras {
    /// None: Intel until Cascade Lake.
    None,
    /// SHA-NI, for groups that are too small for lanes.
    Sha,
    /// VAES and VPCLMULQDQ, for two blocks in a vector.
    Vaes,
    /// SHA-NI that is faster than lanes, for all groups.
    ///
    /// Not CPUID tells this, but the model does. AMD Zen 5 does four rounds of SHA-1 in about two
    /// cycles, but takes two for each step of a chain of vector operations, and lanes are such a
    /// chain. On Intel Sapphire Rapids the four rounds take three cycles, what makes their words
    /// takes longer, and a step takes one: there lanes need two thirds of the time. All others
    /// are taken to be like the latter.
    FastSha,
}

impl Extras {
    #[cfg(test)]
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Sha, Self::Vaes, Self::FastSha];

    /// All that this CPU has.
    #[inline]
    pub(super) fn current() -> Self {
        static CURRENT: LazyLock<Extras> = LazyLock::new(Extras::detect);
        *CURRENT
    }

    fn detect() -> Self {
        if !is_x86_feature_detected!("sha") {
            Self::None
        } else if !has_vaes() {
            Self::Sha
        } else if is_zen_5() {
            Self::FastSha
        } else {
            Self::Vaes
        }
    }

    pub(super) fn is_available(self) -> bool {
        Kernel::Avx2.is_available()
            && (self < Self::Sha || is_x86_feature_detected!("sha"))
            && (self < Self::Vaes || has_vaes())
    }
}

/// VAES, and what GCM needs with it: no CPU has one of them only, and where a hypervisor hides one,
/// neither is used.
fn has_vaes() -> bool {
    is_x86_feature_detected!("vaes") && is_x86_feature_detected!("vpclmulqdq")
}

/// Whether this is an AMD Zen 5 or later.
fn is_zen_5() -> bool {
    let vendor = __cpuid(0);
    let vendor = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
    let version = __cpuid(1).eax;
    let family = (version >> 8 & 0xf) + (version >> 20 & 0xff);
    vendor.as_flattened() == b"AuthenticAMD" && family >= 26
}

/// See [`super::seal`].
pub(super) fn seal(lanes: &mut Lanes<'_>, extras: Extras) {
    assert!(extras.is_available());
    // SAFETY: the CPU has the instructions.
    unsafe {
        each_kind!(lanes, |it| seal_cm(it, extras), |it| seal_gcm(it, extras));
    }
}

/// See [`super::open`].
pub(super) fn open(lanes: &mut Lanes<'_>, extras: Extras) {
    assert!(extras.is_available());
    // SAFETY: the CPU has the instructions.
    unsafe {
        each_kind!(lanes, |it| open_cm(it, extras), |it| open_gcm(it, extras));
    }
}

/// # Safety
///
/// The CPU has the extras.
unsafe fn seal_cm<const ROUNDS: usize>(lanes: &mut [Lane<'_, CmKey<ROUNDS>>], extras: Extras) {
    // SAFETY: the CPU has the instructions.
    unsafe {
        match extras {
            Extras::None => none::seal_cm(lanes),
            Extras::Sha => sha::seal_cm(lanes),
            Extras::Vaes => vaes::seal_cm(lanes),
            Extras::FastSha => fast_sha::seal_cm(lanes),
        }
    }
}

/// # Safety
///
/// The CPU has the extras.
unsafe fn open_cm<const ROUNDS: usize>(lanes: &mut [Lane<'_, CmKey<ROUNDS>>], extras: Extras) {
    // SAFETY: the CPU has the instructions.
    unsafe {
        match extras {
            Extras::None => none::open_cm(lanes),
            Extras::Sha => sha::open_cm(lanes),
            Extras::Vaes => vaes::open_cm(lanes),
            Extras::FastSha => fast_sha::open_cm(lanes),
        }
    }
}

/// # Safety
///
/// The CPU has the extras.
unsafe fn seal_gcm<const ROUNDS: usize>(lanes: &mut [Lane<'_, GcmKey<ROUNDS>>], extras: Extras) {
    // SAFETY: the CPU has the instructions.
    unsafe {
        if extras < Extras::Vaes {
            gcm128::seal(lanes);
        } else {
            gcm256::seal(lanes);
        }
    }
}

/// # Safety
///
/// The CPU has the extras.
unsafe fn open_gcm<const ROUNDS: usize>(lanes: &mut [Lane<'_, GcmKey<ROUNDS>>], extras: Extras) {
    // SAFETY: the CPU has the instructions.
    unsafe {
        if extras < Extras::Vaes {
            gcm128::open(lanes);
        } else {
            gcm256::open(lanes);
        }
    }
}

mod none {
    use super::{CmKey, LANES, Lane, counter_mode, ctr, sha1_x8};

    counter_mode!("avx2,aes", LANES, ctr, sha1_x8::macs);
}

mod sha {
    use super::{CmKey, LANES, Lane, counter_mode, ctr, lone, macs};

    counter_mode!("avx2,aes,sha", LANES, ctr, macs, lone::seal);
}

mod vaes {
    use super::{CmKey, LANES, Lane, counter_mode, lone, macs, wide_ctr};

    counter_mode!("avx2,aes,sha,vaes", LANES, wide_ctr, macs, lone::seal);
}

mod fast_sha {
    use super::{CmKey, GROUP, Lane, counter_mode, lone, sha_ni, wide_ctr};

    counter_mode!(
        "avx2,aes,sha,vaes",
        GROUP,
        wide_ctr,
        sha_ni::macs,
        lone::seal
    );
}

#[inline]
#[target_feature(enable = "avx2,aes,vaes")]
fn wide_ctr<const ROUNDS: usize>(lane: &mut Lane<'_, CmKey<ROUNDS>>) {
    let start = lane.counter_block();
    // SAFETY: a lane has at most MAX_TEXT bytes of text, and 80 bytes behind it.
    unsafe { ctr256(&lane.key.rounds, start, 0, lane.text(), lane.text_len()) }
}

#[target_feature(enable = "avx2,sha")]
fn macs<const ROUNDS: usize>(lanes: &[Lane<'_, CmKey<ROUNDS>>], group: &[u8], tags: &mut Tags) {
    if group.len() < WORTH_LANES {
        sha_ni::macs(lanes, group, tags);
    } else {
        sha1_x8::macs(lanes, group, tags);
    }
}
