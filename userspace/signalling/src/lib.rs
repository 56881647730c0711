// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Session descriptions and the keys in them: text in, decision out. No I/O.

#![forbid(unsafe_code)]

mod decimal;
pub mod e2ae;
pub mod mediasec;
pub mod ng;
pub mod policy;
pub mod random;
pub mod sdes;
pub mod sdp;
pub mod shape;

pub use sdes::{InlineError, InlineKey, Suite, UnknownSuite};
