// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The agent over real HTTP, in front of a data plane that only pretends.

#![forbid(unsafe_code)]

/// The pretended data plane.
mod calls;
mod data_plane;
/// An agent, its HTTP client and its log.
mod harness;

/// Every request that is wrong.
mod e2ae;
mod errors;
/// HTTP for other hosts.
mod https;
/// What a SIP proxy asks for.
mod ng_options;
/// What each of its words makes of session descriptions.
mod ng_words;
/// Agent and data plane die and come back.
mod recovery;
/// Keys go in and never out.
mod secrecy;
/// Sessions come, show and go.
mod sessions;
mod timeouts;
