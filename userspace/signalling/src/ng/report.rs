// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What one call did, as `query` and `delete` tell it.
//!
//! Kamailio and OpenSIPS make `$rtpstat` of `totals`, and their MOS variables of `created`,
//! `SSRC`, and the `label` and the streams' `SSRC` under `tags`.

use core::ops::AddAssign;
use std::net::SocketAddr;
use std::time::Duration;

use super::value::Dictionary;

/// What one call did. Times count from the UNIX epoch.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// When it was first offered.
    pub created: Duration,
    /// When it was last offered or answered.
    pub last_signal: Duration,
    /// What the client said about it.
    pub metadata: Option<String>,
    /// Its participants.
    pub tags: Vec<TagReport>,
    /// How well media arrived, by synchronisation source.
    pub qualities: Vec<SsrcQuality>,
}

/// A participant.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TagReport {
    /// The SIP tag; empty while it is unknown.
    pub tag: String,
    /// The branch.
    pub via_branch: Option<String>,
    /// What the client calls it.
    pub label: Option<String>,
    /// When its tag was first seen.
    pub created: Duration,
    /// The tag of whom it talks to.
    pub peer: Option<String>,
    /// Its m-lines.
    pub medias: Vec<MediaReport>,
}

/// An m-line of one participant.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MediaReport {
    /// Counted from 1.
    pub index: u64,
    /// `audio`, `video`.
    pub kind: String,
    /// `RTP/AVP`, `RTP/SAVP`.
    pub protocol: String,
    /// As in `a=rtpmap`.
    pub codec: Option<String>,
    /// `initialized`, `send`, `recv`, `rtcp-mux`, `SDES`, `passthrough`, `asymmetric`.
    pub flags: Vec<&'static str>,
    /// RTP first.
    pub streams: Vec<StreamReport>,
}

/// One port of one participant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StreamReport {
    /// What it is for.
    pub kind: StreamKind,
    /// Ours.
    pub local: Option<SocketAddr>,
    /// Where packets go.
    pub endpoint: Option<SocketAddr>,
    /// Where the SDP said that they should.
    pub advertised: Option<SocketAddr>,
    /// The endpoint was confirmed by a packet from it.
    pub is_confirmed: bool,
    /// The crypto suite, as registered.
    pub suite: Option<String>,
    /// When a packet last arrived.
    pub last_packet: Option<Duration>,
    /// The synchronisation source that arrives.
    pub ssrc: Option<u32>,
    /// What arrived.
    pub ingress: Counters,
    /// What left.
    pub egress: Counters,
}

/// What a port is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StreamKind {
    /// RTP.
    Rtp,
    /// RTCP.
    Rtcp,
    /// Both (RFC 5761).
    Muxed,
}

/// Packets, their octets, and those packets that were lost here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Octets of them.
    pub bytes: u64,
    /// Packets that were dropped though they were to pass.
    pub errors: u64,
}

/// What arrived of a whole call.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// On ports for RTP or for both.
    pub rtp: Counters,
    /// On ports for RTCP.
    pub rtcp: Counters,
}

/// How well the media of a synchronisation source arrived.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SsrcQuality {
    /// The synchronisation source.
    pub ssrc: u32,
    /// On average.
    pub average: Mos,
    /// When it was worst.
    pub lowest: Mos,
    /// When it was best.
    pub highest: Mos,
}

/// A mean opinion score, and what it was made of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mos {
    /// Ten times the score: 10 to 50.
    pub tenths: u8,
    /// When.
    pub reported_at: Duration,
    /// Packets lost, in percent.
    pub packet_loss: u64,
    /// In milliseconds.
    pub jitter: u64,
    /// From end to end, in microseconds.
    pub round_trip_time: u64,
    /// From this gateway and back, in microseconds.
    pub round_trip_time_leg: u64,
    /// Of how many reports this is the average.
    pub samples: u64,
}

impl Report {
    /// What arrived of the whole call.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for media in self.tags.iter().flat_map(|tag| &tag.medias) {
            for stream in &media.streams {
                match stream.kind {
                    StreamKind::Rtp | StreamKind::Muxed => totals.rtp += stream.ingress,
                    StreamKind::Rtcp => totals.rtcp += stream.ingress,
                }
            }
        }
        totals
    }

    /// The same few bytes for every call.
    pub(super) fn brief<'a>(&self, to: Dictionary<'a>) -> Dictionary<'a> {
        let totals = self.totals();
        to.with("created", self.created.as_secs())
            .with("created_us", u64::from(self.created.subsec_micros()))
            .with("last signal", self.last_signal.as_secs())
            .with(
                "totals",
                Dictionary::new()
                    .with("RTP", totals.rtp.dictionary())
                    .with("RTCP", totals.rtcp.dictionary()),
            )
    }

    /// Everything.
    pub(super) fn full<'a>(&'a self, to: Dictionary<'a>) -> Dictionary<'a> {
        let mut tags = Dictionary::new();
        for tag in &self.tags {
            tags.push(tag.tag.as_bytes(), tag.dictionary());
        }
        let mut qualities = Dictionary::new();
        for quality in &self.qualities {
            qualities.push(quality.ssrc.to_string().into_bytes(), quality.dictionary());
        }
        let all = self.brief(to).with("tags", tags).with("SSRC", qualities);
        match &self.metadata {
            Some(metadata) => all.with("metadata", metadata.as_str()),
            None => all,
        }
    }
}

