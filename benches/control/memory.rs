// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How much memory the gateway's processes have.

use std::fs;

use nix::unistd::Pid;
use sallyport_tests::Gateway;

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) agent: u64,
    pub(crate) data_plane: u64,
}

impl Memory {
    /// As it is now.
    pub(crate) fn of(gateway: &Gateway<'_>) -> Self {
        Self {
            agent: resident(gateway.agent_pid()),
            data_plane: resident(gateway.data_plane_pid()),
        }
    }

    /// What each session added since.
    pub(crate) fn per_session(self, before: Self, sessions: u32) -> Self {
        let each = |after: u64, before: u64| after.saturating_sub(before) / u64::from(sessions);
        Self {
            agent: each(self.agent, before.agent),
            data_plane: each(self.data_plane, before.data_plane),
        }
    }
}

/// `VmRSS` of proc(5), which counts in KiB.
fn resident(process: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    1024 * number
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or(0)
}
