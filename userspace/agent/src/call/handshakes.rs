// SPDX-License-Identifier: Apache-2.0 OR MIT

//! ICE and DTLS of a call: what they need, and what has come of them.

use std::net::SocketAddr;

use sallyport_flow::Crypto;
use sallyport_signalling::dtls::{Dtls, Fingerprint};
use sallyport_signalling::e2ae::{self, Leg, Protection, Setup, Side};
use serde::{Deserialize, Serialize};

use super::Call;
use super::branch::{Branch, Dialog};
use super::party::{origin, said};
use crate::session::{Ends, SessionId};
use crate::webrtc::{Fact, Place, Terms, Wanted};

/// What the peer of a leg has proved, beside what its session description says.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Outcome {
    /// Where media is to go.
    nominated: Option<SocketAddr>,
    /// The same for RTCP with a port of its own.
    nominated_rtcp: Option<SocketAddr>,
    agreed: Option<Agreed>,
}

/// Keys, and the handshake that they are from.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Agreed {
    id: String,
    round: u32,
    /// Whose they are: all who answer one offer have the same id and the same round.
    fingerprints: Vec<Fingerprint>,
    receive: Crypto,
    send: Crypto,
}

impl Outcome {
    /// Where media of a leg is to go, if the peer has found a way.
    pub(super) fn nominated(&self) -> Option<Ends> {
        let rtp = self.nominated?;
        let next = SocketAddr::new(rtp.ip(), rtp.port().saturating_add(1));
        Some(Ends {
            rtp,
            rtcp: self.nominated_rtcp.unwrap_or(next),
        })
    }

    /// The keys that a handshake has given: for what arrives, and what leaves.
    pub(super) fn keys(&self, dtls: &Dtls) -> Option<(&Crypto, &Crypto)> {
        let agreed = self.agreed.as_ref()?;
        let is_it = agreed.id == dtls.id
            && agreed.round == dtls.round
            && agreed.fingerprints == dtls.peer.fingerprints;
        is_it.then_some((&agreed.receive, &agreed.send))
    }
}

/// Whether the peer checks the way to us.
pub(super) fn is_checked(leg: &Leg) -> bool {
    leg.ice.as_ref().is_some_and(|ice| !ice.peer_is_lite)
}

impl Call {
    /// The sockets that what flows needs.
    pub(crate) fn sockets(&self, session: SessionId) -> Wanted {
        let mut wanted = Wanted::new();
        for branch in &self.branches {
            let active = branch.active.and_then(|at| branch.dialogs.get(at));
            let Some(dialog) = active else { continue };
            for (index, setup) in (0..).zip(dialog.call.setups()) {
                let Some(setup) = setup else { continue };
                for side in [Side::Access, Side::Core] {
                    let place = Place {
                        session,
                        dialog: dialog.number,
                        index,
                        side,
                        is_rtcp: false,
                    };
                    add(&mut wanted, branch, dialog, place, setup.leg(side));
                }
            }
        }
        wanted
    }

    /// Takes over what a peer has proved. Returns whether that changes anything.
    pub(crate) fn prove(&mut self, place: Place, fact: &Fact) -> bool {
        let mut dialogs = self
            .branches
            .iter_mut()
            .flat_map(|branch| &mut branch.dialogs);
        let Some(dialog) = dialogs.find(|dialog| dialog.number == place.dialog) else {
            return false;
        };
        let setup = dialog.call.setups().nth(place.index.into()).flatten();
        let Some(leg) = setup.map(|setup| setup.leg(place.side)) else {
            return false;
        };
        let outcomes = dialog.outcomes.entry(place.index).or_default();
        let outcome = &mut outcomes[place.side as usize];
        match fact {
            Fact::Nominated(at) => {
                let nominated = if place.is_rtcp {
                    &mut outcome.nominated_rtcp
                } else {
                    &mut outcome.nominated
                };
                leg.ice.is_some() && nominated.replace(*at) != Some(*at)
            }
            Fact::Keys(dtls, keys) => {
                let wanted = leg.protection.as_ref().and_then(Protection::dtls);
                let is_wanted = wanted.is_some_and(|it| {
                    it.id == dtls.id
                        && it.round == dtls.round
                        && it.peer.fingerprints == dtls.peer.fingerprints
                });
                if is_wanted {
                    outcome.agreed = Some(Agreed {
                        id: dtls.id.clone(),
                        round: dtls.round,
                        fingerprints: dtls.peer.fingerprints.clone(),
                        receive: keys.receive.clone(),
                        send: keys.send.clone(),
                    });
                }
                is_wanted
            }
        }
    }
}

impl Dialog {
    /// The suite of what arrives on one side of a stream; `None` while there are no keys, too.
    pub(crate) fn suite(&self, slot: u16, setup: &Setup, side: Side) -> Option<&'static str> {
        match setup.leg(side).protection.as_ref()? {
            Protection::Sdes(keys) => Some(keys.receive.suite.name()),
            Protection::Dtls(dtls) => {
                let (receive, _) = self.outcome(slot - self.slot, side)?.keys(dtls)?;
                Some(receive.suite.name())
            }
        }
    }

    /// What the peer of a leg has proved.
    pub(super) fn outcome(&self, index: u16, side: Side) -> Option<&Outcome> {
        Some(&self.outcomes.get(&index)?[side as usize])
    }

    /// Takes over what an answer has made of the call. Forgets what belongs to streams that are over,
    /// and where media was to go if somebody else answers now.
    pub(super) fn settle(&mut self, after: e2ae::Call, answerer: Side) {
        let credentials = |setup: Option<&Setup>| {
            let ice = setup?.leg(answerer).ice.as_ref()?;
            Some(ice.local.clone())
        };
        for (index, (before, after)) in (0..).zip(self.call.setups().zip(after.setups())) {
            if after.is_none() {
                self.outcomes.remove(&index);
            } else if credentials(before) != credentials(after)
                && let Some(outcomes) = self.outcomes.get_mut(&index)
            {
                // What we offer keeps our credentials, unless it is for somebody else.
                let outcome = &mut outcomes[answerer as usize];
                outcome.nominated = None;
                outcome.nominated_rtcp = None;
            }
        }
        self.call = after;
    }
}

/// Adds the sockets of a leg.
fn add(wanted: &mut Wanted, branch: &Branch, dialog: &Dialog, place: Place, leg: &Leg) {
    let dtls = leg.protection.as_ref().and_then(Protection::dtls);
    let ice = leg.ice.as_ref().filter(|_| is_checked(leg));
    if dtls.is_none() && ice.is_none() {
        return;
    }
    let outcome = dialog.outcome(place.index, place.side);
    let party = branch.party(dialog, place.side);
    let remote = leg.remote.map(|remote| Ends {
        rtp: remote.rtp,
        rtcp: remote.rtcp,
    });
    let nominated = outcome.and_then(Outcome::nominated);
    let terms = Terms {
        place,
        ice: ice.cloned(),
        dtls: dtls.cloned(),
        has_keys: dtls.is_some_and(|dtls| outcome.is_some_and(|it| it.keys(dtls).is_some())),
        peer: nominated.or(said(party, remote)).map(|ends| ends.rtp),
        from: origin(party, remote),
    };
    if ice.is_some() && !leg.has_rtcp_mux() {
        let rtcp = Terms {
            place: Place {
                is_rtcp: true,
                ..place
            },
            dtls: None,
            has_keys: false,
            ..terms.clone()
        };
        wanted.insert(leg.local.rtcp, rtcp);
    }
    wanted.insert(leg.local.rtp, terms);
}

#[cfg(test)]
mod tests;
