// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The gateway's books: each packet is somewhere, each frame is somewhere.

use sallyport_tests::Gateway;
use sallyport_tests::patience::wait_until;
use serde_json::Value;

/// Fails unless no frame is lost, and every packet that the XDP program handed over leaves or is
/// refused for a reason. For gateways whose data plane has not been restarted, and to which nobody
/// sends any more.
pub(crate) fn expect_balanced(gateway: &Gateway<'_>) {
    let mut statistics = gateway.statistics();
    let is_balanced = wait_until(|| {
        statistics = gateway.statistics();
        is_balanced(&statistics)
    });
    assert!(is_balanced, "packets are nowhere in {statistics}");
    assert_eq!(gateway.frames_lost(), 0);
}

fn is_balanced(statistics: &Value) -> bool {
    let (mut taken, mut dropped) = (0, 0);
    for worker in list(&statistics["workers"]) {
        let [packets_in, packets_out] =
            ["packets_in", "packets_out"].map(|name| number(&worker[name]));
        if packets_in != packets_out + total(&worker["refused"]) {
            return false;
        }
        taken += packets_in;
        for queue in list(&worker["queues"]) {
            dropped += number(&queue["rx_dropped"]) + number(&queue["rx_ring_full"]);
        }
    }
    let nics = list(&statistics["nics"]).iter();
    let redirected: u64 = nics.map(|nic| number(&nic["verdicts"]["redirected"])).sum();
    redirected == taken + dropped
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
