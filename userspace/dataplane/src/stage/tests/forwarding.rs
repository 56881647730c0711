// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What becomes of packets that leave.

use std::sync::Arc;
use std::time::Duration;

use sallyport_flow::{FlowId, Reason};
use sallyport_srtp::{ContextSet, Kind, Policy};

use super::bed::{
    ACCESS, ACCESS_LOCAL, Bed, CORE_LOCAL, CORE_PEER, LATCH, PLAIN, SSRC, UE, address, ethernet,
    new_key, payload, rtp, sender_report, to_be_protected,
};
use super::rekeying::expect_new_key;

use crate::burst::{Burst, Fate, MAX_BURST, Packet};
use crate::flow_table::{FarEnd, SourceFilter};
use crate::header::{LinkHeader, PathHeader, write_headers};
use crate::next_hop::HopId;
use crate::stage::process_burst;
use crate::worker;
use crate::worker::apply;
use crate::xsk::Received;

#[test]
fn srtp_from_the_access_side_leaves_as_the_same_rtp_with_new_headers() {
    let mut bed = Bed::new(|_| {});
    let plain = rtp(7, b"hello, core");
    let srtp = bed.protected(Kind::Rtp, &plain);
    let [(fate, packet)] = &bed.process(&[(UE, ACCESS_LOCAL, srtp)])[..] else {
        panic!()
    };
    assert_eq!(*fate, Fate::Onward);
    assert_eq!(payload(packet), plain);
    // The DSCP stays, the ECN bits do not.
    assert_eq!(packet[15], 0xb8);
    let header = PathHeader::new(address(CORE_LOCAL), address(CORE_PEER)).unwrap();
    let mut expected = vec![0; 100];
    expected.extend(&plain);
    let link = LinkHeader::new([2; 6], [4; 6], &[]);
    let start = write_headers(&mut expected, 100, plain.len(), &link, &header, 0xb8).unwrap();
    assert_eq!(packet[..], expected[start..]);
}

#[test]
fn srtcp_leaves_as_the_same_rtcp() {
    let mut bed = Bed::new(|_| {});
    let plain = sender_report();
    let srtcp = bed.protected(Kind::Rtcp, &plain);
    let [(fate, packet)] = &bed.process(&[(UE, ACCESS_LOCAL, srtcp)])[..] else {
        panic!()
    };
    assert_eq!(*fate, Fate::Onward);
    assert_eq!(payload(packet), plain);
}

#[test]
fn rtp_and_rtcp_leave_by_ways_of_their_own_also_over_another_ip_version() {
    let ways = [
        ("198.51.100.1:40000", "198.51.100.7:6000"),
        ("198.51.100.1:40001", "198.51.100.7:6001"),
        ("[2001:db8::1]:40000", "[2001:db8::7]:6000"),
        ("[2001:db8::1]:40001", "[2001:db8::7]:6001"),
    ];
    for [rtp_way, rtcp_way] in [[0, 0], [0, 1], [2, 2], [2, 3]].map(|way| way.map(|at| ways[at])) {
        let hop = HopId::first();
        let header = |(from, to)| PathHeader::new(address(from), address(to)).unwrap();
        let far_end = |way| {
            Some(FarEnd {
                hop,
                header: header(way),
            })
        };
        let mut bed = Bed::new(|entry| {
            entry.terms.rtp = far_end(rtp_way);
            entry.terms.rtcp = far_end(rtcp_way);
            entry.terms.dscp = Some(10);
        });
        let plain = [rtp(7, b"hello, core"), sender_report()];
        let srtp = bed.protected(Kind::Rtp, &plain[0]);
        let srtcp = bed.protected(Kind::Rtcp, &plain[1]);
        let results = bed.process(&[(UE, ACCESS_LOCAL, srtp), (UE, ACCESS_LOCAL, srtcp)]);
        for ((fate, packet), (plain, way)) in
            results.iter().zip(plain.iter().zip([rtp_way, rtcp_way]))
        {
            let mut expected = vec![0; 100];
            expected.extend(plain);
            let link = LinkHeader::new([2; 6], [4; 6], &[]);
            let len = plain.len();
            let start = write_headers(&mut expected, 100, len, &link, &header(way), 10 << 2);
            assert_eq!(*fate, Fate::Onward);
            assert_eq!(packet[..], expected[start.unwrap()..], "{way:?}");
        }
    }
}

