// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The calls of the ng front end: its words become offers, answers and deletions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sallyport_flow::{Realm, Refused};
use sallyport_signalling::dtls::Hash;
use sallyport_signalling::e2ae::{Asked, Handshakes, IceAsked, Osrtp};
use sallyport_signalling::ice;
use sallyport_signalling::ng::{
    self, Delete, Dtls, DtlsHash, EndpointLearning, Family, Flag, Ice, Limit, MediaEcho, Options,
    Query, Refusal, Report, SdpBody, Statistics, Tos, Traffic, Transport,
};
use sallyport_signalling::policy::RtcpMux;
use sallyport_signalling::sdp::{Medium, Profile, Sdp};
use sallyport_signalling::shape::Wanted;

use crate::call::{About, Answer, Dscp, Echoes, Learning, Offer, Part, Reach, Tags, Terms};
use crate::call_error::CallError;
use crate::data_plane::DataPlaneError;
use crate::manager::{Manager, ManagerError};
use crate::ng::{Calls, Config, Control};
use crate::ng_debug;
use crate::ng_keys;
use crate::ng_lines::Lines;
use crate::pierce;
use crate::ports::Version;
use crate::report::report;

/// The calls of the ng front end.
#[derive(Debug)]
pub(crate) struct NgCalls {
    manager: Arc<Manager>,
    interfaces: BTreeMap<String, Realm>,
    /// Tells this agent from others.
    instance: u64,
    control: Control,
}

impl Calls for NgCalls {
    fn control(&self) -> Control {
        self.control.clone()
    }

    async fn ping(&self) -> Result<(), Refusal> {
        self.manager.connection().await.map_err(refuse_manager)?;
        Ok(())
    }

    async fn has(&self, call_id: &str) -> bool {
        self.manager.entry_of_call(call_id).is_some()
    }

    async fn offer(&self, offer: ng::Offer) -> Result<SdpBody, Refusal> {
        let lines = self.lines(&offer.options, false);
        if let Some(fragment) = self.fragment(&offer.options, &offer.call_id, &offer.sdp) {
            return fragment;
        }
        let sdp = parse(&offer.sdp)?;
        if lines.is_loop(&sdp) {
            return Ok(offer.sdp);
        }
        let options = &offer.options;
        let is_shown = options.flags.contains(&Flag::Debug);
        if is_shown {
            ng_debug::show(&offer.call_id, "offered", &sdp);
        }
        let asked = self.asked(options, sdp).map_err(refuse)?;
        let offer = Offer {
            tags: Tags {
                call_id: offer.call_id,
                from: offer.from_tag,
                to: offer.to_tag,
                via: offer.via_branch,
            },
            ..asked
        };
        let sdp = self.manager.offer(&offer, &lines).await.map_err(refuse)?;
        if is_shown {
            ng_debug::show(&offer.tags.call_id, "the offer passed on", &sdp);
        }
        Ok(body(&sdp))
    }

    async fn answer(&self, answer: ng::Answer) -> Result<SdpBody, Refusal> {
        let lines = self.lines(&answer.options, true);
        if let Some(fragment) = self.fragment(&answer.options, &answer.call_id, &answer.sdp) {
            return fragment;
        }
        let sdp = parse(&answer.sdp)?;
        if lines.is_loop(&sdp) {
            return Ok(answer.sdp);
        }
        let is_shown = answer.options.flags.contains(&Flag::Debug);
        if is_shown {
            ng_debug::show(&answer.call_id, "answered", &sdp);
        }
        let about = about(&answer.options);
        let answer = Answer {
            tags: Tags {
                call_id: answer.call_id,
                from: answer.from_tag,
                to: Some(answer.to_tag),
                via: answer.via_branch,
            },
            to: None,
            sdp,
            terms: Terms::Asked(Asked {
                handshakes: self.handshakes(&answer.options, true),
                ..words(&answer.options)
            }),
            policy: ng_keys::of_answer(&self.manager.policy, &answer.options),
            about,
            is_final: answer.options.flags.contains(&Flag::Final),
        };
        let sdp = self.manager.answer(&answer, &lines).await.map_err(refuse)?;
        if is_shown {
            ng_debug::show(&answer.tags.call_id, "the answer passed on", &sdp);
        }
        pierce::open(&self.manager, &answer.tags.call_id);
        Ok(body(&sdp))
    }

