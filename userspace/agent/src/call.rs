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

use std::collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use sallyport_flow::{Crypto, Gate, MasterKey, Realm, Secret};
use sallyport_signalling::e2ae::{self, Asked, Context, Ports, Side};
use sallyport_signalling::mediasec::Binding;
use sallyport_signalling::policy::{AccessNetwork, E2ae, Policy, RtcpMux};
use sallyport_signalling::random::SystemRandom;
use sallyport_signalling::sdes;
use sallyport_signalling::sdp::{Media, Sdp};
use serde::{Deserialize, Serialize};

use crate::call_error::CallError;
use crate::ports::Version as IpVersion;
use crate::session::Ends;
use crate::stream::{Peer, Stream, StreamLeg};

/// The most m-lines that a call may be allowed: each dialog has so many slots.
pub(crate) const MAX_STREAMS: u16 = 64;

/// How long a plain peer's first packet is waited for, once it is known from where. Nobody but the
/// peer's own address is listened to.
const WINDOW: Duration = Duration::from_secs(30);

/// How long an offer within a dialog keeps the other side from making one: as long as the peers
/// themselves stay away from each other (RFC 3261 section 14.1). Nobody tells a gateway that an
/// offer was refused, so it cannot wait for that.
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
    pub(crate) branches: Vec<Branch>,
    dscp: Option<u8>,
    /// Whether RTP is dropped, as the client said.
    is_silenced: bool,
    /// How many dialogs it ever had.
    dialogs: u16,
}

/// One way that the offer of a call took.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Branch {
    pub(crate) via: Option<String>,
    /// Who made the first offer.
    pub(crate) offerer: Party,
    side: Side,
    /// Of who answers.
    far_realm: Realm,
    /// The call as it was offered, for who answers beside the first.
    offered: Option<Box<e2ae::Call>>,
    /// Whether the offerer's RTCP keeps a port of its own, whatever it offers.
    refuses_rtcp_mux: bool,
    pub(crate) dialogs: Vec<Dialog>,
    /// Whose media flows.
    active: Option<usize>,
    /// What was sent to each side of the offerer and the others.
    versions: [Version; 2],
}

/// One who answers, or will.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Dialog {
    /// `None` until there is an answer.
    pub(crate) answerer: Option<Party>,
    slot: u16,
    pub(crate) call: e2ae::Call,
}

/// One of the two who talk.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Party {
    pub(crate) tag: String,
    pub(crate) label: Option<String>,
    pub(crate) since: Duration,
    realm: Realm,
    /// Where its SIP messages come from.
    received_from: Option<IpAddr>,
    /// Where its media is, whatever its SDP says.
    media_address: Option<IpAddr>,
    learning: Learning,
    /// Where it said last that it is, by m-line.
    known: Vec<(u16, e2ae::Ends)>,
}

/// How a party's address is learned.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Learning {
    /// From packets; it sends from where it receives.
    #[default]
    Symmetric,
    /// It sends from elsewhere than it receives.
    Asymmetric,
    /// It is where its SDP says.
    Off,
}

/// The version of the session descriptions sent one way.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Version {
    number: u64,
    digest: u64,
}

/// Whom an offer or answer is about, in the words of its SIP message: `from` made the offer.
#[derive(Clone, Debug)]
pub(crate) struct Tags {
    pub(crate) call_id: String,
    pub(crate) from: String,
    pub(crate) to: Option<String>,
    pub(crate) via: Option<String>,
}

/// An offer.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) tags: Tags,
    pub(crate) sdp: Sdp,
    /// The realms of who offers and who answers, where the proxy says so.
    pub(crate) realms: [Option<Realm>; 2],
    /// The side that makes it, where the client knows.
    pub(crate) by: Option<Side>,
    pub(crate) terms: Terms,
    pub(crate) policy: Policy,
    /// RTCP on the port of RTP, with who offers and with who answers.
    pub(crate) rtcp_mux: Option<[RtcpMux; 2]>,
    pub(crate) about: About,
    /// The version of our address for who answers.
    pub(crate) version: Option<IpVersion>,
    /// What leaves is marked from now on.
    pub(crate) dscp: Option<Dscp>,
    /// How many m-lines there may be.
    pub(crate) max_streams: u16,
}

