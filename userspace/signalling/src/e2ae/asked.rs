// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What becomes of an offer by the word of a SIP proxy, as the ng protocol has it.

use super::{MediaRefusal, Protection, Setup, Side, Treatment};
use crate::dtls::Fingerprint;
use crate::sdp::Profile;

/// What a SIP proxy wants for the media of an offer or an answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Asked {
    /// The profile for who is to answer: one of those of RTP. Without, it is as offered, and as
    /// protected as it was before.
    pub profile: Option<Profile>,
    /// SRTP on both sides ends here, though peers could share their keys.
    pub recrypt: bool,
    /// What becomes of ICE and DTLS.
    pub handshakes: Handshakes,
}

/// What becomes of ICE and DTLS; by default, of ICE as it is offered, and no DTLS.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of its own that a proxy says or does not"
)]
pub struct Handshakes {
    /// Whether who gets the session description is offered ICE.
    pub ice: IceAsked,
    /// Who sent it gets no ICE though it has some.
    pub rejects_ice: bool,
    /// What is offered says that there may be candidates to come (RFC 8840), and that there are none.
    pub trickles: bool,
    /// Of our certificate: without, keys are never from DTLS.
    pub fingerprint: Option<Fingerprint>,
    /// Protected media for who is to answer gets its keys from DTLS, whatever its profile.
    pub no_sdes: bool,
    /// Where the offerer leaves it to us, we start the handshake.
    pub is_active: bool,
    /// No `a=tls-id`.
    pub no_tls_id: bool,
}

/// Whether ICE is offered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum IceAsked {
    /// If it was offered to us, or was there before.
    #[default]
    AsOffered,
    /// In any case.
    Always,
    /// No.
    Never,
}

/// What becomes of one stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Terms {
    pub(super) treatment: Treatment,
    /// For who is to answer.
    pub(super) profile: Profile,
    /// Whether the offerer's keys are from DTLS.
    pub(super) has_dtls: bool,
    /// Whether those of who is to answer are.
    pub(super) offers_dtls: bool,
}

impl Asked {
    /// What becomes of a stream that one side offers with a profile, with keys from DTLS or not, and
    /// that flows like `before`.
    ///
    /// Protection that ended here is never given up on either side, whoever asks for it.
    pub(super) fn terms(
        &self,
        from: Side,
        offered: &Profile,
        has_dtls: bool,
        before: Option<&Setup>,
    ) -> Result<Terms, MediaRefusal> {
        let had = |side| before.map(|setup: &Setup| setup.leg(side).protection.as_ref());
        let had_keys = |side| had(side).map(|protection| protection.is_some());
        let far_before = had(from.opposite()).flatten();
        let is_end_to_end = before.is_some_and(|setup| setup.treatment == Treatment::EndToEnd);
        let profile = match (&self.profile, far_before) {
            (Some(profile), _) => Some(profile.clone()),
            (None, Some(Protection::Sdes(_))) => offered.sdes(),
            (None, Some(Protection::Dtls(_))) => offered.dtls(),
            (None, None) if before.is_some() && !is_end_to_end => offered.plain(),
            (None, None) => None,
        };
        let profile = profile.unwrap_or_else(|| offered.clone());
        let (from_keys, to_keys) = (offered.is_protected(), profile.is_protected());
        let gives_up = (had_keys(from) == Some(true) || is_end_to_end) && !from_keys
            || (had_keys(from.opposite()) == Some(true) || is_end_to_end) && !to_keys;
        if gives_up {
            return Err(MediaRefusal::Downgrade);
        }
        let offers_dtls = profile.is_dtls() || (to_keys && self.handshakes.no_sdes);
        if (has_dtls || offers_dtls) && self.handshakes.fingerprint.is_none() {
            return Err(MediaRefusal::DtlsOff);
        }
        // A handshake through us would have to end with us.
        let can_share_keys = self.profile.is_none() && !self.recrypt && !has_dtls && !offers_dtls;
        let has_ended_here = before.is_some() && !is_end_to_end;
        let treatment = match (from_keys, to_keys) {
            (false, false) => Treatment::Plain,
            (true, true) if can_share_keys && !has_ended_here => Treatment::EndToEnd,
            _ => Treatment::EndToAccessEdge,
        };
        Ok(Terms {
            treatment,
            profile,
            has_dtls,
            offers_dtls,
        })
    }
}
