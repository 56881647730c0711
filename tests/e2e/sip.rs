// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Calls through Kamailio, which drives the gateway by the ng protocol: baresip with SRTP on the
//! access side, SIPp with RTP on the core side, audio compared code by code.

use sallyport_tests::media::RTP_HEADER_LEN;
use sallyport_tests::{Gateway, Topology, report, require};
use serde_json::json;

use crate::support::audio::{Audio, FRAME};
use crate::support::baresip::{self, Account, Baresip};
use crate::support::kamailio::{self, Kamailio, with_ng};
use crate::support::opensips::Opensips;
use crate::support::sip_proxy::SipProxy;
use crate::support::sipp::{self, Scenario, Sipp};
use crate::support::wires::{Recorded, UE, Way, Wires, keys_in};
use crate::support::{Kind, Libsrtp, Suite, expect_balanced};

#[test]
fn kamailio_takes_the_example_configurations() {
    if !require::program("kamailio") {
        return;
    }
    for configuration in ["anchor.cfg", "pcscf.cfg"] {
        let check = kamailio::command(configuration).arg("-c").output();
        let check = check.expect("start Kamailio");
        let said = String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success(), "{configuration}: {said}");
        assert!(!said.contains("WARNING"), "{configuration}: {said}");
    }
}

#[test]
fn a_ue_calls_the_core_through_kamailio_holds_and_resumes() {
    ue_calls("ue_calls_the_core", KAMAILIO);
}

#[test]
fn the_core_calls_a_ue_through_kamailio_holds_and_resumes() {
    core_calls("core_calls_the_ue", KAMAILIO);
}

#[test]
#[ignore = "Debian 12 has no OpenSIPS: install one, and say in OPENSIPS_MODULES where its modules are"]
fn a_ue_calls_the_core_through_opensips_holds_and_resumes() {
    ue_calls("ue_calls_the_core", OPENSIPS);
}

#[test]
#[ignore = "Debian 12 has no OpenSIPS: install one, and say in OPENSIPS_MODULES where its modules are"]
fn the_core_calls_a_ue_through_opensips_holds_and_resumes() {
    core_calls("core_calls_the_ue", OPENSIPS);
}

fn ue_calls(test: &str, by: By) {
    let Some(needed) = Needed::find(by) else {
        return;
    };
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &with_ng());
    let bed = Bed::new(&topology, &gateway, by);
    let sipp = Sipp::start(&topology, Scenario::Called, &bed.core_audio);
    let wires = Wires::record(&topology);
    bed.ue.command("dial", "sip:core@ims.example");
    sipp.wait_for("ACK sip:", 1);
    wires.wait_for_audio(3);

    bed.ue.command("hold", "");
    sipp.wait_for("ACK sip:", 2);
    // The core does not know better than to go on.
    let held = Wires::record(&topology);
    held.wait_until(|recorded| recorded.on_core(Way::FromCore).count() > 50);
    let held = held.stop();
    assert_eq!(held.on_access(Way::FromCore).count(), 0, "the UE holds");

    bed.ue.command("resume", "");
    sipp.wait_for("ACK sip:", 3);
    wires.wait_for_audio(6);
    bed.ue.command("hangup", "");
    let messages = sipp.finish();

    expect_rewritten(&bed.ue.log(), &messages, 3);
    let wires = wires.stop();
    let crossed = bed.expect_crossed(&wires, 5);
    bed.expect_ended(&wires);
    needed.report(crossed, test);
}

fn core_calls(test: &str, by: By) {
    let Some(needed) = Needed::find(by) else {
        return;
    };
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &with_ng());
    let bed = Bed::new(&topology, &gateway, by);
    let wires = Wires::record(&topology);
    let sipp = Sipp::start(&topology, Scenario::Calling, &bed.core_audio);
    sipp.wait_for("CSeq: 1 ACK", 1);
    wires.wait_for_audio(3);

    sipp.go_on(&topology);
    sipp.wait_for("CSeq: 2 ACK", 1);
    let held = Wires::record(&topology);
    // What it plays to who is on hold is heard.
    held.wait_until(|recorded| recorded.on_access(Way::FromCore).count() > 50);
    let held = held.stop();
    assert_eq!(held.on_core(Way::FromAccess).count(), 0, "the core holds");

    sipp.go_on(&topology);
    sipp.wait_for("CSeq: 3 ACK", 1);
    wires.wait_for_audio(6);
    sipp.go_on(&topology);
    let messages = sipp.finish();
    expect_rewritten(&bed.ue.log(), &messages, 3);
    let wires = wires.stop();
    let crossed = bed.expect_crossed(&wires, 5);
    bed.expect_ended(&wires);
    needed.report(crossed, test);
}