/// The DSCP of what leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dscp {
    /// That of what arrived.
    AsArrived,
    /// This.
    Marked(u8),
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) tags: Tags,
    /// The side that made the offer, where the client knows.
    pub(crate) to: Option<Side>,
    pub(crate) sdp: Sdp,
    pub(crate) terms: Terms,
    pub(crate) policy: Policy,
    pub(crate) about: About,
}

/// Who decides what becomes of media.
#[derive(Debug)]
pub(crate) enum Terms {
    /// The proxy, with each offer.
    Asked(Asked),
    /// The policy of this gateway.
    Policy(Registration),
}

/// What is known of a UE.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) binding: Binding,
    pub(crate) access_network: Option<AccessNetwork>,
    pub(crate) is_signalling_confidential: bool,
}

/// What the proxy says about who sent an SDP.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) label: Option<String>,
    pub(crate) received_from: Option<IpAddr>,
    pub(crate) media_address: Option<IpAddr>,
    pub(crate) learning: Learning,
    /// Whether RTP of the whole call is dropped from now on.
    pub(crate) silences: Option<bool>,
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

/// Which part of a call a deletion is about.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) via: Option<String>,
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

/// Where in a call an offer or answer belongs.
struct Place {
    branch: usize,
    dialog: usize,
    /// Whether who makes this offer made the branch's first.
    by_offerer: bool,
}

