// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Offers and answers, and what becomes of them: one folder of `golden/` for each case, named for
//! what it shows.
//!
//! Files whose names end in `.sdp` are the events of a call in their order: `<n>-offer-access.sdp`
//! and `<n>-offer-core.sdp`, `<n>-answer.sdp`, `<n>-fork.sdp` (the answer of another early dialog,
//! with ports of its own), and the empty `<n>-reject.sdp`. Beside each lies what is passed on
//! (`.passed`) and what the data plane is told (`.told`), or why the event is refused (`.refused`).
//! A file `context` says what is not as in [`Case::default`]: see [`Case::read`].
//!
//! Random keys are one byte over and over, a new one for each key; local ports count from 40000
//! and 50000 on. Set `SALLYPORT_GOLDEN=write` to write the files anew, and read the difference.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use sallyport_signalling::dtls::{Fingerprint, Hash};
use sallyport_signalling::e2ae::{
    Action, Asked, Call, Context, Decision, Ends, Handshakes, IceAsked, Leg, Osrtp, Ports,
    Protection, Refusal, Setup, Side, Treatment,
};
use sallyport_signalling::mediasec::{Binding, Mechanisms};
use sallyport_signalling::policy::{AccessNetwork, Policy, RtcpMux, Rule};
use sallyport_signalling::random::{Random, RandomError};
use sallyport_signalling::sdes::{Preference, Suites};
use sallyport_signalling::sdp::{Medium, Profile, Sdp};

#[test]
fn every_offer_and_answer_is_passed_on_as_its_golden_file_says() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> = fs::read_dir(&golden)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let mut differing = Vec::new();
    for case in &cases {
        play(case, &mut differing);
    }
    assert!(differing.is_empty(), "different:\n{}", differing.join("\n"));
}

/// Plays one case, and names the files that differ.
fn play(folder: &Path, differing: &mut Vec<String>) {
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let case = Case::read(&read("context"));
    let context = Context {
        policy: &case.policy,
        binding: case.binding,
        access_network: case.access_network.as_ref(),
        is_signalling_confidential: case.is_signalling_confidential,
        asked: None,
    };
    let mut events: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".sdp").map(str::to_owned))
        .collect();
    events.sort();
    assert!(!events.is_empty(), "{} has no events", folder.display());
    let mut random = Repeating(0);
    let mut call = Call::new();
    let mut offered = Call::new();
    let mut offerer = Side::Access;
    for event in events {
        let text = read(&format!("{event}.sdp"));
        let (_, kind) = event.split_once('-').unwrap();
        let mut expect = |suffix: &str, text: Option<&str>| {
            let name = format!("{event}.{suffix}");
            if read(&name) != text.unwrap_or_default() {
                differing.push(format!("{}/{name}", folder.display()));
            }
            if std::env::var("SALLYPORT_GOLDEN").is_ok_and(|mode| mode == "write") {
                let _ = fs::remove_file(folder.join(&name));
                if let Some(text) = text {
                    fs::write(folder.join(&name), text).unwrap();
                }
            }
        };
        if kind == "reject" {
            let (after, actions) = call.reject();
            call = after;
            let told: String = actions.iter().map(|action| told(None, action)).collect();
            expect("told", Some(&told));
            continue;
        }
        let sdp = match Sdp::parse(text.as_bytes()) {
            Ok(sdp) => sdp,
            Err(error) => {
                expect("refused", Some(&format!("{error}\n")));
                continue;
            }
        };
        let from = match kind {
            "offer-access" => Side::Access,
            "offer-core" => Side::Core,
            "answer" | "fork" => offerer.opposite(),
            _ => panic!("unknown event {event}"),
        };
        let context = Context {
            asked: case.asked[from as usize].as_ref(),
            ..context
        };
        let result = match kind {
            "answer" => call.answer(&sdp, &context, &mut random),
            "fork" => {
                let ports = (0..).zip(sdp.media());
                let ports = ports.map(|(i, _)| (i, case.ports(i, 1000).of(offerer)));
                let dialog = offered.fork(&ports.collect());
                dialog.answer(&sdp, &context, &mut random)
            }
            _ => {
                let wanted = call.wanted_ports(&sdp).into_iter();
                let ports: BTreeMap<_, _> = wanted.map(|i| (i, case.ports(i, 0))).collect();
                call.offer(from, &sdp, &ports, &context, &mut random)
            }
        };
        match result {
            Ok((after, decision)) => {
                if context.asked.is_none() {
                    check(folder, &decision, from.opposite());
                }
                expect("passed", Some(&decision.sdp.write()));
                let streams = decision.streams.iter();
                let told: String = streams
                    .map(|stream| {
                        let about = format!("{} {:?}", stream.medium.name(), stream.treatment);
                        told(Some(&about), &stream.action)
                    })
                    .collect();
                expect("told", Some(&told));
                expect("refused", None);
                // As after a restart of the agent.
                let stored = serde_json::to_string(&after).unwrap();
                let after: Call = serde_json::from_str(&stored).unwrap();
                if kind.starts_with("offer") {
                    (offerer, offered) = (from, after.clone());
                }
                if kind != "fork" {
                    call = after;
                }
            }
            Err(refusal) => {
                expect("passed", None);
                expect("told", None);
                expect("refused", Some(&refused(refusal)));
            }
        }
    }
}

