// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The ports that an offer needs: those of new streams, and others for who can no longer be reached
//! at the ones it has, or is to be led to others. Media flows through the old ones until there is an
//! answer, and goes on to if there is none.

use std::collections::BTreeMap;

use sallyport_flow::Realm;
use sallyport_signalling::e2ae::{self, Ports, Setup, Side};
use sallyport_signalling::ice::Credentials;
use sallyport_signalling::sdp::{Media, Sdp};

use super::party::Party;
use super::request::Offer;
use super::{Call, TakePorts, Wanted};
use crate::call_error::CallError;
use crate::ports::Version;

/// An offer, and whose it is.
pub(super) struct Offered<'a> {
    pub(super) call: &'a e2ae::Call,
    pub(super) offer: &'a Offer,
    pub(super) sdp: &'a Sdp,
    pub(super) near: Side,
    pub(super) party: Option<&'a Party>,
    pub(super) realms: [Realm; 2],
}

impl Offered<'_> {
    /// Takes the ports, by m-line.
    pub(super) fn ports(
        &self,
        take_ports: &mut TakePorts<'_>,
    ) -> Result<BTreeMap<usize, Ports>, CallError> {
        // The same offer once more, of which nothing came, is passed on with the same ports.
        let own = self.call.kept_ports().zip(self.call.ports());
        let own: Vec<_> = own.zip(self.call.setups()).collect();
        let (near, far) = (self.near, self.near.opposite());
        let mut take = |side: Side, wanted| {
            let ends = take_ports(self.realms[side as usize], wanted)?;
            Ok::<_, CallError>(e2ae::Ends {
                rtp: ends.rtp,
                rtcp: ends.rtcp,
            })
        };
        let mut ports = BTreeMap::new();
        for (index, media) in self.sdp.media().iter().enumerate() {
            if media.port() == 0 || !media.profile().is_rtp() {
                continue;
            }
            let ((kept, next), setup) = own.get(index).copied().unwrap_or_default();
            let known = |side: Side| {
                [kept, next]
                    .into_iter()
                    .flatten()
                    .map(move |it| it.of(side))
            };
            let near_stays = known(near).find(|ends| !self.moves_near(index, media, *ends, setup));
            let far_stays = known(far)
                .find(|ends| self.offer.version.is_none_or(|wanted| is_of(*ends, wanted)));
            if kept.is_some()
                && near_stays == kept.map(|kept| kept.of(near))
                && far_stays == kept.map(|kept| kept.of(far))
            {
                continue;
            }
            let ip = self.sdp.connection(media).and_then(|at| at.ip());
            let version = ip.map(Version::of);
            let near_ends = match near_stays {
                Some(ends) => ends,
                None => take(near, version.map_or(Wanted::Any, Wanted::Exactly))?,
            };
            let far_ends = match (far_stays, self.offer.version, version) {
                (Some(ends), ..) => ends,
                (None, Some(version), _) => take(far, Wanted::Exactly(version))?,
                (None, None, Some(version)) => take(far, Wanted::Rather(version))?,
                (None, None, None) => take(far, Wanted::Any)?,
            };
            let (access, core) = match near {
                Side::Access => (near_ends, far_ends),
                Side::Core => (far_ends, near_ends),
            };
            ports.insert(index, Ports { access, core });
        }
        Ok(ports)
    }

    /// Whether who offers is to be led to other ports than these: it speaks another version of IP
    /// now, or is elsewhere and the proxy wants that to be seen.
    fn moves_near(
        &self,
        index: usize,
        media: &Media,
        ends: e2ae::Ends,
        setup: Option<&Setup>,
    ) -> bool {
        let ip = self.sdp.connection(media).and_then(|at| at.ip());
        let Some(ip) = ip.filter(|ip| !ip.is_unspecified()) else {
            return false;
        };
        let before = setup.and_then(|setup| setup.leg(self.near).ice.as_ref());
        let has_moved = match before.zip(Credentials::parse(self.sdp, media)) {
            // Its address is only a guess, but without a restart of ICE it is where it was.
            Some((before, now)) => before.remote != now,
            None if !is_of(ends, Version::of(ip)) => return true,
            None => {
                let index = u16::try_from(index).ok();
                let known = index
                    .zip(self.party)
                    .and_then(|(at, party)| party.known(at));
                known.is_some_and(|known| known.rtp != (ip, media.port()).into())
            }
        };
        has_moved && self.offer.moves_ports
    }
}

impl Call {
    /// Whether what flows after an answer arrives elsewhere than before: then it is other flows.
    pub(super) fn moves(before: &e2ae::Call, after: &e2ae::Call) -> bool {
        let local = |setup: &Setup| [setup.access.local.rtp, setup.core.local.rtp];
        let mut both = before.setups().zip(after.setups());
        both.any(|(before, after)| {
            let both = before.zip(after);
            both.is_some_and(|(before, after)| local(before) != local(after))
        })
    }
}

fn is_of(ends: e2ae::Ends, version: Version) -> bool {
    Version::of(ends.rtp.ip()) == version
}
