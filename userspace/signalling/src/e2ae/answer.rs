// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What becomes of one `m=` line of an answer.

use super::peer::Peer;
use super::refusal::Fault;
use super::rewrite::{Anchor, IceLines, KeyLines, Plan, RtcpMuxLines};
use super::stream::{Anchored, Offer, Ours, Stream, Theirs};
use super::{Context, Handshakes, Keys, Leg, MediaRefusal, Protection, Setup, Side, Treatment};
use crate::dtls::{self, Dtls, DtlsPeer};
use crate::ice::Credentials;
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
        let peer = Peer::new(self.answer, self.media, offered.ice.is_some())?;
        let (offerer, answerer) = (self.offerer, self.offerer.opposite());
        let before = |side| stream.setup.as_ref().map(|setup| setup.leg(side));
        let with_answerer = self.with_answerer(offered, &peer, before(answerer))?;
        let with_offerer = self.with_offerer(offered, before(offerer), random)?;
        let treatment = match (&with_offerer, &with_answerer) {
            (None, None) => treatment,
            _ => Treatment::EndToAccessEdge,
        };
        let ice_of_offerer = self.ice_with_offerer(offered, before(offerer), random)?;
        let handshakes = self.handshakes();
        let keys = match (&with_offerer, &with_answerer) {
            (Some(Protection::Sdes(keys)), _) => KeyLines::Replace {
                keys: vec![keys.send.clone()],
                is_applied: false,
            },
            (Some(Protection::Dtls(dtls)), _) => {
                let setup = if dtls.is_client {
                    dtls::Setup::Active
                } else {
                    dtls::Setup::Passive
                };
                KeyLines::dtls(handshakes, setup, &dtls.id)
            }
            (None, Some(_)) => KeyLines::Remove,
            (None, None) if offered.is_osrtp() && !offered.passes_keys => KeyLines::Remove,
            (None, None) => KeyLines::Keep,
        };
        let ice = IceLines::new(ice_of_offerer.as_ref(), handshakes);
        let to_offerer_mux =
            offered.peer.has_rtcp_mux && self.context.rtcp_mux(self.offerer) != RtcpMux::Never;
        let to_answerer_mux = offered.offers_rtcp_mux && peer.has_rtcp_mux;
        let offerer_leg = offered.peer.leg(
            ports.of(offerer),
            to_offerer_mux,
            with_offerer,
            ice_of_offerer,
        );
        let ice_of_answerer = offered.ice.clone();
        let answerer_leg = peer.leg(
            ports.of(answerer),
            to_answerer_mux,
            with_answerer,
            ice_of_answerer,
        );
        let mid = offerer_leg.mid.clone();
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
        let plan = Plan::Anchor(Box::new(Anchor {
            local,
            connection: peer.connection(local),
            profile,
            rtcp_mux: if to_offerer_mux {
                RtcpMuxLines::Agreed
            } else {
                RtcpMuxLines::No
            },
            keys,
            ice,
            mid,
        }));
        Ok((plan, Some(setup)))
    }

    /// The protection of the offerer's leg, if it ends here.
    fn with_offerer(
        &self,
        offered: &Anchored,
        before: Option<&Leg>,
        random: &mut impl Random,
    ) -> Result<Option<Protection>, Fault> {
        let asked = self.context.asked;
        let before = before.and_then(|leg| leg.protection.as_ref());
        let kept = offered.kept.as_deref();
        let kept = kept.filter(|_| asked.is_some_and(|asked| asked.keeps_suite));
        let theirs = match (kept, &offered.theirs) {
            (None, None) => return Ok(None),
            (Some(theirs), _) | (None, Some(Theirs::Sdes(theirs))) => theirs,
            (None, Some(Theirs::Dtls(peer))) => {
                let before = before.and_then(Protection::dtls);
                let dtls = self.dtls_with_offerer(offered, peer, before, random)?;
                return Ok(Some(Protection::Dtls(dtls)));
            }
        };
        let before = before.and_then(Protection::keys);
        let is_opportunistic = offered.is_osrtp();
        if is_opportunistic {
            let is_shared = offered.passes_keys && self.has_keys();
            let accepts = asked.is_some_and(|asked| asked.osrtp.accepts);
            if is_shared || !(accepts || before.is_some()) {
                return Ok(None);
            }
        }
        Ok(Some(Protection::Sdes(match before {
            // The same keys again, so that what flows goes on (RFC 4568 section 7.1.4).
            Some(before) if before.receive == *theirs => Keys {
                is_opportunistic,
                ..before.clone()
            },
            _ => {
                let key = self.context.policy.sdes.key(theirs.suite, random)?;
                Keys {
                    receive: theirs.clone(),
                    send: sdes::answer(theirs, key),
                    is_opportunistic,
                }
            }
        })))
    }

    /// The handshake with the offerer.
    fn dtls_with_offerer(
        &self,
        offered: &Anchored,
        peer: &DtlsPeer,
        before: Option<&Dtls>,
        random: &mut impl Random,
    ) -> Result<Dtls, Fault> {
        let is_client = match (peer.setup, before) {
            (Some(dtls::Setup::Passive), _) => true,
            // Who has started goes on as who has (RFC 8842 section 5.3).
            (Some(dtls::Setup::ActPass), Some(before)) => before.is_client,
            (Some(dtls::Setup::ActPass), None) => {
                let asked = self.handshakes().and_then(|asked| asked.is_active);
                asked.unwrap_or(offered.is_active)
            }
            (Some(dtls::Setup::Active) | None, _) => false,
        };
        let id = match before {
            Some(before) => before.id.clone(),
            None => Dtls::random_id(random)?,
        };
        Ok(Dtls::new(before, is_client, id, peer.clone()))
    }

    /// Whether the answer says how it is protected.
    fn has_keys(&self) -> bool {
        self.media.section().attribute(Crypto::NAME).is_some()
    }

    /// The protection of the answerer's leg, if it ends here.
    fn with_answerer(
        &self,
        offered: &Anchored,
        peer: &Peer,
        before: Option<&Leg>,
    ) -> Result<Option<Protection>, Fault> {
        let is_opportunistic = offered.offers_osrtp();
        let ours = offered.ours.as_ref();
        let Some(ours) = ours.filter(|_| self.has_keys() || !is_opportunistic) else {
            return Ok(None);
        };
        Ok(Some(match ours {
            Ours::Sdes(ours) => {
                let answered = self.media.section().attributes(Crypto::NAME);
                // Rules of access networks bound what was offered, and so what can be taken; who
                // passes on the answer need not know the network.
                let sdes = &self.context.policy.sdes;
                let (send, receive) = sdes
                    .read_answer(ours, answered)
                    .map_err(MediaRefusal::Answer)?;
                Protection::Sdes(Keys {
                    receive,
                    send,
                    is_opportunistic,
                })
            }
            Ours::Dtls(id) => {
                let peer = peer.dtls()?;
                let before = before.and_then(|leg| leg.protection.as_ref()?.dtls());
                let is_client = peer.setup == Some(dtls::Setup::Passive);
                Protection::Dtls(Dtls::new(before, is_client, id.clone(), peer))
            }
        }))
    }

    /// Our end of the offerer's ICE, if it has some: another one when it restarts (RFC 8445 section
    /// 9).
    fn ice_with_offerer(
        &self,
        offered: &Anchored,
        before: Option<&Leg>,
        random: &mut impl Random,
    ) -> Result<Option<Credentials>, Fault> {
        let is_rejected = self.handshakes().is_none_or(|asked| asked.rejects_ice);
        let Some(peer) = offered.peer.ice.as_ref().filter(|_| !is_rejected) else {
            return Ok(None);
        };
        let before = before.and_then(|leg| leg.ice.as_ref());
        let same = before.filter(|before| before.remote == peer.credentials);
        Ok(Some(match same {
            Some(same) => same.local.clone(),
            None => Credentials::random(random)?,
        }))
    }

    fn handshakes(&self) -> Option<&Handshakes> {
        self.context.asked.map(|asked| &asked.handshakes)
    }

    /// Whether policy allows what the peers have agreed on, which nobody may have offered.
    fn check_end_to_end(&self) -> Result<(), MediaRefusal> {
        if !self.context.policy.end_to_end {
            return Err(MediaRefusal::EndToEnd);
        }
        let medium = self.media.medium();
        if self.context.e2ae(medium) == E2ae::Required {
            let answered = self.media.section().attributes(Crypto::NAME);
            let sdes = self.context.sdes(medium);
            let checked = sdes.check_answer(answered);
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
            true if matches!(offered.theirs, Some(Theirs::Dtls(_))) => answered.dtls(),
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
