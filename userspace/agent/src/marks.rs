// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where the indices of a flow stand.
//!
//! A data plane that restarts has lost its indices. When the agent installs the flow again with
//! the same key, no index may protect a second packet: in counter mode that would give away both.
//! So the agent asks for the indices every second and sends the last it knows along. The store
//! learns of them more rarely, for the case that the agent dies, too: when they have moved on so
//! far that the next index could not be told from an older one.
//!
//! The same goes for a key that a flow loses and that comes back, on this flow or on another: as
//! that of the one who rang first and takes the call in the end.

use std::array;

use sallyport_flow::{Crypto, Flow, FlowId, FlowStatistics, Mark};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How many keys that no flow has are remembered: more than the dialogs of a call have, unless
/// their peers change them on and on.
const MAX_PAST: usize = 1024;

/// The marks of one session: of the keys that its flows have, and of those that they had.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct FlowMarks {
    flows: Vec<(FlowId, Marks)>,
    /// A key may come back, as that of a dialog whose media was not wanted for a while.
    past: Vec<KeyMarks>,
    /// Whether an agent before has left this, which may have died in the middle of a change.
    #[serde(skip)]
    is_restored: bool,
}

/// The marks of the keys of a flow, at [`RECEIVE`] and [`SEND`].
type Marks = [Option<KeyMarks>; 2];
const RECEIVE: usize = 0;
const SEND: usize = 1;

/// The highest indices under a key that the agent knows of, one mark for each SSRC.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct KeyMarks {
    key: KeyId,
    marks: Vec<Mark>,
}

/// Tells one key from another and nothing about either, since the store has it in clear.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct KeyId([u8; 8]);

impl KeyId {
    /// That of the key that protects. Suites differ in what they do with it, but not in what must
    /// not be done twice.
    fn of(crypto: &Crypto) -> Option<Self> {
        let secret = crypto.keys.first()?.secret.expose();
        Sha256::digest(secret).first_chunk().copied().map(Self)
    }
}

impl FlowMarks {
    /// Whether no flow has or had a key.
    pub(crate) fn is_empty(&self) -> bool {
        let mut marks = self.flows.iter().flat_map(|(_, marks)| marks);
        marks.all(Option::is_none) && self.past.is_empty()
    }

    /// Takes over what the data plane says. True when the store has to know.
    pub(crate) fn learn(&mut self, statistics: &FlowStatistics) -> bool {
        let news = [&statistics.unprotect, &statistics.protect];
        let Some(known) = self.of_mut(statistics.id) else {
            return false;
        };
        let mut is_far = false;
        for (known, news) in known.iter_mut().zip(news) {
            if let Some(known) = known {
                is_far |= learn(&mut known.marks, news);
            }
        }
        is_far
    }

    /// Has a flow go on behind the indices of its keys, where it does not have them already.
    pub(crate) fn put(&self, flow: &mut Flow, there: Option<&Flow>) {
        let is_new = |crypto: &Crypto, at: usize| {
            let before = there.and_then(|there| cryptos(there)[at]);
            before != Some(crypto)
        };
        let id = flow.id;
        let ingress = &mut flow.ingress;
        for crypto in [&mut ingress.unprotect, &mut ingress.expect] {
            if let Some(crypto) = crypto.as_mut().filter(|it| is_new(it, RECEIVE)) {
                crypto.marks = self.known(id, RECEIVE, crypto).unwrap_or_default();
            }
        }
        let protect = flow.egress.protect.as_mut();
        if let Some(crypto) = protect.filter(|it| is_new(it, SEND)) {
            let known = self.known(id, SEND, crypto);
            crypto.marks = known.map(sending).unwrap_or_default();
        }
    }

    /// Moves the sending marks of flows on as the data plane does when it gets them: the next one
    /// must not start there again if this one dies before it was asked where it stands.
    pub(crate) fn hand_out(&mut self, flows: &[FlowId]) {
        for id in flows {
            let Some([_, Some(known)]) = self.of_mut(*id) else {
                continue;
            };
            known.marks = moved(std::mem::take(&mut known.marks));
        }
    }

    /// Another agent has left this.
    pub(crate) fn restored(self) -> Self {
        Self {
            is_restored: true,
            ..self
        }
    }

