// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The crypto contexts of one leg in one direction.

use core::cell::Cell;
use core::mem::offset_of;
use core::{fmt, slice};

use crate::around::Crypto;
use crate::contexts::{At, Contexts};
#[cfg(test)]
use crate::derivation::SessionKey;
use crate::index::{RTCP_END, RTP_END, estimate};
use crate::kernel::Keys;
use crate::key_set::check;
use crate::master_key::Mki;
use crate::one_or_more::OneOrMore;
use crate::packet::{Claim, Format};
use crate::packets::Packets;
use crate::run::Run;
use crate::session::{Session, Sessions};
use crate::{KeySetError, Kind, Mark, MasterKey, Policy, Refusal, TooManySsrcs, Usage};

/// The index of the first SRTCP packet, as libsrtp has it.
const FIRST_RTCP: u64 = 1;

/// How far a sender's SRTCP index moves on after a restart: more packets than a stream sends
/// between two looks at its [`Mark`].
const RTCP_RESUME_STEP: u64 = 1 << 21;

/// The crypto contexts of one leg in one direction: one master key, or several with MKIs, and one
/// context per SSRC.
///
/// Takes 1.4 KiB with the default policy and one key; 1.9 KiB in GCM, or without a vector kernel.
//
// What a plain packet needs comes first, in one line of the cache: see `ContextSets`.
#[repr(C)]
pub struct ContextSet {
    direction: Direction,
    manner: Manner,
    rtp_tag_len: u8,
    /// Of plain packets.
    run: Run,
    keys: OneOrMore<Key>,
    /// All but what `run` has not told yet: others use [`ContextSet::contexts`].
    contexts: Contexts,
    /// What each master key has protected, but for what `run` has not told yet: others use
    /// [`ContextSet::packets`].
    packets: OneOrMore<Packets>,
    /// The number of the key of the last packet; senders stay with it.
    current: Cell<usize>,
    lifetime: u64,
    first_rtcp: u64,
    /// The SSRC that [`ContextSet::expect`] was last told of.
    expected_ssrc: Cell<u32>,
    /// One above the highest SRTP index of that SSRC elsewhere; 0 for none.
    expected_end: Cell<u64>,
    format: Format,
}

/// How much of a set is fetched for a burst, in bytes: all up to the keys of plain packets.
pub(crate) const FETCHED_LEN: usize = offset_of!(ContextSet, keys) + size_of::<u64>() * 2;

/// How packets are processed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Manner {
    /// SRTP packets are plain, see [`ContextSet::is_plain`].
    Plain,
    /// In bursts.
    Together,
    /// See [`ContextSet::is_alone`].
    Alone,
}

/// One master key.
#[repr(C)]
struct Key {
    sessions: Sessions,
    mki: Mki,
}

/// That a packet may use an index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission {
    kind: Kind,
    ssrc: u32,
    pub(crate) index: u64,
    /// Number of its master key.
    key: usize,
    /// Where its SSRC is, if it was there before.
    at: Option<At>,
}

/// Which way the packets of a set go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    /// They are protected.
    Send,
    /// They are unprotected.
    Receive,
}

impl ContextSet {
    /// Contexts to protect with.
    pub fn sender(key: &MasterKey, policy: Policy) -> Self {
        Self::with_keys(slice::from_ref(key), policy, Direction::Send)
    }

    /// Contexts to unprotect with.
    pub fn receiver(key: &MasterKey, policy: Policy) -> Self {
        Self::with_keys(slice::from_ref(key), policy, Direction::Receive)
    }

    /// Contexts to protect with the first of several keys, until [`ContextSet::switch_key`].
    pub fn sender_of(keys: &[MasterKey], policy: Policy) -> Result<Self, KeySetError> {
        check(keys)?;
        Ok(Self::with_keys(keys, policy, Direction::Send))
    }

