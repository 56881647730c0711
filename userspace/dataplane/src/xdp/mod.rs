// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The XDP program `steer` in the kernel: loading, attaching, its maps and counters.
//!
//! The program is loaded once for each NIC, since each copy knows its own number; all copies
//! share the maps. Maps and links are pinned, so that the program goes on steering, or refusing,
//! while no data plane runs, and the next one replaces it without a gap in which media would reach
//! the kernel.

mod attached;
mod error;
mod pin;
mod status;
mod steer;

use std::fmt;

pub use error::XdpError;
pub use status::{NicStatus, Status, status, unload};
pub use steer::{Steer, TestRunOutcome};

/// The number of a NIC: its place in the list that [`Steer::load`] was given.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NicId(pub u8);

/// How the program is attached to a NIC.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AttachMode {
    /// In the driver, before the kernel makes anything of a packet.
    Native,
    /// In the kernel's network stack: works with every driver, and slowly.
    Generic,
}

impl fmt::Display for AttachMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}
