// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Any offers and answers, in any order, are passed on or refused; what is passed on can be read,
//! and what is protected to the access edge is protected on that side, and on the other only if a
//! SIP proxy asked for it.

#![no_main]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use sallyport_signalling::dtls::Fingerprint;
use sallyport_signalling::e2ae::{
    Action, Asked, Call, Context, Decision, Ends, Handshakes, IceAsked, Osrtp, Ports, Side,
    Treatment,
};
use sallyport_signalling::mediasec::{Binding, Mechanisms};
use sallyport_signalling::policy::Policy;
use sallyport_signalling::sdp::{Profile, Sdp};
use sallyport_signalling_fuzz::Repeating;

// A byte that says what is wanted, then events with a zero byte between them: `>` and an
// offer from the access side, `<` and one from the core side, `!` for a refusal, else an answer.
fuzz_target!(|bytes: &[u8]| {
    let Some((wanted, events)) = bytes.split_first() else {
        return;
    };
    let policy = Policy {
        needs_indications: wanted & 1 == 0,
        end_to_end: wanted & 2 == 0,
        ..Policy::default()
    };
    let asked = Asked {
        profile: match wanted >> 4 & 7 {
            0 => Some(Profile::Avp),
            1 => Some(Profile::Avpf),
            2 => Some(Profile::Savp),
            3 => Some(Profile::Savpf),
            4 => Some(Profile::DtlsSavpf),
            _ => None,
        },
        recrypt: wanted & 8 != 0,
        handshakes: Handshakes {
            ice: match wanted >> 4 & 7 {
                4 | 5 => IceAsked::Always,
                6 => IceAsked::Never,
                _ => IceAsked::AsOffered,
            },
            trickles: wanted & 8 != 0,
            fingerprint: Fingerprint::parse(&format!("sha-256 {}", ["AB"; 32].join(":")))
                .filter(|_| wanted & 2 == 0),
            is_relay: wanted & 8 != 0,
            no_sdes: wanted & 0x80 != 0,
            prefers_sdes: wanted & 1 != 0,
            ..Handshakes::default()
        },
        indicates: wanted & 8 != 0,
        is_reset: wanted & 9 == 9,
        osrtp: Osrtp {
            offers: wanted & 128 != 0,
            accepts: wanted & 128 != 0,
        },
        keeps_suite: wanted & 128 != 0,
        accepts_profile: wanted & 128 != 0,
    };
    let mechanisms = Mechanisms::parse(["sdes-srtp;mediasec"]);
    let context = Context {
        policy: &policy,
        binding: Binding {
            ue: mechanisms,
            network: mechanisms,
        },
        access_network: None,
        is_signalling_confidential: true,
        asked: (wanted & 4 != 0).then_some(&asked),
    };
    let mut random = Repeating::default();
    let mut call = Call::new();
    let mut offerer = Side::Access;
    for event in events.split(|byte| *byte == 0).take(8) {
        let (from, text) = match event.split_first() {
            Some((b'>', text)) => (Some(Side::Access), text),
            Some((b'<', text)) => (Some(Side::Core), text),
            Some((b'!', _)) => {
                call = call.reject().0;
                continue;
            }
            _ => (None, event),
        };
        let Ok(sdp) = Sdp::parse(text) else {
            continue;
        };
        let result = match from {
            Some(from) => {
                // The next 5000 are for who moves.
                let moving = (0..sdp.media().len()).map(|i| (i, ports(i + 5_000)));
                let moving = moving.filter(|_| wanted & 12 == 12);
                let first = call.wanted_ports(&sdp).into_iter().map(|i| (i, ports(i)));
                let ports: BTreeMap<_, _> = moving.chain(first).collect();
                call.offer(from, &sdp, &ports, &context, &mut random)
            }
            None => call.answer(&sdp, &context, &mut random),
        };
        if let Ok((after, decision)) = result {
            offerer = from.unwrap_or(offerer);
            let to = if from.is_some() {
                offerer.opposite()
            } else {
                offerer
            };
            check(&decision, to, &context);
            call = after;
        }
    }
});

fn ports(index: usize) -> Ports {
    let port = 2 * u16::try_from(index % 10_000).expect("less than 10 000");
    let ends = |ip: [u8; 4]| Ends {
        rtp: SocketAddr::from((ip, 40_000 + port)),
        rtcp: SocketAddr::from((ip, 40_001 + port)),
    };
    Ports {
        access: ends([192, 0, 2, 1]),
        core: ends([10, 0, 0, 1]),
    }
}

fn check(decision: &Decision, to: Side, context: &Context<'_>) {
    let text = decision.sdp.write();
    if text.len() <= Sdp::MAX_LEN {
        assert_eq!(Sdp::parse(text.as_bytes()).as_ref(), Ok(&decision.sdp));
    }
    for (stream, media) in decision.streams.iter().zip(decision.sdp.media()) {
        let ends_here = stream.treatment == Treatment::EndToAccessEdge;
        if let Action::Install(setup) = &stream.action {
            let has_keys = [&setup.access, &setup.core].map(|leg| leg.protection.is_some());
            match context.asked {
                None => assert_eq!(has_keys, [ends_here, false]),
                Some(_) => assert_eq!(has_keys != [false, false], ends_here),
            }
        }
        if ends_here && media.port() != 0 {
            let has = |name| media.section().attribute(name).is_some();
            let has_keys = has("crypto") != has("fingerprint");
            let is_protected = media.profile().is_protected();
            // Only where keys may be there or not are they in a plain profile.
            let is_osrtp = context
                .asked
                .is_some_and(|asked| asked.osrtp != Osrtp::default());
            assert!(is_protected == has_keys || (is_osrtp && has_keys));
            if context.asked.is_none() {
                assert_eq!(has_keys, to == Side::Access);
            }
        }
    }
}