    /// What the store has to know before flows get keys to send with that were in use before, as the
    /// agent may die in the middle of it: that these have moved on. `None` when there are none.
    pub(crate) fn ahead_of(&mut self, flows: &[Flow]) -> Option<Self> {
        if self.is_restored {
            self.take_for_used(flows);
        }
        let mut ahead = self.clone();
        ahead.move_on(flows).then_some(ahead)
    }

    /// Flows have got their keys, or have not: nobody knows.
    pub(crate) fn doubt(&mut self, flows: &[Flow]) {
        self.take_for_used(flows);
        self.move_on(flows);
    }

    /// Takes all keys that flows are to send with for used.
    fn take_for_used(&mut self, flows: &[Flow]) {
        for flow in flows {
            if let Some((key, None)) = self.sending_key(flow) {
                let marks = Vec::new();
                self.remember(KeyMarks { key, marks });
            }
        }
    }

    /// Moves the marks on of the keys that were in use and that flows do not have yet. True when
    /// there are any.
    fn move_on(&mut self, flows: &[Flow]) -> bool {
        let mut has_any = false;
        for flow in flows {
            let own = self.of(flow.id).and_then(|own| own[SEND].as_ref());
            let own = own.map(|own| own.key);
            if let Some((key, Some(known))) = self.sending_key(flow)
                && own != Some(key)
            {
                let marks = moved(known);
                self.remember(KeyMarks { key, marks });
                has_any = true;
            }
        }
        has_any
    }

    /// The key that a flow sends with, and where it stands if it was in use.
    fn sending_key(&self, flow: &Flow) -> Option<(KeyId, Option<Vec<Mark>>)> {
        let crypto = cryptos(flow)[SEND]?;
        Some((KeyId::of(crypto)?, self.known(flow.id, SEND, crypto)))
    }

    /// These are the flows from now on. True when one of them no longer has a key that it had.
    pub(crate) fn turn_to(&mut self, flows: &[Flow]) -> bool {
        let of_flow = |flow: &Flow| -> Marks {
            let cryptos = cryptos(flow);
            array::from_fn(|at| {
                Some(KeyMarks {
                    key: KeyId::of(cryptos[at]?)?,
                    marks: self.known(flow.id, at, cryptos[at]?).unwrap_or_default(),
                })
            })
        };
        let new = flows.iter().map(|flow| (flow.id, of_flow(flow))).collect();
        let old = std::mem::replace(&mut self.flows, new);
        let mut has_lost = false;
        for (id, marks) in old {
            for (at, marks) in marks.into_iter().enumerate() {
                let Some(marks) = marks else { continue };
                let now = self.of(id).and_then(|now| now[at].as_ref());
                if now.is_none_or(|now| now.key != marks.key) {
                    self.remember(marks);
                    has_lost = true;
                }
            }
        }
        has_lost
    }

    /// Where the indices under a key stand; `None` when no flow has had it.
    fn known(&self, id: FlowId, at: usize, crypto: &Crypto) -> Option<Vec<Mark>> {
        let key = KeyId::of(crypto)?;
        let own = self.of(id).and_then(|own| own[at].as_ref());
        if let Some(own) = own.filter(|own| own.key == key) {
            return Some(own.marks.clone());
        }
        let of_flows = self.flows.iter().flat_map(|(_, marks)| marks).flatten();
        of_flows
            .chain(&self.past)
            .filter(|known| known.key == key)
            .fold(None, |all, known| {
                let mut all = all.unwrap_or_default();
                learn(&mut all, &known.marks);
                Some(all)
            })
    }

    fn remember(&mut self, mut marks: KeyMarks) {
        if let Some(at) = self.past.iter().position(|past| past.key == marks.key) {
            learn(&mut marks.marks, &self.past.remove(at).marks);
        } else if self.past.len() >= MAX_PAST {
            self.past.remove(0);
        }
        self.past.push(marks);
    }

    fn of(&self, id: FlowId) -> Option<&Marks> {
        let mut flows = self.flows.iter();
        flows.find(|(known, _)| *known == id).map(|(_, it)| it)
    }

    fn of_mut(&mut self, id: FlowId) -> Option<&mut Marks> {
        let mut flows = self.flows.iter_mut();
        flows.find(|(known, _)| *known == id).map(|(_, it)| it)
    }
}

