// SPDX-License-Identifier: Apache-2.0 OR MIT

//! OpenSIPS on the gateway's host, with the example configuration.

use std::env;
use std::path::Path;
use std::process::Command;

use sallyport_tests::{Family, Topology};

use super::sip_proxy::SipProxy;

/// Starts OpenSIPS.
pub(crate) enum Opensips {}

impl Opensips {
    /// Starts it on the gateway's host, and waits until it answers. Its modules are where Debian
    /// packages have them, or in `$OPENSIPS_MODULES`.
    pub(crate) fn start(topology: &Topology) -> SipProxy {
        let [access, core, next_hop] = [
            Topology::access_address(Family::V4),
            Topology::core_side_address(Family::V4),
            Topology::core_address(Family::V4),
        ];
        let modules = env::var("OPENSIPS_MODULES")
            .unwrap_or_else(|_| "/usr/lib/x86_64-linux-gnu/opensips/modules/".to_owned());
        let preprocessor = format!(
            "m4 -DACCESS={access} -DCORE={core} -DNEXT_HOP={next_hop} -DNG=127.0.0.1:2223 \
             -DMODULES={modules}"
        );
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../xtask/deploy/opensips/anchor.cfg");
        let mut command = Command::new("opensips");
        // In the foreground, little memory.
        command
            .args(["-F", "-m", "64", "-M", "4", "-p", &preprocessor, "-f"])
            .arg(file);
        let ue = topology.ue.udp((Topology::ue_address(Family::V4), 0));
        SipProxy::start(&topology.gateway, command, access, &ue)
    }
}
