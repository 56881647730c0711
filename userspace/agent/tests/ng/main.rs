// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The ng front end over real sockets, in front of calls that are only pretended.

#![forbid(unsafe_code)]

/// The pretended calls, and a front end before them.
mod harness;

/// What becomes of each command.
mod commands;
/// Requests that come again.
mod cookies;
/// The end of a front end.
mod end;
/// HTTP.
mod http;
/// Requests that are refused, and why.
mod limits;
/// Requests back to back.
mod tcp;
/// WebSockets.
mod web_socket;
