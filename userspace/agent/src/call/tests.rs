// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Calls as they come, from the first offer to the last answer.

/// Ports that move, or would have.
mod moves;
/// What is remembered of them.
mod records;
/// Lines that only one side has.
mod shape;

use std::net::Ipv6Addr;

use sallyport_signalling::e2ae::Asked;
use sallyport_signalling::policy::Rule;
use sallyport_signalling::sdp::Medium;
use sallyport_signalling::shape::Wanted;

use super::*;
use crate::stream::{Peer, Stream};

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

pub(super) fn sdp(ip: &str, media: &str) -> Sdp {
    let text = format!("v=0\no=- 1 1 IN IP4 {ip}\ns=-\nc=IN IP4 {ip}\nt=0 0\n{media}\n");
    Sdp::parse(text.as_bytes()).unwrap()
}

fn srtp() -> Sdp {
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
    sdp("192.0.2.7", &format!("m=audio 5004 RTP/SAVP 0\n{crypto}"))
}

pub(super) fn rtp() -> Sdp {
    sdp("10.0.0.9", "m=audio 6000 RTP/AVP 0")
}

/// The answer to an offer of SRTP.
fn taken_of(offered: &Sdp) -> Sdp {
    let media = offered.media()[0].section();
    let mut keys = media.attributes("crypto");
    let ours = keys.find(|key| key.contains("_128_HMAC_SHA1_80")).unwrap();
    let (tag, _) = ours.split_once(' ').unwrap();
    let key = format!("AES_CM_128_HMAC_SHA1_80 inline:PS1u{}", &KEY[4..]);
    let line = format!("m=audio 5006 RTP/SAVP 0\na=crypto:{tag} {key}");
    sdp("192.0.2.8", &line)
}

pub(super) fn tags(from: &str, to: Option<&str>, via: Option<&str>) -> Tags {
    Tags {
        call_id: "c".to_owned(),
        from: from.to_owned(),
        to: to.map(str::to_owned),
        via: via.map(str::to_owned),
    }
}

pub(super) fn offer(tags: Tags, sdp: Sdp, profile: &str) -> Offer {
    Offer {
        tags,
        sdp,
        realms: [None, None],
        by: None,
        terms: Terms::Asked(Asked {
            profile: Some(profile.into()),
            ..Asked::default()
        }),
        policy: Policy::default(),
        rtcp_mux: None,
        about: About::default(),
        shape: Wanted::default(),
        version: None,
        moves_ports: false,
        dscp: None,
        max_streams: 8,
    }
}

pub(super) fn answer(tags: Tags, sdp: Sdp) -> Answer {
    Answer {
        tags,
        to: None,
        sdp,
        terms: Terms::Asked(Asked::default()),
        policy: Policy::default(),
        about: About::default(),
        is_final: false,
    }
}

/// An offer of the UE with audio and video, and one of the core with audio.
fn crossing() -> [Offer; 2] {
    let text = srtp().write().to_string() + "m=video 5010 RTP/AVP 31\n";
    let with_video = Sdp::parse(text.as_bytes()).unwrap();
    [
        offer(tags("ue", Some("as"), None), with_video, "RTP/AVP"),
        offer(tags("as", Some("ue"), None), rtp(), "RTP/SAVP"),
    ]
}

/// A call and the ports that it takes, one after the other.
pub(super) struct Played {
    pub(super) call: Call,
    next: u16,
}

impl Played {
    pub(super) fn new() -> Self {
        Self {
            call: Call::new("c".to_owned(), Duration::ZERO),
            next: 40000,
        }
    }

