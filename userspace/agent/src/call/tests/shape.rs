// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Lines of session descriptions that only one side has.

use super::*;

/// What was there before RFC 8643: each medium twice, and the one that is answered counts.
#[test]
fn what_one_side_has_twice_the_other_has_once() {
    let key = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
    let media = |sdp: &Sdp| -> Vec<_> {
        let lines = sdp.media().iter();
        lines
            .map(|media| (media.profile().name().to_owned(), media.port() != 0))
            .collect()
    };
    let owned = |lines: &[(&str, bool)]| -> Vec<_> {
        let lines = lines.iter();
        lines
            .map(|(name, is_there)| ((*name).to_owned(), *is_there))
            .collect()
    };
    let twice = Wanted {
        accepts_twice: true,
        ..Wanted::default()
    };
    // Of a UE, for the core.
    let mut played = Played::new();
    let lines = format!("m=audio 5002 RTP/AVP 0\nm=audio 5004 RTP/SAVP 0\n{key}");
    let mut both = offer(tags("ue", None, None), sdp("192.0.2.7", &lines), "RTP/AVP");
    both.shape = twice.clone();
    let once = played.offer(&both, 0).unwrap();
    assert_eq!(media(&once), owned(&[("RTP/AVP", true)]));
    let back = played
        .answer(&answer(tags("ue", Some("as"), None), rtp()), 1)
        .unwrap();
    assert_eq!(
        media(&back),
        owned(&[("RTP/AVP", false), ("RTP/SAVP", true)])
    );
    let streams = played.call.streams();
    assert!(streams.len() == 1 && streams[0].legs[0].receive.is_some());
    // The core offers again, and the lines are where they were.
    let again = offer(tags("as", Some("ue"), None), rtp(), "RTP/SAVP");
    let offered = played.offer(&again, 10).unwrap();
    assert_eq!(
        media(&offered),
        owned(&[("RTP/AVP", false), ("RTP/SAVP", true)])
    );
    let lines = format!("m=audio 0 RTP/AVP 0\nm=audio 5004 RTP/SAVP 0\n{key}");
    let taken = answer(tags("as", Some("ue"), None), sdp("192.0.2.7", &lines));
    let back = played.answer(&taken, 11).unwrap();
    assert_eq!(media(&back), owned(&[("RTP/AVP", true)]));
    let short = answer(tags("as", Some("ue"), None), srtp());
    let refused = played.answer(&short, 12).unwrap_err();
    let count = e2ae::Refusal::MediaCount {
        expected: 2,
        found: 1,
    };
    assert!(matches!(refused, CallError::Refused(refusal) if refusal == count));

    // For a UE, from the core, which takes the one or the other.
    for (plain, protected) in [(5002, 0), (0, 5004), (5002, 5004)] {
        let mut played = Played::new();
        let mut once = offer(tags("as", None, None), rtp(), "RTP/AVP");
        once.realms = [Some(Realm::Core), Some(Realm::Access)];
        let Terms::Asked(asked) = &mut once.terms else {
            panic!("a proxy asks");
        };
        asked.osrtp.offers = true;
        once.shape.offers_twice = true;
        let offered = played.offer(&once, 0).unwrap();
        assert_eq!(
            media(&offered),
            owned(&[("RTP/AVP", true), ("RTP/SAVP", true)])
        );
        let [first, second] = offered.media() else {
            panic!("{offered:?}");
        };
        assert_eq!(first.section().attributes("crypto").count(), 0);
        let mut keys = second.section().attributes("crypto");
        let ours = keys.find(|key| key.contains("_128_HMAC_SHA1_80")).unwrap();
        let (tag, _) = ours.split_once(' ').unwrap();
        let key = key.replace(":1 ", &format!(":{tag} "));
        let lines = format!("m=audio {plain} RTP/AVP 0\nm=audio {protected} RTP/SAVP 0\n{key}");
        let taken = answer(tags("as", Some("ue"), None), sdp("192.0.2.7", &lines));
        let back = played.answer(&taken, 1).unwrap();
        assert_eq!(media(&back), owned(&[("RTP/AVP", true)]));
        let streams = played.call.streams();
        assert_eq!(streams[0].legs[0].receive.is_some(), protected != 0);
    }
}

#[test]
fn a_medium_that_the_proxy_removes_is_refused_to_who_offers_it() {
    let mut played = Played::new();
    let lines = "m=video 5002 RTP/AVP 31\nm=audio 5004 RTP/AVP 0";
    let mut first = offer(tags("ue", None, None), sdp("192.0.2.7", lines), "RTP/AVP");
    first.shape.without = vec![Medium::Video];
    let offered = played.offer(&first, 0).unwrap();
    assert_eq!(offered.media().len(), 1);
    let back = played
        .answer(&answer(tags("ue", Some("as"), None), rtp()), 1)
        .unwrap();
    let ports: Vec<_> = back.media().iter().map(|media| media.port() != 0).collect();
    assert_eq!(ports, [false, true]);
    assert_eq!(played.call.streams().len(), 1);
}
