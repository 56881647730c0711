// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which branch and which dialog of a call an offer or an answer belongs to.

use std::net::SocketAddr;

use sallyport_signalling::e2ae;
use sallyport_signalling::sdp::{Media, Sdp};

use super::branch::{Branch, Dialog};
use super::request::{Answer, Offer, Tags};
use super::{Call, TakePorts};
use crate::call_error::CallError;

/// Where in a call an offer or answer belongs.
pub(super) struct Place {
    pub(super) branch: usize,
    pub(super) dialog: usize,
    /// Whether who makes this offer made the branch's first.
    pub(super) by_offerer: bool,
}

impl Call {
    pub(super) fn place_of_offer(&self, offer: &Offer) -> Option<Place> {
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

    pub(super) fn place_of_answer(
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
}

impl Branch {
    /// Whether this is the way that an offer takes which nobody has answered: it comes from the
    /// same party, and from the same direction.
    pub(super) fn is_way_of(&self, offer: &Offer) -> bool {
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
        let mut ports = self.calls().flat_map(e2ae::Call::held);
        let at = |media: &Media| {
            let ip = sdp.connection(media)?.ip()?;
            Some(SocketAddr::new(ip, media.port()))
        };
        let said: Vec<_> = sdp.media().iter().filter_map(at).collect();
        ports.any(|(_, own)| said.contains(&own))
    }
}
