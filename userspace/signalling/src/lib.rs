// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Key management as signalling carries it: text in, decision out. No I/O.

#![forbid(unsafe_code)]

pub mod inline;
pub mod ng;
pub mod suite;

pub use inline::{InlineError, InlineKey};
pub use suite::{Suite, UnknownSuite};
