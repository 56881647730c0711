// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where peers with ICE and DTLS are answered: one socket of the kernel for each port of a leg that
//! has them.
//!
//! The XDP program passes STUN and DTLS of such a port up to the kernel (RFC 7983); media goes to
//! the workers as ever. So media keeps flowing while no agent is there, and an agent that comes back
//! answers the checks by which a browser knows that it is still wanted (RFC 7675).
//!
//! - ICE: a lite agent (RFC 8445 section 2.5). The peer finds its way to us, proves that it knows
//!   our password, and nominates one of its addresses: media is sent there.
//! - DTLS: the handshake (RFC 5764) gives SRTP keys, but only to who has a certificate of the
//!   fingerprint that came with the session description. Until then the gates of the leg's flows
//!   are locked, and nothing passes, neither plain nor under a key that is not the peer's.
//!
//! Strangers cost little: a check is a hash, a handshake begins only with who has passed one, or
//! without ICE comes from where the peer must be, so many run at a time, and each has a time limit.
//!
//! What comes out is part of the call's state and in its store: keys and the nominated address
//! outlive the agent. The handshake itself does not; a peer that repeats it is given one anew.

/// One handshake.
mod association;

/// Who we are.
mod certificate;

/// The socket of one port.
mod endpoint;

/// All of them.
mod endpoints;

/// The answers to checks.
mod lite;

/// How often strangers are listened to.
mod pace;

#[cfg(test)]
pub(crate) use association::Keys;
pub(crate) use endpoint::{Fact, Place, Report, Terms};
pub(crate) use endpoints::{Endpoints, Wanted};
