// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What offers and answers ask for beside their SDP.
//!
//! Clients say the same thing in several ways: as a key (`"SDES": ["off"]`), as a word with a
//! prefix in `flags` (`SDES-off`), or as `key=value` in the text of `rtpp-flags`. All of them end
//! here. Lists add up; of a value that is there twice, the last counts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::edits::Edits;
use super::flag_text::{Item, items};
use super::ignored::{Ignored, Why};
use super::sdes::Sdes;
use super::value::Value;
use super::word::{MAX_TEXT, normal};
use super::words::{
    Dtls, DtlsHash, EndpointLearning, Family, Flag, Ice, IceLite, MediaEcho, Osrtp, Replace,
    RtcpMux, Traffic, Transport,
};

/// What offers and answers ask for beside their SDP; by default nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// `flags`.
    pub flags: BTreeSet<Flag>,
    /// `replace`: lines of the SDP that are ours.
    pub replace: BTreeSet<Replace>,
    /// `direction`, first of two, or `from-interface`: the realm of who sent this SDP.
    pub from_interface: Option<String>,
    /// `direction`, second of two, or `to-interface`: the realm of who will get it.
    pub to_interface: Option<String>,
    /// `interface`, where one is enough.
    pub interface: Option<String>,
    /// `received-from`: where the SIP message came from.
    pub received_from: Option<IpAddr>,
    /// `media-address`: where media is to go, whatever the SDP says.
    pub media_address: Option<IpAddr>,
    /// `address-family` of our address in the SDP that leaves.
    pub address_family: Option<Family>,
    /// `transport-protocol` of the SDP that leaves.
    pub transport: Option<Transport>,
    /// `ICE`.
    pub ice: Option<Ice>,
    /// `ICE-lite`.
    pub ice_lite: Option<IceLite>,
    /// `DTLS`, and which role we rather have towards who gets this SDP.
    pub dtls: Option<Dtls>,
    /// `DTLS-reverse`: which role we rather have where DTLS was offered to us.
    pub dtls_reverse: Option<Dtls>,
    /// `DTLS-fingerprint`.
    pub dtls_fingerprint: Option<DtlsHash>,
    /// `SDES`.
    pub sdes: Sdes,
    /// `OSRTP` (RFC 8643).
    pub osrtp: BTreeSet<Osrtp>,
    /// `rtcp-mux` (RFC 5761).
    pub rtcp_mux: BTreeSet<RtcpMux>,
    /// `TOS` of what leaves from an offer on; without, as [`Tos::Default`].
    pub tos: Option<Tos>,
    /// `label`: a name for who sent this SDP, for reports.
    pub label: Option<String>,
    /// `delete-delay`: how long a deleted call goes on.
    pub delete_delay: Option<Duration>,
    /// `supports` has `load limit`: a limit may be answered with a result of its own.
    pub supports_load_limit: bool,
    /// `endpoint-learning`.
    pub endpoint_learning: Option<EndpointLearning>,
    /// `drop-traffic` of the whole call.
    pub traffic: Option<Traffic>,
    /// `media-echo`.
    pub media_echo: Option<MediaEcho>,
    /// `generate-RTCP`.
    pub generate_rtcp: Option<bool>,
    /// `codec`, `extmap` and `sdp-attr`: what is changed in the SDP that leaves.
    pub edits: Edits,
    /// `sdp-media-remove`: kinds of media that are not passed on.
    pub without: Vec<String>,
    /// `metadata`, for reports.
    pub metadata: Option<String>,
    /// What was left out.
    pub ignored: Ignored,
}

/// `TOS`: the octet that holds the DSCP (RFC 2474) of what leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tos {
    /// What is configured: more than 255.
    Default,
    /// What it was before: less than 0.
    Unchanged,
    /// This.
    Octet(u8),
}

