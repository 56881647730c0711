// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What SIP makes of one call, through Kamailio: early media, PRACK and UPDATE, forks in the core and
//! at the UE, offers that are late or refused. User equipment and core by hand, SRTP by libsrtp.

use std::env;
use std::fmt::Write as _;
use std::net::SocketAddr;

use sallyport_tests::{Family, Gateway, Topology, report, require};
use serde_json::json;

use crate::support::kamailio::{Kamailio, with_ng};
use crate::support::opensips::Opensips;
use crate::support::phone::{Message, Phone, first_of_dialogue, in_dialogue};
use crate::support::talk::Talk;
use crate::support::{Key, Libsrtp, Suite, expect_balanced};

const SUITE: Suite = Suite::CM_80;

/// Where media of the UE, and of its second registration, is received.
const UE: [u16; 2] = [5000, 5100];
/// Where media of the core is, one for each who answers.
const CORE: [u16; 2] = [6000, 6100];

#[test]
fn early_media_flows_as_each_provisional_answer_says_and_an_update_moves_it() {
    run("early media, PRACK, UPDATE", |bed| {
        let invite = first_of_dialogue("ue", "core", "early", "1 INVITE");
        bed.ue.request(TO_CORE, &invite, &srtp(0, 1));
        let offer = bed.core.receive("INVITE ");

        // Ringing with an announcement, then with another one from elsewhere.
        let mut talk = None;
        for (number, port) in [(1, CORE[0]), (2, CORE[1])] {
            let reliable = format!("{CORE_CONTACT}\nRequire: 100rel\nRSeq: {number}");
            let progress = "183 Session Progress";
            bed.core.reply(&offer, progress, &reliable, &rtp(port));
            let answer = bed.ue.receive("SIP/2.0 183");
            talk = Some(bed.talk(talk.take(), &answer, &offer, port));
            talk.as_mut().expect("just made").cross(10);
            let prack = in_dialogue(&invite, &answer, &format!("{} PRACK", number + 1));
            let rack = format!("{prack}\nRAck: {number} 1 INVITE");
            bed.ue.request("PRACK sip:core@10.0.0.2", &rack, "");
            let prack = bed.core.receive("PRACK ");
            bed.core.reply(&prack, "200 OK", "", "");
            bed.ue.receive("SIP/2.0 200");
        }
        bed.core
            .reply(&offer, "200 OK", CORE_CONTACT, &rtp(CORE[1]));
        let answer = bed.ue.receive("SIP/2.0 200");
        let ack = in_dialogue(&invite, &answer, "1 ACK");
        bed.ue.request("ACK sip:core@10.0.0.2", &ack, "");
        bed.core.receive("ACK ");
        let mut talk = bed.talk(talk, &answer, &offer, CORE[1]);
        talk.cross(10);

        // The UE changes its key in the middle of the call.
        let update = in_dialogue(&invite, &answer, "4 UPDATE");
        let target = "UPDATE sip:core@10.0.0.2";
        bed.ue.request(target, &update, &srtp(0, 7));
        let offer = bed.core.receive("UPDATE ");
        bed.core
            .reply(&offer, "200 OK", CORE_CONTACT, &rtp(CORE[1]));
        let updated = bed.ue.receive("SIP/2.0 200");
        drop(talk);
        let mut talk = bed.talk_with(&up(7), &updated, &offer, CORE[1]);
        talk.cross(10);

        let bye = in_dialogue(&invite, &answer, "5 BYE");
        bed.ue.request("BYE sip:core@10.0.0.2", &bye, "");
        let bye = bed.core.receive("BYE ");
        bed.core.reply(&bye, "200 OK", "", "");
        bed.ue.receive("SIP/2.0 200");
        talk
    });
}

