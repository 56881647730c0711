// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is answered. Made from types that cannot hold a key.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use sallyport_flow::{Refusals, Statistics};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::flows::Counters;
use crate::manager::Manager;
use crate::ng::Control;
use crate::session::{Leg, Session};

/// A session in short.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    state: &'static str,
    access: LegSummary,
    core: LegSummary,
}

impl Summary {
    pub(crate) fn active(session: Session) -> Self {
        Self::new(session, "active")
    }

    pub(crate) fn deleted(session: Session) -> Self {
        Self::new(session, "deleted")
    }

    fn new(session: Session, state: &'static str) -> Self {
        let Session {
            id,
            name,
            access,
            core,
        } = session;
        Self {
            id: id.into(),
            name: name.map(String::from),
            state,
            access: (&access).into(),
            core: (&core).into(),
        }
    }
}

#[derive(Debug, Serialize)]
struct LegSummary {
    profile: &'static str,
    rtcp_mux: bool,
    local: SocketAddr,
    local_rtcp: SocketAddr,
    /// An address and port, or `any`.
    remote: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_rtcp: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suite: Option<&'static str>,
}

impl From<&Leg> for LegSummary {
    fn from(leg: &Leg) -> Self {
        Self {
            profile: leg.profile.name(),
            rtcp_mux: leg.is_muxed(),
            local: leg.local.rtp,
            local_rtcp: leg.local.rtcp,
            remote: leg
                .remote
                .map_or_else(|| "any".to_owned(), |ends| ends.rtp.to_string()),
            remote_rtcp: leg.remote.map(|ends| ends.rtcp),
            suite: leg.profile.suite().map(sallyport_flow::Suite::name),
        }
    }
}

/// A session with what it did.
#[derive(Debug, Serialize)]
pub(crate) struct WithCounters {
    #[serde(flatten)]
    pub(crate) session: Summary,
    pub(crate) counters: Counters,
}

/// The counters of the data plane.
pub(crate) fn statistics(statistics: &Statistics) -> Value {
    let nics = statistics.nics.iter().map(|nic| {
        let verdicts: Map<_, _> = nic
            .verdicts
            .iter()
            .map(|(name, count)| (name.clone(), json!(count)))
            .collect();
        json!({ "name": nic.name, "rung": nic.rung, "verdicts": verdicts })
    });
    let workers = statistics.workers.iter().map(|worker| {
        let frames = worker.frames;
        json!({
            "queue": worker.queue,
            "cpu": worker.cpu,
            "bursts": worker.bursts,
            "packets_in": worker.packets_in,
            "packets_out": worker.packets_out,
            "refused": Refused(&worker.refused),
            "frames": {
                "total": frames.total,
                "free": frames.free,
                "receive": frames.receive,
                "transmit": frames.transmit,
                "lost": frames.lost(),
            },
            "queues": worker.queues,
        })
    });
    json!({
        "flows": statistics.flows,
        "nics": nics.collect::<Vec<_>>(),
        "workers": workers.collect::<Vec<_>>(),
    })
}

/// The agent itself, and what its ng front end has counted.
pub(crate) fn agent(manager: &Manager, ng: Option<&Control>) -> Value {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let ng = ng.map(|ng| {
        let counters = ng.counters();
        json!({
            "requests": count(&counters.requests),
            "errors": count(&counters.errors),
            "limited": count(&counters.limited),
            "repeated": count(&counters.repeated),
            "unknown_options": count(&counters.unknown_options),
            "unsupported_options": count(&counters.unsupported_options),
            "bad_options": count(&counters.bad_options),
            "without_cookie": count(&counters.without_cookie),
            "strangers": count(&counters.strangers),
            "overload": count(&counters.overload),
        })
    });
    let tally = &manager.tally;
    json!({
        "sessions": manager.count(),
        "draining": manager.is_draining(),
        "calls": {
            "managed": tally.managed.get(),
            "rejected": tally.rejected.get(),
            "ended": tally.ended.get(),
            "unanswered": tally.unanswered.get(),
            "inactive": tally.inactive.get(),
            "held": tally.held.get(),
            "total": tally.total.get(),
            "lost": tally.lost.get(),
        },
        "ng": ng,
    })
}

/// Writes the packets that did not leave as an object: each reason that was counted.
pub(crate) fn refusals<S: Serializer>(refused: &Refusals, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(None)?;
    for (reason, count) in refused.iter() {
        map.serialize_entry(reason.name(), &count)?;
    }
    map.end()
}

#[derive(Serialize)]
struct Refused<'a>(#[serde(serialize_with = "refusals")] &'a Refusals);
