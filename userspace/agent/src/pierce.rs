// SPDX-License-Identifier: Apache-2.0 OR MIT

//! NATs are opened by empty packets, as long as nothing has arrived from behind them.
//!
//! The kernel sends them: from a media port that is bound for that moment only, since what arrives
//! there never gets to it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use sallyport_flow::FlowId;
use tokio::time::sleep;
use tracing::debug;

use crate::flows::{carried, end, number};
use crate::manager::{Entry, Manager};
use crate::session::SessionId;
use crate::state::State;
use crate::stream::{Peer, Stream};

/// How long after each other. A peer that is silent for longer has other reasons.
const WAITS: [Duration; 8] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Opens the NATs of those of a call whose proxy wants that, meanwhile.
pub(crate) fn open(manager: &Arc<Manager>, call_id: &str) {
    let Some(entry) = manager.entry_of_call(call_id) else {
        return;
    };
    if !closed(&entry).is_empty() {
        tokio::spawn(send(Arc::clone(manager), entry));
    }
}

async fn send(manager: Arc<Manager>, entry: Arc<Entry>) {
    for wait in WAITS {
        sleep(wait).await;
        let mut closed = closed(&entry);
        let flows = closed.iter().map(|(flow, _)| *flow).collect();
        let Ok(data_plane) = manager.connection().await else {
            continue;
        };
        // Some may be gone meanwhile, with their call.
        let Ok(statistics) = data_plane.flow_statistics(flows).await else {
            continue;
        };
        let has_sent = |id| {
            let mut flows = statistics.iter();
            flows.any(|flow| flow.id == id && flow.packets_in > 0)
        };
        closed.retain(|(flow, _)| !has_sent(*flow));
        if closed.is_empty() {
            return;
        }
        for (_, Way { local, remote }) in closed {
            if let Err(error) = UdpSocket::bind(local).and_then(|from| from.send_to(&[], remote)) {
                debug!(%local, %remote, "open a NAT: {error}");
            }
        }
    }
}

/// From where to where an empty packet goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Way {
    local: SocketAddr,
    remote: SocketAddr,
}

/// The flows behind NATs that are to be opened.
fn closed(entry: &Entry) -> Vec<(FlowId, Way)> {
    let state = entry.state();
    let call = state.as_deref().and_then(State::call);
    call.filter(|call| call.pierces())
        .map_or_else(Vec::new, |call| ways(entry.id, &call.streams()))
}

fn ways(id: SessionId, streams: &[Stream]) -> Vec<(FlowId, Way)> {
    let mut ways = Vec::new();
    for stream in streams {
        for (side, leg) in stream
            .legs
            .iter()
            .enumerate()
            .filter(|(_, leg)| leg.pierces)
        {
            let (Peer::Known(remote)
            | Peer::Learned {
                signalled: Some(remote),
                ..
            }) = leg.peer
            else {
                continue;
            };
            for carries in carried(leg.is_muxed()) {
                let way = Way {
                    local: end(leg.local, *carries),
                    remote: end(remote, *carries),
                };
                ways.push((number(id, stream.slot, side, *carries), way));
            }
        }
    }
    ways
}
