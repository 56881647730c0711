// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What becomes of an offer by the word of a SIP proxy, as the ng protocol has it.

use super::{MediaRefusal, Setup, Side, Treatment};
use crate::dtls::Fingerprint;
use crate::sdp::Profile;

/// What a SIP proxy wants for the media of an offer, or of an answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of the ng protocol"
)]
pub struct Asked {
    /// The profile for who is to answer: one of those of RTP. Without, it is as offered, and as
    /// protected as it was before.
    pub profile: Option<Profile>,
    /// SRTP on both sides ends here, though peers could share their keys.
    pub recrypt: bool,
    /// What becomes of ICE and DTLS.
    pub handshakes: Handshakes,
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
    /// Our candidates are of the type of a relay (RFC 8839 section 5.1): other ways of a peer, if it
    /// has any, come first.
    pub is_relay: bool,
    /// Of our certificate: without, keys are never from DTLS.
    pub fingerprint: Option<Fingerprint>,
    /// Protected media for who is to answer gets its keys from DTLS, whatever its profile.
    pub no_sdes: bool,
    /// Keys in an offer are taken, though it has a fingerprint and the profile of DTLS.
    pub prefers_sdes: bool,
    /// Whether we start the handshake where the offerer leaves it to us. What an answer says of it
    /// counts before what the offer said; by default we do not.
    pub is_active: Option<bool>,
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
    /// Whether who is to answer is offered keys in a plain profile.
    pub(super) offers_osrtp: bool,
}

/// Where the keys come from that an offer has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Offered {
    /// From a handshake.
    pub(super) has_dtls: bool,
    /// From the offer itself, though its profile is plain.
    pub(super) is_osrtp: bool,
}

impl Asked {
    /// What becomes of a stream that one side offers with a profile and with keys, and that flows
    /// like `before`.
    ///
    /// Protection that ended here is never given up on either side, whoever asks for it, but for
    /// the one that need not be, and for who has been replaced.
    pub(super) fn terms(
        &self,
        from: Side,
        offered: &Profile,
        keys_of: Offered,
        before: Option<&Setup>,
    ) -> Result<Terms, MediaRefusal> {
        let Offered { has_dtls, is_osrtp } = keys_of;
        let to = from.opposite();
        let protection = |setup: &Setup, side| {
            let protection = setup.leg(side).protection.clone();
            protection.filter(|_| side == from || !self.is_reset)
        };
        let keys = |setup, side| protection(setup, side).map(|it| it.is_opportunistic());
        let had_keys = |side| before.map(|setup| keys(setup, side) == Some(false));
        let had_osrtp = before.is_some_and(|setup| keys(setup, to) == Some(true));
        let is_end_to_end = before.is_some_and(|setup| setup.treatment == Treatment::EndToEnd);
        let had_dtls = before
            .and_then(|setup| protection(setup, to))
            .is_some_and(|protection| protection.dtls().is_some());
        let profile = match (&self.profile, had_keys(to)) {
            (Some(profile), _) => Some(profile.clone()),
            (None, Some(true)) if had_dtls => offered.dtls(),
            (None, Some(true)) => offered.sdes(),
            (None, Some(false)) if !is_end_to_end => offered.plain(),
            (None, _) => None,
        };
        let profile = profile.unwrap_or_else(|| offered.clone());
        let (from_keys, to_keys) = (offered.is_protected(), profile.is_protected());
        let gives_up = (had_keys(from) == Some(true) || is_end_to_end) && !from_keys
            || (had_keys(to) == Some(true) || is_end_to_end && !self.is_reset) && !to_keys;
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
        let offers_osrtp = !to_keys && (had_osrtp || self.osrtp.offers && !is_osrtp);
        Ok(Terms {
            treatment,
            profile,
            has_dtls,
            offers_dtls,
            offers_osrtp,
        })
    }
}
