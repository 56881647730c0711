// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the peers of a call prove, and what flows then.

use sallyport_flow::{FlowId, Gate, MasterKey, Realm, Secret, Source, Suite};
use sallyport_signalling::dtls::{Fingerprint, Hash};
use sallyport_signalling::e2ae::{Asked, Handshakes, IceAsked};
use sallyport_signalling::sdp::Sdp;

use super::super::Terms as CallTerms;
use super::super::tests::{Played, answer, offer, rtp, sdp, tags};
use super::*;
use crate::flows::flows;
use crate::webrtc::Keys;

const FIRST: u8 = 1;
const SECOND: u8 = 2;

fn fingerprint(byte: u8) -> Fingerprint {
    Fingerprint {
        hash: Hash::Sha256,
        digest: vec![byte; 32],
    }
}

fn session() -> SessionId {
    SessionId::of(FlowId(0xa_0000))
}

/// The offer of a browser that has this certificate.
fn browser(certificate: u8) -> Sdp {
    let fingerprint = fingerprint(certificate);
    sdp(
        "0.0.0.0",
        &format!(
            "m=audio 9 UDP/TLS/RTP/SAVPF 0\na=ice-ufrag:Wvka\n\
             a=ice-pwd:asd88fgpdd777uzjYhagZg\na=fingerprint:{fingerprint}\na=setup:actpass\n\
             a=rtcp-mux"
        ),
    )
}

/// Whether it offers, or who answers does.
fn asked(profile: Option<&str>) -> CallTerms {
    CallTerms::Asked(Asked {
        profile: profile.map(Into::into),
        handshakes: Handshakes {
            ice: IceAsked::Never,
            fingerprint: Some(fingerprint(0)),
            ..Handshakes::default()
        },
        ..Asked::default()
    })
}

/// A browser calls the core, or offers once more.
fn call(played: &mut Played, certificate: u8, to: Option<&str>, now: u64) {
    let mut first = offer(tags("ue", to, None), browser(certificate), "RTP/AVP");
    first.terms = asked(Some("RTP/AVP"));
    played.offer(&first, now).unwrap();
    let mut first = answer(tags("ue", Some("as"), None), rtp());
    first.terms = asked(None);
    played.answer(&first, now).unwrap();
}

/// What is wanted of the socket of the browser's leg.
fn socket(played: &Played) -> Terms {
    let mut sockets = played.call.sockets(session()).into_values();
    let socket = sockets.next().unwrap();
    assert!(sockets.next().is_none(), "the core has none");
    socket
}

fn keys() -> Keys {
    let crypto = |byte| Crypto {
        suite: Suite::AeadAes128Gcm,
        keys: vec![MasterKey::new(Secret::new(vec![
            byte;
            Suite::AeadAes128Gcm
                .key_len()
        ]))],
        lifetime: None,
        replay_window: 0,
        key_derivation_rate: None,
        unencrypted_srtcp: false,
        marks: Vec::new(),
    };
    Keys {
        receive: crypto(1),
        send: crypto(2),
    }
}

/// The gates of all flows.
fn gates(played: &Played) -> Vec<Gate> {
    let flows = flows(session(), &played.call.streams());
    flows.iter().map(|flow| flow.gate).collect()
}

#[test]
fn nothing_flows_before_there_are_keys_of_the_handshake_that_is_wanted() {
    let mut played = Played::new();
    call(&mut played, FIRST, None, 0);
    assert_eq!(gates(&played), [Gate::Locked; 3]);
    let first = socket(&played);
    assert!(!first.has_keys);
    let dtls = Box::new(first.dtls.unwrap());
    let agreed = Fact::Keys(dtls.clone(), Box::new(keys()));
    assert!(played.call.prove(first.place, &agreed));
    assert_eq!(gates(&played), [Gate::Open; 3]);
    assert!(socket(&played).has_keys);
    for flow in flows(session(), &played.call.streams()) {
        let is_access = flow.ingress.realm == Realm::Access;
        assert_eq!(flow.ingress.handshakes, is_access);
        let receive = is_access.then(|| keys().receive);
        assert_eq!(flow.ingress.unprotect, receive);
        assert_eq!(flow.egress.protect, (!is_access).then(|| keys().send));
    }

    // The same once more changes nothing, not even after a restart of the agent.
    let stored = serde_json::to_string(&played.call).unwrap();
    played.call = serde_json::from_str(&stored).unwrap();
    call(&mut played, FIRST, Some("as"), 10);
    assert_eq!(gates(&played), [Gate::Open; 3]);

    // Somebody else has to agree on keys of their own.
    call(&mut played, SECOND, Some("as"), 20);
    assert_eq!(gates(&played), [Gate::Locked; 3]);
    assert!(!played.call.prove(first.place, &agreed), "{dtls:?}");
    let second = socket(&played);
    let agreed = Fact::Keys(Box::new(second.dtls.unwrap()), Box::new(keys()));
    assert!(played.call.prove(second.place, &agreed));
    assert_eq!(gates(&played), [Gate::Open; 3]);
}