impl TagReport {
    fn dictionary(&self) -> Dictionary<'_> {
        let medias: Vec<_> = self.medias.iter().map(MediaReport::dictionary).collect();
        let mut dictionary = Dictionary::new()
            .with("tag", self.tag.as_str())
            .with("created", self.created.as_secs())
            .with("medias", medias);
        for (key, text) in [
            ("via-branch", &self.via_branch),
            ("label", &self.label),
            ("in dialogue with", &self.peer),
        ] {
            if let Some(text) = text {
                dictionary.push(key.as_bytes(), text.as_str());
            }
        }
        dictionary
    }
}

impl MediaReport {
    fn dictionary(&self) -> Dictionary<'_> {
        let streams: Vec<_> = self.streams.iter().map(StreamReport::dictionary).collect();
        let dictionary = Dictionary::new()
            .with("index", self.index)
            .with("type", self.kind.as_str())
            .with("protocol", self.protocol.as_str())
            .with("flags", self.flags.clone())
            .with("streams", streams);
        match &self.codec {
            Some(codec) => dictionary.with("codec", codec.as_str()),
            None => dictionary,
        }
    }
}

impl StreamReport {
    /// A stream that nothing is known about yet.
    pub fn new(kind: StreamKind) -> Self {
        Self {
            kind,
            local: None,
            endpoint: None,
            advertised: None,
            is_confirmed: false,
            suite: None,
            last_packet: None,
            ssrc: None,
            ingress: Counters::default(),
            egress: Counters::default(),
        }
    }

    fn dictionary(&self) -> Dictionary<'_> {
        let mut flags = match self.kind {
            StreamKind::Rtp => vec!["RTP"],
            StreamKind::Rtcp => vec!["RTCP"],
            StreamKind::Muxed => vec!["RTP", "RTCP"],
        };
        if self.endpoint.is_some() {
            flags.push("filled");
        }
        if self.is_confirmed {
            flags.push("confirmed");
        }
        let mut dictionary = Dictionary::new()
            .with("flags", flags)
            .with("stats", self.ingress.dictionary())
            .with("stats_out", self.egress.dictionary());
        if let Some(local) = self.local {
            dictionary = dictionary
                .with("local address", local.ip().to_string())
                .with("local port", u64::from(local.port()))
                .with("family", family(local));
        }
        for (key, address) in [
            ("endpoint", self.endpoint),
            ("advertised endpoint", self.advertised),
        ] {
            if let Some(address) = address {
                dictionary = dictionary.with(key, endpoint(address));
            }
        }
        if let Some(suite) = &self.suite {
            dictionary = dictionary.with("crypto suite", suite.as_str());
        }
        if let Some(ssrc) = self.ssrc {
            dictionary = dictionary.with("SSRC", u64::from(ssrc));
        }
        // Always there: OpenSIPS scripts compute with it.
        dictionary.with(
            "last packet",
            self.last_packet.unwrap_or_default().as_secs(),
        )
    }
}

fn endpoint(address: SocketAddr) -> Dictionary<'static> {
    Dictionary::new()
        .with("family", family(address))
        .with("address", address.ip().to_string())
        .with("port", u64::from(address.port()))
}

const fn family(address: SocketAddr) -> &'static str {
    match address {
        SocketAddr::V4(_) => "IPv4",
        SocketAddr::V6(_) => "IPv6",
    }
}

impl Counters {
    fn dictionary(self) -> Dictionary<'static> {
        Dictionary::new()
            .with("packets", self.packets)
            .with("bytes", self.bytes)
            .with("errors", self.errors)
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.errors = self.errors.saturating_add(other.errors);
    }
}

impl SsrcQuality {
    fn dictionary(&self) -> Dictionary<'static> {
        Dictionary::new()
            .with(
                "average MOS",
                self.average
                    .dictionary()
                    .with("samples", self.average.samples),
            )
            .with("lowest MOS", self.lowest.dictionary())
            .with("highest MOS", self.highest.dictionary())
    }
}

impl Mos {
    fn dictionary(&self) -> Dictionary<'static> {
        Dictionary::new()
            .with("MOS", u64::from(self.tenths))
            .with("reported at", self.reported_at.as_secs())
            .with("packet loss", self.packet_loss)
            .with("jitter", self.jitter)
            .with("round-trip time", self.round_trip_time)
            .with("round-trip time leg", self.round_trip_time_leg)
    }
}
