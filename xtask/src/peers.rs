// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the tests' foreign peers exchanged with the gateway: one JSON object a line, written by
//! the tests, shown as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

const HEAD: [&str; 5] = ["peer", "suite", "direction", "packets", "tests"];

/// The table of a report. Lines of the same peer, suite and direction are added up.
pub(crate) fn table(report: &str) -> String {
    let mut sums: BTreeMap<[&str; 3], (u64, BTreeSet<&str>)> = BTreeMap::new();
    let lines: Vec<Value> = report
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or(Value::Null))
        .collect();
    for line in &lines {
        let word = |key: &str| line[key].as_str().unwrap_or("?");
        let sum = sums
            .entry([word("peer"), word("suite"), word("direction")])
            .or_default();
        sum.0 += line["packets"].as_u64().unwrap_or(0);
        sum.1.insert(word("test"));
    }
    if sums.is_empty() {
        return "\nNo foreign peer took part in these tests.\n".to_owned();
    }
    let rows: Vec<[String; 5]> = sums
        .iter()
        .map(|([peer, suite, direction], (packets, tests))| {
            let counts = [packets.to_string(), tests.len().to_string()];
            let [packets, tests] = counts;
            [
                (*peer).into(),
                (*suite).into(),
                (*direction).into(),
                packets,
                tests,
            ]
        })
        .collect();
    lay_out(&rows)
}

fn lay_out(rows: &[[String; 5]]) -> String {
    let mut widths = HEAD.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = "\nThe peers that took part, none of them ours:\n".to_owned();
    for row in std::iter::once(&HEAD.map(str::to_owned)).chain(rows) {
        let [peer, suite, direction, packets, tests] = row;
        let [w0, w1, w2, w3, w4] = widths;
        let _ = writeln!(
            text,
            "  {peer:w0$}  {suite:w1$}  {direction:w2$}  {packets:>w3$}  {tests:>w4$}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_peer_suite_and_direction_are_added_up() {
        let report = r#"{"peer":"ffmpeg 5.1","suite":"AES_CM_128_HMAC_SHA1_80","direction":"to gateway","packets":100,"test":"a"}
{"peer":"ffmpeg 5.1","suite":"AES_CM_128_HMAC_SHA1_80","direction":"to gateway","packets":23,"test":"b"}
{"peer":"GStreamer 1.22.0","suite":"AEAD_AES_128_GCM","direction":"from gateway","packets":7,"test":"a"}
"#;
        let expected = "
The peers that took part, none of them ours:
  peer              suite                    direction     packets  tests
  GStreamer 1.22.0  AEAD_AES_128_GCM         from gateway        7      1
  ffmpeg 5.1        AES_CM_128_HMAC_SHA1_80  to gateway        123      2
";
        assert_eq!(table(report), expected);
    }

    #[test]
    fn a_broken_line_shows_as_such() {
        assert!(table("{\"peer\":\"ffm").contains("?     ?      ?                0      1"));
    }

    #[test]
    fn no_lines_are_said_to_be_none() {
        assert!(table("").contains("No foreign peer"));
    }
}
