// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the golden files cannot show. They are in `tests/golden/`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::mediasec::Mechanisms;
use crate::policy::{AccessNetwork, E2ae, Rule};
use crate::random::testing::Counting;
use crate::random::{Random, RandomError, SystemRandom};
use crate::sdes::{Sdes, Suite, Suites};
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
        asked: None,
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
    assert!(call.wanted_ports(&offer).is_empty());
}

#[test]
fn other_ports_take_the_place_of_those_that_a_stream_has_once_there_is_an_answer() {
    let policy = Policy::default();
    let context = context(&policy);
    let mut random = Counting::default();
    let plain = sdp("m=audio 4002 RTP/AVP 0\n");
    let mut play = |call: &Call, ports: &BTreeMap<usize, Ports>| {
        let offered = call.offer(Side::Access, &plain, ports, &context, &mut random);
        let offered = offered.unwrap().0;
        let answered = offered.answer(&plain, &context, &mut random).unwrap();
        (offered, answered.0)
    };
    let locals = |call: &Call| {
        let setup = call.setups().next().unwrap().unwrap();
        [setup.access.local.rtp.port(), setup.core.local.rtp.port()]
    };
    let held = |call: &Call| {
        let held = call.held().map(|(_, rtp)| rtp.port());
        held.collect::<std::collections::BTreeSet<_>>()
    };
    let (_, first) = play(&Call::new(), &ports());
    assert_eq!(locals(&first), [40000, 50000]);
    let mut others = ports()[&0];
    others.access.rtp.set_port(40200);
    let others = BTreeMap::from([(0, others)]);
    let (offered, answered) = play(&first, &others);
    assert_eq!(locals(&offered), [40000, 50000]);
    assert_eq!(held(&offered), [40000, 40200, 50000].into());
    assert_eq!(locals(&answered), [40200, 50000]);
    assert_eq!(held(&answered), [40200, 50000].into());
    // Refused, they are nobody's, whoever makes the next offer and whether anybody says so or not.
    let rejected = offered.reject().0;
    assert_eq!(held(&rejected), [40000, 50000].into());
    for call in [&rejected, &offered] {
        let (again, after) = play(call, &BTreeMap::new());
        assert_eq!(held(&again), [40000, 50000].into());
        assert_eq!(locals(&after), [40000, 50000]);
    }
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

/// A session description, most often one that makes sense where it stands.
fn any_sdp() -> impl Strategy<Value = Sdp> {
    let key = format!("AES_CM_128_HMAC_SHA1_80 {KEY}");
    let sensible = proptest::sample::select(vec![
        "m=audio 4000 RTP/AVP 0\n".to_owned(),
        format!("m=audio 4000 RTP/SAVP 0\na=crypto:5 {key}\na=3ge2ae:requested\n"),
        format!("m=audio 4000 RTP/SAVP 0\na=crypto:5 {key}\n"),
    ]);
    prop_oneof![
        4 => sensible,
        1 => proptest::collection::vec(any_media(), 1..4).prop_map(|media| media.concat()),
    ]
    .prop_map(|media| sdp(&media))
}

/// An offer, and what comes of it.
#[derive(Clone, Debug)]
enum Outcome {
    Answered(Sdp),
    Rejected,
    Unanswered,
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        8 => any_sdp().prop_map(Outcome::Answered),
        1 => Just(Outcome::Rejected),
        1 => Just(Outcome::Unanswered),
    ]
}

/// What must hold after any event: `sdp` came, and `decision` was made about it.
fn check(sdp: &Sdp, decision: &Decision, to: Side, is_required: bool) -> Result<(), TestCaseError> {
    prop_assert!(decision.streams.len() >= sdp.media().len());
    prop_assert_eq!(decision.sdp.media().len(), sdp.media().len());
    let text = decision.sdp.write();
    let again = Sdp::parse(text.as_bytes());
    prop_assert_eq!(again.as_ref(), Ok(&decision.sdp));
    for (stream, media) in decision.streams.iter().zip(decision.sdp.media()) {
        if stream.treatment == Treatment::EndToAccessEdge {
            let has_keys = media.section().attribute("crypto").is_some();
            prop_assert_eq!(has_keys, to == Side::Access);
            prop_assert_eq!(media.profile().plain().is_some(), to == Side::Access);
        }
        if let Action::Install(setup) = &stream.action {
            let is_protected = setup.access.protection.is_some();
            prop_assert_eq!(is_protected, setup.treatment == Treatment::EndToAccessEdge);
            prop_assert!(!(is_required && setup.treatment == Treatment::Plain));
            prop_assert_eq!(&setup.core.protection, &None);
            let is_kept = media.profile().plain().is_some();
            prop_assert!(is_kept || setup.treatment != Treatment::EndToEnd);
        }
    }
    Ok(())
}

