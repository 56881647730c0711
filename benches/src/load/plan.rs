// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How much is sent.

use std::time::Duration;

use crate::load::packet;

/// How much is sent, each way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Plan {
    /// Calls at the same time.
    pub calls: u32,
    /// How long they last.
    pub seconds: u32,
    /// RTP packets per second, call and direction.
    pub pps: u32,
    /// Bytes of payload in an RTP packet.
    pub payload: usize,
}

impl Plan {
    /// The payloads that fit.
    pub const PAYLOAD: std::ops::RangeInclusive<usize> = packet::MIN_PAYLOAD..=packet::MAX_PAYLOAD;

    /// RTP packets of one stream.
    pub const fn packets(&self) -> u32 {
        self.seconds * self.pps
    }

    /// RTCP packets of one stream: one each second.
    pub const fn reports(&self) -> u32 {
        self.seconds
    }

    /// RTP and RTCP packets of all streams of both directions.
    pub const fn total(&self) -> u64 {
        2 * self.calls as u64 * (self.packets() as u64 + self.reports() as u64)
    }

    /// How long it takes to send everything.
    pub const fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds as u64)
    }
}

impl Default for Plan {
    /// Fifty calls of G.711 audio for ten seconds.
    fn default() -> Self {
        Self {
            calls: 50,
            seconds: 10,
            pps: 50,
            payload: 160,
        }
    }
}
