// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What agent and data plane say to each other, and nothing else.
//!
//! A connection over the data plane's Unix socket starts with a [`Hello`] from each side; after
//! that every message is one [`frame`]: a length and a postcard body. The agent sends
//! [`Request`]s, the data plane answers each with a [`Reply`] or a [`Refused`] under the same
//! number, and sends [`Event`]s between them once the agent has subscribed.
//!
//! Keys travel from agent to data plane inside [`Secret`] and never back: no reply and no event
//! has a field that could carry one.

#![forbid(unsafe_code)]

pub mod crypto;
pub mod event;
pub mod flow;
pub mod frame;
pub mod frame_buffer;
pub mod hello;
pub mod reason;
pub mod request;
pub mod secret;
pub mod statistics;

pub use crypto::{Crypto, Mark, MasterKey, Suite};
pub use event::Event;
pub use flow::{
    Carries, Clock, Egress, Flow, FlowId, FlowSummary, Gate, Ingress, Latch, LatchOn, Path, Realm,
    Remote, Source,
};
pub use frame::{FrameError, MAX_FRAME_LEN, from_body, read_frame_len, to_frame};
pub use frame_buffer::FrameBuffer;
pub use hello::{Hello, HelloError, VERSION};
pub use reason::Reason;
pub use request::{ClientMessage, Refused, Reply, Request, ServerMessage, Update};
pub use secret::Secret;
pub use statistics::{
    FlowStatistics, FrameCount, NicStatistics, QueueStatistics, ReceptionReport, Refusals,
    SenderReport, SsrcStatistics, Statistics, WorkerStatistics,
};
