// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the golden files cannot show. They are in `tests/golden/`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::mediasec::Mechanisms;
use crate::policy::{E2ae, Rule};
use crate::random::testing::Counting;
use crate::random::{Random, RandomError, SystemRandom};
use crate::sdp::Sdp;

const KEY: &str = "inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

fn ports() -> BTreeMap<usize, Ports> {
    let ends = |port: u16| Ends {
        rtp: ([192, 0, 2, 1], port).into(),
        rtcp: ([192, 0, 2, 1], port + 1).into(),
    };
    let ports = |i: u16| Ports {
        access: ends(40000 + 2 * i),
        core: ends(50000 + 2 * i),
    };
    (0..100).map(|i| (usize::from(i), ports(i))).collect()
}

fn context(policy: &Policy) -> Context<'_> {
    let mechanisms = Mechanisms::parse(["sdes-srtp;mediasec"]);
    Context {
        policy,
        binding: Binding {
            ue: mechanisms,
            network: mechanisms,
        },
        access_network: None,
        is_signalling_confidential: true,
    }
}

fn sdp(media: &str) -> Sdp {
    let text = format!("v=0\no=- 1 1 IN IP4 10.0.0.9\ns=-\nc=IN IP4 10.0.0.9\nt=0 0\n{media}");
    Sdp::parse(text.as_bytes()).unwrap()
}

fn protected_offer() -> Sdp {
    sdp(&format!(
        "m=audio 4000 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}\na=3ge2ae:requested\n"
    ))
}

#[test]
fn no_key_is_ever_printed() {
    let policy = Policy::default();
    let context = context(&policy);
    let mut random = Counting::default();
    let (call, offered) = Call::new()
        .offer(
            Side::Access,
            &protected_offer(),
            &ports(),
            &context,
            &mut random,
        )
        .unwrap();
    let answer = sdp("m=audio 4002 RTP/AVP 0\n");
    let (call, answered) = call.answer(&answer, &context, &mut random).unwrap();
    assert!(matches!(answered.streams[0].action, Action::Install(_)));
    let printed = format!("{call:?} {offered:?} {answered:?}");
    for key in ["WVNf", "AQID", "89, 83, 95", "1, 2, 3"] {
        assert!(!printed.contains(key), "{printed}");
    }
}

#[test]
fn ports_are_asked_for_where_rtp_needs_some_and_missed_if_they_are_not_there() {
    let policy = Policy::default();
    let context = context(&policy);
    let offer = sdp(
        "m=message 4000 TCP/MSRP *\nm=audio 4002 RTP/AVP 0\nm=video 0 RTP/AVP 31\n\
         m=video 4004 RTP/AVPF 31\n",
    );
    assert_eq!(Call::new().wanted_ports(&offer), [1, 3]);
    let mut some = ports();
    some.remove(&3);
    let mut random = Counting::default();
    let refusal = Call::new()
        .offer(Side::Core, &offer, &some, &context, &mut random)
        .unwrap_err();
    assert_eq!(refusal, Refusal::NoPorts { index: 3 });
    assert_eq!(refusal.sip_status(), 503);
    let (call, _) = Call::new()
        .offer(Side::Core, &offer, &ports(), &context, &mut random)
        .unwrap();
    assert_eq!(call.wanted_ports(&offer), []);
}

#[test]
fn without_random_bytes_there_is_no_call() {
    struct Dry;
    impl Random for Dry {
        fn fill(&mut self, _: &mut [u8]) -> Result<(), RandomError> {
            Err(RandomError)
        }
    }
    let policy = Policy::default();
    let context = context(&policy);
    let plain = sdp("m=audio 4002 RTP/AVP 0\n");
    let refusal = Call::new()
        .offer(Side::Core, &plain, &ports(), &context, &mut Dry)
        .unwrap_err();
    assert_eq!(refusal, Refusal::Random(RandomError));
    let (call, _) = Call::new()
        .offer(
            Side::Access,
            &protected_offer(),
            &ports(),
            &context,
            &mut Dry,
        )
        .unwrap();
    let refusal = call.answer(&plain, &context, &mut Dry).unwrap_err();
    assert_eq!(refusal.sip_status(), 500);
}

