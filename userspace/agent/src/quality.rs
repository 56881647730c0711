// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How well the media of a session arrived, sample by sample.
//!
//! The data plane counts from the beginning; here it becomes samples of some seconds each, with a
//! score, of which the best, the worst and the average are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use sallyport_flow::{FlowId, FlowStatistics, SsrcStatistics};
use sallyport_signalling::ng::{Mos, SsrcQuality};

use crate::mos::Impairment;
use crate::round_trip::{RoundTrip, RoundTrips};

/// How long a sample lasts: as long as RTCP needs for a report (RFC 3550 section 6.2).
const SAMPLE: Duration = Duration::from_secs(5);

/// The shortest one, at the end of a call.
const LAST_SAMPLE: Duration = Duration::from_secs(1);

/// How many SSRCs a session's samples are kept of: of the latest. Peers choose how many there are.
const MAX_SSRCS: usize = 16;

/// How well the media of a session arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Qualities {
    of_ssrcs: Vec<Quality>,
    round_trips: RoundTrips,
}

impl Qualities {
    /// Takes over what the data plane knows of a flow by now.
    pub(crate) fn learn(&mut self, flow: &FlowStatistics, now: Duration) {
        self.forget_if_anew(flow);
        self.round_trips.learn(flow);
        self.sample(flow, now, SAMPLE);
    }

    /// Takes over what the data plane knows of the flows at the end.
    pub(crate) fn finish(&mut self, flows: &[FlowStatistics], now: Duration) {
        for flow in flows {
            self.forget_if_anew(flow);
        }
        // Whatever comes first, the question or the answer.
        for flow in flows.iter().chain(flows) {
            self.round_trips.learn(flow);
        }
        for flow in flows {
            self.sample(flow, now, LAST_SAMPLE);
        }
    }

    /// Forgets the reports of a data plane that is no more: it had a clock of its own.
    pub(crate) fn forget_reports(&mut self) {
        self.round_trips = RoundTrips::default();
    }

    /// Forgets them where a data plane has begun to count anew.
    fn forget_if_anew(&mut self, flow: &FlowStatistics) {
        let is_anew = |known: &Quality| {
            let counted = flow.ssrcs.iter().find(|counted| known.is_of(flow, counted));
            counted.is_some_and(|counted| counted.packets < known.packets)
        };
        if self.of_ssrcs.iter().any(is_anew) {
            self.forget_reports();
        }
    }

    /// What clients are told; of an SSRC on several flows, what most is known about.
    pub(crate) fn report(&self) -> Vec<SsrcQuality> {
        let mut best = BTreeMap::<u32, &Quality>::new();
        for quality in self.of_ssrcs.iter().filter(|quality| quality.samples > 0) {
            let of_ssrc = best.entry(quality.ssrc).or_insert(quality);
            if quality.samples > of_ssrc.samples {
                *of_ssrc = quality;
            }
        }
        best.into_values().map(Quality::report).collect()
    }

    fn sample(&mut self, flow: &FlowStatistics, now: Duration, least: Duration) {
        for counted in &flow.ssrcs {
            let is_it = |known: &Quality| known.is_of(flow, counted);
            let round_trip = self.round_trips.of(counted.ssrc);
            if let Some(at) = self.of_ssrcs.iter().position(is_it) {
                self.of_ssrcs[at].sample(counted, round_trip, now, least);
            } else if self.of_ssrcs.len() < MAX_SSRCS || self.forget_idle(now) {
                let mut new = Quality::new(flow.id, counted.ssrc, now);
                if least < SAMPLE {
                    // It has not been there for as long as one poll.
                    new.add(counted, round_trip, now);
                }
                self.of_ssrcs.push(new);
            }
        }
    }

    /// Makes room for an SSRC by forgetting the one that was silent for longest. Those that are heard
    /// stay, however many there are.
    fn forget_idle(&mut self, now: Duration) -> bool {
        let all = self.of_ssrcs.iter().enumerate();
        let oldest = all.min_by_key(|(_, quality)| quality.at);
        let idle = oldest.filter(|(_, it)| now.saturating_sub(it.at) >= 2 * SAMPLE);
        let Some(at) = idle.map(|(at, _)| at) else {
            return false;
        };
        self.of_ssrcs.remove(at);
        true
    }
}

/// How well the packets of one SSRC arrived.
#[derive(Clone, Debug, Default)]
struct Quality {
    flow: FlowId,
    ssrc: u32,
    /// When the last sample ended, and what had been counted then.
    since: Duration,
    packets: u64,
    expected: u64,
    samples: u32,
    /// When the last one ended; without any, when the SSRC was seen first.
    at: Duration,
    means: Means,
    lowest: Sample,
    highest: Sample,
}

/// What some seconds of media were like. Times are in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at: Duration,
    mos: f64,
    /// The share of packets, 0 to 1.
    loss: f64,
    /// `None`, as those below, while nobody knows.
    jitter: Option<f64>,
    /// From one peer to the other and back.
    round_trip: Option<f64>,
    /// From here to who hears it and back.
    leg: Option<f64>,
}

