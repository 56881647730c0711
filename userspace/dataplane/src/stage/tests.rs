// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets through all stages, without a NIC.

mod bed;
mod forwarding;
mod gate;
mod latching;
mod refusals;
mod rekeying;
