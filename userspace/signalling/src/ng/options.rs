// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What offers and answers ask for beside their SDP.
//!
//! Clients say the same thing in several ways: as a key (`"SDES": ["off"]`), as a word with a
//! prefix in `flags` (`SDES-off`), or as `key=value` in the text of `rtpp-flags`. All of them end
//! here. Lists add up; of a value that is there twice, the last counts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

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
    /// `DTLS`.
    pub dtls: Option<Dtls>,
    /// `DTLS-reverse`: the same towards who sent this SDP.
    pub dtls_reverse: Option<Dtls>,
    /// `DTLS-fingerprint`.
    pub dtls_fingerprint: Option<DtlsHash>,
    /// `SDES`.
    pub sdes: Sdes,
    /// `OSRTP` (RFC 8643).
    pub osrtp: BTreeSet<Osrtp>,
    /// `rtcp-mux` (RFC 5761).
    pub rtcp_mux: BTreeSet<RtcpMux>,
    /// `TOS` of what leaves; as configured without.
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
    /// `codec`: which of the codecs offered pass.
    pub codecs: Codecs,
    /// `metadata`, for reports.
    pub metadata: Option<String>,
    /// What was left out.
    pub ignored: Ignored,
}

/// Which of the codecs offered pass: names as in `a=rtpmap`, with or without `/rate/channels`, or
/// `all` and `full`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Codecs {
    /// These do not.
    pub strip: Vec<String>,
    /// These do, and in this order.
    pub offer: Vec<String>,
    /// These do although `strip` has them.
    pub except: Vec<String>,
    /// These do not, either; without transcoding it is the same as `strip`.
    pub mask: Vec<String>,
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

/// Flags that are understood and not done.
const UNDONE: [(Flag, &str); 10] = [
    // Plain media is always strict, and who has the keys is always followed.
    (Flag::StrictSource, "strict-source"),
    (Flag::MediaHandover, "media-handover"),
    (Flag::NoPortLatching, "no-port-latching"),
    (Flag::Reset, "reset"),
    (Flag::Unidirectional, "unidirectional"),
    (Flag::PierceNat, "pierce-NAT"),
    (Flag::NatWait, "NAT-wait"),
    (Flag::Debug, "debug"),
    (Flag::Provisional, "provisional"),
    (Flag::NewBranch, "new-branch"),
];

