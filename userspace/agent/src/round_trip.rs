// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How long packets are under way, as far as the peers' RTCP tells: who receives a sender report
//! answers when it did (RFC 3550 section 6.4.1), and both come by here.

use std::time::Duration;

use sallyport_flow::{FlowStatistics, SenderReport};

/// Longer ones are a mistake of a peer, or a lie; and Kamailio has room for seven digits of
/// microseconds.
const MAX: Duration = Duration::from_secs(5);

/// How many sender reports and round trips are remembered: those of the two peers, of sound and
/// picture, twice.
const MAX_REMEMBERED: usize = 8;

/// The round trips of a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoundTrips {
    /// The latest last.
    sent: Vec<SenderReport>,
    legs: Vec<Leg>,
}

/// The round trips of what an SSRC sends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct RoundTrip {
    /// From here to who hears it and back.
    pub(crate) leg: Option<Duration>,
    /// From who sends it to who hears it and back.
    pub(crate) whole: Option<Duration>,
}

/// From here to a peer and back.
#[derive(Clone, Copy, Debug)]
struct Leg {
    /// Whose sender report was answered.
    ssrc: u32,
    /// By whom.
    reporter: u32,
    time: Duration,
}

impl RoundTrips {
    /// Takes over what a peer has reported.
    pub(crate) fn learn(&mut self, flow: &FlowStatistics) {
        for sent in &flow.sent {
            if !self
                .sent
                .iter()
                .any(|it| (it.ssrc, it.time) == (sent.ssrc, sent.time))
            {
                push(&mut self.sent, *sent);
            }
        }
        for received in &flow.received {
            let answered = self.sent.iter().find_map(|sent| received.round_trip(sent));
            if let Some(time) = answered.filter(|time| *time < MAX) {
                let (ssrc, reporter) = (received.ssrc, received.reporter);
                self.legs.retain(|leg| leg.ssrc != ssrc);
                push(
                    &mut self.legs,
                    Leg {
                        ssrc,
                        reporter,
                        time,
                    },
                );
            }
        }
    }

    /// Those of an SSRC.
    pub(crate) fn of(&self, ssrc: u32) -> RoundTrip {
        let Some(there) = self.legs.iter().find(|leg| leg.ssrc == ssrc) else {
            return RoundTrip::default();
        };
        let is_back = |leg: &&Leg| leg.ssrc == there.reporter && leg.reporter == ssrc;
        let back = self.legs.iter().find(is_back);
        RoundTrip {
            leg: Some(there.time),
            whole: back.map(|back| there.time + back.time),
        }
    }
}

fn push<T>(latest: &mut Vec<T>, new: T) {
    if latest.len() == MAX_REMEMBERED {
        latest.remove(0);
    }
    latest.push(new);
}

#[cfg(test)]
mod tests {
    use sallyport_flow::ReceptionReport;

    use super::*;

    const ALICE: u32 = 7;
    const BOB: u32 = 9;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn sends(ssrc: u32, time: u32, at: u64) -> FlowStatistics {
        FlowStatistics {
            sent: vec![SenderReport {
                ssrc,
                time,
                at: ms(at),
            }],
            ..FlowStatistics::default()
        }
    }

    /// Answers at once.
    fn answers(reporter: u32, ssrc: u32, last_report: u32, at: u64) -> FlowStatistics {
        FlowStatistics {
            received: vec![ReceptionReport {
                reporter,
                ssrc,
                last_report,
                delay: 0,
                at: ms(at),
            }],
            ..FlowStatistics::default()
        }
    }

    #[test]
    fn the_whole_way_is_known_when_both_have_answered() {
        let mut round_trips = RoundTrips::default();
        round_trips.learn(&sends(ALICE, 100, 1000));
        assert_eq!(round_trips.of(ALICE), RoundTrip::default());
        round_trips.learn(&answers(BOB, ALICE, 100, 1030));
        let leg = RoundTrip {
            leg: Some(ms(30)),
            whole: None,
        };
        assert_eq!(round_trips.of(ALICE), leg);
        round_trips.learn(&sends(BOB, 200, 2000));
        round_trips.learn(&answers(ALICE, BOB, 200, 2012));
        for (ssrc, leg) in [(ALICE, 30), (BOB, 12)] {
            let both = RoundTrip {
                leg: Some(ms(leg)),
                whole: Some(ms(42)),
            };
            assert_eq!(round_trips.of(ssrc), both);
        }
        // The latest counts.
        round_trips.learn(&sends(ALICE, 101, 6000));
        round_trips.learn(&answers(BOB, ALICE, 101, 6050));
        assert_eq!(round_trips.of(BOB).whole, Some(ms(62)));
    }

    #[test]
    fn what_cannot_be_is_not_believed_and_what_is_too_much_is_forgotten() {
        let mut round_trips = RoundTrips::default();
        round_trips.learn(&sends(ALICE, 1, 1000));
        round_trips.learn(&answers(BOB, ALICE, 1, 6000));
        round_trips.learn(&answers(BOB, ALICE, 2, 1010));
        assert_eq!(round_trips.of(ALICE), RoundTrip::default());
        for number in 10..100 {
            round_trips.learn(&sends(number, number, 0));
            round_trips.learn(&answers(BOB, number, number, 1));
        }
        assert_eq!(round_trips.sent.len(), MAX_REMEMBERED);
        assert_eq!(round_trips.legs.len(), MAX_REMEMBERED);
    }
}
