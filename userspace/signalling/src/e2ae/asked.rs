// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What becomes of an offer by the word of a SIP proxy, as the ng protocol has it.

use super::{MediaRefusal, Setup, Side, Treatment};
use crate::sdp::Profile;

/// What a SIP proxy wants for the media of an offer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Asked {
    /// The profile for who is to answer: one of the four of RTP. Without, it is as offered, and as
    /// protected as it was before.
    pub profile: Option<Profile>,
    /// SRTP on both sides ends here, though peers could share their keys.
    pub recrypt: bool,
}

/// What becomes of one stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Terms {
    pub(super) treatment: Treatment,
    /// For who is to answer.
    pub(super) profile: Profile,
}

impl Asked {
    /// What becomes of a stream that one side offers with a profile, and that flows like `before`.
    ///
    /// Protection that ended here is never given up on either side, whoever asks for it.
    pub(super) fn terms(
        &self,
        from: Side,
        offered: &Profile,
        before: Option<&Setup>,
    ) -> Result<Terms, MediaRefusal> {
        let had_keys = |side| before.map(|setup: &Setup| setup.leg(side).protection.is_some());
        let is_end_to_end = before.is_some_and(|setup| setup.treatment == Treatment::EndToEnd);
        let profile = match (&self.profile, had_keys(from.opposite())) {
            (Some(profile), _) => profile.clone(),
            (None, Some(true)) => offered.protected().unwrap_or_else(|| offered.clone()),
            (None, Some(false)) if !is_end_to_end => {
                offered.plain().unwrap_or_else(|| offered.clone())
            }
            (None, _) => offered.clone(),
        };
        let (from_keys, to_keys) = (offered.is_protected(), profile.is_protected());
        let gives_up = (had_keys(from) == Some(true) || is_end_to_end) && !from_keys
            || (had_keys(from.opposite()) == Some(true) || is_end_to_end) && !to_keys;
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
        Ok(Terms { treatment, profile })
    }
}
