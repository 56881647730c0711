// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What becomes of an offer by the word of a SIP proxy, as the ng protocol has it.

use super::{MediaRefusal, Protection, Setup, Side, Treatment};
use crate::sdp::Profile;

/// What a SIP proxy wants for the media of an offer, or of an answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of the ng protocol"
)]
pub struct Asked {
    /// The profile for who is to answer: one of the four of RTP. Without, it is as offered, and as
    /// protected as it was before.
    pub profile: Option<Profile>,
    /// SRTP on both sides ends here, though peers could share their keys.
    pub recrypt: bool,
    /// A UE that is offered keys is told that they end here: `a=3ge2ae:applied` (TS 24.229 section
    /// 7.5.2).
    pub indicates: bool,
    /// Who is to answer is somebody else than before: what was agreed on that side is forgotten.
    pub is_reset: bool,
    /// Protection that need not be (RFC 8643).
    pub osrtp: Osrtp,
    /// An answer goes on with the offerer's suite of before, if that is among those offered.
    pub keeps_suite: bool,
    /// Who offered gets the profile of the answer, though it is not the one offered.
    pub accepts_profile: bool,
}

/// Opportunistic SRTP (RFC 8643): keys in a plain profile, which may be taken or not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Osrtp {
    /// Who is to answer a plain offer is offered keys.
    pub offers: bool,
    /// Keys that an offer has are taken, though who answers did not take them.
    pub accepts: bool,
}

/// What becomes of one stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Terms {
    pub(super) treatment: Treatment,
    /// For who is to answer.
    pub(super) profile: Profile,
    /// Whether who is to answer is offered keys in a plain profile.
    pub(super) offers_osrtp: bool,
}

impl Asked {
    /// What becomes of a stream that one side offers with a profile, with keys in it though it is
    /// plain or not, and that flows like `before`.
    ///
    /// Protection that ended here is never given up on either side, whoever asks for it, but for
    /// the one that need not be, and for who has been replaced.
    pub(super) fn terms(
        &self,
        from: Side,
        offered: &Profile,
        is_osrtp: bool,
        before: Option<&Setup>,
    ) -> Result<Terms, MediaRefusal> {
        let to = from.opposite();
        let keys = |setup: &Setup, side| {
            let keys = setup.leg(side).protection.as_ref();
            keys.filter(|_| side == from || !self.is_reset)
                .map(Protection::is_opportunistic)
        };
        let had_keys = |side| before.map(|setup| keys(setup, side) == Some(false));
        let had_osrtp = before.is_some_and(|setup| keys(setup, to) == Some(true));
        let is_end_to_end = before.is_some_and(|setup| setup.treatment == Treatment::EndToEnd);
        let profile = match (&self.profile, had_keys(to)) {
            (Some(profile), _) => profile.clone(),
            (None, Some(true)) => offered.protected().unwrap_or_else(|| offered.clone()),
            (None, Some(false)) if !is_end_to_end => {
                offered.plain().unwrap_or_else(|| offered.clone())
            }
            (None, _) => offered.clone(),
        };
        let (from_keys, to_keys) = (offered.is_protected(), profile.is_protected());
        let gives_up = (had_keys(from) == Some(true) || is_end_to_end) && !from_keys
            || (had_keys(to) == Some(true) || is_end_to_end && !self.is_reset) && !to_keys;
        if gives_up {
            return Err(MediaRefusal::Downgrade);
        }
        let can_share_keys = self.profile.is_none() && !self.recrypt;
        let has_ended_here = before.is_some() && !is_end_to_end;
        let treatment = match (from_keys, to_keys) {
            (false, false) => Treatment::Plain,
            (true, true) if can_share_keys && !has_ended_here => Treatment::EndToEnd,
            _ => Treatment::EndToAccessEdge,
        };
        let offers_osrtp = !to_keys && (had_osrtp || self.osrtp.offers && !is_osrtp);
        Ok(Terms {
            treatment,
            profile,
            offers_osrtp,
        })
    }
}
