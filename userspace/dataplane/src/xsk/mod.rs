// SPDX-License-Identifier: Apache-2.0 OR MIT

//! AF_XDP sockets: frames travel between NIC queues and this process without a copy by the kernel's
//! network stack, and on NICs with zero copy without any copy at all.
//!
//! # Objects
//!
//! A [`Umem`] is one area of memory, cut into chunks of [`FRAME_SIZE`] bytes. A [`Frame`] is one
//! chunk, and the right to touch it. A [`Socket`] binds one (NIC, queue) and has four rings, each
//! with one producer and one consumer, one of them the kernel:
//!
//! ```text
//!               ┌──────── fill ───────▶ kernel ──▶ receive ───┐       empty out, full back
//!  FramePool ───┤                                             ├──▶ worker
//!               └◀─── completion ────── kernel ◀── transmit ──┘       full out, empty back
//! ```
//!
//! Sockets of several NICs share one UMEM, so a packet that arrived on one leaves on another in the
//! very chunk the NIC wrote it to; its completion then appears on the ring of the socket that sent
//! it, and the chunk returns to the common pool.
//!
//! # Threads
//!
//! A UMEM, its pool and all its sockets belong to one thread. They may be set up on another one and
//! moved there (`Send`), but never be shared (not `Sync`): nothing here locks.
//!
//! # Requirements
//!
//! Linux 5.10 with `CONFIG_XDP_SOCKETS`; `CAP_NET_RAW` for the socket, and `CAP_IPC_LOCK` or a high
//! enough `RLIMIT_MEMLOCK` for the UMEM. [`XskError`] says which one is missing.
//!
//! Kernel documentation: <https://docs.kernel.org/networking/af_xdp.html>.

mod error;
mod ethtool;
mod frame;
mod if_xdp;
mod mmap;
mod ring;
mod socket;
mod statistics;
mod syscall;
mod umem;

pub use error::{NicQueue, XskError};
pub use ethtool::{channels, driver};
pub use frame::{FRAME_HEADROOM, FRAME_SIZE, Frame, FramePool};
pub use socket::{BindMode, Outstanding, Received, Socket, SocketConfig};
pub use statistics::XskStatistics;
pub use umem::Umem;
