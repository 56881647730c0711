// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The `m=` lines of one side of a call, where they are not those of the call itself.
//!
//! Some peers offer each medium twice, in a plain profile and in a protected one, and take the one
//! that is answered: what there was before RFC 8643. And a SIP proxy may not want one side to see
//! a medium of the other. So an SDP of that side is folded, which gives one that has each line of
//! the call once, and one for that side is unfolded. Lines stay where they are for the whole call
//! (RFC 3264 section 8).

use serde::{Deserialize, Serialize};

use crate::sdes::Crypto;
use crate::sdp::{Media, Medium, Sdp};

/// The lines of one side of a call; none where they are those of the call.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Shape {
    /// As this side has them.
    lines: Vec<Line>,
    /// What this side does not have.
    hidden: Vec<Line>,
}

/// One line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Line {
    /// Which line of the call, from 0 on.
    of: usize,
    /// It, refused.
    refused: String,
    /// Whether this is the one of two that counts.
    counts: bool,
}

/// What is asked for with an offer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// Media that are offered twice are one.
    pub accepts_twice: bool,
    /// Media with keys in a plain profile are passed on twice.
    pub offers_twice: bool,
    /// Media of these kinds are not passed on.
    pub without: Vec<Medium>,
}

impl Shape {
    /// Whether the lines have always been those of the call.
    pub fn is_none(&self) -> bool {
        self.lines.is_empty() && self.hidden.is_empty()
    }

    /// Whether the lines are those of the call.
    fn is_plain(&self) -> bool {
        let in_order = (0..).zip(&self.lines).all(|(at, line)| line.of == at);
        in_order && self.hidden.is_empty()
    }

    /// How many lines of the call are known.
    fn count(&self) -> usize {
        let lines = self.lines.iter().chain(&self.hidden);
        lines.map(|line| line.of + 1).max().unwrap_or(0)
    }

    /// Folds an offer of this side, in a call that has had some lines before. Returns the shape
    /// from then on.
    pub fn fold_offer(&self, offer: &Sdp, lines_before: usize, wanted: &Wanted) -> (Self, Sdp) {
        let mut next = self.count().max(lines_before);
        let mut after = Self {
            lines: Vec::new(),
            hidden: self.hidden.clone(),
        };
        for (at, media) in offer.media().iter().enumerate() {
            let known = match self.lines.get(at) {
                Some(line) => Some(line.of),
                None => (self.is_none() && at < lines_before).then_some(at),
            };
            let twin = || {
                let before = at.checked_sub(1).filter(|_| wanted.accepts_twice)?;
                let of = after.lines[before].of;
                let is_single = after.of(of).count() == 1;
                let are_twins = is_single && are_twins(&offer.media()[before], media);
                are_twins.then_some(of)
            };
            let of = known.or_else(twin).unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            after.lines.push(Line::new(of, media));
        }
        if after.is_plain() {
            return (Self::default(), offer.clone());
        }
        let folded = after.fold(offer);
        (after, folded)
    }

    /// Unfolds an offer for this side. Returns the shape from then on.
    pub fn unfold_offer(&self, offer: Sdp, lines_before: usize, wanted: &Wanted) -> (Self, Sdp) {
        let mut after = self.clone();
        if self.is_none() {
            let before = offer.media().iter().enumerate().take(lines_before);
            after.lines = before.map(|(of, media)| Line::new(of, media)).collect();
        }
        // What a refused offer had more is not there any more.
        after.lines.retain(|line| line.of < offer.media().len());
        let is_unwanted = |media: &Media| wanted.without.contains(media.medium());
        for (of, media) in offer.media().iter().enumerate() {
            if after.of(of).next().is_some() {
                continue;
            }
            after.hidden.retain(|line| line.of != of);
            if is_unwanted(media) {
                after.hidden.push(Line::new(of, media));
                continue;
            }
            if wanted.offers_twice && has_optional_keys(media) {
                after.lines.push(Line::new(of, media));
                after.lines.push(Line::new(of, &protected(media)));
            } else {
                after.lines.push(Line::new(of, media));
            }
        }
        if after.is_plain() && !offer.media().iter().any(is_unwanted) {
            return (Self::default(), offer);
        }
        let lines = after.lines.iter().filter_map(|line| {
            let media = offer.media().get(line.of)?;
            let is_protected = line.media()?.profile().is_protected();
            Some(match after.of(line.of).count() {
                _ if is_unwanted(media) => media.refused(),
                1 => media.clone(),
                _ if has_optional_keys(media) && is_protected => protected(media),
                _ if has_optional_keys(media) => without_keys(media),
                _ if media.profile().is_protected() == is_protected => media.clone(),
                _ => line.media()?,
            })
        });
        let lines = lines.collect();
        (after, offer.with_media(lines))
    }

