// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a peer says about itself, whatever the profile.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Ends, Leg, MediaRefusal, Protection};
use crate::dtls::DtlsPeer;
use crate::ice::{Credentials, Ice};
use crate::sdes::Crypto;
use crate::sdp::{Clock, Connection, Direction, Media, Sdp};

/// What one peer says about itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Peer {
    /// Where it is; `None` for nowhere and for a host name.
    ends: Option<Ends>,
    /// As it said that it is nowhere.
    nowhere: Option<Connection>,
    direction: Direction,
    pub(super) has_rtcp_mux: bool,
    pub(super) ice: Option<PeerIce>,
    pub(super) dtls: Option<DtlsPeer>,
    mid: Option<String>,
    clocks: Vec<Clock>,
}

/// ICE of one peer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct PeerIce {
    pub(super) credentials: Credentials,
    pub(super) is_lite: bool,
}

impl Peer {
    /// `takes_ice`: whether the peer gets the ICE that it has.
    pub(super) fn new(sdp: &Sdp, media: &Media, takes_ice: bool) -> Result<Self, MediaRefusal> {
        let connection = sdp.connection(media).ok_or(MediaRefusal::Address)?;
        let rtcp_ip = media.rtcp().and_then(|rtcp| rtcp.address);
        if connection.ip().into_iter().chain(rtcp_ip).any(is_of_many) {
            return Err(MediaRefusal::Address);
        }
        let port = media.port();
        let ends = connection.ip().filter(|ip| !ip.is_unspecified()).map(|ip| {
            let rtcp = media.rtcp().map_or((ip, port.saturating_add(1)), |rtcp| {
                (rtcp.address.unwrap_or(ip), rtcp.port)
            });
            Ends {
                rtp: (ip, port).into(),
                rtcp: rtcp.into(),
            }
        });
        // Somebody on the way has changed the address and not the candidates, so there is no
        // ICE (RFC 8839 section 5.3).
        let is_mismatch = media.section().attribute("ice-mismatch").is_some();
        let ice = Credentials::parse(sdp, media)
            .filter(|_| takes_ice && !is_mismatch)
            .map(|credentials| PeerIce {
                credentials,
                is_lite: sdp.session().attribute("ice-lite").is_some(),
            });
        // With ICE no address at all means that there are no candidates yet (RFC 8840 section 4).
        let nowhere = Some(connection).filter(|at| at.is_nowhere() && ice.is_none());
        Ok(Self {
            ends,
            nowhere,
            direction: sdp.direction(media),
            has_rtcp_mux: media.has_rtcp_mux(),
            ice,
            dtls: DtlsPeer::parse(sdp, media),
            mid: media.section().attribute("mid").map(str::to_owned),
            clocks: media.clocks().take(Leg::MAX_CLOCKS).collect(),
        })
    }

    /// Whether keys are from DTLS, in a protected profile.
    pub(super) fn wants_dtls(&self, media: &Media) -> bool {
        let has_keys = media.section().attribute(Crypto::NAME).is_some();
        media.profile().is_dtls() || (self.dtls.is_some() && !has_keys)
    }

    /// Its end of a handshake.
    pub(super) fn dtls(&self) -> Result<DtlsPeer, MediaRefusal> {
        let dtls = self.dtls.clone();
        dtls.filter(|dtls| !dtls.fingerprints.is_empty())
            .ok_or(MediaRefusal::Fingerprint)
    }

    /// Where its counterpart is told to send.
    pub(super) fn connection(&self, local: Ends) -> Connection {
        let nowhere = self.nowhere.clone();
        nowhere.unwrap_or_else(|| local.rtp.ip().into())
    }

    pub(super) const fn sends(&self) -> bool {
        self.direction.sends()
    }

    pub(super) const fn receives(&self) -> bool {
        self.direction.receives() && self.nowhere.is_none()
    }

    pub(super) fn leg(
        &self,
        local: Ends,
        has_rtcp_mux: bool,
        protection: Option<Protection>,
        ice: Option<Credentials>,
    ) -> Leg {
        let mux = |ends: Ends| if has_rtcp_mux { ends.muxed() } else { ends };
        let ice = ice.zip(self.ice.as_ref()).map(|(local, peer)| Ice {
            local,
            remote: peer.credentials.clone(),
            peer_is_lite: peer.is_lite,
        });
        let has_dtls = protection.as_ref().is_some_and(|it| it.dtls().is_some());
        let is_browser = ice.is_some() || has_dtls;
        // Without keys media may start before the peer has found a way, as it may never do.
        let is_checked = protection.is_some() && ice.as_ref().is_some_and(|ice| !ice.peer_is_lite);
        let remote = self.ends.map(mux).filter(|_| !is_checked);
        Leg {
            local: mux(local),
            remote,
            protection,
            ice,
            mid: self.mid.clone().filter(|_| is_browser),
            clocks: self.clocks.clone(),
        }
    }
}

/// Whether packets to an address would reach many. A peer that could choose one would have us flood
/// its neighbours.
const fn is_of_many(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_multicast(),
    }
}
