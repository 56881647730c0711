// SPDX-License-Identifier: Apache-2.0 OR MIT

//! SDP security descriptions: the attribute `a=crypto`, and what is made of it.
//!
//! Source: RFC 4568, with the suites of RFC 6188 and RFC 7714.

mod crypto;
mod inline;
mod negotiation;
mod parameters;
mod suite;

pub use crypto::{Crypto, CryptoError};
pub use inline::{InlineError, InlineKey};
pub use negotiation::{
    AnswerError, NoAcceptableCrypto, Preference, Sdes, Suites, SuitesError, answer,
};
pub use parameters::{AskedRelaxed, FecOrder, ParameterError, Relaxed, SessionParameters};
pub use suite::{Suite, UnknownSuite};