/// What all samples were like.
#[derive(Clone, Copy, Debug, Default)]
struct Means {
    mos: Mean,
    loss: Mean,
    jitter: Mean,
    round_trip: Mean,
    leg: Mean,
}

/// The mean of what is known.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Quality {
    fn new(flow: FlowId, ssrc: u32, now: Duration) -> Self {
        Self {
            flow,
            ssrc,
            since: now,
            at: now,
            ..Self::default()
        }
    }

    fn is_of(&self, flow: &FlowStatistics, counted: &SsrcStatistics) -> bool {
        self.flow == flow.id && self.ssrc == counted.ssrc
    }

    fn sample(
        &mut self,
        counted: &SsrcStatistics,
        round_trip: RoundTrip,
        now: Duration,
        least: Duration,
    ) {
        if counted.packets < self.packets {
            // Another data plane has begun to count.
            (self.packets, self.expected) = (0, 0);
        }
        let is_first_and_last = self.samples == 0 && least < SAMPLE;
        if now.saturating_sub(self.since) >= least || is_first_and_last {
            self.add(counted, round_trip, now);
        }
    }

    /// Ends a sample. There is none where nothing came: whoever is on hold is not badly heard.
    fn add(&mut self, counted: &SsrcStatistics, round_trip: RoundTrip, now: Duration) {
        let packets = counted.packets - self.packets;
        let expected = counted.expected.saturating_sub(self.expected);
        (self.packets, self.expected) = (counted.packets, counted.expected);
        self.since = now;
        if packets == 0 {
            return;
        }
        let impairment = Impairment {
            loss: share(expected.saturating_sub(packets), expected),
            jitter: counted.jitter.unwrap_or_default(),
            round_trip: round_trip.whole.or(round_trip.leg),
        };
        let sample = Sample {
            at: now,
            mos: impairment.mos(),
            loss: impairment.loss,
            jitter: counted.jitter.map(|it| it.as_secs_f64()),
            round_trip: round_trip.whole.map(|it| it.as_secs_f64()),
            leg: round_trip.leg.map(|it| it.as_secs_f64()),
        };
        if self.samples == 0 || sample.mos < self.lowest.mos {
            self.lowest = sample;
        }
        if self.samples == 0 || sample.mos > self.highest.mos {
            self.highest = sample;
        }
        self.samples = self.samples.saturating_add(1);
        self.at = now;
        self.means.add(sample);
    }

    fn report(&self) -> SsrcQuality {
        SsrcQuality {
            ssrc: self.ssrc,
            average: self.means.sample(self.at).report(self.samples),
            lowest: self.lowest.report(1),
            highest: self.highest.report(1),
        }
    }
}

impl Means {
    fn add(&mut self, sample: Sample) {
        self.mos.add(Some(sample.mos));
        self.loss.add(Some(sample.loss));
        self.jitter.add(sample.jitter);
        self.round_trip.add(sample.round_trip);
        self.leg.add(sample.leg);
    }

    fn sample(&self, at: Duration) -> Sample {
        Sample {
            at,
            mos: self.mos.value().unwrap_or_default(),
            loss: self.loss.value().unwrap_or_default(),
            jitter: self.jitter.value(),
            round_trip: self.round_trip.value(),
            leg: self.leg.value(),
        }
    }
}

impl Mean {
    fn add(&mut self, known: Option<f64>) {
        if let Some(known) = known {
            self.sum += known;
            self.count += 1;
        }
    }