#[test]
fn of_two_who_answer_in_the_core_each_has_keys_of_its_own_and_the_last_has_the_media() {
    run("forked in the core", |bed| {
        let invite = first_of_dialogue("ue", "core", "forked", "1 INVITE");
        bed.ue.request(TO_CORE, &invite, &srtp(0, 1));
        let offer = bed.core.receive("INVITE ");
        let answered = |tag, status, port| {
            let sdp = rtp(port);
            bed.core.reply_as(tag, &offer, status, CORE_CONTACT, &sdp);
            bed.ue.receive(&format!("SIP/2.0 {}", &status[..3]))
        };
        let first = answered("one", "183 Session Progress", CORE[0]);
        let mut first_talk = bed.talk(None, &first, &offer, CORE[0]);
        first_talk.cross(10);
        let second = answered("two", "183 Session Progress", CORE[1]);
        assert_ne!(key(&second).bytes(), key(&first).bytes());
        let core = bed.core_media(CORE[1]);
        let mut second_talk = first_talk.fork(core, SUITE, [&up(1), &key(&second)]);
        second_talk.connect(&second, &offer);
        second_talk.cross(10);
        // The first one takes the call, under the key that it had.
        let taken = answered("one", "200 OK", CORE[0]);
        assert_eq!(key(&taken).bytes(), key(&first).bytes());
        bed.ue.request(
            "ACK sip:core@10.0.0.2",
            &in_dialogue(&invite, &taken, "1 ACK"),
            "",
        );
        bed.core.receive("ACK ");
        first_talk.connect(&taken, &offer);
        // The UE went on with its numbers in between.
        first_talk.skip(2000);
        first_talk.cross(10);
        second_talk.connect(&second, &offer);
        // Who did not take the call is not heard.
        second_talk.expect_unheard();
        bed.hang_up(&invite, &taken);
        first_talk
    });
}

#[test]
fn a_ue_at_two_places_is_offered_other_keys_at_each_and_the_one_that_answers_has_the_media() {
    run("forked at the UE", |bed| {
        let other = Phone::new(
            &bed.topology.ue,
            SocketAddr::new(Topology::ue_address(Family::V4), 5062),
            bed.ue.proxy(),
        );
        register(&other, 5062);
        let invite = first_of_dialogue("core", "ue", "two-places", "1 INVITE");
        bed.core.request(TO_UE, &invite, &rtp(CORE[0]));
        let offers = [bed.ue.receive("INVITE "), other.receive("INVITE ")];
        let [here, there] = [key(&offers[0]), key(&offers[1])];
        assert_ne!(here.bytes(), there.bytes(), "one key for two");
        assert_ne!(offers[0].audio().0, offers[1].audio().0);

        let ring = |phone: &Phone, tag, offer: &Message, place, status: &str| {
            let sdp = answer(offer, place);
            phone.reply_as(tag, offer, status, UE_CONTACT[place], &sdp);
            bed.core.receive(&format!("SIP/2.0 {}", &status[..3]))
        };
        let first = ring(&bed.ue, "one", &offers[0], 0, "183 Session Progress");
        let core = bed.core_media(CORE[0]);
        let ue = (&bed.topology.ue, ue_media(0));
        let mut talk = Talk::new(ue, core, SUITE, [&up(1), &here]);
        talk.connect(&offers[0], &first);
        talk.cross(10);
        drop(talk);
        let second = ring(&other, "two", &offers[1], 1, "200 OK");
        assert_ne!(first.audio().0, second.audio().0);
        let core = bed.core_media(CORE[0]);
        let ue = (&bed.topology.ue, ue_media(1));
        let mut talk = Talk::new(ue, core, SUITE, [&up(2), &there]);
        talk.connect(&offers[1], &second);
        talk.cross(10);

        let cancel = bed.ue.receive("CANCEL ");
        bed.ue.reply(&cancel, "200 OK", "", "");
        bed.ue
            .reply_as("one", &offers[0], "487 Request Terminated", "", "");
        bed.ue.receive("ACK ");
        let target = "sip:ue@192.0.2.2:5062";
        let ack = in_dialogue(&invite, &second, "1 ACK");
        bed.core.request(&format!("ACK {target}"), &ack, "");
        other.receive("ACK ");
        talk.cross(10);
        let bye = in_dialogue(&invite, &second, "2 BYE");
        bed.core.request(&format!("BYE {target}"), &bye, "");
        let bye = other.receive("BYE ");
        other.reply(&bye, "200 OK", "", "");
        bed.core.receive("SIP/2.0 200");
        talk
    });
}