impl Options {
    /// Takes a key. One that is no option at all is listed as ignored.
    pub(super) fn option(&mut self, key: &str, value: &Value<'_>) {
        let is_read = match normal(key).as_str() {
            "flags" => return self.words(key, value, Self::flag),
            "rtpp-flags" => value.text().is_some_and(|text| {
                for item in items(text) {
                    self.item(item);
                }
                true
            }),
            "replace" => {
                return self.set(key, value, Replace::parse, |options| &mut options.replace);
            }
            "rtcp-mux" => {
                return self.set(key, value, RtcpMux::parse, |options| &mut options.rtcp_mux);
            }
            "osrtp" => return self.set(key, value, Osrtp::parse, |options| &mut options.osrtp),
            "ice" => return self.words(key, value, Self::ice),
            "bundle" => return self.words(key, value, Self::bundle),
            "sdes" => return self.words(key, value, Self::sdes),
            "supports" => return self.words(key, value, Self::supports),
            "direction" => self.direction(value),
            "from-interface" => put(text(value), &mut self.from_interface),
            "to-interface" => put(text(value), &mut self.to_interface),
            "interface" => put(text(value), &mut self.interface),
            "received-from" => self.received_from(value),
            "media-address" => put(word(value, address), &mut self.media_address),
            "address-family" => put(word(value, Family::parse), &mut self.address_family),
            "transport-protocol" => put(word(value, Transport::parse), &mut self.transport),
            "ice-lite" => put(word(value, IceLite::parse), &mut self.ice_lite),
            "dtls" => put(word(value, Dtls::parse), &mut self.dtls),
            "dtls-reverse" => put(word(value, Dtls::parse), &mut self.dtls_reverse),
            "dtls-fingerprint" => put(word(value, DtlsHash::parse), &mut self.dtls_fingerprint),
            "tos" => put(value.integer().map(tos), &mut self.tos),
            "label" | "from-label" => put(text(value), &mut self.label),
            "metadata" => put(text(value), &mut self.metadata),
            "delete-delay" => put(delay(value), &mut self.delete_delay),
            "endpoint-learning" => {
                let learning = word(value, EndpointLearning::parse);
                put(learning, &mut self.endpoint_learning)
            }
            "drop-traffic" => put(word(value, Traffic::parse), &mut self.traffic),
            "media-echo" => put(word(value, MediaEcho::parse), &mut self.media_echo),
            "generate-rtcp" => put(word(value, switch), &mut self.generate_rtcp),
            // A 200 does not say that the call is taken: it may be that to a PRACK or an UPDATE.
            "sip-code" => value
                .integer()
                .is_some_and(|code| (100..700).contains(&code)),
            // The command says as much.
            "sip-message-type" => value.text().is_some(),
            "codec" => self.codec(value),
            "extmap" => self.extmap(value),
            "sdp-media-remove" => {
                return self.words(key, value, |options, word| {
                    options.without.push(normal(word));
                });
            }
            "sdp-attr" => self.edits.attributes.read(value),
            "record-call" if word(value, switch) == Some(false) => true,
            "record-call" => return self.ignored.add(Why::Unsupported, key),
            name => return self.ignored.add(unread(name), key),
        };
        if !is_read {
            self.ignored.add(Why::Value, key);
        }
    }

    /// Leaves out what says nothing in an offer or in an answer, and lists what is understood and
    /// not done, so that it is seen. What becomes of all media here anyhow counts as done, such as
    /// `ICE=remove` and `DTLS=off`.
    pub(super) fn close(&mut self, is_answer: bool) {
        let codecs = &mut self.edits.codecs;
        if is_answer {
            codecs.mask.clear();
        }
        codecs.single &= is_answer;
        let asked = [
            // We always are one, towards everybody.
            ("ICE-lite", self.ice_lite == Some(IceLite::Off)),
            // Nobody is to believe in it any more (RFC 8122 section 5).
            (
                "DTLS-fingerprint",
                self.dtls_fingerprint == Some(DtlsHash::Sha1),
            ),
            ("generate-RTCP", self.generate_rtcp == Some(true)),
        ];
        for (name, is_asked) in asked {
            if is_asked {
                self.ignored.add(Why::Unsupported, name);
            }
        }
    }

    /// Takes an option of a text.
    fn item(&mut self, item: Item<'_>) {
        match item {
            Item::Word(word) => self.flag(word),
            Item::Pair(key, value) => self.pair(key, &value),
        }
    }

    /// Takes a key and its value as they are among the words of `flags`.
    fn pair(&mut self, key: &str, value: &Value<'_>) {
        match normal(key).as_str() {
            // These would bring more words of the kind, without end.
            "flags" | "rtpp-flags" => self.ignored.add(Why::Value, key),
            _ => self.option(key, value),
        }
    }

    /// Takes a word of `flags`.
    fn flag(&mut self, word: &str) {
        if let Some((key, value)) = word.split_once('=') {
            return self.pair(key, &value.into());
        }
        match normal(word).as_str() {
            "pad-crypto" => self.sdes.pad = true,
            "internal" | "external" => {
                self.direction(&word.into());
            }
            "generate-rtcp" => self.generate_rtcp = Some(true),
            "single-codec" => self.edits.codecs.single = true,
            "strip-extmap" => self.edits.extensions.strip.push("all".to_owned()),
            "record-call" => self.ignored.add(Why::Unsupported, word),
            name => {
                if let Some(flag) = Flag::parse(name) {
                    self.flags.insert(flag);
                    if flag == Flag::WebRtc {
                        self.web_rtc();
                    }
                } else if let Some(transport) = transport(name) {
                    self.transport = Some(transport);
                } else {
                    self.prefixed(word);
                }
            }
        }
    }

