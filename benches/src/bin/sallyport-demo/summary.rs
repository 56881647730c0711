// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is said at the end, on standard output.

use std::fmt;

use sallyport_benches::load::{Direction, Plan, Snapshot, Tallies, Tally};
use sallyport_srtp::Kind;
use serde_json::{Value, json};

use crate::live::latency;
use crate::reading::{Nic, Reading, enumerate};

/// What was sent, what arrived, and what the gateway and the kernel say.
pub(crate) struct Summary {
    pub(crate) plan: Plan,
    pub(crate) tallies: Tallies,
    pub(crate) reading: Reading,
    /// Packets that were lost between the namespaces, where the other end of a veth was full.
    pub(crate) lost_on_links: u64,
    /// Packets that the generator's own sockets had no room for.
    pub(crate) lost_by_us: u64,
}

impl Summary {
    /// Whether everything was sent and arrived intact, once, and the gateway lost no frame.
    pub(crate) fn is_perfect(&self) -> bool {
        let lines = self.tallies.lines();
        self.tallies.total(Tally::sent) == self.plan.total()
            && lines.iter().all(|line| line.tally.is_perfect())
            && self.reading.frames_lost == 0
    }

    /// The same as the table, for programs.
    pub(crate) fn json(&self) -> Value {
        let lines = self.tallies.lines().iter().map(|line| {
            let tally = &line.tally;
            json!({
                "suite": line.suite.name(),
                "direction": line.direction.to_string(),
                "protocol": match line.kind {
                    Kind::Rtp => "SRTP",
                    Kind::Rtcp => "SRTCP",
                },
                "sent": tally.sent(),
                "not_sent": tally.unsent(),
                "intact": tally.intact(),
                "lost": tally.missing(),
                "corrupt": tally.corrupt(),
                "duplicate": tally.duplicate(),
                "latency_us": latency_json(&tally.latency.snapshot()),
            })
        });
        let nics = self.reading.nics.iter().map(|nic| {
            json!({
                "name": nic.name,
                "rung": nic.rung,
                "verdicts": nic.verdicts,
                "lost_at_full_rings": nic.lost,
            })
        });
        json!({
            "calls": self.plan.calls,
            "seconds": self.plan.seconds,
            "pps": self.plan.pps,
            "payload": self.plan.payload,
            "lines": lines.collect::<Vec<_>>(),
            "sent": self.tallies.total(Tally::sent),
            "intact": self.tallies.total(Tally::intact),
            "lost": self.tallies.total(Tally::missing),
            "lost_on_links": self.lost_on_links,
            "lost_by_generator": self.lost_by_us,
            "latency_us": latency_json(&latency(&self.tallies)),
            "refused": self.reading.refused,
            "nics": nics.collect::<Vec<_>>(),
            "workers": self.reading.workers,
            "frames": self.reading.frames,
            "frames_lost": self.reading.frames_lost,
            "perfect": self.is_perfect(),
        })
    }

    /// Where packets were lost, as far as anybody counted them.
    fn losses(&self) -> String {
        let nics = self.reading.nics.iter();
        let rings = nics.map(|nic| (nic.lost, format!("at the full rings of {}", nic.name)));
        let others = [
            (
                self.reading.refused_total(),
                "refused by the gateway".to_owned(),
            ),
            (self.lost_on_links, "on full veth links".to_owned()),
            (
                self.lost_by_us,
                "by the generator, whose sockets were full: send less".to_owned(),
            ),
        ];
        let places = rings.chain(others).filter(|(count, _)| *count != 0);
        let places: Vec<_> = places
            .map(|(count, place)| format!("{count} {place}"))
            .collect();
        if places.is_empty() {
            "nowhere".to_owned()
        } else {
            places.join(", ")
        }
    }