#[test]
fn an_offer_that_the_gateway_refuses_goes_nowhere() {
    run("refused by the gateway", |bed| {
        let invite = first_of_dialogue("ue", "core", "unknown-suite", "1 INVITE");
        let unknown = srtp(0, 1).replace(SUITE.name, "AES_CM_128_HMAC_MD5");
        bed.ue.request(TO_CORE, &invite, &unknown);
        bed.ue.receive("SIP/2.0 488");
        bed.core.expect_nothing();
        let invite = first_of_dialogue("ue", "core", "known-suite", "1 INVITE");
        bed.ue.request(TO_CORE, &invite, &srtp(0, 1));
        let offer = bed.core.receive("INVITE ");
        bed.core.reply(&offer, "486 Busy Here", "", "");
        bed.ue.receive("SIP/2.0 486");
        bed.core.receive("ACK ");
        bed.talk_with(
            &up(1),
            &Message::of_sdp(&sdp_of_ue(0, "1", &up(1))),
            &offer,
            CORE[0],
        )
    });
}

#[test]
fn media_goes_on_as_it_was_when_an_offer_within_the_call_is_refused() {
    run("refused re-INVITE", |bed| {
        let invite = first_of_dialogue("ue", "core", "refused", "1 INVITE");
        bed.ue.request(TO_CORE, &invite, &srtp(0, 1));
        let offer = bed.core.receive("INVITE ");
        bed.core
            .reply(&offer, "200 OK", CORE_CONTACT, &rtp(CORE[0]));
        let answer = bed.ue.receive("SIP/2.0 200");
        let ack = in_dialogue(&invite, &answer, "1 ACK");
        bed.ue.request("ACK sip:core@10.0.0.2", &ack, "");
        bed.core.receive("ACK ");
        let mut talk = bed.talk(None, &answer, &offer, CORE[0]);
        talk.cross(10);

        // Other keys and another port, which the core does not want.
        let again = in_dialogue(&invite, &answer, "2 INVITE");
        let fields = format!("{again}\nContact: <sip:ue@192.0.2.2>");
        let target = "INVITE sip:core@10.0.0.2";
        bed.ue.request(target, &fields, &srtp(1, 9));
        let refused = bed.core.receive("INVITE ");
        bed.core.reply(&refused, "488 Not Acceptable Here", "", "");
        bed.ue.receive("SIP/2.0 488");
        bed.core.receive("ACK ");
        talk.cross(10);

        // Nobody tells the gateway of a refusal. And at once one of the core, on hold and from
        // elsewhere, which the UE does not want.
        let fields = of_callee(&invite, &answer, "1 INVITE");
        let hold = rtp(CORE[1]) + "a=inactive\r\n";
        bed.core.request("INVITE sip:ue@192.0.2.2", &fields, &hold);
        let refused = bed.ue.receive("INVITE ");
        bed.ue.reply(&refused, "488 Not Acceptable Here", "", "");
        bed.core.receive("SIP/2.0 488");
        bed.ue.receive("ACK ");
        talk.cross(10);
        // What is wanted then is done.
        let again = in_dialogue(&invite, &answer, "3 INVITE");
        let fields = format!("{again}\nContact: <sip:ue@192.0.2.2>");
        bed.ue.request(target, &fields, &srtp(0, 1));
        let offer = bed.core.receive("INVITE ");
        bed.core
            .reply(&offer, "200 OK", CORE_CONTACT, &rtp(CORE[0]));
        let taken = bed.ue.receive("SIP/2.0 200");
        let ack = in_dialogue(&invite, &answer, "3 ACK");
        bed.ue.request("ACK sip:core@10.0.0.2", &ack, "");
        bed.core.receive("ACK ");
        talk.connect(&taken, &offer);
        talk.cross(10);
        bed.hang_up(&invite, &answer);
        talk
    });
}

