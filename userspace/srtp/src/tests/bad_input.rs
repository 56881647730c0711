// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets that no honest sender makes, and what each is answered with. [`Leg::pass`] checks that
//! nothing was written; here also that no state has changed.

use super::{Leg, Way, key, rtcp, rtp};
use crate::header::{RtcpHeader, RtpHeader};
use crate::{ContextSet, Kind, Mark, MasterKey, Policy, Refusal, Suite};

const MKI: [u8; 4] = *b"\xe1\xf9\x7a\x0d";

/// A bad packet: what is bad about it, and the answer.
type Row = (&'static str, Kind, Vec<u8>, Refusal);

/// Packets with this header, and as many bytes behind it.
fn headed(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = rtp(7, 1, 0);
    packet[0] = first;
    packet.extend(rest);
    packet
}

/// What is bad whether it is to be protected or unprotected. `trailer` bytes stand behind it.
fn bad_headers(trailer: usize) -> Vec<Row> {
    use Kind::{Rtcp, Rtp};
    use Refusal::{NotVersion2, TruncatedExtension, TruncatedHeader};
    let rows: [(_, _, &[u8], _); 14] = [
        ("no byte of RTP", Rtp, &[], TruncatedHeader),
        ("no byte of RTCP", Rtcp, &[], TruncatedHeader),
        (
            "RTP that ends in its SSRC",
            Rtp,
            &rtp(7, 1, 0)[..11],
            TruncatedHeader,
        ),
        (
            "RTCP that ends in its SSRC",
            Rtcp,
            &rtcp(7, 0)[..7],
            TruncatedHeader,
        ),
        (
            "RTP of version 0",
            Rtp,
            &headed(0x00, &[0; 20]),
            NotVersion2,
        ),
        (
            "RTP of version 3",
            Rtp,
            &headed(0xc0, &[0; 20]),
            NotVersion2,
        ),
        (
            "RTCP of version 1",
            Rtcp,
            &headed(0x40, &[0; 20]),
            NotVersion2,
        ),
        (
            "one CSRC and no byte of it",
            Rtp,
            &headed(0x81, &[]),
            TruncatedExtension,
        ),
        (
            "one CSRC and three bytes of it",
            Rtp,
            &headed(0x81, &[0; 3]),
            TruncatedExtension,
        ),
        (
            "fifteen CSRCs and fourteen of them",
            Rtp,
            &headed(0x8f, &[0; 56]),
            TruncatedExtension,
        ),
        (
            "an extension and no byte of it",
            Rtp,
            &headed(0x90, &[]),
            TruncatedExtension,
        ),
        (
            "an extension whose length is cut",
            Rtp,
            &headed(0x90, b"\xbe\xde\0"),
            TruncatedExtension,
        ),
        (
            "an extension of one word that is cut",
            Rtp,
            &headed(0x90, b"\xbe\xde\0\x01abc"),
            TruncatedExtension,
        ),
        (
            "an extension as long as can be",
            Rtp,
            &headed(0x91, b"CSRC\xbe\xde\xff\xffabcd"),
            TruncatedExtension,
        ),
    ];
    rows.into_iter()
        .map(|(name, kind, packet, refusal)| {
            // Zeros in front of the trailer would complete the packet.
            let packet = [packet, &vec![0; trailer]].concat();
            (name, kind, packet, refusal)
        })
        .collect()
}

/// What a packet that is to be unprotected has first that is wrong: what stands where its trailer
/// should be is then part of its header.
fn received(kind: Kind, packet: &[u8]) -> Refusal {
    let refusal = match kind {
        Kind::Rtp => RtpHeader::parse(packet).err(),
        Kind::Rtcp => RtcpHeader::parse(packet).err(),
    };
    refusal.unwrap_or(Refusal::TruncatedTrailer)
}

fn assert_refused(mut leg: Leg, rows: &[Row], suite: Suite) {
    let before = leg.state();
    for (name, kind, packet, refusal) in rows {
        let outcome = leg.pass(*kind, packet);
        assert_eq!(outcome, Err(*refusal), "{suite}: {name}");
        assert!(leg.state() == before, "{suite}: {name}");
    }
}

fn named(suite: Suite) -> MasterKey {
    key(suite).with_mki(&MKI).unwrap()
}

#[test]
fn bad_headers_are_refused_on_their_way_out_and_in() {
    for suite in Suite::ALL {
        let (sender, _) = Leg::pair(suite);
        assert_refused(sender, &bad_headers(0), suite);
        for kind in [Kind::Rtp, Kind::Rtcp] {
            let (_, receiver) = Leg::pair(suite);
            let mut rows = bad_headers(suite.growth(kind));
            rows.retain(|row| row.1 == kind);
            for (_, kind, packet, refusal) in &mut rows {
                *refusal = received(*kind, packet);
            }
            assert_refused(receiver, &rows, suite);
        }
    }
}

#[test]
fn packets_without_all_of_their_trailer_are_refused() {
    for suite in Suite::ALL {
        for kind in [Kind::Rtp, Kind::Rtcp] {
            let header = match kind {
                Kind::Rtp => rtp(7, 1, 0),
                Kind::Rtcp => rtcp(7, 0),
            };
            for (set, trailer) in [
                (key(suite), suite.growth(kind)),
                (named(suite), suite.growth(kind) + MKI.len()),
            ] {
                let set = ContextSet::receiver(&set, Policy::default());
                let rows: Vec<Row> = (0..trailer)
                    .map(|len| {
                        let packet = [&header[..], &vec![0xff; len]].concat();
                        (
                            "a trailer that is cut",
                            kind,
                            packet,
                            Refusal::TruncatedTrailer,
                        )
                    })
                    .collect();
                assert_refused(Leg::new(set, Way::Unprotect), &rows, suite);
            }
        }
    }
}

#[test]
fn a_packet_without_the_mki_that_was_agreed_on_names_no_key() {
    for suite in Suite::ALL {
        let (mut without, _) = Leg::pair(suite);
        let set = ContextSet::receiver(&named(suite), Policy::default());
        let wire = without.pass(Kind::Rtp, &rtp(7, 1, 50)).unwrap();
        let rows = [("no MKI", Kind::Rtp, wire, Refusal::UnknownMki)];
        assert_refused(Leg::new(set, Way::Unprotect), &rows, suite);
    }
}

#[test]
fn a_packet_beyond_the_last_index_finds_the_key_expired() {
    for suite in Suite::ALL {
        let mark = Mark {
            ssrc: 7,
            rtp: Some((1 << 48) - 1),
            rtcp: Some((1 << 31) - 1),
        };
        let (mut sender, mut receiver) = Leg::pair(suite);
        let mut elsewhere = Leg::sender(suite, Policy::default());
        let wires = [(Kind::Rtp, rtp(7, 0, 50)), (Kind::Rtcp, rtcp(7, 50))]
            .map(|(kind, plain)| (kind, plain.clone(), elsewhere.pass(kind, &plain).unwrap()));
        sender.set_mut().resume(&[mark]).unwrap();
        receiver.set_mut().resume(&[mark]).unwrap();
        let [out, back] = [false, true].map(|is_wire| {
            wires.clone().map(|(kind, plain, wire)| {
                let packet = if is_wire { wire } else { plain };
                ("an index too high", kind, packet, Refusal::KeyExpired)
            })
        });
        assert_refused(sender, &out, suite);
        assert_refused(receiver, &back, suite);
    }
}
