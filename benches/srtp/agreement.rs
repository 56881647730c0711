// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Whether all do the same: before anything is timed, every contestant, in each of its variants,
//! processes packets of every length, and the bytes are compared with ours.

use std::fmt;

use sallyport_srtp::Suite;

use crate::case::{Allowed, HOT_STREAMS, MAX_PAYLOAD, Operation};
use crate::contestant::Contestant;
use crate::course::{Course, Refused};
use crate::ours::{Bare, Ours};
use crate::peers;
use crate::pool::{Frame, HEADER, PACKETS, START};

/// How two implementations differ.
#[derive(Debug)]
pub(crate) enum Disagreement {
    /// One refuses what is right.
    Refused(Refused),
    /// One accepts what is wrong.
    Accepted {
        /// Who.
        name: &'static str,
        /// Which version.
        version: String,
        /// How many packets.
        packets: usize,
    },
    /// The bytes of a packet differ.
    Bytes {
        /// Who differs from ours.
        name: &'static str,
        /// Which version.
        version: String,
        /// Payload of the packet.
        payload: usize,
    },
}

/// Compares everybody with ours, for one suite and direction.
pub(crate) fn check(suite: Suite, operation: Operation) -> Result<(), Disagreement> {
    let mut course = Course::new(suite, operation, HOT_STREAMS);
    let mut ours = Ours::new(suite, operation, HOT_STREAMS);
    let mut peers = peers::all(suite, operation, HOT_STREAMS, Allowed::Best);
    peers.push(Box::new(Bare::new(suite, operation, HOT_STREAMS)));
    let trailer = match operation {
        Operation::Protect => suite.rtp_tag_len(),
        Operation::Unprotect => 0,
    };
    // Every length in order, as in a burst of one size, and then mixed.
    let in_order = (1..=MAX_PAYLOAD).collect::<Vec<_>>();
    let mixed = (0..MAX_PAYLOAD).map(|n| 1 + n * 617 % MAX_PAYLOAD);
    let mixed = mixed.collect::<Vec<_>>();
    for payloads in [in_order, mixed] {
        for payloads in payloads.chunks_exact(PACKETS) {
            for (at, &payload) in payloads.iter().enumerate() {
                course.pool.put(at, at, payload, &mut course.next);
            }
            course.protect_if_needed(PACKETS)?;
            let before = course.pool.frames.clone();
            let refused = ours.run(&mut course.pool, PACKETS);
            Refused::check(&ours, refused)?;
            let expected = course.pool.frames.clone();
            for peer in &mut peers {
                // A contestant with state takes a packet only once, so one with variants has none.
                for variant in 0..peer.variants() {
                    peer.choose(variant);
                    course.pool.frames.clone_from(&before);
                    run_and_compare(&mut course, peer.as_mut(), &expected, trailer)?;
                }
            }
            course.pool.frames = expected;
        }
    }
    if operation == Operation::Unprotect {
        forge(&mut course, &mut ours, &mut peers)?;
    }
    Ok(())
}

fn run_and_compare(
    course: &mut Course,
    peer: &mut dyn Contestant,
    expected: &[Frame],
    trailer: usize,
) -> Result<(), Disagreement> {
    peer.prepare(&course.pool);
    let refused = peer.run(&mut course.pool, PACKETS);
    Refused::check(peer, refused)?;
    for (at, expected) in expected.iter().enumerate() {
        let len = course.pool.packets[at].len;
        let found = course.pool.packet(at, trailer);
        if *found != expected.0[START..][..len + trailer] {
            return Err(Disagreement::Bytes {
                name: peer.name(),
                version: peer.version(),
                payload: len - HEADER,
            });
        }
    }
    Ok(())
}

/// Nobody may take packets of which one bit is wrong.
fn forge(
    course: &mut Course,
    ours: &mut Ours,
    peers: &mut [Box<dyn Contestant>],
) -> Result<(), Disagreement> {
    for at in 0..PACKETS {
        course.pool.put(at, at, 20 + at, &mut course.next);
    }
    course.protect_if_needed(PACKETS)?;
    for at in 0..PACKETS {
        // Payloads and tags take their turns.
        let packet = course.pool.packet(at, at % 2);
        *packet.last_mut().expect("it has a header") ^= 1;
    }
    let before = course.pool.frames.clone();
    let everybody = std::iter::once(ours as &mut dyn Contestant);
    for contestant in everybody.chain(peers.iter_mut().map(|peer| peer.as_mut() as _)) {
        for variant in 0..contestant.variants() {
            contestant.choose(variant);
            course.pool.frames.clone_from(&before);
            contestant.prepare(&course.pool);
            let refused = contestant.run(&mut course.pool, PACKETS);
            if refused != PACKETS {
                return Err(Disagreement::Accepted {
                    name: contestant.name(),
                    version: contestant.version(),
                    packets: PACKETS - refused,
                });
            }
        }
    }
    Ok(())
}

impl From<Refused> for Disagreement {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => write!(f, "{refused}"),
            Self::Accepted {
                name,
                version,
                packets,
            } => write!(f, "{name} ({version}) accepted {packets} forged packets"),
            Self::Bytes {
                name,
                version,
                payload,
            } => write!(
                f,
                "{name} ({version}) makes other bytes than ours of a packet with a payload of {payload}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::suites;

    #[test]
    fn ours_and_its_peers_agree_on_every_suite() {
        for suite in suites() {
            for operation in Operation::ALL {
                if let Err(disagreement) = check(suite, operation) {
                    panic!("{operation} with {suite}: {disagreement}");
                }
            }
        }
    }
}
