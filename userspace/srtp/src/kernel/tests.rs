// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Every kernel of this CPU against the portable one, byte by byte.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "patterns and timings, of which no bit counts"
)]

use std::env;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::choice::VARIABLE;
#[cfg(target_arch = "x86_64")]
use super::{
    Batch,
    avx2::{self, Extras},
    lane::Lanes,
};
use super::{Item, Kernel, Keys, Operation};
#[cfg(target_arch = "x86_64")]
use crate::MAX_BURST;
use crate::derivation::SessionKey;
use crate::packet::{Cipher, INDEX_WORD_LEN, index_word, index_word_at};
use crate::{HEADROOM, Kind, MasterKey, Suite, TAILROOM};

const FILL: u8 = 0xa5;

/// Bytes of a frame beyond what belongs to the crypto, on each side.
const MARGIN: usize = 80;

fn kernels() -> impl Iterator<Item = Kernel> {
    let (available, missing): (Vec<_>, Vec<_>) = Kernel::ALL
        .into_iter()
        .partition(|kernel| kernel.is_available());
    for kernel in missing {
        println!("SKIPPED: this CPU cannot run the kernel {kernel}");
    }
    available
        .into_iter()
        .filter(|kernel| *kernel != Kernel::Portable)
}

/// What is tested: a kernel as it is, or the one for AVX2 on a CPU that has less than this one.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Kernel(Kernel),
    #[cfg(target_arch = "x86_64")]
    Avx2(Extras),
}

