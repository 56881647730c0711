// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is to be reached, and whether it was. The goals for our kernel were set against version
//! 3.0 of ipsec-mb, at its best; earlier versions are slower, so that ratios must be lower.

use sallyport_srtp::{MAX_BURST, Suite};

use crate::case::{Case, HOT_STREAMS, MANY_STREAMS, Operation, Payload, suites};
use crate::course::{Outcome, Rival};
use crate::peers::{IPSEC_MB, LIBSRTP};

/// What all of SRTP may add to the kernel, in nanoseconds per packet.
const ADDED: f64 = 15.0;

/// How much longer than protecting a packet it may take to unprotect it.
const OVER_PROTECT: f64 = 1.1;

/// One goal, and what was measured.
pub(crate) struct Found {
    pub(crate) what: String,
    pub(crate) case: Case,
    pub(crate) must: f64,
    pub(crate) aim: Option<f64>,
    pub(crate) is: f64,
    /// Whom it was compared with.
    pub(crate) peer: String,
}

impl Found {
    pub(crate) fn verdict(&self) -> &'static str {
        match self.is {
            _ if self.aim.is_some_and(|aim| self.is <= aim) => "aim",
            _ if self.is <= self.must => "must",
            _ => "missed",
        }
    }
}

/// The ratio of our kernel to ipsec-mb, or of all of ours to libsrtp.
struct Goal {
    suite: Suite,
    payload: Payload,
    streams: usize,
    burst: usize,
    must: f64,
    aim: Option<f64>,
}

impl Goal {
    const fn hot(suite: Suite, payload: Payload, must: f64, aim: Option<f64>) -> Self {
        Self {
            suite,
            payload,
            streams: HOT_STREAMS,
            burst: MAX_BURST,
            must,
            aim,
        }
    }

    const fn many(suite: Suite, payload: usize, must: f64) -> Self {
        Self {
            streams: MANY_STREAMS,
            ..Self::hot(suite, Payload::Bytes(payload), must, None)
        }
    }

    const fn alone(suite: Suite, payload: usize, must: f64) -> Self {
        Self {
            burst: 1,
            ..Self::hot(suite, Payload::Bytes(payload), must, None)
        }
    }

    /// What was measured, if it was.
    fn find(
        &self,
        outcomes: &[Outcome],
        what: &str,
        peer: &str,
        ratio: fn(&Rival) -> Option<f64>,
    ) -> Option<Found> {
        let outcome = outcomes.iter().find(|outcome| {
            outcome.operation == Operation::Protect
                && outcome.suite == self.suite
                && outcome.case.payload == self.payload
                && outcome.case.streams == self.streams
                && outcome.case.burst == self.burst
        })?;
        let rival = outcome.rivals.iter().find(|rival| rival.name == peer)?;
        Some(Found {
            what: format!("{}: {what} / {peer}", self.suite),
            case: outcome.case,
            must: self.must,
            aim: self.aim,
            is: ratio(rival)?,
            peer: rival.version.clone(),
        })
    }
}

/// All goals that something was measured for, by the kernel that ran.
pub(crate) fn found(outcomes: &[Outcome], kernel: &str) -> Vec<Found> {
    let of_kernel = match kernel {
        "avx512" => AVX512,
        "avx2" => AVX2,
        _ => &[],
    };
    let over_ipsec_mb = of_kernel
        .iter()
        .filter_map(|goal| goal.find(outcomes, "kernel", IPSEC_MB, |rival| rival.kernel_ratio));
    let over_libsrtp = FULL
        .iter()
        .filter_map(|goal| goal.find(outcomes, "full", LIBSRTP, |rival| Some(rival.full_ratio)));
    let added = Operation::ALL.into_iter().flat_map(|operation| {
        suites().filter_map(move |suite| {
            let of_suite = |it: &&Outcome| it.suite == suite && it.operation == operation;
            let outcomes = outcomes.iter().filter(of_suite);
            let what = format!("{suite}, {operation}: full - kernel, ns");
            worst(outcomes, what, ADDED, |outcome| Some(outcome.added))
        })
    });
    let over_protect = suites().filter_map(|suite| {
        let outcomes = outcomes.iter().filter(|outcome| outcome.suite == suite);
        let what = format!("{suite}: unprotect / protect, full");
        worst(outcomes, what, OVER_PROTECT, |outcome| outcome.over_protect)
    });
    let found = over_ipsec_mb.chain(over_libsrtp);
    found.chain(added).chain(over_protect).collect()
}