impl Options {
    /// Takes a key. One that is no option at all is listed as ignored.
    pub(super) fn option(&mut self, key: &str, value: &Value<'_>) {
        let is_read = match normal(key).as_str() {
            "flags" => return self.words(key, value, Self::flag),
            "rtpp-flags" => value.text().is_some_and(|text| {
                text.split_ascii_whitespace()
                    .for_each(|word| self.flag(word));
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
            "codec" => self.codec(value),
            "record-call" if word(value, switch) == Some(false) => true,
            "record-call" => return self.ignored.add(Why::Unsupported, key),
            name => return self.ignored.add(unread(name), key),
        };
        if !is_read {
            self.ignored.add(Why::Value, key);
        }
    }

    /// Lists what is understood and not done, so that it is seen. What becomes of all media here
    /// anyhow counts as done, such as `ICE=remove` and `DTLS=off`.
    pub(super) fn list_undone(&mut self, is_answer: bool) {
        let sdes = &self.sdes;
        let asked = [
            // Candidates of others lead past us.
            (
                "ICE",
                matches!(self.ice, Some(Ice::ForceRelay | Ice::Optional)),
            ),
            // We always are one, towards everybody.
            ("ICE-lite", self.ice_lite == Some(IceLite::Off)),
            (
                "DTLS-fingerprint",
                self.dtls_fingerprint == Some(DtlsHash::Sha1),
            ),
            ("OSRTP", !self.osrtp.is_empty()),
            ("SDES-lifetime", sdes.lifetime),
            ("SDES-static", sdes.keep),
            ("SDES-unencrypted_srtp", sdes.unencrypted_srtp == Some(true)),
            (
                "SDES-unencrypted_srtcp",
                sdes.unencrypted_srtcp == Some(true),
            ),
            (
                "SDES-unauthenticated_srtp",
                sdes.unauthenticated_srtp == Some(true),
            ),
            (
                "transport-protocol",
                self.transport == Some(Transport::Accept),
            ),
            (
                "endpoint-learning",
                matches!(
                    self.endpoint_learning,
                    Some(EndpointLearning::Delayed | EndpointLearning::Heuristic)
                ),
            ),
            ("media-echo", self.media_echo.is_some()),
            ("generate-RTCP", self.generate_rtcp == Some(true)),
            ("codec", self.codecs != Codecs::default()),
            ("metadata", self.metadata.is_some()),
        ];
        // What both sides get is said with the offer.
        let of_answer = [
            ("SDES", *sdes != Sdes::default()),
            ("rtcp-mux", !self.rtcp_mux.is_empty()),
            ("address-family", self.address_family.is_some()),
            ("TOS", self.tos.is_some()),
        ];
        let flags = UNDONE.map(|(flag, name)| (name, self.flags.contains(&flag)));
        let of_answer = of_answer.into_iter().filter(|_| is_answer);
        for (name, is_asked) in asked.into_iter().chain(flags).chain(of_answer) {
            if is_asked {
                self.ignored.add(Why::Unsupported, name);
            }
        }
    }

    /// Takes a word of `flags`.
    fn flag(&mut self, word: &str) {
        if let Some((key, value)) = word.split_once('=') {
            return match normal(key).as_str() {
                // These would bring more words of the kind, without end.
                "flags" | "rtpp-flags" => self.ignored.add(Why::Value, key),
                _ => self.option(key, &value.into()),
            };
        }
        match normal(word).as_str() {
            "pad-crypto" => self.sdes.pad = true,
            "generate-rtcp" => self.generate_rtcp = Some(true),
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
        const PREFIXES: [&str; 6] = [
            "SDES",
            "OSRTP",
            "rtcp-mux",
            "endpoint-learning",
            "replace",
            "codec",
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
        if prefix != "codec" {
            return self.option(prefix, &rest.into());
        }
        match rest.split_once('-') {
            Some((list, name)) => self.codec_word(list, name),
            None => self.ignored.add(Why::Unknown, word),
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

    /// Two names of interfaces.
    fn direction(&mut self, value: &Value<'_>) -> bool {
        let Value::List(names) = value else {
            return false;
        };
        let [from, to] = names.as_slice() else {
            return false;
        };
        (self.from_interface, self.to_interface) = (text(from), text(to));
        self.from_interface.is_some() && self.to_interface.is_some()
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

    fn codec_word(&mut self, list: &str, name: &str) {
        let codecs = &mut self.codecs;
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

fn word<T>(value: &Value<'_>, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    value.text().and_then(parse)
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
    const UNSUPPORTED: [&str; 37] = [
        "allow-transcoding",
        "always-transcode",
        "audio-player",
        "block-short",
        "bundle",
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
        "extmap",
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
        "sdp-attr",
        "sdp-media-remove",
        "single-codec",
        "strip-extmap",
        "symmetric-codecs",
        "t.38",
        "t38",
        "template",
        "transcode",
        "trigger",
        "xmlrpc-callback",
    ];
    const PREFIXES: [&str; 6] = [
        "from-tags-",
        "sdp-attr-",
        "t.38-",
        "t38-",
        "transcode-",
        "trigger-",
    ];
    let is_known = UNSUPPORTED.contains(&name) || PREFIXES.iter().any(|p| name.starts_with(p));
    if is_known {
        Why::Unsupported
    } else {
        Why::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(words: &[&'static str]) -> Options {
        let mut options = Options::default();
        options.option("flags", &Value::from(words.to_vec()));
        options
    }

    #[test]
    fn a_word_with_a_prefix_is_the_same_as_a_key() {
        for (key, value, word) in [
            ("SDES", "off", "SDES-off"),
            (
                "SDES",
                "no-AES_CM_128_HMAC_SHA1_32",
                "SDES-no-AES_CM_128_HMAC_SHA1_32",
            ),
            ("rtcp mux", "demux", "rtcp-mux-demux"),
            ("OSRTP", "offer-legacy", "OSRTP-offer-legacy"),
            ("endpoint_learning", "off", "endpoint-learning-off"),
            ("replace", "zero address", "replace-zero-address"),
            ("transport-protocol", "RTP/SAVP", "RTP/SAVP"),
            (
                "transport protocol",
                "RTP/AVP",
                "transport-protocol=RTP/AVP",
            ),
            ("ICE", "remove", "ICE=remove"),
            ("ICE", "trickle", "trickle-ICE"),
            ("ICE", "lite-both", "ICE-lite=both"),
            ("generate RTCP", "on", "generate-RTCP"),
            ("SDES", "pad", "pad-crypto"),
        ] {
            let mut by_key = Options::default();
            by_key.option(key, &value.into());
            assert_eq!(by_key, flags(&[word]), "{word}");
            assert_ne!(by_key, Options::default(), "{word}");
            assert_eq!(by_key.ignored.count(), 0, "{word}");
        }
    }

    #[test]
    fn what_is_understood_and_not_done_is_listed() {
        for (words, of_offer, of_answer) in [
            (
                &[
                    "RTP/AVP",
                    "ICE=remove",
                    "DTLS=off",
                    "trust-address",
                    "port-latching",
                    "original-sendrecv",
                    "no-tls-id",
                    "reject-ICE",
                    "endpoint-learning-immediate",
                    "generate-RTCP=off",
                    "replace-origin",
                ][..],
                &[][..],
                &[][..],
            ),
            (
                &["ICE=force", "DTLS=passive", "ICE-lite=both", "trickle-ICE"],
                &[],
                &[],
            ),
            (
                &["ICE=optional", "ICE-lite=off", "DTLS-fingerprint=sha-1"],
                &["ICE", "ICE-lite", "DTLS-fingerprint"],
                &["ICE", "ICE-lite", "DTLS-fingerprint"],
            ),
            (&["OSRTP-offer"], &["OSRTP"], &["OSRTP"]),
            (
                &["strict-source", "codec-strip-G722", "provisional"],
                &["codec", "strict-source", "provisional"],
                &["codec", "strict-source", "provisional"],
            ),
            (
                &["SDES-lifetime", "SDES-encrypted_srtp", "rtcp-mux-demux"],
                &["SDES-lifetime"],
                &["SDES-lifetime", "SDES", "rtcp-mux"],
            ),
        ] {
            for (is_answer, expected) in [(false, of_offer), (true, of_answer)] {
                let mut options = flags(words);
                options.list_undone(is_answer);
                let listed: Vec<_> = options.ignored.entries().collect();
                let expected: Vec<_> = expected
                    .iter()
                    .map(|name| (Why::Unsupported, *name))
                    .collect();
                assert_eq!(listed, expected, "{words:?}");
            }
        }
    }

    #[test]
    fn a_browser_is_talked_to_as_browsers_want() {
        let options = flags(&["WebRTC"]);
        let mut expected = flags(&[
            "transport-protocol=UDP/TLS/RTP/SAVPF",
            "rtcp-mux-offer",
            "rtcp-mux-require",
            "no-rtcp-attribute",
            "SDES-off",
            "generate-mid",
            "trickle-ICE",
            "ICE=force",
        ]);
        expected.flags.insert(Flag::WebRtc);
        assert_eq!(options, expected);
    }

    #[test]
    fn a_value_that_a_key_cannot_have_is_left_out_and_listed() {
        for (key, value) in [
            ("ICE-lite", "sometimes".into()),
            ("DTLS", Value::Integer(1)),
            ("TOS", "high".into()),
            ("TOS", Value::List(vec![])),
            ("media-address", "example.com".into()),
            ("address-family", "IP5".into()),
            ("direction", vec!["access"].into()),
            ("direction", "access".into()),
            ("received-from", vec!["IP4", "here"].into()),
            ("delete delay", Value::Integer(-1)),
            ("label", Value::from([0xff_u8].as_slice())),
            ("codec", "strip".into()),
            ("flags", vec![Value::Integer(1)].into()),
        ] {
            let mut options = Options::default();
            options.option(key, &value);
            assert_eq!(
                options.ignored.entries().collect::<Vec<_>>(),
                [(Why::Value, key)]
            );
        }
    }

    #[test]
    fn what_is_left_out_is_listed_without_end_but_not_kept_without_end() {
        let words = vec!["frobnicate"; 1000];
        let options = flags(&words);
        assert_eq!(options.ignored.count(), 1000);
        assert_eq!(options.ignored.entries().count(), 32);
    }

    #[test]
    fn the_type_of_service_has_three_ways_to_be_said() {
        for (value, tos) in [
            (-1, Tos::Unchanged),
            (184, Tos::Octet(184)),
            (256, Tos::Default),
        ] {
            let mut options = Options::default();
            options.option("TOS", &Value::Integer(value));
            assert_eq!(options.tos, Some(tos));
            options.option("TOS", &value.to_string().into());
            assert_eq!(options.tos, Some(tos));
        }
    }

    #[test]
    fn both_realms_may_be_named_in_both_ways() {
        let mut by_list = Options::default();
        by_list.option("direction", &vec!["access", "core"].into());
        assert_eq!(
            by_list,
            flags(&["from-interface=access", "to-interface=core"])
        );
    }
}
