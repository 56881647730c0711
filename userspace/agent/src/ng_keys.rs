// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The keys that ng clients ask for: the gateway's policy with their words of `SDES`.

use sallyport_signalling::Suite;
use sallyport_signalling::ng::{Options, Transport};
use sallyport_signalling::policy::Policy;
use sallyport_signalling::sdes::{AskedRelaxed, Preference, Suites};
use sallyport_signalling::sdp::{Media, Sdp};

use crate::call_error::CallError;

/// The lifetime that clients want to be stated, in packets.
const LIFETIME: u64 = 1 << 31;

/// What an offer is held to. Only suites that the gateway takes anyhow are offered or taken.
///
/// # Errors
/// [`CallError::Unsupported`] when no suite is left for media that is to be protected, or packets
/// under keys in SDP are to go without encryption or authentication.
pub(crate) fn of_offer(
    of_gateway: &Policy,
    options: &Options,
    sdp: &Sdp,
) -> Result<Policy, CallError> {
    let mut policy = of_answer(of_gateway, options);
    let wishes = &options.sdes;
    let is_srtp = |media: &Media| {
        let profile = media.profile();
        media.port() != 0 && profile.is_rtp() && profile.is_protected() && !profile.is_dtls()
    };
    let is_srtp_offered = sdp.media().iter().any(is_srtp);
    let is_srtp_asked = matches!(options.transport, Some(Transport::Savp | Transport::Savpf));
    // Without SDES keys are from DTLS.
    let is_asked = is_srtp_asked && !wishes.off;
    policy.sdes.asked = relaxed(options);
    if !policy.sdes.allows_what_is_asked() {
        if is_srtp_offered || is_asked || !options.osrtp.is_empty() {
            return Err(CallError::Unsupported(
                "SRTP is encrypted and authenticated here: leave SDES-unencrypted_srtp and \
                 SDES-unauthenticated_srtp out; SDES-unencrypted_srtcp needs \
                 agent.policy.unencrypted_srtcp = true",
            ));
        }
        // It is about nothing.
        policy.sdes.asked = AskedRelaxed::default();
    }
    let ours = policy.sdes.suites.as_slice();
    let has = |list: &[String], suite: &Suite| {
        list.iter()
            .any(|name| name.eq_ignore_ascii_case(suite.name()))
    };
    let is_wanted = |suite: &Suite| {
        wishes.no_new
            || if wishes.only.is_empty() {
                !has(&wishes.without, suite)
            } else {
                has(&wishes.only, suite)
            }
    };
    let wanted: Vec<_> = ours.iter().copied().filter(is_wanted).collect();
    let offered = suites_of(sdp);
    let is_offered = |suite: &Suite| offered.contains(suite);
    let no_suite = CallError::Unsupported(
        "no suite is left that may be used; allow one of policy.suites with SDES-only or SDES-no",
    );

    // For who answers. Where none was offered that could be, as by a plain peer, all are new.
    let may_stay = |suite: &Suite| is_offered(suite) && suite.may_be_offered();
    let mut to_offer = wanted.clone();
    if wishes.no_new && wanted.iter().any(may_stay) {
        to_offer.retain(is_offered);
    }
    sort(&mut to_offer, &wishes.order);
    to_offer.retain(|suite| suite.may_be_offered());
    if to_offer.is_empty() && is_asked {
        return Err(no_suite);
    }

    // Of who offers. If nothing that is wanted is offered, the first is taken that could be.
    let mut to_take = wanted;
    if !to_take.iter().any(is_offered) && ours.iter().any(is_offered) {
        to_take = ours.to_vec();
        policy.sdes.preference = Preference::Offerer;
    }
    if !wishes.offerer_preference.is_empty() {
        sort(&mut to_take, &wishes.offerer_preference);
        policy.sdes.preference = Preference::Ours;
    }
    match Suites::new(to_take) {
        Ok(suites) => policy.sdes.suites = suites,
        Err(_) if is_srtp_offered => return Err(no_suite),
        // Nothing is to be protected.
        Err(_) => (),
    }
    policy.sdes.offered = Some(to_offer);
    Ok(policy)
}

/// What an answer is held to.
pub(crate) fn of_answer(of_gateway: &Policy, options: &Options) -> Policy {
    let mut policy = of_gateway.clone();
    policy.sdes.lifetime = options.sdes.lifetime.then_some(LIFETIME);
    policy
}

/// What packets are asked to go without.
pub(crate) const fn relaxed(options: &Options) -> AskedRelaxed {
    let wishes = &options.sdes;
    AskedRelaxed {
        unencrypted_srtp: wishes.unencrypted_srtp,
        unencrypted_srtcp: wishes.unencrypted_srtcp,
        unauthenticated_srtp: wishes.unauthenticated_srtp,
    }
}

/// The suites that an SDP offers.
fn suites_of(sdp: &Sdp) -> Vec<Suite> {
    let crypto = sdp
        .media()
        .iter()
        .flat_map(|media| media.section().attributes("crypto"));
    crypto
        .filter_map(|text| {
            let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
            words.nth(1)?.parse().ok()
        })
        .collect()
}

