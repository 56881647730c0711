// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Any bytes, anywhere in a frame, are protected or refused; what was protected is understood.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sallyport_srtp_fuzz::{Input, Legs, Packet, Way};

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let legs = Legs::read(&mut input);
    let burst = Packet::read_burst(&mut input, &legs);

    let wires = legs.pass_both_ways(Way::Protect, &burst);
    let sent: Vec<_> = burst
        .iter()
        .zip(wires)
        .filter_map(|(plain, wire)| Some((plain, wire.ok()?)))
        .collect();
    let wires: Vec<_> = sent.iter().map(|(plain, wire)| plain.with(wire)).collect();
    let received = legs.pass_both_ways(Way::Unprotect, &wires);
    for ((plain, _), received) in sent.iter().zip(received) {
        legs.expect_received(plain, received);
    }
});