impl Call {
    /// A call that nobody has made an offer for.
    pub(crate) fn new(call_id: String, now: Duration) -> Self {
        Self {
            call_id,
            created: now,
            last_signal: now,
            ends_at: None,
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

        let is_waiting = now.saturating_sub(self.last_signal) < GLARE;
        if dialog.call.is_pending() && dialog.call.offerer() != Some(near) && !is_waiting {
            dialog.call = dialog.call.reject().0;
        }
        let found = offer.sdp.media().len();
        let max = usize::from(offer.max_streams.min(MAX_STREAMS));
        if found > max {
            return Err(CallError::Streams { found, max });
        }
        let mut ports = BTreeMap::new();
        for index in dialog.call.wanted_ports(&offer.sdp) {
            let media = &offer.sdp.media()[index];
            let ip = offer.sdp.connection(media).and_then(|at| at.ip());
            let version = ip.map(IpVersion::of);
            let mut take = |side: Side, wanted| {
                let ends = take_ports(realms[side as usize], wanted)?;
                Ok::<_, CallError>(e2ae::Ends {
                    rtp: ends.rtp,
                    rtcp: ends.rtcp,
                })
            };
            let near_ends = take(near, version.map_or(Wanted::Any, Wanted::Exactly))?;
            let far_wanted = match (offer.version, version) {
                (Some(version), _) => Wanted::Exactly(version),
                (None, Some(version)) => Wanted::Rather(version),
                (None, None) => Wanted::Any,
            };
            let far_ends = take(near.opposite(), far_wanted)?;
            let (access, core) = match near {
                Side::Access => (near_ends, far_ends),
                Side::Core => (far_ends, near_ends),
            };
            ports.insert(index, Ports { access, core });
        }
        let mut policy = offer.policy.clone();
        if let Some([of_near, of_far]) = offer.rtcp_mux {
            (policy.access_rtcp_mux, policy.core_rtcp_mux) = match near {
                Side::Access => (of_near, of_far),
                Side::Core => (of_far, of_near),
            };
        }
        let context = offer.terms.context(&policy);
        let is_first = !dialog.call.setups().any(|setup| setup.is_some());
        let (after, decision) =
            dialog
                .call
                .offer(near, &offer.sdp, &ports, &context, &mut SystemRandom)?;
        if realms == [Realm::Access; 2] {
            check_protected(&offer.sdp, &decision.sdp, &policy)?;
        }
        branch.refuses_rtcp_mux = context_mux(&policy, near) == RtcpMux::Never;
        branch.offered = (is_first && by_offerer).then(|| Box::new(after.clone()));
        dialog.call = after;
        let party = if by_offerer {
            Some(&mut branch.offerer)
        } else {
            dialog.answerer.as_mut()
        };
        if let Some(party) = party {
            party.learn(&offer.about);
        }
        self.is_silenced = offer.about.silences.unwrap_or(self.is_silenced);
        if let Some(dscp) = offer.dscp {
            self.dscp = match dscp {
                Dscp::AsArrived => None,
                Dscp::Marked(dscp) => Some(dscp),
            };
        }
        self.last_signal = now;
        Ok(self.passed(decision.sdp, at, dialog_at, near.opposite(), !by_offerer))
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
        let branch = &mut self.branches[at];
        let offerer = branch.side_of_offerer(by_offerer);
        let mut policy = answer.policy.clone();
        if branch.refuses_rtcp_mux {
            match offerer {
                Side::Access => policy.access_rtcp_mux = RtcpMux::Never,
                Side::Core => policy.core_rtcp_mux = RtcpMux::Never,
            }
        }
        let realms = branch.realms();
        let dialog = &mut branch.dialogs[dialog_at];
        if dialog.call.offerer() != Some(offerer) {
            // The answer to an offer whose place another has taken.
            return Err(CallError::Dialogue);
        }
        let context = answer.terms.context(&policy);
        let (after, decision) = dialog
            .call
            .answer(&answer.sdp, &context, &mut SystemRandom)?;
        check_families(&after)?;
        dialog.call = after;
        let answerer = offerer.opposite();
        let party = if by_offerer {
            dialog.answerer.get_or_insert_with(|| {
                let tag = answer.tags.to.clone().unwrap_or_default();
                Party::new(tag, realms[answerer as usize], now)
            })
        } else {
            &mut branch.offerer
        };
        party.learn(&answer.about);
        for (index, setup) in (0..).zip(dialog.call.setups()) {
            let leg = |side| setup.map(|setup| setup.leg(side));
            branch.offerer.locate(index, leg(branch.side));
            if let Some(answerer) = &mut dialog.answerer {
                answerer.locate(index, leg(branch.side.opposite()));
            }
        }
        branch.active = Some(dialog_at);
        self.is_silenced = answer.about.silences.unwrap_or(self.is_silenced);
        self.last_signal = now;
        Ok(self.passed(decision.sdp, at, dialog_at, offerer, by_offerer))
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

    /// What flows.
    pub(crate) fn streams(&self) -> Vec<Stream> {
        let active = self.branches.iter().filter_map(|branch| {
            let dialog = branch.dialogs.get(branch.active?)?;
            Some((branch, dialog))
        });
        active
            .flat_map(|(branch, dialog)| {
                let expected = dialog.call.expected();
                let setups = (dialog.slot..).zip(dialog.call.setups().zip(expected));
                setups.filter_map(move |(slot, (setup, expected))| {
                    let stream = self.stream(branch, dialog, slot, setup?, expected);
                    Some(stream)
                })
            })
            .collect()
    }

    /// The ports that it has, by those for RTP.
    pub(crate) fn ports(&self) -> BTreeSet<(Realm, SocketAddr)> {
        let mut ports = BTreeSet::new();
        for branch in &self.branches {
            let [access, core] = branch.realms();
            let calls = branch.dialogs.iter().map(|dialog| &dialog.call);
            for own in calls
                .chain(branch.offered.as_deref())
                .flat_map(e2ae::Call::ports)
            {
                let Some(own) = own else { continue };
                ports.extend([(access, own.access.rtp), (core, own.core.rtp)]);
            }
        }
        ports
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

    fn place_of_offer(&self, offer: &Offer) -> Option<Place> {
        if offer.tags.to.is_some() {
            let is_elsewhere = |branch: &Branch| branch.has_port_of(&offer.sdp);
            let mut places = self.places_of_dialog(&offer.tags, true);
            places.retain(|place| !is_elsewhere(&self.branches[place.branch]));
            let near = offer.said_near();
            let is_near = |place: &Place| {
                let realm = self.branches[place.branch].realm_of_offerer(place.by_offerer);
                near == Some(realm)
            };
            let at = places.iter().position(is_near).unwrap_or(0);
            return places.into_iter().nth(at);
        }
        // The offer of a call that is not answered, once more: after a challenge, say.
        let of_same_way = |branch: &Branch| branch.active.is_none() && branch.is_way_of(offer);
        let branch = self.branches.iter().position(of_same_way)?;
        Some(Place {
            branch,
            dialog: 0,
            by_offerer: true,
        })
    }

    /// The dialogs whose both tags are known: several when the call comes through this gateway more
    /// than once. The SDP of who made the branches' first offer gets to the first of them first,
    /// and that of the other party to the last.
    fn places_of_dialog(&self, tags: &Tags, is_offer: bool) -> Vec<Place> {
        let Some(to) = tags.to.as_deref() else {
            return Vec::new();
        };
        let mut places = Vec::new();
        for (at, branch) in self.branches.iter().enumerate() {
            for (dialog_at, dialog) in branch.dialogs.iter().enumerate() {
                let Some(answerer) = &dialog.answerer else {
                    continue;
                };
                let both = [branch.offerer.tag.as_str(), answerer.tag.as_str()];
                let by_offerer = match both {
                    both if both == [tags.from.as_str(), to] => true,
                    both if both == [to, tags.from.as_str()] => false,
                    _ => continue,
                };
                places.push(Place {
                    branch: at,
                    dialog: dialog_at,
                    by_offerer,
                });
            }
        }
        if places
            .first()
            .is_some_and(|place| place.by_offerer != is_offer)
        {
            places.reverse();
        }
        places
    }

    fn place_of_answer(
        &mut self,
        answer: &Answer,
        take_ports: &mut TakePorts<'_>,
    ) -> Result<Place, CallError> {
        let tags = &answer.tags;
        let is_of = |branch: &Branch| branch.offerer.tag == tags.from;
        let is_this =
            |branch: &Branch| tags.via.is_some() && branch.via == tags.via && is_of(branch);
        let is_named = self.branches.iter().any(is_this);
        // A second INVITE within a dialog has a Via branch of its own.
        let fits = |branch: &Branch, by_offerer: bool| {
            let offerer = branch.side_of_offerer(by_offerer);
            let is_here = if is_named {
                is_this(branch)
            } else {
                !branch.has_port_of(&answer.sdp)
            };
            is_here && answer.to.is_none_or(|side| side == offerer)
        };
        let places = self.places_of_dialog(tags, false).into_iter();
        let mut known = places.filter(|place| fits(&self.branches[place.branch], place.by_offerer));
        if let Some(place) = known.next() {
            return Ok(place);
        }
        let mut branches = self.branches.iter();
        let at = branches
            .rposition(|branch| is_of(branch) && fits(branch, true))
            .ok_or(CallError::Dialogue)?;
        let is_new = |dialog: &Dialog| dialog.answerer.is_none();
        let dialog = match self.branches[at].dialogs.iter().position(is_new) {
            Some(dialog) => dialog,
            None => self.fork(at, take_ports)?,
        };
        Ok(Place {
            branch: at,
            dialog,
            by_offerer: true,
        })
    }

    /// A dialog for one more who answers.
    fn fork(&mut self, at: usize, take_ports: &mut TakePorts<'_>) -> Result<usize, CallError> {
        let slot = self.next_slot()?;
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
            slot,
            call: offered.fork(&own),
        });
        Ok(branch.dialogs.len() - 1)
    }

    fn add_branch(&mut self, offer: &Offer, now: Duration) -> Result<Place, CallError> {
        let slot = self.next_slot()?;
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
                slot,
                call: e2ae::Call::new(),
            }],
            active: None,
            versions: [Version::default(); 2],
        });
        Ok(Place {
            branch: self.branches.len() - 1,
            dialog: 0,
            by_offerer: true,
        })
    }

    fn next_slot(&mut self) -> Result<u16, CallError> {
        /// A session has 2^14 streams of four flows.
        const DIALOGS: u16 = (1 << 14) / MAX_STREAMS;
        if self.dialogs >= DIALOGS {
            return Err(CallError::Dialogs { max: DIALOGS });
        }
        self.dialogs += 1;
        Ok((self.dialogs - 1) * MAX_STREAMS)
    }

    fn stream(
        &self,
        branch: &Branch,
        dialog: &Dialog,
        slot: u16,
        setup: &e2ae::Setup,
        expected: Option<(Side, &sdes::Crypto)>,
    ) -> Stream {
        let leg = |side: Side| {
            let leg = setup.leg(side);
            let party = if side == branch.side {
                Some(&branch.offerer)
            } else {
                dialog.answerer.as_ref()
            };
            // Who is held in the old way, or says a host name, is still where it was.
            let known = party.and_then(|party| party.known(slot - dialog.slot));
            let remote = leg.remote.or(known);
            let protection = leg.protection.as_ref();
            let is_open = match side {
                Side::Access => setup.to_core,
                Side::Core => setup.to_access,
            };
            StreamLeg {
                realm: branch.realms()[side as usize],
                local: ends(leg.local),
                peer: peer(party, remote.map(ends), protection.is_some()),
                receive: protection.map(|keys| crypto(&keys.receive)),
                expect: expected
                    .filter(|(of, _)| *of == side && protection.is_some())
                    .map(|(_, keys)| crypto(keys)),
                send: protection.map(|keys| crypto(&keys.send)),
                gate: if is_open && !self.is_silenced {
                    Gate::Open
                } else {
                    Gate::Closed
                },
                dscp: self.dscp,
            }
        };
        Stream {
            slot,
            legs: [leg(Side::Access), leg(Side::Core)],
        }
    }
}