/// What must hold whatever the golden files say.
fn check(folder: &Path, decision: &Decision, to: Side) {
    let text = decision.sdp.write();
    assert_eq!(
        Sdp::parse(text.as_bytes()).as_ref(),
        Ok(&decision.sdp),
        "{}",
        folder.display()
    );
    assert!(
        sdp_types::Session::parse(text.as_bytes()).is_ok(),
        "{}",
        folder.display()
    );
    for (stream, media) in decision.streams.iter().zip(decision.sdp.media()) {
        let keys = media.section().attributes("crypto").count();
        match (stream.treatment, to) {
            (Treatment::EndToAccessEdge, Side::Core) => {
                assert!(
                    media.profile().protected().is_some() && keys == 0,
                    "{}",
                    folder.display()
                );
            }
            (Treatment::EndToAccessEdge, Side::Access) => {
                assert!(
                    media.profile().plain().is_some() && keys > 0,
                    "{}",
                    folder.display()
                );
            }
            _ => (),
        }
    }
}

fn refused(refusal: Refusal) -> String {
    let (status, warning) = (refusal.sip_status(), refusal.sip_warning());
    format!("{status}\n{warning} {refusal}\n")
}

/// One stream for the data plane, in a few lines.
fn told(about: Option<&str>, action: &Action) -> String {
    let mut text = about.map_or_else(String::new, |about| format!("{about}: "));
    match action {
        Action::Expect(Side::Access, crypto) => {
            writeln!(text, "Expect\n  receive {}", *crypto.write())
        }
        Action::Expect(Side::Core, crypto) => {
            writeln!(
                text,
                "Expect on the core side\n  receive {}",
                *crypto.write()
            )
        }
        Action::Install(setup) => {
            let Setup {
                access,
                core,
                to_core,
                to_access,
                ..
            } = &**setup;
            let arrow = match (to_core, to_access) {
                (true, true) => "<->",
                (true, false) => "->",
                (false, true) => "<-",
                (false, false) => "no media",
            };
            writeln!(text, "Install")
                .and_then(|()| writeln!(text, "  access {}", leg(access)))
                .and_then(|()| writeln!(text, "  core {}", leg(core)))
                .and_then(|()| writeln!(text, "  access {arrow} core"))
        }
        action => writeln!(text, "{action:?}"),
    }
    .unwrap();
    text
}

fn leg(leg: &Leg) -> String {
    let ends = |ends: Ends| {
        if ends.rtp == ends.rtcp {
            format!("{} with RTCP", ends.rtp)
        } else {
            format!("{} and {}", ends.rtp, ends.rtcp)
        }
    };
    let remote = leg
        .remote
        .map_or_else(|| "who knows where".to_owned(), ends);
    let mut text = format!("{} to {remote}", ends(leg.local));
    match &leg.protection {
        None => Ok(()),
        Some(Protection::Sdes(keys)) => {
            let (receive, send) = (keys.receive.write(), keys.send.write());
            let opportunistic = if keys.is_opportunistic {
                "\n    opportunistic"
            } else {
                ""
            };
            write!(
                text,
                "\n    receive {}\n    send {}{opportunistic}",
                *receive, *send
            )
        }
        Some(Protection::Dtls(dtls)) => {
            let role = if dtls.is_client { "client" } else { "server" };
            let prints = dtls.peer.fingerprints.iter();
            let prints: Vec<_> = prints.map(|one| format!(" of {one}")).collect();
            write!(
                text,
                "\n    DTLS {role}, round {}{}",
                dtls.round,
                prints.concat()
            )
        }
    }
    .unwrap();
    if let Some(ice) = &leg.ice {
        let (local, remote) = (&ice.local, &ice.remote);
        let lite = if ice.peer_is_lite {
            ", lite as well"
        } else {
            ""
        };
        let (fragment, password) = (local.fragment(), local.expose());
        let of_peer = remote.fragment();
        write!(text, "\n    ICE {fragment} {password} with {of_peer}{lite}").unwrap();
    }
    text
}

/// What is known beside the offers and answers.
struct Case {
    policy: Policy,
    binding: Binding,
    access_network: Option<AccessNetwork>,
    is_signalling_confidential: bool,
    /// For offers of the access side, and of the core side.
    asked: [Option<Asked>; 2],
    access: IpAddr,
    core: IpAddr,
}

impl Default for Case {
    /// An IMS UE that can protect RTP, in a network that announced so and has no other wishes.
    fn default() -> Self {
        let mechanisms = Mechanisms::parse(["sdes-srtp;mediasec"]);
        Self {
            policy: Policy::default(),
            binding: Binding {
                ue: mechanisms,
                network: mechanisms,
            },
            access_network: None,
            is_signalling_confidential: true,
            asked: [None, None],
            access: "192.0.2.1".parse().unwrap(),
            core: "10.0.0.1".parse().unwrap(),
        }
    }
}

