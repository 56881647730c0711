// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a call did, as the ng front end tells it.

use std::time::Duration;

use sallyport_flow::{Carries, FlowStatistics};
use sallyport_signalling::e2ae::{Protection, Setup, Side, Treatment};
use sallyport_signalling::ng::{
    Counters, MediaReport, Report, Statistics, StreamKind, StreamReport, TagReport,
};

use crate::call::{Branch, Dialog, Party};
use crate::calls::Did;
use crate::flows::{carried, number};
use crate::manager::Manager;
use crate::state::State;

/// What a call did, by whom.
pub(crate) fn report(did: &Did, now: Duration) -> Report {
    let Some(call) = State::call(&did.state) else {
        return Report::default();
    };
    let mut report = Report {
        created: call.created,
        last_signal: call.last_signal,
        metadata: call.metadata.clone(),
        qualities: did.qualities.report(),
        ..Report::default()
    };
    for branch in &call.branches {
        let Some(dialog) = branch.dialog() else {
            continue;
        };
        let offerer = Some(&branch.offerer);
        let answerer = dialog.answerer.as_ref();
        for (party, peer, side) in [
            (offerer, answerer, branch.side()),
            (answerer, offerer, branch.side().opposite()),
        ] {
            let Some(party) = party else { continue };
            let tag = TagReport {
                tag: party.tag.clone(),
                via_branch: branch.via.clone(),
                label: party.label.clone(),
                created: party.since,
                peer: peer.map(|peer: &Party| peer.tag.clone()),
                medias: medias(did, branch, dialog, side, now),
            };
            // Who offers is the same in all branches.
            match report.tags.iter_mut().find(|other| other.tag == tag.tag) {
                Some(other) => other.medias.extend(tag.medias),
                None => report.tags.push(tag),
            }
        }
    }
    report
}

/// The m-lines of one who talks.
fn medias(
    did: &Did,
    branch: &Branch,
    dialog: &Dialog,
    side: Side,
    now: Duration,
) -> Vec<MediaReport> {
    let setups = (dialog.slot()..).zip(dialog.call.setups());
    let media = dialog.call.media();
    let setups = setups.zip(media).enumerate();
    setups
        .filter_map(|(index, ((slot, setup), (medium, profile)))| {
            let setup = setup?;
            let leg = setup.leg(side);
            let mut flags = flags(setup, side);
            if branch.side() == side {
                flags.push("initialized");
            }
            Some(MediaReport {
                index: index as u64 + 1,
                kind: medium.to_owned(),
                protocol: protocol(setup, side, profile),
                codec: None,
                flags,
                streams: carried(leg.has_rtcp_mux())
                    .iter()
                    .map(|carries| {
                        let mut stream = stream(did, slot, setup, side, *carries, now);
                        stream.suite = dialog.suite(slot, setup, side).map(str::to_owned);
                        stream
                    })
                    .collect(),
            })
        })
        .collect()
}

fn flags(setup: &Setup, side: Side) -> Vec<&'static str> {
    let leg = setup.leg(side);
    let protection = leg.protection.as_ref();
    let (keys, dtls) = (
        protection.and_then(Protection::keys),
        protection.and_then(Protection::dtls),
    );
    let (sends, receives) = match side {
        Side::Access => (setup.to_core, setup.to_access),
        Side::Core => (setup.to_access, setup.to_core),
    };
    [
        ("send", receives),
        ("recv", sends),
        ("rtcp-mux", leg.has_rtcp_mux()),
        ("SDES", keys.is_some()),
        ("DTLS-SRTP", dtls.is_some()),
        ("DTLS role active", dtls.is_some_and(|dtls| dtls.is_client)),
        (
            "DTLS role passive",
            dtls.is_some_and(|dtls| !dtls.is_client),
        ),
        ("ICE", leg.ice.is_some()),
        ("ICE-lite self", leg.ice.is_some()),
        (
            "ICE-lite peer",
            leg.ice.as_ref().is_some_and(|ice| ice.peer_is_lite),
        ),
        ("passthrough", setup.treatment == Treatment::EndToEnd),
    ]
    .into_iter()
    .filter_map(|(flag, is_set)| is_set.then_some(flag))
    .collect()
}

