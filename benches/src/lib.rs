// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What it costs, and the load generator.

#![forbid(unsafe_code)]

pub mod cpu;
pub mod load;
