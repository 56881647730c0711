// SPDX-License-Identifier: Apache-2.0 OR MIT

//! libsrtp as user equipment: every suite, RTP and RTCP, several SSRCs, every payload length,
//! sequence numbers that wrap.

use sallyport_tests::{Family, Gateway, GatewayOptions, Topology, media, report, require};

use crate::support::{Call, Kind, Libsrtp, Suite, Terms, expect_balanced};

#[test]
fn libsrtp_and_the_gateway_understand_each_other_in_every_suite() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    let mut ports = (5000..).step_by(2);
    for suite in Suite::ALL {
        for family in Family::BOTH {
            for (mux, latch) in [(false, false), (true, false), (false, true), (true, true)] {
                let port = ports.next().expect("there are more ports than suites");
                let terms = Terms {
                    suite,
                    family,
                    mux,
                    latch,
                    port,
                };
                exchange(&Call::new(&topology, &gateway, terms));
            }
        }
    }
    expect_balanced(&gateway);
}

/// Sends bursts in turn from both sides, from three SSRCs each.
fn exchange(call: &Call<'_>) {
    const BURSTS: u32 = 64;
    let terms = call.terms;
    let mut libsrtp = call.libsrtp();
    if terms.latch {
        call.latch(&mut libsrtp);
    }
    let directions = ["access_to_core", "core_to_access"];
    let before =
        directions.map(|direction| (call.packets(direction), call.refused_total(direction)));
    let mut count = 0;
    for number in 0..BURSTS {
        let burst = burst(number);
        for (kind, packet) in &burst {
            call.ue.send(*kind, &libsrtp.protect(*kind, packet));
        }
        for (kind, packet) in in_order_of_arrival(&burst, false) {
            let Some(received) = call.core.receive(*kind) else {
                panic!("{terms:?}: {kind:?} of burst {number} did not reach the core");
            };
            media::expect_same(packet, &received);
        }
        for (kind, packet) in &burst {
            call.core.send(*kind, packet);
        }
        for (kind, packet) in in_order_of_arrival(&burst, terms.mux) {
            let Some(protected) = call.ue.receive(*kind) else {
                panic!(
                    "{terms:?}: {kind:?} of burst {number} did not reach the user equipment: {}",
                    call.counters("core_to_access")
                );
            };
            let received = libsrtp
                .unprotect(*kind, &protected)
                .unwrap_or_else(|status| {
                    panic!("{terms:?}: libsrtp: status {status} for {kind:?} of burst {number}")
                });
            media::expect_same(packet, &received);
        }
        count += burst.len() as u64;
    }
    for (direction, ((arrived, left), refused)) in directions.into_iter().zip(before) {
        assert_eq!(
            call.packets(direction),
            (arrived + count, left + count),
            "{terms:?}, {direction}"
        );
        let refused_since = call.refused_total(direction) - refused;
        assert_eq!(refused_since, 0, "{terms:?}, {direction}");
        let direction = direction.replace('_', " ");
        report::peer(
            &libsrtp.version,
            terms.suite.name,
            &direction,
            count,
            "libsrtp",
        );
    }
}

/// RTP from three SSRCs, and sometimes RTCP.
fn burst(number: u32) -> Vec<(Kind, Vec<u8>)> {
    const SSRCS: [u32; 3] = [0x1111_1111, 0xdead_beef, 0xffff_ffff];
    let mut burst = Vec::new();
    for (stream, ssrc) in (0..).zip(SSRCS) {
        // Each SSRC wraps in another burst, the last one at once.
        let sequence = 65_535 - 20 * (2 - stream) + number;
        let any = media::payload(ssrc, number, 2);
        let len = usize::from(u16::from_be_bytes([any[0], any[1]]) % 1201);
        burst.push((Kind::Rtp, media::numbered_rtp(ssrc, sequence, len)));
        if number % 4 == stream {
            let mut compound = media::sender_report(ssrc, number * 160, number, number * 160);
            compound.extend(media::receiver_report(number));
            burst.push((Kind::Rtcp, compound));
        }
    }
    burst
}

/// RTP before RTCP where each has a port of its own, for they are read one behind the other.
fn in_order_of_arrival(burst: &[(Kind, Vec<u8>)], mux: bool) -> Vec<&(Kind, Vec<u8>)> {
    let mut packets: Vec<_> = burst.iter().collect();
    if !mux {
        packets.sort_by_key(|(kind, _)| *kind == Kind::Rtcp);
    }
    packets
}
