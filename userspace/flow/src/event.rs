// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the data plane tells on its own.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::FlowId;

/// Something happened to a flow. Sent after [`crate::Request::Subscribe`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub enum Event {
    /// A peer's address was learned, or a peer moved.
    Latched {
        /// The flow on which the peer's packet arrived.
        flow: FlowId,
        /// Where it came from.
        remote: SocketAddr,
    },
    /// A key of the flow has protected as many packets as it may; the flow carries no more.
    KeyExpired {
        /// The flow.
        flow: FlowId,
    },
    /// Events were lost because nobody read them; ask for statistics instead.
    Missed {
        /// How many.
        count: u64,
    },
}