/// The highest number that a full burst of hot streams has to show.
fn worst<'a>(
    outcomes: impl Iterator<Item = &'a Outcome>,
    what: String,
    must: f64,
    number: fn(&Outcome) -> Option<f64>,
) -> Option<Found> {
    let hot = outcomes.filter(|outcome| outcome.case.is_hot());
    let numbers = hot.filter_map(|outcome| Some((outcome.case, number(outcome)?)));
    let (case, is) = numbers.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    Some(Found {
        what,
        case,
        must,
        aim: None,
        is,
        peer: String::new(),
    })
}

const CM: Suite = Suite::AesCm128HmacSha1_80;
const GCM_128: Suite = Suite::AeadAes128Gcm;
const GCM_256: Suite = Suite::AeadAes256Gcm;

/// Of the kernel for AVX-512.
static AVX512: &[Goal] = &[
    Goal::hot(CM, Payload::Bytes(20), 0.45, Some(0.36)),
    Goal::hot(CM, Payload::Bytes(160), 0.65, Some(0.55)),
    Goal::hot(CM, Payload::Bytes(500), 0.80, Some(0.70)),
    Goal::hot(CM, Payload::Bytes(1200), 0.90, Some(0.80)),
    Goal::hot(CM, Payload::Mix, 0.75, Some(0.65)),
    Goal::hot(GCM_128, Payload::Bytes(20), 0.65, Some(0.50)),
    Goal::hot(GCM_128, Payload::Bytes(160), 0.82, Some(0.68)),
    Goal::hot(GCM_128, Payload::Bytes(500), 0.95, Some(0.82)),
    Goal::hot(GCM_128, Payload::Bytes(1200), 0.88, Some(0.79)),
    Goal::hot(GCM_128, Payload::Mix, 0.85, Some(0.74)),
    Goal::hot(GCM_256, Payload::Bytes(20), 0.68, Some(0.55)),
    Goal::hot(GCM_256, Payload::Bytes(160), 0.82, Some(0.70)),
    Goal::hot(GCM_256, Payload::Bytes(500), 0.93, Some(0.84)),
    Goal::hot(GCM_256, Payload::Bytes(1200), 0.88, Some(0.80)),
    Goal::hot(GCM_256, Payload::Mix, 0.87, Some(0.79)),
    Goal::many(CM, 160, 0.65),
    Goal::many(CM, 1200, 0.88),
    Goal::many(GCM_128, 160, 0.50),
    Goal::many(GCM_128, 1200, 0.65),
    Goal::many(GCM_256, 160, 0.50),
    Goal::many(GCM_256, 1200, 0.65),
    Goal::alone(CM, 160, 0.35),
    Goal::alone(CM, 1200, 0.35),
];

/// Of the kernel for AVX2, where ipsec-mb is restricted to the same.
static AVX2: &[Goal] = &[
    Goal::hot(CM, Payload::Bytes(20), 0.65, None),
    Goal::hot(CM, Payload::Bytes(160), 0.80, None),
    Goal::hot(CM, Payload::Bytes(500), 0.95, None),
    Goal::hot(CM, Payload::Bytes(1200), 1.0, None),
    Goal::hot(CM, Payload::Mix, 0.92, None),
];

/// Of all of SRTP beside libsrtp with OpenSSL.
static FULL: &[Goal] = &[
    Goal::hot(CM, Payload::Bytes(20), 0.10, None),
    Goal::hot(CM, Payload::Bytes(160), 0.15, None),
    Goal::hot(CM, Payload::Bytes(500), 0.20, None),
    Goal::hot(CM, Payload::Bytes(1200), 0.25, None),
    Goal::hot(GCM_128, Payload::Bytes(20), 0.08, None),
    Goal::hot(GCM_128, Payload::Bytes(160), 0.10, None),
    Goal::hot(GCM_128, Payload::Bytes(500), 0.15, None),
    Goal::hot(GCM_128, Payload::Bytes(1200), 0.20, None),
    Goal::hot(GCM_256, Payload::Bytes(20), 0.08, None),
    Goal::hot(GCM_256, Payload::Bytes(160), 0.10, None),
    Goal::hot(GCM_256, Payload::Bytes(500), 0.15, None),
    Goal::hot(GCM_256, Payload::Bytes(1200), 0.20, None),
];