    /// One sentence: how it went.
    fn verdict(&self) -> String {
        let sent = self.tallies.total(Tally::sent);
        if self.is_perfect() {
            return format!("All {sent} packets arrived, every byte intact.");
        }
        let defects = [
            (self.tallies.total(Tally::missing), "lost"),
            (self.tallies.total(Tally::corrupt), "corrupt"),
            (self.tallies.total(Tally::duplicate), "arrived twice"),
            (self.plan.total() - sent, "never sent"),
            (
                self.reading.frames_lost.unsigned_abs(),
                "UMEM frames leaked",
            ),
        ];
        let defects = defects.iter().filter(|(count, _)| *count != 0);
        let defects: Vec<_> = defects
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        format!(
            "Not perfect: of {} packets {}.",
            self.plan.total(),
            defects.join(", ")
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            calls,
            seconds,
            pps,
            payload,
        } = self.plan;
        writeln!(
            f,
            "\n{calls} calls for {seconds} s: each way {pps} packets/s of {payload} bytes and a \
             report/s; half of them with\nRTP and RTCP on one port, every fifth over IPv6\n"
        )?;
        writeln!(f, "{:79}{:>29}", "", "one-way latency, µs")?;
        write!(f, "{:25}{:14}{:>9}{:>9}", "suite", "", "sent", "intact")?;
        write!(f, "{:>7}{:>8}{:>7}", "lost", "corrupt", "twice")?;
        writeln!(f, "{:>7}{:>7}{:>7}{:>8}", "p50", "p99", "p99.9", "max")?;
        for line in self.tallies.lines() {
            let way = match (line.direction, line.kind) {
                (Direction::ToCore, Kind::Rtp) => "SRTP → RTP",
                (Direction::ToCore, Kind::Rtcp) => "SRTCP → RTCP",
                (Direction::ToAccess, Kind::Rtp) => "RTP → SRTP",
                (Direction::ToAccess, Kind::Rtcp) => "RTCP → SRTCP",
            };
            write!(f, "{:25}{way:14}", line.suite.name())?;
            row(
                f,
                |count| count(&line.tally),
                &line.tally.latency.snapshot(),
            )?;
        }
        write!(f, "{:25}{:14}", "all", "")?;
        row(
            f,
            |count| self.tallies.total(count),
            &latency(&self.tallies),
        )?;
        writeln!(f)?;
        for Nic {
            name,
            rung,
            verdicts,
            ..
        } in &self.reading.nics
        {
            writeln!(
                f,
                "{:16}{rung}; {}",
                format!("XDP on {name}"),
                enumerate(verdicts)
            )?;
        }
        let Reading {
            frames,
            frames_lost,
            workers,
            ..
        } = self.reading;
        let workers = if workers == 1 {
            "1 worker".to_owned()
        } else {
            format!("{workers} workers")
        };
        writeln!(f, "{:16}{}", "refused", self.reading.refusals())?;
        writeln!(f, "{:16}{}", "lost", self.losses())?;
        writeln!(
            f,
            "{:16}{frames_lost} of {frames} UMEM frames, {workers}",
            "leaked"
        )?;
        write!(f, "\n{}", self.verdict())
    }
}

/// A duration in nanoseconds as microseconds: one place behind the point where it matters.
pub(crate) fn microseconds(nanoseconds: Option<u64>) -> String {
    match nanoseconds {
        None => "-".to_owned(),
        Some(short @ ..100_000) => {
            let tenths = (short + 50) / 100;
            format!("{}.{}", tenths / 10, tenths % 10)
        }
        Some(long) => ((long + 500) / 1000).to_string(),
    }
}

/// Writes the numbers of a line.
fn row(
    f: &mut fmt::Formatter<'_>,
    number: impl Fn(fn(&Tally) -> u64) -> u64,
    latency: &Snapshot,
) -> fmt::Result {
    write!(f, "{:>9}{:>9}", number(Tally::sent), number(Tally::intact))?;
    write!(
        f,
        "{:>7}{:>8}",
        number(Tally::missing),
        number(Tally::corrupt)
    )?;
    write!(f, "{:>7}", number(Tally::duplicate))?;
    for per_mille in QUANTILES {
        write!(f, "{:>7}", microseconds(latency.quantile(per_mille)))?;
    }
    writeln!(f, "{:>8}", microseconds(latency.max()))
}

fn latency_json(latency: &Snapshot) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "2^53 ns are three months")]
    let microseconds = |nanoseconds: Option<u64>| nanoseconds.map(|time| time as f64 / 1000.0);
    let [p50, p99, p999] = QUANTILES.map(|per_mille| microseconds(latency.quantile(per_mille)));
    json!({ "p50": p50, "p99": p99, "p99.9": p999, "max": microseconds(latency.max()) })
}

/// In thousandths.
const QUANTILES: [u64; 3] = [500, 990, 999];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_have_a_decimal_place_below_a_hundred_microseconds_only() {
        for (nanoseconds, expected) in [
            (None, "-"),
            (Some(0), "0.0"),
            (Some(61_449), "61.4"),
            (Some(99_999), "100.0"),
            (Some(100_000), "100"),
            (Some(1_234_567), "1235"),
        ] {
            assert_eq!(microseconds(nanoseconds), expected);
        }
    }
}
