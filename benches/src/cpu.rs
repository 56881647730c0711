// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The processor that a benchmark runs on.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Stays on one CPU, the last that it may have; a kernel that refuses costs only precision.
pub fn pin() {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).unwrap_or_default();
    let mut one = CpuSet::new();
    let last = (0..CpuSet::count()).rfind(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let pinned = last.map(|cpu| one.set(cpu).and_then(|()| sched_setaffinity(this, &one)));
    if !matches!(pinned, Some(Ok(()))) {
        eprintln!("not pinned to a CPU: expect more noise");
    }
}
