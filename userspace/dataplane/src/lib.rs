// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The data plane: packets in at one NIC, out at the other, and nothing else.
//!
//! The modules stand in the order in which a start-up and then a packet meet them. Control:
//! [`config`], [`nic`], [`xdp`], [`xsk`], [`run`]. The way of a packet: [`worker`] takes a
//! [`burst`] from its sockets, [`stage::process_burst`] decides about it as a pure function over
//! the worker's [`state`], the worker hands what is left to the other socket. [`control`] speaks
//! with the agent and tells the workers what becomes of flows and, by [`rekey`], of their crypto
//! [`contexts`]; [`next_hop`] follows the kernel's routes and neighbours. How well media arrived is
//! measured by [`reception`], and what the peers say of
//! it gathered by [`reports`].

#![deny(unsafe_code)]

pub mod burst;
pub mod checksum;
pub mod config;
pub mod contexts;
pub mod control;
pub mod error;
pub mod flow_table;
pub mod header;
pub mod next_hop;
pub mod nic;
pub mod observed;
pub mod own;
pub mod reception;
pub mod rekey;
pub mod reports;
mod run;
pub mod server;
pub mod stage;
pub mod state;
pub mod worker;
pub mod xdp;
#[expect(
    unsafe_code,
    reason = "the kernel's rings and the UMEM are shared memory"
)]
pub mod xsk;

pub use config::{Config, PollMode, RealmConfig};
pub use error::DataPlaneError;
pub use run::run;