impl Case {
    /// Each line is a name and its value.
    fn read(text: &str) -> Self {
        let mut case = Self::default();
        let policy = &mut case.policy;
        for line in text.lines() {
            let (name, value) = line.split_once(' ').unwrap();
            let mux = || match value {
                "never" => RtcpMux::Never,
                "always" => RtcpMux::Always,
                _ => panic!("{line}"),
            };
            match name {
                "ue" => case.binding.ue = Mechanisms::parse([value]),
                "network" => case.binding.network = Mechanisms::parse([value]),
                "signalling" => case.is_signalling_confidential = value != "exposed",
                "access-network" => case.access_network = Some(AccessNetwork::parse(value)),
                "access" => case.access = value.parse().unwrap(),
                "core" => case.core = value.parse().unwrap(),
                "e2ae" => {
                    let mut words = value.split(' ');
                    let e2ae = words.next().unwrap().parse().unwrap();
                    let mut word = || words.next().filter(|word| *word != "*");
                    policy.rules.push(Rule {
                        medium: word().map(Medium::from),
                        access_network: word().map(AccessNetwork::parse),
                        e2ae,
                        suites: word().map(|suites| {
                            let suites = suites.split(',');
                            suites.map(|suite| suite.parse().unwrap()).collect()
                        }),
                    });
                }
                "suites" => {
                    let suites = value.split(' ').map(|suite| suite.parse().unwrap());
                    policy.sdes.suites = Suites::new(suites).unwrap();
                }
                "preference" => policy.sdes.preference = Preference::Offerer,
                "unencrypted-srtcp" => policy.sdes.relaxed.unencrypted_srtcp = true,
                "max-mki-len" => policy.sdes.max_mki_len = value.parse().unwrap(),
                "key-derivation-rate" => policy.sdes.key_derivation_rate = true,
                "indications" => policy.needs_indications = value != "not needed",
                "lifetime" => policy.sdes.lifetime = Some(value.parse().unwrap()),
                "offered" => {
                    let suites = value.split(' ').map(|suite| suite.parse().unwrap());
                    policy.sdes.offered = Some(suites.collect());
                }
                "asked-srtcp" => policy.sdes.asked.unencrypted_srtcp = Some(value == "clear"),
                // Whose offers and answers, the profile for who gets them, or `-` for the same,
                // and what else is asked for.
                "asked" => {
                    let mut words = value.split(' ');
                    let from = usize::from(words.next() == Some("core"));
                    let profile = words.next().filter(|profile| *profile != "-");
                    let rest: Vec<_> = words.collect();
                    let asks = |word| rest.contains(&word);
                    case.asked[from] = Some(Asked {
                        profile: profile.map(Profile::from),
                        recrypt: asks("recrypt"),
                        indicates: asks("3ge2ae"),
                        is_reset: asks("reset"),
                        osrtp: Osrtp {
                            offers: asks("osrtp-offer"),
                            accepts: asks("osrtp-accept"),
                        },
                        keeps_suite: asks("static"),
                        accepts_profile: asks("accept"),
                        handshakes: Handshakes {
                            ice: match (asks("ICE"), asks("no-ICE")) {
                                (true, _) => IceAsked::Always,
                                (_, true) => IceAsked::Never,
                                _ => IceAsked::AsOffered,
                            },
                            rejects_ice: asks("reject-ICE"),
                            trickles: asks("trickle"),
                            is_relay: asks("relay"),
                            fingerprint: asks("DTLS").then(fingerprint),
                            no_sdes: asks("no-SDES"),
                            prefers_sdes: asks("prefer-SDES"),
                            is_active: asks("active").then_some(true),
                            no_tls_id: asks("no-tls-id"),
                        },
                    });
                }
                "end-to-end" => policy.end_to_end = value != "no",
                "access-rtcp-mux" => policy.access_rtcp_mux = mux(),
                "core-rtcp-mux" => policy.core_rtcp_mux = mux(),
                _ => panic!("{line}"),
            }
        }
        case
    }

    fn ports(&self, index: usize, offset: u16) -> Ports {
        let offset = offset + 2 * u16::try_from(index).unwrap();
        let ends = |ip, port| Ends {
            rtp: (ip, port).into(),
            rtcp: (ip, port + 1).into(),
        };
        Ports {
            access: ends(self.access, 40000 + offset),
            core: ends(self.core, 50000 + offset),
        }
    }
}

/// Of our certificate.
fn fingerprint() -> Fingerprint {
    Fingerprint {
        hash: Hash::Sha256,
        digest: vec![0x5a; 32],
    }
}

/// One byte over and over, the next for the next key.
struct Repeating(u8);

impl Random for Repeating {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        self.0 += 1;
        bytes.fill(self.0);
        Ok(())
    }
}
