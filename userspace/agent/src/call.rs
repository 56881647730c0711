// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Calls that SDP drives: their branches, their dialogs, and what an offer, an answer or the end of
//! one makes of them. No I/O: state and request in, state and SDP out.
//!
//! A call is everything under one SIP call-id. Each INVITE of it that took a way of its own is a
//! branch (a Via branch, where the proxy forked). The offer of a branch may be answered by several
//! (by whoever is further on the way and forked): each is a dialog, told apart by its tag, with
//! keys of its own and ports of its own for the offerer. All of them were told the same ports,
//! which only one can have, so media flows for the dialog that was answered last: early media of
//! whoever rings at first, and in the end that of who has taken the call.

/// The ways that the offers of a call took.
mod branch;

/// How a call flows.
mod flowing;

/// ICE and DTLS.
mod handshakes;

/// Peers that say a host name in place of an address.
mod host_name;

/// Which ports an offer needs.
mod moves;

/// Who talks.
mod party;

/// Which part of a call a message belongs to.
mod place;

/// What a call is asked for.
mod request;

use std::collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sallyport_flow::Realm;
use sallyport_signalling::e2ae::{self, Side};
use sallyport_signalling::policy::{E2ae, Policy, RtcpMux};
use sallyport_signalling::random::SystemRandom;
use sallyport_signalling::sdp::Sdp;
use sallyport_signalling::shape::Shape;
use serde::{Deserialize, Serialize};

pub(crate) use branch::{Branch, Dialog, FlowPlace};
pub(crate) use party::{About, Echoes, Learning, Party, Reach};
pub(crate) use request::{Answer, Dscp, Offer, Part, Registration, Tags, Terms};

use branch::{Crossed, Version};
use moves::Offered;
use place::Place;

use crate::call_error::CallError;
use crate::ports::Version as IpVersion;
use crate::session::Ends;

/// The most m-lines that a call may be allowed: each dialog has so many slots.
pub(crate) const MAX_STREAMS: u16 = 64;

/// How long an offer may have been under way when the other side makes one that crosses it: as long
/// as the peers themselves then stay away from each other (RFC 3261 section 14.1).
const GLARE: Duration = Duration::from_secs(4);

/// A call.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[expect(clippy::struct_field_names, reason = "the name of a SIP header field")]
pub(crate) struct Call {
    pub(crate) call_id: String,
    /// When it was first offered, since the UNIX epoch.
    pub(crate) created: Duration,
    /// When it was last offered or answered.
    pub(crate) last_signal: Duration,
    /// When it ends, if somebody has said so.
    pub(crate) ends_at: Option<Duration>,
    /// Whether somebody has taken it for sure: most clients do not tell that from ringing.
    pub(crate) is_final: bool,
    /// What clients want to be told with reports.
    pub(crate) metadata: Option<String>,
    pub(crate) branches: Vec<Branch>,
    dscp: Option<u8>,
    /// Whether RTP is dropped, as the client said.
    is_silenced: bool,
    /// How many dialogs it ever had.
    dialogs: u32,
}

/// Where ports come from: those of a realm.
pub(crate) type TakePorts<'a> = dyn FnMut(Realm, Wanted) -> Result<Ends, CallError> + Send + 'a;

/// Which version of IP an address is to have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wanted {
    Exactly(IpVersion),
    Rather(IpVersion),
    Any,
}

/// What is to be passed on, and to whom.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) sdp: Sdp,
    branch: usize,
    to_offerer: bool,
    /// Our address for whom it is passed to.
    pub(crate) local: Option<IpAddr>,
}

impl Call {
    /// A call that nobody has made an offer for.
    pub(crate) fn new(call_id: String, now: Duration) -> Self {
        Self {
            call_id,
            created: now,
            last_signal: now,
            ends_at: None,
            is_final: false,
            metadata: None,
            branches: Vec::new(),
            dscp: None,
            is_silenced: false,
            dialogs: 0,
        }
    }

