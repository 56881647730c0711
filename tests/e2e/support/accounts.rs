// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The gateway's books: each packet is somewhere, each frame is somewhere.

use sallyport_tests::Gateway;
use serde_json::Value;

/// Fails unless no frame is lost, and every packet that the XDP program handed over has either
/// left or been refused for a reason. For gateways whose data plane has not been restarted, and
/// once everything that was sent has arrived.
pub(crate) fn expect_balanced(gateway: &Gateway<'_>) {
    assert_eq!(gateway.frames_lost(), 0);
    let statistics = gateway.statistics();
    let (mut taken, mut dropped) = (0, 0);
    for worker in list(&statistics["workers"]) {
        let [packets_in, packets_out] =
            ["packets_in", "packets_out"].map(|name| number(&worker[name]));
        let refused = total(&worker["refused"]);
        assert_eq!(
            packets_in,
            packets_out + refused,
            "packets of the worker {worker}"
        );
        taken += packets_in;
        for queue in list(&worker["queues"]) {
            dropped += number(&queue["rx_dropped"]) + number(&queue["rx_ring_full"]);
        }
    }
    let redirected: u64 = list(&statistics["nics"])
        .iter()
        .map(|nic| number(&nic["verdicts"]["redirected"]))
        .sum();
    assert_eq!(
        redirected,
        taken + dropped,
        "packets of the workers in {statistics}"
    );
}

/// The sum of an object's values.
pub(crate) fn total(counts: &Value) -> u64 {
    let counts = counts
        .as_object()
        .unwrap_or_else(|| panic!("{counts} counts nothing"));
    counts.values().map(number).sum()
}

fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no list"))
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no count"))
}
