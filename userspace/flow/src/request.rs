// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the agent asks and the data plane answers.

use core::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Event, Flow, FlowId, FlowStatistics, FlowSummary, Realm, Statistics, Suite};

/// From the agent to the data plane.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClientMessage {
    /// The agent's number for this request; the answer carries it.
    pub number: u32,
    /// What it wants.
    pub request: Request,
}

/// From the data plane to the agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ServerMessage {
    /// The answer to the request of this number.
    Answer {
        /// The number of the request.
        number: u32,
        /// What was done, or why nothing was.
        result: Result<Reply, Refused>,
    },
    /// Something happened.
    Event(Event),
}

/// What the agent wants. Each is done wholly or not at all.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Request {
    /// Install, change and remove flows; at most [`Request::PAGE`] together.
    Update(Update),
    /// List flows in the order of their numbers, at most [`Request::PAGE`] in one answer.
    List {
        /// List only flows with a greater number.
        after: Option<FlowId>,
    },
    /// The counters of these flows, at most [`Request::PAGE`] in one request.
    FlowStatistics(Vec<FlowId>),
    /// The counters of the whole data plane.
    Statistics,
    /// Send events from now on.
    Subscribe,
}

impl Request {
    /// How many flows one request or answer may name.
    pub const PAGE: usize = 1000;
}

/// What is to become of some flows. Each worker does all of it between two packets. Once it is
/// answered it is done.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Update {
    /// Flows to remove: their packets are refused from then on.
    pub remove: Vec<FlowId>,
    /// What flows that are installed become. Realm, local address and port of arrival must stay.
    ///
    /// What stays as it was keeps its state: a [`Crypto`](crate::Crypto) its contexts (also when
    /// `expect` becomes `unprotect`), a [`Latch`](crate::Latch) with the same `signalled` who is
    /// latched, and counters go on in any case. When another [`Crypto`](crate::Crypto) takes the
    /// place of `unprotect`, packets under the old one are taken for [`Flow::OVERLAP`] more.
    pub change: Vec<Flow>,
    /// Flows to install: their packets are served from then on.
    ///
    /// A flow with keys that another flow has used to protect must bring marks. Only RTCP may come
    /// without, from a flow that this request removes or changes: as when the leg it arrives on
    /// starts or ends to multiplex.
    pub install: Vec<Flow>,
}

/// What was done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Reply {
    /// All flows are as they should be; these are the last counters of those that were removed.
    Updated(Vec<FlowStatistics>),
    /// The flows, in the order of their numbers.
    Flows(Vec<FlowSummary>),
    /// The counters, in the order asked for.
    FlowStatistics(Vec<FlowStatistics>),
    /// The counters of the data plane.
    Statistics(Statistics),
    /// Events will be sent.
    Subscribed,
}

/// Why nothing was done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub enum Refused {
    /// A flow has this number already.
    FlowExists(FlowId),
    /// No flow has this number.
    UnknownFlow(FlowId),
    /// One request names this flow more than once.
    NamedTwice(FlowId),
    /// Another flow has this local address and port.
    AddressInUse {
        /// The address and port.
        local: SocketAddr,
        /// The flow that has it.
        by: FlowId,
    },
    /// The realm's configuration does not have this local address and port.
    NotInRealm {
        /// The realm.
        realm: Realm,
        /// The address and port.
        local: SocketAddr,
    },
    /// The key does not fit the suite.
    KeyLength {
        /// The flow.
        flow: FlowId,
        /// Its suite.
        suite: Suite,
        /// How many bytes the key and salt have.
        found: usize,
    },
    /// A field has a value outside its range.
    OutOfRange {
        /// The flow.
        flow: FlowId,
        /// The field.
        field: String,
    },
    /// There is no room for more flows.
    Full {
        /// How many there may be.
        limit: u32,
    },
    /// More than [`Request::PAGE`] flows in one request.
    PageTooLong,
    /// The kernel or a worker did not do its part.
    Failed(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FlowExists(id) => write!(f, "flow {id} is installed already"),
            Self::UnknownFlow(id) => write!(f, "no flow {id} is installed"),
            Self::NamedTwice(id) => write!(f, "flow {id} is named twice in one request"),
            Self::AddressInUse { local, by } => write!(f, "{local} belongs to flow {by}"),
            Self::NotInRealm { realm, local } => write!(
                f,
                "{local} is not an address and port of realm {realm}; give agent and data plane \
                 the same configuration"
            ),
            Self::KeyLength { flow, suite, found } => write!(
                f,
                "flow {flow}: master key and salt have {found} bytes, {suite} takes {}",
                suite.key_len()
            ),
            Self::OutOfRange { flow, field } => write!(f, "flow {flow}: {field} is out of range"),
            Self::Full { limit } => write!(
                f,
                "all {limit} flows are in use; raise dataplane.max_flows in the configuration"
            ),
            Self::PageTooLong => {
                write!(
                    f,
                    "more than {} flows in one request; send several",
                    Request::PAGE
                )
            }
            Self::Failed(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for Refused {}
