// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What listeners would say of a call: a mean opinion score by the E-model, ITU-T G.107.
//!
//! Of its many parameters only those are measured that change with the network: loss, jitter and
//! round trip. All others have their default values (G.107 table 2), and the codec is taken for
//! G.711 with concealment of losses, since a score that drops with the codec says nothing about the
//! network.

use std::time::Duration;

/// What a network does to media.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Impairment {
    /// The share of packets that do not arrive, 0 to 1.
    pub(crate) loss: f64,
    pub(crate) jitter: Duration,
    /// `None` while nobody knows.
    pub(crate) round_trip: Option<Duration>,
}

/// The rating without any impairment by the network (G.107 section 7.7).
const R_DEFAULT: f64 = 93.2;
/// The robustness of G.711 with concealment against single losses, in percent (G.113 table I.2).
const BPL: f64 = 25.1;
/// What coding and packets of 20 ms add to the delay, in milliseconds.
const OWN_DELAY: f64 = 10.0;

impl Impairment {
    /// The score, 1 to 4.5.
    pub(crate) fn mos(self) -> f64 {
        mos(R_DEFAULT - self.of_delay() - self.of_loss())
    }

    /// How much the delay takes off the rating. A listener's buffer holds what varies, about twice
    /// the jitter.
    fn of_delay(self) -> f64 {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let one_way = self.round_trip.map_or(0.0, ms) / 2.0;
        let delay = one_way + 2.0 * ms(self.jitter) + OWN_DELAY;
        // R. G. Cole, J. H. Rosenbluth: Voice over IP performance monitoring (2001), formula 4.
        0.024 * delay + 0.11 * (delay - 177.3).max(0.0)
    }

    /// How much loss takes off the rating (G.107 formula 7-29, losses at random).
    fn of_loss(self) -> f64 {
        let percent = self.loss * 100.0;
        95.0 * percent / (percent + BPL)
    }
}

/// The score that belongs to a rating (G.107 annex B).
fn mos(rating: f64) -> f64 {
    match rating {
        r if r <= 0.0 => 1.0,
        r if r >= 100.0 => 4.5,
        // Of very low ratings it would be less than of none.
        r => (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(percent: f64, jitter: u64, round_trip: u64) -> f64 {
        let impairment = Impairment {
            loss: percent / 100.0,
            jitter: Duration::from_millis(jitter),
            round_trip: Some(Duration::from_millis(round_trip)),
        };
        impairment.mos()
    }

    #[test]
    fn ratings_have_the_scores_of_g_107_table_b_1() {
        for (rating, expected) in [
            (90.0, 4.34),
            (80.0, 4.03),
            (70.0, 3.60),
            (60.0, 3.10),
            (50.0, 2.58),
            (0.0, 1.0),
            (100.0, 4.5),
        ] {
            assert!((mos(rating) - expected).abs() < 0.01, "{rating}");
        }
    }

    #[test]
    fn every_impairment_lowers_the_score() {
        assert!(score(0.0, 0, 0) > 4.4);
        for (percent, jitter, round_trip, least, most) in [
            (1.0, 0, 0, 4.2, 4.4),
            (5.0, 0, 0, 3.7, 4.0),
            (20.0, 0, 0, 2.0, 2.8),
            (100.0, 0, 0, 1.0, 1.3),
            (0.0, 20, 100, 4.3, 4.4),
            (0.0, 0, 800, 2.9, 3.4),
        ] {
            let found = score(percent, jitter, round_trip);
            assert!(
                (least..=most).contains(&found),
                "{percent} % {jitter} ms {round_trip} ms: {found}"
            );
        }
    }
}
