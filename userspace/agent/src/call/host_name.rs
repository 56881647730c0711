// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Peers that say a host name where their address should be (RFC 8866 section 5.7).
//!
//! A protected peer is found all the same: whoever authenticates is it. Of a plain one the address
//! has to be known, or else whoever sends first would be it. To look the name up would make media
//! wait for a name server, and let whoever may offer have us ask one: so it is refused, in words.

use sallyport_signalling::sdp::Sdp;

use super::party::{About, Party};
use crate::call_error::CallError;

/// Refuses an SDP that says no more of a plain peer than its name, if nobody else does.
pub(super) fn check(sdp: &Sdp, about: &About, peer: Option<&Party>) -> Result<(), CallError> {
    if about.reach.received_from.is_some() || about.reach.media_address.is_some() {
        return Ok(());
    }
    for (index, media) in (0..).zip(sdp.media()) {
        let profile = media.profile();
        let is_plain = profile.is_rtp() && !profile.is_protected() && media.port() != 0;
        let was_somewhere = peer.is_some_and(|peer| peer.known(index).is_some());
        let connection = sdp.connection(media).filter(|_| is_plain && !was_somewhere);
        if let Some(name) = connection.as_ref().and_then(|it| it.host_name()) {
            return Err(CallError::HostName(name.to_owned()));
        }
    }
    Ok(())
}
