// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What Kamailio and OpenSIPS send. Requests of Kamailio 5.6.3 were recorded from one, but for the
//! answer to a reply; the others are written as their sources do it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use sallyport_signalling::ng::{
    Answer, Command, Delete, Dtls, Family, Flag, Ice, IceLite, Message, Offer, Options, Osrtp,
    Replace, RtcpMux, Tos, Transport, Why,
};

use super::parse;

macro_rules! request {
    ($name:literal) => {{
        let bytes = include_bytes!(concat!("requests/", $name));
        let message = Message::split(bytes).expect("a cookie");
        parse(message.document).expect($name)
    }};
}

fn offer(command: Command) -> Offer {
    match command {
        Command::Offer(offer) => *offer,
        other => panic!("{} instead of an offer", other.name()),
    }
}

fn answer(command: Command) -> Answer {
    match command {
        Command::Answer(answer) => *answer,
        other => panic!("{} instead of an answer", other.name()),
    }
}

fn delete(command: Command) -> Delete {
    match command {
        Command::Delete(delete) => delete,
        other => panic!("{} instead of a deletion", other.name()),
    }
}

fn set<T: Ord, const N: usize>(words: [T; N]) -> BTreeSet<T> {
    words.into()
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn ignored(options: &Options) -> Vec<(Why, &str)> {
    options.ignored.entries().collect()
}

#[test]
fn a_proxy_asks_whether_the_gateway_is_there() {
    assert_eq!(request!("kamailio_5.6.3_ping"), Command::Ping);
    assert_eq!(request!("opensips_ping"), Command::Ping);
}

#[test]
fn kamailio_offers_without_any_flag() {
    let offer = offer(request!("kamailio_5.6.3_offer_plain"));
    assert_eq!(offer.call_id, "call-1@example.com");
    assert_eq!(offer.from_tag, "alice");
    assert_eq!((offer.to_tag, offer.via_branch), (None, None));
    assert!(offer.sdp.expose().starts_with(b"v=0\r\no=- "));
    assert!(offer.sdp.expose().ends_with(b"AwJSoj\r\n"));
    let mut options = Options::default();
    options.supports_load_limit = true;
    options.received_from = Some(ip("127.0.0.1"));
    assert_eq!(offer.options, options);
}

#[test]
fn kamailio_offers_srtp_to_be_made_rtp() {
    let options = offer(request!("kamailio_5.6.3_offer_to_rtp")).options;
    assert_eq!(options.transport, Some(Transport::Avp));
    assert_eq!(options.ice, Some(Ice::Remove));
    assert_eq!(options.flags, set([Flag::TrustAddress, Flag::Symmetric]));
    assert_eq!(
        options.replace,
        set([Replace::Origin, Replace::SessionConnection])
    );
    assert_eq!(ignored(&options), []);
}

#[test]
fn every_option_of_kamailio_is_understood_or_listed() {
    let offer = offer(request!("kamailio_5.6.3_offer_with_every_option"));
    assert_eq!(offer.via_branch.as_deref(), Some("z9hG4bK3"));
    let options = offer.options;
    assert_eq!(options.from_interface.as_deref(), Some("access"));
    assert_eq!(options.to_interface.as_deref(), Some("core"));
    assert_eq!(options.address_family, Some(Family::Ip6));
    assert_eq!(options.media_address, Some(ip("192.0.2.1")));
    assert_eq!(options.tos, Some(Tos::Octet(184)));
    assert_eq!(options.delete_delay, Some(Duration::from_secs(5)));
    assert_eq!(options.label.as_deref(), Some("caller"));
    assert_eq!(options.dtls, Some(Dtls::Passive));
    assert_eq!(options.osrtp, set([Osrtp::Offer]));
    assert_eq!(options.ice_lite, Some(IceLite::Forward));
    assert_eq!(options.rtcp_mux, set([RtcpMux::Offer, RtcpMux::Require]));
    assert_eq!(options.replace, set([Replace::Origin, Replace::SdpVersion]));
    assert_eq!(options.edits.codecs.strip, ["opus"]);
    assert_eq!(options.edits.codecs.offer, ["PCMA"]);
    assert!(options.sdes.off);
    assert_eq!(options.sdes.without, ["AES_CM_128_HMAC_SHA1_32"]);
    assert_eq!(options.sdes.unauthenticated_srtp, Some(true));
    // In the order of the document: what the script said wins over WebRTC, which came first.
    assert_eq!(options.ice, Some(Ice::Force));
    assert_eq!(options.transport, Some(Transport::Savpf));
    for flag in [
        Flag::Asymmetric,
        Flag::GenerateMid,
        Flag::LoopProtect,
        Flag::NoRtcpAttribute,
        Flag::PortLatching,
        Flag::WebRtc,
    ] {
        assert!(options.flags.contains(&flag), "{flag:?}");
    }
    assert_eq!(
        ignored(&options),
        [
            (Why::Unsupported, "record-call"),
            (Why::Unknown, "wibble"),
            (Why::Unknown, "frobnicate"),
            (Why::Unsupported, "codec-transcode"),
            (Why::Unsupported, "T.38"),
        ]
    );
}

#[test]
fn kamailio_answers_from_a_reply_and_from_a_request() {
    let of_reply = answer(request!("kamailio_5.6.3_answer_to_reply"));
    assert_eq!(
        (of_reply.from_tag.as_str(), of_reply.to_tag.as_str()),
        ("alice", "bob")
    );
    assert_eq!(of_reply.options.transport, Some(Transport::Savp));
    // In a request that carries an answer the SIP tags are the other way round, and Kamailio
    // puts them right.
    let forced = answer(request!("kamailio_5.6.3_answer_forced"));
    assert_eq!(
        (forced.from_tag.as_str(), forced.to_tag.as_str()),
        ("bob", "alice")
    );
    assert_eq!(forced.options.from_interface.as_deref(), Some("internal"));
    assert_eq!(forced.options.flags, set([Flag::StrictSource]));
}

#[test]
fn kamailio_asks_what_a_call_did() {
    let Command::Query(query) = request!("kamailio_5.6.3_query") else {
        panic!("no query");
    };
    assert_eq!(query.call_id, "call-1@example.com");
    assert_eq!(query.from_tag.as_deref(), Some("alice"));
    assert_eq!(query.to_tag.as_deref(), Some("bob"));
    assert_eq!(query.ignored.count(), 0);
}

#[test]
fn a_call_is_deleted_with_its_tags_or_without() {
    let call = delete(request!("kamailio_5.6.3_delete_call"));
    assert_eq!(call.from_tag.as_deref(), Some("alice"));
    assert_eq!(
        (call.to_tag, call.via_branch, call.delay),
        (None, None, None)
    );
    assert!(!call.fatal);

    let at_once = delete(request!("kamailio_5.6.3_delete_at_once"));
    assert_eq!(at_once.to_tag.as_deref(), Some("bob"));
    assert_eq!(at_once.via_branch.as_deref(), Some("z9hG4bK8"));
    assert_eq!(at_once.delay, Some(Duration::ZERO));
    assert!(at_once.fatal);
    assert_eq!(at_once.ignored.count(), 0);

    let without_tags = delete(request!("opensips_delete_without_tags"));
    assert_eq!((without_tags.from_tag, without_tags.to_tag), (None, None));
}

#[test]
fn opensips_spells_its_keys_in_its_own_way() {
    let options = offer(request!("opensips_offer")).options;
    assert_eq!(options.address_family, Some(Family::Ip6));
    assert_eq!(options.received_from, None);
    assert_eq!(options.delete_delay, Some(Duration::from_secs(5)));
    assert_eq!(options.transport, Some(Transport::Avp));
    assert_eq!(options.dtls, Some(Dtls::Off));
    assert!(options.sdes.off);
    assert_eq!(options.sdes.without, ["AES_CM_128_HMAC_SHA1_32"]);
    assert_eq!(options.rtcp_mux, set([RtcpMux::Demux]));
    assert_eq!(
        options.replace,
        set([
            Replace::Origin,
            Replace::SessionConnection,
            Replace::SdpVersion,
            Replace::ZeroAddress,
            Replace::SessionName,
            Replace::Username,
        ])
    );
    assert_eq!(ignored(&options), []);
    let answer = answer(request!("opensips_answer"));
    assert_eq!(answer.options.received_from, Some(ip("10.0.0.9")));
}

#[test]
fn newer_clients_leave_the_words_of_the_script_to_the_gateway() {
    let options = offer(request!("kamailio_6_offer_with_rtpp_flags")).options;
    assert_eq!(options.replace, set([Replace::Origin]));
    assert_eq!(options.ice, Some(Ice::Remove));
    assert_eq!(options.transport, Some(Transport::Avp));
    assert_eq!(options.flags, set([Flag::TrustAddress]));
    assert_eq!(options.label.as_deref(), Some("caller"));
    assert!(options.sdes.off);
}

#[test]
fn a_request_in_json_is_the_same_request() {
    let bencode = parse(
        b"d3:sdp5:v=0\r\n7:call-id1:c8:from-tag1:a5:flagsl8:SDES-offe12:delete delayi5e\
        7:command5:offere",
    );
    let json = parse(
        br#"{"command": "offer", "call-id": "c", "from-tag": "a", "sdp": "v=0\r\n",
            "flags": ["SDES-off"], "delete-delay": 5}"#,
    );
    assert!(bencode.is_ok());
    assert_eq!(bencode, json);
}
