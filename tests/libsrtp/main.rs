// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The SRTP crate and libsrtp, byte by byte: every suite that libsrtp has, SRTP and SRTCP, both
//! directions, every length, with each kernel of this CPU.
//!
//! No namespaces and no root: the C program `peers/libsrtp_peer.c` reads packets from a pipe.

#![forbid(unsafe_code)]

mod ours;
mod packets;

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use hex_literal::hex;
use sallyport_srtp::{Kernel, Kind, Refusal, Suite};
use sallyport_tests::compile::compile;
use sallyport_tests::libsrtp::Libsrtp;
use sallyport_tests::report;

use ours::{Ours, Terms};

/// Every suite that libsrtp knows. It has no F8.
const SUITES: [Suite; 10] = [
    Suite::AesCm128HmacSha1_80,
    Suite::AesCm128HmacSha1_32,
    Suite::Aes192CmHmacSha1_80,
    Suite::Aes192CmHmacSha1_32,
    Suite::Aes256CmHmacSha1_80,
    Suite::Aes256CmHmacSha1_32,
    Suite::NullHmacSha1_80,
    Suite::NullHmacSha1_32,
    Suite::AeadAes128Gcm,
    Suite::AeadAes256Gcm,
];

/// `srtp_err_status_bad_mki`.
const BAD_MKI: u8 = 25;

/// RFC 6188 section 7.4.
const AES_192_KEY: [u8; 38] =
    hex!("73edc66c4fa15776fb57f9505c17136550ffda71f3e8e5f1c8522f3acd4ce86d5add78edbb11");

const AES_192_PLAIN: [u8; 28] = hex!("800f0000decafbad00000000abababababababababababababababab");

/// What releases of libsrtp make of it that derive session keys with AES-256: their cipher key is
/// 7af9f9f2cb705d213cce5fa377b290a0183389701878e7d7.
const WRONG_AES_192: [u8; 38] =
    hex!("800f0000decafbad0000000000d4ca92d8e69ee8a33c29a6dbdf8b1f7bbd186703c08a53153e");

/// What others make of it.
const AES_192: [u8; 38] =
    hex!("800f0000decafbad00000000d98865552f2762c3ef37f837acfdb7122d6bc4dc84c76f74aea5");

#[test]
fn with_192_bits_libsrtp_is_right_or_wrong_in_the_known_way_and_we_are_right() {
    let terms = Terms {
        key: AES_192_KEY.to_vec(),
        ..Terms::of(Suite::Aes192CmHmacSha1_80)
    };
    let ours = Ours::new(&terms).protect(&[(Kind::Rtp, AES_192_PLAIN.to_vec())]);
    assert_eq!(ours, [AES_192]);
    if let Some(found) = aes_192_packet() {
        assert!([AES_192, WRONG_AES_192].contains(&found), "{found:02x?}");
    }
}

#[test]
fn every_length_is_protected_as_by_libsrtp_and_understood_by_it() {
    for suite in SUITES {
        compare(&Terms::of(suite), 0..=2048);
    }
}

#[test]
fn packets_with_an_mki_are_libsrtps() {
    for suite in SUITES {
        for len in [1, 4, 16] {
            let mki = (0xe1..).take(len).collect();
            let terms = Terms {
                mki,
                ..Terms::of(suite)
            };
            compare(&terms, (0..=2048).step_by(41));
        }
    }
}

#[test]
fn header_extensions_encrypted_by_element_are_libsrtps() {
    for suite in SUITES {
        let terms = Terms {
            extensions: vec![1, 3, 200],
            ..Terms::of(suite)
        };
        compare(&terms, (0..=2048).step_by(41));
    }
}

#[test]
fn packets_with_cryptex_are_libsrtps() {
    // Without a cipher libsrtp leaves the extension alone, we say that it is hidden.
    let null = [Suite::NullHmacSha1_80, Suite::NullHmacSha1_32];
    for suite in SUITES.into_iter().filter(|suite| !null.contains(suite)) {
        let terms = Terms {
            cryptex: true,
            ..Terms::of(suite)
        };
        compare(&terms, (0..=2048).step_by(41));
    }
}

#[test]
fn neither_takes_a_packet_with_a_flipped_bit_or_twice() {
    for suite in SUITES {
        let terms = Terms::of(suite);
        let Some(mut libsrtp) = start(&terms).filter(|_| derives_right(suite)) else {
            continue;
        };
        let mut ours = Ours::new(&terms);
        for kind in [Kind::Rtp, Kind::Rtcp] {
            let plain = packets::packet(kind, 1, 7, 60);
            let wire = ours.protect(&[(kind, plain.clone())]).remove(0);
            for bit in 0..8 * wire.len() {
                let mut forged = wire.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert!(libsrtp.ask(unprotect(kind), &forged).is_err());
                let outcome = ours.unprotect(&[(kind, forged)]).remove(0);
                assert!(outcome.is_err(), "{terms} {kind:?} bit {bit}");
            }
            assert_eq!(
                ours.unprotect(&[(kind, wire.clone()), (kind, wire.clone())]),
                [Ok(plain.clone()), Err(Refusal::Replayed)],
                "{terms}"
            );
            assert_eq!(libsrtp.ask(unprotect(kind), &wire), Ok(plain), "{terms}");
            assert!(libsrtp.ask(unprotect(kind), &wire).is_err(), "{terms}");
        }
    }
}

