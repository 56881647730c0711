// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the store has of sessions does not describe itself: another layout that is called by the
//! same version would be read as what it is not, or not at all.
//!
//! `tests/records` has records of the version in its first line, one in each other line, in
//! hexadecimal. Set `SALLYPORT_GOLDEN=write` to write it anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use sallyport_flow::{Crypto, FlowStatistics, Mark, MasterKey, Secret, Suite};
use sallyport_signalling::dtls::{Fingerprint, Hash};
use sallyport_signalling::e2ae::{Handshakes, IceAsked};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::marks::FlowMarks;
use crate::session::{Key, Keys, Leg, Profile, Session, SessionId, SessionKeys};
use crate::state::State;
use crate::store::record::{VERSION, encode, from_bytes};
use crate::webrtc::{Fact, Keys as AgreedKeys};

#[test]
fn what_is_remembered_is_read_as_it_was_written_or_its_version_is_another() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records");
    if std::env::var("SALLYPORT_GOLDEN").is_ok_and(|mode| mode == "write") {
        fs::write(&path, written()).unwrap();
    }
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let version = format!("version {VERSION}");
    assert_eq!(
        lines.next(),
        Some(&*version),
        "write the records anew: SALLYPORT_GOLDEN=write"
    );
    let mut records = 0;
    for line in lines {
        let (name, record) = line.split_once(' ').unwrap();
        let is_same = match name {
            "marks" => survives::<FlowMarks>(&bytes(record)),
            _ => survives::<State>(&bytes(record)),
        };
        assert!(
            is_same,
            "{name} has another layout: raise VERSION in store/record.rs"
        );
        records += 1;
    }
    assert_eq!(records, 5);
}