/// How a flow unprotects and protects.
const fn cryptos(flow: &Flow) -> [Option<&Crypto>; 2] {
    [
        flow.ingress.unprotect.as_ref(),
        flow.egress.protect.as_ref(),
    ]
}

/// Whether a flow has lost a key that it had.
pub(crate) fn loses_key(before: &Flow, after: Option<&Flow>) -> bool {
    let after = after.map(cryptos).unwrap_or_default();
    let mut pairs = cryptos(before).into_iter().zip(after);
    pairs.any(|(before, after)| before.is_some() && before != after)
}

/// The marks for sending contexts under a key that was in use. The data plane itself keeps a
/// distance from them, since it may have sent more by the time it died, and does so for SSRCs
/// without a mark, too; but only if there is any mark. So there always is: an empty one says that
/// a data plane had this key.
fn sending(marks: Vec<Mark>) -> Vec<Mark> {
    if marks.is_empty() {
        return vec![Mark {
            ssrc: 0,
            rtp: None,
            rtcp: None,
        }];
    }
    marks
}

/// Where a data plane may be in a while that goes on behind these.
fn moved(marks: Vec<Mark>) -> Vec<Mark> {
    let mut marks = sending(marks);
    for mark in &mut marks {
        let moved = mark.rtcp.unwrap_or(0).saturating_add(Mark::RTCP_STEP);
        mark.rtcp = Some(moved.min(LAST_RTCP));
    }
    marks
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
    use sallyport_flow::{
        Carries, Egress, Gate, Ingress, MasterKey, Path, Realm, Remote, Secret, Source, Suite,
    };

    use super::*;

    const fn mark(ssrc: u32, rtp: Option<u64>, rtcp: Option<u32>) -> Mark {
        Mark { ssrc, rtp, rtcp }
    }

    const ID: FlowId = FlowId(0xa_0002);

    /// A flow that sends under a key.
    fn flow(id: FlowId, key: u8) -> Flow {
        let at = |text: &str| text.parse().unwrap();
        let path = Path {
            local: at("192.0.2.1:40000"),
            remote: Remote::Fixed(at("192.0.2.7:5004")),
        };
        Flow {
            id,
            gate: Gate::Open,
            ingress: Ingress {
                realm: Realm::Core,
                local: at("10.0.0.1:40000"),
                carries: Carries::Muxed,
                handshakes: false,
                clocks: Vec::new(),
                source: Source::Only(at("10.0.0.9:6000")),
                unprotect: None,
                expect: None,
            },
            egress: Egress {
                realm: Realm::Access,
                rtp: path,
                rtcp: path,
                protect: Some(Crypto {
                    suite: Suite::AeadAes128Gcm,
                    keys: vec![MasterKey::new(Secret::new(vec![key; 28]))],
                    lifetime: None,
                    replay_window: 0,
                    key_derivation_rate: None,
                    unencrypted_srtcp: false,
                    marks: Vec::new(),
                }),
                dscp: None,
            },
        }
    }

    fn did(id: FlowId, marks: &[Mark]) -> FlowStatistics {
        FlowStatistics {
            id,
            protect: marks.to_vec(),
            ..FlowStatistics::default()
        }
    }

    /// Of a flow under key 1, which did this.
    fn marks(rounds: &[&[Mark]]) -> FlowMarks {
        let mut marks = FlowMarks::default();
        marks.turn_to(&[flow(ID, 1)]);
        for round in rounds {
            marks.learn(&did(ID, round));
        }
        marks
    }

    /// What a flow would bring along.
    fn put(marks: &FlowMarks, mut flow: Flow, there: Option<&Flow>) -> Vec<Mark> {
        marks.put(&mut flow, there);
        flow.egress.protect.unwrap().marks
    }

    #[test]
    fn the_store_learns_of_new_ssrcs_and_of_indices_that_went_far() {
        let mut marks = marks(&[]);
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
            assert_eq!(marks.learn(&did(ID, &[mark])), is_far, "{mark:?}");
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
            put(&marks, flow(ID, 1), None),
            [mark(1, Some(70000), Some(1)), mark(2, None, Some(9))]
        );
    }

    #[test]
    fn a_key_that_was_in_use_is_never_sent_without_a_mark_and_a_new_one_has_none() {
        assert_eq!(put(&marks(&[]), flow(ID, 1), None), [mark(0, None, None)]);
        assert_eq!(put(&marks(&[]), flow(ID, 2), None), []);
        let known = [mark(1, Some(70000), Some(9))];
        assert_eq!(put(&marks(&[&known]), flow(ID, 1), None), known);
        // The contexts are there, and know better.
        let there = flow(ID, 1);
        assert_eq!(put(&marks(&[&known]), flow(ID, 1), Some(&there)), []);
        // Contexts of another suite are not the same ones, but the key is.
        let mut other = flow(ID, 1);
        other.egress.protect.as_mut().unwrap().suite = Suite::AesCm128HmacSha1_32;
        assert_eq!(put(&marks(&[&known]), other, Some(&there)), known);
    }

    #[test]
    fn a_key_that_comes_back_goes_on_behind_its_marks_on_whatever_flow() {
        let known = [mark(1, Some(70000), Some(9))];
        let mut marks = marks(&[&known]);
        assert!(marks.turn_to(&[flow(ID, 2)]));
        assert!(!marks.turn_to(&[flow(ID, 2)]));
        marks.learn(&did(ID, &[mark(1, Some(80000), None)]));
        let other = FlowId(ID.0 + 4);
        assert_eq!(put(&marks, flow(ID, 1), None), known);
        assert_eq!(put(&marks, flow(other, 1), None), known);
        // Again and again, and for as long as the session is there.
        marks.turn_to(&[flow(other, 1)]);
        marks.learn(&did(other, &[mark(1, Some(70001), Some(10))]));
        marks.turn_to(&[]);
        assert_eq!(
            put(&marks, flow(ID, 1), None),
            [mark(1, Some(70001), Some(10))]
        );
        assert_eq!(put(&marks, flow(ID, 2), None), [mark(1, Some(80000), None)]);
    }

    #[test]
    fn what_the_agent_before_may_have_given_away_is_taken_for_used() {
        let mut marks = FlowMarks::default();
        let before = flow(ID, 1);
        marks.turn_to(std::slice::from_ref(&before));
        let new = [flow(ID, 2)];
        assert!(marks.ahead_of(&new).is_none(), "a new key");
        let mut marks = marks.restored();
        assert!(marks.ahead_of(&[flow(ID, 1)]).is_none(), "it is there");
        // Should this agent die, too, the next one starts further on.
        for step in [None, Some(Mark::RTCP_STEP), Some(2 * Mark::RTCP_STEP)] {
            let ahead = marks.ahead_of(&new).expect("it was in use");
            let given = put(&marks, flow(ID, 2), Some(&before));
            assert_eq!(given, [mark(0, None, step)]);
            marks = ahead.restored();
        }
    }

    #[test]
    fn keys_that_change_on_and_on_do_not_fill_the_memory() {
        let mut marks = FlowMarks::default();
        for round in 0..2 * u64::try_from(MAX_PAST).unwrap() {
            let mut flow = flow(ID, 0);
            let keys = &mut flow.egress.protect.as_mut().unwrap().keys;
            keys[0].secret = Secret::new(round.to_be_bytes().to_vec());
            marks.turn_to(&[flow]);
        }
        assert_eq!(marks.past.len(), MAX_PAST);
    }

    #[test]
    fn two_data_planes_that_die_at_once_do_not_start_at_one_index() {
        let mut marks = marks(&[&[mark(1, Some(70000), Some(9))]]);
        marks.hand_out(&[ID]);
        assert_eq!(
            put(&marks, flow(ID, 1), None),
            [mark(1, Some(70000), Some(9 + Mark::RTCP_STEP))]
        );
        marks.turn_to(&[flow(ID, 2)]);
        marks.hand_out(&[ID, ID]);
        assert_eq!(
            put(&marks, flow(ID, 2), None),
            [mark(0, None, Some(2 * Mark::RTCP_STEP))]
        );
        for _ in 0..2000 {
            marks.hand_out(&[ID]);
        }
        assert_eq!(
            put(&marks, flow(ID, 2), None),
            [mark(0, None, Some(LAST_RTCP))]
        );
    }
}
