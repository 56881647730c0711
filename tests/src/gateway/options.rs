// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The configuration of a gateway.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::LISTEN;
use crate::{Family, Topology};

/// What a test sets in the configuration file.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Media ports of both realms, inclusive; 40000 to 49999 by default.
    pub ports: [u16; 2],
    /// Media addresses of the two realms, access and core, beside those that the topology has; they
    /// must be the NICs' already.
    pub more_addresses: [Vec<IpAddr>; 2],
    /// Further lines of the section `[realm.access]`, such as `vlan = [100]`.
    pub access: String,
    /// Further lines of the section `[realm.core]`.
    pub core: String,
    /// Further lines of the section `[dataplane]`, such as `queues = 2`.
    pub dataplane: String,
    /// Further lines of the section `[agent]`.
    pub agent: String,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            ports: [40_000, 49_999],
            more_addresses: [Vec::new(), Vec::new()],
            access: String::new(),
            core: String::new(),
            dataplane: String::new(),
            agent: String::new(),
        }
    }
}

impl GatewayOptions {
    /// The configuration file of a gateway with this folder and these pins, in TOML.
    pub(super) fn to_toml(&self, folder: &Path, pin: &Path) -> String {
        let [first, last] = self.ports;
        let mut toml = "version = 1\n".to_owned();
        let access = Family::BOTH.map(Topology::access_address);
        let core = Family::BOTH.map(Topology::core_side_address);
        let [more_access, more_core] = &self.more_addresses;
        for (realm, nic, addresses, more, further) in [
            (
                "access",
                Topology::ACCESS_NIC,
                access,
                more_access,
                &self.access,
            ),
            ("core", Topology::CORE_NIC, core, more_core, &self.core),
        ] {
            let addresses = addresses.iter().chain(more);
            let addresses: Vec<_> = addresses.map(|address| format!("\"{address}\"")).collect();
            let _ = writeln!(
                toml,
                "[realm.{realm}]\nnic = \"{nic}\"\naddresses = [{}]\n\
                 ports = [{first}, {last}]\n{further}",
                addresses.join(", "),
            );
        }
        let _ = writeln!(
            toml,
            "[dataplane]\nsocket = \"{folder}/flow.sock\"\npin = \"{pin}\"\n{}\n\
             [agent]\nlisten = \"{LISTEN}\"\nstore = \"{folder}/sessions.redb\"\n{}",
            self.dataplane,
            self.agent,
            folder = folder.display(),
            pin = pin.display(),
        );
        toml
    }
}
