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

/// One stage.
pub type Stage = fn(&mut Burst, &mut WorkerState);

/// All stages and their names, in their order.
pub const STAGES: [(&str, Stage); 6] = [
    ("classify", classify::classify),
    ("admit", |burst, state| admit::admit(burst, state)),
    ("unprotect", unprotect::unprotect),
    ("route", route::route),
    ("protect", protect::protect),
    ("rewrite", |burst, state| rewrite::rewrite(burst, state)),
];

/// Decides about every packet of a burst: afterwards each is complete and ready for the NIC that
/// it names, or has a [`Fate`](crate::burst::Fate) that says why it is not.
pub fn process_burst(burst: &mut Burst, state: &mut WorkerState) {
    for (_, stage) in STAGES {
        stage(burst, state);
    }
}

#[cfg(test)]
mod tests;
