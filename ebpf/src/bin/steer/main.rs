// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The XDP program `steer`: media of known flows to the AF_XDP socket of its queue, the rest of
//! the media ports nowhere, everything else to the kernel.
//!
//! Every decision is made by the library; here are the maps, the entry and the counting. It is
//! loaded once for each NIC with its own number in [`NIC`]; all share the maps by their pins.

#![no_std]
#![no_main]
#![expect(
    clippy::inline_always,
    reason = "the program is one function to the verifier"
)]

mod access;

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray, XskMap};
use aya_ebpf::programs::XdpContext;
use sallyport_ebpf::layout::{
    FLOWS_LEN, FlowWord, MAX_NICS, NIC_NAME_LEN, RANGES_LEN, Range, SOCKETS_LEN, VERDICTS_LEN,
    socket_index, verdict_index,
};
use sallyport_ebpf::{Datagram, Tables, Verdict, classify};

use crate::access::{Frame, has_socket, increment};

/// The number of the NIC; set when the program is loaded.
#[unsafe(no_mangle)]
static NIC: Global<u32> = Global::new(0);

#[map]
static NICS: Array<[u8; NIC_NAME_LEN]> = Array::pinned(MAX_NICS, 0);

#[map]
static RANGES: Array<[u32; Range::WORDS]> = Array::pinned(RANGES_LEN, 0);

#[map]
static FLOWS: Array<u64> = Array::pinned(FLOWS_LEN, 0);

#[map]
static SOCKETS: XskMap = XskMap::pinned(SOCKETS_LEN, 0);

#[map]
static VERDICTS: PerCpuArray<u64> = PerCpuArray::pinned(VERDICTS_LEN, 0);

#[xdp]
#[expect(
    clippy::needless_pass_by_value,
    reason = "the entry that `xdp` makes passes it so"
)]
fn steer(context: XdpContext) -> u32 {
    let nic = NIC.load();
    let tables = Kernel { context: &context };
    let mut verdict = classify(&Frame::of(&context), nic, &tables);
    let mut action = if verdict.drops() { XDP_DROP } else { XDP_PASS };
    if verdict == Verdict::Redirected {
        (verdict, action) = redirect(nic, context.rx_queue_index());
    }
    #[cfg(feature = "trace")]
    if verdict == Verdict::Malformed {
        aya_log_ebpf::debug!(&context, "malformed packet on NIC {}", nic);
    }
    increment(&VERDICTS, verdict_index(nic, verdict));
    action
}

/// To the socket of the queue. While there is none the packet is dropped: nobody else could serve
/// it, and the kernel's ICMP port unreachable would end the call at the peer.
#[inline(always)]
fn redirect(nic: u32, queue: u32) -> (Verdict, u32) {
    match socket_index(nic, queue).map(|index| SOCKETS.redirect(index, XDP_DROP.into())) {
        Some(Ok(action)) => (Verdict::Redirected, action),
        Some(Err(_)) | None => (Verdict::NoSocket, XDP_DROP),
    }
}

/// What the kernel knows: the maps, and its sockets.
struct Kernel<'a> {
    context: &'a XdpContext,
}

impl Tables for Kernel<'_> {
    #[inline(always)]
    fn range(&self, index: u32) -> Option<Range> {
        RANGES.get(index).copied().map(Range::from_words)
    }

    #[inline(always)]
    fn flow(&self, index: u32) -> Option<FlowWord> {
        FLOWS.get(index).copied().map(FlowWord)
    }

    #[inline(always)]
    fn is_awaited(&self, datagram: &Datagram) -> bool {
        has_socket(self.context, datagram)
    }
}

/// The kernel's helpers that steering needs are open to every licence; those of tracing are not.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that no program gets here.
    loop {}
}