impl Branch {
    /// Of the two sides, in their order.
    fn realms(&self) -> [Realm; 2] {
        match self.side {
            Side::Access => [self.offerer.realm, self.far_realm],
            Side::Core => [self.far_realm, self.offerer.realm],
        }
    }

    /// Whether this is the way that an offer takes which nobody has answered: it comes from the
    /// same party, and from the same direction.
    fn is_way_of(&self, offer: &Offer) -> bool {
        self.offerer.tag == offer.tags.from
            && self.via == offer.tags.via
            && offer.by.is_none_or(|side| side == self.side)
            && offer
                .said_near()
                .is_none_or(|near| near == self.offerer.realm)
            && !self.has_port_of(&offer.sdp)
    }

    /// Whether an SDP leads to here: the call has come out of this branch, and back.
    fn has_port_of(&self, sdp: &Sdp) -> bool {
        let calls = self.dialogs.iter().map(|dialog| &dialog.call);
        let mut ports = calls
            .chain(self.offered.as_deref())
            .flat_map(e2ae::Call::ports)
            .flatten();
        let at = |media: &Media| {
            let ip = sdp.connection(media)?.ip()?;
            Some(SocketAddr::new(ip, media.port()))
        };
        let said: Vec<_> = sdp.media().iter().filter_map(at).collect();
        ports.any(|own| said.contains(&own.access.rtp) || said.contains(&own.core.rtp))
    }