#[test]
fn every_key_of_a_call_is_another() {
    let policy = Policy::default();
    let context = context(&policy);
    let media = "m=audio 4002 RTP/AVP 0\n".repeat(5);
    let mut keys = Vec::new();
    for _ in 0..2 {
        let (_, decision) = Call::new()
            .offer(
                Side::Core,
                &sdp(&media),
                &ports(),
                &context,
                &mut SystemRandom,
            )
            .unwrap();
        for media in decision.sdp.media() {
            let attributes = media.section().attributes("crypto");
            keys.extend(
                attributes.map(|text| text.split_once("inline:").unwrap().1[..37].to_owned()),
            );
        }
    }
    let all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!((keys.len(), all), (80, 80));
}

/// One `m=` line and what belongs to it.
fn any_media() -> impl Strategy<Value = String> {
    let line = "m=(audio|video|message|x) (0|4[0-9]{3}(/2)?) \
                (RTP/S?AVPF?|TCP/(TLS/)?MSRP|udptl|UDP/TLS/RTP/SAVPF) 0";
    let attribute = prop_oneof![
        Just("a=3ge2ae:requested".to_owned()),
        Just("a=rtcp-mux".to_owned()),
        Just("a=fingerprint:sha-1 00".to_owned()),
        "a=(sendonly|recvonly|inactive|bundle-only)",
        "a=rtcp:[0-9]{1,6}",
        "c=IN IP4 (10\\.0\\.0\\.8|0\\.0\\.0\\.0|host\\.example)",
        ("[1-9]", "80|32").prop_map(|(tag, bits)| {
            format!("a=crypto:{tag} AES_CM_128_HMAC_SHA1_{bits} {KEY}")
        }),
        "a=crypto:[ -~]{0,30}",
    ];
    (line, proptest::collection::vec(attribute, 0..6))
        .prop_map(|(line, attributes)| format!("{line}\n{}\n", attributes.join("\n")))
}

fn any_sdp() -> impl Strategy<Value = Sdp> {
    proptest::collection::vec(any_media(), 1..4).prop_map(|media| sdp(&media.concat()))
}

proptest! {
    /// Whatever is offered and answered, in whichever order: nothing panics, no line gets lost, no
    /// key of an access leg reaches the core, and what was protected stays so.
    #[test]
    fn protection_is_never_given_up(
        events in proptest::collection::vec((0_u8..4, any_sdp()), 1..8),
        is_required: bool,
        needs_indications: bool,
    ) {
        let e2ae = if is_required { E2ae::Required } else { E2ae::Optional };
        let policy = Policy {
            rules: vec![Rule { medium: None, access_network: None, e2ae }],
            needs_indications,
            ..Policy::default()
        };
        let context = context(&policy);
        let mut random = Counting::default();
        let mut call = Call::new();
        let mut offerer = Side::Access;
        for (kind, sdp) in events {
            let from = match kind {
                0 => Side::Access,
                1 => Side::Core,
                _ => offerer.opposite(),
            };
            let result = match kind {
                0 | 1 => call.offer(from, &sdp, &ports(), &context, &mut random),
                2 => call.answer(&sdp, &context, &mut random),
                _ => {
                    call = call.reject().0;
                    continue;
                }
            };
            let Ok((after, decision)) = result else { continue };
            if kind < 2 {
                offerer = from;
            }
            prop_assert_eq!(decision.streams.len(), sdp.media().len());
            prop_assert_eq!(decision.sdp.media().len(), sdp.media().len());
            let text = decision.sdp.write();
            let again = Sdp::parse(text.as_bytes());
            prop_assert_eq!(again.as_ref(), Ok(&decision.sdp));
            for (stream, media) in decision.streams.iter().zip(decision.sdp.media()) {
                let keys = media.section().attributes("crypto").count();
                if stream.treatment == Treatment::EndToAccessEdge {
                    let is_access = from == Side::Core;
                    prop_assert_eq!(keys > 0, is_access, "{}", *text);
                    prop_assert_eq!(media.profile().plain().is_some(), is_access);
                }
                if let Action::Install(setup) = &stream.action {
                    let is_protected = setup.access.protection.is_some();
                    prop_assert_eq!(is_protected, setup.treatment == Treatment::EndToAccessEdge);
                    prop_assert!(!(is_required && setup.treatment == Treatment::Plain));
                    prop_assert_eq!(&setup.core.protection, &None);
                }
            }
            for (before, after) in call.setups().zip(after.setups()) {
                if let (Some(before), Some(after)) = (before, after) {
                    let is_downgrade = before.treatment != Treatment::Plain
                        && after.treatment == Treatment::Plain;
                    prop_assert!(!is_downgrade);
                }
            }
            call = after;
        }
    }
}