#[test]
fn the_offer_may_come_with_the_answer_or_with_reliable_ringing() {
    run("late offer in 200", |bed| {
        let invite = first_of_dialogue("ue", "core", "late", "1 INVITE");
        bed.ue.request(TO_CORE, &invite, "");
        let request = bed.core.receive("INVITE ");
        bed.core
            .reply(&request, "200 OK", CORE_CONTACT, &rtp(CORE[0]));
        let offer = bed.ue.receive("SIP/2.0 200");
        let ack = in_dialogue(&invite, &offer, "1 ACK");
        let answer = answer(&offer, 0);
        bed.ue.request("ACK sip:core@10.0.0.2", &ack, &answer);
        let answer = bed.core.receive("ACK ");
        let mut talk = bed.talk(None, &offer, &answer, CORE[0]);
        talk.cross(10);
        bed.hang_up(&invite, &offer);
        talk
    });
    run("late offer in 183", |bed| {
        let invite = first_of_dialogue("ue", "core", "later", "1 INVITE");
        bed.ue.request(TO_CORE, &invite, "");
        let request = bed.core.receive("INVITE ");
        let reliable = format!("{CORE_CONTACT}\nRequire: 100rel\nRSeq: 1");
        let progress = "183 Session Progress";
        bed.core.reply(&request, progress, &reliable, &rtp(CORE[0]));
        let offer = bed.ue.receive("SIP/2.0 183");
        let prack = in_dialogue(&invite, &offer, "2 PRACK") + "\nRAck: 1 1 INVITE";
        let answer = answer(&offer, 0);
        bed.ue.request("PRACK sip:core@10.0.0.2", &prack, &answer);
        let prack = bed.core.receive("PRACK ");
        let mut talk = bed.talk(None, &offer, &prack, CORE[0]);
        bed.core.reply(&prack, "200 OK", "", "");
        bed.ue.receive("SIP/2.0 200");
        talk.cross(10);
        bed.core.reply(&request, "200 OK", CORE_CONTACT, "");
        let taken = bed.ue.receive("SIP/2.0 200");
        let ack = in_dialogue(&invite, &taken, "1 ACK");
        bed.ue.request("ACK sip:core@10.0.0.2", &ack, "");
        bed.core.receive("ACK ");
        talk.cross(10);
        bed.hang_up(&invite, &taken);
        talk
    });
}

/// A call between a registered UE and the core, of which nothing is left in the end.
fn run(test: &str, call: impl FnOnce(&Bed<'_>) -> Talk) {
    // Where an OpenSIPS is said to be, the calls go through that.
    let by_opensips = env::var_os("OPENSIPS_MODULES").is_some();
    let program = if by_opensips { "opensips" } else { "kamailio" };
    let is_all_there =
        require::root_and_namespaces() && Libsrtp::is_there() && require::program(program);
    if !is_all_there {
        return;
    }
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &with_ng());
    let _proxy = if by_opensips {
        Opensips::start(&topology)
    } else {
        Kamailio::start(&topology, "anchor.cfg")
    };
    let bed = Bed::new(&topology);
    register(&bed.ue, 5060);
    let talk = call(&bed);
    assert_eq!(gateway.list()["sessions"], json!([]));
    assert_eq!(gateway.statistics()["flows"], 0);
    expect_balanced(&gateway);
    for direction in ["access to core", "core to access"] {
        let peer = format!("{}, by {program}", talk.version());
        report::peer(&peer, SUITE.name, direction, 20, test);
    }
}

/// User equipment and core.
struct Bed<'a> {
    topology: &'a Topology,
    ue: Phone,
    core: Phone,
}

impl<'a> Bed<'a> {
    fn new(topology: &'a Topology) -> Self {
        let at =
            |address: fn(Family) -> std::net::IpAddr| SocketAddr::new(address(Family::V4), 5060);
        Self {
            topology,
            ue: Phone::new(
                &topology.ue,
                at(Topology::ue_address),
                at(Topology::access_address),
            ),
            core: Phone::new(
                &topology.core,
                at(Topology::core_address),
                at(Topology::core_side_address),
            ),
        }
    }

    fn core_media(&self, port: u16) -> (&'a sallyport_tests::Namespace, SocketAddr) {
        let address = Topology::core_address(Family::V4);
        (&self.topology.core, SocketAddr::new(address, port))
    }

