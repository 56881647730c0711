// SPDX-License-Identifier: Apache-2.0 OR MIT

//! May this packet come in? The cheap refusals, before any crypto.

use sallyport_flow::{Carries, Reason};
use sallyport_srtp::Kind;
use sallyport_srtp::header::{RtcpHeader, RtpHeader};

use crate::burst::Burst;
use crate::flow_table::{FlowEntry, SourceFilter};
use crate::state::WorkerState;

/// Refuses packets of strangers, of the wrong kind for their port, and without a whole header.
pub(super) fn admit(burst: &mut Burst, state: &WorkerState) {
    for packet in burst.iter_mut().filter(|packet| packet.goes_on()) {
        let Some(entry) = state.flows.entry(packet.flow) else {
            packet.refuse(Reason::UnknownFlow);
            continue;
        };
        if is_stranger(entry, packet.source) {
            packet.refuse(Reason::SourceFiltered);
            continue;
        }
        // A port that carries one of the two must never let the other pass: two flows would
        // protect with indices of one space under one key.
        let fits = match entry.carries {
            Carries::Rtp => packet.kind == Kind::Rtp,
            Carries::Rtcp => packet.kind == Kind::Rtcp,
            Carries::Muxed => true,
        };
        let is_whole = match packet.kind {
            Kind::Rtp => RtpHeader::parse(packet.bytes()).is_ok(),
            Kind::Rtcp => RtcpHeader::parse(packet.bytes()).is_ok(),
        };
        if !fits || !is_whole {
            packet.refuse(Reason::Malformed);
        }
    }
}

/// Whether a sender is not the flow's peer. On a protected flow that latches, authentication
/// tells, not the address.
#[inline]
fn is_stranger(entry: &FlowEntry, source: std::net::SocketAddr) -> bool {
    match entry.source {
        SourceFilter::Only(peer) => source != peer,
        SourceFilter::Latch(Some(peer)) => !entry.protected && source != peer,
        SourceFilter::Latch(None) => false,
    }
}
