// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Learns the peer from packets that may teach it, and finds the way out.

use sallyport_flow::{Gate, Reason};
use sallyport_srtp::Kind;

use crate::burst::Burst;
use crate::flow_table::{FarEnd, SourceFilter, Terms};
use crate::reception::Arrived;
use crate::state::{Event, WorkerState};

/// Latches, counts, and refuses RTP at a closed gate and packets whose way out is not known. Every
/// packet that gets here is the peer's: it has authenticated if its flow is protected.
///
/// So the gate is behind the crypto contexts for arriving packets, whose rollover counter has to
/// follow a peer that goes on sending, and in front of those for leaving ones: where the receiver
/// stands is where the last packet left.
pub(super) fn route(burst: &mut Burst, state: &mut WorkerState) {
    let now = state.elapsed();
    for packet in burst.iter_mut().filter(|packet| packet.goes_on()) {
        let Some(entry) = state.flows.entry_mut(packet.flow) else {
            packet.refuse(Reason::UnknownFlow);
            continue;
        };
        let terms = &mut entry.terms;
        if let SourceFilter::Latch(latching) = &mut terms.source
            && (latching.latched != Some(packet.source) || !latching.told)
        {
            // On a plain flow only one latches, also within one burst.
            if !terms.protected
                && let Some(peer) = latching.latched
                && peer != packet.source
                && !latching.may_move(peer, packet.source, state.now)
            {
                packet.refuse(Reason::SourceFiltered);
                continue;
            }
            let may_latch =
                !latching.has_left(packet.source, state.now) && !latching.is_early(state.now);
            if terms.protected || may_latch {
                latching.latch(packet.source, state.now);
                // If there is no room, as after a restart with many calls, then with the next
                // packet.
                latching.told = state.events.offer(Event::Latched {
                    flow: entry.id,
                    remote: packet.source,
                    round: latching.round,
                });
            }
        }
        entry.counters.last = Some(state.now);
        let counters = &mut entry.counters;
        match packet.kind {
            Kind::Rtp => {
                if let (Some(receptions), Some(arrived)) = (
                    &mut counters.observed.receptions,
                    Arrived::parse(packet.bytes(), now),
                ) {
                    receptions.count(arrived, &entry.terms.clocks);
                }
                if entry.terms.gate == Gate::Closed {
                    packet.refuse(Reason::GateClosed);
                    continue;
                }
            }
            Kind::Rtcp => {
                if let Some(reports) = &mut counters.observed.reports {
                    reports.learn(packet.bytes(), now);
                }
            }
        }
        let is_resolved = far_end(&entry.terms, packet.kind)
            .is_some_and(|far_end| state.hops.header(far_end.hop).is_some());
        if !is_resolved {
            packet.refuse(Reason::NoRoute);
        }
    }
}

/// Where a packet of this kind goes, if that is known.
#[inline]
pub(super) const fn far_end(terms: &Terms, kind: Kind) -> Option<&FarEnd> {
    match kind {
        Kind::Rtp => terms.rtp.as_ref(),
        Kind::Rtcp => terms.rtcp.as_ref(),
    }
}
