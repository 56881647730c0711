// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Why an offer, an answer or a deletion is refused.

use std::fmt;

use sallyport_signalling::e2ae;
use sallyport_signalling::sdp::SdpError;

use crate::manager::ManagerError;
use crate::ports::Exhausted;

/// Why an offer, an answer or a deletion is refused. The call stays as it was.
#[derive(Debug)]
pub(crate) enum CallError {
    /// There is no such call.
    UnknownCall,
    /// The tags or the branch fit no part of the call.
    Dialogue,
    /// The SDP cannot be read.
    Sdp(SdpError),
    /// The offer has more m-lines than a call may have.
    Streams { found: usize, max: usize },
    /// The call has forked into more dialogs than it may.
    Dialogs { max: u16 },
    /// A peer's address is of another IP version than the one that it was offered.
    Family,
    /// A plain peer says a host name in place of its address, and nothing else says where it is.
    HostName(String),
    /// No realm has this name.
    Interface(String),
    /// What is asked for is left to others.
    Unsupported(&'static str),
    /// What is offered or answered cannot be.
    Refused(e2ae::Refusal),
    /// It cannot be carried out.
    Manager(ManagerError),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCall => f.write_str("no such call; make an offer first"),
            Self::Dialogue => {
                f.write_str("the tags fit no part of the call; repeat those of its offer")
            }
            Self::Sdp(error) => error.fmt(f),
            Self::Streams { found, max } => write!(
                f,
                "{found} m= lines; offer {max} at most, or raise agent.max_streams"
            ),
            Self::Dialogs { max } => {
                write!(f, "the call has forked into {max} dialogs; set it up again")
            }
            Self::Family => f.write_str(
                "a peer's address is of another IP version than ours; ask for it with the offer's \
                 address-family",
            ),
            Self::HostName(name) => write!(
                f,
                "media at {name}: host names are not looked up; say the address in the SDP, or \
                 beside it (media-address; over HTTP media_address)"
            ),
            Self::Interface(name) => write!(
                f,
                "no realm has the name {name:?}; use access or core, or name it in \
                 agent.ng.interfaces"
            ),
            Self::Unsupported(what) => f.write_str(what),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Manager(error) => error.fmt(f),
        }
    }
}

impl From<SdpError> for CallError {
    fn from(error: SdpError) -> Self {
        Self::Sdp(error)
    }
}

impl From<e2ae::Refusal> for CallError {
    fn from(refusal: e2ae::Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ManagerError> for CallError {
    fn from(error: ManagerError) -> Self {
        match error {
            ManagerError::UnknownSession => Self::UnknownCall,
            error => Self::Manager(error),
        }
    }
}

impl From<Exhausted> for CallError {
    fn from(exhausted: Exhausted) -> Self {
        Self::Manager(exhausted.into())
    }
}
