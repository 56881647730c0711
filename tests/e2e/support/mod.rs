// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the tests share: keys, calls, peers, captures.

pub(crate) mod accounts;
pub(crate) mod audio;
pub(crate) mod baresip;
pub(crate) mod call;
pub(crate) mod capture;
pub(crate) mod collector;
pub(crate) mod data_plane;
pub(crate) mod frames;
pub(crate) mod kamailio;
pub(crate) mod libsrtp;
pub(crate) mod ng;
pub(crate) mod noise;
pub(crate) mod opensips;
pub(crate) mod phone;
pub(crate) mod proxy;
pub(crate) mod sip_proxy;
pub(crate) mod sipp;
pub(crate) mod suite;
pub(crate) mod talk;
pub(crate) mod web_peer;
pub(crate) mod wires;

pub(crate) use accounts::expect_balanced;
pub(crate) use call::{Call, End, Kind, Terms};
pub(crate) use capture::Capture;
pub(crate) use collector::Collector;
pub(crate) use data_plane::DataPlane;
pub(crate) use frames::Frames;
pub(crate) use libsrtp::Libsrtp;
pub(crate) use ng::Ng;
pub(crate) use noise::Noise;
pub(crate) use proxy::{Proxy, leg, sdp};
pub(crate) use suite::{Key, Suite};
pub(crate) use web_peer::WebPeer;