#[test]
fn media_goes_on_when_kamailio_is_killed_and_the_call_goes_on_through_its_successor() {
    survive("kamailio_killed", |bed, topology| {
        bed.proxy = None;
        expect_media(topology);
        // Kamailio keeps nothing about a call: where it goes is in its messages.
        bed.proxy = Some(Kamailio::start(topology, "anchor.cfg"));
    });
}

#[test]
fn media_goes_on_when_the_agent_is_killed_and_the_call_goes_on_with_its_successor() {
    survive("agent_killed", |bed, topology| {
        bed.gateway.without_agent(|| expect_media(topology));
    });
}

/// A call in the middle of which something is done to the gateway, and which goes on as if nothing
/// had been.
fn survive(test: &str, harm: impl FnOnce(&mut Bed<'_>, &Topology)) {
    let Some(needed) = Needed::find(KAMAILIO) else {
        return;
    };
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &with_ng());
    let mut bed = Bed::new(&topology, &gateway, KAMAILIO);
    let sipp = Sipp::start(&topology, Scenario::Called, &bed.core_audio);
    let wires = Wires::record(&topology);
    bed.ue.command("dial", "sip:core@ims.example");
    sipp.wait_for("ACK sip:", 1);
    wires.wait_for_audio(2);

    harm(&mut bed, &topology);

    for (command, acks) in [("hold", 2), ("resume", 3)] {
        bed.ue.command(command, "");
        sipp.wait_for("ACK sip:", acks);
    }
    wires.wait_for_audio(5);
    bed.ue.command("hangup", "");
    let messages = sipp.finish();
    expect_rewritten(&bed.ue.log(), &messages, 3);
    let wires = wires.stop();
    let crossed = bed.expect_crossed(&wires, 4);
    bed.expect_ended(&wires);
    needed.report(crossed, test);
}

/// Fails unless media goes on crossing in both directions.
fn expect_media(topology: &Topology) {
    let wires = Wires::record(topology);
    wires.wait_for_audio(2);
    wires.stop();
}

/// Which proxy drives the gateway.
#[derive(Clone, Copy)]
struct By {
    name: &'static str,
    program: &'static str,
    start: fn(&Topology) -> SipProxy,
}

const KAMAILIO: By = By {
    name: "Kamailio",
    program: "kamailio",
    start: |topology| Kamailio::start(topology, "anchor.cfg"),
};
const OPENSIPS: By = By {
    name: "OpenSIPS",
    program: "opensips",
    start: Opensips::start,
};

/// The programs that are not ours.
struct Needed {
    names: [String; 2],
    by: By,
}

impl Needed {
    /// `None` where one is missing.
    fn find(by: By) -> Option<Self> {
        let programs = [by.program, "baresip", "sipp", "tcpdump"];
        let are_there = require::root_and_namespaces()
            && Libsrtp::is_there()
            && programs.into_iter().all(require::program);
        are_there.then(|| Self {
            names: [baresip::version(), sipp::version()],
            by,
        })
    }

    fn report(&self, crossed: Crossed, test: &str) {
        let [ue, core] = &self.names;
        for (suite, direction, packets) in [
            (crossed.suite.name, "access to core", crossed.to_core),
            (crossed.suite.name, "core to access", crossed.to_ue),
        ] {
            let peers = format!("{ue} and {core}, by {}", self.by.name);
            report::peer(&peers, suite, direction, packets as u64, test);
        }
    }
}

/// A gateway with a proxy, and baresip registered there.
struct Bed<'a> {
    gateway: &'a Gateway<'a>,
    proxy: Option<SipProxy>,
    ue: Baresip<'a>,
    ue_audio: Audio,
    core_audio: Audio,
}

/// Frames of audio that arrived.
#[derive(Clone, Copy)]
struct Crossed {
    suite: Suite,
    to_core: usize,
    to_ue: usize,
}

impl<'a> Bed<'a> {
    fn new(topology: &'a Topology, gateway: &'a Gateway<'a>, by: By) -> Self {
        // baresip hangs up when its file is over.
        let (ue_audio, core_audio) = (Audio::new(1, 60), Audio::new(2, 60));
        let proxy = Some((by.start)(topology));
        Self {
            gateway,
            proxy,
            ue: Baresip::start(&topology.ue, Account::UE, &ue_audio),
            ue_audio,
            core_audio,
        }
    }