    /// Folds an answer of this side; `None` if it has not as many lines as it was offered.
    pub fn fold_answer(&mut self, answer: &Sdp) -> Option<Sdp> {
        if self.is_none() {
            return Some(answer.clone());
        }
        (answer.media().len() == self.lines.len()).then(|| self.fold(answer))
    }

    /// Unfolds an answer for this side.
    pub fn unfold_answer(&self, answer: Sdp) -> Sdp {
        if self.is_none() {
            return answer;
        }
        let lines = self.lines.iter().filter_map(|line| {
            let media = answer.media().get(line.of).filter(|_| line.counts);
            media.cloned().or_else(|| line.media())
        });
        let lines = lines.collect();
        answer.with_media(lines)
    }

    /// How many lines this side has to answer; `None` for those of the call.
    pub fn lines(&self) -> Option<usize> {
        (!self.is_none()).then_some(self.lines.len())
    }

    fn of(&self, of: usize) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.of == of)
    }

    /// Leaves of two lines the protected one if it is not refused, else the other.
    fn fold(&mut self, sdp: &Sdp) -> Sdp {
        let rank = |at: usize| {
            let media = &sdp.media()[at];
            (media.port() != 0, media.profile().is_protected())
        };
        let mut folded = Vec::new();
        for of in 0..self.count() {
            let lines = (0..self.lines.len().min(sdp.media().len())).rev();
            let best = lines
                .filter(|at| self.lines[*at].of == of)
                .max_by_key(|at| rank(*at));
            for (at, line) in self.lines.iter_mut().enumerate() {
                line.counts = if line.of == of {
                    best == Some(at)
                } else {
                    line.counts
                };
            }
            let hidden = || self.hidden.iter().find(|line| line.of == of)?.media();
            folded.extend(best.map(|at| sdp.media()[at].clone()).or_else(hidden));
        }
        sdp.clone().with_media(folded)
    }
}

impl Line {
    fn new(of: usize, media: &Media) -> Self {
        Self {
            of,
            refused: media.refused().line(),
            counts: true,
        }
    }

    fn media(&self) -> Option<Media> {
        Media::parse(&self.refused)
    }
}

/// Whether two lines are the same medium, plain and protected.
fn are_twins(one: &Media, other: &Media) -> bool {
    let profiles = [one.profile(), other.profile()];
    one.medium() == other.medium()
        && profiles.iter().all(|profile| profile.is_rtp())
        && profiles[0].is_protected() != profiles[1].is_protected()
}

/// Whether a line has keys in a plain profile.
fn has_optional_keys(media: &Media) -> bool {
    let is_plain = media.profile().is_rtp() && !media.profile().is_protected();
    is_plain && media.port() != 0 && media.section().attribute(Crypto::NAME).is_some()
}

fn protected(media: &Media) -> Media {
    let mut media = media.clone();
    if let Some(profile) = media.profile().protected() {
        media.set_profile(profile);
    }
    media
}

