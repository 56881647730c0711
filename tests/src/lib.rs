// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The test bed: a gateway between two network namespaces, and what tests need around it.
//!
//! ```text
//!   ue namespace            gateway namespace             core namespace
//!   eth0 ───────── veth ──── access0   core0 ──── veth ───────── eth0
//!                            `sallyport run`
//! ```
//!
//! Everything that is created carries the creator's process id in its name, is removed when it is
//! dropped, when the process panics or is told to end, and by the next process if this one was
//! killed.

#![forbid(unsafe_code)]

pub mod binary;
pub mod cleanup;
pub mod compile;
pub mod gateway;
pub mod libsrtp;
pub mod media;
pub mod netns;
pub mod patience;
pub mod report;
pub mod require;
pub mod topology;

pub use gateway::{Gateway, GatewayOptions, Session};
pub use netns::Namespace;
pub use topology::{Family, Topology, TopologyOptions};
