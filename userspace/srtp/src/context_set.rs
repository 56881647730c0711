// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The crypto contexts of one leg in one direction.

use core::fmt;

use crate::contexts::Contexts;
use crate::derivation::SessionKey;
use crate::index::{RTCP_END, RTP_END, estimate};
use crate::kernel::Keys;
use crate::packet::Claim;
use crate::{Kind, MasterKey, Refusal, ReplayWindow, Suite};

/// The index of the first SRTCP packet, as libsrtp has it.
const FIRST_RTCP: u64 = 1;

/// How far a sender's SRTCP index moves on after a restart: more packets than a stream sends
/// between two looks at its [`Mark`].
const RTCP_RESUME_STEP: u64 = 1 << 21;

/// What both sides agreed on, beside suite and key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Size of the replay windows.
    pub replay_window: ReplayWindow,
    /// The most SSRCs that may use the key; their contexts are allocated in advance.
    pub ssrc_limit: u16,
    /// How many SRTP packets, and how many SRTCP packets, the master key may protect; `None` for
    /// the most that RFC 3711 section 9.2 allows, 2^48 and 2^31.
    pub lifetime: Option<u64>,
}

impl Default for Policy {
    /// 128 packets, 16 SSRCs, no shorter lifetime.
    fn default() -> Self {
        Self {
            replay_window: ReplayWindow::default(),
            ssrc_limit: 16,
            lifetime: None,
        }
    }
}

/// The crypto contexts of one leg in one direction: one master key, one context per SSRC.
///
/// Takes about 2 KiB with the default policy, 2.4 KiB for AES-256.
pub struct ContextSet {
    suite: Suite,
    direction: Direction,
    lifetime: u64,
    first_rtcp: u64,
    keys: Keys,
    state: State,
}

/// Which way the packets of a set go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    /// They are protected.
    Send,
    /// They are unprotected.
    Receive,
}

/// All that packets change.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(crate) struct State {
    contexts: Contexts,
    rtp_packets: u64,
    rtcp_packets: u64,
}

impl ContextSet {
    /// Contexts to protect with.
    pub fn sender(key: &MasterKey, policy: Policy) -> Self {
        Self::derive(key, policy, Direction::Send)
    }

    /// Contexts to unprotect with.
    pub fn receiver(key: &MasterKey, policy: Policy) -> Self {
        Self::derive(key, policy, Direction::Receive)
    }

