// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What becomes of one `m=` line of an answer.

use super::peer::Peer;
use super::refusal::Fault;
use super::rewrite::{Anchor, KeyLines, Plan, RtcpMuxLines};
use super::stream::{Anchored, Keys, Offer, Stream};
use super::{Context, MediaRefusal, Protection, Setup, Side, Treatment};
use crate::policy::RtcpMux;
use crate::random::Random;
use crate::sdes::{self, Crypto, InlineKey};
use crate::sdp::{Media, Profile, Sdp};

/// One `m=` line of an answer.
pub(super) struct AnsweredLine<'a> {
    pub(super) offerer: Side,
    pub(super) answer: &'a Sdp,
    pub(super) media: &'a Media,
    pub(super) context: &'a Context<'a>,
}

impl AnsweredLine<'_> {
    /// What the offerer is answered, and how media flows from now on.
    pub(super) fn examine(
        &self,
        stream: &Stream,
        random: &mut impl Random,
    ) -> Result<(Plan, Option<Setup>), Fault> {
        let offered = match &stream.offer {
            Offer::Unanchored { profile } => {
                let is_over = self.media.port() == 0;
                if profile.is_protected() && !self.media.profile().is_protected() && !is_over {
                    return Err(MediaRefusal::Downgrade.into());
                }
                return Ok((Plan::Pass, None));
            }
            Offer::Ended { profile } => return Ok((Plan::Refuse(Some(profile.clone())), None)),
            Offer::Anchored(offered) => offered,
        };
        if self.media.port() == 0 {
            return Ok((Plan::Refuse(Some(offered.profile.clone())), None));
        }
        // An earlier answer to the same offer may have ended the stream.
        let ports = stream.ports.ok_or(Fault::NoPorts)?;
        let (treatment, profile) = self.examine_profile(offered)?;
        let peer = Peer::new(self.answer, self.media)?;
        let before = stream
            .setup
            .as_ref()
            .and_then(|setup| setup.access.protection.as_ref());
        let protection = self.protection(offered, before, random)?;
        let keys = match (&offered.keys, &protection) {
            (Keys::Theirs(_), Some(protection)) => KeyLines::Replace {
                keys: vec![protection.send.clone()],
                is_applied: false,
            },
            (_, Some(_)) => KeyLines::Remove,
            (_, None) => KeyLines::Keep,
        };
        let to_offerer_mux =
            offered.peer.has_rtcp_mux && self.context.rtcp_mux(self.offerer) != RtcpMux::Never;
        let to_answerer_mux = offered.offers_rtcp_mux && peer.has_rtcp_mux;
        let on = |side: Side| protection.clone().filter(|_| side == Side::Access);
        let (offerer, answerer) = (self.offerer, self.offerer.opposite());
        let offerer_leg = offered
            .peer
            .leg(ports.of(offerer), to_offerer_mux, on(offerer));
        let answerer_leg = peer.leg(ports.of(answerer), to_answerer_mux, on(answerer));
        let to_answerer = offered.peer.sends() && peer.receives();
        let to_offerer = peer.sends() && offered.peer.receives();
        let setup = match offerer {
            Side::Access => Setup {
                treatment,
                access: offerer_leg,
                core: answerer_leg,
                to_core: to_answerer,
                to_access: to_offerer,
            },
            Side::Core => Setup {
                treatment,
                access: answerer_leg,
                core: offerer_leg,
                to_core: to_offerer,
                to_access: to_answerer,
            },
        };
        let local = ports.of(offerer);
        let plan = Plan::Anchor(Anchor {
            local,
            connection: peer.connection(local),
            profile,
            rtcp_mux: if to_offerer_mux {
                RtcpMuxLines::Agreed
            } else {
                RtcpMuxLines::No
            },
            keys,
        });
        Ok((plan, Some(setup)))
    }

    /// The protection of the access leg, if it ends here.
    fn protection(
        &self,
        offered: &Anchored,
        before: Option<&Protection>,
        random: &mut impl Random,
    ) -> Result<Option<Protection>, Fault> {
        Ok(match (&offered.keys, before) {
            (Keys::None, _) => None,
            // The same keys again, so that what flows goes on (RFC 4568 section 7.1.4).
            (Keys::Theirs(theirs), Some(before)) if before.receive == *theirs => {
                Some(before.clone())
            }
            (Keys::Theirs(theirs), _) => Some(Protection {
                receive: theirs.clone(),
                send: sdes::answer(theirs, InlineKey::random(theirs.suite, random)?),
            }),
            (Keys::Ours(ours), _) => {
                let answered = self.media.section().attributes(Crypto::NAME);
                let (send, receive) = (self.context.policy.sdes)
                    .read_answer(ours, answered)
                    .map_err(MediaRefusal::Answer)?;
                Some(Protection { receive, send })
            }
        })
    }

    /// What becomes of the stream, and the profile for the offerer.
    fn examine_profile(&self, offered: &Anchored) -> Result<(Treatment, Profile), MediaRefusal> {
        let answered = self.media.profile();
        let is_protected = answered.is_protected();
        let (treatment, profile) = match (&offered.keys, offered.treatment) {
            (Keys::Theirs(_), treatment) => (treatment, answered.protected()),
            (Keys::Ours(_), _) if !is_protected => return Err(MediaRefusal::Downgrade),
            (Keys::Ours(_), treatment) => (treatment, answered.plain()),
            (Keys::None, Treatment::EndToEnd) if !is_protected => {
                return Err(MediaRefusal::Downgrade);
            }
            // The peers may have negotiated protection by other means (RFC 5939).
            (Keys::None, _) if is_protected => (Treatment::EndToEnd, Some(answered.clone())),
            (Keys::None, treatment) => (treatment, Some(answered.clone())),
        };
        let profile = profile
            .filter(Profile::is_rtp)
            .ok_or(MediaRefusal::Profile)?;
        Ok((treatment, profile))
    }
}
