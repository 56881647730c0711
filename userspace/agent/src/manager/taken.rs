// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a request takes, and gives back if it fails.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use sallyport_flow::Realm;

use super::{Manager, ManagerError, lock};
use crate::ports::{Exhausted, Version};
use crate::session::{Ends, Leg, LegRequest, SessionKeys};

/// What a request has taken and is given back, unless it is kept.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    pub(super) manager: &'a Manager,
    pub(super) ports: BTreeSet<(Realm, SocketAddr)>,
    pub(super) keys: Option<SessionKeys>,
}

impl Taken<'_> {
    /// Ports for RTP and RTCP, of any address that fits.
    pub(crate) fn any(
        &mut self,
        realm: Realm,
        version: Option<Version>,
    ) -> Option<Result<Ends, Exhausted>> {
        let taken = lock(&self.manager.ports).take_any(realm, version)?;
        Some(taken.map(|rtp| self.pair(realm, rtp)))
    }

    pub(super) fn leg(
        &mut self,
        realm: Realm,
        address: IpAddr,
        request: &LegRequest,
    ) -> Result<Leg, Exhausted> {
        let rtp = lock(&self.manager.ports).take(realm, address)?;
        let mut local = self.pair(realm, rtp);
        if request.rtcp_mux {
            local.rtcp = rtp;
        }
        Ok(Leg {
            profile: request.profile(),
            local,
            remote: request.remote,
        })
    }

    fn pair(&mut self, realm: Realm, rtp: SocketAddr) -> Ends {
        self.ports.insert((realm, rtp));
        let mut rtcp = rtp;
        // The odd port behind an even one.
        rtcp.set_port(rtp.port() | 1);
        Ends { rtp, rtcp }
    }

    pub(super) fn keys(&mut self, keys: &SessionKeys) -> Result<(), ManagerError> {
        lock(&self.manager.send_keys)
            .add(keys)
            .map_err(|realm| ManagerError::KeyInUse { realm })?;
        self.keys = Some(keys.clone());
        Ok(())
    }

    /// Keeps all of it. Returns the ports.
    pub(super) fn keep(mut self) -> BTreeSet<(Realm, SocketAddr)> {
        self.keys = None;
        std::mem::take(&mut self.ports)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.ports.is_empty() {
            let mut ports = lock(&self.manager.ports);
            for (realm, rtp) in &self.ports {
                ports.free(*realm, *rtp);
            }
        }
        if let Some(keys) = &self.keys {
            lock(&self.manager.send_keys).remove(keys);
        }
    }
}
