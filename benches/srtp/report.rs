// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The results, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::course::Outcome;
use crate::ours::{SCOPE, kernel};

/// What the tables mean, and where they were measured.
pub(crate) fn preface() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split(": ").nth(1))
        .unwrap_or("unknown CPU");
    format!(
        "SRTP on one core of {model}, kernel {}, scope {SCOPE}.\n\
         Nanoseconds per packet, median (min); then ours over the peer's, median of the rounds:\n\
         below 1 ours is faster. Frames of the pool are in the cache.\n\
         Ours and libsrtp do all of SRTP: look-up, index, IV, replay list. ipsec-mb, aws-lc-rs and\n\
         RustCrypto only encrypt and authenticate: IV and ROC are given to them, which is to our\n\
         disadvantage. ipsec-mb is the fastest of its instruction sets and interfaces in each line.\n",
        kernel()
    )
}

/// One Markdown table: the outcomes of one suite and direction. The first has all peers, later
/// ones may be without those that do not take so many streams.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let Some(first) = outcomes.first() else {
        return String::new();
    };
    let mut text = format!("\n{}, {}\n\n", first.suite, first.operation);
    let mut rows = vec![vec![
        "payload".to_owned(),
        "streams".to_owned(),
        "burst".to_owned(),
        "ours".to_owned(),
    ]];
    for rival in &first.rivals {
        rows[0].extend([rival.name.to_owned(), "ratio".to_owned()]);
    }
    for outcome in outcomes {
        let times = |times: crate::course::Times| format!("{:.1} ({:.1})", times.median, times.min);
        let mut row = vec![
            outcome.case.payload.to_string(),
            outcome.case.streams.to_string(),
            outcome.case.burst.to_string(),
            times(outcome.ours),
        ];
        for column in &first.rivals {
            let rival = outcome
                .rivals
                .iter()
                .find(|rival| rival.name == column.name);
            row.extend(rival.map_or_else(Default::default, |rival| {
                [times(rival.times), format!("{:.3}", rival.ratio)]
            }));
        }
        rows.push(row);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            _ = write!(text, "| {cell:>width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                _ = write!(text, "|{:->1$}", ":", width + 2);
            }
            text.push_str("|\n");
        }
    }
    for column in &first.rivals {
        let mut versions: Vec<&str> = Vec::new();
        for rival in outcomes.iter().flat_map(|outcome| &outcome.rivals) {
            if rival.name == column.name && !versions.contains(&rival.version.as_str()) {
                versions.push(&rival.version);
            }
        }
        _ = writeln!(text, "{}: {}", column.name, versions.join("; "));
    }
    text
}

/// An array with one object for each outcome and peer.
pub(crate) fn json(outcomes: &[Outcome]) -> Value {
    let objects = outcomes.iter().flat_map(|outcome| {
        outcome.rivals.iter().map(|rival| {
            json!({
                "suite": outcome.suite.name(),
                "operation": outcome.operation.to_string(),
                "payload": outcome.case.payload.json(),
                "streams": outcome.case.streams,
                "burst": outcome.case.burst,
                "kernel": kernel(),
                "scope": SCOPE,
                "ns": hundredths(outcome.ours.median),
                "ns_min": hundredths(outcome.ours.min),
                "peer": rival.name,
                "peer_version": rival.version,
                "peer_ns": hundredths(rival.times.median),
                "peer_ns_min": hundredths(rival.times.min),
                "ratio": (rival.ratio * 1e4).round() / 1e4,
            })
        })
    });
    objects.collect()
}

fn hundredths(ns: f64) -> f64 {
    (ns * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use sallyport_srtp::Suite;

    use super::*;
    use crate::case::{Case, Operation, Payload};
    use crate::course::{Rival, Times};

    fn outcome(payload: Payload) -> Outcome {
        let times = Times {
            median: 50.0,
            min: 40.126,
        };
        Outcome {
            suite: Suite::AeadAes128Gcm,
            operation: Operation::Unprotect,
            case: Case {
                payload,
                streams: 64,
                burst: 8,
            },
            ours: times,
            rivals: vec![Rival {
                name: "peer",
                version: "1.3.0".to_owned(),
                times,
                ratio: 0.512_34,
            }],
        }
    }

    #[test]
    fn a_program_finds_every_field() {
        let found = json(&[outcome(Payload::Bytes(160)), outcome(Payload::Mix)]);
        let expected = json!({
            "suite": "AEAD_AES_128_GCM", "operation": "unprotect", "payload": 160, "streams": 64,
            "burst": 8, "kernel": kernel(), "scope": SCOPE, "ns": 50.0, "ns_min": 40.13,
            "peer": "peer", "peer_version": "1.3.0", "peer_ns": 50.0, "peer_ns_min": 40.13,
            "ratio": 0.5123,
        });
        assert_eq!(found[0], expected);
        assert_eq!(found[1]["payload"], "mix");
    }

    #[test]
    fn people_find_a_table_with_the_versions_below() {
        let found = table(&[outcome(Payload::Bytes(160)), outcome(Payload::Mix)]);
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!(
            lines[3..],
            [
                "| payload | streams | burst |        ours |        peer | ratio |",
                "|--------:|--------:|------:|------------:|------------:|------:|",
                "|     160 |      64 |     8 | 50.0 (40.1) | 50.0 (40.1) | 0.512 |",
                "|     mix |      64 |     8 | 50.0 (40.1) | 50.0 (40.1) | 0.512 |",
                "peer: 1.3.0",
            ]
        );
    }
}