    /// Takes a word of `flags` that stands for one of another list.
    fn prefixed(&mut self, word: &str) {
        const PREFIXES: [&str; 9] = [
            "SDES",
            "bundle",
            "OSRTP",
            "rtcp-mux",
            "endpoint-learning",
            "replace",
            "codec",
            "sdp-attr",
            "sdp-media-remove",
        ];
        let behind = |prefix: &str| {
            let (start, rest) = word.split_at_checked(prefix.len())?;
            let rest = rest.strip_prefix(['-', '_', ' '])?;
            (normal(start) == normal(prefix)).then_some(rest)
        };
        let Some((prefix, rest)) = PREFIXES
            .into_iter()
            .find_map(|prefix| Some((prefix, behind(prefix)?)))
        else {
            return self.ignored.add(unread(&normal(word)), word);
        };
        match (prefix, rest.split_once('-')) {
            ("codec", Some((list, name))) => self.codec_word(list, name),
            ("codec", None) => self.ignored.add(Why::Unknown, word),
            ("sdp-attr", _) if self.edits.attributes.word(rest) => (),
            ("sdp-attr", _) => self.ignored.add(Why::Value, "sdp-attr"),
            _ => self.option(prefix, &rest.into()),
        }
    }

    /// What the flag `WebRTC` stands for.
    fn web_rtc(&mut self) {
        self.transport = Some(Transport::DtlsSavpf);
        self.ice = Some(Ice::Force);
        self.rtcp_mux.extend([RtcpMux::Offer, RtcpMux::Require]);
        self.flags
            .extend([Flag::NoRtcpAttribute, Flag::GenerateMid, Flag::TrickleIce]);
        self.sdes.off = true;
    }

    fn ice(&mut self, word: &str) {
        let name = normal(word);
        if let Some(ice) = Ice::parse(&name) {
            self.ice = Some(ice);
        } else if let Some(lite) = name.strip_prefix("lite-").and_then(IceLite::parse) {
            self.ice_lite = Some(lite);
        } else if name == "trickle" {
            self.flags.insert(Flag::TrickleIce);
        } else if name == "ice2" {
            self.flags.insert(Flag::Ice2);
        } else {
            self.ignored.add(Why::Unknown, &format!("ICE-{word}"));
        }
    }

    /// Each stream has ports of its own, so what is left is to take bundles apart, which is done
    /// anyhow.
    fn bundle(&mut self, word: &str) {
        match normal(word).as_str() {
            "reject" => {}
            "accept" | "offer" | "require" | "strict" => {
                self.ignored.add(Why::Unsupported, "bundle");
            }
            _ => self.ignored.add(Why::Unknown, &format!("bundle-{word}")),
        }
    }

    fn sdes(&mut self, word: &str) {
        if !self.sdes.word(word) {
            self.ignored.add(Why::Unknown, &format!("SDES-{word}"));
        }
    }

    fn supports(&mut self, word: &str) {
        match normal(word).as_str() {
            "load-limit" => self.supports_load_limit = true,
            _ => self.ignored.add(Why::Unknown, word),
        }
    }

    /// Two names of interfaces, one by one where they are words.
    fn direction(&mut self, value: &Value<'_>) -> bool {
        let name = text(value);
        match value {
            Value::List(names) if names.len() == 2 => {
                (self.from_interface, self.to_interface) = (text(&names[0]), text(&names[1]));
                self.from_interface.is_some() && self.to_interface.is_some()
            }
            Value::List(_) => false,
            _ if self.from_interface.is_none() => put(name, &mut self.from_interface),
            _ => put(name, &mut self.to_interface),
        }
    }

    /// A family, which the address says by itself, and an address; or nothing, as OpenSIPS may send.
    fn received_from(&mut self, value: &Value<'_>) -> bool {
        let Value::List(list) = value else {
            return false;
        };
        match list.as_slice() {
            [] => true,
            [_, at] => put(word(at, address), &mut self.received_from),
            _ => false,
        }
    }

    fn codec(&mut self, value: &Value<'_>) -> bool {
        let Value::Dictionary(lists) = value else {
            return false;
        };
        for (list, names) in lists.iter() {
            let list = String::from_utf8_lossy(list);
            self.words(&list, names, |options, name| {
                options.codec_word(&list, name);
            });
        }
        true
    }