    /// What an offer makes of the call.
    pub(crate) fn offer(
        &mut self,
        offer: &Offer,
        now: Duration,
        take_ports: &mut TakePorts<'_>,
    ) -> Result<Passed, CallError> {
        let place = match self.place_of_offer(offer) {
            Some(place) => place,
            None => self.add_branch(offer, now)?,
        };
        let Place {
            branch: at,
            dialog: dialog_at,
            by_offerer,
        } = place;
        let branch = &mut self.branches[at];
        let near = branch.side_of_offerer(by_offerer);
        if offer.by.is_some_and(|side| side != near) {
            return Err(CallError::Dialogue);
        }
        let realms = branch.realms();
        let dialog = &mut branch.dialogs[dialog_at];

        // Nobody tells a gateway that an offer was refused, so the next one takes its place, whoever
        // makes it.
        dialog.crossed = None;
        if dialog.call.is_pending() && dialog.call.offerer() != Some(near) {
            let refused = dialog.call.reject().0;
            let crossed = Crossed {
                call: std::mem::replace(&mut dialog.call, refused),
                offerer_reach: dialog.offerer_reach.take(),
                refuses_rtcp_mux: branch.refuses_rtcp_mux,
                shapes: branch.shapes.clone(),
                until: now.saturating_add(2 * GLARE),
            };
            let may_cross = now.saturating_sub(self.last_signal) < GLARE;
            dialog.crossed = may_cross.then(|| Box::new(crossed));
        }
        let is_first = !dialog.call.setups().any(|setup| setup.is_some());
        let lines = if is_first {
            0
        } else {
            dialog.call.setups().count()
        };
        let shapes = branch.shapes.take().filter(|_| !is_first);
        let mut shapes = shapes.map_or_else(Default::default, |shapes| *shapes);
        let max = usize::from(offer.max_streams.min(MAX_STREAMS));
        let found = offer.sdp.media().len();
        // Each medium may be there twice.
        if found > 2 * max {
            return Err(CallError::Streams { found, max });
        }
        let near_shape = &mut shapes[near as usize];
        let (shape, mut folded) = near_shape.fold_offer(&offer.sdp, lines, &offer.shape);
        *near_shape = shape;
        let found = folded.media().len();
        if found > max {
            return Err(CallError::Streams { found, max });
        }
        let offerer = if by_offerer {
            Some(&branch.offerer)
        } else {
            dialog.answerer.as_ref()
        };
        host_name::resolve(&mut folded, &offer.about, offerer)?;
        let offered = Offered {
            call: &dialog.call,
            offer,
            sdp: &folded,
            near,
            party: offerer,
            realms,
        };
        let ports = offered.ports(take_ports)?;
        let mut policy = offer.policy.clone();
        if let Some([of_near, of_far]) = offer.rtcp_mux {
            (policy.access_rtcp_mux, policy.core_rtcp_mux) = match near {
                Side::Access => (of_near, of_far),
                Side::Core => (of_far, of_near),
            };
        }
        let context = offer.terms.context(&policy);
        let (after, decision) =
            dialog
                .call
                .offer(near, &folded, &ports, &context, &mut SystemRandom)?;
        if realms == [Realm::Access; 2] {
            check_protected(&folded, &decision.sdp, &policy)?;
        }
        let far_shape = &mut shapes[near.opposite() as usize];
        let (shape, unfolded) = far_shape.unfold_offer(decision.sdp, lines, &offer.shape);
        *far_shape = shape;
        let has_shape = !shapes.iter().all(Shape::is_none);
        branch.shapes = has_shape.then(|| Box::new(shapes));
        branch.refuses_rtcp_mux = context_mux(&policy, near) == RtcpMux::Never;
        branch.offered = (is_first && by_offerer).then(|| Box::new(after.clone()));
        dialog.call = after;
        let party = if by_offerer {
            Some(&mut branch.offerer)
        } else {
            dialog.answerer.as_mut()
        };
        if let Some(party) = party {
            party.name(&offer.about);
        }
        // Until there is an answer, which may never come, media flows as it did.
        dialog.offerer_reach = Some(Box::new(offer.about.reach));
        branch.echo(&offer.about, near);
        self.note(&offer.about);
        if let Some(dscp) = offer.dscp {
            self.dscp = match dscp {
                Dscp::AsArrived => None,
                Dscp::Marked(dscp) => Some(dscp),
            };
        }
        self.last_signal = now;
        Ok(self.passed(unfolded, at, dialog_at, near.opposite(), !by_offerer))
    }