    /// Contexts to unprotect with whichever of several keys a packet names by its MKI. The index
    /// of an SSRC goes on when the key changes (RFC 3711 section 3.3.1).
    pub fn receiver_of(keys: &[MasterKey], policy: Policy) -> Result<Self, KeySetError> {
        check(keys)?;
        Ok(Self::with_keys(keys, policy, Direction::Receive))
    }

    /// Protects with the key that has this MKI from now on; `false` if there is none.
    pub fn switch_key(&mut self, mki: &[u8]) -> bool {
        let found = self.key_named(mki);
        if let Some(key) = found {
            self.current.set(key);
        }
        found.is_some()
    }

    /// What the master key in use has protected: of a sender the one it protects with, of a
    /// receiver that of the last packet.
    pub fn usage(&self) -> Usage {
        let key = self.current_key();
        let (rtp, rtcp) = (
            self.protected(key, Kind::Rtp),
            self.protected(key, Kind::Rtcp),
        );
        let (rtp_limit, rtcp_limit) = (self.limit(Kind::Rtp), self.limit(Kind::Rtcp));
        let contexts = self.contexts();
        let near = |count: u64, limit: u64| count >= limit - limit / 8;
        // RFC 4568 section 6.4.2, on keys that several SSRCs share.
        let shared = contexts.ssrcs().nth(1).is_some();
        let aggregate = if shared { 1 << 31 } else { RTP_END };
        Usage {
            rtp_packets: rtp,
            rtp_limit,
            rtcp_packets: rtcp,
            rtcp_limit,
            near_end: near(rtp, rtp_limit.min(aggregate))
                || near(rtcp, rtcp_limit)
                || contexts.ssrcs().any(|(at, _)| {
                    near(contexts.end(at, Kind::Rtp), RTP_END)
                        || near(contexts.end(at, Kind::Rtcp), RTCP_END)
                }),
        }
    }

    /// Where the indices of each SSRC stand.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        let contexts = self.contexts();
        contexts.ssrcs().map(move |(at, ssrc)| Mark {
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
    /// the lifetime of the key, and of each key if there are several.
    ///
    /// Fails when there are more SSRCs than the policy allows; those that fit are then taken.
    pub fn resume(&mut self, marks: &[Mark]) -> Result<(), TooManySsrcs> {
        if self.direction() == Direction::Send && !marks.is_empty() {
            let furthest = marks.iter().filter_map(|mark| mark.rtcp).max();
            let end = furthest.map_or(0, |index| u64::from(index) + 1);
            self.first_rtcp = (end + RTCP_RESUME_STEP).min(RTCP_END);
        }
        let contexts = self.contexts();
        self.run.stop();
        for mark in marks {
            let at = contexts.find_or_add(mark.ssrc).ok_or(TooManySsrcs)?;
            let rtp_end = mark.rtp.map_or(0, |index| index.min(RTP_END - 1) + 1);
            let rtcp_end = mark
                .rtcp
                .map_or(0, |index| u64::from(index) + 1)
                .min(RTCP_END);
            for key in 0..self.keys.len() {
                self.packets(key).add(Kind::Rtp, rtp_end);
                self.packets(key).add(Kind::Rtcp, rtcp_end);
            }
            contexts.raise(at, Kind::Rtp, rtp_end);
            contexts.raise(
                at,
                Kind::Rtcp,
                match self.direction() {
                    Direction::Send => (rtcp_end + RTCP_RESUME_STEP).min(RTCP_END),
                    Direction::Receive => rtcp_end,
                },
            );
        }
        Ok(())
    }

    /// Has a sender go on no lower than here with SRTCP, whatever the SSRC: lower indices were used
    /// elsewhere under this key.
    pub fn skip_rtcp_to(&mut self, index: u32) {
        let index = u64::from(index).min(RTCP_END);
        self.first_rtcp = self.first_rtcp.max(index);
        let contexts = self.contexts();
        for (at, _) in contexts.ssrcs() {
            contexts.raise(at, Kind::Rtcp, index);
        }
    }

    /// Has an SSRC that has had no SRTP packets yet go on from a mark, or with `None` start anew.
    pub(crate) fn expect(&self, mark: Option<Mark>) {
        let (ssrc, index) = mark.map_or((0, None), |mark| (mark.ssrc, mark.rtp));
        self.expected_ssrc.set(ssrc);
        self.expected_end
            .set(index.map_or(0, |index| index.min(RTP_END - 1) + 1));
    }

    /// The highest SRTP index of an SSRC that has had no SRTP packets.
    #[cold]
    fn expected(&self, ssrc: u32) -> Option<u64> {
        let end = self.expected_end.get();
        (self.expected_ssrc.get() == ssrc)
            .then(|| end.checked_sub(1))
            .flatten()
    }

    /// Whether the master key must be replaced: it has protected as many packets as it may, or
    /// some SSRC has used its last index. See [`ContextSet::usage`] for an earlier warning.
    pub fn expired(&self) -> bool {
        let contexts = self.contexts();
        self.is_spent(self.current_key())
            || contexts.ssrcs().any(|(at, _)| {
                contexts.end(at, Kind::Rtp) >= RTP_END || contexts.end(at, Kind::Rtcp) >= RTCP_END
            })
    }

    #[inline]
    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether SRTP packets are *plain*, as nearly all are: encrypted and authenticated under the
    /// only key, with nothing around what the kernel does.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.manner == Manner::Plain
    }

    /// Whether packets have to be processed one by one: session keys depend on the index, or the
    /// kind of tag does.
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        self.manner == Manner::Alone
    }

