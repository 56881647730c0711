// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What all calls together did.

use std::time::Duration;

use super::value::Dictionary;

/// What all calls together did since the agent started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Statistics {
    /// How long ago that was.
    pub uptime: Duration,
    /// Calls that exist.
    pub sessions: u64,
    /// Calls that ever existed.
    pub managed: u64,
    /// Calls that were refused for a limit.
    pub rejected: u64,
    /// Calls that ended because media stopped.
    pub timed_out: u64,
    /// Calls that ended because media had been stopped by signalling, and nothing followed.
    pub timed_out_silently: u64,
    /// Calls that ended because they had lasted too long.
    pub timed_out_finally: u64,
    /// Calls that ended because no answer followed their offer.
    pub timed_out_unanswered: u64,
    /// Calls that ended as signalling said.
    pub ended: u64,
    /// Calls that ended as the operator said.
    pub ended_by_force: u64,
    /// How long all calls that ended lasted, together.
    pub duration: Duration,
    /// Packets that arrived and left again.
    pub packets: u64,
    /// Octets of them.
    pub bytes: u64,
    /// Packets that were dropped.
    pub errors: u64,
    /// The same in the last second.
    pub packet_rate: u64,
    /// The same in the last second.
    pub byte_rate: u64,
    /// The same in the last second.
    pub error_rate: u64,
}

impl Statistics {
    pub(super) fn dictionary(&self) -> Dictionary<'static> {
        let current = Dictionary::new()
            .with("sessionsown", self.sessions)
            .with("sessionsforeign", 0)
            .with("sessionstotal", self.sessions)
            .with("transcodedmedia", 0)
            .with("packetrate", self.packet_rate)
            .with("byterate", self.byte_rate)
            .with("errorrate", self.error_rate);
        // Times are text, as those who read them are used to.
        let total = Dictionary::new()
            .with("uptime", self.uptime.as_secs().to_string())
            .with("managedsessions", self.managed)
            .with("rejectedsessions", self.rejected)
            .with("timeoutsessions", self.timed_out)
            .with("silenttimeoutsessions", self.timed_out_silently)
            .with("finaltimeoutsessions", self.timed_out_finally)
            .with("offertimeoutsessions", self.timed_out_unanswered)
            .with("regularterminatedsessions", self.ended)
            .with("forcedterminatedsessions", self.ended_by_force)
            .with("relayedpackets", self.packets)
            .with("relayedbytes", self.bytes)
            .with("relayedpacketerrors", self.errors)
            .with("avgcallduration", self.average_duration());
        Dictionary::new()
            .with("currentstatistics", current)
            .with("totalstatistics", total)
    }

    /// In seconds, with six decimal places.
    fn average_duration(&self) -> String {
        let ended = self.managed.saturating_sub(self.sessions).max(1);
        let micros = self.duration.as_micros() / u128::from(ended);
        format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}
