// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Peers that say a host name where their address should be (RFC 8866 section 5.7).
//!
//! A protected peer is found all the same: whoever authenticates is it. Of a plain one the address
//! has to be known, or else whoever sends first would be it. To look the name up would make media
//! wait for a name server, and let whoever may offer have us ask one: so it is refused, in words,
//! unless somebody says what it stands for.

use sallyport_signalling::sdp::{Media, Rtcp, Sdp};

use super::party::{About, Party};
use crate::call_error::CallError;

/// Puts the address that is said beside an SDP in place of host names in it.
///
/// # Errors
/// [`CallError::HostName`] where nobody says one of a plain peer.
pub(super) fn resolve(sdp: &mut Sdp, about: &About, peer: Option<&Party>) -> Result<(), CallError> {
    let mut named = Vec::new();
    for (index, media) in (0..).zip(sdp.media()) {
        let profile = media.profile();
        let connection = sdp.connection(media).filter(|_| profile.is_rtp());
        let Some(name) = connection.as_ref().and_then(|it| it.host_name()) else {
            continue;
        };
        named.push(usize::from(index));
        let was_somewhere = peer.is_some_and(|peer| peer.known(index).is_some());
        let is_found = profile.is_protected() || was_somewhere || media.port() == 0;
        let is_said = about.reach.received_from.or(about.reach.media_address);
        if !is_found && is_said.is_none() {
            return Err(CallError::HostName(name.to_owned()));
        }
    }
    if let Some(address) = about.reach.media_address {
        for index in named {
            let media = &mut sdp.media_mut()[index];
            media.section_mut().set_connection(address.into());
            // RTCP that goes to a host name, too, goes to the same address.
            if media.rtcp().is_none()
                && let Some(port) = rtcp_port(media)
            {
                let rtcp = Rtcp {
                    port,
                    address: None,
                };
                let lines = media.section_mut();
                lines.set_attribute("rtcp", Some(&rtcp.to_string()));
            }
        }
    }
    Ok(())
}

/// The port of `a=rtcp` (RFC 3605), whatever host it names.
fn rtcp_port(media: &Media) -> Option<u16> {
    let said = media.section().attribute("rtcp")?;
    let port = said.split(' ').next()?.parse().ok()?;
    (port != 0).then_some(port)
}