    /// The side of who makes an offer: who made the first, or the other party.
    const fn side_of_offerer(&self, is_first: bool) -> Side {
        if is_first {
            self.side
        } else {
            self.side.opposite()
        }
    }

    /// Its realm.
    const fn realm_of_offerer(&self, is_first: bool) -> Realm {
        if is_first {
            self.offerer.realm
        } else {
            self.far_realm
        }
    }

    /// The dialog whose media flows, or that was there first.
    pub(crate) fn dialog(&self) -> Option<&Dialog> {
        self.dialogs.get(self.active.unwrap_or(0))
    }

    /// The side of who made the first offer.
    pub(crate) const fn side(&self) -> Side {
        self.side
    }
}

impl Dialog {
    /// The slot of its first stream.
    pub(crate) const fn slot(&self) -> u16 {
        self.slot
    }
}

impl Party {
    fn new(tag: String, realm: Realm, since: Duration) -> Self {
        Self {
            tag,
            label: None,
            since,
            realm,
            received_from: None,
            media_address: None,
            learning: Learning::default(),
            known: Vec::new(),
        }
    }

    /// Where it said last that it is.
    fn known(&self, index: u16) -> Option<e2ae::Ends> {
        let mut known = self.known.iter();
        known.find(|(at, _)| *at == index).map(|(_, ends)| *ends)
    }

    /// Takes over where it says that it is, if it does.
    fn locate(&mut self, index: u16, leg: Option<&e2ae::Leg>) {
        let remote = leg.map(|leg| leg.remote);
        if remote == Some(None) {
            return;
        }
        self.known.retain(|(at, _)| *at != index);
        if let Some(remote) = remote.flatten() {
            self.known.reserve_exact(1);
            self.known.push((index, remote));
        }
    }

    /// Takes over what is said anew.
    fn learn(&mut self, about: &About) {
        if about.label.is_some() {
            self.label.clone_from(&about.label);
        }
        if about.received_from.is_some() {
            self.received_from = about.received_from;
        }
        self.media_address = about.media_address;
        self.learning = about.learning;
    }
}

impl Offer {
    /// The realm of who offers, as far as the proxy says.
    fn said_near(&self) -> Option<Realm> {
        (self.realms != [None; 2]).then(|| self.realms()[0])
    }

