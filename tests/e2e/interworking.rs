// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Legs of different IP versions.

use sallyport_tests::{Family, Gateway, GatewayOptions, Topology, media, report, require};
use serde_json::json;

use crate::support::{End, Kind, Libsrtp, Terms};

const PACKETS: u32 = 50;

#[test]
fn a_caller_of_one_ip_version_speaks_with_a_core_of_the_other() {
    if !require::root_and_namespaces() || !Libsrtp::is_there() {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    for (port, [access, core]) in [
        (5000, [Family::V6, Family::V4]),
        (5010, [Family::V4, Family::V6]),
    ] {
        let terms = Terms {
            family: access,
            port,
            ..Terms::default()
        };
        let core = Terms {
            family: core,
            port,
            ..terms
        }
        .core();
        let mut offer = terms.offer();
        offer["core"]["remote"] = json!(core.to_string());
        let session = gateway.create_session(&offer);
        let ue = End::new(
            &topology.ue,
            terms.ue(),
            terms.mux,
            &session.description["access"],
        );
        let core = End::new(&topology.core, core, false, &session.description["core"]);
        let mut libsrtp = Libsrtp::new(terms.suite, &terms.up(), &terms.down());
        for number in 1..=PACKETS {
            for (kind, plain) in [
                (Kind::Rtp, media::numbered_rtp(1, number, 160)),
                (Kind::Rtcp, media::sender_report(1, number, number, number)),
            ] {
                ue.send(kind, &libsrtp.protect(kind, &plain));
                assert_eq!(
                    core.receive(kind).as_ref(),
                    Some(&plain),
                    "{kind:?} {number} up"
                );
                core.send(kind, &plain);
                let protected = ue.receive(kind).expect("it reaches the user equipment");
                assert_eq!(
                    libsrtp.unprotect(kind, &protected),
                    Ok(plain),
                    "{kind:?} {number} down"
                );
            }
        }
        let suite = terms.suite.name;
        let packets = u64::from(PACKETS) * 2;
        for direction in ["access to core", "core to access"] {
            report::peer(&libsrtp.version, suite, direction, packets, "interworking");
        }
    }
    assert_eq!(gateway.frames_lost(), 0);
}
