// SPDX-License-Identifier: Apache-2.0 OR MIT

//! One call: an audio stream each way, protected on the access side.

use sallyport_srtp::{ContextSet, MasterKey, Policy, Suite};
use sallyport_tests::Family;

use crate::load::packet::Stream;
use crate::load::{Direction, Plan};

/// One call. Its keys are random, everything else follows from its number.
pub struct Call {
    /// The crypto suite on the access side.
    pub suite: Suite,
    /// IPv4 or IPv6, on both sides.
    pub family: Family,
    /// Whether RTP and RTCP share a port (RFC 5761), on both sides.
    pub muxed: bool,
    number: u32,
    plan: Plan,
    /// Master key and salt of either direction.
    keys: [Vec<u8>; 2],
}

impl Call {
    /// The suites that calls have, one after the other.
    pub const SUITES: [Suite; 2] = [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm];

    /// The calls of a plan: half of them with either suite, half of those multiplexed, every
    /// fifth over IPv6.
    ///
    /// # Panics
    ///
    /// If the kernel has no random bytes.
    pub fn all(plan: Plan) -> Vec<Self> {
        (0..plan.calls)
            .map(|number| Self::new(plan, number))
            .collect()
    }

    /// Master key and salt of what the user equipment sends ([`Direction::ToCore`]) or receives.
    pub fn key(&self, direction: Direction) -> &[u8] {
        &self.keys[direction as usize]
    }

    /// The contexts with which the user equipment, or whoever stands in for the gateway, sends.
    ///
    /// # Panics
    ///
    /// Never: keys are made to fit.
    pub fn sender(&self, direction: Direction) -> ContextSet {
        ContextSet::sender(&self.master_key(direction), Policy::default())
    }

    /// The contexts with which the user equipment, or whoever stands in for the gateway, receives.
    ///
    /// # Panics
    ///
    /// Never: keys are made to fit.
    pub fn receiver(&self, direction: Direction) -> ContextSet {
        ContextSet::receiver(&self.master_key(direction), Policy::default())
    }

    /// What is sent in this direction.
    pub(super) fn stream(&self, direction: Direction) -> Stream {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any sequence number will do"
        )]
        let first_sequence = match self.number % 4 {
            // These roll over after fifty packets.
            0 => 0_u16.wrapping_sub(50),
            _ => (self.number as u16).wrapping_mul(7919) & 0x7fff,
        };
        Stream {
            ssrc: 0x5a11_0000 + (self.number << 1) + direction as u32,
            first_sequence,
            payload: self.plan.payload,
            pps: self.plan.pps,
        }
    }

    fn new(plan: Plan, number: u32) -> Self {
        let suite = Self::SUITES[number as usize % Self::SUITES.len()];
        let key = || {
            let mut key = vec![0; suite.key_len() + suite.salt_len()];
            getrandom::fill(&mut key).expect("Linux always has random bytes");
            key
        };
        Self {
            suite,
            family: if number % 5 == 4 {
                Family::V6
            } else {
                Family::V4
            },
            muxed: (number / 2).is_multiple_of(2),
            number,
            plan,
            keys: [key(), key()],
        }
    }

    fn master_key(&self, direction: Direction) -> MasterKey {
        MasterKey::new(self.suite, self.key(direction)).expect("the key was made for this suite")
    }
}
