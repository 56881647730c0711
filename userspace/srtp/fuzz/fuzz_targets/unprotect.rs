// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Any bytes, anywhere in a frame, and real packets with a few bytes changed among them, are
//! unprotected or refused; what was changed is refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sallyport_srtp_fuzz::{Input, Legs, Packet, Way};

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let legs = Legs::read(&mut input);
    let burst = Packet::read_burst(&mut input, &legs);

    // Where there is a packet to be sent, its protected form, else the bytes as they are.
    let wires = legs.pass_both_ways(Way::Protect, &burst);
    let mut changed = Vec::new();
    let wires: Vec<_> = burst
        .iter()
        .zip(&wires)
        .map(|(plain, wire)| {
            let real = wire.as_ref().ok().filter(|_| !input.chance());
            let mut packet = real.map_or_else(|| plain.clone(), |wire| plain.with(wire));
            let before = packet.bytes().to_vec();
            packet.change(&mut input);
            changed.push(real.is_none() || packet.bytes() != before);
            packet
        })
        .collect();
    let received = legs.pass_both_ways(Way::Unprotect, &wires);
    for ((plain, received), changed) in burst.iter().zip(received).zip(changed) {
        if changed {
            legs.expect_refused(plain, received);
        } else if received.is_ok() {
            legs.expect_received(plain, received);
        }
    }
});
