// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Offers of security descriptions, the choice among those of a peer, and answers.
//!
//! Source: RFC 4568 sections 5.1 and 7.1.

use core::fmt;

use super::{
    AskedRelaxed, Crypto, CryptoError, FecOrder, InlineKey, Relaxed, SessionParameters, Suite,
};
use crate::random::{Random, RandomError};

/// What we offer to peers, and what we take from them.
#[derive(Clone, Debug, Default)]
pub struct Sdes {
    /// The suites, the one that we prefer first.
    pub suites: Suites,
    /// The suites that we offer, in the order in which they are written, none if it is empty; all
    /// of `suites` without.
    pub offered: Option<Vec<Suite>>,
    /// The lifetime that we state with keys that we draw, in packets, and keep to.
    pub lifetime: Option<u64>,
    /// What we offer to do without, as far as `relaxed` lets us.
    pub asked: AskedRelaxed,
    /// Whose order counts where several suites would do.
    pub preference: Preference,
    /// What peers may do without. Nothing by default: a call that does without encryption or
    /// authentication is not protected.
    pub relaxed: Relaxed,
    /// The longest master key identifier that the data plane can read, in bytes; 0 if it reads
    /// none.
    pub max_mki_len: usize,
    /// Whether the data plane can derive session keys more than once.
    pub key_derivation_rate: bool,
}

impl Sdes {
    /// Describes what we would send with, once per suite and each with a new key: what we offer
    /// for one medium. Tags count from 1 on. What the other side of a call does `without`, this
    /// one is offered to do without, too.
    pub fn offer(
        &self,
        without: Relaxed,
        random: &mut impl Random,
    ) -> Result<Vec<Crypto>, RandomError> {
        let suites = self.offered.as_ref().unwrap_or(&self.suites.0);
        let offered = suites.iter().filter(|suite| suite.may_be_offered());
        let relaxed = self.asked.or(without).within(self.relaxed);
        (1..)
            .zip(offered)
            .map(|(tag, suite)| {
                Ok(Crypto {
                    tag,
                    suite: *suite,
                    keys: vec![self.key(*suite, random)?],
                    parameters: SessionParameters {
                        relaxed: relaxed.of(*suite),
                        ..SessionParameters::default()
                    },
                })
            })
            .collect()
    }

    /// The same with no other suites than these.
    #[must_use]
    pub fn only(&self, allowed: &[Suite]) -> Self {
        let only = |suites: &[Suite]| {
            let suites = suites.iter().filter(|suite| allowed.contains(suite));
            suites.copied().collect()
        };
        Self {
            suites: Suites(only(&self.suites.0)),
            offered: self.offered.as_deref().map(only),
            ..self.clone()
        }
    }

    /// Whether all that we are asked to do without is what `relaxed` lets us.
    pub fn allows_what_is_asked(&self) -> bool {
        self.relaxed.covers(self.asked.or(Relaxed::default()))
    }

    /// Draws a new key.
    pub fn key(&self, suite: Suite, random: &mut impl Random) -> Result<InlineKey, RandomError> {
        let key = InlineKey::random(suite, random)?;
        Ok(key.with_lifetime(self.lifetime))
    }

