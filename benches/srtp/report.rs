// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The results, for people and for programs.

use std::fmt::Write as _;

use sallyport_srtp::MAX_BURST;
use serde_json::{Value, json};

use crate::case::{Case, HOT_STREAMS, Payload};
use crate::course::{Outcome, Rival};
use crate::goals;
use crate::ours::kernel;
use crate::peers::{IPSEC_MB, LIBSRTP};

/// What the tables mean, and where they were measured.
pub(crate) fn preface() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split(": ").nth(1))
        .unwrap_or("unknown CPU");
    format!(
        "SRTP on one core of {model}, kernel {}.\n\
         Nanoseconds per packet, median (min). `kernel` is our kernel alone: keys are expanded, IV and\n\
         ROC given, as they are to ipsec-mb, aws-lc-rs and RustCrypto. `full` is all of SRTP: look-up,\n\
         index, IV, replay list too, as libsrtp has it; `added` is the difference. Ratios are ours over\n\
         the peer's, median of the rounds: below 1 ours is faster. Frames of the pool are in the cache.\n\
         ipsec-mb is the fastest of its interfaces and allowed instruction sets in each line.\n",
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
        "kernel".to_owned(),
        "full".to_owned(),
        "added".to_owned(),
    ]];
    for rival in &first.rivals {
        let ratios = ["kernel /", "full /"].map(str::to_owned);
        rows[0].push(rival.name.to_owned());
        rows[0].extend(ratios);
    }
    for outcome in outcomes {
        let times = |times: crate::course::Times| format!("{:.1} ({:.1})", times.median, times.min);
        let mut row = vec![
            outcome.case.payload.to_string(),
            outcome.case.streams.to_string(),
            outcome.case.burst.to_string(),
            times(outcome.kernel),
            times(outcome.full),
            format!("{:.1}", outcome.added),
        ];
        for column in &first.rivals {
            let rival = outcome
                .rivals
                .iter()
                .find(|rival| rival.name == column.name);
            row.extend(rival.map_or_else(Default::default, |rival| {
                let ratio = |ratio: f64| format!("{ratio:.3}");
                [
                    times(rival.times),
                    rival.kernel_ratio.map_or_else(String::new, ratio),
                    ratio(rival.full_ratio),
                ]
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

/// One Markdown table for all suites: full bursts of hot streams, ours and the ratio to the two
/// peers that goals are about.
pub(crate) fn summary(outcomes: &[Outcome]) -> String {
    let hot = |outcome: &&Outcome| outcome.case.is_hot();
    let outcomes: Vec<&Outcome> = outcomes.iter().filter(hot).collect();
    let payloads = Payload::ALL.map(|payload| payload.to_string()).join(" | ");
    let mut text = format!(
        "\nNanoseconds per packet and ratios, bursts of {MAX_BURST}, {HOT_STREAMS} streams\n\n\
         | | | {payloads} |\n|-|-|{}\n",
        "-:|".repeat(Payload::ALL.len())
    );
    let alike = |a: &&Outcome, b: &&Outcome| (a.suite, a.operation) == (b.suite, b.operation);
    for cases in outcomes.chunk_by(alike) {
        let name = format!("{}, {}", cases[0].suite, cases[0].operation);
        let ratio = |it: &Outcome, peer: &str, of: fn(&Rival) -> Option<f64>| {
            let rival = it.rivals.iter().find(|rival| rival.name == peer)?;
            Some(format!("{:.2}", of(rival)?))
        };
        let mut row = |title: &str, cell: &dyn Fn(&Outcome) -> Option<String>| {
            let cells = Payload::ALL.map(|payload| {
                let case = cases.iter().find(|outcome| outcome.case.payload == payload);
                case.and_then(|case| cell(case)).unwrap_or_default()
            });
            if cells.iter().any(|cell| !cell.is_empty()) {
                _ = writeln!(text, "| {name} | {title} | {} |", cells.join(" | "));
            }
        };
        row("kernel", &|it| Some(format!("{:.1}", it.kernel.median)));
        row(&format!("kernel / {IPSEC_MB}"), &|it| {
            ratio(it, IPSEC_MB, |rival| rival.kernel_ratio)
        });
        row("full", &|it| Some(format!("{:.1}", it.full.median)));
        row(&format!("full / {LIBSRTP}"), &|it| {
            ratio(it, LIBSRTP, |rival| Some(rival.full_ratio))
        });
        row("full - kernel", &|it| Some(format!("{:.1}", it.added)));
        row("unprotect / protect, full", &|it| {
            Some(format!("{:.2}", it.over_protect?))
        });
    }
    text
}

/// What was to be reached, and what was.
pub(crate) fn goals(outcomes: &[Outcome]) -> String {
    let found = goals::found(outcomes, kernel());
    if found.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\nGoals, kernel {}. Those for ratios to {IPSEC_MB} are meant for its version 3.0\n\n\
         | | payload | streams | burst | must | aim | is | | peer |\n|-|-:|-:|-:|-:|-:|-:|-|-|\n",
        kernel()
    );
    for goal in found {
        let Case {
            payload,
            streams,
            burst,
        } = goal.case;
        let aim = goal.aim.map_or_else(String::new, |aim| format!("{aim:.2}"));
        _ = writeln!(
            text,
            "| {} | {payload} | {streams} | {burst} | {:.2} | {aim} | {:.3} | {} | {} |",
            goal.what,
            goal.must,
            goal.is,
            goal.verdict(),
            goal.peer,
        );
    }
    text
}

/// One object for each outcome, peer and scope.
pub(crate) fn json(outcomes: &[Outcome]) -> Vec<Value> {
    let objects = outcomes.iter().flat_map(|outcome| {
        outcome.rivals.iter().flat_map(move |rival| {
            let kernel_ratio = rival
                .kernel_ratio
                .map(|ratio| ("kernel", outcome.kernel, ratio));
            let full = ("full", outcome.full, rival.full_ratio);
            kernel_ratio
                .into_iter()
                .chain([full])
                .map(move |(scope, ours, ratio)| {
                    json!({
                        "suite": outcome.suite.name(),
                        "operation": outcome.operation.to_string(),
                        "payload": outcome.case.payload.json(),
                        "streams": outcome.case.streams,
                        "burst": outcome.case.burst,
                        "kernel": kernel(),
                        "scope": scope,
                        "ns": hundredths(ours.median),
                        "ns_min": hundredths(ours.min),
                        "peer": rival.name,
                        "peer_version": rival.version,
                        "peer_ns": hundredths(rival.times.median),
                        "peer_ns_min": hundredths(rival.times.min),
                        "ratio": (ratio * 1e4).round() / 1e4,
                    })
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
    use crate::case::Operation;
    use crate::course::Times;

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
            kernel: Times {
                median: 40.0,
                ..times
            },
            full: times,
            added: 10.0,
            over_protect: Some(1.05),
            rivals: vec![Rival {
                name: "peer",
                version: "1.3.0".to_owned(),
                times,
                kernel_ratio: Some(0.4),
                full_ratio: 0.512_34,
            }],
        }
    }

    #[test]
    fn a_program_finds_every_field() {
        let found = json(&[outcome(Payload::Bytes(160)), outcome(Payload::Mix)]);
        let expected = json!({
            "suite": "AEAD_AES_128_GCM", "operation": "unprotect", "payload": 160, "streams": 64,
            "burst": 8, "kernel": kernel(), "scope": "full", "ns": 50.0, "ns_min": 40.13,
            "peer": "peer", "peer_version": "1.3.0", "peer_ns": 50.0, "peer_ns_min": 40.13,
            "ratio": 0.5123,
        });
        assert_eq!(found[1], expected);
        assert_eq!(found[0]["scope"], "kernel");
        assert_eq!(found[0]["ns"], 40.0);
        assert_eq!(found[0]["ratio"], 0.4);
        assert_eq!(found[2]["payload"], "mix");
    }

    #[test]
    fn people_find_a_table_with_the_versions_below() {
        let found = table(&[outcome(Payload::Bytes(160)), outcome(Payload::Mix)]);
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!(
            lines[3..],
            [
                "| payload | streams | burst |      kernel |        full | added |        peer | kernel / | full / |",
                "|--------:|--------:|------:|------------:|------------:|------:|------------:|---------:|-------:|",
                "|     160 |      64 |     8 | 40.0 (40.1) | 50.0 (40.1) |  10.0 | 50.0 (40.1) |    0.400 |  0.512 |",
                "|     mix |      64 |     8 | 40.0 (40.1) | 50.0 (40.1) |  10.0 | 50.0 (40.1) |    0.400 |  0.512 |",
                "peer: 1.3.0",
            ]
        );
    }

    #[test]
    fn goals_are_found_and_judged() {
        let mut outcome = outcome(Payload::Bytes(160));
        outcome.case.burst = MAX_BURST;
        outcome.operation = Operation::Protect;
        outcome.rivals[0].name = LIBSRTP;
        outcome.rivals[0].full_ratio = 0.09;
        let text = goals(&[outcome]);
        for line in [
            "| AEAD_AES_128_GCM: full / libsrtp | 160 | 64 | 64 | 0.10 |  | 0.090 | must | 1.3.0 |",
            "| AEAD_AES_128_GCM, protect: full - kernel, ns | 160 | 64 | 64 | 15.00 |  | 10.000 | must |  |",
            "| AEAD_AES_128_GCM: unprotect / protect, full | 160 | 64 | 64 | 1.10 |  | 1.050 | must |  |",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
