// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Kamailio as P-CSCF: registration with media security, originating and terminating calls, and
//! SRTP of libsrtp that ends at the access edge.

use std::net::SocketAddr;

use sallyport_tests::{Family, Gateway, Topology, report, require};
use serde_json::json;

use crate::support::kamailio::{Kamailio, with_ng};
use crate::support::phone::{Message, Phone, first_of_dialogue, in_dialogue};
use crate::support::talk::Talk;
use crate::support::{Key, Libsrtp, Suite, expect_balanced};

const SUITE: Suite = Suite::CM_80;

/// What the network announces.
const SECURITY_SERVER: &str = "sdes-srtp;mediasec";

#[test]
fn a_ue_that_registered_for_it_has_srtp_to_the_access_edge_whoever_calls_and_whoever_offers() {
    run(|bed, gateway| {
        let path = bed.register("Security-Client: sdes-srtp;mediasec");
        for call in [
            Bed::ue_calls,
            Bed::ue_is_called,
            Bed::ue_calls_without_an_offer,
            Bed::ue_is_called_without_an_offer,
        ] {
            call(bed, &path);
            expect_idle(gateway);
        }
    });
}

#[test]
fn a_ue_that_did_not_register_for_it_keeps_what_is_offered() {
    run(|bed, gateway| {
        let path = bed.register("");

        // Keys pass from end to end, whatever is asked for.
        let invite = first_of_dialogue("ue", "core", "originating", "1 INVITE");
        bed.ue.request(TO_CORE, &invite, &bed.srtp("1", REQUESTED));
        let offer = bed.core.receive("INVITE ");
        assert_eq!(offer.audio().1, "RTP/SAVP");
        let keys: Vec<_> = offer.attributes("crypto").collect();
        assert!(
            matches!(keys[..], [key] if key.contains(&Bed::up().inline())),
            "{offer:?}"
        );
        bed.core.reply(&offer, "488 Not Acceptable Here", "", "");
        bed.ue.receive("SIP/2.0 488");
        expect_idle(gateway);

        // And nobody is offered SRTP that does not know what it is.
        let invite = first_of_dialogue("core", "ue", "terminating", "1 INVITE") + &path;
        bed.core.request(TO_UE, &invite, &Bed::rtp());
        let offer = bed.ue.receive("INVITE ");
        expect_plain(&offer);
        bed.ue.reply(&offer, "486 Busy Here", "", "");
        bed.core.receive("SIP/2.0 486");
        expect_idle(gateway);
    });
}

#[test]
fn a_ue_that_sends_back_another_list_than_it_was_sent_has_to_register_again() {
    run(|bed, _| {
        let register = first_of_dialogue("ue", "ue", "registration", "1 REGISTER");
        let verify = format!("{register}\nSecurity-Verify: msrp-tls;mediasec");
        bed.ue.request("REGISTER sip:ims.example", &verify, "");
        let refused = bed.ue.receive("SIP/2.0 494");
        assert_eq!(
            refused.fields("Security-Server").collect::<Vec<_>>(),
            [SECURITY_SERVER]
        );
    });
}

/// Runs a test between a UE and a core, with Kamailio as P-CSCF.
fn run(test: impl FnOnce(&Bed<'_>, &Gateway<'_>)) {
    let is_all_there =
        require::root_and_namespaces() && Libsrtp::is_there() && require::program("kamailio");
    if !is_all_there {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &with_ng());
    let _kamailio = Kamailio::start(&topology, "pcscf.cfg");
    test(&Bed::new(&topology), &gateway);
    expect_idle(&gateway);
}

/// User equipment and core, both by hand.
struct Bed<'a> {
    topology: &'a Topology,
    ue: Phone,
    ue_at: SocketAddr,
    core: Phone,
}

impl<'a> Bed<'a> {
    fn new(topology: &'a Topology) -> Self {
        let at = |ip| SocketAddr::new(ip, 5060);
        let ue_at = at(Topology::ue_address(Family::V4));
        let access = at(Topology::access_address(Family::V4));
        let core = at(Topology::core_address(Family::V4));
        let core_side = at(Topology::core_side_address(Family::V4));
        Self {
            topology,
            ue: Phone::new(&topology.ue, ue_at, access),
            ue_at,
            core: Phone::new(&topology.core, core, core_side),
        }
    }

