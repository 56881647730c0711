// SPDX-License-Identifier: Apache-2.0 OR MIT

//! May this packet come in? The cheap refusals, before any crypto.

use std::net::SocketAddr;
use std::time::Instant;

use sallyport_flow::{Carries, Gate, Reason};
use sallyport_srtp::Kind;
use sallyport_srtp::header::{RtcpHeader, RtpHeader};

use crate::burst::Burst;
use crate::flow_table::{SourceFilter, Terms};
use crate::state::WorkerState;

/// Refuses packets while keys are missing, those of strangers and with our own address, of the wrong kind for their port, and
/// without a whole header.
pub(super) fn admit(burst: &mut Burst, state: &WorkerState) {
    for packet in burst.iter_mut().filter(|packet| packet.goes_on()) {
        let Some(entry) = state.flows.entry(packet.flow) else {
            packet.refuse(Reason::UnknownFlow);
            continue;
        };
        let terms = &entry.terms;
        if terms.gate == Gate::Locked {
            packet.refuse(Reason::NoKeys);
            continue;
        }
        if is_stranger(terms, packet.source, state.now) || state.is_forged(packet) {
            packet.refuse(Reason::SourceFiltered);
            continue;
        }
        // A port that carries one of the two must never let the other pass: two flows would
        // protect with indices of one space under one key.
        let fits = match terms.carries {
            Carries::Rtp => packet.kind == Kind::Rtp,
            Carries::Rtcp => packet.kind == Kind::Rtcp,
            Carries::Muxed => true,
        };
        let ssrc = match packet.kind {
            Kind::Rtp => RtpHeader::parse(packet.bytes()).map(|header| header.ssrc),
            Kind::Rtcp => RtcpHeader::parse(packet.bytes()).map(|header| header.ssrc),
        };
        match ssrc {
            Ok(ssrc) if fits => packet.ssrc = ssrc,
            _ => packet.refuse(Reason::Malformed),
        }
    }
}

/// Whether a sender is not the flow's peer, and cannot be. On a protected flow that latches,
/// authentication tells, not the address.
#[inline]
fn is_stranger(terms: &Terms, source: SocketAddr, now: Instant) -> bool {
    match terms.source {
        SourceFilter::Only(peer) => source != peer,
        SourceFilter::Latch(latching) => match latching.latched {
            Some(peer) if source == peer => false,
            Some(peer) => {
                let may_move = terms.protected || latching.may_move(peer, source, now);
                !may_move || !latching.admits(source)
            }
            None => {
                let is_late = latching.is_over(now) && latching.former != Some(source);
                (is_late && !terms.protected) || !latching.admits(source)
            }
        },
    }
}