#[test]
fn media_goes_where_the_peer_has_nominated() {
    let mut played = Played::new();
    call(&mut played, FIRST, None, 0);
    let place = socket(&played).place;
    let at = "192.0.2.7:5004".parse().unwrap();
    assert!(played.call.prove(place, &Fact::Nominated(at)));
    assert!(!played.call.prove(place, &Fact::Nominated(at)), "again");
    assert_eq!(socket(&played).peer, Some(at));
    let flows = flows(session(), &played.call.streams());
    let access = flows
        .iter()
        .find(|flow| flow.ingress.realm == Realm::Access);
    let Source::Latch(latch) = access.unwrap().ingress.source else {
        panic!("whoever authenticates may be followed");
    };
    assert_eq!(latch.signalled, Some(at));

    let elsewhere = Place {
        side: Side::Core,
        ..place
    };
    assert!(!played.call.prove(elsewhere, &Fact::Nominated(at)));
    let nobody = Place { dialog: 9, ..place };
    assert!(!played.call.prove(nobody, &Fact::Nominated(at)));
}

#[test]
fn who_answers_beside_another_needs_keys_of_its_own() {
    let mut played = Played::new();
    let mut first = offer(tags("as", None, None), rtp(), "RTP/AVP");
    first.realms = [Some(Realm::Core), Some(Realm::Access)];
    first.terms = asked(Some("UDP/TLS/RTP/SAVP"));
    played.offer(&first, 0).unwrap();
    let mut sockets = Vec::new();
    for (to, certificate) in [("a", FIRST), ("b", SECOND)] {
        let fingerprint = fingerprint(certificate);
        let media =
            format!("m=audio 5004 UDP/TLS/RTP/SAVP 0\na=fingerprint:{fingerprint}\na=setup:active");
        let mut answer = answer(tags("as", Some(to), None), sdp("192.0.2.7", &media));
        answer.terms = asked(None);
        played.answer(&answer, 1).unwrap();
        let local = *played.call.sockets(session()).first_key_value().unwrap().0;
        sockets.push((local, socket(&played)));
    }
    let [(local_of_a, a), (local_of_b, b)] = &sockets[..] else {
        panic!("{sockets:?}");
    };
    assert_eq!(local_of_a, local_of_b, "all were told the same port");
    assert_ne!(a.place, b.place);
    let fact = |terms: &Terms| Fact::Keys(Box::new(terms.dtls.clone().unwrap()), Box::new(keys()));
    assert!(!played.call.prove(b.place, &fact(a)), "keys of the other");
    assert!(!socket(&played).has_keys);
    assert!(played.call.prove(b.place, &fact(b)));
    assert!(socket(&played).has_keys);
}

#[test]
fn who_answers_in_place_of_another_has_to_nominate_for_itself() {
    let mut played = Played::new();
    let [said, at] = ["192.0.2.7:5004", "192.0.2.8:5006"].map(|at| at.parse().unwrap());
    // Again, again with ICE restarted by who answers, and again for somebody else.
    for (to, ufrag, is_reset, peer) in [
        (None, "Wvka", false, said),
        (Some("ue"), "Wvka", false, at),
        (Some("ue"), "Xwlb", false, at),
        (Some("ue"), "Yxmc", true, said),
    ] {
        let mut again = offer(tags("as", to, None), rtp(), "RTP/AVP");
        again.realms = [Some(Realm::Core), Some(Realm::Access)];
        again.terms = CallTerms::Asked(Asked {
            profile: Some("RTP/AVP".into()),
            is_reset,
            handshakes: Handshakes {
                ice: IceAsked::Always,
                ..Handshakes::default()
            },
            ..Asked::default()
        });
        played.offer(&again, 0).unwrap();
        let media = format!(
            "m=audio 5004 RTP/AVP 0\na=ice-ufrag:{ufrag}\na=ice-pwd:asd88fgpdd777uzjYhagZg"
        );
        let answer = answer(tags("as", Some("ue"), None), sdp("192.0.2.7", &media));
        played.answer(&answer, 0).unwrap();
        let sockets = played.call.sockets(session());
        let socket = sockets.into_values().find(|terms| !terms.place.is_rtcp);
        let socket = socket.unwrap();
        assert_eq!(socket.peer, Some(peer), "{ufrag} {is_reset}");
        played.call.prove(socket.place, &Fact::Nominated(at));
    }
}

#[test]
fn a_handshake_goes_on_while_who_is_on_the_other_side_moves() {
    let mut played = Played::new();
    call(&mut played, FIRST, None, 0);
    let before = socket(&played);
    let slot = played.call.streams()[0].slot;
    let elsewhere = sdp("10.0.0.9", "m=audio 6100 RTP/AVP 0");
    let mut again = offer(tags("as", Some("ue"), None), elsewhere, "RTP/AVP");
    again.terms = asked(Some("UDP/TLS/RTP/SAVPF"));
    again.moves_ports = true;
    played.offer(&again, 10).unwrap();
    let text = browser(FIRST).write().replace("actpass", "active");
    let mut taken = answer(again.tags, Sdp::parse(text.as_bytes()).unwrap());
    taken.terms = asked(None);
    played.answer(&taken, 11).unwrap();
    assert_ne!(played.call.streams()[0].slot, slot, "other flows");
    assert_eq!(socket(&played).place, before.place);
    let agreed = Fact::Keys(Box::new(before.dtls.unwrap()), Box::new(keys()));
    assert!(played.call.prove(before.place, &agreed));
    assert!(socket(&played).has_keys);
}