    /// As the manager does it: what fails changes nothing.
    fn play(
        &mut self,
        event: impl FnOnce(&mut Call, &mut TakePorts<'_>) -> Result<Passed, CallError>,
    ) -> Result<Sdp, CallError> {
        let mut call = self.call.clone();
        let next = &mut self.next;
        let passed = event(&mut call, &mut |realm, wanted| {
            let ip: IpAddr = match (realm, wanted) {
                (_, super::Wanted::Exactly(IpVersion::V6)) => Ipv6Addr::LOCALHOST.into(),
                (Realm::Access, _) => [192, 0, 2, 1].into(),
                (Realm::Core, _) => [10, 0, 0, 1].into(),
            };
            *next += 2;
            Ok(Ends {
                rtp: (ip, *next).into(),
                rtcp: (ip, *next + 1).into(),
            })
        })?;
        self.call = call;
        Ok(passed.sdp)
    }

    pub(super) fn offer(&mut self, offer: &Offer, now: u64) -> Result<Sdp, CallError> {
        self.play(|call, ports| call.offer(offer, Duration::from_secs(now), ports))
    }

    pub(super) fn answer(&mut self, answer: &Answer, now: u64) -> Result<Sdp, CallError> {
        self.play(|call, ports| call.answer(answer, Duration::from_secs(now), ports))
    }

    /// A call between a UE and the core.
    fn set_up() -> Self {
        let mut played = Self::new();
        let first = offer(tags("ue", None, Some("z1")), srtp(), "RTP/AVP");
        played.offer(&first, 0).unwrap();
        let first = answer(tags("ue", Some("as"), Some("z1")), rtp());
        played.answer(&first, 1).unwrap();
        played
    }
}

#[test]
fn an_offer_takes_the_place_of_one_that_nobody_answered_whoever_makes_it() {
    let mut played = Played::set_up();
    let by_ue = offer(tags("ue", Some("as"), None), srtp(), "RTP/AVP");
    let by_core = offer(tags("as", Some("ue"), None), rtp(), "RTP/SAVP");
    let timely = answer(tags("as", Some("ue"), None), srtp());
    let late = answer(tags("ue", Some("as"), None), rtp());
    played.offer(&by_ue, 100).unwrap();
    for (at, may_cross) in [(103, true), (104, false)] {
        let mut played = Played {
            call: played.call.clone(),
            ..played
        };
        played.offer(&by_core, at).unwrap();
        // Either is answered, and then no other.
        let mut by_late = Played {
            call: played.call.clone(),
            ..played
        };
        let answered = by_late.answer(&late, 105);
        if may_cross {
            answered.unwrap();
            let refused = by_late.answer(&timely, 106);
            assert!(matches!(refused, Err(CallError::Dialogue)));
        } else {
            // Who answers the first offer now is too late.
            assert!(matches!(answered, Err(CallError::Dialogue)));
        }
        played.answer(&timely, 105).unwrap();
        let refused = played.answer(&late, 106);
        assert!(matches!(refused, Err(CallError::Dialogue)));
    }
}

#[test]
fn an_offer_that_another_crossed_is_answered_with_its_own_lines() {
    let mut played = Played::set_up();
    let by_ue = offer(tags("ue", Some("as"), None), srtp(), "RTP/AVP");
    played.offer(&by_ue, 100).unwrap();
    let both = sdp(
        "10.0.0.9",
        "m=audio 6000 RTP/AVP 0\nm=video 6002 RTP/AVP 31",
    );
    let mut by_core = offer(tags("as", Some("ue"), None), both, "RTP/SAVP");
    by_core.shape.without = vec![Medium::Video];
    assert_eq!(played.offer(&by_core, 101).unwrap().media().len(), 1);
    let late = answer(tags("ue", Some("as"), None), rtp());
    assert_eq!(played.answer(&late, 102).unwrap().media().len(), 1);
    assert_eq!(played.offer(&by_ue, 110).unwrap().media().len(), 1);
    // Nor does one with lines of its own keep it from being answered.
    played.offer(&by_core, 111).unwrap();
    played.offer(&by_ue, 112).unwrap();
    let of_ue = answer(tags("as", Some("ue"), None), srtp());
    assert_eq!(played.answer(&of_ue, 113).unwrap().media().len(), 2);
}

#[test]
fn an_offer_that_another_crossed_keeps_its_ports_for_a_while() {
    let mut played = Played::set_up();
    let before = played.call.ports();
    let [by_ue, by_core] = crossing();
    played.offer(&by_ue, 100).unwrap();
    played.offer(&by_core, 101).unwrap();
    assert_eq!(played.call.crossed_until(), Some(Duration::from_secs(109)));
    let mut other = played.call.clone();
    other.forget_crossed(Duration::from_secs(108));
    assert_eq!(other.ports().len(), 4);
    other.forget_crossed(Duration::from_secs(109));
    assert_eq!(
        (other.ports(), other.crossed_until()),
        (before.clone(), None)
    );
    // Nor is it kept beside two others.
    played.offer(&by_core, 102).unwrap();
    assert_eq!(played.call.ports(), before);
}

#[test]
fn what_an_offer_has_taken_is_kept_until_it_cannot_be_answered_any_more() {
    let mut played = Played::set_up();
    let before = played.call.ports();
    let [by_ue, by_core] = crossing();
    played.offer(&by_ue, 100).unwrap();
    assert_eq!(played.call.ports().len(), 4);
    played.offer(&by_core, 101).unwrap();
    assert_eq!(played.call.ports().len(), 4);
    let answered = answer(tags("as", Some("ue"), None), srtp());
    played.answer(&answered, 102).unwrap();
    assert_eq!(played.call.ports(), before);
}

#[test]
fn a_second_offer_changes_nothing_that_flows_until_it_is_answered() {
    let mut played = Played::set_up();
    let flowing = |played: &Played| {
        let id = "00000000000a0000".parse().unwrap();
        let mut flows = crate::flows::flows(id, &played.call.streams());
        let expected = flows
            .iter_mut()
            .filter_map(|flow| flow.ingress.expect.take());
        let expected = expected.count();
        (flows, expected)
    };
    let (before, _) = flowing(&played);
    // The UE moves, holds the call, has another key and another m-line, and is refused.
    let key = format!("AES_CM_128_HMAC_SHA1_80 inline:QUJj{}", &KEY[4..]);
    let lines =
        format!("m=audio 5008 RTP/SAVP 0\na=crypto:1 {key}\na=sendonly\nm=video 5010 RTP/AVP 31");
    let mut moved = offer(
        tags("ue", Some("as"), None),
        sdp("192.0.2.9", &lines),
        "RTP/AVP",
    );
    moved.about.reach = Reach {
        received_from: Some([198, 51, 100, 1].into()),
        media_address: Some([198, 51, 100, 2].into()),
        learning: Learning::Off,
        ..Reach::default()
    };
    played.offer(&moved, 100).unwrap();
    let (during, expected) = flowing(&played);
    assert_eq!(during, before);
    // What it sends under its new key would be understood, too.
    assert_eq!(expected, 2);
    // The next offer of either side takes its place.
    let mut by_ue = Played {
        call: played.call.clone(),
        ..played
    };
    let again = offer(tags("ue", Some("as"), None), srtp(), "RTP/AVP");
    by_ue.offer(&again, 101).unwrap();
    assert_eq!(flowing(&by_ue), (before.clone(), 0));
    by_ue
        .answer(&answer(tags("ue", Some("as"), None), rtp()), 102)
        .unwrap();
    assert_eq!(flowing(&by_ue), (before.clone(), 0));
    let by_core = offer(tags("as", Some("ue"), None), rtp(), "RTP/SAVP");
    let offered = played.offer(&by_core, 105).unwrap();
    assert_eq!(flowing(&played), (before, 0));
    let taken = answer(tags("as", Some("ue"), None), taken_of(&offered));
    played.answer(&taken, 106).unwrap();
    // Nothing of what was refused is left.
    assert_eq!(played.call.ports().len(), 2);
    let Peer::Learned { signalled, .. } = played.call.streams()[0].legs[0].peer else {
        panic!("{:?}", played.call.streams());
    };
    assert_eq!(signalled.unwrap().rtp, "192.0.2.8:5006".parse().unwrap());
}

#[test]
fn an_offer_in_a_200_ok_is_answered_in_the_ack() {
    let mut played = Played::new();
    let late = offer(tags("as", Some("ue"), None), rtp(), "RTP/SAVP");
    let offered = played.offer(&late, 0).unwrap();
    assert_eq!(offered.media()[0].profile().name(), "RTP/SAVP");
    let wrong = answer(tags("ue", Some("as"), None), srtp());
    assert!(matches!(played.answer(&wrong, 1), Err(CallError::Dialogue)));
    let in_ack = answer(tags("as", Some("ue"), None), srtp());
    // Our keys were offered: any of them may be taken.
    let crypto = offered.media()[0].section().attributes("crypto");
    let tag = crypto
        .filter_map(|crypto| crypto.strip_suffix(crypto.split_once(' ')?.1))
        .nth(4)
        .unwrap()
        .to_owned();
    let mut text = srtp().write().to_string();
    text = text.replace("crypto:1 ", &format!("crypto:{tag}"));
    let in_ack = Answer {
        sdp: Sdp::parse(text.as_bytes()).unwrap(),
        ..in_ack
    };
    played.answer(&in_ack, 1).unwrap();
    assert_eq!(played.call.streams().len(), 1);
}

#[test]
fn a_call_tried_elsewhere_takes_the_place_of_what_was_refused() {
    let mut played = Played::set_up();
    let before = played.call.ports();
    let again = offer(tags("ue", None, Some("z1")), srtp(), "RTP/AVP");
    played.offer(&again, 2).unwrap();
    let ports = played.call.ports();
    assert_eq!(ports.len(), 2);
    assert!(ports.is_disjoint(&before));
    assert!(played.call.is_unanswered());
    // And once more, after a challenge: the same ports.
    played.offer(&again, 3).unwrap();
    assert_eq!(played.call.ports(), ports);
}

#[test]
fn a_deletion_ends_what_its_tags_and_branch_fit() {
    let part = |from: Option<&str>, to: Option<&str>, via: Option<&str>| Part {
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        via: via.map(str::to_owned),
    };
    let mut played = Played::set_up();
    let second = offer(tags("ue", None, Some("z2")), srtp(), "RTP/AVP");
    played.offer(&second, 2).unwrap();
    for (part, left) in [
        (part(None, None, None), Some(0)),
        (part(Some("ue"), None, None), Some(0)),
        (part(Some("as"), None, None), Some(1)),
        (part(Some("ue"), Some("as"), None), Some(0)),
        (part(Some("as"), Some("ue"), None), Some(1)),
        (part(Some("ue"), None, Some("z1")), Some(1)),
        (part(None, None, Some("z2")), Some(1)),
        (part(Some("ue"), None, Some("z9")), Some(0)),
        (part(Some("ue"), Some("who"), Some("z2")), Some(1)),
        (part(Some("who"), None, None), None),
        (part(Some("as"), Some("who"), None), None),
        (part(Some("as"), None, Some("z2")), None),
    ] {
        let branches = match played.call.without(&part) {
            Ok(left) => Some(left.map_or(0, |left| left.branches.len())),
            Err(_) => None,
        };
        assert_eq!(branches, left, "{part:?}");
    }
}

#[test]
fn without_a_word_of_the_proxy_protected_media_is_on_the_access_side() {
    use Realm::{Access, Core};
    for (sdp, to, named, realms) in [
        (srtp(), "RTP/AVP", [None, None], [Access, Core]),
        (rtp(), "RTP/SAVP", [None, None], [Core, Access]),
        (rtp(), "RTP/AVP", [None, None], [Access, Core]),
        (rtp(), "RTP/AVP", [Some(Core), None], [Core, Access]),
        (rtp(), "RTP/AVP", [None, Some(Access)], [Core, Access]),
        (
            rtp(),
            "RTP/AVP",
            [Some(Access), Some(Access)],
            [Access, Access],
        ),
    ] {
        let mut offer = offer(tags("a", None, None), sdp, to);
        offer.realms = named;
        assert_eq!(offer.realms(), realms, "{to} {named:?}");
    }
}

/// The proxy gets the call of a UE back from the core, for another UE.
#[test]
fn a_call_from_a_ue_to_a_ue_passes_twice() {
    use Realm::{Access, Core};
    for (vias, is_said) in [
        ([None, None], true),
        ([None, None], false),
        ([Some("z1"), Some("z2")], true),
        ([Some("z1"), Some("z2")], false),
    ] {
        let mut played = Played::new();
        let exchange = |played: &mut Played, from: &str, to: Option<&str>, now: u64| {
            let directions = [[Access, Core], [Core, Access]];
            let vias = vias.map(|via| via.map(|via| if to.is_some() { "again" } else { via }));
            let mut sent = srtp();
            for ((profile, via), realms) in ["RTP/AVP", "RTP/SAVP"].iter().zip(vias).zip(directions)
            {
                let mut offer = offer(tags(from, to, via), sent, profile);
                if is_said {
                    offer.realms = realms.map(Some);
                }
                let first = played.offer(&offer, now).unwrap();
                // Once more, after a challenge.
                sent = played.offer(&offer, now).unwrap();
                assert_eq!(sent.media()[0].port(), first.media()[0].port());
            }
            // Ringing, then taken.
            let far = if from == "a" { "b" } else { "a" };
            for _ in 0..2 {
                let there = answer(tags(from, Some(far), vias[1]), taken_of(&sent));
                let back = played.answer(&there, now).unwrap();
                assert_eq!(back.media()[0].profile().name(), "RTP/AVP");
                let here = answer(tags(from, Some(far), vias[0]), back);
                let back = played.answer(&here, now).unwrap();
                assert_eq!(back.media()[0].profile().name(), "RTP/SAVP");
            }
        };
        exchange(&mut played, "a", None, 0);
        assert_eq!(played.call.branches.len(), 2);
        let streams = played.call.streams();
        assert_eq!(streams.len(), 2);
        // What leaves the one on the core side goes to the other.
        let [first, second] = [&streams[0].legs[1], &streams[1].legs[1]];
        let at = |peer: &Peer| match peer {
            Peer::Learned { signalled, .. } => *signalled,
            Peer::Known(ends) => Some(*ends),
        };
        assert_eq!(at(&first.peer), Some(second.local));
        assert_eq!(at(&second.peer), Some(first.local));
        // Either may offer again.
        exchange(&mut played, "a", Some("b"), 10);
        exchange(&mut played, "b", Some("a"), 20);
        let legs = |streams: &[Stream]| -> Vec<_> {
            let legs = streams.iter().flat_map(|stream| &stream.legs);
            legs.map(|leg| (leg.realm, leg.local)).collect()
        };
        assert_eq!(legs(&played.call.streams()), legs(&streams));
        assert_eq!(played.call.branches.len(), 2);
    }
}

#[test]
fn between_two_ues_both_have_protected_media_where_that_is_required() {
    use Realm::{Access, Core};
    let required = Policy {
        rules: vec![Rule {
            medium: None,
            access_network: None,
            e2ae: E2ae::Required,
            suites: None,
        }],
        ..Policy::default()
    };
    for (policy, sdp, to, realms, passes) in [
        (&required, srtp(), "RTP/AVP", [Access, Access], false),
        (&required, rtp(), "RTP/SAVP", [Access, Access], false),
        (&required, srtp(), "RTP/SAVP", [Access, Access], true),
        (&required, srtp(), "RTP/AVP", [Access, Core], true),
        (&required, rtp(), "RTP/SAVP", [Core, Access], true),
        (
            &Policy::default(),
            srtp(),
            "RTP/AVP",
            [Access, Access],
            true,
        ),
    ] {
        let mut offer = offer(tags("a", None, None), sdp, to);
        offer.realms = realms.map(Some);
        offer.policy = policy.clone();
        let passed = Played::new().offer(&offer, 0);
        assert_eq!(passed.is_ok(), passes, "{to} {realms:?}");
    }
    // Nor does the called one give protection up later.
    let mut played = Played::new();
    let mut first = offer(tags("a", None, None), srtp(), "RTP/SAVP");
    first.realms = [Some(Access); 2];
    first.policy = required.clone();
    let offered = played.offer(&first, 0).unwrap();
    let taken = taken_of(&offered);
    played
        .answer(&answer(tags("a", Some("b"), None), taken), 1)
        .unwrap();
    let mut again = offer(tags("b", Some("a"), None), rtp(), "RTP/SAVP");
    again.policy = required;
    assert!(played.offer(&again, 2).is_err());
}

#[test]
fn a_plain_peer_that_says_no_address_is_where_it_was() {
    let mut played = Played::set_up();
    let before = played.call.streams();
    for (now, nowhere) in [(10, "0.0.0.0"), (20, "host.example"), (30, "hold.invalid")] {
        let held = rtp().write().replace("10.0.0.9", nowhere);
        let held = Sdp::parse(held.as_bytes()).unwrap();
        let hold = offer(tags("as", Some("ue"), None), held.clone(), "RTP/SAVP");
        let offered = played.offer(&hold, now).unwrap();
        let taken = answer(tags("as", Some("ue"), None), taken_of(&offered));
        played.answer(&taken, now).unwrap();
        assert_eq!(
            played.call.streams()[0].legs[1].peer,
            before[0].legs[1].peer
        );
    }
    // Whom nothing is known of could be anybody, and is nobody.
    let mut played = Played::new();
    let first = offer(tags("ue", None, None), srtp(), "RTP/AVP");
    played.offer(&first, 0).unwrap();
    let answered = |host: &str| {
        let text = rtp().write().replace("10.0.0.9", host);
        let sdp = Sdp::parse(text.as_bytes()).unwrap();
        answer(tags("ue", Some("as"), None), sdp)
    };
    let mut named = answered("host.example");
    let refused = played.answer(&named, 1).unwrap_err().to_string();
    assert!(refused.contains("host.example"), "{refused}");
    named.about.reach.received_from = Some("10.0.0.9".parse().unwrap());
    let mut beside = Played::new();
    beside.offer(&first, 0).unwrap();
    beside.answer(&named, 1).unwrap();
    let Peer::Learned { from, .. } = beside.call.streams()[0].legs[1].peer else {
        panic!("{:?}", beside.call.streams());
    };
    assert_eq!(from, Some("10.0.0.9/32".parse().unwrap()));
    // Its RTCP has a port of its own there, whatever host that names.
    let text = named.sdp.write().to_string() + "a=rtcp:7001 IN IP4 host.example\n";
    let mut with_rtcp = answer(
        tags("ue", Some("as"), None),
        Sdp::parse(text.as_bytes()).unwrap(),
    );
    with_rtcp.about.reach.media_address = Some("10.0.0.9".parse().unwrap());
    let mut beside = Played::new();
    beside.offer(&first, 0).unwrap();
    beside.answer(&with_rtcp, 1).unwrap();
    let Peer::Learned { signalled, .. } = beside.call.streams()[0].legs[1].peer else {
        panic!("{:?}", beside.call.streams());
    };
    assert_eq!(signalled.unwrap().rtcp, "10.0.0.9:7001".parse().unwrap());
    played.answer(&answered("0.0.0.0"), 1).unwrap();
    let Peer::Learned { from, window, .. } = played.call.streams()[0].legs[1].peer else {
        panic!("{:?}", played.call.streams());
    };
    assert_eq!((from, window), (None, Some(Duration::ZERO)));
}

#[test]
fn a_peer_of_the_other_version_of_ip_is_refused() {
    let mut played = Played::new();
    let first = offer(tags("ue", None, None), srtp(), "RTP/AVP");
    played.offer(&first, 0).unwrap();
    let text = "v=0\no=- 1 1 IN IP6 2001:db8::9\ns=-\nc=IN IP6 2001:db8::9\nt=0 0\n\
                m=audio 6000 RTP/AVP 0\n";
    let v6 = Sdp::parse(text.as_bytes()).unwrap();
    let v6 = answer(tags("ue", Some("as"), None), v6);
    assert!(matches!(played.answer(&v6, 1), Err(CallError::Family)));
}