#[test]
fn rtp_towards_a_protected_leg_never_leaves_in_the_clear() {
    let mut bed = Bed::with_contexts(to_be_protected(), |_| {});
    let plain = rtp(1, b"this is confidential");
    let expected = bed.protected(Kind::Rtp, &plain);
    let again = rtp(1, b"another at one index");
    let results = bed.process(&[(UE, ACCESS_LOCAL, plain), (UE, ACCESS_LOCAL, again)]);
    assert_eq!(results[0].0, Fate::Onward);
    assert_eq!(payload(&results[0].1), expected);
    assert_eq!(results[1].0, Fate::Refused(Reason::Replayed));
}

#[test]
fn what_goes_to_our_own_address_arrives_there() {
    let mut bed = Bed::new(|_| {});
    let far = "198.51.100.9:7000";
    bed.lead_back(far, to_be_protected());
    let sent: Vec<_> = (1..=64)
        .map(|sequence| bed.protected(Kind::Rtp, &rtp(sequence, b"hello")))
        .collect();
    let datagrams: Vec<_> = sent
        .iter()
        .map(|packet| (UE, ACCESS_LOCAL, packet.clone()))
        .collect();
    let results = bed.process(&datagrams);
    assert_eq!(results.len(), MAX_BURST);
    for ((fate, packet), sent) in results.iter().zip(&sent) {
        assert_eq!(*fate, Fate::Onward);
        // Under the same key as it came.
        assert_eq!(payload(packet), sent);
        assert_eq!(packet[26..34], [198, 51, 100, 1, 198, 51, 100, 9]);
    }
    for id in [1, 2] {
        let counters = &bed.entry_of(id).counters;
        assert_eq!(counters.packets_in, MAX_BURST as u64);
        assert_eq!(counters.packets_out, MAX_BURST as u64);
    }
    assert_eq!(bed.state.packets_out, MAX_BURST as u64);
    assert_eq!(bed.state.refused.total(), 0);
    // Nobody listens there.
    drop(bed.state.flows.remove(FlowId(2)));
    let packet = bed.protected(Kind::Rtp, &rtp(100, b"hello"));
    assert_eq!(bed.fates(&[packet]), [Fate::Refused(Reason::UnknownFlow)]);
    assert_eq!(bed.entry().counters.refused.total(), 0);
}

#[test]
fn what_comes_from_the_wire_with_our_own_address_is_refused() {
    let ours = "192.0.2.1:40002";
    for source in [SourceFilter::Only(address(ours)), LATCH] {
        let mut bed = Bed::with_contexts(PLAIN, |entry| entry.terms.source = source);
        let results = bed.process(&[(ours, ACCESS_LOCAL, rtp(1, b"hello"))]);
        assert_eq!(results[0].0, Fate::Refused(Reason::SourceFiltered));
        assert_eq!(bed.state.events.try_next(), None);
    }
}

#[test]
fn a_packet_that_would_go_in_a_circle_is_refused() {
    let mut bed = Bed::new(|_| {});
    bed.lead_back(CORE_PEER, PLAIN);
    let packet = bed.protected(Kind::Rtp, &rtp(1, b"hello"));
    assert_eq!(bed.fates(&[packet]), [Fate::Refused(Reason::NoRoute)]);
    assert_eq!(
        bed.entry_of(2).counters.packets_in,
        Packet::MAX_RETURNS.into()
    );
}

#[test]
fn a_flow_of_another_worker_is_handed_over_untouched() {
    let mut bed = Bed::new(|_| {});
    let claim = Arc::clone(&bed.entry().claim);
    drop(claim.claim(3).unwrap());
    let packet = ethernet(address(UE), address(ACCESS_LOCAL), &rtp(1, b"x"));
    let results = bed.process_raw(std::slice::from_ref(&packet));
    assert_eq!(results[0], (Fate::HandedOver(3), packet));
}