    /// Registers after a challenge, and returns the header field that leads to the UE.
    fn register(&self, client: &str) -> String {
        let mut path = None;
        for (number, status) in [(1, "401 Unauthorized"), (2, "200 OK")] {
            let register =
                first_of_dialogue("ue", "ue", "registration", &format!("{number} REGISTER"));
            let verify = match number {
                2 => format!("Security-Verify: {SECURITY_SERVER}"),
                _ => String::new(),
            };
            let fields = format!(
                "{register}\n{client}\n{verify}\nContact: <sip:ue@{}>",
                self.ue_at
            );
            self.ue.request("REGISTER sip:ims.example", &fields, "");
            let request = self.core.receive("REGISTER ");
            for name in ["Security-Client", "Security-Verify"] {
                assert_eq!(request.fields(name).next(), None, "{request:?}");
            }
            path = request.fields("Path").next().map(str::to_owned);
            self.core.reply(&request, status, "", "");
            let answer = self.ue.receive(&format!("SIP/2.0 {}", &status[..3]));
            let announced: Vec<_> = answer.fields("Security-Server").collect();
            assert_eq!(announced, [SECURITY_SERVER], "{answer:?}");
        }
        let path = path.expect("the P-CSCF says where it is");
        format!("\nRoute: {path}")
    }

    fn ue_calls(&self, _path: &str) {
        let invite = first_of_dialogue("ue", "core", "originating", "1 INVITE");
        self.ue
            .request(TO_CORE, &invite, &self.srtp("1", REQUESTED));
        let offer = self.core.receive("INVITE ");
        expect_plain(&offer);
        self.core
            .reply(&offer, "200 OK", CORE_CONTACT, &Self::rtp());
        let answer = self.ue.receive("SIP/2.0 200");
        expect_protected(&answer);
        self.acknowledge_and_end(&invite, &answer, "", |_| {
            self.cross(&answer, &offer, "originating");
        });
    }

    fn ue_calls_without_an_offer(&self, _path: &str) {
        let invite = first_of_dialogue("ue", "core", "originating-late", "1 INVITE");
        self.ue.request(TO_CORE, &invite, "");
        let request = self.core.receive("INVITE ");
        self.core
            .reply(&request, "200 OK", CORE_CONTACT, &Self::rtp());
        let offer = self.ue.receive("SIP/2.0 200");
        expect_offered(&offer);
        let answer = self.srtp(tag_in(&offer), "");
        self.acknowledge_and_end(&invite, &offer, &answer, |answer| {
            expect_plain(answer);
            self.cross(&offer, answer, "originating, offer in the answer");
        });
    }

    fn ue_is_called(&self, path: &str) {
        let invite = first_of_dialogue("core", "ue", "terminating", "1 INVITE") + path;
        self.core.request(TO_UE, &invite, &Self::rtp());
        let offer = self.ue.receive("INVITE ");
        expect_offered(&offer);
        let answer = self.srtp(tag_in(&offer), "");
        self.ue.reply(&offer, "200 OK", UE_CONTACT, &answer);
        let answer = self.core.receive("SIP/2.0 200");
        expect_plain(&answer);
        self.acknowledge_and_end(&invite, &answer, "", |_| {
            self.cross(&offer, &answer, "terminating");
        });
    }

    fn ue_is_called_without_an_offer(&self, path: &str) {
        let invite = first_of_dialogue("core", "ue", "terminating-late", "1 INVITE") + path;
        self.core.request(TO_UE, &invite, "");
        let request = self.ue.receive("INVITE ");
        self.ue
            .reply(&request, "200 OK", UE_CONTACT, &self.srtp("1", REQUESTED));
        let offer = self.core.receive("SIP/2.0 200");
        expect_plain(&offer);
        self.acknowledge_and_end(&invite, &offer, &Self::rtp(), |answer| {
            expect_protected(answer);
            self.cross(answer, &offer, "terminating, offer in the answer");
        });
    }

