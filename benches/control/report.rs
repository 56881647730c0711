// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The results, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::call::Command;
use crate::latency::{Distribution, Latencies};
use crate::memory::Memory;

/// Calls a second on one core.
const GOAL_OFFERS: f64 = 5000.0;

/// Of all requests, in microseconds.
const GOAL_P99: f64 = 2000.0;

/// Of the data plane, in bytes a session.
const GOAL_DATA_PLANE: u64 = 2048;

/// What was measured.
#[derive(Debug)]
pub(crate) struct Report {
    /// Open meanwhile.
    pub(crate) sessions: u32,
    /// How long it took to open them.
    pub(crate) opening: Duration,
    pub(crate) clients: u32,
    /// Whether the agent had a core to itself.
    pub(crate) cores: bool,
    pub(crate) latencies: Latencies,
    pub(crate) elapsed: Duration,
    /// For each session.
    pub(crate) memory: Memory,
}

impl Report {
    pub(crate) fn json(&self) -> Value {
        let all = self.latencies.all();
        json!({
            "sessions": self.sessions,
            "offers_per_s": self.offers_per_second().round(),
            "p50_us": all.permille(500).round(),
            "p99_us": all.permille(990).round(),
            "agent_bytes_per_session": self.memory.agent,
            "dataplane_bytes_per_session": self.memory.data_plane,
        })
    }

    /// Calls that were offered, answered and deleted.
    fn offers_per_second(&self) -> f64 {
        per_second(self.latencies.count(Command::Offer), self.elapsed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sessions, clients, ..
        } = self;
        let core = if self.cores {
            "agent on a core of its own"
        } else {
            "agent on the core of everybody: no second one"
        };
        writeln!(
            f,
            "ng over UDP, {sessions} sessions open, {clients} requests at a time, {core}\n"
        )?;
        writeln!(f, "latency, µs       p50      p99    p99.9      max")?;
        for command in Command::ALL {
            line(f, command.name(), &self.latencies.of(command))?;
        }
        let all = self.latencies.all();
        line(f, "all", &all)?;
        let offers = self.offers_per_second();
        let opened = per_second(*sessions as usize, self.opening);
        let Memory { agent, data_plane } = self.memory;
        let against = |is_met: bool, goal: &str| {
            format!("goal {goal}: {}", if is_met { "met" } else { "missed" })
        };
        writeln!(f)?;
        for (what, value, goal) in [
            (
                "offer, answer, delete",
                format!("{offers:.0} /s"),
                against(offers >= GOAL_OFFERS, "≥ 5000"),
            ),
            (
                "p99 of all requests",
                format!("{:.0} µs", all.permille(990)),
                against(all.permille(990) <= GOAL_P99, "≤ 2000"),
            ),
            (
                "offer, answer (opening)",
                format!("{opened:.0} /s"),
                String::new(),
            ),
            (
                "agent, call answered",
                format!("{agent} B/session"),
                String::new(),
            ),
            (
                "data plane, no media yet",
                format!("{data_plane} B/session"),
                against(data_plane <= GOAL_DATA_PLANE, "≤ 2048"),
            ),
        ] {
            writeln!(f, "{what:<24} {value:>16}  {goal}")?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, times: &Distribution) -> fmt::Result {
    write!(f, "{name:<12}")?;
    for permille in [500, 990, 999, 1000] {
        write!(f, " {:>8.0}", times.permille(permille))?;
    }
    writeln!(f)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "2^52 calls take longer than anybody waits"
)]
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
