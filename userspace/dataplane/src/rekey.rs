// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which keys of a flow stay, come and go when it changes.

use core::hash::BuildHasher;
use std::hash::RandomState;
use std::time::Instant;

use hashbrown::HashMap;
use sallyport_flow::{Carries, Crypto, Flow, Mark};

use crate::contexts::{ContextChange, Take};

/// Tells the keys of one [`Crypto`] from those of another without a second copy. It looks at
/// nothing else: parameters are fixed for the life of a key (RFC 3711 section 4.3.1 says so of the
/// key derivation rate), and new contexts under a key that has some would forget which packets came
/// and use indices twice.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Fingerprint(u64);

/// Makes fingerprints. Only those of one maker can be compared.
#[derive(Clone, Debug, Default)]
pub struct Fingerprints(RandomState);

/// The keys of an installed flow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Keys {
    /// Of arriving packets.
    pub unprotect: Option<Fingerprint>,
    /// Of arriving packets, too.
    pub beside: Option<Beside>,
    /// Of leaving packets.
    pub protect: Option<Fingerprint>,
    /// How often SRTCP under `protect` has come to another flow. When a leg starts or ends to
    /// multiplex, it does so without new keys for the other leg, and no index may be used by both
    /// flows: each turn has indices of its own.
    pub srtcp_turn: u32,
}

/// Keys of arriving packets beside those in use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Beside {
    /// Which.
    pub key: Fingerprint,
    /// Since when they are replaced; `None` where they are expected.
    pub replaced: Option<Instant>,
}

impl Fingerprints {
    /// The keys that a flow asks for.
    pub fn of(&self, flow: &Flow) -> Keys {
        Keys {
            unprotect: flow.ingress.unprotect.as_ref().map(|it| self.one(it)),
            beside: flow.ingress.expect.as_ref().map(|it| Beside {
                key: self.one(it),
                replaced: None,
            }),
            protect: flow.egress.protect.as_ref().map(|it| self.one(it)),
            srtcp_turn: flow.egress.protect.as_ref().map_or(0, SrtcpTurns::marked),
        }
    }

    fn one(&self, crypto: &Crypto) -> Fingerprint {
        let keys = crypto.keys.iter();
        let keys: Vec<_> = keys.map(|key| (key.secret.expose(), &key.mki)).collect();
        Fingerprint(self.0.hash_one((crypto.suite, keys)))
    }
}

impl Keys {
    /// What becomes of these keys when others are `wanted`: those from then on, and what happens
    /// to the contexts.
    pub fn change(self, wanted: Self, now: Instant) -> (Self, ContextChange<()>) {
        let mut beside = self.beside;
        let mut plan = ContextChange {
            unprotect: Take::Same,
            beside: Take::Same,
            protect: Take::Same,
            first_srtcp: wanted.srtcp_turn.saturating_mul(SrtcpTurns::STEP),
        };
        if wanted.protect != self.protect {
            plan.protect = new_if(wanted.protect.is_some());
        }
        if wanted.unprotect != self.unprotect {
            let was_beside = beside.map(|it| it.key) == wanted.unprotect && beside.is_some();
            plan.unprotect = if was_beside {
                Take::Other
            } else {
                new_if(wanted.unprotect.is_some())
            };
            plan.beside = Take::Other;
            beside = self.unprotect.map(|key| Beside {
                key,
                replaced: Some(now),
            });
        }
        // Keys that are in use need not be expected.
        let expected = wanted
            .beside
            .filter(|it| Some(it.key) != wanted.unprotect && wanted.unprotect.is_some());
        if let Some(expected) = expected {
            if beside.map(|it| it.key) != Some(expected.key) {
                plan.beside = Take::New(());
            }
            beside = Some(expected);
        } else if wanted.unprotect.is_none() || beside.is_some_and(|it| it.replaced.is_none()) {
            // Nothing protected arrives any more, or the offer of new keys was refused.
            beside = None;
        }
        if beside.is_none() {
            plan.beside = Take::Nothing;
        }
        let keys = Self { beside, ..wanted };
        (keys, plan)
    }

