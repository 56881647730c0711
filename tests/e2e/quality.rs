// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How well media arrived, as a SIP proxy is told and as the receiver reports it itself.

use std::time::Duration;

use sallyport_tests::patience::wait_until;
use sallyport_tests::{Gateway, Topology, media, report, require};

use crate::support::Capture;
use crate::support::audio::{Audio, FRAME};
use crate::support::baresip::{self, Account, Baresip};
use crate::support::capture::datagrams;
use crate::support::kamailio::{Kamailio, with_ng};
use crate::support::sipp::{self, Sipp};

/// Of ten packets one is lost, and every other is late.
const LOSS_PERCENT: f64 = 10.0;
const LATE: Duration = Duration::from_millis(8);

#[test]
fn kamailio_is_told_of_the_loss_and_the_jitter_that_the_ue_reports() {
    let programs = ["kamailio", "baresip", "sipp", "tcpdump"];
    if !require::root_and_namespaces() || !programs.into_iter().all(require::program) {
        return;
    }
    let topology = Topology::new();
    let _gateway = Gateway::start(&topology, &with_ng());
    let kamailio = Kamailio::start(&topology, "anchor.cfg");
    let ue = Baresip::start(&topology.ue, Account::UE, &Audio::new(1, 60));
    let sipp = Sipp::replay(&topology, &impaired(60));
    let core = Capture::start(&topology.core, "udp and not port 5060");
    ue.command("dial", "sip:core@ims.example");
    sipp.wait_for("ACK sip:", 1);
    // It reports every five seconds; the gateway has a sample as long.
    let is_reported = || reported_in(&core.frames()).count() >= 2;
    assert!(wait_until(is_reported), "the UE does not report");
    ue.command("hangup", "");
    sipp.finish();

    let recording = core.stop();
    let reported = reported_in(&recording.frames).last();
    let reported = reported.expect("it was there before");
    let log = kamailio.log();
    let told = Told::from(&log, "core");
    println!("{reported:?}, {told:?}");
    assert!((reported.loss - LOSS_PERCENT).abs() < 1.5, "{reported:?}");
    assert!((told.loss - reported.loss).abs() < 1.5, "{told:?}");
    // Half of what is late by eight milliseconds, and what a busy machine adds, which has no bound:
    // exact jitter is for the tests of `Reception`, whose clock stands still.
    for jitter in [reported.jitter, told.jitter] {
        assert!((6.0..1000.0).contains(&jitter), "{reported:?}, {told:?}");
    }
    // ITU-T G.107: R = 93.2 - 0.024 * (2 * 8 + 10) - 95 * 10 / (10 + 25.1), and less where jitter
    // and round trip are more, down to the worst there is on a machine that is busy enough: exact
    // scores are for the unit tests, too.
    assert!((1.0..=3.6).contains(&told.mos), "{told:?}");
    let from_ue = Told::from(&log, "access");
    assert!(from_ue.loss < 1.0, "{from_ue:?}");
    assert!(from_ue.mos >= told.mos, "{from_ue:?}, {told:?}");
    let peers = format!(
        "{} and {}, by Kamailio",
        baresip::version(),
        sipp::version()
    );
    report::peer(&peers, "quality", "core to access", 600, "loss and jitter");
}

/// What the UE says of what it hears (RFC 3550 section 6.4.1).
#[derive(Debug)]
struct Reported {
    /// In percent.
    loss: f64,
    /// In milliseconds.
    jitter: f64,
}

fn reported_in(core: &[Vec<u8>]) -> impl Iterator<Item = Reported> {
    datagrams(core).filter_map(|datagram| Reported::in_rtcp(datagram.payload))
}

impl Reported {
    fn in_rtcp(rtcp: &[u8]) -> Option<Self> {
        let at = match rtcp.get(1)? {
            200 => 28,
            201 => 8,
            _ => return None,
        };
        let block: &[u8; 24] = rtcp.get(at..)?.first_chunk()?;
        let word = |at: usize| u32::from_be_bytes(*block[at..].first_chunk().expect("four bytes"));
        let lost = word(4) & 0x00ff_ffff;
        // What SIPp sends starts at 1.
        let expected = word(8) & 0xffff;
        (rtcp[0] & 0x1f > 0).then(|| Self {
            loss: f64::from(lost) / f64::from(expected) * 100.0,
            jitter: f64::from(word(12)) / 8.0,
        })
    }
}

/// What Kamailio says of one side's media.
#[derive(Debug)]
struct Told {
    mos: f64,
    /// In percent.
    loss: f64,
    /// In milliseconds.
    jitter: f64,
}

impl Told {
    fn from(log: &str, side: &str) -> Self {
        let line = log.lines().find_map(|line| {
            let (_, said) = line.split_once(&format!(" from {side}: MOS "))?;
            Some(said)
        });
        let line = line.unwrap_or_else(|| panic!("no MOS from {side} in {log}"));
        let number = |behind: &str| -> f64 {
            let (_, rest) = line.split_once(behind).unwrap_or(("", line));
            let number = rest.split([' ', ',']).next().unwrap_or_default();
            number.parse().unwrap_or_else(|_| panic!("{line}"))
        };
        Self {
            mos: number(""),
            loss: number(", "),
            jitter: number("jitter "),
        }
    }
}

/// So many seconds of audio that has come a bad way, in pcap format.
fn impaired(seconds: u32) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0xffff, 1u32] {
        file.extend(word.to_ne_bytes());
    }
    for number in (1..=50 * seconds).filter(|number| number % 10 != 0) {
        let late = if number % 2 == 0 {
            LATE
        } else {
            Duration::ZERO
        };
        let at = Duration::from_millis(20) * number + late;
        let rtp = media::numbered_rtp(0x5eed, number, FRAME);
        let len = u16::try_from(8 + rtp.len()).expect("it is short");
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend((20 + len).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        for word in [6000, 6000, len, 0] {
            frame.extend(word.to_be_bytes());
        }
        frame.extend(rtp);
        let len = u32::try_from(frame.len()).expect("it is short");
        let seconds = u32::try_from(at.as_secs()).expect("it is short");
        for word in [seconds, at.subsec_micros(), len, len] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(frame);
    }
    file
}