/// Runs all tests of this file again, once with each kernel.
#[test]
fn with_every_kernel_of_this_cpu() {
    let children: Vec<_> = Kernel::ALL
        .into_iter()
        .filter(|kernel| {
            if !kernel.is_available() {
                eprintln!("SKIPPED: this CPU cannot run the kernel {kernel}");
            }
            kernel.is_available()
        })
        .map(|kernel| {
            let mut command = Command::new(env::current_exe().unwrap());
            command
                .args(["--skip", "with_every_kernel_of_this_cpu", "--quiet"])
                .env("SALLYPORT_SRTP_KERNEL", kernel.name())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            (kernel, command.spawn().unwrap())
        })
        .collect();
    for (kernel, child) in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{kernel}: {text}");
        assert!(text.contains("test result: ok"), "{kernel}: {text}");
    }
}

/// Sends a stream of packets of these lengths, in bursts of changing size, from us to libsrtp and
/// back.
fn compare(terms: &Terms, lengths: impl Iterator<Item = usize>) {
    let Some(mut libsrtp) = start(terms).filter(|_| derives_right(terms.suite)) else {
        return;
    };
    let mut ours = Ours::new(terms);
    let mut stream = packets::stream(lengths);
    let mut sizes = [64, 1, 2, 3, 4, 5, 16, 33].into_iter().cycle();
    let mut count = 0;
    while !stream.is_empty() {
        let size = sizes.next().unwrap_or(1).min(stream.len());
        let burst: Vec<_> = stream.drain(..size).collect();
        let theirs: Vec<_> = burst
            .iter()
            .map(|(kind, plain)| {
                libsrtp
                    .ask(protect(*kind), plain)
                    .unwrap_or_else(|status| panic!("{terms}: libsrtp's status {status}"))
            })
            .collect();
        let found = ours.protect(&burst);
        for (((kind, plain), theirs), ours) in burst.iter().zip(&theirs).zip(&found) {
            assert_eq!(ours, theirs, "{terms} {kind:?} {} bytes", plain.len());
            let understood = libsrtp.ask(unprotect(*kind), ours);
            if seeks_the_mki_of_srtp(terms, *kind) && understood == Err(BAD_MKI) {
                continue;
            }
            assert_eq!(understood.as_ref(), Ok(plain), "{terms} {kind:?}");
        }
        let wires: Vec<_> = burst
            .iter()
            .zip(theirs)
            .map(|((kind, _), w)| (*kind, w))
            .collect();
        for ((kind, plain), understood) in burst.iter().zip(ours.unprotect(&wires)) {
            assert_eq!(understood.as_ref(), Ok(plain), "{terms} {kind:?}");
        }
        count += 2 * burst.len() as u64;
    }
    report::peer(
        &libsrtp.version,
        terms.suite.name(),
        &format!("both, kernel {}", Kernel::current()),
        count,
        terms.name(),
    );
}

/// libsrtp under these terms, if there is one that knows them.
fn start(terms: &Terms) -> Option<Libsrtp> {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        compile(
            env!("CARGO_TARGET_TMPDIR"),
            "libsrtp_peer",
            Some("libsrtp2"),
        )
    });
    if !Libsrtp::is_there() {
        return None;
    }
    let args = terms.arguments();
    let libsrtp = Libsrtp::start(&PROGRAM, args.iter().map(String::as_str));
    if libsrtp.is_none() {
        // Cryptex is newer than some releases.
        assert!(terms.cryptex, "this libsrtp cannot do {terms}");
        eprintln!("SKIPPED: this libsrtp cannot do {terms}");
    }
    libsrtp
}

/// Whether the libsrtp of this machine derives the session keys of this suite as RFC 6188 says.
fn derives_right(suite: Suite) -> bool {
    static AES_192: LazyLock<bool> = LazyLock::new(|| aes_192_packet() != Some(WRONG_AES_192));
    let is_aes_192 = suite.key_len() == 24;
    if is_aes_192 && !*AES_192 {
        eprintln!("SKIPPED: this libsrtp derives wrong keys for {suite} (its issue 763)");
        return false;
    }
    true
}

/// What libsrtp makes of a packet under the key of RFC 6188 section 7.4.
fn aes_192_packet() -> Option<[u8; 38]> {
    let terms = Terms {
        key: AES_192_KEY.to_vec(),
        ..Terms::of(Suite::Aes192CmHmacSha1_80)
    };
    let packet = start(&terms)?.ask(protect(Kind::Rtp), &AES_192_PLAIN);
    Some(
        packet
            .expect("it is a packet")
            .try_into()
            .expect("it grew by a tag"),
    )
}

/// Whether libsrtp may miss the MKI: releases before 2.6 assume that the tag of SRTCP is as long as
/// that of SRTP.
fn seeks_the_mki_of_srtp(terms: &Terms, kind: Kind) -> bool {
    let differ = terms.suite.rtp_tag_len() != terms.suite.rtcp_tag_len();
    !terms.mki.is_empty() && kind == Kind::Rtcp && differ
}

fn protect(kind: Kind) -> u8 {
    match kind {
        Kind::Rtp => b'p',
        Kind::Rtcp => b'P',
    }
}

fn unprotect(kind: Kind) -> u8 {
    match kind {
        Kind::Rtp => b'u',
        Kind::Rtcp => b'U',
    }
}
