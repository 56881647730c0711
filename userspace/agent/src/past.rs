// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What flows of a call did that are no longer, as those of ports that it has moved from: it counts
//! for the flows in their places.

use std::collections::BTreeMap;

use sallyport_flow::FlowStatistics;

use crate::call::{Call, FlowPlace};
use crate::session::SessionId;

/// What was counted, by place.
#[derive(Debug, Default)]
pub(crate) struct Past(BTreeMap<FlowPlace, FlowStatistics>);

impl Past {
    /// Takes over what flows of a call did until it was changed.
    pub(crate) fn learn(&mut self, session: SessionId, call: &Call, removed: Vec<FlowStatistics>) {
        for flow in removed {
            if let Some(place) = call.place_of_flow(session, flow.id) {
                add(self.0.entry(place).or_default(), &flow);
            }
        }
    }

    /// Has flows count for those that were in their places, too.
    pub(crate) fn add_to(&self, session: SessionId, call: &Call, flows: &mut [FlowStatistics]) {
        for flow in flows {
            let place = call.place_of_flow(session, flow.id);
            if let Some(past) = place.and_then(|place| self.0.get(&place)) {
                add(flow, past);
            }
        }
    }
}

fn add(flow: &mut FlowStatistics, other: &FlowStatistics) {
    flow.packets_in += other.packets_in;
    flow.bytes_in += other.bytes_in;
    flow.packets_out += other.packets_out;
    flow.bytes_out += other.bytes_out;
    flow.refused.add(&other.refused);
}
