// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the kernel and we count per socket.

/// Counters of one socket since it was opened. The first six are the kernel's
/// (`struct xdp_statistics`, under the same names).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct XskStatistics {
    /// Packets dropped for other reasons than a full ring, for example one too long for a frame.
    pub rx_dropped: u64,
    /// Descriptors in the fill ring that the kernel refused.
    pub rx_invalid_descs: u64,
    /// Descriptors in the transmit ring that the kernel refused.
    pub tx_invalid_descs: u64,
    /// Packets dropped because the receive ring was full: the worker is too slow.
    pub rx_ring_full: u64,
    /// How often the kernel wanted a frame from an empty fill ring: too few frames. In copy mode a
    /// packet is dropped each time.
    pub rx_fill_ring_empty_descs: u64,
    /// How often the kernel wanted a packet from an empty transmit ring. Harmless.
    pub tx_ring_empty_descs: u64,
    /// Descriptors from the kernel that lie outside the UMEM or their frame. Never seen yet.
    pub invalid_from_kernel: u64,
    /// Kicks that found the link down; their packets wait in the transmit ring.
    pub link_down: u64,
}

impl From<libc::xdp_statistics> for XskStatistics {
    fn from(kernel: libc::xdp_statistics) -> Self {
        Self {
            rx_dropped: kernel.rx_dropped,
            rx_invalid_descs: kernel.rx_invalid_descs,
            tx_invalid_descs: kernel.tx_invalid_descs,
            rx_ring_full: kernel.rx_ring_full,
            rx_fill_ring_empty_descs: kernel.rx_fill_ring_empty_descs,
            tx_ring_empty_descs: kernel.tx_ring_empty_descs,
            ..Self::default()
        }
    }
}