    async fn delete(&self, delete: Delete) -> Result<Report, Refusal> {
        let part = Part {
            from: delete.from_tag,
            to: delete.to_tag,
            via: delete.via_branch,
        };
        let delay = delete.delay.unwrap_or(Duration::ZERO);
        let did = self.manager.end(&delete.call_id, &part, delay).await;
        Ok(report(&did.map_err(refuse)?, self.manager.now()))
    }

    async fn query(&self, query: Query) -> Result<Report, Refusal> {
        let did = self.manager.ask(&query.call_id).await.map_err(refuse)?;
        Ok(report(&did, self.manager.now()))
    }

    async fn list(&self, limit: usize) -> Vec<String> {
        self.manager.call_ids(limit)
    }

    async fn statistics(&self) -> Statistics {
        self.manager.ng_statistics().await
    }
}

impl NgCalls {
    pub(crate) fn new(manager: Arc<Manager>, config: &Config) -> Self {
        Self {
            manager,
            interfaces: config.interfaces.clone(),
            // Not a secret, and of no use to anybody but who wants a loop.
            instance: getrandom::u64().unwrap_or_default(),
            control: Control::default(),
        }
    }

    const fn lines<'a>(&'a self, options: &'a Options, is_answer: bool) -> Lines<'a> {
        Lines {
            options,
            instance: self.instance,
            is_answer,
            control: &self.control,
        }
    }

    /// What a client asks for in an offer; whom it is about is missing.
    fn asked(&self, options: &Options, sdp: Sdp) -> Result<Offer, CallError> {
        let [from, to] = [&options.from_interface, &options.to_interface]
            .map(|name| self.realm(name.as_deref()));
        let both = self.realm(options.interface.as_deref())?;
        let policy = ng_keys::of_offer(&self.manager.policy, options, &sdp)?;
        if policy.sdes.asked != ng_keys::relaxed(options) {
            self.control.note_unsupported("SDES");
        }
        Ok(Offer {
            tags: Tags {
                call_id: String::new(),
                from: String::new(),
                to: None,
                via: None,
            },
            terms: Terms::Asked(Asked {
                profile: profile(options),
                handshakes: self.handshakes(options, false),
                ..words(options)
            }),
            policy,
            sdp,
            realms: [from?.or(both), to?.or(both)],
            by: None,
            rtcp_mux: rtcp_mux(options),
            about: about(options),
            shape: Wanted {
                accepts_twice: osrtp(options, &[ng::Osrtp::Accept, ng::Osrtp::AcceptLegacy]),
                offers_twice: osrtp(options, &[ng::Osrtp::OfferLegacy]),
                without: options
                    .without
                    .iter()
                    .map(|name| Medium::from(name.as_str()))
                    .collect(),
            },
            version: version(options),
            moves_ports: options.flags.contains(&Flag::NoPortLatching)
                && !options.flags.contains(&Flag::PortLatching),
            dscp: match options.tos {
                None | Some(Tos::Default) => Some(Dscp::AsArrived),
                Some(Tos::Unchanged) => None,
                Some(Tos::Octet(octet)) => Some(Dscp::Marked(octet >> 2)),
            },
            max_streams: self.manager.limits.max_streams,
        })
    }

    /// What is answered to a fragment of trickle ICE; `None` where there is none.
    fn fragment(
        &self,
        options: &Options,
        call_id: &str,
        body: &SdpBody,
    ) -> Option<Result<SdpBody, Refusal>> {
        let text = std::str::from_utf8(body.expose()).ok()?;
        let has = options.flags.contains(&Flag::Fragment);
        let left = ice::without_candidates(text).filter(|_| has)?;
        let is_known = self.manager.entry_of_call(call_id).is_some();
        Some(if is_known {
            Ok(SdpBody::new(left.into_bytes()))
        } else {
            Err(Refusal::UnknownCall)
        })
    }

