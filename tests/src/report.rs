// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which peers the tests really used, and how many packets each exchanged. `cargo xtask test` names
//! the file in `SALLYPORT_PEER_REPORT` and prints it as a table.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;

use serde_json::json;

/// Adds one line: `peer` (such as `GStreamer 1.22.0 srtpenc`) exchanged so many `packets` under
/// `suite`, in `direction` (`access to core` or `core to access`), in `test`.
///
/// # Panics
///
/// If the file cannot be written.
pub fn peer(peer: &str, suite: &str, direction: &str, packets: u64, test: &str) {
    let Some(path) = env::var_os("SALLYPORT_PEER_REPORT") else {
        return;
    };
    let line = json!({
        "peer": peer,
        "suite": suite,
        "direction": direction,
        "packets": packets,
        "test": test,
    });
    // One write of one line: tests that run at the same time do not mix theirs.
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}