    /// Both who talk under the UE's first key and what the gateway told; goes on with who was
    /// there before.
    fn talk(&self, before: Option<Talk>, to_ue: &Message, to_core: &Message, port: u16) -> Talk {
        let talk = match before {
            Some(before) if before.core_port() == port => before,
            Some(before) => before.fork(self.core_media(port), SUITE, [&up(1), &key(to_ue)]),
            None => return self.talk_with(&up(1), to_ue, to_core, port),
        };
        talk.connect(to_ue, to_core);
        talk
    }

    fn talk_with(&self, up: &Key, to_ue: &Message, to_core: &Message, port: u16) -> Talk {
        let ue = (&self.topology.ue, ue_media(0));
        let talk = Talk::new(ue, self.core_media(port), SUITE, [up, &key(to_ue)]);
        talk.connect(to_ue, to_core);
        talk
    }

    /// The UE ends a call that it has made.
    fn hang_up(&self, invite: &str, answer: &Message) {
        let bye = in_dialogue(invite, answer, "9 BYE");
        self.ue.request("BYE sip:core@10.0.0.2", &bye, "");
        let bye = self.core.receive("BYE ");
        self.core.reply(&bye, "200 OK", "", "");
        self.ue.receive("SIP/2.0 200");
    }
}

const TO_CORE: &str = "INVITE sip:core@ims.example";
const TO_UE: &str = "INVITE sip:ue@10.0.0.1:5060";
const CORE_CONTACT: &str = "Contact: <sip:core@10.0.0.2>";
const UE_CONTACT: [&str; 2] = [
    "Contact: <sip:ue@192.0.2.2>",
    "Contact: <sip:ue@192.0.2.2:5062>",
];

/// A key that the UE sends with.
fn up(number: u32) -> Key {
    SUITE.key(number)
}

fn ue_media(place: usize) -> SocketAddr {
    SocketAddr::new(Topology::ue_address(Family::V4), UE[place])
}

fn register(phone: &Phone, port: u16) {
    let fields = first_of_dialogue("ue", "ue", &format!("register-{port}"), "1 REGISTER");
    let fields = fields.replace("192.0.2.2>", &format!("192.0.2.2:{port}>"));
    phone.request("REGISTER sip:ims.example", &fields, "");
    phone.receive("SIP/2.0 200");
}

/// What the UE offers from one of its places.
fn srtp(place: usize, key: u32) -> String {
    sdp_of_ue(place, "1", &up(key))
}

/// What the UE answers at one of its places.
fn answer(offer: &Message, place: usize) -> String {
    let (tag, _) = offer.crypto(SUITE).split_once(' ').expect("a tag");
    let number = u32::try_from(place).expect("there are two") + 1;
    sdp_of_ue(place, tag, &up(number))
}

fn sdp_of_ue(place: usize, tag: &str, key: &Key) -> String {
    let (ip, port) = (Topology::ue_address(Family::V4), UE[place]);
    format!(
        "v=0\r\no=ue 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/SAVP 8\r\na=crypto:{tag} {} {}\r\n",
        SUITE.name,
        key.inline()
    )
}

/// What the core says.
fn rtp(port: u16) -> String {
    let ip = Topology::core_address(Family::V4);
    format!(
        "v=0\r\no=core 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\n"
    )
}

fn key(message: &Message) -> Key {
    Key::of_attribute(message.crypto(SUITE))
}

/// The header fields of a request of who was called, the core.
fn of_callee(first: &str, answer: &Message, sequence: &str) -> String {
    let from = answer.fields("To").next().expect("every answer has one");
    let caller = first.lines().find_map(|line| line.strip_prefix("From: "));
    let call = first.lines().find(|line| line.starts_with("Call"));
    let (caller, call) = (caller.unwrap_or_default(), call.unwrap_or_default());
    let mut fields =
        format!("From: {from}\nTo: {caller}\n{call}\nCSeq: {sequence}\n{CORE_CONTACT}");
    for route in answer.fields("Record-Route") {
        let _ = write!(fields, "\nRoute: {route}");
    }
    fields
}
