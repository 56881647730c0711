// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is known of a session: all of it, and all that the store remembers.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use sallyport_flow::{Flow, Realm};
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::flows::flows;
use crate::session::{Session, SessionId, SessionKeys};
use crate::stream::Stream;
use crate::webrtc::Wanted;

/// A session, by the front end that made it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum State {
    /// One stream, whose keys the client gave.
    Session(Box<Session>, SessionKeys),
    /// Driven by SDP.
    Call(Box<Call>),
}

impl State {
    /// Its flows, in the order of their numbers, without marks.
    pub(crate) fn flows(&self, id: SessionId) -> Vec<Flow> {
        match self {
            Self::Session(session, keys) => {
                let stream = Stream::of_session(session, keys);
                flows(id, stream.as_slice())
            }
            Self::Call(call) => flows(id, &call.streams()),
        }
    }

    /// The ports that it has, by those for RTP.
    pub(crate) fn ports(&self) -> BTreeSet<(Realm, SocketAddr)> {
        match self {
            Self::Session(session, _) => Realm::ALL
                .into_iter()
                .map(|realm| (realm, session.leg(realm).local.rtp))
                .collect(),
            Self::Call(call) => call.ports(),
        }
    }

    /// The sockets that it needs beside its flows.
    pub(crate) fn sockets(&self, id: SessionId) -> Wanted {
        match self {
            Self::Session(..) => Wanted::new(),
            Self::Call(call) => call.sockets(id),
        }
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        match self {
            Self::Session(session, _) => Some(session),
            Self::Call(_) => None,
        }
    }

    pub(crate) fn call(&self) -> Option<&Call> {
        match self {
            Self::Session(..) => None,
            Self::Call(call) => Some(call),
        }
    }
}
