// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where contestants are timed: all in one process, in turns of about a millisecond, so that a
//! clock that wanders and a neighbour that steals cache hit all of them alike. What counts is the
//! ratio of two turns that follow each other.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use sallyport_srtp::Suite;

use crate::case::{Case, Operation};
use crate::contestant::Contestant;
use crate::ours::{Bare, Ours};
use crate::pool::{PACKETS, Pool};
use crate::random::Random;

/// How long a turn lasts.
const TURN: Duration = Duration::from_millis(1);

/// The most passes of a turn. Indices are shared: they move on while others have their turns, and
/// must not by 2^15, which receivers could not follow. The longest time out is when the variants of
/// one contestant are tried.
const MAX_PASSES: usize = 128;

/// The fewest passes of a turn, so that one that was interrupted does not count.
const MIN_PASSES: usize = 9;

/// Turns of each variant of a contestant before the fastest few are chosen.
const TRIALS: u64 = 3;

/// So few, and their turns before the fastest is chosen.
const FINALISTS: usize = 2;
const FINALS: u64 = 7;

/// Some streams of one suite, and where their indices stand.
pub(crate) struct Course {
    pub(crate) suite: Suite,
    pub(crate) operation: Operation,
    pub(crate) pool: Pool,
    pub(crate) next: Vec<u64>,
    /// Protects what the contestants unprotect.
    sender: Option<Ours>,
    /// What it costs to read the clock.
    clock: Duration,
}

/// What a turn found, in nanoseconds per packet, in its median pass.
struct Turn {
    spent: f64,
    /// How long it took to protect what the contestant then unprotected.
    protecting: f64,
}

/// What a contestant needs for a packet, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Times {
    pub(crate) median: f64,
    pub(crate) min: f64,
}

/// A peer beside ours.
#[derive(Clone, Debug)]
pub(crate) struct Rival {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    pub(crate) times: Times,
    /// The time of our kernel over the peer's, median of the rounds; `None` if the peer does more
    /// than a kernel.
    pub(crate) kernel_ratio: Option<f64>,
    /// The time of all that we do over the peer's.
    pub(crate) full_ratio: f64,
}

/// What came of one case.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) suite: Suite,
    pub(crate) operation: Operation,
    pub(crate) case: Case,
    /// Our kernel alone: keys expanded, IV and ROC given.
    pub(crate) kernel: Times,
    /// All that we do.
    pub(crate) full: Times,
    /// What the second takes longer, median of the rounds.
    pub(crate) added: f64,
    /// How long all of unprotecting takes compared with protecting the same packets just before,
    /// median of the rounds.
    pub(crate) over_protect: Option<f64>,
    pub(crate) rivals: Vec<Rival>,
}

/// A contestant refused packets that are right.
#[derive(Debug)]
pub(crate) struct Refused {
    name: &'static str,
    version: String,
    packets: usize,
}

impl Course {
    pub(crate) fn new(suite: Suite, operation: Operation, streams: usize) -> Self {
        let clock = (0..1000).map(|_| Instant::now().elapsed()).min();
        Self {
            suite,
            operation,
            pool: Pool::new(),
            next: vec![0; streams],
            sender: (operation == Operation::Unprotect)
                .then(|| Ours::new(suite, Operation::Protect, streams)),
            clock: clock.unwrap_or_default(),
        }
    }

    /// Times ours, our kernel and the peers, each once in a round.
    pub(crate) fn run(
        &mut self,
        case: Case,
        rounds: u64,
        (ours, bare): (&mut Ours, &mut Bare),
        peers: &mut [Box<dyn Contestant>],
    ) -> Result<Outcome, Refused> {
        let mut peers: Vec<_> = peers
            .iter_mut()
            .filter(|peer| peer.streams() >= case.streams)
            .collect();
        self.choose_fastest(&case, ours, bare)?;
        for peer in &mut peers {
            self.choose_fastest(&case, ours, peer.as_mut())?;
        }
        let (mut full, mut kernel, mut sent) = (Vec::new(), Vec::new(), Vec::new());
        let mut turns = vec![Vec::new(); peers.len()];
        for round in 0..rounds {
            let turn = self.turn(&case, round, ours)?;
            full.push(turn.spent);
            sent.push(turn.protecting);
            kernel.push(self.turn(&case, round, bare)?.spent);
            for (peer, turns) in peers.iter_mut().zip(&mut turns) {
                turns.push(self.turn(&case, round, peer.as_mut())?.spent);
            }
        }
        let ratio = |ours: &[f64], peers: &[f64]| {
            let pairs = ours.iter().zip(peers);
            median(pairs.map(|(ours, peers)| ours / peers).collect())
        };
        let rivals = peers.iter().zip(&turns).map(|(peer, turns)| Rival {
            name: peer.name(),
            version: peer.version(),
            times: Times::of(turns),
            kernel_ratio: (!peer.is_full()).then(|| ratio(&kernel, turns)),
            full_ratio: ratio(&full, turns),
        });
        let pairs = full.iter().zip(&kernel);
        Ok(Outcome {
            suite: self.suite,
            operation: self.operation,
            case,
            kernel: Times::of(&kernel),
            full: Times::of(&full),
            added: median(pairs.map(|(full, kernel)| full - kernel).collect()),
            over_protect: self.sender.is_some().then(|| ratio(&full, &sent)),
            rivals: rivals.collect(),
        })
    }

