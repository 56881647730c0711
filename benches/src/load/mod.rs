// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The load generator: calls with SRTP on one side and RTP on the other, every byte checked on
//! arrival.
//!
//! A [`Plan`] says how many [`Call`]s there are. Two [`Peer`]s, one at either end, send and receive
//! their packets, each on one thread, and count in the [`Tallies`] that a third thread reads
//! meanwhile. Both ends are on one host, so one clock tells how long a packet was under way.

mod burst;
mod call;
mod drops;
mod histogram;
mod metronome;
mod packet;
mod peer;
mod plan;
mod seen;
mod socket;
mod tally;

pub use call::Call;
pub use drops::{link_drops_here, socket_drops_here};
pub use histogram::{Histogram, Snapshot};
pub use peer::Peer;
pub use plan::Plan;
pub use socket::{Endpoints, Sockets};
pub use tally::{Direction, Line, Tallies, Tally};
