// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The ways that the offers of a call took, and who answers there.

use std::collections::BTreeMap;
use std::iter;
use std::time::Duration;

use sallyport_flow::{Carries, FlowId, Realm};
use sallyport_signalling::e2ae::{self, Side};
use sallyport_signalling::shape::Shape;
use serde::{Deserialize, Serialize};

use super::MAX_STREAMS;
use super::handshakes::Outcome;
use super::party::{About, Echoes, Party, Reach};
use crate::flows::{MAX_FLOWS, number};
use crate::session::SessionId;

/// One way that the offer of a call took.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Branch {
    pub(crate) via: Option<String>,
    /// Who made the first offer.
    pub(crate) offerer: Party,
    pub(super) side: Side,
    /// Of who answers.
    pub(super) far_realm: Realm,
    /// The call as it was offered, for who answers beside the first.
    pub(super) offered: Option<Box<e2ae::Call>>,
    /// Whether the offerer's RTCP keeps a port of its own, whatever it offers.
    pub(super) refuses_rtcp_mux: bool,
    pub(crate) dialogs: Vec<Dialog>,
    /// Whose media flows.
    pub(super) active: Option<usize>,
    /// Whether media of either side goes back there, and none to the other.
    pub(super) echoes: Option<[bool; 2]>,
    /// The lines of each side, if those of one are not the call's.
    pub(super) shapes: Option<Box<[Shape; 2]>>,
    /// What was sent to each side of the offerer and the others.
    pub(super) versions: [Version; 2],
}

/// One who answers, or will.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Dialog {
    /// `None` until there is an answer.
    pub(crate) answerer: Option<Party>,
    /// What was said of the way to who made the latest offer, as long as that has no answer.
    pub(super) offerer_reach: Option<Box<Reach>>,
    /// The offer of the other side that the latest one crossed, until either is answered.
    pub(super) crossed: Option<Box<Crossed>>,
    /// Which dialog of the call, now or ever.
    pub(super) number: u32,
    /// Of its first stream. Another when it moves to other ports, which are other flows.
    pub(super) slot: u16,
    pub(crate) call: e2ae::Call,
    /// What peers have proved, by m-line and side.
    pub(super) outcomes: BTreeMap<u16, [Outcome; 2]>,
}

/// Which flow of a dialog: the same one on other ports, too.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct FlowPlace {
    dialog: u32,
    at: u64,
}

/// An offer whose place one of the other side has taken while it was still under way. Most peers
/// refuse the other's then, but one may have answered.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Crossed {
    pub(super) call: e2ae::Call,
    pub(super) offerer_reach: Option<Box<Reach>>,
    pub(super) refuses_rtcp_mux: bool,
    pub(super) shapes: Option<Box<[Shape; 2]>>,
    /// Until when it may be answered; no longer if nobody knows.
    pub(super) until: Duration,
}

/// The version of the session descriptions sent one way.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct Version {
    pub(super) number: u64,
    pub(super) digest: u64,
}

impl Branch {
    /// Of the two sides, in their order.
    pub(super) fn realms(&self) -> [Realm; 2] {
        match self.side {
            Side::Access => [self.offerer.realm, self.far_realm],
            Side::Core => [self.far_realm, self.offerer.realm],
        }
    }

    /// Every call that has ports.
    pub(super) fn calls<'a>(&'a self) -> impl Iterator<Item = &'a e2ae::Call> {
        let crossed = |dialog: &'a Dialog| dialog.crossed.as_ref().map(|crossed| &crossed.call);
        let dialogs = self.dialogs.iter();
        let calls = dialogs.flat_map(move |dialog| iter::once(&dialog.call).chain(crossed(dialog)));
        calls.chain(self.offered.as_deref())
    }

    /// The side of who makes an offer: who made the first, or the other party.
    pub(super) const fn side_of_offerer(&self, is_first: bool) -> Side {
        if is_first {
            self.side
        } else {
            self.side.opposite()
        }
    }

    /// Its realm.
    pub(super) const fn realm_of_offerer(&self, is_first: bool) -> Realm {
        if is_first {
            self.offerer.realm
        } else {
            self.far_realm
        }
    }

    /// Who talks on one side.
    pub(super) fn party<'a>(&'a self, dialog: &'a Dialog, side: Side) -> Option<&'a Party> {
        if side == self.side {
            Some(&self.offerer)
        } else {
            dialog.answerer.as_ref()
        }
    }

    /// Whose media goes back to them from now on, if the proxy says so with the SDP of one side.
    pub(super) fn echo(&mut self, about: &About, from: Side) {
        if let Some(Echoes { sender, receiver }) = about.echoes {
            self.echoes = Some(match from {
                Side::Access => [sender, receiver],
                Side::Core => [receiver, sender],
            });
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
    /// The place of a flow, if it is the dialog's.
    pub(super) fn place_of_flow(&self, session: SessionId, flow: FlowId) -> Option<FlowPlace> {
        let first = number(session, self.slot, 0, Carries::Rtp);
        let at = flow.0.checked_sub(first.0)?;
        let is_here = at < u64::from(MAX_STREAMS) * MAX_FLOWS as u64;
        is_here.then_some(FlowPlace {
            dialog: self.number,
            at,
        })
    }

    /// The slot of its first stream.
    pub(crate) const fn slot(&self) -> u16 {
        self.slot
    }
}
