// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What becomes of one `m=` line of an answer.

use super::peer::Peer;
use super::refusal::Fault;
use super::rewrite::{Anchor, KeyLines, Plan, RtcpMuxLines};
use super::stream::{Anchored, Offer, Stream};
use super::{Context, MediaRefusal, Protection, Setup, Side, Treatment};
use crate::policy::{E2ae, RtcpMux};
use crate::random::Random;
use crate::sdes::{self, Crypto};
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
        if treatment == Treatment::EndToEnd {
            self.check_end_to_end()?;
        }
        let peer = Peer::new(self.answer, self.media)?;
        let (offerer, answerer) = (self.offerer, self.offerer.opposite());
        let before = stream
            .setup
            .as_ref()
            .and_then(|setup| setup.leg(offerer).protection.as_ref());
        let with_answerer = self.with_answerer(offered)?;
        let with_offerer = self.with_offerer(offered, before, random)?;
        let treatment = match (&with_offerer, &with_answerer) {
            (None, None) => treatment,
            _ => Treatment::EndToAccessEdge,
        };
        let keys = match (&with_offerer, &with_answerer) {
            (Some(protection), _) => KeyLines::Replace {
                keys: vec![protection.send.clone()],
                is_applied: false,
            },
            (None, Some(_)) => KeyLines::Remove,
            (None, None) if offered.is_osrtp() && !offered.passes_keys => KeyLines::Remove,
            (None, None) => KeyLines::Keep,
        };
        let to_offerer_mux =
            offered.peer.has_rtcp_mux && self.context.rtcp_mux(self.offerer) != RtcpMux::Never;
        let to_answerer_mux = offered.offers_rtcp_mux && peer.has_rtcp_mux;
        let offerer_leg = offered
            .peer
            .leg(ports.of(offerer), to_offerer_mux, with_offerer);
        let answerer_leg = peer.leg(ports.of(answerer), to_answerer_mux, with_answerer);
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

    /// The protection of the offerer's leg, if it ends here.
    fn with_offerer(
        &self,
        offered: &Anchored,
        before: Option<&Protection>,
        random: &mut impl Random,
    ) -> Result<Option<Protection>, Fault> {
        let asked = self.context.asked;
        let kept = offered.kept.as_deref();
        let kept = kept.filter(|_| asked.is_some_and(|asked| asked.keeps_suite));
        let Some(theirs) = kept.or(offered.theirs.as_ref()) else {
            return Ok(None);
        };
        let is_opportunistic = offered.is_osrtp();
        if is_opportunistic {
            let is_shared = offered.passes_keys && self.has_keys();
            let accepts = asked.is_some_and(|asked| asked.osrtp.accepts);
            if is_shared || !(accepts || before.is_some()) {
                return Ok(None);
            }
        }
        Ok(match before {
            // The same keys again, so that what flows goes on (RFC 4568 section 7.1.4).
            Some(before) if before.receive == *theirs => Some(Protection {
                is_opportunistic,
                ..before.clone()
            }),
            _ => {
                let key = self.context.policy.sdes.key(theirs.suite, random)?;
                Some(Protection {
                    receive: theirs.clone(),
                    send: sdes::answer(theirs, key),
                    is_opportunistic,
                })
            }
        })
    }

    /// Whether the answer says how it is protected.
    fn has_keys(&self) -> bool {
        self.media.section().attribute(Crypto::NAME).is_some()
    }

    /// The protection of the answerer's leg, if it ends here.
    fn with_answerer(&self, offered: &Anchored) -> Result<Option<Protection>, Fault> {
        let is_opportunistic = offered.offers_osrtp();
        let ours = offered.ours.as_ref();
        let Some(ours) = ours.filter(|_| self.has_keys() || !is_opportunistic) else {
            return Ok(None);
        };
        let answered = self.media.section().attributes(Crypto::NAME);
        let (send, receive) = (self.context.policy.sdes)
            .read_answer(ours, answered)
            .map_err(MediaRefusal::Answer)?;
        Ok(Some(Protection {
            receive,
            send,
            is_opportunistic,
        }))
    }

    /// Whether policy allows what the peers have agreed on, which nobody may have offered.
    fn check_end_to_end(&self) -> Result<(), MediaRefusal> {
        let Context {
            policy,
            access_network,
            ..
        } = self.context;
        if !policy.end_to_end {
            return Err(MediaRefusal::EndToEnd);
        }
        if policy.e2ae(self.media.medium(), *access_network) == E2ae::Required {
            let answered = self.media.section().attributes(Crypto::NAME);
            let checked = policy.sdes.check_answer(answered);
            checked.map_err(MediaRefusal::Answer)?;
        }
        Ok(())
    }

    /// What becomes of the stream, and the profile for the offerer.
    fn examine_profile(&self, offered: &Anchored) -> Result<(Treatment, Profile), MediaRefusal> {
        let answered = self.media.profile();
        let is_protected = answered.is_protected();
        let offers_keys = offered.ours.is_some() && !offered.offers_osrtp();
        if (offers_keys || offered.treatment == Treatment::EndToEnd) && !is_protected {
            return Err(MediaRefusal::Downgrade);
        }
        let has_keys = offered.theirs.is_some() || offered.ours.is_some();
        let treatment = if !has_keys && is_protected {
            // The peers may have negotiated protection by other means (RFC 5939).
            Treatment::EndToEnd
        } else {
            offered.treatment
        };
        if offered.theirs.is_some() && offered.ours.is_none() && is_protected {
            // Nobody has offered that.
            return Err(MediaRefusal::Profile);
        }
        let offerer_is_protected = match (&offered.theirs, &offered.ours) {
            (Some(_), _) => offered.profile.is_protected(),
            (None, Some(_)) => false,
            (None, None) => is_protected,
        };
        let profile = match offerer_is_protected {
            true if !is_protected => answered.protected(),
            false if is_protected => answered.plain(),
            _ => Some(answered.clone()),
        };
        // A proxy may have asked for another profile than the offerer's; that is the offerer's own
        // again then.
        let accepts = self
            .context
            .asked
            .is_some_and(|asked| asked.accepts_profile);
        let profile = profile.map(|profile| match offered.asked {
            Some(_) if !accepts && profile.is_rtp() && treatment == offered.treatment => {
                offered.profile.clone()
            }
            _ => profile,
        });
        let profile = profile
            .filter(Profile::is_rtp)
            .ok_or(MediaRefusal::Profile)?;
        Ok((treatment, profile))
    }
}