    fn value(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

impl Sample {
    /// As clients are told; 0 where nobody knows.
    fn report(self, samples: u32) -> Mos {
        let millis = |seconds: Option<f64>| rounded(seconds.unwrap_or_default() * 1e3);
        let micros = |seconds: Option<f64>| rounded(seconds.unwrap_or_default() * 1e6);
        Mos {
            tenths: u8::try_from(rounded(self.mos * 10.0)).unwrap_or(u8::MAX),
            reported_at: self.at,
            packet_loss: rounded(self.loss * 100.0),
            jitter: millis(self.jitter),
            round_trip_time: micros(self.round_trip),
            round_trip_time_leg: micros(self.leg),
            samples: samples.into(),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 packets are more than a call has"
)]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "scores, percents and times, none of them below 0"
)]
fn rounded(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use sallyport_flow::{ReceptionReport, SenderReport};

    use super::*;

    const SSRC: u32 = 7;

    /// So many packets of 20 ms by then, of so many that were sent.
    fn flow(id: u64, ssrc: u32, packets: u64, expected: u64) -> FlowStatistics {
        FlowStatistics {
            id: FlowId(id),
            ssrcs: vec![SsrcStatistics {
                ssrc,
                packets,
                expected,
                jitter: Some(Duration::from_micros(3600)),
                ..SsrcStatistics::default()
            }],
            ..FlowStatistics::default()
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(1_700_000_000 + seconds)
    }

    /// After so many seconds so many packets of so many sent, and in the end.
    fn report(counts: &[(u64, u64, u64)]) -> Vec<SsrcQuality> {
        let mut qualities = Qualities::default();
        let (last, before) = counts.split_last().unwrap();
        for (at, packets, expected) in before {
            qualities.learn(&flow(1, SSRC, *packets, *expected), seconds(*at));
        }
        let (at, packets, expected) = *last;
        qualities.finish(&[flow(1, SSRC, packets, expected)], seconds(at));
        qualities.report()
    }

    #[test]
    fn the_average_the_worst_and_the_best_are_of_samples() {
        let counts = [
            (1, 50, 50),
            (2, 100, 100),
            // Until now all is well; then a tenth is lost, then nothing.
            (6, 300, 300),
            (11, 525, 550),
            (16, 775, 800),
            // Too short.
            (16, 775, 815),
        ];
        let [quality] = &report(&counts)[..] else {
            panic!()
        };
        assert_eq!(quality.ssrc, SSRC);
        assert_eq!(quality.average.samples, 3);
        assert_eq!(quality.average.packet_loss, 3);
        assert_eq!(quality.average.jitter, 4);
        assert_eq!(quality.lowest.packet_loss, 10);
        assert_eq!(quality.lowest.reported_at, seconds(11));
        assert_eq!(quality.highest.packet_loss, 0);
        assert_eq!(quality.highest.reported_at, seconds(6));
        assert!(quality.lowest.tenths < quality.average.tenths);
        assert!(quality.average.tenths < quality.highest.tenths);
        assert_eq!(quality.highest.tenths, 44);
    }

    #[test]
    fn a_short_call_has_one_sample_and_a_silent_one_none() {
        for (name, counts, samples) in [
            ("never polled", &[(0, 20, 25)][..], Some(1)),
            ("polled once", &[(1, 20, 20), (1, 40, 50)], Some(1)),
            ("on hold", &[(1, 0, 0), (9, 0, 0)], None),
            (
                "on hold at last",
                &[(1, 50, 50), (9, 90, 90), (60, 90, 90)],
                Some(1),
            ),
        ] {
            let report = report(counts);
            let found = report.first().map(|quality| quality.average.samples);
            assert_eq!(found, samples, "{name}");
        }
    }

    #[test]
    fn a_data_plane_that_counts_anew_is_no_loss() {
        let counts = [(1, 50, 50), (6, 300, 300), (11, 100, 110), (16, 350, 360)];
        let [quality] = &report(&counts)[..] else {
            panic!()
        };
        assert_eq!(quality.lowest.packet_loss, 9);
        assert_eq!(quality.average.samples, 3);
    }

    #[test]
    fn a_report_to_one_data_plane_is_not_answered_to_another() {
        let sent = SenderReport {
            ssrc: SSRC,
            time: 1,
            at: Duration::from_secs(2),
        };
        let answered = ReceptionReport {
            reporter: 9,
            ssrc: SSRC,
            last_report: 1,
            delay: 0,
            at: Duration::from_secs(3),
        };
        for (packets, is_believed) in [(400, true), (100, false)] {
            let mut qualities = Qualities::default();
            for (at, packets) in [(1, 50), (6, 300)] {
                qualities.learn(&flow(1, SSRC, packets, packets), seconds(at));
            }
            let asks = FlowStatistics {
                sent: vec![sent],
                ..flow(2, 0, 0, 0)
            };
            qualities.learn(&asks, seconds(7));
            qualities.learn(&flow(1, SSRC, packets, packets), seconds(8));
            let answers = FlowStatistics {
                received: vec![answered],
                ..flow(3, 0, 0, 0)
            };
            qualities.learn(&answers, seconds(9));
            let leg = qualities.round_trips.of(SSRC).leg;
            assert_eq!(leg.is_some(), is_believed, "{packets}");
        }
    }

    #[test]
    fn the_latest_ssrcs_are_reported_in_place_of_silent_ones() {
        let mut qualities = Qualities::default();
        for ssrc in 0..40 {
            let at = u64::from(ssrc) * 20;
            qualities.learn(&flow(1, ssrc, 1, 1), seconds(at));
            qualities.learn(&flow(1, ssrc, 300, 300), seconds(at + 6));
        }
        let report = qualities.report();
        let found: Vec<_> = report.iter().map(|quality| quality.ssrc).collect();
        assert_eq!(found, (24..40).collect::<Vec<_>>());
    }

    #[test]
    fn an_ssrc_on_two_flows_is_reported_once_and_of_very_many_the_first_are() {
        let mut qualities = Qualities::default();
        for second in 0..20 {
            qualities.learn(&flow(1, SSRC, 50 * second, 50 * second), seconds(second));
        }
        qualities.finish(&[flow(2, SSRC, 10, 20)], seconds(20));
        let report = qualities.report();
        assert_eq!(report.len(), 1);
        assert_eq!(report[0].average.packet_loss, 0);
        for ssrc in 100..200 {
            qualities.finish(&[flow(1, ssrc, 10, 10)], seconds(21));
        }
        assert_eq!(qualities.of_ssrcs.len(), MAX_SSRCS);
    }
}
