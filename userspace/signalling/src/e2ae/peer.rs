// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a peer says about itself, whatever the profile.

use serde::{Deserialize, Serialize};

use super::{Ends, Leg, MediaRefusal, Protection};
use crate::sdp::{Connection, Direction, Media, Sdp};

/// What one peer says about itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Peer {
    /// Where it is; `None` for nowhere and for a host name.
    ends: Option<Ends>,
    /// As it said that it is nowhere.
    nowhere: Option<Connection>,
    direction: Direction,
    pub(super) has_rtcp_mux: bool,
}

impl Peer {
    pub(super) fn new(sdp: &Sdp, media: &Media) -> Result<Self, MediaRefusal> {
        let connection = sdp.connection(media).ok_or(MediaRefusal::Address)?;
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
        Ok(Self {
            ends,
            nowhere: Some(connection).filter(Connection::is_nowhere),
            direction: sdp.direction(media),
            has_rtcp_mux: media.has_rtcp_mux(),
        })
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
    ) -> Leg {
        let mux = |ends: Ends| if has_rtcp_mux { ends.muxed() } else { ends };
        Leg {
            local: mux(local),
            remote: self.ends.map(mux),
            protection,
        }
    }
}
