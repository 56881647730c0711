// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the XDP program `steer` decides, and how its maps are laid out.
//!
//! The program in `bin/steer` is a thin shell: this library holds every decision, is compiled for
//! the kernel and for the host alike, and is tested on the host. In the order of a packet:
//! [`parser`] finds the UDP datagram in a frame, [`mod@classify`] looks up whose it is in the maps of
//! [`layout`], and a [`Verdict`] says what happens to it and under which name it is counted.

#![no_std]
#![forbid(unsafe_code)]
#![expect(
    clippy::inline_always,
    reason = "the program is one function to the verifier"
)]

#[cfg(test)]
extern crate std;

pub mod classify;
pub mod layout;
pub mod parser;
pub mod verdict;

pub use classify::{Tables, classify};
pub use layout::FlowKey;
pub use parser::{Datagram, Family, Packet, parse};
pub use verdict::Verdict;
