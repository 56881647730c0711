// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What becomes of one `m=` line of an offer.

use super::asked::{IceAsked, Offered, Terms};
use super::peer::Peer;
use super::refusal::Fault;
use super::rewrite::{INDICATION, REQUESTED};
use super::stream::{Anchored, Offer, Ours, Theirs};
use super::{Context, Keys, Leg, MediaRefusal, Protection, Setup, Side, Treatment};
use crate::dtls::Dtls;
use crate::ice::{Credentials, Ice};
use crate::mediasec::Mechanism;
use crate::policy::{E2ae, RtcpMux};
use crate::random::Random;
use crate::sdes::Crypto;
use crate::sdp::{Media, Profile, Sdp};

/// One `m=` line of an offer.
pub(super) struct OfferedLine<'a> {
    pub(super) from: Side,
    pub(super) offer: &'a Sdp,
    pub(super) media: &'a Media,
    /// How its media flows by now.
    pub(super) setup: Option<&'a Setup>,
    pub(super) context: &'a Context<'a>,
}

impl OfferedLine<'_> {
    pub(super) fn examine(&self, random: &mut impl Random) -> Result<Offer, Fault> {
        let media = self.media;
        if media.port() == 0 {
            let profile = media.profile().clone();
            return Ok(Offer::Ended { profile });
        }
        let is_dtls = media.profile().is_dtls();
        if !media.profile().is_rtp() || (is_dtls && self.context.asked.is_none()) {
            return Ok(self.examine_other()?);
        }
        if media.has_several_ports() {
            return Err(MediaRefusal::SeveralPorts.into());
        }
        let handshakes = self.context.asked.map(|asked| &asked.handshakes);
        let takes_ice = handshakes.is_some_and(|handshakes| !handshakes.rejects_ice);
        let peer = Peer::new(self.offer, media, takes_ice)?;
        let is_protected = media.profile().is_protected();
        let osrtp = (self.context.asked.is_some() && !is_protected)
            .then(|| self.theirs().ok())
            .flatten();
        let (treatment, asked) = match self.context.asked {
            None => (self.examine_rtp()?, None),
            Some(asked) => {
                let takes_keys = asked.handshakes.prefers_sdes && self.theirs().is_ok();
                let keys = Offered {
                    has_dtls: is_protected && peer.wants_dtls(media) && !takes_keys,
                    is_osrtp: osrtp.is_some(),
                };
                let terms = asked.terms(self.from, media.profile(), keys, self.setup)?;
                self.check_asked(&terms)?;
                (terms.treatment, Some(terms))
            }
        };
        if treatment == Treatment::EndToEnd && self.e2ae() == E2ae::Required {
            self.theirs()?;
        }
        let (has_theirs, has_ours) = match (treatment, &asked) {
            (Treatment::EndToAccessEdge, None) => {
                (self.from == Side::Access, self.from == Side::Core)
            }
            (Treatment::EndToAccessEdge, Some(terms)) => {
                (is_protected, terms.profile.is_protected())
            }
            _ => (false, false),
        };
        let theirs = match &asked {
            _ if !has_theirs => osrtp.map(Theirs::Sdes),
            Some(terms) if terms.has_dtls => Some(Theirs::Dtls(peer.dtls()?)),
            _ => Some(Theirs::Sdes(self.theirs()?)),
        };
        let has_ours = has_ours || asked.as_ref().is_some_and(|terms| terms.offers_osrtp);
        let ours = match &asked {
            _ if !has_ours => None,
            Some(terms) if terms.offers_dtls => Some(Ours::Dtls(self.our_id(random)?)),
            _ => Some(Ours::Sdes(self.ours(theirs.as_ref(), random)?)),
        };
        // Keys that end here are nobody else's.
        let passes_keys = theirs.is_some()
            && !is_protected
            && ours.is_none()
            && self.agreed(self.from).is_none()
            && self.context.policy.end_to_end;
        let kept = theirs.as_ref().and_then(|theirs| self.kept(theirs));
        let offers_ice = handshakes.is_some_and(|handshakes| match handshakes.ice {
            IceAsked::AsOffered => {
                self.ice_before().is_some() || Credentials::parse(self.offer, media).is_some()
            }
            IceAsked::Always => true,
            IceAsked::Never => false,
        });
        let ice = offers_ice.then(|| self.our_ice(random)).transpose()?;
        let offers_rtcp_mux = match self.context.rtcp_mux(self.from.opposite()) {
            RtcpMux::Never => false,
            // A handshake is led for one port.
            RtcpMux::IfOffered => peer.has_rtcp_mux || matches!(ours, Some(Ours::Dtls(_))),
            RtcpMux::Always => true,
        };
        Ok(Offer::Anchored(Box::new(Anchored {
            treatment,
            profile: media.profile().clone(),
            asked: asked.map(|terms| terms.profile),
            peer,
            offers_rtcp_mux,
            theirs,
            kept,
            passes_keys,
            ours,
            is_active: handshakes.and_then(|handshakes| handshakes.is_active) == Some(true),
            ice,
            is_applied: match self.context.asked {
                None => true,
                Some(asked) => asked.indicates && self.from == Side::Core,
            },
        })))
    }

    /// Whether policy allows what a SIP proxy asks for.
    fn check_asked(&self, terms: &Terms) -> Result<(), MediaRefusal> {
        let on_access = match self.from {
            Side::Access => self.media.profile(),
            Side::Core => &terms.profile,
        };
        let has_ended_here = self
            .setup
            .is_some_and(|setup| setup.access.protection.is_some());
        match (terms.treatment, self.e2ae()) {
            (_, E2ae::Required) if !on_access.is_protected() => Err(MediaRefusal::Unprotected),
            (Treatment::EndToEnd, _) if !self.context.policy.end_to_end => {
                Err(MediaRefusal::EndToEnd)
            }
            (Treatment::EndToAccessEdge, E2ae::Off)
                if on_access.is_protected() && !has_ended_here =>
            {
                Err(MediaRefusal::Off)
            }
            _ => Ok(()),
        }
    }

    /// What is offered to us, or would have been, that we take.
    fn theirs(&self) -> Result<Crypto, MediaRefusal> {
        let offered = self.media.section().attributes(Crypto::NAME);
        let sdes = self.context.sdes(self.media.medium());
        sdes.choose(offered).map_err(MediaRefusal::Offer)
    }

    /// What we offer, where the protection of who is to answer ends here.
    fn ours(
        &self,
        theirs: Option<&Theirs>,
        random: &mut impl Random,
    ) -> Result<Vec<Crypto>, Fault> {
        let sdes = self.context.sdes(self.media.medium());
        let before = self.far_leg().and_then(|leg| leg.protection.as_ref());
        // A UE that nobody says has moved is where it was, and so are its rules.
        let may_stay = |keys: &&Keys| {
            self.context.access_network.is_none()
                || sdes.suites.as_slice().contains(&keys.send.suite)
        };
        if let Some(before) = before.and_then(Protection::keys).filter(may_stay) {
            // The same keys again, so that what flows goes on (RFC 4568 section 7.1.4).
            return Ok(vec![before.send.clone()]);
        }
        let without = match theirs {
            Some(Theirs::Sdes(theirs)) => Some(theirs.parameters.relaxed),
            Some(Theirs::Dtls(_)) | None => None,
        };
        let ours = sdes.offer(without.unwrap_or_default(), random)?;
        if ours.is_empty() {
            return Err(MediaRefusal::NoSuite.into());
        }
        Ok(ours)
    }

    /// What is offered to us in the suite agreed before, if we would rather take another.
    fn kept(&self, theirs: &Theirs) -> Option<Box<Crypto>> {
        let Theirs::Sdes(theirs) = theirs else {
            return None;
        };
        let suite = self.agreed(self.from)?.receive.suite;
        let offered = self.media.section().attributes(Crypto::NAME);
        let sdes = self.context.sdes(self.media.medium());
        let kept = (suite != theirs.suite).then(|| sdes.find(suite, offered));
        kept.flatten().map(Box::new)
    }

    /// The keys of a leg by now.
    fn agreed(&self, side: Side) -> Option<&Keys> {
        self.setup?.leg(side).protection.as_ref()?.keys()
    }

    /// The leg of who is to answer by now, unless that is somebody else.
    fn far_leg(&self) -> Option<&Leg> {
        let is_reset = self.context.asked.is_some_and(|asked| asked.is_reset);
        let setup = self.setup.filter(|_| !is_reset)?;
        Some(setup.leg(self.from.opposite()))
    }

    /// Our `a=tls-id` for who is to answer: the same as before, so that what flows goes on (RFC 8842
    /// section 5.1).
    fn our_id(&self, random: &mut impl Random) -> Result<String, Fault> {
        let before = self.far_leg().and_then(|leg| leg.protection.as_ref());
        match before.and_then(Protection::dtls) {
            Some(before) => Ok(before.id.clone()),
            None => Ok(Dtls::random_id(random)?),
        }
    }

    /// Our credentials for who is to answer: others would restart ICE (RFC 8445 section 9).
    fn our_ice(&self, random: &mut impl Random) -> Result<Credentials, Fault> {
        match self.ice_before() {
            Some(before) => Ok(before.local.clone()),
            None => Ok(Credentials::random(random)?),
        }
    }

    /// ICE of the leg of who is to answer.
    fn ice_before(&self) -> Option<&Ice> {
        self.far_leg()?.ice.as_ref()
    }

    /// Media that we do not handle.
    fn examine_other(&self) -> Result<Offer, MediaRefusal> {
        let media = self.media;
        let profile = media.profile();
        let is_tcp = matches!(
            profile,
            Profile::Msrp | Profile::MsrpTls | Profile::Bfcp | Profile::BfcpTls
        );
        // Once TLS can end here, this is the place to anchor them, as RTP is: the indications are
        // Mechanism::MsrpTls and Mechanism::BfcpTls, and keys are certificate fingerprints.
        if is_tcp && media.section().attribute(Crypto::NAME).is_some() {
            return Err(MediaRefusal::NotRtp);
        }
        if !profile.is_protected() {
            if self.e2ae() == E2ae::Required {
                return Err(MediaRefusal::Unprotected);
            }
            if self
                .setup
                .is_some_and(|setup| setup.treatment != Treatment::Plain)
            {
                return Err(MediaRefusal::Downgrade);
            }
        }
        Ok(Offer::Unanchored {
            profile: profile.clone(),
        })
    }

    /// Whether RTP is protected, and where that ends.
    fn examine_rtp(&self) -> Result<Treatment, MediaRefusal> {
        let is_protected = self.media.profile().is_protected();
        let before = self.setup.map(|setup| setup.treatment);
        let can_end_here = match self.from {
            Side::Access => self.may_end_here(),
            Side::Core => self.may_be_applied(),
        };
        Ok(match (self.from, is_protected, before) {
            (Side::Access, true, Some(Treatment::EndToAccessEdge))
            | (Side::Core, false, Some(Treatment::EndToAccessEdge)) => Treatment::EndToAccessEdge,
            (Side::Access, true, _) if can_end_here => Treatment::EndToAccessEdge,
            (_, true, _) if self.context.policy.end_to_end => Treatment::EndToEnd,
            (_, true, _) => return Err(MediaRefusal::EndToEnd),
            (Side::Access, false, Some(Treatment::EndToAccessEdge | Treatment::EndToEnd)) => {
                return Err(MediaRefusal::Downgrade);
            }
            // A call that is plain stays so, unless it must not be.
            (_, false, Some(Treatment::Plain)) if self.e2ae() != E2ae::Required => Treatment::Plain,
            (Side::Core, false, _) if can_end_here => Treatment::EndToAccessEdge,
            (Side::Core, false, Some(Treatment::EndToEnd)) => return Err(MediaRefusal::Downgrade),
            (_, false, _) if self.e2ae() == E2ae::Required => {
                return Err(MediaRefusal::Unprotected);
            }
            (_, false, _) => Treatment::Plain,
        })
    }

    /// Whether the protection that a UE offers ends here (TS 33.328 section 7.2.1).
    fn may_end_here(&self) -> bool {
        let is_requested = self
            .media
            .section()
            .attributes(INDICATION)
            .any(|indication| indication.trim_end() == REQUESTED);
        self.e2ae() != E2ae::Off
            && self.context.is_signalling_confidential
            && (!self.context.policy.needs_indications
                || is_requested && self.context.binding.has(Mechanism::SdesSrtp))
    }

    /// Whether protection is offered to a UE (TS 33.328 section 7.3.1).
    fn may_be_applied(&self) -> bool {
        self.context.is_signalling_confidential
            && match self.e2ae() {
                E2ae::Off => false,
                E2ae::Required if !self.context.policy.needs_indications => true,
                E2ae::Optional | E2ae::Required => self.context.binding.has(Mechanism::SdesSrtp),
            }
    }

    fn e2ae(&self) -> E2ae {
        self.context.e2ae(self.media.medium())
    }
}