    /// What becomes of ICE and DTLS.
    fn handshakes(&self, options: &Options, is_answer: bool) -> Handshakes {
        let has = |flag| options.flags.contains(&flag);
        // `DTLS-reverse` is about who made the offer, `DTLS` about who gets the SDP: in an offer that
        // is who answers ours, and chooses its role itself (RFC 8842 section 5.2).
        let to_receiver = options.dtls.filter(|_| is_answer);
        let mut roles = [to_receiver, options.dtls_reverse].into_iter().flatten();
        let role = roles.find(|role| *role != Dtls::Off);
        // What the offer decided about DTLS the answer does not change.
        let takes_dtls = is_answer || options.dtls != Some(Dtls::Off);
        let hash = match options.dtls_fingerprint {
            Some(DtlsHash::Sha224) => Hash::Sha224,
            Some(DtlsHash::Sha384) => Hash::Sha384,
            Some(DtlsHash::Sha512) => Hash::Sha512,
            _ => Hash::Sha256,
        };
        Handshakes {
            ice: match options.ice {
                None | Some(Ice::Default) => IceAsked::AsOffered,
                Some(Ice::Remove) => IceAsked::Never,
                // Others' candidates are never left: nobody is to go past us.
                Some(_) => IceAsked::Always,
            },
            rejects_ice: has(Flag::RejectIce) || (is_answer && options.ice == Some(Ice::Remove)),
            trickles: has(Flag::TrickleIce),
            is_relay: options.ice == Some(Ice::ForceRelay),
            fingerprint: self.manager.fingerprint(hash).filter(|_| takes_dtls),
            no_sdes: options.sdes.off,
            prefers_sdes: options.sdes.prefer,
            is_active: role.map(|role| role == Dtls::Active),
            no_tls_id: has(Flag::NoTlsId),
        }
    }

    fn realm(&self, name: Option<&str>) -> Result<Option<Realm>, CallError> {
        let Some(name) = name else { return Ok(None) };
        let realm = Realm::ALL.into_iter().find(|realm| realm.name() == name);
        let realm = realm.or_else(|| self.interfaces.get(name).copied());
        realm
            .map(Some)
            .ok_or_else(|| CallError::Interface(name.to_owned()))
    }
}

fn parse(body: &SdpBody) -> Result<Sdp, Refusal> {
    Sdp::parse(body.expose()).map_err(|error| refuse(error.into()))
}

fn body(sdp: &Sdp) -> SdpBody {
    SdpBody::new(sdp.write().as_bytes().to_vec())
}

/// Whether a client says one of these of OSRTP.
fn osrtp(options: &Options, words: &[ng::Osrtp]) -> bool {
    words.iter().any(|word| options.osrtp.contains(word))
}

/// What a client asks for in so many words.
fn words(options: &Options) -> Asked {
    Asked {
        profile: None,
        recrypt: options.flags.contains(&Flag::Recrypt),
        indicates: options.flags.contains(&Flag::E2ae),
        is_reset: options.flags.contains(&Flag::Reset),
        osrtp: Osrtp {
            offers: osrtp(options, &[ng::Osrtp::Offer, ng::Osrtp::OfferLegacy]),
            accepts: osrtp(options, &[ng::Osrtp::Accept, ng::Osrtp::AcceptRfc]),
        },
        keeps_suite: options.sdes.keep,
        accepts_profile: options.transport == Some(Transport::Accept),
        handshakes: Handshakes::default(),
    }
}

/// The version of our address for who gets the SDP.
pub(crate) fn version(options: &Options) -> Option<Version> {
    options.address_family.map(|family| match family {
        Family::Ip6 => Version::V6,
        _ => Version::V4,
    })
}

