// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The ng protocol, with requests as its clients send them.

#![forbid(unsafe_code)]

/// Requests that no client sends on purpose.
mod hostile;
/// What is answered.
mod replies;
/// What Kamailio and OpenSIPS send.
mod requests;
/// Every word that they know.
mod words;

use sallyport_signalling::ng::{Command, Encoding, RequestError};

/// Reads a document.
fn parse(document: &[u8]) -> Result<Command, RequestError> {
    Command::parse(Encoding::of(document)?.decode(document)?)
}
