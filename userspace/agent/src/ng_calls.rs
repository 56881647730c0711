// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The calls of the ng front end: its words become offers, answers and deletions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sallyport_flow::{Realm, Refused};
use sallyport_signalling::Suite;
use sallyport_signalling::e2ae::Asked;
use sallyport_signalling::ng::{
    self, Delete, EndpointLearning, Family, Flag, Limit, Options, Query, Refusal, Report, SdpBody,
    Statistics, Tos, Traffic, Transport,
};
use sallyport_signalling::policy::{Policy, RtcpMux};
use sallyport_signalling::sdes::{Preference, Suites};
use sallyport_signalling::sdp::{Media, Profile, Sdp};

use crate::call::{About, Answer, Dscp, Learning, Offer, Part, Reach, Tags, Terms};
use crate::call_error::CallError;
use crate::data_plane::DataPlaneError;
use crate::manager::{Manager, ManagerError};
use crate::ng::{Calls, Config};
use crate::ng_lines::Lines;
use crate::ports::Version;
use crate::report::report;

/// The calls of the ng front end.
#[derive(Debug)]
pub(crate) struct NgCalls {
    manager: Arc<Manager>,
    interfaces: BTreeMap<String, Realm>,
    /// Tells this agent from others.
    instance: u64,
}

impl Calls for NgCalls {
    async fn ping(&self) -> Result<(), Refusal> {
        self.manager.connection().await.map_err(refuse_manager)?;
        Ok(())
    }

    async fn has(&self, call_id: &str) -> bool {
        self.manager.entry_of_call(call_id).is_some()
    }

    async fn offer(&self, offer: ng::Offer) -> Result<SdpBody, Refusal> {
        let lines = self.lines(&offer.options);
        let sdp = parse(&offer.sdp)?;
        if lines.is_loop(&sdp) {
            return Ok(offer.sdp);
        }
        let options = &offer.options;
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
        Ok(body(&sdp))
    }

