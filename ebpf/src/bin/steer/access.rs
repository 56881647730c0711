// SPDX-License-Identifier: Apache-2.0 OR MIT

//! All the unsafe code of the program: reading the packet and counting.

use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::XdpContext;
use sallyport_ebpf::Packet;

/// The bytes of a packet, from one address to another.
pub(crate) struct Frame {
    start: usize,
    end: usize,
}

impl Frame {
    #[inline(always)]
    pub(crate) fn of(context: &XdpContext) -> Self {
        Self {
            start: context.data(),
            end: context.data_end(),
        }
    }
}

impl Packet for Frame {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let at = self.start + offset;
        if at + N > self.end {
            return None;
        }
        // SAFETY: the kernel keeps the bytes from `start` to `end` readable while the program runs
        // (the verifier refuses it without the check above), and any bytes are a `[u8; N]`.
        Some(unsafe { *(at as *const [u8; N]) })
    }
}

/// Counts one packet.
#[inline(always)]
pub(crate) fn increment(counters: &PerCpuArray<u64>, index: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: the pointer is to this CPU's own counter, and XDP programs do not preempt each
        // other on a CPU.
        unsafe { *counter += 1 };
    }
}
