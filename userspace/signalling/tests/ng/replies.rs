// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is answered.

use std::time::Duration;

use sallyport_signalling::ng::{
    Counters, Detail, Encoding, Limit, MediaReport, Mos, Refusal, Reply, Report, RequestError,
    SdpBody, SsrcQuality, Statistics, StreamKind, StreamReport, TagReport,
};

fn bencode(reply: &Reply) -> String {
    String::from_utf8(reply.encode(Some(b"5323_1"), Encoding::Bencode).to_vec()).expect("text")
}

fn json(reply: &Reply) -> String {
    String::from_utf8(reply.encode(None, Encoding::Json).to_vec()).expect("text")
}

fn counters(packets: u64, bytes: u64, errors: u64) -> Counters {
    Counters {
        packets,
        bytes,
        errors,
    }
}

/// A call whose caller speaks SRTP, with RTCP on a port of its own on one side only.
fn report() -> Report {
    let stream = |kind, port: u16, ingress| StreamReport {
        local: Some(([192, 0, 2, 1], port).into()),
        endpoint: Some(([192, 0, 2, 7], 5004).into()),
        advertised: Some(([10, 0, 0, 7], 5004).into()),
        is_confirmed: true,
        last_packet: Some(Duration::from_secs(1_402_064_124)),
        ingress,
        ..StreamReport::new(kind)
    };
    let mut muxed = stream(StreamKind::Muxed, 30_000, counters(343, 56_950, 1));
    muxed.suite = Some("AES_CM_128_HMAC_SHA1_80".to_owned());
    muxed.ssrc = Some(0x1234_5678);
    let media = |protocol: &str, streams| MediaReport {
        index: 1,
        kind: "audio".to_owned(),
        protocol: protocol.to_owned(),
        codec: Some("PCMA/8000".to_owned()),
        flags: vec!["initialized", "send", "recv"],
        streams,
    };
    let tag = |tag: &str, peer: &str, media| TagReport {
        tag: tag.to_owned(),
        peer: Some(peer.to_owned()),
        created: Duration::from_secs(1_402_064_111),
        medias: vec![media],
        ..TagReport::default()
    };
    let mut caller = tag("alice", "bob", media("RTP/SAVP", vec![muxed]));
    caller.label = Some("caller".to_owned());
    let plain = vec![
        stream(StreamKind::Rtp, 40_000, counters(362, 43_337, 0)),
        stream(StreamKind::Rtcp, 40_001, counters(22, 2244, 2)),
    ];
    let mos = |tenths| Mos {
        tenths,
        reported_at: Duration::from_secs(1_402_064_120),
        packet_loss: 2,
        jitter: 7,
        round_trip_time: 20_000,
        round_trip_time_leg: 10_000,
        samples: 5,
    };
    Report {
        created: Duration::from_micros(1_402_064_111_000_007),
        last_signal: Duration::from_secs(1_402_064_116),
        metadata: Some("from:alice".to_owned()),
        tags: vec![caller, tag("bob", "alice", media("RTP/AVP", plain))],
        qualities: vec![SsrcQuality {
            ssrc: 0x1234_5678,
            average: mos(42),
            lowest: mos(31),
            highest: mos(43),
        }],
    }
}

#[test]
fn a_reply_repeats_the_cookie_in_front_of_sorted_keys() {
    let sdp = Reply::Sdp(SdpBody::new(b"v=0\r\n".to_vec()));
    for (reply, text) in [
        (Reply::Pong, "d6:result4:ponge"),
        (sdp, "d6:result2:ok3:sdp5:v=0\r\ne"),
        (
            Reply::Listed(vec!["a".to_owned(), "b".to_owned()]),
            "d5:callsl1:a1:be6:result2:oke",
        ),
        (
            Reply::from(RequestError::NoCallId),
            "d12:error-reason21:No call-id in message6:result5:errore",
        ),
    ] {
        assert_eq!(bencode(&reply), format!("5323_1 {text}"));
    }
}