    /// What an answer makes of the call.
    pub(crate) fn answer(
        &mut self,
        answer: &Answer,
        now: Duration,
        take_ports: &mut TakePorts<'_>,
    ) -> Result<Passed, CallError> {
        let Place {
            branch: at,
            dialog: dialog_at,
            by_offerer,
        } = self.place_of_answer(answer, take_ports)?;
        let slot = self.free_slot();
        let branch = &mut self.branches[at];
        let offerer = branch.side_of_offerer(by_offerer);
        let realms = branch.realms();
        let dialog = &mut branch.dialogs[dialog_at];
        let crossed = dialog.crossed.take().filter(|crossed| now < crossed.until);
        if dialog.call.offerer() != Some(offerer) {
            // The answer to an offer whose place another has taken.
            let crossed = crossed.filter(|crossed| crossed.call.offerer() == Some(offerer));
            let crossed = *crossed.ok_or(CallError::Dialogue)?;
            dialog.call = crossed.call;
            dialog.offerer_reach = crossed.offerer_reach;
            branch.refuses_rtcp_mux = crossed.refuses_rtcp_mux;
            branch.shapes = crossed.shapes;
        }
        let mut policy = answer.policy.clone();
        if branch.refuses_rtcp_mux {
            match offerer {
                Side::Access => policy.access_rtcp_mux = RtcpMux::Never,
                Side::Core => policy.core_rtcp_mux = RtcpMux::Never,
            }
        }
        let party = if by_offerer {
            dialog.answerer.as_ref()
        } else {
            Some(&branch.offerer)
        };
        let context = answer.terms.context(&policy);
        let answerer = offerer.opposite();
        let mut shapes = branch.shapes.clone();
        let mut folded = match &mut shapes {
            None => answer.sdp.clone(),
            Some(shapes) => {
                let shape = &mut shapes[answerer as usize];
                let refusal = e2ae::Refusal::MediaCount {
                    expected: shape.lines().unwrap_or(answer.sdp.media().len()),
                    found: answer.sdp.media().len(),
                };
                shape.fold_answer(&answer.sdp).ok_or(refusal)?
            }
        };
        host_name::resolve(&mut folded, &answer.about, party)?;
        let (after, decision) = dialog.call.answer(&folded, &context, &mut SystemRandom)?;
        let unfolded = match &shapes {
            None => decision.sdp,
            Some(shapes) => shapes[offerer as usize].unfold_answer(decision.sdp),
        };
        branch.shapes = shapes;
        check_families(&after)?;
        if Self::moves(&dialog.call, &after) {
            dialog.slot = slot?;
        }
        dialog.settle(after, answerer);
        let party = if by_offerer {
            dialog.answerer.get_or_insert_with(|| {
                let tag = answer.tags.to.clone().unwrap_or_default();
                Party::new(tag, realms[answerer as usize], now)
            })
        } else {
            &mut branch.offerer
        };
        party.name(&answer.about);
        party.reach(answer.about.reach);
        if let Some(reach) = dialog.offerer_reach.take() {
            let party = if by_offerer {
                Some(&mut branch.offerer)
            } else {
                dialog.answerer.as_mut()
            };
            if let Some(party) = party {
                party.reach(*reach);
            }
        }
        for (index, setup) in (0..).zip(dialog.call.setups()) {
            let leg = |side| setup.map(|setup| setup.leg(side));
            branch.offerer.locate(index, leg(branch.side));
            if let Some(answerer) = &mut dialog.answerer {
                answerer.locate(index, leg(branch.side.opposite()));
            }
        }
        branch.active = Some(dialog_at);
        branch.echo(&answer.about, answerer);
        self.is_final |= answer.is_final;
        self.note(&answer.about);
        self.last_signal = now;
        Ok(self.passed(unfolded, at, dialog_at, offerer, by_offerer))
    }

    /// Takes over what is said with an SDP about all of the call.
    fn note(&mut self, about: &About) {
        self.is_silenced = about.silences.unwrap_or(self.is_silenced);
        if about.metadata.is_some() {
            self.metadata.clone_from(&about.metadata);
        }
    }

