// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where the indices of a flow stand.
//!
//! A data plane that restarts has lost its indices. When the agent installs the flow again with
//! the same key, no index may protect a second packet: in counter mode that would give away both.
//! So the agent asks for the indices every second and sends the last it knows along.

use sallyport_flow::{FlowStatistics, Mark};

/// The highest indices of a flow that the agent knows of, one mark for each SSRC.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    unprotect: Vec<Mark>,
    protect: Vec<Mark>,
}

impl Marks {
    /// Takes over what the data plane says. Indices never go back.
    pub(crate) fn learn(&mut self, statistics: &FlowStatistics) {
        learn(&mut self.unprotect, &statistics.unprotect);
        learn(&mut self.protect, &statistics.protect);
    }

    /// For the receiving contexts.
    pub(crate) fn unprotect(&self) -> Vec<Mark> {
        self.unprotect.clone()
    }

    /// For the sending contexts. The data plane itself keeps a distance from them, since it may
    /// have sent more by the time it died, and does so for SSRCs without a mark, too; but only if
    /// there is any mark. So there always is: an empty one says that a data plane had this key.
    pub(crate) fn protect(&self) -> Vec<Mark> {
        if self.protect.is_empty() {
            return vec![Mark {
                ssrc: 0,
                rtp: None,
                rtcp: None,
            }];
        }
        self.protect.clone()
    }
}

impl Marks {
    /// Moves the sending marks on as the data plane does when it gets them: the next one must not
    /// start there again if this one dies before it was asked where it stands.
    pub(crate) fn hand_out(&mut self) {
        self.protect = self.protect();
        for mark in &mut self.protect {
            let moved = mark.rtcp.unwrap_or(0).saturating_add(Mark::RTCP_STEP);
            mark.rtcp = Some(moved.min(LAST_RTCP));
        }
    }
}

/// The last SRTCP index (RFC 3711 section 3.4).
const LAST_RTCP: u32 = (1 << 31) - 1;

fn learn(known: &mut Vec<Mark>, new: &[Mark]) {
    for mark in new {
        if let Some(known) = known.iter_mut().find(|known| known.ssrc == mark.ssrc) {
            known.rtp = known.rtp.max(mark.rtp);
            known.rtcp = known.rtcp.max(mark.rtcp);
        } else {
            known.push(*mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn mark(ssrc: u32, rtp: Option<u64>, rtcp: Option<u32>) -> Mark {
        Mark { ssrc, rtp, rtcp }
    }

    fn marks(rounds: &[&[Mark]]) -> Marks {
        let mut marks = Marks::default();
        for round in rounds {
            marks.learn(&FlowStatistics {
                unprotect: round.to_vec(),
                protect: round.to_vec(),
                ..FlowStatistics::default()
            });
        }
        marks
    }

    #[test]
    fn indices_never_go_back_and_no_ssrc_is_forgotten() {
        let marks = marks(&[
            &[mark(1, Some(70000), None), mark(2, None, Some(9))],
            &[mark(1, Some(5), Some(1))],
            &[],
        ]);
        assert_eq!(
            marks.unprotect(),
            [mark(1, Some(70000), Some(1)), mark(2, None, Some(9))]
        );
    }

    #[test]
    fn a_key_that_was_in_use_is_never_sent_without_a_mark() {
        assert_eq!(marks(&[]).protect(), [mark(0, None, None)]);
        assert_eq!(marks(&[]).unprotect(), []);
        let known = [mark(1, Some(70000), Some(9))];
        assert_eq!(marks(&[&known]).protect(), known);
    }

    #[test]
    fn two_data_planes_that_die_at_once_do_not_start_at_one_index() {
        let mut marks = marks(&[&[mark(1, Some(70000), Some(9))]]);
        marks.hand_out();
        assert_eq!(
            marks.protect(),
            [mark(1, Some(70000), Some(9 + Mark::RTCP_STEP))]
        );
        let mut unknown = Marks::default();
        unknown.hand_out();
        unknown.hand_out();
        assert_eq!(
            unknown.protect(),
            [mark(0, None, Some(2 * Mark::RTCP_STEP))]
        );
        for _ in 0..2000 {
            unknown.hand_out();
        }
        assert_eq!(unknown.protect(), [mark(0, None, Some(LAST_RTCP))]);
    }
}
