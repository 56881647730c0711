// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Kamailio on the gateway's host, with one of the example configurations.

use std::path::Path;
use std::process::Command;

use sallyport_tests::{Family, GatewayOptions, Topology};

use super::sip_proxy::SipProxy;

/// Starts Kamailio.
pub(crate) enum Kamailio {}

impl Kamailio {
    /// Starts it on the gateway's host, and waits until it answers.
    pub(crate) fn start(topology: &Topology, configuration: &str) -> SipProxy {
        let [access, core, next_hop] = [
            Topology::access_address(Family::V4),
            Topology::core_side_address(Family::V4),
            Topology::core_address(Family::V4),
        ];
        let mut command = command(configuration);
        command
            .args(["-A", &format!("ACCESS={access}")])
            .args(["-A", &format!("CORE={core}")])
            .args(["-A", &format!("NEXT_HOP={next_hop}")]);
        let ue = topology.ue.udp((Topology::ue_address(Family::V4), 0));
        SipProxy::start(&topology.gateway, quiet(command), access, &ue)
    }

    /// Starts one in the core that sends every call back to the gateway.
    pub(crate) fn start_core(topology: &Topology) -> SipProxy {
        let core = Topology::core_address(Family::V4);
        let gateway = Topology::core_side_address(Family::V4);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/kamailio/core.cfg");
        let mut command = Command::new("kamailio");
        command
            .arg("-f")
            .arg(file)
            .args(["-A", &format!("CORE={core}")])
            .args(["-A", &format!("GATEWAY={gateway}")]);
        // Any port might be one of the media ports, where nothing arrives.
        let neighbour = topology.gateway.udp((gateway, 5070));
        SipProxy::start(&topology.core, quiet(command), core, &neighbour)
    }
}

/// A gateway that Kamailio can drive.
pub(crate) fn with_ng() -> GatewayOptions {
    GatewayOptions {
        agent: "[agent.ng]\n".to_owned(),
        ..GatewayOptions::default()
    }
}

/// Kamailio with one of the example configurations.
pub(crate) fn command(configuration: &str) -> Command {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../xtask/deploy/kamailio")
        .join(configuration);
    let mut command = Command::new("kamailio");
    command.arg("-f").arg(file);
    command
}

/// In the foreground, messages to standard error, little memory, nothing outside its folder.
fn quiet(mut command: Command) -> Command {
    command.args(["-DD", "-E", "-m", "32", "-M", "4", "-Y", "."]);
    command
}