    /// The keys without those that were replaced, if that was not after `since`; `None` if there are
    /// none.
    pub fn retire(self, since: Instant) -> Option<Self> {
        self.beside?
            .replaced
            .filter(|replaced| *replaced <= since)?;
        Some(Self {
            beside: None,
            ..self
        })
    }
}

/// The flows of one update that have protected SRTCP until now: under which keys, at which turn.
#[derive(Debug, Default)]
pub struct SrtcpTurns(HashMap<Fingerprint, u32>);

impl SrtcpTurns {
    /// How many indices a turn has: more than a flow sends in weeks.
    pub const STEP: u32 = 1 << 26;

    /// The last turn (SRTCP indices have 31 bits).
    pub const LAST: u32 = (1 << 31) / Self::STEP - 1;

    /// The turn at which a flow with these marks goes on.
    fn marked(crypto: &Crypto) -> u32 {
        let furthest = crypto.marks.iter().filter_map(|mark| mark.rtcp).max();
        furthest.map_or(0, |index| {
            index.saturating_add(Mark::RTCP_STEP) / Self::STEP
        })
    }

    /// Adds a flow as it was before.
    pub fn add(&mut self, keys: Keys, carries: Carries) {
        if let Some(key) = keys.protect
            && carries != Carries::Rtp
        {
            let turn = self.0.entry(key).or_default();
            *turn = keys.srtcp_turn.max(*turn);
        }
    }

    /// The turn of a flow with these keys from now on, which was like that `before`. Marks say
    /// something about new keys only.
    pub fn of(&self, keys: Keys, carries: Carries, before: Option<(Keys, Carries)>) -> u32 {
        let before = before.filter(|(old, _)| old.protect == keys.protect);
        let own = before.map_or(keys.srtcp_turn, |(old, _)| old.srtcp_turn);
        let has_it = before.is_some_and(|(_, carries)| carries != Carries::Rtp);
        let others = keys.protect.and_then(|key| self.0.get(&key));
        match others {
            Some(others) if carries != Carries::Rtp && !has_it => others.max(&own) + 1,
            _ => own,
        }
    }
}