    /// Chooses among the values of `a=crypto` that a peer offers for one medium. What is not valid
    /// or not known is skipped.
    pub fn choose<'a>(
        &self,
        offered: impl IntoIterator<Item = &'a str>,
    ) -> Result<Crypto, NoAcceptableCrypto> {
        let mut refusal = NoAcceptableCrypto::Missing;
        let mut tags = Vec::new();
        let mut chosen: Option<(usize, Crypto)> = None;
        for text in offered {
            let crypto = match Crypto::parse(text) {
                Ok(crypto) => crypto,
                Err(error) => {
                    if refusal == NoAcceptableCrypto::Missing {
                        refusal = NoAcceptableCrypto::Invalid(error);
                    }
                    continue;
                }
            };
            if tags.contains(&crypto.tag) {
                return Err(NoAcceptableCrypto::SameTag);
            }
            tags.push(crypto.tag);
            let Some(rank) = self.rank(&crypto) else {
                refusal = NoAcceptableCrypto::Unsupported;
                continue;
            };
            let is_better = match (&chosen, self.preference) {
                (None, _) => true,
                (Some((best, _)), Preference::Ours) => rank < *best,
                (Some(_), Preference::Offerer) => false,
            };
            if is_better {
                chosen = Some((rank, crypto));
            }
        }
        chosen.map(|(_, crypto)| crypto).ok_or(refusal)
    }

    /// The one of a suite among the values of `a=crypto` that a peer offers for one medium, if we
    /// would take it.
    pub fn find<'a>(
        &self,
        suite: Suite,
        offered: impl IntoIterator<Item = &'a str>,
    ) -> Option<Crypto> {
        let mut offered = offered
            .into_iter()
            .filter_map(|text| Crypto::parse(text).ok());
        offered.find(|crypto| crypto.suite == suite && self.rank(crypto).is_some())
    }

    /// Reads the answer to what we offered for one medium: which of ours was taken, and what the
    /// peer sends with.
    pub fn read_answer<'a>(
        &self,
        offered: &[Crypto],
        answered: impl IntoIterator<Item = &'a str>,
    ) -> Result<(Crypto, Crypto), AnswerError> {
        let theirs = read_one(answered)?;
        let ours = offered
            .iter()
            .find(|ours| ours.tag == theirs.tag && ours.suite == theirs.suite)
            .ok_or(AnswerError::NotOffered)?;
        if ours.parameters.relaxed != theirs.parameters.relaxed {
            return Err(AnswerError::Relaxed);
        }
        if self.rank(&theirs).is_none() {
            return Err(AnswerError::Unsupported);
        }
        let is_ours = |key: &InlineKey| {
            let mut keys = offered.iter().flat_map(|ours| &ours.keys);
            keys.any(|ours| ours.expose() == key.expose())
        };
        if theirs.keys.iter().any(is_ours) {
            return Err(AnswerError::SameKey);
        }
        Ok((ours.clone(), theirs))
    }

    /// Reads the answer of one peer to another, whose protection is to be one that we would take.
    pub fn check_answer<'a>(
        &self,
        answered: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), AnswerError> {
        let rank = self.rank(&read_one(answered)?);
        rank.map(|_| ()).ok_or(AnswerError::Unsupported)
    }

    /// How far behind in our order of suites; `None` for what we do not take.
    fn rank(&self, crypto: &Crypto) -> Option<usize> {
        let SessionParameters {
            key_derivation_rate,
            relaxed,
            fec_order,
            ref fec_keys,
            ..
        } = crypto.parameters;
        let mki_len = crypto
            .keys
            .iter()
            .filter_map(InlineKey::mki)
            .map(<[u8]>::len);
        let is_supported = self.relaxed.covers(relaxed)
            && mki_len.max().unwrap_or(0) <= self.max_mki_len
            && (self.key_derivation_rate || key_derivation_rate.is_none())
            // A gateway that ends SRTP can hand on what was corrected before SRTP only, and has
            // no port for a stream of its own.
            && fec_order != Some(FecOrder::SrtpFec)
            && fec_keys.is_empty();
        let rank = self
            .suites
            .0
            .iter()
            .position(|suite| *suite == crypto.suite)?;
        is_supported.then_some(rank)
    }
}

/// The one attribute of an answer.
fn read_one<'a>(answered: impl IntoIterator<Item = &'a str>) -> Result<Crypto, AnswerError> {
    let mut answered = answered.into_iter();
    let theirs = Crypto::parse(answered.next().ok_or(AnswerError::Missing)?)
        .map_err(AnswerError::Invalid)?;
    match answered.next() {
        Some(_) => Err(AnswerError::Several),
        None => Ok(theirs),
    }
}

/// Answers what a peer offered and we chose: its tag and suite, our key, and the negotiated
/// parameters, but not the ones that it declared about itself (RFC 4568 section 5.1.2).
pub fn answer(chosen: &Crypto, key: InlineKey) -> Crypto {
    Crypto {
        tag: chosen.tag,
        suite: chosen.suite,
        keys: vec![key],
        parameters: SessionParameters {
            relaxed: chosen.parameters.relaxed,
            ..SessionParameters::default()
        },
    }
}

