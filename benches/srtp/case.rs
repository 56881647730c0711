// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is measured: suite, direction, and for each of them a list of cases.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::ValueEnum;
use sallyport_srtp::{MAX_BURST, Suite};
use serde_json::Value;

/// The suites of the table, by registered name. One that the SRTP crate does not know yet is
/// measured as soon as it does.
const SUITES: [&str; 4] = [
    "AES_CM_128_HMAC_SHA1_80",
    "AES_256_CM_HMAC_SHA1_80",
    "AEAD_AES_128_GCM",
    "AEAD_AES_256_GCM",
];

/// Streams whose keys stay in the caches, one for each packet of the largest burst.
pub(crate) const HOT_STREAMS: usize = MAX_BURST;

/// Streams of which each packet takes one at random.
const COLD_STREAMS: [usize; 2] = [8192, MANY_STREAMS];

/// As many as a gateway is designed for.
pub(crate) const MANY_STREAMS: usize = 32_768;

/// Beside the largest.
const SMALL_BURSTS: [usize; 5] = [1, 2, 4, 8, 16];

/// The payloads that are looked at when time is short.
const QUICK: [Payload; 2] = [Payload::Bytes(160), Payload::Bytes(1200)];

/// The longest payload, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 1330;

/// The suites of the table that there are.
pub(crate) fn suites() -> impl Iterator<Item = Suite> {
    let named = |name: &str| Suite::ALL.into_iter().find(|suite| suite.name() == name);
    SUITES.into_iter().filter_map(named)
}

/// Whether the suite is AES-GCM; the others are AES in counter mode with HMAC-SHA1.
pub(crate) fn is_gcm(suite: Suite) -> bool {
    suite.name().ends_with("_GCM")
}

/// Which way the packets go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    Protect,
    Unprotect,
}

impl Operation {
    pub(crate) const ALL: [Self; 2] = [Self::Protect, Self::Unprotect];
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protect => "protect",
            Self::Unprotect => "unprotect",
        })
    }
}

/// The vector instructions that ipsec-mb may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Allowed {
    /// Whichever is the fastest in each case.
    Best,
    /// What it chooses itself: all that the CPU has.
    Auto,
    /// What it would choose on a CPU without AVX-512, to compare like with like.
    Avx2,
    /// What it would choose on a CPU without AVX2; with AES-NI, PCLMULQDQ and SHA-NI where the CPU
    /// has them.
    Sse,
}

/// The vector instructions of one manager of ipsec-mb.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[cfg_attr(not(ipsec_mb), expect(dead_code, reason = "it is for ipsec-mb"))]
pub(crate) enum Isa {
    Sse,
    Avx2,
    /// With VAES and VPCLMULQDQ where the CPU has them.
    Avx512,
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sse => "sse",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

/// How long the payloads are, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Payload {
    /// All the same.
    Bytes(usize),
    /// 160 or 1200, a voice frame or a piece of video, as a coin falls.
    Mix,
    /// Anything from 20 to 1200.
    Random,
}

impl Payload {
    pub(crate) const ALL: [Self; 6] = [
        Self::Bytes(20),
        Self::Bytes(160),
        Self::Bytes(500),
        Self::Bytes(1200),
        Self::Mix,
        Self::Random,
    ];
    const LENGTHS: RangeInclusive<usize> = 1..=MAX_PAYLOAD;

    pub(crate) fn json(self) -> Value {
        match self {
            Self::Bytes(bytes) => bytes.into(),
            Self::Mix | Self::Random => self.to_string().into(),
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Mix => f.write_str("mix"),
            Self::Random => f.write_str("random"),
        }
    }
}

impl FromStr for Payload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mix" => return Ok(Self::Mix),
            "random" => return Ok(Self::Random),
            _ => {}
        }
        let bytes = text.parse().ok().filter(|n| Self::LENGTHS.contains(n));
        bytes.map(Self::Bytes).ok_or_else(|| {
            format!("`{text}` is no payload; give a length from 1 to {MAX_PAYLOAD}, mix or random")
        })
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Case {
    pub(crate) payload: Payload,
    pub(crate) streams: usize,
    /// Packets that are handed over at once.
    pub(crate) burst: usize,
}

impl Case {
    /// The cases of one suite and direction: full bursts of hot streams, then many streams, then
    /// small bursts. `payload` chooses one; a quick plan has the last two for two payloads only.
    pub(crate) fn plan(quick: bool, payload: Option<Payload>) -> Vec<Self> {
        let payloads = payload.map_or_else(|| Payload::ALL.to_vec(), |payload| vec![payload]);
        let corners = COLD_STREAMS.map(|streams| (streams, MAX_BURST));
        let corners = corners.into_iter();
        let corners = corners.chain(SMALL_BURSTS.map(|burst| (HOT_STREAMS, burst)));
        let mut plan = Vec::new();
        for (streams, burst) in [(HOT_STREAMS, MAX_BURST)].into_iter().chain(corners) {
            let cases = payloads.iter().map(|&payload| Self {
                payload,
                streams,
                burst,
            });
            plan.extend(cases.filter(|case| {
                !quick || payload.is_some() || case.is_hot() || QUICK.contains(&case.payload)
            }));
        }
        plan
    }

    /// Whether it is a full burst of hot streams, and no corner case.
    pub(crate) fn is_hot(&self) -> bool {
        self.streams == HOT_STREAMS && self.burst == MAX_BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_read_as_they_are_written() {
        for payload in Payload::ALL {
            assert_eq!(payload.to_string().parse(), Ok(payload));
        }
        for text in ["", "0", "-1", "1331", "mixed"] {
            assert!(text.parse::<Payload>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_plan_has_every_payload_with_every_corner() {
        assert_eq!(Case::plan(false, None).len(), 6 * 8);
        assert_eq!(Case::plan(true, None).len(), 6 + 2 * 7);
        assert_eq!(Case::plan(true, Some(Payload::Mix)).len(), 8);
    }

    #[test]
    fn the_suites_of_the_table_are_found_by_name() {
        let found: Vec<Suite> = suites().collect();
        for suite in [
            Suite::AesCm128HmacSha1_80,
            Suite::AeadAes128Gcm,
            Suite::AeadAes256Gcm,
        ] {
            assert!(found.contains(&suite), "{suite}");
        }
    }
}
