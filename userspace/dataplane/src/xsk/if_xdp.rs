// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kernel's AF_XDP interface, as far as `libc` does not have it.

use libc::{c_int, off_t};

/// Socket option: how many descriptors one `sendto` may send in copy mode, 32 up to the size of the
/// transmit ring; 32 where it is not set. Linux 6.17.
///
/// See [if_xdp.h](https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/if_xdp.h).
pub(super) const XDP_MAX_TX_SKB_BUDGET: c_int = 9;

/// The smallest value of [`XDP_MAX_TX_SKB_BUDGET`].
///
/// See `TX_BATCH_SIZE` in [xsk.c](https://github.com/torvalds/linux/blob/v6.18/net/xdp/xsk.c).
pub(super) const TX_BATCH_SIZE: u32 = 32;

/// Bytes that the kernel leaves free between the start of a chunk and a received packet.
///
/// See [bpf.h](https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/bpf.h).
pub(super) const XDP_PACKET_HEADROOM: usize = 256;

/// `mmap` offset of the fill ring. `libc` has it with a type that `mmap` does not take.
pub(super) const XDP_UMEM_PGOFF_FILL_RING: off_t = 0x1_0000_0000;

/// `mmap` offset of the completion ring.
pub(super) const XDP_UMEM_PGOFF_COMPLETION_RING: off_t = 0x1_8000_0000;