    /// Who called acknowledges the 200, with an answer if the offer was in there, and ends the call
    /// once `talk` is over, which gets the ACK as it arrived.
    fn acknowledge_and_end(&self, invite: &str, ok: &Message, sdp: &str, talk: impl Fn(&Message)) {
        let is_from_ue = invite.starts_with("From: <sip:ue@");
        let (caller, callee, to) = if is_from_ue {
            (&self.ue, &self.core, "sip:core@10.0.0.2")
        } else {
            (&self.core, &self.ue, "sip:ue@192.0.2.2")
        };
        caller.request(&format!("ACK {to}"), &in_dialogue(invite, ok, "1 ACK"), sdp);
        talk(&callee.receive("ACK "));
        caller.request(&format!("BYE {to}"), &in_dialogue(invite, ok, "2 BYE"), "");
        let bye = callee.receive("BYE ");
        callee.reply(&bye, "200 OK", "", "");
        caller.receive("SIP/2.0 200");
    }

    /// The key of the UE.
    fn up() -> Key {
        SUITE.key(1)
    }

    /// What the UE says: a tag for its key, and further lines.
    fn srtp(&self, tag: &str, lines: &str) -> String {
        let (ip, key) = (self.ue_at.ip(), Self::up().inline());
        format!(
            "v=0\r\no=ue 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio 5000 RTP/SAVP 8\r\na=crypto:{tag} {} {key}\r\n{lines}",
            SUITE.name
        )
    }

    /// What the core says.
    fn rtp() -> String {
        let ip = Topology::core_address(Family::V4);
        format!(
            "v=0\r\no=core 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio 5000 RTP/AVP 8\r\n"
        )
    }

    /// Media crosses in both directions, to where the messages that each side got say.
    fn cross(&self, to_ue: &Message, to_core: &Message, test: &str) {
        let at = |ip| SocketAddr::new(ip, 5000);
        let key = Key::of_attribute(to_ue.crypto(SUITE));
        let mut talk = Talk::new(
            (&self.topology.ue, at(self.ue_at.ip())),
            (&self.topology.core, at(Topology::core_address(Family::V4))),
            SUITE,
            [&Self::up(), &key],
        );
        talk.connect(to_ue, to_core);
        talk.cross(20);
        for direction in ["access to core", "core to access"] {
            let peer = format!("{}, by Kamailio as P-CSCF", talk.version());
            report::peer(&peer, SUITE.name, direction, 20, test);
        }
    }
}

const TO_CORE: &str = "INVITE sip:core@ims.example";
const TO_UE: &str = "INVITE sip:ue@192.0.2.2:5060";
const CORE_CONTACT: &str = "Contact: <sip:core@10.0.0.2>";
const UE_CONTACT: &str = "Contact: <sip:ue@192.0.2.2>";
const REQUESTED: &str = "a=3ge2ae:requested\r\n";

/// The tag of the key of our suite.
fn tag_in(offer: &Message) -> &str {
    let (tag, _) = offer.crypto(SUITE).split_once(' ').expect("a tag");
    tag
}

/// SRTP offered by the network (TS 24.229 section 7.5.2).
fn expect_offered(message: &Message) {
    expect_protected(message);
    let indications: Vec<_> = message.attributes("3ge2ae").collect();
    assert_eq!(indications, ["applied"], "{message:?}");
}

/// SRTP, with a key.
fn expect_protected(message: &Message) {
    assert_eq!(message.audio().1, "RTP/SAVP", "{message:?}");
    assert!(message.attributes("crypto").count() > 0, "{message:?}");
}

/// RTP, and nothing that is between the UE and us.
fn expect_plain(message: &Message) {
    assert_eq!(message.audio().1, "RTP/AVP", "{message:?}");
    for name in ["crypto", "3ge2ae"] {
        assert_eq!(message.attributes(name).next(), None, "{message:?}");
    }
}

/// Nothing is left of any call.
fn expect_idle(gateway: &Gateway<'_>) {
    assert_eq!(gateway.list()["sessions"], json!([]));
    assert_eq!(gateway.statistics()["flows"], 0);
    expect_balanced(gateway);
}
