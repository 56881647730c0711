// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What happens to a burst, stage by stage, in the order of the data.
//!
//! A stage looks only at packets that still go on, and ends the way of those that it refuses with
//! a [`Reason`](sallyport_flow::Reason). No stage allocates, locks, logs, asks the kernel or knows
//! a clock, so the whole way can be tested and measured without a NIC. The one exception is the
//! first packet of a flow: to claim it takes a lock, and frees the boxes that its contexts came in
//! (see [`crate::contexts`]).

mod admit;
mod classify;
mod protect;
mod rewrite;
mod route;
mod unprotect;

use crate::burst::Burst;
use crate::state::WorkerState;

/// Decides about every packet of a burst: afterwards each is complete and ready for the NIC that
/// it names, or has a [`Fate`](crate::burst::Fate) that says why it is not.
pub fn process_burst(burst: &mut Burst, state: &mut WorkerState) {
    classify::classify(burst, state);
    admit::admit(burst, state);
    unprotect::unprotect(burst, state);
    route::route(burst, state);
    protect::protect(burst, state);
    rewrite::rewrite(burst, state);
}

#[cfg(test)]
mod tests;