fn survives<T: DeserializeOwned + Serialize>(record: &[u8]) -> bool {
    let read = from_bytes::<T>(record);
    read.and_then(|read| encode(&read, <[u8]>::to_vec))
        .is_some_and(|again| again == record)
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// The file: of each kind of session one that has as much to be remembered as it can.
fn written() -> String {
    let mut text = format!("version {VERSION}\n");
    let mut add = |name: &str, record: Option<Vec<u8>>| {
        let hex: String = record.unwrap().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let _ = writeln!(text, "{name} {hex}");
    };
    let of_state = |state: State| encode(&state, <[u8]>::to_vec);
    let of_call = |call: Call| of_state(State::Call(Box::new(call)));
    add("session", of_state(session()));
    add("crossing", of_call(crossed()));
    add("forked", of_call(forked()));
    add("browser", of_call(browser()));
    add("marks", encode(&marks(), <[u8]>::to_vec));
    text
}

fn id() -> SessionId {
    "00000000000a0000".parse().unwrap()
}

fn session() -> State {
    let ends = |ip: [u8; 4], port| Ends {
        rtp: (ip, port).into(),
        rtcp: (ip, port + 1).into(),
    };
    let suite = Suite::AeadAes128Gcm;
    let key = |byte| Key {
        secret: Secret::new(vec![byte; suite.key_len()]),
        lifetime: Some(1 << 20),
    };
    let session = Session {
        id: id(),
        name: Some("a name".to_owned().try_into().unwrap()),
        access: Leg {
            profile: Profile::Savp(suite),
            local: ends([192, 0, 2, 1], 40000),
            remote: None,
        },
        core: Leg {
            profile: Profile::Avp,
            local: ends([10, 0, 0, 1], 40000),
            remote: Some(ends([10, 0, 0, 9], 6000)),
        },
    };
    let keys = SessionKeys {
        access: Some(Keys {
            suite,
            receive: key(1),
            send: key(2),
        }),
        core: None,
    };
    State::Session(Box::new(session), keys)
}

/// Two offers are under way, with lines of their own.
fn crossed() -> Call {
    let mut played = Played::set_up();
    let [mut by_ue, mut by_core] = crossing();
    for offer in [&mut by_ue, &mut by_core] {
        offer.shape.without = vec![Medium::Video];
        offer.dscp = Some(Dscp::Marked(46));
        offer.about = About {
            label: Some("caller".to_owned()),
            metadata: Some("noted".to_owned()),
            reach: Reach {
                received_from: Some([192, 0, 2, 7].into()),
                media_address: Some([192, 0, 2, 8].into()),
                learning: Learning::Off,
                waits: true,
                pierces: true,
            },
            silences: Some(true),
            echoes: Some(Echoes {
                sender: true,
                receiver: false,
            }),
        };
    }
    played.offer(&by_ue, 100).unwrap();
    played.offer(&by_core, 101).unwrap();
    played.call.ends_at = Some(Duration::from_secs(200));
    played.call
}

/// Several may answer, with keys of their own.
fn forked() -> Call {
    let mut played = Played::new();
    let offered = offer(tags("as", None, Some("z1")), rtp(), "RTP/SAVP");
    let offered = played.offer(&offered, 0).unwrap();
    for tag in ["ue1", "ue2"] {
        let mut taken = answer(tags("as", Some(tag), Some("z1")), taken_of(&offered));
        taken.is_final = true;
        played.answer(&taken, 1).unwrap();
    }
    played.call
}

/// Keys are agreed on with it, and the way to it is found.
fn browser() -> Call {
    let fingerprint = |byte| Fingerprint {
        hash: Hash::Sha256,
        digest: vec![byte; 32],
    };
    let asked = |profile: Option<&str>| {
        Terms::Asked(Asked {
            profile: profile.map(Into::into),
            handshakes: Handshakes {
                ice: IceAsked::Never,
                fingerprint: Some(fingerprint(0)),
                ..Handshakes::default()
            },
            ..Asked::default()
        })
    };
    let lines = format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF 0\na=ice-ufrag:Wvka\na=ice-pwd:asd88fgpdd777uzjYhagZg\n\
         a=fingerprint:{}\na=setup:actpass\na=rtcp-mux",
        fingerprint(1)
    );
    let mut played = Played::new();
    let mut offered = offer(tags("ue", None, None), sdp("0.0.0.0", &lines), "RTP/AVP");
    offered.terms = asked(Some("RTP/AVP"));
    played.offer(&offered, 0).unwrap();
    let mut taken = answer(tags("ue", Some("as"), None), rtp());
    taken.terms = asked(None);
    played.answer(&taken, 0).unwrap();
    let sockets = played.call.sockets(id());
    let terms = sockets.into_values().next().unwrap();
    let keys = AgreedKeys {
        receive: crypto(1),
        send: crypto(2),
    };
    let agreed = Fact::Keys(Box::new(terms.dtls.unwrap()), Box::new(keys));
    assert!(played.call.prove(terms.place, &agreed));
    played.call
}

fn crypto(byte: u8) -> Crypto {
    let suite = Suite::AeadAes128Gcm;
    Crypto {
        suite,
        keys: vec![MasterKey::new(Secret::new(vec![byte; suite.key_len()]))],
        lifetime: Some(1 << 20),
        replay_window: 64,
        key_derivation_rate: None,
        unencrypted_srtcp: false,
        marks: Vec::new(),
    }
}

/// Of flows that are protected, one of which has lost its keys.
fn marks() -> FlowMarks {
    let mut flows = crate::flows::flows(id(), &browser().streams());
    let mut marks = FlowMarks::default();
    marks.turn_to(&flows);
    let mark = Mark {
        ssrc: 7,
        rtp: Some(1 << 17),
        rtcp: Some(9),
    };
    for flow in &flows {
        marks.learn(&FlowStatistics {
            id: flow.id,
            unprotect: vec![mark],
            protect: vec![mark],
            ..FlowStatistics::default()
        });
    }
    flows.truncate(1);
    marks.turn_to(&flows);
    marks
}