    /// Where the indices of each SSRC stand.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        let contexts = &self.state.contexts;
        contexts.ssrcs().map(|(at, ssrc)| Mark {
            ssrc,
            rtp: contexts.end(at, Kind::Rtp).checked_sub(1),
            rtcp: contexts
                .end(at, Kind::Rtcp)
                .checked_sub(1)
                .and_then(|index| u32::try_from(index).ok()),
        })
    }

    /// Goes on where another set with the same key stood, which was lost in a restart.
    ///
    /// Every index up to a mark counts as seen. The SRTCP index of a sender moves on by 2^21,
    /// since packets may have been sent after the mark was taken; an SSRC without a mark starts
    /// where the furthest does, if there is any mark at all. Packets up to the marks count towards
    /// the lifetime of the key.
    ///
    /// Fails when there are more SSRCs than the policy allows; those that fit are then taken.
    pub fn resume(&mut self, marks: &[Mark]) -> Result<(), TooManySsrcs> {
        if self.direction == Direction::Send && !marks.is_empty() {
            let furthest = marks.iter().filter_map(|mark| mark.rtcp).max();
            let end = furthest.map_or(0, |index| u64::from(index) + 1);
            self.first_rtcp = (end + RTCP_RESUME_STEP).min(RTCP_END);
        }
        for mark in marks {
            let contexts = &mut self.state.contexts;
            let at = contexts.find_or_add(mark.ssrc).ok_or(TooManySsrcs)?;
            let rtp_end = mark.rtp.map_or(0, |index| index.min(RTP_END - 1) + 1);
            let rtcp_end = mark
                .rtcp
                .map_or(0, |index| u64::from(index) + 1)
                .min(RTCP_END);
            self.state.rtp_packets = self.state.rtp_packets.saturating_add(rtp_end);
            self.state.rtcp_packets = self.state.rtcp_packets.saturating_add(rtcp_end);
            contexts.raise(at, Kind::Rtp, rtp_end);
            contexts.raise(
                at,
                Kind::Rtcp,
                match self.direction {
                    Direction::Send => (rtcp_end + RTCP_RESUME_STEP).min(RTCP_END),
                    Direction::Receive => rtcp_end,
                },
            );
        }
        Ok(())
    }

    /// Whether the master key must be replaced: it has protected as many packets as it may, or
    /// some SSRC has used its last index.
    pub fn expired(&self) -> bool {
        let contexts = &self.state.contexts;
        self.is_spent()
            || contexts.ssrcs().any(|(at, _)| {
                contexts.end(at, Kind::Rtp) >= RTP_END || contexts.end(at, Kind::Rtcp) >= RTCP_END
            })
    }

    pub(crate) fn suite(&self) -> Suite {
        self.suite
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The index of a packet, if the packet may use it; changes nothing.
    pub(crate) fn admit(&self, ssrc: u32, claim: Claim) -> Result<u64, Refusal> {
        if self.is_spent() {
            return Err(Refusal::KeyExpired);
        }
        let contexts = &self.state.contexts;
        let context = contexts.find(ssrc);
        if context.is_none() && contexts.is_full() {
            return Err(Refusal::TooManySsrcs);
        }
        let end = |kind| context.map_or(0, |at| contexts.end(at, kind));
        let (kind, index) = match claim {
            Claim::Sequence(sequence) => {
                let index = estimate(end(Kind::Rtp).checked_sub(1), sequence);
                (Kind::Rtp, index.ok_or(Refusal::KeyExpired)?)
            }
            Claim::Next => match end(Kind::Rtcp) {
                0 => (Kind::Rtcp, self.first_rtcp),
                RTCP_END.. => return Err(Refusal::KeyExpired),
                next => (Kind::Rtcp, next),
            },
            Claim::Index(index) => (Kind::Rtcp, u64::from(index)),
        };
        if let Some(at) = context {
            contexts.check(at, kind, index)?;
        }
        Ok(index)
    }

    /// Takes note of a packet that [`ContextSet::admit`] let pass and that authenticated or is
    /// about to be sent.
    pub(crate) fn commit(&mut self, kind: Kind, ssrc: u32, index: u64) {
        let at = self
            .state
            .contexts
            .find_or_add(ssrc)
            .expect("an SSRC without room is not admitted");
        self.state.contexts.mark(at, kind, index);
        match kind {
            Kind::Rtp => self.state.rtp_packets += 1,
            Kind::Rtcp => self.state.rtcp_packets += 1,
        }
    }

    fn derive(key: &MasterKey, policy: Policy, direction: Direction) -> Self {
        Self::with_session_keys(
            &SessionKey::derive(key, Kind::Rtp),
            &SessionKey::derive(key, Kind::Rtcp),
            policy,
            direction,
        )
    }

    pub(crate) fn with_session_keys(
        rtp: &SessionKey,
        rtcp: &SessionKey,
        policy: Policy,
        direction: Direction,
    ) -> Self {
        Self {
            suite: rtp.suite,
            direction,
            lifetime: policy.lifetime.unwrap_or(u64::MAX),
            first_rtcp: FIRST_RTCP,
            keys: Keys::new(rtp, rtcp),
            state: State {
                contexts: Contexts::new(policy.ssrc_limit, policy.replay_window),
                rtp_packets: 0,
                rtcp_packets: 0,
            },
        }
    }

    /// Whether the master key has protected as many packets as it may.
    fn is_spent(&self) -> bool {
        self.state.rtp_packets >= self.lifetime.min(RTP_END)
            || self.state.rtcp_packets >= self.lifetime.min(RTCP_END)
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    #[cfg(test)]
    pub(crate) fn start_rtcp_at(&mut self, index: u64) {
        self.first_rtcp = index;
    }
}

impl fmt::Debug for ContextSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextSet")
            .field("suite", &self.suite)
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}

/// Where one SSRC's indices stand. Not secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark {
    /// The synchronisation source.
    pub ssrc: u32,
    /// The highest SRTP index seen or sent, `2^16 * ROC + SEQ`; `None` before the first packet.
    pub rtp: Option<u64>,
    /// The highest SRTCP index seen or sent, 31 bits; `None` before the first packet.
    pub rtcp: Option<u32>,
}

/// There are more SSRCs than [`Policy::ssrc_limit`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooManySsrcs;

impl fmt::Display for TooManySsrcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("resume indices: more SSRCs than the policy allows; raise its SSRC limit")
    }
}

impl core::error::Error for TooManySsrcs {}
