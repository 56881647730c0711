// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Why a call is refused.

use core::fmt;

/// Why a request that was understood is refused. Displayed as the `error-reason` that clients
/// look for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such call.
    UnknownCall,
    /// The tags or the branch fit no part of the call.
    Dialogue,
    /// The body is not SDP.
    Sdp,
    /// The SDP lacks what it must have.
    IncompleteSdp,
    /// The SDP cannot be rewritten.
    Rewrite,
    /// One more call is too many. Clients try another gateway.
    Limit(Limit),
    /// Another reason, in words that say what to change.
    Other(String),
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Limit {
    /// Calls.
    Sessions,
    /// Ports in use.
    Ports,
    /// Use of the processors.
    Cpu,
    /// Load, or the gateway is about to end.
    Load,
    /// Octets in a second.
    Bandwidth,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownCall => "Unknown call-id",
            Self::Dialogue => "Invalid dialogue association",
            Self::Sdp => "Failed to parse SDP",
            Self::IncompleteSdp => "Incomplete SDP specification",
            Self::Rewrite => "Error rewriting SDP",
            Self::Limit(limit) => return limit.fmt(f),
            Self::Other(reason) => reason,
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sessions => "Parallel session limit reached",
            Self::Ports => "Ran out of ports",
            Self::Cpu => "CPU usage limit exceeded",
            Self::Load => "Load limit exceeded",
            Self::Bandwidth => "Bandwidth limit exceeded",
        })
    }
}

impl core::error::Error for Refusal {}