/// Suites in the order of preference: at least one, each once, all of them spoken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Suites(Vec<Suite>);

impl Suites {
    /// Takes suites in the order of preference. F8 and NULL, if they are among them, are taken
    /// from peers, but never offered.
    pub fn new(suites: impl IntoIterator<Item = Suite>) -> Result<Self, SuitesError> {
        let suites: Vec<_> = suites.into_iter().collect();
        for (i, suite) in suites.iter().enumerate() {
            if !suite.is_spoken() {
                return Err(SuitesError::NotSpoken(*suite));
            }
            if suites[..i].contains(suite) {
                return Err(SuitesError::Twice(*suite));
            }
        }
        if suites.iter().any(|suite| suite.may_be_offered()) {
            Ok(Self(suites))
        } else {
            Err(SuitesError::NothingToOffer)
        }
    }

    /// The suites in the order of preference.
    pub fn as_slice(&self) -> &[Suite] {
        &self.0
    }
}

impl Default for Suites {
    /// All that may be offered: GCM first, then the longer tags, then the longer keys.
    fn default() -> Self {
        let offered = Suite::ALL
            .into_iter()
            .filter(|suite| suite.may_be_offered());
        Self(offered.collect())
    }
}

/// Whose order of suites counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Preference {
    /// Ours.
    #[default]
    Ours,
    /// The offerer's, as RFC 4568 section 5.1.2 recommends.
    Offerer,
}

/// Why a list of suites is of no use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SuitesError {
    /// Sallyport does not speak a suite.
    NotSpoken(Suite),
    /// A suite is there twice.
    Twice(Suite),
    /// None of them may be offered.
    NothingToOffer,
}

impl fmt::Display for SuitesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSpoken(suite) => write!(f, "{suite} is known by name only; take it out"),
            Self::Twice(suite) => write!(f, "{suite} is there twice; name it once"),
            Self::NothingToOffer => {
                f.write_str("no suite may be offered; add one, such as AEAD_AES_256_GCM")
            }
        }
    }
}

impl core::error::Error for SuitesError {}

/// Why nothing that was offered can be taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum NoAcceptableCrypto {
    /// There is no `a=crypto`.
    Missing,
    /// Two have the same tag.
    SameTag,
    /// None is valid; this is why the first is not.
    Invalid(CryptoError),
    /// Some are valid, but our policy takes none of them, or the data plane cannot do it.
    Unsupported,
}

impl fmt::Display for NoAcceptableCrypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no a=crypto is offered; add one"),
            Self::SameTag => f.write_str("two a=crypto have the same tag; number them 1, 2, ..."),
            Self::Invalid(error) => write!(f, "no a=crypto is valid: {error}"),
            Self::Unsupported => f.write_str(
                "no a=crypto has a suite and parameters that are allowed here; offer other suites",
            ),
        }
    }
}

impl core::error::Error for NoAcceptableCrypto {}

/// Why an answer to our offer cannot be taken: negotiation has failed (RFC 4568 section 5.1.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AnswerError {
    /// There is no `a=crypto`.
    Missing,
    /// There is more than one `a=crypto`.
    Several,
    /// It is not valid.
    Invalid(CryptoError),
    /// Its tag and suite are not those of an offered one.
    NotOffered,
    /// Its negotiated session parameters are not the offered ones.
    Relaxed,
    /// It has a key that we offered.
    SameKey,
    /// The data plane cannot do what it says.
    Unsupported,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the answer has no a=crypto; answer with the one taken"),
            Self::Several => f.write_str("the answer has several a=crypto; answer with one"),
            Self::Invalid(error) => write!(f, "the a=crypto of the answer is not valid: {error}"),
            Self::NotOffered => f.write_str(
                "the a=crypto of the answer was not offered; answer with tag and suite of the one \
                 taken",
            ),
            Self::Relaxed => f.write_str(
                "the answer leaves out encryption or authentication as the offer does not; repeat \
                 the parameters of the offer",
            ),
            Self::SameKey => {
                f.write_str("the answer has a key of the offer; answer with a key of its own")
            }
            Self::Unsupported => f.write_str(
                "the a=crypto of the answer has parameters that are not allowed here; answer \
                 without MKI, KDR and FEC_KEY",
            ),
        }
    }
}