    /// What is left once a part of the call has ended; `None` when nothing is.
    ///
    /// # Errors
    /// [`CallError::Dialogue`] when it has no such part.
    pub(crate) fn without(&self, part: &Part) -> Result<Option<Self>, CallError> {
        let has_via = |branch: &Branch| part.via.is_some() && branch.via == part.via;
        let narrows = self.branches.iter().any(has_via);
        let ends = |branch: &Branch, dialog: &Dialog| {
            let answerer = dialog.answerer.as_ref().map(|party| party.tag.as_str());
            let offerer = Some(branch.offerer.tag.as_str());
            let (from, to) = (part.from.as_deref(), part.to.as_deref());
            let fits = match (from, to) {
                (None, None) => true,
                (Some(tag), None) | (None, Some(tag)) => {
                    offerer == Some(tag) || answerer == Some(tag)
                }
                (from, to) => {
                    // Who has refused the call has a tag, too, which nobody told us.
                    (offerer == from && (answerer == to || answerer.is_none()))
                        || (answerer == from && offerer == to)
                }
            };
            fits && (!narrows || has_via(branch))
        };
        let mut left = self.clone();
        let mut has_ended = false;
        for branch in &mut left.branches {
            let active = branch.active.map(|at| branch.dialogs[at].slot);
            let about = branch.clone();
            branch.dialogs.retain(|dialog| {
                let ends = ends(&about, dialog);
                has_ended |= ends;
                !ends
            });
            let dialogs = &branch.dialogs;
            branch.active =
                active.and_then(|slot| dialogs.iter().position(|dialog| dialog.slot == slot));
        }
        if !has_ended {
            return Err(CallError::Dialogue);
        }
        left.branches.retain(|branch| !branch.dialogs.is_empty());
        Ok(Some(left).filter(|left| !left.branches.is_empty()))
    }

    /// The ports that it has, by those for RTP.
    pub(crate) fn ports(&self) -> BTreeSet<(Realm, SocketAddr)> {
        let mut ports = BTreeSet::new();
        for branch in &self.branches {
            let realms = branch.realms();
            let held = branch.calls().flat_map(e2ae::Call::held);
            ports.extend(held.map(|(side, rtp)| (realms[side as usize], rtp)));
        }
        ports
    }

    /// When the first of the offers that others crossed can be answered no longer.
    pub(crate) fn crossed_until(&self) -> Option<Duration> {
        let dialogs = self.branches.iter().flat_map(|branch| &branch.dialogs);
        let crossed = dialogs.filter_map(|dialog| dialog.crossed.as_ref());
        crossed.map(|crossed| crossed.until).min()
    }

    /// Forgets those offers, and with them the ports that nothing else has.
    pub(crate) fn forget_crossed(&mut self, now: Duration) {
        let dialogs = self
            .branches
            .iter_mut()
            .flat_map(|branch| &mut branch.dialogs);
        for dialog in dialogs {
            dialog.crossed.take_if(|crossed| crossed.until <= now);
        }
    }

    /// Whether the NAT of somebody in it is to be opened.
    pub(crate) fn pierces(&self) -> bool {
        self.branches.iter().any(|branch| {
            let answerers = branch.dialogs.iter().filter_map(|it| it.answerer.as_ref());
            answerers.chain([&branch.offerer]).any(Party::is_pierced)
        })
    }