#[test]
fn statistics_count_packets_bytes_ssrcs_and_errors_and_tell_how_long_it_has_been_silent() {
    let mut bed = Bed::new(|_| {});
    let start = bed.state.now;
    let update = worker::Update {
        remove: vec![FlowId(1)],
        ..worker::Update::default()
    };
    let mut other = rtp(1, &[7; 20]);
    other[8..12].copy_from_slice(&7u32.to_be_bytes());
    let good = [
        bed.protected(Kind::Rtp, &rtp(1, &[7; 160])),
        bed.protected(Kind::Rtp, &rtp(2, &[7; 160])),
        bed.protected(Kind::Rtp, &other),
        bed.protected(Kind::Rtcp, &sender_report()),
    ];
    assert_eq!(bed.fates(&good), [Fate::Onward; 4]);
    bed.state.now += Duration::from_mins(1);
    let mut forged = bed.protected(Kind::Rtp, &rtp(3, &[7; 160]));
    forged[30] ^= 1;
    assert_eq!(
        bed.fates(&[forged]),
        [Fate::Refused(Reason::AuthFailed)],
        "what does not authenticate is neither a sign of life nor expected"
    );
    let counters = &bed.entry().counters;
    assert_eq!(counters.last, Some(start));

    let removed = apply(&mut bed.state, Box::new(update));
    let [statistics] = &removed.statistics[..] else {
        panic!()
    };
    let bytes: usize = good.iter().map(Vec::len).sum();
    assert_eq!(statistics.packets_in, 5);
    assert_eq!(statistics.bytes_in, (bytes + 12 + 160 + 10) as u64);
    assert_eq!(statistics.packets_out, 4);
    assert_eq!(statistics.bytes_out, (bytes - 3 * 10 - 14) as u64);
    assert_eq!(statistics.refused.of(Reason::AuthFailed), 1);
    assert_eq!(statistics.refused.total(), 1);
    let ssrcs: Vec<_> = statistics
        .ssrcs
        .iter()
        .map(|it| (it.ssrc, it.packets, it.bytes, it.expected))
        .collect();
    assert_eq!(ssrcs, [(7, 1, 32, 1), (SSRC, 2, 344, 2)]);
    assert!(statistics.idle.is_some());
    assert!(removed.contexts[0].unprotect.is_some());
}

#[test]
fn no_packet_allocates_not_even_the_first_of_a_flow_or_one_that_is_refused() {
    let mut bed = Bed::new(|entry| entry.terms.source = LATCH);
    let old_set = bed.peer_set;
    bed.rekey_peer(ContextSet::sender(&new_key(), Policy::default()));
    let new_set = bed.peer_set;
    for round in 0..3 {
        if round == 1 {
            // Half under new keys, half under old.
            bed.change(None, Some(expect_new_key()));
        }

        let mut burst = Burst::new();
        for number in 0..MAX_BURST {
            let sequence = u16::try_from(round * MAX_BURST + number).unwrap();
            bed.peer_set = if round > 0 && number % 2 == 0 {
                new_set
            } else {
                old_set
            };
            let mut srtp = bed.protected(Kind::Rtp, &rtp(sequence, &[7; 160]));
            // Every fourth one is forged.
            srtp[20] ^= u8::from(number % 4 == 3);
            let packet = ethernet(address(UE), address(ACCESS_LOCAL), &srtp);
            let mut frame = bed.pool.take().unwrap();
            frame.bytes_mut()[256..256 + packet.len()].copy_from_slice(&packet);
            let received = Received {
                frame,
                start: 256,
                len: packet.len(),
            };
            burst.push(Packet::new(received, ACCESS));
        }
        let allocated = allocation_counter::measure(|| process_burst(&mut burst, &mut bed.state));
        assert_eq!(allocated.count_total, 0, "round {round}");
        let left = burst.iter().filter(|packet| packet.goes_on()).count();
        assert_eq!(left, MAX_BURST / 4 * 3);
        burst
            .drain(..)
            .for_each(|packet| bed.pool.give(packet.frame));
    }
}
