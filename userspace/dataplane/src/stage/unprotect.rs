// SPDX-License-Identifier: Apache-2.0 OR MIT

//! SRTP and SRTCP of protected flows become RTP and RTCP, the whole burst at once.

use crate::burst::Burst;
use crate::stage::protect::{Direction, run};
use crate::state::WorkerState;

/// Unprotects the packets of protected flows.
pub(super) fn unprotect(burst: &mut Burst, state: &mut WorkerState) {
    run(burst, state, Direction::Unprotect);
}