    /// Whether nobody has answered any offer yet.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.branches.iter().all(|branch| branch.active.is_none())
    }

    /// Passes on a session description with the lines that the client wants to be ours: `write`
    /// changes it, given the number of its version.
    pub(crate) fn write(
        &mut self,
        mut passed: Passed,
        is_new: bool,
        write: impl FnOnce(&mut Sdp, u64),
    ) -> Sdp {
        let versions = &mut self.branches[passed.branch].versions;
        let version = &mut versions[usize::from(passed.to_offerer)];
        let digest = digest(&passed.sdp);
        if is_new || version.digest != digest {
            version.number += 1;
            version.digest = digest;
        }
        write(&mut passed.sdp, version.number);
        passed.sdp
    }

    fn passed(&self, sdp: Sdp, branch: usize, dialog: usize, to: Side, to_offerer: bool) -> Passed {
        let call = &self.branches[branch].dialogs[dialog].call;
        let local = call.ports().flatten().next();
        Passed {
            sdp,
            branch,
            to_offerer,
            local: local.map(|ports| ports.of(to).rtp.ip()),
        }
    }

    /// A dialog for one more who answers.
    fn fork(&mut self, at: usize, take_ports: &mut TakePorts<'_>) -> Result<usize, CallError> {
        let (number, slot) = (self.dialogs, self.free_slot()?);
        let branch = &mut self.branches[at];
        let offered = branch.offered.as_ref().ok_or(CallError::Dialogue)?;
        let mut own = BTreeMap::new();
        for (index, ports) in offered.ports().enumerate() {
            let Some(ports) = ports else { continue };
            let version = IpVersion::of(ports.of(branch.side).rtp.ip());
            let Ends { rtp, rtcp } = take_ports(branch.offerer.realm, Wanted::Exactly(version))?;
            own.insert(index, e2ae::Ends { rtp, rtcp });
        }
        branch.dialogs.push(Dialog {
            answerer: None,
            offerer_reach: None,
            crossed: None,
            number,
            slot,
            call: offered.fork(&own),
            outcomes: BTreeMap::new(),
        });
        self.dialogs = number.wrapping_add(1);
        Ok(branch.dialogs.len() - 1)
    }

    fn add_branch(&mut self, offer: &Offer, now: Duration) -> Result<Place, CallError> {
        let (number, slot) = (self.dialogs, self.free_slot()?);
        self.dialogs = number.wrapping_add(1);
        let Tags { from, to, via, .. } = &offer.tags;
        let [near, far] = offer.realms();
        // What went this way before was refused, and whoever comes now is tried in its place.
        self.branches
            .retain(|branch| !branch.is_way_of(offer) || to.is_some());
        self.branches.push(Branch {
            via: via.clone(),
            offerer: Party::new(from.clone(), near, now),
            side: match near {
                Realm::Access => Side::Access,
                Realm::Core => Side::Core,
            },
            far_realm: far,
            offered: None,
            refuses_rtcp_mux: false,
            dialogs: vec![Dialog {
                answerer: to.clone().map(|tag| Party::new(tag, far, now)),
                offerer_reach: None,
                crossed: None,
                number,
                slot,
                call: e2ae::Call::new(),
                outcomes: BTreeMap::new(),
            }],
            active: None,
            echoes: None,
            shapes: None,
            versions: [Version::default(); 2],
        });
        Ok(Place {
            branch: self.branches.len() - 1,
            dialog: 0,
            by_offerer: true,
        })
    }

    /// The first slot of those that no dialog has.
    fn free_slot(&self) -> Result<u16, CallError> {
        /// A session has 2^14 streams of four flows.
        const DIALOGS: u16 = (1 << 14) / MAX_STREAMS;
        let dialogs = self.branches.iter().flat_map(|branch| &branch.dialogs);
        let taken: BTreeSet<_> = dialogs.map(|dialog| dialog.slot).collect();
        let mut slots = (0..DIALOGS).map(|at| at * MAX_STREAMS);
        let free = slots.find(|slot| !taken.contains(slot));
        free.ok_or(CallError::Dialogs { max: DIALOGS })
    }
}

/// Where both who talk are on the access side, both have protected media if policy wants that
/// there: `offered` by the one is `passed` to the other.
fn check_protected(offered: &Sdp, passed: &Sdp, policy: &Policy) -> Result<(), CallError> {
    for (index, (from, to)) in offered.media().iter().zip(passed.media()).enumerate() {
        let is_protected = from.profile().is_protected() && to.profile().is_protected();
        let is_required = policy.e2ae(to.medium(), None) == E2ae::Required;
        if is_required && !is_protected && to.port() != 0 {
            let reason = e2ae::MediaRefusal::Unprotected;
            return Err(e2ae::Refusal::Media { index, reason }.into());
        }
    }
    Ok(())
}

/// A leg and its peer must speak one version of IP: packets are not sent otherwise. With ICE the
/// peer finds a way whatever the version of what it says first.
fn check_families(call: &e2ae::Call) -> Result<(), CallError> {
    for setup in call.setups().flatten() {
        for leg in [&setup.access, &setup.core] {
            if let Some(remote) = leg.remote
                && remote.rtp.is_ipv4() != leg.local.rtp.is_ipv4()
                && !handshakes::is_checked(leg)
            {
                return Err(CallError::Family);
            }
        }
    }
    Ok(())
}

const fn context_mux(policy: &Policy, side: Side) -> RtcpMux {
    match side {
        Side::Access => policy.access_rtcp_mux,
        Side::Core => policy.core_rtcp_mux,
    }
}

fn digest(sdp: &Sdp) -> u64 {
    let mut hasher = DefaultHasher::new();
    sdp.write().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