/// Puts some suites in front, in their order.
fn sort(suites: &mut [Suite], first: &[String]) {
    suites.sort_by_key(|suite| {
        let mut names = first.iter();
        let at = names.position(|name| name.eq_ignore_ascii_case(suite.name()));
        at.unwrap_or(first.len())
    });
}

#[cfg(test)]
mod tests {
    use sallyport_signalling::sdes::Sdes;

    use super::*;

    const GCM: &str = "AEAD_AES_256_GCM";
    const LONG: &str = "AES_CM_128_HMAC_SHA1_80";
    const SHORT: &str = "AES_CM_128_HMAC_SHA1_32";

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn names(suites: &[Suite]) -> Vec<&'static str> {
        suites.iter().map(|suite| suite.name()).collect()
    }

    fn gateway() -> Policy {
        Policy {
            sdes: Sdes {
                suites: Suites::new([Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32])
                    .unwrap(),
                ..Sdes::default()
            },
            ..Policy::default()
        }
    }

    /// An offer of SRTP with suites, or in clear without.
    fn sdp(suites: &[&str]) -> Sdp {
        let profile = if suites.is_empty() {
            "RTP/AVP"
        } else {
            "RTP/SAVP"
        };
        let crypto = (1..).zip(suites);
        let crypto = crypto.map(|(tag, suite)| format!("a=crypto:{tag} {suite} inline:x\n"));
        let crypto: String = crypto.collect();
        let text = format!(
            "v=0\no=- 1 1 IN IP4 192.0.2.7\ns=-\nc=IN IP4 192.0.2.7\nt=0 0\n\
             m=audio 5004 {profile} 0\n{crypto}"
        );
        Sdp::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn wishes_for_suites_are_kept_or_refused() {
        let avp = Some(Transport::Avp);
        let savp = Some(Transport::Savp);
        let (both, none) = (vec![LONG, SHORT], None);
        // What is offered to us, the profile for the other side, `only`, `no` and `nonew`; what we
        // may take, and what we offer.
        for (offered, transport, only, without, no_new, left) in [
            (vec![GCM], avp, vec![GCM], vec![], false, none.clone()),
            (vec![], savp, vec![GCM], vec![], false, none.clone()),
            (vec![], savp, vec![], vec![LONG, SHORT], false, none.clone()),
            // Nothing is to be protected, so nothing is offered either.
            (
                vec![],
                avp,
                vec![GCM],
                vec![],
                false,
                Some((both.clone(), vec![])),
            ),
            // Protection that goes on as it is offered.
            (
                vec![SHORT],
                None,
                vec![GCM],
                vec![],
                false,
                Some((both.clone(), vec![])),
            ),
            (
                vec![SHORT],
                avp,
                vec![],
                vec![LONG],
                false,
                Some((vec![SHORT], vec![SHORT])),
            ),
            // `nonew` is about what is offered on, and the others are of no account beside it.
            (
                vec![SHORT],
                savp,
                vec![],
                vec![],
                true,
                Some((both.clone(), vec![SHORT])),
            ),
            (
                vec![SHORT],
                savp,
                vec![LONG],
                vec![SHORT],
                true,
                Some((both.clone(), vec![SHORT])),
            ),
            (
                vec![],
                savp,
                vec![],
                vec![],
                true,
                Some((both.clone(), both.clone())),
            ),
            // The offerer is not left without, and the other side is not offered it.
            (
                vec![SHORT],
                savp,
                vec![LONG],
                vec![],
                false,
                Some((both.clone(), vec![LONG])),
            ),
        ] {
            let mut options = Options::default();
            options.transport = transport;
            options.sdes.only = owned(&only);
            options.sdes.without = owned(&without);
            options.sdes.no_new = no_new;
            let made = of_offer(&gateway(), &options, &sdp(&offered)).ok();
            let made = made.map(|policy| {
                let Sdes {
                    suites, offered, ..
                } = &policy.sdes;
                (names(suites.as_slice()), names(offered.as_ref().unwrap()))
            });
            assert_eq!(made, left, "{offered:?} {only:?} {without:?} {no_new}");
        }
    }

    #[test]
    fn what_is_offered_and_what_is_taken_have_orders_of_their_own() {
        let mut options = Options::default();
        options.transport = Some(Transport::Savp);
        options.sdes.order = owned(&[GCM, SHORT]);
        let policy = of_offer(&gateway(), &options, &sdp(&[LONG])).unwrap();
        assert_eq!(names(policy.sdes.suites.as_slice()), [LONG, SHORT]);
        assert_eq!(names(&policy.sdes.offered.unwrap()), [SHORT, LONG]);
        options.sdes.order.clear();
        options.sdes.offerer_preference = owned(&[SHORT]);
        let policy = of_offer(&gateway(), &options, &sdp(&[LONG, SHORT])).unwrap();
        assert_eq!(names(policy.sdes.suites.as_slice()), [SHORT, LONG]);
        assert_eq!(names(&policy.sdes.offered.unwrap()), [LONG, SHORT]);
        // Not wanted, and the only one that could be taken of what is offered.
        options.sdes.offerer_preference.clear();
        options.sdes.only = owned(&[LONG]);
        let policy = of_offer(&gateway(), &options, &sdp(&[GCM, SHORT])).unwrap();
        assert_eq!(policy.sdes.preference, Preference::Offerer);
    }
}
