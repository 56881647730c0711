// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where the indices of a flow stand.
//!
//! A data plane that restarts has lost its indices. When the agent installs the flow again with
//! the same key, no index may protect a second packet: in counter mode that would give away both.
//! So the agent asks for the indices every second and sends the last it knows along. The store
//! learns of them more rarely, for the case that the agent dies, too: when they have moved on so
//! far that the next index could not be told from an older one.

use sallyport_flow::{Flow, FlowId, FlowStatistics, Mark};
use serde::{Deserialize, Serialize};

/// The marks of the flows of one session.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct FlowMarks(Vec<(FlowId, Marks)>);

impl FlowMarks {
    /// Takes over what the data plane says. True when the store has to know.
    pub(crate) fn learn(&mut self, statistics: &FlowStatistics) -> bool {
        if statistics.unprotect.is_empty() && statistics.protect.is_empty() {
            return false;
        }
        self.entry(statistics.id).learn(statistics)
    }

    /// Gives a flow that is to be installed again the indices to go on behind.
    pub(crate) fn put(&self, flow: &mut Flow) {
        let nothing = Marks::default();
        let marks = self.0.iter().find(|(id, _)| *id == flow.id);
        let marks = marks.map_or(&nothing, |(_, marks)| marks);
        if let Some(crypto) = &mut flow.ingress.unprotect {
            crypto.marks = marks.unprotect();
        }
        if let Some(crypto) = &mut flow.egress.protect {
            crypto.marks = marks.protect();
        }
    }

    /// Moves the sending marks of flows on as the data plane does when it gets them.
    pub(crate) fn hand_out(&mut self, flows: &[Flow]) {
        for flow in flows.iter().filter(|flow| flow.egress.protect.is_some()) {
            self.entry(flow.id).hand_out();
        }
    }

    /// Where the sending indices of a flow stand.
    pub(crate) fn sending(&self, id: FlowId) -> Vec<Mark> {
        let marks = self.0.iter().find(|(known, _)| *known == id);
        marks.map_or_else(|| Marks::default().protect(), |(_, marks)| marks.protect())
    }

    /// Forgets what belongs to keys that are no longer those of a flow.
    pub(crate) fn forget(&mut self, before: &Flow, after: Option<&Flow>) {
        let Some(after) = after else {
            self.0.retain(|(id, _)| *id != before.id);
            return;
        };
        let marks = self.entry(before.id);
        if before.ingress.unprotect != after.ingress.unprotect {
            marks.unprotect.clear();
        }
        if before.egress.protect != after.egress.protect {
            marks.protect.clear();
        }
    }

    fn entry(&mut self, id: FlowId) -> &mut Marks {
        let at = self.0.iter().position(|(known, _)| *known == id);
        let at = at.unwrap_or_else(|| {
            self.0.push((id, Marks::default()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}

/// The highest indices of a flow that the agent knows of, one mark for each SSRC.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Marks {
    unprotect: Vec<Mark>,
    protect: Vec<Mark>,
}

impl Marks {
    /// Takes over what the data plane says. Indices never go back. True when they went far.
    fn learn(&mut self, statistics: &FlowStatistics) -> bool {
        let unprotect = learn(&mut self.unprotect, &statistics.unprotect);
        let protect = learn(&mut self.protect, &statistics.protect);
        unprotect || protect
    }

    /// For the receiving contexts.
    fn unprotect(&self) -> Vec<Mark> {
        self.unprotect.clone()
    }

    /// For the sending contexts. The data plane itself keeps a distance from them, since it may
    /// have sent more by the time it died, and does so for SSRCs without a mark, too; but only if
    /// there is any mark. So there always is: an empty one says that a data plane had this key.
    fn protect(&self) -> Vec<Mark> {
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
    fn hand_out(&mut self) {
        self.protect = self.protect();
        for mark in &mut self.protect {
            let moved = mark.rtcp.unwrap_or(0).saturating_add(Mark::RTCP_STEP);
            mark.rtcp = Some(moved.min(LAST_RTCP));
        }
    }
}

/// The last SRTCP index (RFC 3711 section 3.4).
const LAST_RTCP: u32 = (1 << 31) - 1;

/// RTP indices are told by 16 bits, so one must be known to less than half of that: the store
/// knows to a quarter, and the rest is for the packets since the last poll.
const FAR_RTP: u64 = 1 << 14;
/// Senders move on by [`Mark::RTCP_STEP`] from what the store knows.
const FAR_RTCP: u32 = Mark::RTCP_STEP / 4;

fn learn(known: &mut Vec<Mark>, new: &[Mark]) -> bool {
    let mut is_far = false;
    for mark in new {
        if let Some(known) = known.iter_mut().find(|known| known.ssrc == mark.ssrc) {
            is_far |= known.rtp.map(|rtp| rtp / FAR_RTP) < mark.rtp.map(|rtp| rtp / FAR_RTP);
            is_far |=
                known.rtcp.map(|rtcp| rtcp / FAR_RTCP) < mark.rtcp.map(|rtcp| rtcp / FAR_RTCP);
            known.rtp = known.rtp.max(mark.rtp);
            known.rtcp = known.rtcp.max(mark.rtcp);
        } else {
            is_far = true;
            known.push(*mark);
        }
    }
    is_far
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
    fn the_store_learns_of_new_ssrcs_and_of_indices_that_went_far() {
        let mut marks = Marks::default();
        for (mark, is_far) in [
            (mark(1, Some(5), None), true),
            (mark(1, Some(6), None), false),
            (mark(1, Some(6), Some(0)), true),
            (mark(1, Some(FAR_RTP - 1), Some(9)), false),
            (mark(1, Some(FAR_RTP), Some(9)), true),
            (mark(1, Some(3 * FAR_RTP), Some(FAR_RTCP)), true),
            (mark(1, Some(3), Some(3)), false),
            (mark(2, None, None), true),
        ] {
            let statistics = FlowStatistics {
                protect: vec![mark],
                ..FlowStatistics::default()
            };
            assert_eq!(marks.learn(&statistics), is_far, "{mark:?}");
        }
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