const fn new_if(is_wanted: bool) -> Take<()> {
    if is_wanted {
        Take::New(())
    } else {
        Take::Nothing
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sallyport_flow::{MasterKey, Secret, Suite};

    use super::*;
    use crate::contexts::Slots;

    const A: Option<Fingerprint> = Some(Fingerprint(1));
    const B: Option<Fingerprint> = Some(Fingerprint(2));
    const C: Option<Fingerprint> = Some(Fingerprint(3));
    const SAME: Take<()> = Take::Same;
    const OTHER: Take<()> = Take::Other;
    const NEW: Take<()> = Take::New(());
    const NOTHING: Take<()> = Take::Nothing;

    #[test]
    fn keys_stay_move_come_and_go_as_offers_are_made_answered_and_refused() {
        let now = Instant::now();
        let old = |key: Option<Fingerprint>| {
            key.map(|key| Beside {
                key,
                replaced: Some(now),
            })
        };
        let expected = |key: Option<Fingerprint>| {
            key.map(|key| Beside {
                key,
                replaced: None,
            })
        };
        // Keys before: in use, beside. Wanted: in use, expected. After: beside. What to do.
        for (name, before, wanted, beside, plan) in [
            ("nothing new", (A, None), (A, None), None, [SAME, NOTHING]),
            ("an offer", (A, None), (A, B), expected(B), [SAME, NEW]),
            (
                "the same offer again",
                (A, expected(B)),
                (A, B),
                expected(B),
                [SAME, SAME],
            ),
            (
                "another offer",
                (A, expected(B)),
                (A, C),
                expected(C),
                [SAME, NEW],
            ),
            (
                "the offer is refused",
                (A, expected(B)),
                (A, None),
                None,
                [SAME, NOTHING],
            ),
            (
                "the offer is taken",
                (A, expected(B)),
                (B, None),
                old(A),
                [OTHER, OTHER],
            ),
            ("an answer", (A, None), (B, None), old(A), [NEW, OTHER]),
            (
                "an answer to another",
                (A, expected(B)),
                (C, None),
                old(A),
                [NEW, OTHER],
            ),
            (
                "a change while old packets come",
                (B, old(A)),
                (B, None),
                old(A),
                [SAME, SAME],
            ),
            (
                "an offer while old packets come",
                (B, old(A)),
                (B, C),
                expected(C),
                [SAME, NEW],
            ),
            (
                "back to the old keys",
                (B, old(A)),
                (A, None),
                old(B),
                [OTHER, OTHER],
            ),
            (
                "no protection any more",
                (A, expected(B)),
                (None, None),
                None,
                [NOTHING, NOTHING],
            ),
            (
                "protection from now on",
                (None, None),
                (A, None),
                None,
                [NEW, NOTHING],
            ),
            (
                "what is in use expected",
                (A, None),
                (A, A),
                None,
                [SAME, NOTHING],
            ),
            (
                "expected without any in use",
                (None, None),
                (None, A),
                None,
                [SAME, NOTHING],
            ),
        ] {
            let before = Keys {
                unprotect: before.0,
                beside: before.1,
                protect: C,
                srtcp_turn: 0,
            };
            let wanted = Keys {
                unprotect: wanted.0,
                beside: expected(wanted.1),
                protect: C,
                srtcp_turn: 0,
            };
            let (keys, what) = before.change(wanted, now);
            assert_eq!(keys.unprotect, wanted.unprotect, "{name}");
            assert_eq!(keys.beside, beside, "{name}");
            assert_eq!([what.unprotect, what.beside], plan, "{name}");
            assert_eq!(what.protect, SAME, "{name}");
        }
    }

    #[test]
    fn a_key_with_other_parameters_is_the_same_key() {
        let crypto = |suite, byte, mki: &[u8]| Crypto {
            suite,
            keys: vec![MasterKey {
                secret: Secret::new(vec![byte; 28]),
                mki: mki.to_vec(),
            }],
            lifetime: None,
            replay_window: 0,
            key_derivation_rate: None,
            unencrypted_srtcp: false,
            marks: Vec::new(),
        };
        let suite = Suite::AeadAes128Gcm;
        let first = crypto(suite, 1, &[]);
        let mark = Mark {
            ssrc: 1,
            rtp: Some(1),
            rtcp: None,
        };
        let other_parameters = Crypto {
            lifetime: Some(1 << 31),
            replay_window: 1024,
            key_derivation_rate: Some(16),
            unencrypted_srtcp: true,
            marks: vec![mark],
            ..first.clone()
        };
        let fingerprints = Fingerprints::default();
        for (other, is_same) in [
            (other_parameters, true),
            (crypto(suite, 2, &[]), false),
            (crypto(suite, 1, &[1]), false),
            (crypto(Suite::AesCm128HmacSha1_80, 1, &[]), false),
        ] {
            let is_one = fingerprints.one(&first) == fingerprints.one(&other);
            assert_eq!(is_one, is_same, "{other:?}");
        }
    }

    #[test]
    fn keys_to_send_with_are_replaced_at_once() {
        let keys = |protect| Keys {
            protect,
            ..Keys::default()
        };
        for (before, wanted, take) in [
            (A, A, SAME),
            (A, B, NEW),
            (None, A, NEW),
            (A, None, NOTHING),
        ] {
            let (after, plan) = keys(before).change(keys(wanted), Instant::now());
            assert_eq!((after, plan.protect), (keys(wanted), take));
        }
    }

    #[test]
    fn only_replaced_keys_retire_and_only_in_time() {
        let now = Instant::now();
        let later = now + Flow::OVERLAP;
        let keys = |replaced| Keys {
            unprotect: A,
            beside: Some(Beside {
                key: Fingerprint(2),
                replaced,
            }),
            ..Keys::default()
        };
        assert_eq!(keys(None).retire(later), None);
        assert_eq!(keys(Some(later)).retire(now), None);
        let left = keys(Some(now)).retire(later).unwrap();
        assert_eq!((left.unprotect, left.beside), (A, None));
    }

    proptest! {
        /// The control side knows which contexts the worker has, whatever it is asked for.
        #[test]
        fn contexts_are_those_of_the_keys_after_any_changes(
            steps in proptest::collection::vec((0..4u64, 0..4u64, 0..4u64, any::<bool>()), 1..20),
        ) {
            let key = |number| (number > 0).then_some(Fingerprint(number));
            let now = Instant::now();
            let (mut keys, mut slots) = (Keys::default(), Slots::default());
            for (unprotect, expected, protect, retires) in steps {
                let wanted = Keys {
                    unprotect: key(unprotect),
                    beside: key(expected).map(|key| Beside { key, replaced: None }),
                    protect: key(protect),
                    srtcp_turn: 0,
                };
                let (after, plan) = keys.change(wanted, now);
                let change = ContextChange {
                    unprotect: filled(plan.unprotect, wanted.unprotect),
                    beside: filled(plan.beside, wanted.beside.map(|it| it.key)),
                    protect: filled(plan.protect, wanted.protect),
                    first_srtcp: 0,
                };
                let _ = slots.change(change, |key| key);
                keys = after;
                if retires && let Some(after) = keys.retire(now) {
                    slots.beside = None;
                    keys = after;
                }
                prop_assert_eq!(slots.unprotect, keys.unprotect);
                prop_assert_eq!(slots.beside, keys.beside.map(|it| it.key));
                prop_assert_eq!(slots.protect, keys.protect);
                prop_assert_eq!(keys.unprotect, wanted.unprotect);
                prop_assert_eq!(keys.protect, wanted.protect);
            }
        }
    }

    fn filled(take: Take<()>, key: Option<Fingerprint>) -> Take<Fingerprint> {
        match take {
            Take::Same => Take::Same,
            Take::Other => Take::Other,
            Take::New(()) => Take::New(key.unwrap()),
            Take::Nothing => Take::Nothing,
        }
    }

    #[test]
    fn srtcp_that_comes_to_another_flow_starts_where_no_flow_has_been() {
        use Carries::{Muxed, Rtcp, Rtp};
        let keys = |protect, srtcp_turn| Keys {
            protect,
            srtcp_turn,
            ..Keys::default()
        };
        // Flows that are named: key, turn, carries. A flow before and after, with the turn of its
        // marks. Its turn.
        for (name, named, before, after, turn) in [
            ("a first flow", vec![], None, (A, 0, Muxed), 0),
            (
                "nothing new",
                vec![(A, 3, Muxed)],
                Some((A, 3, Muxed)),
                (A, 0, Muxed),
                3,
            ),
            (
                "a port of its own",
                vec![(A, 0, Muxed)],
                None,
                (A, 0, Rtcp),
                1,
            ),
            (
                "the port of RTP",
                vec![(A, 0, Muxed)],
                Some((A, 0, Muxed)),
                (A, 0, Rtp),
                0,
            ),
            (
                "one port again",
                vec![(A, 1, Rtcp), (A, 0, Rtp)],
                Some((A, 0, Rtp)),
                (A, 0, Muxed),
                2,
            ),
            (
                "without RTCP before",
                vec![(A, 0, Rtp)],
                Some((A, 0, Rtp)),
                (A, 0, Muxed),
                0,
            ),
            ("other keys", vec![(A, 5, Muxed)], None, (B, 0, Rtcp), 0),
            ("no keys", vec![(None, 0, Muxed)], None, (None, 0, Rtcp), 0),
            (
                "new keys",
                vec![(A, 5, Muxed)],
                Some((A, 5, Muxed)),
                (B, 0, Muxed),
                0,
            ),
            ("as marks say", vec![], None, (A, 3, Rtcp), 3),
            (
                "further than marks",
                vec![(A, 2, Muxed)],
                None,
                (A, 3, Rtcp),
                4,
            ),
            (
                "not as marks say",
                vec![],
                Some((A, 1, Muxed)),
                (A, 3, Muxed),
                1,
            ),
        ] {
            let mut turns = SrtcpTurns::default();
            for (key, turn, carries) in named {
                turns.add(keys(key, turn), carries);
            }
            let before = before.map(|(key, turn, carries)| (keys(key, turn), carries));
            let (key, marked, carries) = after;
            assert_eq!(turns.of(keys(key, marked), carries, before), turn, "{name}");
        }
    }
}