proptest! {
    /// Whatever is offered and answered, in whichever order: nothing panics, no line gets lost, no
    /// key of an access leg reaches the core, and what was protected stays so.
    #[test]
    fn protection_is_never_given_up(
        exchanges in proptest::collection::vec((any::<bool>(), any_sdp(), any_outcome()), 1..8),
        is_required: bool,
        needs_indications: bool,
    ) {
        let e2ae = if is_required { E2ae::Required } else { E2ae::Optional };
        let policy = Policy {
            rules: vec![Rule { medium: None, access_network: None, e2ae, suites: None }],
            needs_indications,
            ..Policy::default()
        };
        let context = context(&policy);
        let mut random = Counting::default();
        let mut call = Call::new();
        for (is_originating, offer, outcome) in exchanges {
            let from = if is_originating { Side::Access } else { Side::Core };
            let Ok((offered, decision)) = call.offer(from, &offer, &ports(), &context, &mut random)
            else {
                continue;
            };
            check(&offer, &decision, from.opposite(), is_required)?;
            let after = match outcome {
                Outcome::Answered(answer) => {
                    match offered.answer(&answer, &context, &mut random) {
                        Ok((after, decision)) => {
                            check(&answer, &decision, from, is_required)?;
                            after
                        }
                        Err(_) => offered.reject().0,
                    }
                }
                Outcome::Rejected => offered.reject().0,
                Outcome::Unanswered => offered,
            };
            for (before, after) in call.setups().zip(after.setups()) {
                if let (Some(before), Some(after)) = (before, after) {
                    let was_plain = before.treatment == Treatment::Plain;
                    prop_assert!(was_plain || after.treatment != Treatment::Plain);
                }
            }
            call = after;
        }
    }
}

/// On a WLAN one suite, elsewhere another.
fn rules_of_networks() -> Policy {
    let rule = |network: Option<&str>, suite| Rule {
        medium: None,
        access_network: network.map(AccessNetwork::parse),
        e2ae: E2ae::Required,
        suites: Some(vec![suite]),
    };
    let suites = [Suite::AeadAes256Gcm, Suite::AesCm128HmacSha1_80];
    Policy {
        rules: vec![rule(Some("IEEE-802.11"), suites[0]), rule(None, suites[1])],
        sdes: Sdes {
            suites: Suites::new(suites).unwrap(),
            ..Sdes::default()
        },
        ..Policy::default()
    }
}

#[test]
fn what_was_offered_under_the_rules_of_a_network_may_be_answered_whoever_knows_it() {
    let policy = rules_of_networks();
    let lte = AccessNetwork::parse("3GPP-E-UTRAN-FDD");
    let known = Context {
        access_network: Some(&lte),
        ..context(&policy)
    };
    let unknown = context(&policy);
    let core = sdp("m=audio 4002 RTP/AVP 0\n");
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}\n");
    let ue = sdp(&format!("m=audio 4000 RTP/SAVP 0\n{crypto}"));
    let mut random = Counting::default();
    let mut call = Call::new();
    // The core offers again what it offered, and nobody says where the UE is.
    for context in [&known, &unknown] {
        let offer = call.offer(Side::Core, &core, &ports(), context, &mut random);
        call = offer.unwrap().0;
        for context in [&known, &unknown] {
            assert!(call.answer(&ue, context, &mut random).is_ok());
        }
        call = call.answer(&ue, &unknown, &mut random).unwrap().0;
    }
}

#[test]
fn a_ue_that_moves_to_a_network_of_other_suites_is_offered_those() {
    let policy = rules_of_networks();
    let mut random = Counting::default();
    let mut call = Call::new();
    let core = sdp("m=audio 4002 RTP/AVP 0\n");
    let key_of_256 = format!("inline:{}", "A".repeat(59));
    for (network, suite, key) in [
        ("3GPP-E-UTRAN-FDD", "AES_CM_128_HMAC_SHA1_80", KEY),
        ("IEEE-802.11", "AEAD_AES_256_GCM", &key_of_256),
    ] {
        let network = AccessNetwork::parse(network);
        let context = Context {
            access_network: Some(&network),
            ..context(&policy)
        };
        let offer = call.offer(Side::Core, &core, &ports(), &context, &mut random);
        let (offered, passed) = offer.unwrap();
        let passed = passed.sdp.write();
        let crypto = format!("a=crypto:1 {suite} ");
        assert!(passed.as_str().contains(&crypto), "{}", passed.as_str());
        let ue = sdp(&format!("m=audio 4000 RTP/SAVP 0\n{crypto}{key}\n"));
        call = offered.answer(&ue, &context, &mut random).unwrap().0;
    }
}