    /// Length of the tag of a plain packet, in bytes.
    #[inline]
    pub(crate) fn plain_tag_len(&self) -> usize {
        usize::from(self.rtp_tag_len)
    }

    /// The keys of plain packets.
    #[inline]
    pub(crate) fn plain_keys(&self) -> Option<&Keys> {
        let session = self.keys[0].sessions.fixed()?;
        Some(&session.keys)
    }

    /// Has the keys that a packet of this length needs fetched into the cache.
    #[inline]
    pub(crate) fn fetch(&self, len: usize) {
        if let Some(keys) = self.plain_keys() {
            keys.fetch(len);
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// The number of the key of the last packet, or to send with.
    pub(crate) fn current_key(&self) -> usize {
        self.current.get()
    }

    /// The number of the key with this MKI.
    pub(crate) fn key_named(&self, mki: &[u8]) -> Option<usize> {
        if mki.is_empty() && self.format.mki_len == 0 {
            return Some(0);
        }
        self.keys.iter().position(|key| key.mki[..] == *mki)
    }

    /// What it takes to process packets under a key; `None` if that depends on the index.
    pub(crate) fn crypto(&self, key: usize) -> Option<Crypto<'_>> {
        let key = &self.keys[key];
        Some(Crypto {
            format: self.format,
            mki: &key.mki,
            session: key.sessions.fixed()?,
        })
    }

    /// What it takes to process the packet with this index.
    pub(crate) fn crypto_at(&mut self, key: usize, index: u64) -> Crypto<'_> {
        let key = &mut self.keys[key];
        Crypto {
            format: self.format,
            mki: &key.mki,
            session: key.sessions.at(index),
        }
    }

    /// The index of a plain packet that is on time, see [`Run::index_ahead`]. `None` for any other,
    /// about which [`Self::admit`] knows more.
    #[inline]
    pub(crate) fn index_ahead(&self, ssrc: u32, sequence: u16) -> Option<u64> {
        self.run.index_ahead(ssrc, sequence)
    }

    /// Takes note of a plain packet if its index is the next: of one that is about to be sent, or of
    /// one that was received, which [`Self::give_back`] takes back unless all of its burst is in
    /// order and authentic.
    #[inline]
    pub(crate) fn take_next(&self, ssrc: u32, sequence: u16) -> Option<u64> {
        self.run.take_next(ssrc, sequence)
    }