/// The profile for who answers.
fn profile(options: &Options) -> Option<Profile> {
    let profile = match options.transport? {
        Transport::Avp => Profile::Avp,
        Transport::Avpf => Profile::Avpf,
        Transport::Savp => Profile::Savp,
        Transport::Savpf => Profile::Savpf,
        Transport::DtlsSavp => Profile::DtlsSavp,
        Transport::DtlsSavpf => Profile::DtlsSavpf,
        _ => return None,
    };
    // What is offered twice is plain, with keys, until then.
    let is_twice = osrtp(options, &[ng::Osrtp::OfferLegacy]);
    profile.plain().filter(|_| is_twice).or(Some(profile))
}

/// RTCP on the port of RTP, with who offers and with who answers.
fn rtcp_mux(options: &Options) -> Option<[RtcpMux; 2]> {
    let asks = |word| options.rtcp_mux.contains(&word);
    if options.rtcp_mux.is_empty() {
        return None;
    }
    let near = if asks(ng::RtcpMux::Reject) {
        RtcpMux::Never
    } else {
        RtcpMux::IfOffered
    };
    let far = if asks(ng::RtcpMux::Offer) || asks(ng::RtcpMux::Require) {
        RtcpMux::Always
    } else if asks(ng::RtcpMux::Demux) {
        RtcpMux::Never
    } else {
        RtcpMux::IfOffered
    };
    Some([near, far])
}

/// What a client says about who sent an SDP.
fn about(options: &Options) -> About {
    let has = |flag| options.flags.contains(&flag);
    let is_sip_source = has(Flag::SipSourceAddress) && !has(Flag::TrustAddress);
    let at_sip_source = options.received_from.filter(|_| is_sip_source);
    let learning = match options.endpoint_learning {
        Some(EndpointLearning::Off) => Learning::Off,
        _ if has(Flag::Asymmetric) => Learning::Asymmetric,
        _ if has(Flag::MediaHandover) => Learning::Handover,
        Some(EndpointLearning::Delayed) => Learning::Delayed,
        Some(EndpointLearning::Heuristic) => Learning::Heuristic,
        _ => Learning::Symmetric,
    };
    let echo = |sender, receiver| Some(Echoes { sender, receiver });
    About {
        label: options.label.clone(),
        metadata: options.metadata.clone(),
        reach: Reach {
            received_from: options.received_from,
            media_address: options.media_address.or(at_sip_source),
            learning,
            waits: has(Flag::NatWait),
            pierces: has(Flag::PierceNat),
        },
        silences: match (options.traffic, options.media_echo) {
            (Some(Traffic::Flow), _) => Some(false),
            (Some(_), _) | (None, Some(MediaEcho::Blackhole)) => Some(true),
            (None, _) => None,
        },
        echoes: options.media_echo.and_then(|towards| match towards {
            MediaEcho::Forward => echo(false, true),
            MediaEcho::Backwards => echo(true, false),
            MediaEcho::Both => echo(true, true),
            _ => None,
        }),
    }
}

/// As clients know it: some words make them try another gateway.
fn refuse(error: CallError) -> Refusal {
    match error {
        CallError::UnknownCall => Refusal::UnknownCall,
        CallError::Dialogue => Refusal::Dialogue,
        CallError::Sdp(_) => Refusal::Sdp,
        CallError::Manager(error) => refuse_manager(error),
        other => Refusal::Other(other.to_string()),
    }
}

fn refuse_manager(error: ManagerError) -> Refusal {
    match error {
        ManagerError::Exhausted(_) => Refusal::Limit(Limit::Ports),
        ManagerError::TooMany
        | ManagerError::DataPlane(DataPlaneError::Refused(Refused::Full { .. })) => {
            Refusal::Limit(Limit::Sessions)
        }
        // Nothing that could be set up would flow: others may do better.
        ManagerError::NotConnected | ManagerError::Draining | ManagerError::Store(_) => {
            Refusal::Limit(Limit::Load)
        }
        other => Refusal::Other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::Store;

    #[test]
    fn a_store_that_takes_nothing_has_clients_try_another_gateway() {
        let nowhere = Path::new("/proc/sallyport/store");
        let error = Store::open(nowhere, nowhere).unwrap_err();
        assert_eq!(refuse_manager(error.into()), Refusal::Limit(Limit::Load));
    }
}