    /// The realms of who offers and who answers. A proxy that does not say wants protected media
    /// to be on the access side, or else somebody there to call.
    fn realms(&self) -> [Realm; 2] {
        let is_plain = |name: &str| matches!(name, "RTP/AVP" | "RTP/AVPF");
        let to = match &self.terms {
            Terms::Asked(Asked {
                profile: Some(profile),
                ..
            }) => Some(profile.name()),
            _ => None,
        };
        let first = self.sdp.media().first().map(|media| media.profile().name());
        let is_to_ue =
            first.is_some_and(is_plain) && to.is_some_and(|to| to.starts_with("RTP/SAVP"));
        let opposite = |realm| match realm {
            Realm::Access => Realm::Core,
            Realm::Core => Realm::Access,
        };
        match self.realms {
            [Some(near), Some(far)] => [near, far],
            [Some(near), None] => [near, opposite(near)],
            [None, Some(far)] => [opposite(far), far],
            [None, None] if is_to_ue => [Realm::Core, Realm::Access],
            [None, None] => [Realm::Access, Realm::Core],
        }
    }
}

impl Terms {
    fn context<'a>(&'a self, policy: &'a Policy) -> Context<'a> {
        match self {
            Self::Asked(asked) => Context {
                policy,
                binding: Binding::default(),
                access_network: None,
                is_signalling_confidential: true,
                asked: Some(asked),
            },
            Self::Policy(registration) => Context {
                policy,
                binding: registration.binding,
                access_network: registration.access_network.as_ref(),
                is_signalling_confidential: registration.is_signalling_confidential,
                asked: None,
            },
        }
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

/// A leg and its peer must speak one version of IP: packets are not sent otherwise.
fn check_families(call: &e2ae::Call) -> Result<(), CallError> {
    for setup in call.setups().flatten() {
        for leg in [&setup.access, &setup.core] {
            if let Some(remote) = leg.remote
                && remote.rtp.is_ipv4() != leg.local.rtp.is_ipv4()
            {
                return Err(CallError::Family);
            }
        }
    }
    Ok(())
}

/// Who is at the far end of a leg.
fn peer(party: Option<&Party>, remote: Option<Ends>, is_protected: bool) -> Peer {
    let at = |ip: IpAddr| {
        move |ends: Ends| Ends {
            rtp: SocketAddr::new(ip, ends.rtp.port()),
            rtcp: SocketAddr::new(ip, ends.rtcp.port()),
        }
    };
    let moved = party.and_then(|party| party.media_address);
    let signalled = match moved {
        Some(ip) => remote.map(at(ip)),
        None => remote,
    };
    let learning = party.map_or(Learning::default(), |party| party.learning);
    if let (Learning::Off, Some(ends)) = (learning, signalled) {
        return Peer::Known(ends);
    }
    let said = moved.or(signalled.map(|ends| ends.rtp.ip()));
    let received_from = party.and_then(|party| party.received_from);
    // Behind a NAT a peer says an address that means nothing here, and its media comes from where
    // its SIP messages come from.
    let from = match (said, received_from) {
        (Some(said), Some(seen)) if is_private(said) && !is_private(seen) => Some(seen),
        (Some(said), _) => Some(said),
        (None, seen) => seen,
    };
    // Of a plain peer of which nothing is known, nobody can be told apart: no packet is its first.
    let window = from.map_or(Duration::ZERO, |_| WINDOW);
    Peer::Learned {
        signalled,
        from: from.filter(|_| !is_protected).map(IpNet::from),
        window: (!is_protected).then_some(window),
        is_asymmetric: learning == Learning::Asymmetric,
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            // RFC 6598: what carriers have behind their NAT.
            ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

const fn ends(ends: e2ae::Ends) -> Ends {
    Ends {
        rtp: ends.rtp,
        rtcp: ends.rtcp,
    }
}

/// As the data plane has it. A suite that it does not know is none that was offered or chosen.
fn crypto(crypto: &sdes::Crypto) -> Crypto {
    let window = crypto.parameters.window_size_hint;
    let lifetimes = crypto.keys.iter().filter_map(sdes::InlineKey::lifetime);
    Crypto {
        suite: crypto
            .suite
            .name()
            .parse()
            .unwrap_or(sallyport_flow::Suite::AeadAes256Gcm),
        keys: crypto
            .keys
            .iter()
            .map(|key| MasterKey {
                secret: Secret::new(key.expose().to_vec()),
                mki: key.mki().unwrap_or_default().to_vec(),
            })
            .collect(),
        lifetime: lifetimes.min(),
        // A bit for each packet: what is over this is not worth its memory.
        replay_window: window.map_or(0, |window| window.clamp(64, 1 << 15).next_power_of_two()),
        key_derivation_rate: crypto.parameters.key_derivation_rate,
        unencrypted_srtcp: crypto.parameters.relaxed.unencrypted_srtcp,
        marks: Vec::new(),
    }
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