    /// Takes note of a plain packet that has authenticated, if its index is the next; says whether
    /// it is.
    #[inline]
    pub(crate) fn take(&self, ssrc: u32, index: u64) -> bool {
        self.run.take(ssrc, index)
    }

    /// See [`Run::give_back`].
    #[inline]
    pub(crate) fn give_back(&self) -> (u32, u64) {
        self.run.give_back()
    }

    /// Takes note of a plain packet that [`Self::index_ahead`] gave its index and that is about to be
    /// sent, or has authenticated, where others are missing in front of it; says whether it is ahead.
    pub(crate) fn take_after_gap(&self, ssrc: u32, index: u64) -> bool {
        self.hear();
        self.run.take_ahead(ssrc, index)
    }

    /// Says which index a packet may use, if it may; changes nothing.
    pub(crate) fn admit(&self, ssrc: u32, claim: Claim, key: usize) -> Result<Admission, Refusal> {
        if self.is_spent(key) {
            return Err(Refusal::KeyExpired);
        }
        let contexts = self.contexts();
        let at = contexts.find(ssrc);
        if at.is_none() && contexts.is_full() {
            return Err(Refusal::TooManySsrcs);
        }
        let end = |kind| at.map_or(0, |at| contexts.end(at, kind));
        let (kind, index) = match claim {
            Claim::Sequence(sequence) => {
                let highest = end(Kind::Rtp).checked_sub(1);
                let index = estimate(highest.or_else(|| self.expected(ssrc)), sequence);
                (Kind::Rtp, index.ok_or(Refusal::KeyExpired)?)
            }
            Claim::Next => {
                let next = match end(Kind::Rtcp) {
                    0 => self.first_rtcp,
                    next => next,
                };
                if next >= RTCP_END {
                    return Err(Refusal::KeyExpired);
                }
                (Kind::Rtcp, next)
            }
            Claim::Index(index) => (Kind::Rtcp, u64::from(index)),
            Claim::Whole(index) => (Kind::Rtp, index),
        };
        if let Some(at) = at {
            contexts.check(at, kind, index)?;
        }
        Ok(Admission {
            kind,
            ssrc,
            index,
            key,
            at,
        })
    }

    /// Whether there is a context for this SSRC.
    pub(crate) fn knows(&self, ssrc: u32) -> bool {
        self.contexts().find(ssrc).is_some()
    }

    /// Takes note of a packet that was admitted to this very state, and that authenticated or is
    /// about to be sent.
    pub(crate) fn commit(&self, admission: Admission) {
        let Admission { kind, key, .. } = admission;
        let contexts = self.contexts();
        let at = (admission.at)
            .or_else(|| contexts.find_or_add(admission.ssrc))
            .expect("an SSRC without room is not admitted");
        contexts.mark(at, kind, admission.index..admission.index + 1);
        self.packets(key).add(kind, 1);
        self.current.set(key);
        if self.is_spent(0) {
            self.run.stop();
        } else if self.is_plain() && kind == Kind::Rtp {
            let left = self.limit(kind) - self.protected(0, kind);
            let end = contexts.end(at, Kind::Rtp);
            self.run.begin(admission.ssrc, end, left);
        }
    }

    /// The contexts as they are after all packets.
    #[inline]
    fn contexts(&self) -> &Contexts {
        self.hear();
        &self.contexts
    }

    /// What a master key has protected, all packets included.
    #[inline]
    fn packets(&self, key: usize) -> &Packets {
        self.hear();
        &self.packets[key]
    }

    /// Has the run tell what it has not told yet.
    #[inline]
    fn hear(&self) {
        if let Some((ssrc, indices)) = self.run.tell() {
            self.packets[0].add(Kind::Rtp, indices.end - indices.start);
            let at = self.contexts.find(ssrc);
            let at = at.expect("a run begins with an SSRC that has a context");
            self.contexts.mark(at, Kind::Rtp, indices);
        }
    }