    fn extmap(&mut self, value: &Value<'_>) -> bool {
        let Value::Dictionary(lists) = value else {
            return false;
        };
        for (list, names) in lists.iter() {
            let list = String::from_utf8_lossy(list);
            self.words(&list, names, |options, name| {
                let extensions = &mut options.edits.extensions;
                match normal(&list).as_str() {
                    "strip" => extensions.strip.push(name.to_owned()),
                    "mask" => extensions.mask.push(name.to_owned()),
                    _ => options.ignored.add(Why::Unknown, &format!("extmap-{list}")),
                }
            });
        }
        true
    }

    fn codec_word(&mut self, list: &str, name: &str) {
        let codecs = &mut self.edits.codecs;
        match normal(list).as_str() {
            "strip" => &mut codecs.strip,
            "offer" => &mut codecs.offer,
            "except" => &mut codecs.except,
            "mask" => &mut codecs.mask,
            _ => return self.ignored.add(Why::Unsupported, &format!("codec-{list}")),
        }
        .push(name.to_owned());
    }

    /// Takes a list of words, or one word.
    fn words(&mut self, key: &str, value: &Value<'_>, mut take: impl FnMut(&mut Self, &str)) {
        let words = match value {
            Value::List(words) => words.as_slice(),
            word => std::slice::from_ref(word),
        };
        for word in words {
            match word.text() {
                Some(word) => take(self, word),
                None => self.ignored.add(Why::Value, key),
            }
        }
    }

    /// Takes a list of words that all are in one enum.
    fn set<W: Ord>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        parse: impl Fn(&str) -> Option<W>,
        set: impl Fn(&mut Self) -> &mut BTreeSet<W>,
    ) {
        self.words(key, value, |options, word| match parse(word) {
            Some(word) => {
                set(options).insert(word);
            }
            None => options.ignored.add(Why::Unknown, &format!("{key}-{word}")),
        });
    }
}

/// Keeps what could be read. False when nothing could.
fn put<T>(found: Option<T>, to: &mut Option<T>) -> bool {
    let is_found = found.is_some();
    if is_found {
        *to = found;
    }
    is_found
}

/// One word, or a list of it alone, as an IPv6 address in brackets looks like.
fn word<T>(value: &Value<'_>, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let word = match value {
        Value::List(list) if list.len() == 1 => &list[0],
        word => word,
    };
    word.text().and_then(parse)
}

/// Text that is not too long to be kept.
fn text(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    (text.len() <= MAX_TEXT).then(|| text.to_owned())
}

fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text).parse().ok()
}

fn switch(text: &str) -> Option<bool> {
    match normal(text).as_str() {
        "on" | "yes" => Some(true),
        "off" | "no" => Some(false),
        _ => None,
    }
}

/// The transport protocol of a bare word. Kamailio's script leaves `RTP/` out and has two names of
/// its own.
fn transport(word: &str) -> Option<Transport> {
    match word {
        "rtp" | "avp" => Some(Transport::Avp),
        "srtp" => Some(Transport::Savp),
        "avpf" => Some(Transport::Avpf),
        "dtls" => Some(Transport::DtlsSavpf),
        "accept" => None,
        _ => Transport::parse(word),
    }
}

fn tos(octet: i64) -> Tos {
    match u8::try_from(octet) {
        Ok(octet) => Tos::Octet(octet),
        Err(_) if octet < 0 => Tos::Unchanged,
        Err(_) => Tos::Default,
    }
}

pub(super) fn delay(value: &Value<'_>) -> Option<Duration> {
    let seconds = u32::try_from(value.integer()?).ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// Why a normalised key or flag is left out.
fn unread(name: &str) -> Why {
    const UNSUPPORTED: [&str; 31] = [
        "allow-transcoding",
        "always-transcode",
        "audio-player",
        "block-short",
        "delay-buffer",
        "detect-dtmf",
        "discard-recording",
        "dtmf-delay",
        "dtmf-log-dest",
        "dtmf-security",
        "dtmf-security-trigger",
        "dtmf-security-trigger-end",
        "early-media",
        "exclude-recording",
        "from-tags",
        "inbound-peer",
        "inject-dtmf",
        "outbound-peer",
        "peer",
        "ptime",
        "ptime-reverse",
        "recording",
        "repacketize",
        "reuse-codecs",
        "symmetric-codecs",
        "t.38",
        "t38",
        "template",
        "transcode",
        "trigger",
        "xmlrpc-callback",
    ];
    const PREFIXES: [&str; 5] = ["from-tags-", "t.38-", "t38-", "transcode-", "trigger-"];
    let is_known = UNSUPPORTED.contains(&name) || PREFIXES.iter().any(|p| name.starts_with(p));
    if is_known {
        Why::Unsupported
    } else {
        Why::Unknown
    }
}

#[cfg(test)]
mod tests;