impl core::error::Error for AnswerError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;
    use crate::random::testing::Counting;

    const CM80: &str = "AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
    const CM32: &str = "AES_CM_128_HMAC_SHA1_32 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj";
    const F8: &str = "F8_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5QUJjZGVm";
    const GCM: &str = "AEAD_AES_128_GCM inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";

    fn lines(lines: &[&str]) -> Vec<String> {
        (1..)
            .zip(lines)
            .map(|(tag, line)| format!("{tag} {line}"))
            .collect()
    }

    fn choose(sdes: &Sdes, offered: &[String]) -> Result<(u32, Suite), NoAcceptableCrypto> {
        sdes.choose(offered.iter().map(String::as_str))
            .map(|crypto| (crypto.tag, crypto.suite))
    }

    #[test]
    fn an_offer_has_every_suite_gcm_first_and_no_key_twice() {
        let sdes = Sdes {
            suites: Suites::new([
                Suite::NullHmacSha1_80,
                Suite::AeadAes256Gcm,
                Suite::F8128HmacSha1_80,
                Suite::AesCm128HmacSha1_80,
            ])
            .unwrap(),
            ..Sdes::default()
        };
        let names = |offer: &[Crypto]| {
            let mut tags = offer.iter().map(|crypto| crypto.tag);
            assert!(tags.by_ref().eq(1..=u32::try_from(offer.len()).unwrap()));
            offer.iter().map(|crypto| crypto.suite).collect::<Vec<_>>()
        };
        let configured = sdes.offer(Relaxed::default(), &mut SystemRandom).unwrap();
        assert_eq!(
            names(&configured),
            [Suite::AeadAes256Gcm, Suite::AesCm128HmacSha1_80]
        );
        let default = Sdes::default()
            .offer(Relaxed::default(), &mut SystemRandom)
            .unwrap();
        assert_eq!(names(&default), Suite::ALL[..8]);
        let none = Sdes {
            offered: Some(Vec::new()),
            ..Sdes::default()
        };
        let none = none.offer(Relaxed::default(), &mut SystemRandom).unwrap();
        assert_eq!(names(&none), []);
        let mut keys: Vec<_> = (configured.iter().chain(&default))
            .flat_map(|crypto| &crypto.keys)
            .map(|key| key.expose()[..28].to_vec())
            .collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 10);
    }

    #[test]
    fn a_list_of_suites_that_is_of_no_use_is_refused() {
        use Suite as S;
        for (suites, error) in [
            (vec![], SuitesError::NothingToOffer),
            (
                vec![S::F8128HmacSha1_80, S::NullHmacSha1_80],
                SuitesError::NothingToOffer,
            ),
            (
                vec![S::AeadAes128Gcm, S::Seed128Ccm80],
                SuitesError::NotSpoken(S::Seed128Ccm80),
            ),
            (
                vec![S::AeadAes128Gcm, S::AeadAes128Gcm],
                SuitesError::Twice(S::AeadAes128Gcm),
            ),
        ] {
            assert_eq!(Suites::new(suites), Err(error));
        }
    }

    #[test]
    fn the_choice_follows_our_order_or_that_of_the_offer() {
        let offered = lines(&["NEW_SUITE inline:x", F8, CM32, CM80, GCM]);
        let ours = Sdes::default();
        assert_eq!(choose(&ours, &offered), Ok((5, Suite::AeadAes128Gcm)));
        let theirs = Sdes {
            preference: Preference::Offerer,
            ..Sdes::default()
        };
        assert_eq!(
            choose(&theirs, &offered),
            Ok((3, Suite::AesCm128HmacSha1_32))
        );
        let f8 = Sdes {
            suites: Suites::new([Suite::F8128HmacSha1_80, Suite::AeadAes128Gcm]).unwrap(),
            ..Sdes::default()
        };
        assert_eq!(choose(&f8, &offered), Ok((2, Suite::F8128HmacSha1_80)));
    }

    #[test]
    fn an_offer_without_anything_acceptable_is_refused_for_its_reason() {
        use NoAcceptableCrypto as N;
        let unknown = N::Invalid(CryptoError::UnknownSuite);
        let with = |tail: &str| format!("{CM80}{tail}");
        let cases = [
            (vec![], N::Missing),
            (vec!["NEW_SUITE inline:x".to_owned()], unknown),
            (
                vec!["NEW_SUITE inline:x".to_owned(), F8.to_owned()],
                N::Unsupported,
            ),
            (vec![with(" UNENCRYPTED_SRTP")], N::Unsupported),
            (vec![with(" UNENCRYPTED_SRTCP")], N::Unsupported),
            (vec![with(" UNAUTHENTICATED_SRTP")], N::Unsupported),
            (vec![with(" KDR=3")], N::Unsupported),
            (vec![with("|1:1")], N::Unsupported),
            (vec![with(" FEC_ORDER=SRTP_FEC")], N::Unsupported),
            (
                vec![with(&format!(" FEC_KEY={}", &CM32[24..]))],
                N::Unsupported,
            ),
        ];
        for (offered, error) in cases {
            let offered: Vec<_> = offered.iter().map(String::as_str).collect();
            assert_eq!(
                choose(&Sdes::default(), &lines(&offered)),
                Err(error),
                "{offered:?}"
            );
        }
        let same = [format!("1 {CM80}"), format!("1 {CM32}")];
        assert_eq!(choose(&Sdes::default(), &same), Err(N::SameTag));
    }

    #[test]
    fn what_is_allowed_is_taken_and_repeated_in_the_answer_unless_it_is_declared() {
        let sdes = Sdes {
            relaxed: Relaxed {
                unencrypted_srtcp: true,
                ..Relaxed::default()
            },
            max_mki_len: 4,
            key_derivation_rate: true,
            ..Sdes::default()
        };
        let tail = "|2^20|7:4 KDR=3 UNENCRYPTED_SRTCP FEC_ORDER=FEC_SRTP WSH=128 -X";
        let chosen = sdes.choose([format!("9 {CM80}{tail}").as_str()]).unwrap();
        let key = InlineKey::random(chosen.suite, &mut Counting::default()).unwrap();
        let answer = answer(&chosen, key);
        assert_eq!(
            *answer.write(),
            "9 AES_CM_128_HMAC_SHA1_80 inline:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e \
             UNENCRYPTED_SRTCP"
        );
        assert!(choose(&sdes, &[format!("1 {CM80} UNENCRYPTED_SRTP")]).is_err());
    }

    #[test]
    fn an_answer_must_take_one_of_the_offered_with_a_key_of_its_own() {
        let sdes = Sdes::default();
        let offer = sdes
            .offer(Relaxed::default(), &mut Counting::default())
            .unwrap();
        let taken = format!("5 {CM80}");
        let (ours, theirs) = sdes.read_answer(&offer, [taken.as_str()]).unwrap();
        assert_eq!(ours, offer[4]);
        assert_eq!(*theirs.write(), taken);
        let own = offer[4].write();
        for (answer, error) in [
            (vec![], AnswerError::Missing),
            (vec![taken.as_str(), taken.as_str()], AnswerError::Several),
            (vec!["5"], AnswerError::Invalid(CryptoError::Incomplete)),
            (vec![&format!("1 {CM80}")], AnswerError::NotOffered),
            (vec![&format!("5 {CM32}")], AnswerError::NotOffered),
            (vec![&format!("99 {CM80}")], AnswerError::NotOffered),
            (
                vec![&format!("5 {CM80} UNENCRYPTED_SRTP")],
                AnswerError::Relaxed,
            ),
            (vec![&format!("5 {CM80} KDR=1")], AnswerError::Unsupported),
            (vec![&*own], AnswerError::SameKey),
        ] {
            let result = sdes.read_answer(&offer, answer.iter().copied());
            assert_eq!(result, Err(error), "{answer:?}");
        }
    }
}
