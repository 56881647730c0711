// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The order of work of a burst, the same in every vector kernel.
//!
//! GCM takes packets as they come. Counter mode with HMAC-SHA1 sorts them by the number of
//! blocks that SHA-1 has to process, and takes groups of as many as it has lanes:
//!
//! * seal: encrypt, pad, hash all, write the tags;
//! * open: keep the tag, pad, hash all, compare, decrypt what is authentic, put the tag back.
//!
//! A lone packet is not sealed so but in one pass, see `lone`.
//!
//! Padding is written straight behind the text, over the tag and into the tailroom, so that SHA-1
//! never meets a block that is in two places.

use core::arch::x86_64::__m128i;

use super::block::CmKey;
use super::clmul::from_u128;
use super::lane::{IN_ORDER, Lane, List};
use crate::MAX_BURST;

/// Packets that are hashed together, at the most.
pub(super) const GROUP: usize = 32;

/// The first 16 bytes of the full tags of a group.
pub(super) type Tags = [__m128i; GROUP];

/// No tags yet, or no trailers.
pub(super) const NO_TAGS: Tags = [from_u128(0); GROUP];

/// The packets in the order of their number of blocks.
#[inline]
pub(super) fn by_blocks<const ROUNDS: usize>(lanes: &[Lane<'_, CmKey<ROUNDS>>]) -> List<u8> {
    const LONG: usize = 63;
    let first = lanes.first().map_or(0, Lane::blocks);
    if lanes.iter().all(|lane| lane.blocks() == first) {
        let mut order = List::from(IN_ORDER);
        order.truncate(lanes.len());
        return order;
    }
    // How many packets have how many blocks, then where those start.
    let mut starts = [0u8; LONG + 2];
    for lane in lanes {
        starts[lane.blocks().min(LONG) + 1] += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut order = [0u8; MAX_BURST];
    for (at, lane) in (0..).zip(lanes) {
        let start = &mut starts[lane.blocks().min(LONG)];
        order[usize::from(*start)] = at;
        *start += 1;
    }
    let mut order = List::from(order);
    order.truncate(lanes.len());
    order
}

/// Calls `$cm` and `$gcm` with the packets of each of their kinds of key, if there are any: most
/// kinds are in few bursts.
macro_rules! each_kind {
    ($lanes:ident, $cm:expr, $gcm:expr) => {
        if !$lanes.cm128.is_empty() {
            $cm(&mut $lanes.cm128);
        }
        if !$lanes.cm192.is_empty() {
            $cm(&mut $lanes.cm192);
        }
        if !$lanes.cm256.is_empty() {
            $cm(&mut $lanes.cm256);
        }
        if !$lanes.gcm128.is_empty() {
            $gcm(&mut $lanes.gcm128);
        }
        if !$lanes.gcm256.is_empty() {
            $gcm(&mut $lanes.gcm256);
        }
    };
}
pub(super) use each_kind;

/// Functions `seal_cm` and `open_cm` for one kernel. `ctr` XORs the keystream to the text of a
/// lane; `macs` hashes a group of lanes, at most so many, that are padded. `lone`, if there is
/// one, seals a lone packet.
macro_rules! counter_mode {
    ($features:literal, $group:expr, $ctr:path, $macs:path $(, $lone:path)?) => {
        #[target_feature(enable = $features)]
        pub(super) fn seal_cm<const ROUNDS: usize>(lanes: &mut [Lane<'_, CmKey<ROUNDS>>]) {
            $(if let [lane] = lanes {
                $lone(lane);
                return;
            })?
            let order = $crate::kernel::driver::by_blocks(lanes);
            let mut tags = $crate::kernel::driver::NO_TAGS;
            for group in order.chunks($group) {
                for at in group {
                    let lane = &mut lanes[usize::from(*at)];
                    $ctr(lane);
                    lane.pad();
                }
                $macs(lanes, group, &mut tags);
                for (at, tag) in group.iter().zip(&tags) {
                    lanes[usize::from(*at)].set_trailer(*tag);
                }
            }
        }

        #[target_feature(enable = $features)]
        pub(super) fn open_cm<const ROUNDS: usize>(lanes: &mut [Lane<'_, CmKey<ROUNDS>>]) {
            let order = $crate::kernel::driver::by_blocks(lanes);
            let mut tags = $crate::kernel::driver::NO_TAGS;
            let mut trailers = $crate::kernel::driver::NO_TAGS;
            for group in order.chunks($group) {
                for (at, trailer) in group.iter().zip(&mut trailers) {
                    let lane = &mut lanes[usize::from(*at)];
                    *trailer = lane.trailer();
                    lane.pad();
                }
                $macs(lanes, group, &mut tags);
                for ((at, tag), trailer) in group.iter().zip(&tags).zip(&trailers) {
                    let lane = &mut lanes[usize::from(*at)];
                    let is_authentic = lane.is_tag(*tag, *trailer);
                    *lane.authentic = is_authentic;
                    if is_authentic {
                        $ctr(lane);
                    }
                    // Last, because the cipher reads whole vectors, and would wait for it.
                    lane.set_trailer(*trailer);
                }
            }
        }
    };
}
pub(super) use counter_mode;
