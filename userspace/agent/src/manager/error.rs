// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Why the manager did not do what it was asked.

use std::fmt;
use std::net::IpAddr;

use sallyport_flow::{Realm, Request};

use crate::data_plane::DataPlaneError;
use crate::ports::Exhausted;
use crate::store::StoreError;

/// Why the manager did not do what it was asked.
#[derive(Debug)]
pub(crate) enum ManagerError {
    /// The data plane is not there, or not yet in step.
    NotConnected,
    /// No session has this id.
    UnknownSession,
    /// A leg asks for a local address that its realm does not have.
    AddressNotInRealm { realm: Realm, known: Vec<IpAddr> },
    /// The local address that a leg asks for and its peer's are not of one family.
    OtherFamily { realm: Realm },
    /// The realm has no address of the peer's family.
    NoAddressOfFamily { realm: Realm },
    /// A leg's sending key is in use.
    KeyInUse { realm: Realm },
    /// All ports are taken.
    Exhausted(Exhausted),
    /// The kernel has no random numbers.
    Random(getrandom::Error),
    /// As many sessions as there may be.
    TooMany,
    /// More flows than one session may have.
    TooManyFlows { found: usize },
    /// No new sessions any more.
    Draining,
    /// The session could not be remembered.
    Store(StoreError),
    /// The data plane did not do its part.
    DataPlane(DataPlaneError),
}

impl fmt::Display for ManagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str(
                "data plane not connected; start sallyport dataplane with the same configuration, \
                 then ask again",
            ),
            Self::UnknownSession => f.write_str("no such session; GET /v1/sessions lists them"),
            Self::AddressNotInRealm { realm, known } => {
                let known: Vec<_> = known.iter().map(IpAddr::to_string).collect();
                write!(
                    f,
                    "not an address of realm {realm}; leave it out or use one of {}",
                    known.join(", ")
                )
            }
            Self::OtherFamily { realm } => write!(
                f,
                "the peer has an address of the other IP version; give {realm}.address one of the \
                 peer's version or leave it out"
            ),
            Self::NoAddressOfFamily { realm } => write!(
                f,
                "realm {realm} has no local address of the peer's IP version; add one to \
                 realm.{realm}.addresses in the configuration"
            ),
            Self::KeyInUse { .. } => f.write_str(
                "this key protects another leg already; draw a new random one for each leg",
            ),
            Self::Exhausted(exhausted) => exhausted.fmt(f),
            Self::TooMany => f.write_str(
                "as many sessions as there may be; end some, or raise agent.max_sessions",
            ),
            Self::TooManyFlows { found } => write!(
                f,
                "the call would have {found} flows, more than {}; end some of its branches first",
                Request::PAGE
            ),
            Self::Draining => {
                f.write_str("this agent drains and takes no new session; ask another")
            }
            Self::Random(error) => write!(f, "draw a random session id: {error}; ask again"),
            Self::Store(error) => error.fmt(f),
            Self::DataPlane(error) => error.fmt(f),
        }
    }
}

impl From<Exhausted> for ManagerError {
    fn from(error: Exhausted) -> Self {
        Self::Exhausted(error)
    }
}

impl From<StoreError> for ManagerError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<DataPlaneError> for ManagerError {
    fn from(error: DataPlaneError) -> Self {
        Self::DataPlane(error)
    }
}
