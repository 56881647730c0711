// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What our kernel is to reach, as a ratio to the fastest interface of ipsec-mb on a CPU with
//! AVX-512. Meant for its version 3.0; earlier ones are slower, so that ratios must be lower.

use sallyport_srtp::{MAX_BURST, Suite};

use crate::case::{HOT_STREAMS, Operation, Payload};
use crate::course::Outcome;

/// The ratio that one case must reach, and the one that is aimed at.
pub(crate) struct Goal {
    suite: Suite,
    payload: Payload,
    streams: usize,
    burst: usize,
    pub(crate) must: f64,
    pub(crate) aim: Option<f64>,
}

impl Goal {
    const fn hot(suite: Suite, payload: Payload, must: f64, aim: f64) -> Self {
        Self {
            suite,
            payload,
            streams: HOT_STREAMS,
            burst: MAX_BURST,
            must,
            aim: Some(aim),
        }
    }

    const fn corner(
        suite: Suite,
        payload: Payload,
        streams: usize,
        burst: usize,
        must: f64,
    ) -> Self {
        Self {
            suite,
            payload,
            streams,
            burst,
            must,
            aim: None,
        }
    }

    /// Whether it was set for this case.
    pub(crate) fn is_of(&self, outcome: &Outcome) -> bool {
        let case = &outcome.case;
        outcome.operation == Operation::Protect
            && self.suite == outcome.suite
            && self.payload == case.payload
            && self.streams == case.streams
            && self.burst == case.burst
    }
}

const CM: Suite = Suite::AesCm128HmacSha1_80;
const GCM_128: Suite = Suite::AeadAes128Gcm;
const GCM_256: Suite = Suite::AeadAes256Gcm;
const MANY: usize = 32_768;

/// All goals.
pub(crate) static GOALS: &[Goal] = &[
    Goal::hot(CM, Payload::Bytes(20), 0.45, 0.36),
    Goal::hot(CM, Payload::Bytes(160), 0.65, 0.55),
    Goal::hot(CM, Payload::Bytes(500), 0.80, 0.70),
    Goal::hot(CM, Payload::Bytes(1200), 0.90, 0.80),
    Goal::hot(CM, Payload::Mix, 0.75, 0.65),
    Goal::hot(GCM_128, Payload::Bytes(20), 0.65, 0.50),
    Goal::hot(GCM_128, Payload::Bytes(160), 0.82, 0.68),
    Goal::hot(GCM_128, Payload::Bytes(500), 0.95, 0.82),
    Goal::hot(GCM_128, Payload::Bytes(1200), 0.88, 0.79),
    Goal::hot(GCM_128, Payload::Mix, 0.85, 0.74),
    Goal::hot(GCM_256, Payload::Bytes(20), 0.68, 0.55),
    Goal::hot(GCM_256, Payload::Bytes(160), 0.82, 0.70),
    Goal::hot(GCM_256, Payload::Bytes(500), 0.93, 0.84),
    Goal::hot(GCM_256, Payload::Bytes(1200), 0.88, 0.80),
    Goal::hot(GCM_256, Payload::Mix, 0.87, 0.79),
    Goal::corner(CM, Payload::Bytes(160), MANY, MAX_BURST, 0.65),
    Goal::corner(CM, Payload::Bytes(1200), MANY, MAX_BURST, 0.88),
    Goal::corner(GCM_128, Payload::Bytes(160), MANY, MAX_BURST, 0.50),
    Goal::corner(GCM_128, Payload::Bytes(1200), MANY, MAX_BURST, 0.65),
    Goal::corner(GCM_256, Payload::Bytes(160), MANY, MAX_BURST, 0.50),
    Goal::corner(GCM_256, Payload::Bytes(1200), MANY, MAX_BURST, 0.65),
    Goal::corner(CM, Payload::Bytes(160), HOT_STREAMS, 1, 0.35),
    Goal::corner(CM, Payload::Bytes(1200), HOT_STREAMS, 1, 0.35),
];