    async fn answer(&self, answer: ng::Answer) -> Result<SdpBody, Refusal> {
        let lines = self.lines(&answer.options);
        let sdp = parse(&answer.sdp)?;
        if lines.is_loop(&sdp) {
            return Ok(answer.sdp);
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
            terms: Terms::Asked(Asked::default()),
            policy: self.manager.policy.clone(),
            about,
        };
        let sdp = self.manager.answer(&answer, &lines).await.map_err(refuse)?;
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
        }
    }

    const fn lines<'a>(&self, options: &'a Options) -> Lines<'a> {
        Lines {
            options,
            instance: self.instance,
        }
    }

    /// What a client asks for in an offer; whom it is about is missing.
    fn asked(&self, options: &Options, sdp: Sdp) -> Result<Offer, CallError> {
        let [from, to] = [&options.from_interface, &options.to_interface]
            .map(|name| self.realm(name.as_deref()));
        let both = self.realm(options.interface.as_deref())?;
        Ok(Offer {
            tags: Tags {
                call_id: String::new(),
                from: String::new(),
                to: None,
                via: None,
            },
            terms: Terms::Asked(Asked {
                profile: profile(options)?,
                recrypt: options.flags.contains(&Flag::Recrypt),
            }),
            policy: policy(&self.manager.policy, options, &sdp)?,
            sdp,
            realms: [from?.or(both), to?.or(both)],
            by: None,
            rtcp_mux: rtcp_mux(options),
            about: about(options),
            version: options.address_family.map(|family| match family {
                Family::Ip6 => Version::V6,
                _ => Version::V4,
            }),
            dscp: options.tos.and_then(|tos| match tos {
                Tos::Default => Some(Dscp::AsArrived),
                Tos::Unchanged => None,
                Tos::Octet(octet) => Some(Dscp::Marked(octet >> 2)),
            }),
            max_streams: self.manager.limits.max_streams,
        })
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

/// The profile for who answers.
fn profile(options: &Options) -> Result<Option<Profile>, CallError> {
    let Some(transport) = options.transport else {
        return Ok(None);
    };
    let profile = match transport {
        Transport::Avp => Profile::Avp,
        Transport::Avpf => Profile::Avpf,
        Transport::Savp | Transport::Savpf if options.sdes.off => {
            return Err(CallError::Unsupported(
                "SRTP without SDES: keys from DTLS are not supported; leave out SDES-off",
            ));
        }
        Transport::Savp => Profile::Savp,
        Transport::Savpf => Profile::Savpf,
        Transport::DtlsSavp | Transport::DtlsSavpf => {
            return Err(CallError::Unsupported(
                "DTLS-SRTP is not supported; ask for RTP/SAVP",
            ));
        }
        _ => return Ok(None),
    };
    Ok(Some(profile))
}

/// The gateway's policy with the client's wishes for keys. Only suites that the gateway takes
/// anyhow are offered.
fn policy(of_gateway: &Policy, options: &Options, sdp: &Sdp) -> Result<Policy, CallError> {
    let mut policy = of_gateway.clone();
    let wishes = &options.sdes;
    let names = |list: &[String], suite: &Suite| {
        list.iter()
            .any(|name| name.eq_ignore_ascii_case(suite.name()))
    };
    let offered: Vec<String> = sdp
        .media()
        .iter()
        .flat_map(|media| media.section().attributes("crypto"))
        .filter_map(|text| {
            text.split([' ', '\t'])
                .filter(|word| !word.is_empty())
                .nth(1)
        })
        .map(str::to_owned)
        .collect();
    let mut suites: Vec<Suite> = policy.sdes.suites.as_slice().to_vec();
    suites.retain(|suite| {
        if wishes.only.is_empty() {
            !names(&wishes.without, suite)
        } else {
            names(&wishes.only, suite)
        }
    });
    // Where none was offered that could be, as by a plain peer, all of them are new.
    let is_offered = |suite: &Suite| names(&offered, suite);
    let may_stay = |suite: &Suite| is_offered(suite) && suite.may_be_offered();
    if wishes.no_new && suites.iter().any(may_stay) {
        suites.retain(is_offered);
    }
    let order = if wishes.offerer_preference.is_empty() {
        &wishes.order
    } else {
        &wishes.offerer_preference
    };
    let rank = |suite: &Suite| {
        let at = order
            .iter()
            .position(|name| name.eq_ignore_ascii_case(suite.name()));
        at.unwrap_or(order.len())
    };
    suites.sort_by_key(rank);
    let is_srtp = |media: &Media| {
        let profile = media.profile();
        media.port() != 0 && profile.is_rtp() && profile.is_protected()
    };
    let is_asked = matches!(options.transport, Some(Transport::Savp | Transport::Savpf));
    match Suites::new(suites) {
        Ok(suites) => policy.sdes.suites = suites,
        Err(_) if is_asked || sdp.media().iter().any(is_srtp) => {
            return Err(CallError::Unsupported(
                "no suite is left that may be used; allow one of policy.suites with SDES-only or \
                 SDES-no",
            ));
        }
        // Nothing is to be protected.
        Err(_) => (),
    }
    if !wishes.offerer_preference.is_empty() {
        policy.sdes.preference = Preference::Ours;
    }
    Ok(policy)
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
        _ => Learning::Symmetric,
    };
    About {
        label: options.label.clone(),
        reach: Reach {
            received_from: options.received_from,
            media_address: options.media_address.or(at_sip_source),
            learning,
        },
        silences: options.traffic.and_then(|traffic| match traffic {
            Traffic::Drop => Some(true),
            Traffic::Flow => Some(false),
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
    fn wishes_for_suites_are_kept_or_refused() {
        let agent = Policy {
            sdes: sallyport_signalling::sdes::Sdes {
                suites: Suites::new([Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32])
                    .unwrap(),
                ..Default::default()
            },
            ..Policy::default()
        };
        let (gcm, long, short) = (
            "AEAD_AES_256_GCM",
            "AES_CM_128_HMAC_SHA1_80",
            "AES_CM_128_HMAC_SHA1_32",
        );
        let srtp = |suite: &str| format!("RTP/SAVP 0\na=crypto:1 {suite} inline:x\n");
        let (plain, with_gcm, with_short) = ("RTP/AVP 0\n".to_owned(), srtp(gcm), srtp(short));
        let avp = Some(Transport::Avp);
        let savp = Some(Transport::Savp);
        for (media, transport, only, without, no_new, left) in [
            (&with_gcm, avp, vec![gcm], vec![], false, None),
            (&plain, savp, vec![gcm], vec![], false, None),
            (&plain, savp, vec![], vec![long, short], false, None),
            // Nothing is to be protected.
            (
                &plain,
                avp,
                vec![gcm],
                vec![],
                false,
                Some(vec![long, short]),
            ),
            (
                &with_short,
                avp,
                vec![],
                vec![long],
                false,
                Some(vec![short]),
            ),
            (&with_short, savp, vec![], vec![], true, Some(vec![short])),
            (&plain, savp, vec![], vec![], true, Some(vec![long, short])),
            (&with_gcm, savp, vec![long], vec![], true, Some(vec![long])),
            (&with_gcm, savp, vec![gcm], vec![], true, None),
        ] {
            let text = format!(
                "v=0\no=- 1 1 IN IP4 192.0.2.7\ns=-\nc=IN IP4 192.0.2.7\nt=0 0\nm=audio 5004 {media}"
            );
            let sdp = Sdp::parse(text.as_bytes()).unwrap();
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let mut options = Options::default();
            options.transport = transport;
            options.sdes.only = owned(&only);
            options.sdes.without = owned(&without);
            options.sdes.no_new = no_new;
            let made = policy(&agent, &options, &sdp).ok();
            let names = made.map(|policy| {
                let suites = policy.sdes.suites.as_slice().iter();
                suites.map(|suite| suite.name()).collect::<Vec<_>>()
            });
            assert_eq!(names, left, "{only:?} {without:?} {no_new} {media}");
        }
    }

    #[test]
    fn a_store_that_takes_nothing_has_clients_try_another_gateway() {
        let nowhere = Path::new("/proc/sallyport/store");
        let error = Store::open(nowhere, nowhere).unwrap_err();
        assert_eq!(refuse_manager(error.into()), Refusal::Limit(Limit::Load));
    }
}
