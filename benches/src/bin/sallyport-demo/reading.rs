// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the gateway says about itself: the part of `/v1/statistics` that is shown.

use std::collections::BTreeMap;
use std::fmt::Write;

use sallyport_tests::gateway::frames_lost;
use serde_json::Value;

/// The gateway's counters at one moment.
#[derive(Debug)]
pub(crate) struct Reading {
    /// One for each NIC.
    pub(crate) nics: Vec<Nic>,
    /// How many workers there are.
    pub(crate) workers: usize,
    /// Packets that did not leave, by reason, over all workers.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Frames of all UMEMs.
    pub(crate) frames: u64,
    /// Those of them that are nowhere.
    pub(crate) frames_lost: i64,
}

/// The XDP program on one NIC.
#[derive(Debug)]
pub(crate) struct Nic {
    /// Such as `access0`.
    pub(crate) name: String,
    /// How packets reach the workers, such as `native copy`.
    pub(crate) rung: String,
    /// How many packets got each verdict.
    pub(crate) verdicts: BTreeMap<String, u64>,
    /// Packets that were redirected to a socket that had no room.
    pub(crate) lost: u64,
}

impl Reading {
    /// Reads an answer of `/v1/statistics`.
    pub(crate) fn of(statistics: &Value) -> Self {
        let list = |key: &str| statistics[key].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let workers = list("workers");
        let mut refused = BTreeMap::new();
        for (reason, count) in workers.iter().flat_map(|worker| counts(&worker["refused"])) {
            *refused.entry(reason).or_default() += count;
        }
        let queues: Vec<_> = workers
            .iter()
            .filter_map(|worker| worker["queues"].as_array())
            .flatten()
            .collect();
        let lost = |queue: &Value| {
            ["rx_dropped", "rx_ring_full"]
                .iter()
                .filter_map(|key| queue[key].as_u64())
                .sum::<u64>()
        };
        let nic = |nic: &Value| Nic {
            name: text(&nic["name"]),
            rung: text(&nic["rung"]),
            verdicts: counts(&nic["verdicts"]).collect(),
            lost: queues
                .iter()
                .filter(|queue| queue["nic"] == nic["name"])
                .map(|queue| lost(queue))
                .sum(),
        };
        Self {
            nics: list("nics").iter().map(nic).collect(),
            refused,
            frames: workers
                .iter()
                .filter_map(|worker| worker["frames"]["total"].as_u64())
                .sum(),
            frames_lost: frames_lost(statistics),
            workers: workers.len(),
        }
    }

    /// Packets that did not leave.
    pub(crate) fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Their number, and for which reasons.
    pub(crate) fn refusals(&self) -> String {
        match self.refused_total() {
            0 => "0".to_owned(),
            total => format!("{total} ({})", enumerate(&self.refused)),
        }
    }
}

/// Names and counts in one line, without those that are 0.
pub(crate) fn enumerate(counts: &BTreeMap<String, u64>) -> String {
    let mut line = String::new();
    for (name, count) in counts.iter().filter(|(_, count)| **count != 0) {
        let comma = if line.is_empty() { "" } else { ", " };
        let _ = write!(line, "{comma}{name} {count}");
    }
    line
}

/// The entries of an object of numbers.
fn counts(object: &Value) -> impl Iterator<Item = (String, u64)> {
    let entries = object.as_object().into_iter().flatten();
    entries.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_are_summed_over_workers_and_named() {
        let worker = |refused: Value| {
            let frames = json!({"total": 8, "free": 4, "receive": 4, "transmit": 0});
            let queue = |nic| json!({"nic": nic, "rx_dropped": 1, "rx_ring_full": 2});
            let queues = [queue("access0"), queue("core0")];
            json!({"refused": refused, "frames": frames, "queues": queues})
        };
        let reading = Reading::of(&json!({
            "nics": [{"name": "access0", "rung": "native copy", "verdicts": {"redirect": 7, "pass": 0}}],
            "workers": [worker(json!({"replayed": 1})), worker(json!({"replayed": 2, "no-route": 1}))],
        }));
        assert_eq!(reading.refusals(), "4 (no-route 1, replayed 3)");
        assert_eq!(
            (reading.frames, reading.frames_lost, reading.workers),
            (16, 0, 2)
        );
        assert_eq!(enumerate(&reading.nics[0].verdicts), "redirect 7");
        assert_eq!(reading.nics[0].lost, 6);
    }
}