    /// Fails unless everything that crossed is what the other side said, undisturbed, and each side
    /// said so many seconds of it: RTP on the core side, SRTP under two keys for the whole call on
    /// the access side.
    fn expect_crossed(&self, wires: &Recorded, seconds: usize) -> Crossed {
        let (suite, [up, down]) = keys_in(&self.ue.log(), UE);
        let unprotected = |way, receive, send| -> Vec<_> {
            let mut end = Libsrtp::new(suite, send, receive);
            let rtp = wires.on_access(way).map(|srtp| {
                let rtp = end.unprotect(Kind::Rtp, srtp.payload);
                rtp.unwrap_or_else(|status| panic!("libsrtp: status {status}, {way:?}"))
            });
            rtp.collect()
        };
        let plain =
            |way| -> Vec<_> { wires.on_core(way).map(|rtp| rtp.payload.to_vec()).collect() };
        let expect = |audio: &Audio, packets: &[Vec<u8>], where_from| {
            let frames = packets.iter().map(|packet| &packet[RTP_HEADER_LEN..]);
            audio.expect_heard(frames, seconds, where_from)
        };
        expect(
            &self.ue_audio,
            &unprotected(Way::FromAccess, &up, &down),
            "from the UE",
        );
        expect(&self.core_audio, &plain(Way::FromCore), "from the core");
        let crossed = Crossed {
            suite,
            to_core: expect(&self.ue_audio, &plain(Way::FromAccess), "to the core"),
            to_ue: expect(
                &self.core_audio,
                &unprotected(Way::FromCore, &down, &up),
                "to the UE",
            ),
        };
        // What baresip really hears. It records until the first hold.
        self.core_audio
            .expect_heard(self.ue.heard().chunks(FRAME), 2, "baresip");
        crossed
    }

    /// Fails unless nothing is left of the call, and the proxy knows what media it had.
    fn expect_ended(&self, wires: &Recorded) {
        assert_eq!(self.gateway.list()["sessions"], json!([]));
        assert_eq!(self.gateway.statistics()["flows"], 0);
        expect_balanced(self.gateway);
        let log = self.proxy.as_ref().map(SipProxy::log).unwrap_or_default();
        let counts = numbers_behind(&log, ": RTP: ");
        let [bytes, packets, errors, rtcp_bytes, rtcp_packets, ..] = counts[..] else {
            panic!("no report in {log}");
        };
        let sent = || {
            wires
                .on_access(Way::FromAccess)
                .chain(wires.on_core(Way::FromCore))
        };
        // The proxy asks when the call ends, when some may be on their way to the gateway.
        let late = 20;
        let least = wires.sent_before("BYE ") - late;
        assert!((least..=sent().count()).contains(&packets), "{counts:?}");
        // With what SRTP adds, or without.
        let sent_bytes = sent().map(|datagram| datagram.payload.len()).sum();
        assert!(
            (packets * (RTP_HEADER_LEN + FRAME)..=sent_bytes).contains(&bytes),
            "{counts:?}"
        );
        assert!(rtcp_bytes > rtcp_packets, "{counts:?}");
        assert!(rtcp_packets > 0, "{counts:?}");
        // What came while a side held is none.
        assert_eq!(errors, 0, "{counts:?}");
    }
}

/// The numbers in the rest of the line behind this text.
fn numbers_behind(log: &str, text: &str) -> Vec<usize> {
    let rest = log.lines().find_map(|line| line.split_once(text));
    let (_, rest) = rest.unwrap_or_default();
    rest.split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// Fails unless in so many offers and answers all that the UE saw was SRTP with keys, and all that
/// the core saw was RTP without.
fn expect_rewritten(ue: &str, core: &str, exchanges: usize) {
    let lines =
        |text: &str, start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(lines(ue, "m=audio"), 2 * exchanges, "{ue}");
    assert!(lines(ue, "a=crypto:") >= 2 * exchanges, "{ue}");
    assert_eq!(lines(core, "m=audio"), 2 * exchanges, "{core}");
    assert_eq!(lines(core, "a=crypto:"), 0, "{core}");
    let profiles = |text: &str, profile: &str| {
        let mut media = text.lines().filter(|line| line.starts_with("m=audio"));
        media.all(|line| line.split(' ').nth(2) == Some(profile))
    };
    assert!(profiles(ue, "RTP/SAVP"), "{ue}");
    assert!(profiles(core, "RTP/AVP"), "{core}");
}