    /// All keys have the suite and the length of MKI of the first; there is one.
    fn with_keys(keys: &[MasterKey], policy: Policy, direction: Direction) -> Self {
        let suite = keys[0].suite();
        let format = Format {
            suite,
            mki_len: keys[0].mki().len(),
            unencrypted_srtcp: policy.unencrypted_srtcp,
            cryptex: policy.cryptex,
            rcc: policy.rcc.filter(|_| suite.rtp_tag_len() == 10),
        };
        let make = |key: &MasterKey| Key {
            mki: key.mki().iter().copied().collect(),
            sessions: Sessions::new(key, &policy),
        };
        let keys = OneOrMore::new(make(&keys[0]), keys[1..].iter().map(make));
        Self::assemble(keys, format, policy, direction)
    }

    #[cfg(test)]
    pub(crate) fn with_session_keys(
        rtp: &SessionKey,
        rtcp: &SessionKey,
        policy: Policy,
        direction: Direction,
    ) -> Self {
        let key = Key {
            mki: Mki::new(),
            sessions: Sessions::Fixed(Session::new(rtp, rtcp, false)),
        };
        let format = Format {
            suite: rtp.suite,
            mki_len: 0,
            unencrypted_srtcp: policy.unencrypted_srtcp,
            cryptex: policy.cryptex,
            rcc: policy.rcc,
        };
        Self::assemble(OneOrMore::new(key, []), format, policy, direction)
    }

    fn assemble(
        keys: OneOrMore<Key>,
        format: Format,
        policy: Policy,
        direction: Direction,
    ) -> Self {
        let fixed = keys[0].sessions.fixed();
        let rtp_tag_len = u8::try_from(format.suite.rtp_tag_len());
        let manner = if fixed.is_none() || format.rcc.is_some() {
            Manner::Alone
        } else if format.is_plain() && fixed.is_some_and(Session::is_bare) {
            Manner::Plain
        } else {
            Manner::Together
        };
        Self {
            direction,
            manner,
            rtp_tag_len: rtp_tag_len.expect("a tag has at most 16 bytes"),
            run: Run::default(),
            contexts: Contexts::new(policy.ssrc_limit, policy.replay_window),
            packets: OneOrMore::new(
                Packets::default(),
                keys.iter().skip(1).map(|_| Packets::default()),
            ),
            current: Cell::new(0),
            lifetime: policy.lifetime.unwrap_or(u64::MAX),
            keys,
            first_rtcp: FIRST_RTCP,
            expected_ssrc: Cell::new(0),
            expected_end: Cell::new(0),
            format,
        }
    }

    /// Whether a master key has protected as many packets as it may.
    #[inline]
    fn is_spent(&self, key: usize) -> bool {
        [Kind::Rtp, Kind::Rtcp]
            .into_iter()
            .any(|kind| self.protected(key, kind) >= self.limit(kind))
    }

    /// How many packets a master key may protect.
    #[inline]
    fn limit(&self, kind: Kind) -> u64 {
        self.lifetime.min(match kind {
            Kind::Rtp => RTP_END,
            Kind::Rtcp => RTCP_END,
        })
    }

    /// How many packets a master key has protected.
    #[inline]
    fn protected(&self, key: usize, kind: Kind) -> u64 {
        self.packets(key).of(kind).get()
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> State {
        State {
            contexts: self.contexts().clone(),
            packets: self.packets.clone(),
            current: self.current.get(),
        }
    }

    /// Has the next packet take the long way, on time or not.
    #[cfg(test)]
    pub(crate) fn close(&self) {
        self.run.stop();
    }

    #[cfg(test)]
    pub(crate) fn start_rtcp_at(&mut self, index: u64) {
        self.first_rtcp = index;
    }
}

/// All that packets change.
#[cfg(test)]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    contexts: Contexts,
    packets: OneOrMore<Packets>,
    current: usize,
}

impl fmt::Debug for ContextSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextSet")
            .field("suite", &self.format.suite)
            .field("direction", &self.direction())
            .finish_non_exhaustive()
    }
}
