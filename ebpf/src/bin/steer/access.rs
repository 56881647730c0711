// SPDX-License-Identifier: Apache-2.0 OR MIT

//! All the unsafe code of the program: reading the packet, finding a socket, and counting.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as V4,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 as V6,
};
use aya_ebpf::helpers::{bpf_sk_lookup_udp, bpf_sk_release};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::XdpContext;
use sallyport_ebpf::layout::words;
use sallyport_ebpf::{Datagram, Family, Packet};

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

/// Whether a UDP socket has the datagram's destination. One that is connected, and so takes
/// datagrams of one peer only, is not found: ours are not.
#[expect(clippy::cast_possible_truncation, reason = "a tuple has few bytes")]
#[inline(always)]
pub(crate) fn has_socket(context: &XdpContext, datagram: &Datagram) -> bool {
    /// The network namespace of the NIC.
    const BPF_F_CURRENT_NETNS: u64 = u64::MAX;
    let dport = u16::from_ne_bytes(datagram.port);
    let [a, b, c, d] = words(datagram.address);
    // The longer variant first, so that no byte is left unwritten.
    let mut to = bpf_sock_tuple__bindgen_ty_1 {
        ipv6: V6 {
            saddr: [0; 4],
            daddr: [a, b, c, d],
            sport: 0,
            dport,
        },
    };
    let mut size = size_of::<V6>();
    if datagram.family == Family::V4 {
        to.ipv4 = V4 {
            saddr: 0,
            daddr: d,
            sport: 0,
            dport,
        };
        size = size_of::<V4>();
    }
    let mut tuple = bpf_sock_tuple {
        __bindgen_anon_1: to,
    };
    // SAFETY: the context is the program's own, the tuple is written in full, as many bytes of it
    // are read as its variant has, and a socket that was found is given back once, here.
    unsafe {
        let socket = bpf_sk_lookup_udp(
            context.as_ptr(),
            &raw mut tuple,
            size as u32,
            BPF_F_CURRENT_NETNS,
            0,
        );
        if socket.is_null() {
            return false;
        }
        bpf_sk_release(socket.cast());
    }
    true
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