#[test]
fn a_limit_makes_the_client_try_another_gateway() {
    for (limit, reason) in [
        (Limit::Sessions, "Parallel session limit reached"),
        (Limit::Cpu, "CPU usage limit exceeded"),
        (Limit::Load, "Load limit exceeded"),
        (Limit::Bandwidth, "Bandwidth limit exceeded"),
    ] {
        let refusal = Refusal::Limit(limit);
        let result = format!(r#"{{"message":"{reason}","result":"load limit"}}"#);
        assert_eq!(json(&Reply::refusal(&refusal, true)), result);
        let error = format!(r#"{{"error-reason":"{reason}","result":"error"}}"#);
        assert_eq!(json(&Reply::refusal(&refusal, false)), error);
    }
    for supports_load_limit in [true, false] {
        let reply = Reply::refusal(&Refusal::Limit(Limit::Ports), supports_load_limit);
        assert_eq!(
            json(&reply),
            r#"{"error-reason":"Ran out of ports","result":"error"}"#
        );
    }
}

#[test]
fn every_other_refusal_is_an_error_in_words() {
    for (refusal, reason) in [
        (Refusal::UnknownCall, "Unknown call-id"),
        (Refusal::Dialogue, "Invalid dialogue association"),
        (Refusal::Sdp, "Failed to parse SDP"),
        (Refusal::IncompleteSdp, "Incomplete SDP specification"),
        (Refusal::Rewrite, "Error rewriting SDP"),
        (Refusal::Other("no suite".to_owned()), "no suite"),
    ] {
        assert_eq!(
            json(&Reply::refusal(&refusal, true)),
            format!(r#"{{"error-reason":"{reason}","result":"error"}}"#)
        );
    }
}

#[test]
fn a_deletion_that_finds_nothing_is_a_warning_unless_it_is_to_be_fatal() {
    assert_eq!(
        json(&Reply::not_deleted(false)),
        r#"{"result":"ok","warning":"Call-ID not found or tags didn't match"}"#
    );
    assert_eq!(
        json(&Reply::not_deleted(true)),
        r#"{"error-reason":"Call-ID not found or tags didn't match","result":"error"}"#
    );
}

#[test]
fn a_deletion_is_answered_with_a_few_bytes_unless_more_is_wanted() {
    let deleted = |detail| Reply::Deleted(Box::new(report()), detail);
    assert_eq!(json(&deleted(Detail::None)), r#"{"result":"ok"}"#);
    assert_eq!(
        json(&deleted(Detail::Totals)),
        "{\"created\":1402064111,\"created_us\":7,\"last signal\":1402064116,\"result\":\"ok\",\
         \"totals\":{\"RTCP\":{\"bytes\":2244,\"errors\":2,\"packets\":22},\
         \"RTP\":{\"bytes\":100287,\"errors\":1,\"packets\":705}}}"
    );
    assert_eq!(
        json(&deleted(Detail::Full)),
        json(&Reply::Queried(Box::new(report())))
    );
}

#[test]
fn a_call_of_any_length_is_deleted_with_less_than_a_packet() {
    let mut report = report();
    for tag in &mut report.tags {
        for stream in tag.medias.iter_mut().flat_map(|media| &mut media.streams) {
            stream.ingress = counters(u64::MAX, u64::MAX, u64::MAX);
        }
    }
    let reply = Reply::Deleted(Box::new(report), Detail::Totals);
    let length = bencode(&reply).len();
    assert!(length < 512, "{length} bytes");
}

#[test]
fn a_query_is_answered_with_everything_that_clients_read() {
    let reply = Reply::Queried(Box::new(report()));
    assert_eq!(bencode(&reply), include_str!("replies/query"));
    let text = json(&reply);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for (path, value) in [
        ("/totals/RTP/packets", "705"),
        ("/totals/RTCP/errors", "2"),
        ("/tags/alice/label", "\"caller\""),
        ("/tags/alice/in dialogue with", "\"bob\""),
        ("/tags/alice/medias/0/streams/0/SSRC", "305419896"),
        ("/tags/alice/medias/0/streams/0/local port", "30000"),
        ("/tags/bob/medias/0/streams/1/endpoint/family", "\"IPv4\""),
        (
            "/tags/bob/medias/0/streams/1/flags",
            r#"["RTCP","filled","confirmed"]"#,
        ),
        ("/SSRC/305419896/average MOS/MOS", "42"),
        ("/SSRC/305419896/average MOS/samples", "5"),
    ] {
        let found = json.pointer(path).map(ToString::to_string);
        assert_eq!(found.as_deref(), Some(value), "{path}");
    }
}

#[test]
fn statistics_are_written_as_their_readers_know_them() {
    let reply = Reply::Statistics(Box::new(Statistics {
        uptime: Duration::from_secs(18),
        sessions: 1,
        managed: 3,
        duration: Duration::from_millis(2500),
        ..Statistics::default()
    }));
    let json: serde_json::Value = serde_json::from_str(&json(&reply)).expect("JSON");
    let statistics = &json["statistics"];
    assert_eq!(statistics["currentstatistics"]["sessionstotal"], 1);
    assert_eq!(statistics["totalstatistics"]["uptime"], "18");
    assert_eq!(statistics["totalstatistics"]["avgcallduration"], "1.250000");
}