impl Subject {
    fn run(self, items: &mut [Item<'_>], operation: Operation) {
        match self {
            Self::Kernel(kernel) => kernel.run(items, operation),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(extras) => {
                for items in items.chunks_mut(MAX_BURST) {
                    let batch = Batch::new(Kernel::Avx2, operation);
                    let mut lanes = Lanes::default();
                    for item in items {
                        let (item, authentic) = item.split();
                        if let Err((item, authentic)) = lanes.push(item, authentic) {
                            batch.alone(item, authentic);
                        }
                    }
                    match operation {
                        Operation::Seal => avx2::seal(&mut lanes, extras),
                        Operation::Open => avx2::open(&mut lanes, extras),
                    }
                }
            }
        }
    }

    fn seal(self, items: &mut [Item<'_>]) {
        self.run(items, Operation::Seal);
    }

    fn open(self, items: &mut [Item<'_>]) {
        self.run(items, Operation::Open);
    }
}

fn subjects() -> Vec<Subject> {
    let mut subjects: Vec<_> = kernels().map(Subject::Kernel).collect();
    #[cfg(target_arch = "x86_64")]
    if Kernel::Avx2.is_available() {
        // One of them is the kernel as it is, once more.
        for extras in Extras::ALL {
            if extras.is_available() {
                subjects.push(Subject::Avx2(extras));
            } else {
                println!("SKIPPED: this CPU cannot run the kernel avx2 with {extras:?}");
            }
        }
    }
    subjects
}

fn keys(suite: Suite, seed: u8) -> Keys {
    let bytes: Vec<u8> = (0u8..)
        .map(|i| i.wrapping_mul(37) ^ seed.wrapping_mul(101))
        .take(suite.key_len() + suite.salt_len())
        .collect();
    let key = MasterKey::new(suite, &bytes).unwrap();
    Keys::new(
        &SessionKey::derive(&key, Kind::Rtp, 0),
        &SessionKey::derive(&key, Kind::Rtcp, 0),
        false,
    )
}

/// A packet before or after a kernel.
#[derive(Clone, Debug)]
struct Packet {
    suite: Suite,
    key: usize,
    kind: Kind,
    /// Bytes in front of the packet beyond what the kernel may write.
    offset: usize,
    head: usize,
    text: usize,
    ssrc: u32,
    index: u64,
    frame: Vec<u8>,
    authentic: bool,
}

impl Packet {
    fn new(suite: Suite, key: usize, kind: Kind, offset: usize, head: usize, text: usize) -> Self {
        let head = if kind == Kind::Rtcp { 8 } else { head };
        let ssrc = 0x89ab_cdef ^ (text as u32) << 7;
        let index = match kind {
            Kind::Rtp => 0xfedc_ba98_7654 ^ (key as u64) << 20,
            Kind::Rtcp => 0x7654_3210 ^ key as u64,
        };
        let mut frame = vec![FILL; MARGIN + offset + HEADROOM];
        frame.extend((0..head + text).map(|i| (i * 7 + i / 256 + key) as u8));
        let end = frame.len();
        frame.resize(end + suite.growth(kind) + TAILROOM + MARGIN, FILL);
        if kind == Kind::Rtcp {
            let word = index_word(index, Cipher::Kernel);
            frame[index_word_at(suite, end)..][..INDEX_WORD_LEN].copy_from_slice(&word);
        }
        Self {
            suite,
            key,
            kind,
            offset,
            head,
            text,
            ssrc,
            index,
            frame,
            authentic: false,
        }
    }

    fn start(&self) -> usize {
        MARGIN + self.offset + HEADROOM
    }

    /// The packet with its trailer.
    fn packet(&self) -> &[u8] {
        &self.frame[self.start()..][..self.head + self.text + self.suite.growth(self.kind)]
    }

    fn item<'a>(&'a mut self, all: &'a [(Suite, Vec<Keys>)]) -> Item<'a> {
        let (_, keys) = all.iter().find(|(suite, _)| *suite == self.suite).unwrap();
        Item {
            keys: &keys[self.key % keys.len()],
            kind: self.kind,
            start: self.start(),
            head: self.head,
            len: self.head + self.text,
            ssrc: self.ssrc,
            index: self.index,
            authentic: self.authentic,
            frame: &mut self.frame,
        }
    }

    /// Nothing was written beyond what belongs to the crypto.
    fn assert_margins(&self) {
        let front = &self.frame[..MARGIN + self.offset];
        let behind = self.start() + self.packet().len() + TAILROOM;
        let back = &self.frame[behind..];
        assert!(front.iter().chain(back).all(|byte| *byte == FILL));
    }
}

fn all_keys() -> Vec<(Suite, Vec<Keys>)> {
    Suite::ALL
        .into_iter()
        .map(|suite| (suite, (0..3).map(|seed| keys(suite, seed)).collect()))
        .collect()
}

fn run(packets: &mut [Packet], all: &[(Suite, Vec<Keys>)], call: impl FnOnce(&mut [Item<'_>])) {
    let mut items: Vec<_> = packets.iter_mut().map(|packet| packet.item(all)).collect();
    call(&mut items);
    let authentic: Vec<_> = items.iter().map(|item| item.authentic).collect();
    drop(items);
    for (packet, authentic) in packets.iter_mut().zip(authentic) {
        packet.authentic = authentic;
        packet.assert_margins();
    }
}

/// Seals and opens with one kernel, and compares with the portable one. `forge` flips a bit of the
/// packets between the two.
fn assert_same(
    subject: Subject,
    all: &[(Suite, Vec<Keys>)],
    packets: &[Packet],
    forge: impl Fn(usize) -> Option<usize>,
) {
    let mut expected = packets.to_vec();
    run(&mut expected, all, |items| Kernel::Portable.seal(items));
    let mut found = packets.to_vec();
    run(&mut found, all, |items| subject.seal(items));
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(
            found.packet(),
            expected.packet(),
            "{subject:?} {}",
            expected.suite
        );
    }

    for (i, (found, expected)) in found.iter_mut().zip(&mut expected).enumerate() {
        if let Some(bit) = forge(i) {
            let bit = bit % (8 * found.packet().len());
            let start = found.start();
            found.frame[start + bit / 8] ^= 1 << (bit % 8);
            expected.frame[start + bit / 8] ^= 1 << (bit % 8);
        }
    }
    let sealed = expected.clone();
    run(&mut expected, all, |items| Kernel::Portable.open(items));
    run(&mut found, all, |items| subject.open(items));
    for ((found, expected), sealed) in found.iter().zip(&expected).zip(&sealed) {
        assert_eq!(
            found.authentic, expected.authentic,
            "{subject:?} {}",
            sealed.suite
        );
        assert_eq!(
            found.packet(),
            expected.packet(),
            "{subject:?} {}",
            sealed.suite
        );
        if !found.authentic {
            assert_eq!(
                found.packet(),
                sealed.packet(),
                "a forged packet was changed"
            );
        }
    }
}

#[test]
fn every_length_is_sealed_and_opened_as_by_the_portable_kernel() {
    let all = all_keys();
    for subject in subjects() {
        for suite in Suite::ALL {
            for first in (0..=2112).step_by(64) {
                let packets: Vec<_> = (first..first + 64)
                    .map(|text| Packet::new(suite, text, Kind::Rtp, 0, 12, text))
                    .collect();
                assert_same(subject, &all, &packets, |_| None);
            }
        }
    }
}

#[test]
fn every_packet_alone_is_sealed_and_opened_as_by_the_portable_kernel() {
    let all = all_keys();
    for subject in subjects() {
        for suite in Suite::ALL {
            for text in 0..=200 {
                // Around the blocks of AES and of SHA-1, and beyond what GCM takes.
                for head in [0, 1, 12, 15, 16, 17, 20, 32, 63, 64, 65, 76, 130] {
                    let packet = Packet::new(suite, text, Kind::Rtp, head % 5, head, text);
                    let forge = (text % 3 == 0).then_some(text * 31);
                    assert_same(subject, &all, &[packet], |_| forge);
                }
            }
            for text in (1..=2112).step_by(37) {
                let packet = Packet::new(suite, text, Kind::Rtp, 0, 12 + text % 9 * 4, text);
                assert_same(subject, &all, &[packet], |_| None);
            }
        }
    }
}

#[test]
fn every_size_of_burst_is_sealed_and_opened() {
    let all = all_keys();
    for subject in subjects() {
        for suite in Suite::ALL {
            for size in 0..=130 {
                let packets: Vec<_> = (0..size)
                    .map(|i| Packet::new(suite, i, Kind::Rtp, i % 5, 12, 160 + i % 3 * 100))
                    .collect();
                assert_same(subject, &all, &packets, |i| (i % 7 == 3).then_some(i * 31));
            }
        }
    }
}

#[test]
fn every_bit_that_is_flipped_is_found() {
    let all = all_keys();
    for subject in subjects() {
        for suite in Suite::ALL {
            let bits = 8 * Packet::new(suite, 0, Kind::Rtp, 0, 12, 50).packet().len();
            for first in (0..bits).step_by(64) {
                let packets: Vec<_> = (0..64)
                    .map(|i| Packet::new(suite, i, Kind::Rtp, 0, 12, 50))
                    .collect();
                assert_same(subject, &all, &packets, |i| Some(first + i));
            }
        }
    }
}

#[test]
fn packets_without_room_are_left_to_the_portable_kernel() {
    let all = all_keys();
    for subject in subjects() {
        for suite in Suite::ALL {
            let mut expected = Packet::new(suite, 0, Kind::Rtp, 0, 12, 100);
            let (start, len) = (expected.start(), expected.packet().len());
            expected.frame.truncate(start + len);
            expected.frame.drain(..start);
            let mut found = expected.frame.clone();
            let seal = |subject: Subject, frame: &mut [u8]| {
                subject.seal(&mut [Item {
                    frame,
                    start: 0,
                    head: 12,
                    len: 112,
                    ..expected.clone().item(&all)
                }]);
            };
            let mut portable = found.clone();
            seal(Subject::Kernel(Kernel::Portable), &mut portable);
            seal(subject, &mut found);
            assert_eq!(found, portable);
        }
    }
}

/// Runs all tests of this crate again, vectors and all, once with each kernel.
#[test]
fn every_test_passes_with_every_kernel() {
    let children: Vec<_> = kernels()
        .chain([Kernel::Portable])
        .map(|kernel| {
            let mut command = Command::new(env::current_exe().unwrap());
            command
                .args(["--skip", "every_test_passes_with_every_kernel", "--quiet"])
                .env(VARIABLE, kernel.name())
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

#[test]
fn the_kernel_of_this_process_is_the_one_that_was_asked_for() {
    if let Ok(name) = env::var(VARIABLE) {
        assert_eq!(Kernel::current().name(), name);
        assert_eq!(Kernel::complaint(), None);
    }
}

fn packet() -> impl Strategy<Value = (Packet, Option<usize>)> {
    let text = prop_oneof![0usize..200, 0usize..1500, 2040usize..2060];
    let head = prop_oneof![
        5 => Just(12usize),
        2 => (3usize..16).prop_map(|words| 4 * words),
        1 => 0usize..80,
        1 => Just(400usize),
    ];
    (
        prop::sample::select(&Suite::ALL[..]),
        0usize..3,
        prop::bool::weighted(0.1),
        0usize..70,
        head,
        text,
        prop::option::weighted(0.2, 0usize..20_000),
    )
        .prop_map(|(suite, key, rtcp, offset, head, text, forge)| {
            let kind = if rtcp { Kind::Rtcp } else { Kind::Rtp };
            let packet = Packet::new(suite, key, kind, offset, head, text);
            (packet, forge)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_mix_is_sealed_and_opened_as_by_the_portable_kernel(
        burst in prop::collection::vec(packet(), 1..=64)
    ) {
        let all = all_keys();
        let (packets, forges): (Vec<_>, Vec<_>) = burst.into_iter().unzip();
        for subject in subjects() {
            assert_same(subject, &all, &packets, |i| forges[i]);
        }
    }
}

/// Nanoseconds per packet of each kernel, and of the one for AVX2 with less, by turns, and the
/// median of the ratios to the portable one:
/// `cargo test --release -p sallyport-srtp speed -- --ignored --nocapture`.
#[test]
#[ignore = "measures, and takes seconds"]
fn speed() {
    use std::time::Instant;

    fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    let all: Vec<_> = Suite::ALL
        .into_iter()
        .map(|suite| {
            (
                suite,
                (0..64).map(|seed| keys(suite, seed)).collect::<Vec<_>>(),
            )
        })
        .collect();
    for suite in [
        Suite::AesCm128HmacSha1_80,
        Suite::AeadAes128Gcm,
        Suite::AeadAes256Gcm,
    ] {
        for (text, burst) in [
            (20, 64),
            (160, 64),
            (500, 64),
            (1200, 64),
            (160, 1),
            (1200, 1),
            (160, 2),
            (160, 4),
            (160, 5),
            (160, 6),
            (160, 8),
            (160, 16),
        ] {
            let mut packets: Vec<_> = (0..burst)
                .map(|i| Packet::new(suite, i, Kind::Rtp, 0, 12, text))
                .collect();
            let mut kernels = vec![Subject::Kernel(Kernel::Portable)];
            kernels.extend(subjects());
            // [kernel][seal or open][round]
            let mut times = vec![[vec![], vec![]]; kernels.len()];
            let mut items: Vec<_> = packets.iter_mut().map(|packet| packet.item(&all)).collect();
            let calls = 40_000 / burst / (20 + text) + 10;
            for _ in 0..41 {
                for (kernel, times) in kernels.iter().zip(&mut times) {
                    let [mut seal, mut open] = [0.0, 0.0];
                    for _ in 0..calls {
                        let start = Instant::now();
                        kernel.seal(&mut items);
                        let sealed = Instant::now();
                        kernel.open(&mut items);
                        open += sealed.elapsed().as_secs_f64();
                        seal += (sealed - start).as_secs_f64();
                        assert!(items.iter().all(|item| item.authentic));
                    }
                    for (times, time) in times.iter_mut().zip([seal, open]) {
                        times.push(time * 1e9 / (calls * burst) as f64);
                    }
                }
            }
            print!("{suite} {text:4} B x {burst:2}:");
            for (kernel, found) in kernels.iter().zip(&times) {
                for (way, name) in ["seal", "open"].into_iter().enumerate() {
                    let ratios = found[way].iter().zip(&times[0][way]).map(|(a, b)| a / b);
                    let ratio = median(ratios.collect());
                    print!(
                        "  {kernel:?} {name} {:.1} ({ratio:.3})",
                        median(found[way].clone())
                    );
                }
            }
            println!();
        }
    }
}
