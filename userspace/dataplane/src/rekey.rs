// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which keys of a flow stay, come and go when it changes.

use core::hash::BuildHasher;
use std::hash::RandomState;
use std::time::Instant;

use sallyport_flow::{Crypto, Flow};

use crate::contexts::Take;

/// Tells one [`Crypto`] from another without a second copy of the keys. It does not look at marks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
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
}

/// Keys of arriving packets beside those in use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Beside {
    /// Which.
    pub key: Fingerprint,
    /// Since when they are replaced; `None` where they are expected.
    pub replaced: Option<Instant>,
}

/// What goes into the slots of a flow's contexts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Plan {
    /// That for arriving packets.
    pub unprotect: Take<()>,
    /// The second one for arriving packets.
    pub beside: Take<()>,
    /// That for leaving packets.
    pub protect: Take<()>,
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
        }
    }

    fn one(&self, crypto: &Crypto) -> Fingerprint {
        let Crypto {
            suite,
            keys,
            lifetime,
            replay_window,
            key_derivation_rate,
            unencrypted_srtcp,
            marks: _,
        } = crypto;
        let keys: Vec<_> = keys
            .iter()
            .map(|key| (key.secret.expose(), &key.mki))
            .collect();
        Fingerprint(self.0.hash_one((
            suite,
            keys,
            lifetime,
            replay_window,
            key_derivation_rate,
            unencrypted_srtcp,
        )))
    }
}

impl Keys {
    /// What becomes of these keys when others are `wanted`: those from then on, and what to do for
    /// it.
    pub fn change(self, wanted: Self, now: Instant) -> (Self, Plan) {
        let mut beside = self.beside;
        let mut plan = Plan {
            unprotect: Take::Same,
            beside: Take::Same,
            protect: Take::Same,
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

const fn new_if(is_wanted: bool) -> Take<()> {
    if is_wanted {
        Take::New(())
    } else {
        Take::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            };
            let wanted = Keys {
                unprotect: wanted.0,
                beside: expected(wanted.1),
                protect: C,
            };
            let (keys, what) = before.change(wanted, now);
            assert_eq!(keys.unprotect, wanted.unprotect, "{name}");
            assert_eq!(keys.beside, beside, "{name}");
            assert_eq!([what.unprotect, what.beside], plan, "{name}");
            assert_eq!(what.protect, SAME, "{name}");
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
            protect: C,
        };
        assert_eq!(keys(None).retire(later), None);
        assert_eq!(keys(Some(later)).retire(now), None);
        let left = keys(Some(now)).retire(later).unwrap();
        assert_eq!((left.unprotect, left.beside, left.protect), (A, None, C));
    }
}
