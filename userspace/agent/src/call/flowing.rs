// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How a call flows: its streams, as the data plane has them.

use sallyport_flow::{Crypto, FlowId, Gate, MasterKey, Secret};
use sallyport_signalling::e2ae::{self, Protection, Side};
use sallyport_signalling::sdes;

use super::Call;
use super::branch::{Branch, Dialog, FlowPlace};
use super::handshakes::{Outcome, is_checked};
use super::party::{Party, checked_peer, peer};
use crate::session::{Ends, SessionId};
use crate::stream::{Handshakes, Stream, StreamLeg, clock};

impl Call {
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

    /// The place of a flow, if it is the call's.
    pub(crate) fn place_of_flow(&self, session: SessionId, flow: FlowId) -> Option<FlowPlace> {
        let mut dialogs = self.branches.iter().flat_map(|branch| &branch.dialogs);
        dialogs.find_map(|dialog| dialog.place_of_flow(session, flow))
    }

    fn stream(
        &self,
        branch: &Branch,
        dialog: &Dialog,
        slot: u16,
        setup: &e2ae::Setup,
        expected: Option<(Side, &sdes::Crypto)>,
    ) -> Stream {
        let echoes = branch.echoes;
        let leg = |side: Side| {
            let leg = setup.leg(side);
            let party = branch.party(dialog, side);
            let index = slot - dialog.slot;
            // Who is held in the old way, or says a host name, is still where it was.
            let known = party.and_then(|party| party.known(index));
            let remote = leg.remote.or(known);
            let protection = leg.protection.as_ref();
            let outcome = dialog.outcome(index, side);
            let keys = match protection {
                None => None,
                Some(Protection::Sdes(keys)) => Some((crypto(&keys.receive), crypto(&keys.send))),
                Some(Protection::Dtls(dtls)) => {
                    let agreed = outcome.and_then(|outcome| outcome.keys(dtls));
                    agreed.map(|(receive, send)| (receive.clone(), send.clone()))
                }
            };
            let (receive, send) = keys.unzip();
            let handshakes = Handshakes {
                ice: is_checked(leg),
                dtls: protection.is_some_and(|protection| protection.dtls().is_some()),
            };
            let is_open = match side {
                Side::Access => setup.to_core,
                Side::Core => setup.to_access,
            };
            StreamLeg {
                realm: branch.realms()[side as usize],
                local: ends(leg.local),
                peer: if handshakes.ice {
                    let nominated = outcome.and_then(Outcome::nominated);
                    let reachable = remote.filter(|it| it.rtp.is_ipv4() == leg.local.rtp.is_ipv4());
                    checked_peer(party, reachable.map(ends), nominated, protection.is_some())
                } else {
                    peer(party, remote.map(ends), protection.is_some())
                },
                handshakes,
                clocks: leg.clocks.iter().copied().map(clock).collect(),
                receive,
                expect: expected
                    .filter(|(of, _)| *of == side && protection.is_some())
                    .map(|(_, keys)| crypto(keys)),
                send,
                gate: if is_open && !self.is_silenced && echoes.is_none_or(|it| it[side as usize]) {
                    Gate::Open
                } else {
                    Gate::Closed
                },
                dscp: self.dscp,
                pierces: party.is_some_and(Party::is_pierced),
            }
        };
        Stream {
            slot,
            legs: [leg(Side::Access), leg(Side::Core)],
            is_echo: echoes.is_some(),
        }
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
