// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Calls are set up: sockets at both ends, and a session in the gateway between them.

use std::io;

use base64::prelude::{BASE64_STANDARD, Engine};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sallyport_benches::load::{Call, Direction, Endpoints, Peer, Plan, Sockets, Tallies};
use sallyport_tests::{Gateway, Topology};
use serde_json::{Value, json};

/// Sets up all calls; returns the user equipment's end and the core network's end.
pub(crate) fn set_up(
    plan: Plan,
    topology: &Topology,
    gateway: &Gateway<'_>,
    tallies: &Tallies,
) -> io::Result<[Peer; 2]> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let mut ue = Peer::new(Direction::ToCore, plan)?;
    let mut core = Peer::new(Direction::ToAccess, plan)?;
    // Below the range from which the kernel takes ports for others.
    for (call, port) in Call::all(plan).iter().zip((20_000..).step_by(2)) {
        let bind = |address| Sockets::bind(address, port, call.muxed);
        let ue_sockets = topology
            .ue
            .run(|| bind(Topology::ue_address(call.family)))?;
        let core_sockets = topology
            .core
            .run(|| bind(Topology::core_address(call.family)))?;
        let session = gateway.create_session(&json!({
            "access": access_leg(call, ue_sockets.endpoints()?),
            "core": leg(call, "RTP/AVP", core_sockets.endpoints()?),
        }));
        let endpoints = |[rtp, rtcp]: [_; 2]| Endpoints { rtp, rtcp };
        ue_sockets.connect(endpoints(session.access()))?;
        core_sockets.connect(endpoints(session.core()))?;
        ue.add(call, ue_sockets, tallies)?;
        core.add(call, core_sockets, tallies)?;
    }
    Ok([ue, core])
}

fn access_leg(call: &Call, ue: Endpoints) -> Value {
    let key = |direction| format!("inline:{}", BASE64_STANDARD.encode(call.key(direction)));
    let mut leg = leg(call, "RTP/SAVP", ue);
    leg["suite"] = call.suite.name().into();
    leg["receive"] = key(Direction::ToCore).into();
    leg["send"] = key(Direction::ToAccess).into();
    leg
}

fn leg(call: &Call, profile: &str, peer: Endpoints) -> Value {
    let mut leg = json!({
        "profile": profile,
        "rtcp_mux": call.muxed,
        "remote": peer.rtp.to_string(),
    });
    if !call.muxed {
        leg["remote_rtcp"] = peer.rtcp.to_string().into();
    }
    leg
}