    /// Puts the pool into the state that the operation starts from; answers how long it took.
    pub(crate) fn protect_if_needed(&mut self, burst: usize) -> Result<Duration, Refused> {
        let Some(sender) = &mut self.sender else {
            return Ok(Duration::ZERO);
        };
        let (refused, spent) = time(self.clock, || sender.run(&mut self.pool, burst));
        Refused::check(sender, refused)?;
        Ok(spent)
    }

    /// Times a contestant. The same round has the same packets for everybody.
    fn turn(
        &mut self,
        case: &Case,
        round: u64,
        contestant: &mut dyn Contestant,
    ) -> Result<Turn, Refused> {
        let mut random = Random::new(round + 1);
        // The first pass brings code and keys back into the caches.
        self.pass(case, &mut random, contestant)?;
        let mut spent = Duration::ZERO;
        let (mut passes, mut before) = (Vec::new(), Vec::new());
        while passes.len() < MIN_PASSES || (spent < TURN && passes.len() < MAX_PASSES) {
            let (pass, protecting) = self.pass(case, &mut random, contestant)?;
            spent += pass;
            passes.push(per_packet(pass));
            before.push(per_packet(protecting));
        }
        Ok(Turn {
            spent: median(passes),
            protecting: median(before),
        })
    }

    /// How long a contestant takes for the packets of the pool, and how long it took before to
    /// protect them, if that was necessary.
    fn pass(
        &mut self,
        case: &Case,
        random: &mut Random,
        contestant: &mut dyn Contestant,
    ) -> Result<(Duration, Duration), Refused> {
        self.pool.draw(case, random, &mut self.next);
        let protecting = self.protect_if_needed(case.burst)?;
        contestant.prepare(&self.pool);
        let pool = &mut self.pool;
        let (refused, spent) = time(self.clock, || contestant.run(pool, case.burst));
        Refused::check(contestant, refused)?;
        Ok((spent, protecting))
    }

    /// Tries all variants, and the best of them once more.
    fn choose_fastest(
        &mut self,
        case: &Case,
        ours: &mut Ours,
        contestant: &mut dyn Contestant,
    ) -> Result<(), Refused> {
        if contestant.variants() == 1 {
            return Ok(());
        }
        let mut times = Vec::new();
        for variant in 0..contestant.variants() {
            contestant.choose(variant);
            times.push((self.compare(case, 0..TRIALS, ours, contestant)?, variant));
        }
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        times.truncate(FINALISTS);
        for (time, variant) in &mut times {
            contestant.choose(*variant);
            *time = self.compare(case, TRIALS..TRIALS + FINALS, ours, contestant)?;
        }
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        contestant.choose(times[0].1);
        Ok(())
    }

    /// How much longer a contestant takes than ours. Turns of ours in between also see to it that
    /// no variant finds its keys in the caches where the one before has left them.
    fn compare(
        &mut self,
        case: &Case,
        rounds: Range<u64>,
        ours: &mut Ours,
        contestant: &mut dyn Contestant,
    ) -> Result<f64, Refused> {
        let ratios = rounds.map(|round| {
            let ours = self.turn(case, round, ours)?.spent;
            Ok(self.turn(case, round, contestant)?.spent / ours)
        });
        Ok(median(ratios.collect::<Result<_, _>>()?))
    }
}

/// What a call answers, and how long it takes if reading the clock takes so long.
fn time<T>(clock: Duration, call: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let answer = call();
    (answer, start.elapsed().saturating_sub(clock))
}

fn per_packet(pass: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a pool has 64 packets")]
    let packets = PACKETS as f64;
    pass.as_secs_f64() * 1e9 / packets
}

impl Times {
    fn of(turns: &[f64]) -> Self {
        Self {
            median: median(turns.to_vec()),
            min: turns.iter().copied().fold(f64::INFINITY, f64::min),
        }
    }
}

impl Refused {
    pub(crate) fn check(contestant: &dyn Contestant, packets: usize) -> Result<(), Self> {
        if packets == 0 {
            return Ok(());
        }
        Err(Self {
            name: contestant.name(),
            version: contestant.version(),
            packets,
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}) refused {} of {PACKETS} packets",
            self.name, self.version, self.packets
        )
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    if numbers.len().is_multiple_of(2) {
        f64::midpoint(numbers[half - 1], numbers[half])
    } else {
        numbers[half]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Allowed, HOT_STREAMS, Payload};
    use crate::peers;

    #[test]
    #[expect(clippy::float_cmp, reason = "these are exact")]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn everybody_runs_the_whole_course() {
        for operation in Operation::ALL {
            let suite = Suite::AeadAes128Gcm;
            let mut course = Course::new(suite, operation, HOT_STREAMS);
            let mut ours = Ours::new(suite, operation, HOT_STREAMS);
            let mut bare = Bare::new(suite, operation, HOT_STREAMS);
            let mut peers = peers::all(suite, operation, HOT_STREAMS, Allowed::Best);
            let case = Case {
                payload: Payload::Mix,
                streams: HOT_STREAMS,
                burst: 4,
            };
            let outcome = course.run(case, 2, (&mut ours, &mut bare), &mut peers);
            let outcome = outcome.unwrap();
            assert_eq!(outcome.rivals.len(), peers.len());
            assert!(outcome.rivals.iter().all(|rival| rival.full_ratio > 0.0));
            assert!(outcome.full.min <= outcome.full.median);
        }
    }
}