fn without_keys(media: &Media) -> Media {
    let mut media = media.clone();
    media.section_mut().remove_attributes(&[Crypto::NAME]);
    media
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sdp(lines: &str) -> Sdp {
        let text =
            format!("v=0\no=- 1 1 IN IP4 192.0.2.7\ns=-\nc=IN IP4 192.0.2.7\nt=0 0\n{lines}");
        Sdp::parse(text.as_bytes()).unwrap()
    }

    fn lines(sdp: &Sdp) -> String {
        let text = sdp.write();
        text.split_once("t=0 0\n").unwrap().1.to_owned()
    }

    const PLAIN: &str = "m=audio 4000 RTP/AVP 8\n";
    const PROTECTED: &str = "m=audio 4002 RTP/SAVP 8\na=crypto:1 x\n";
    const VIDEO: &str = "m=video 4004 RTP/AVP 31\n";

    #[test]
    fn what_is_offered_twice_is_one_and_answered_where_it_was_taken() {
        let wanted = Wanted {
            accepts_twice: true,
            ..Wanted::default()
        };
        let (one, other) = ("m=audio 0 RTP/AVP 8\n", "m=audio 0 RTP/SAVP 8\n");
        let answered = "m=audio 6000 RTP/SAVP 8\na=crypto:1 y\n";
        for (offered, folded, answered, unfolded) in [
            (
                [PLAIN, PROTECTED, VIDEO].concat(),
                [PROTECTED, VIDEO].concat(),
                [answered, VIDEO].concat(),
                [one, answered, VIDEO].concat(),
            ),
            (
                [VIDEO, PROTECTED, PLAIN].concat(),
                [VIDEO, PROTECTED].concat(),
                [VIDEO, answered].concat(),
                [VIDEO, answered, one].concat(),
            ),
            // Only one of them is still there.
            (
                [PLAIN, other].concat(),
                PLAIN.to_owned(),
                PLAIN.to_owned(),
                [PLAIN, other].concat(),
            ),
            // Not twins: another medium, or the same profile.
            (
                [PLAIN, PLAIN].concat(),
                [PLAIN, PLAIN].concat(),
                [PLAIN, PLAIN].concat(),
                [PLAIN, PLAIN].concat(),
            ),
        ] {
            let (shape, canonical) = Shape::default().fold_offer(&sdp(&offered), 0, &wanted);
            assert_eq!(lines(&canonical), folded, "{offered}");
            let back = shape.unfold_answer(sdp(&answered));
            assert_eq!(lines(&back), unfolded, "{offered}");
        }
        let twice = sdp(&[PLAIN, PROTECTED].concat());
        let (shape, same) = Shape::default().fold_offer(&twice, 0, &Wanted::default());
        assert_eq!((shape, same), (Shape::default(), twice));
    }

    #[test]
    fn what_has_keys_to_choose_is_offered_twice_and_either_may_be_taken() {
        let wanted = Wanted {
            offers_twice: true,
            ..Wanted::default()
        };
        let offer = sdp(&["m=audio 4000 RTP/AVP 8\na=crypto:1 x\n", VIDEO].concat());
        let (mut shape, twice) = Shape::default().unfold_offer(offer, 0, &wanted);
        let both = "m=audio 4000 RTP/AVP 8\nm=audio 4000 RTP/SAVP 8\na=crypto:1 x\n";
        assert_eq!(lines(&twice), [both, VIDEO].concat());
        let refused = ["m=audio 0 RTP/AVP 8\n", "m=audio 0 RTP/SAVP 8\n"];
        for (answered, folded) in [
            ([PLAIN, refused[1], VIDEO].concat(), [PLAIN, VIDEO].concat()),
            (
                [refused[0], PROTECTED, VIDEO].concat(),
                [PROTECTED, VIDEO].concat(),
            ),
            (
                [PLAIN, PROTECTED, VIDEO].concat(),
                [PROTECTED, VIDEO].concat(),
            ),
            (
                [refused[0], refused[1], VIDEO].concat(),
                [refused[1], VIDEO].concat(),
            ),
        ] {
            let answer = shape.fold_answer(&sdp(&answered)).unwrap();
            assert_eq!(lines(&answer), folded, "{answered}");
        }
        assert_eq!(shape.fold_answer(&sdp(&[PLAIN, VIDEO].concat())), None);
        // In a second offer the lines are where they were, whatever is asked for then.
        let again = sdp(&[PROTECTED, VIDEO].concat());
        let (shape, twice) = shape.unfold_offer(again, 2, &Wanted::default());
        assert_eq!(lines(&twice), [refused[0], PROTECTED, VIDEO].concat());
        // And in one of the other side.
        let theirs = sdp(&[refused[0], PROTECTED, VIDEO].concat());
        let (shape, folded) = shape.fold_offer(&theirs, 2, &Wanted::default());
        assert_eq!(lines(&folded), [PROTECTED, VIDEO].concat());
        let back = shape.unfold_answer(sdp(&[PROTECTED, VIDEO].concat()));
        assert_eq!(lines(&back), [refused[0], PROTECTED, VIDEO].concat());
    }

    #[test]
    fn a_medium_that_is_not_passed_on_is_answered_as_refused() {
        let wanted = Wanted {
            without: vec![Medium::Video],
            ..Wanted::default()
        };
        let offer = sdp(&[VIDEO, PLAIN].concat());
        let (mut shape, less) = Shape::default().unfold_offer(offer.clone(), 0, &wanted);
        assert_eq!(lines(&less), PLAIN);
        let answer = shape.fold_answer(&sdp(PLAIN)).unwrap();
        assert_eq!(lines(&answer), ["m=video 0 RTP/AVP 31\n", PLAIN].concat());
        // Whoever sees it later sees it behind what was there.
        let (shape, all) = shape.unfold_offer(offer.clone(), 2, &Wanted::default());
        assert_eq!(lines(&all), [PLAIN, VIDEO].concat());
        let (_, folded) = shape.fold_offer(&all, 2, &Wanted::default());
        assert_eq!(lines(&folded), [VIDEO, PLAIN].concat());
        // A line of an offer that was refused is forgotten.
        let more = sdp(&[VIDEO, PLAIN, PLAIN].concat());
        let (shape, _) = shape.unfold_offer(more, 2, &wanted);
        let (mut shape, less) = shape.unfold_offer(offer.clone(), 3, &wanted);
        assert_eq!(lines(&less), [PLAIN, "m=video 0 RTP/AVP 31\n"].concat());
        assert!(shape.fold_answer(&less).is_some());
        // What was seen before stays, refused.
        let (_, less) = Shape::default().unfold_offer(offer, 2, &wanted);
        assert_eq!(lines(&less), ["m=video 0 RTP/AVP 31\n", PLAIN].concat());
    }

    fn any_offer() -> impl Strategy<Value = String> {
        let line = proptest::sample::select(vec![
            PLAIN,
            PROTECTED,
            VIDEO,
            "m=audio 4000 RTP/AVP 8\na=crypto:1 x\n",
            "m=audio 0 RTP/AVP 8\n",
            "m=video 4000 RTP/SAVP 31\na=crypto:1 x\n",
            "m=image 4000 udptl t38\n",
        ]);
        proptest::collection::vec(line, 0..6).prop_map(|lines| lines.concat())
    }

    proptest! {
        /// Whoever offers what: each side is answered what it offered, line by line, and the other
        /// sees each line of the call at most where it saw it before.
        #[test]
        fn each_side_keeps_its_lines(
            offers in proptest::collection::vec(
                (any_offer(), 0_usize..2, any::<[bool; 3]>()),
                1..5,
            ),
        ) {
            let mut shapes = [Shape::default(), Shape::default()];
            let mut seen: [Vec<String>; 2] = Default::default();
            let mut lines_before = 0;
            for (offer, near, [accepts_twice, offers_twice, removes]) in offers {
                let wanted = Wanted {
                    accepts_twice,
                    offers_twice,
                    without: if removes { vec![Medium::Video] } else { Vec::new() },
                };
                let offer = sdp(&offer);
                let media = |sdp: &Sdp| -> Vec<_> {
                    let media = sdp.media().iter();
                    media.map(|media| media.medium().name().to_owned()).collect()
                };
                // Lines are never taken away, and stay what they are.
                if !media(&offer).starts_with(&seen[near]) {
                    continue;
                }
                let (shape, folded) = shapes[near].fold_offer(&offer, lines_before, &wanted);
                shapes[near] = shape;
                let all = folded.media().len();
                prop_assert!(all >= lines_before);
                let far = 1 - near;
                let (shape, unfolded) =
                    shapes[far].unfold_offer(folded, lines_before, &wanted);
                shapes[far] = shape;
                prop_assert!(media(&unfolded).starts_with(&seen[far]));
                let answer = shapes[far].fold_answer(&unfolded);
                prop_assert_eq!(answer.as_ref().map(|answer| answer.media().len()), Some(all));
                let back = shapes[near].unfold_answer(answer.unwrap());
                prop_assert_eq!(media(&back), media(&offer));
                seen[near] = media(&offer);
                seen[far] = media(&unfolded);
                lines_before = all;
            }
        }
    }
}