/// The profile of one side, from the offered one.
fn protocol(setup: &Setup, side: Side, offered: &str) -> String {
    let feedback = if offered.ends_with('F') { "F" } else { "" };
    let is_protected =
        setup.leg(side).protection.is_some() || setup.treatment == Treatment::EndToEnd;
    let protection = setup.leg(side).protection.as_ref();
    let tls = match protection.and_then(Protection::dtls) {
        Some(_) => "UDP/TLS/",
        None => "",
    };
    let secure = if is_protected { "S" } else { "" };
    format!("{tls}RTP/{secure}AVP{feedback}")
}

fn stream(
    did: &Did,
    slot: u16,
    setup: &Setup,
    side: Side,
    carries: Carries,
    now: Duration,
) -> StreamReport {
    let flow = |side: Side, carries| {
        let id = number(did.id, slot, side as usize, carries);
        did.flows.iter().find(|flow| flow.id == id)
    };
    let leg = setup.leg(side);
    let far = setup.leg(side.opposite());
    let kind = match carries {
        Carries::Rtp => StreamKind::Rtp,
        Carries::Rtcp => StreamKind::Rtcp,
        Carries::Muxed => StreamKind::Muxed,
    };
    let end = |ends: sallyport_signalling::e2ae::Ends| match carries {
        Carries::Rtcp => ends.rtcp,
        Carries::Rtp | Carries::Muxed => ends.rtp,
    };
    let mut report = StreamReport::new(kind);
    report.local = Some(end(leg.local));
    report.advertised = leg.remote.map(end);
    report.endpoint = report.advertised;
    if let Some(flow) = flow(side, carries) {
        report.endpoint = flow.latched.or(report.endpoint);
        report.is_confirmed = flow.latched.is_some();
        report.last_packet = flow.idle.and_then(|idle| now.checked_sub(idle));
        report.ssrc = flow.ssrcs.first().map(|ssrc| ssrc.ssrc);
        report.ingress = Counters {
            packets: flow.packets_in,
            bytes: flow.bytes_in,
            errors: flow.refused.errors(),
        };
    }
    // What leaves here arrived on the far side, on one port or two.
    let far_carried = match (carries, far.has_rtcp_mux()) {
        (_, true) => &[Carries::Muxed][..],
        (Carries::Muxed, false) => &[Carries::Rtp, Carries::Rtcp],
        (Carries::Rtp, false) => &[Carries::Rtp],
        (Carries::Rtcp, false) => &[Carries::Rtcp],
    };
    // Of a port that carries both, the other side's RTCP is counted with its RTP.
    if carries != Carries::Rtcp || !far.has_rtcp_mux() {
        for carries in far_carried {
            let left = flow(side.opposite(), *carries).map(egress);
            report.egress += left.unwrap_or_default();
        }
    }
    report
}

const fn egress(flow: &FlowStatistics) -> Counters {
    Counters {
        packets: flow.packets_out,
        bytes: flow.bytes_out,
        errors: 0,
    }
}

impl Manager {
    /// What all calls did.
    pub(crate) async fn ng_statistics(&self) -> Statistics {
        let mut packets = 0;
        let mut errors = 0;
        if let Ok(statistics) = self.statistics().await {
            for worker in &statistics.workers {
                packets += worker.packets_out;
                errors += worker.refused.errors();
            }
        }
        let tally = &self.tally;
        Statistics {
            uptime: self.now().saturating_sub(self.started()),
            sessions: self.count() as u64,
            managed: tally.managed.get(),
            rejected: tally.rejected.get(),
            timed_out: tally.inactive.get(),
            timed_out_silently: tally.held.get(),
            timed_out_finally: tally.total.get(),
            timed_out_unanswered: tally.unanswered.get(),
            ended: tally.ended.get(),
            ended_by_force: tally.lost.get(),
            duration: tally.duration(),
            packets,
            errors,
            ..Statistics::default()
        }
    }
}
