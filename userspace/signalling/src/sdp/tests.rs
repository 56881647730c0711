// SPDX-License-Identifier: Apache-2.0 OR MIT

use proptest::prelude::*;

use super::*;

/// The example of RFC 4568 section 4, with lines that nobody knows.
const EXAMPLE: &str = "v=0
o=jdoe 2890844526 2890842807 IN IP4 10.47.16.5
s=SDP Seminar
i=A Seminar on the session description protocol
u=http://www.example.com/seminars/sdp.pdf
e=j.doe@example.com (Jane Doe)
a=charset:UTF-8
c=IN IP4 161.44.17.12/127
x=what is this
t=2873397496 2873404696
a=recvonly
m=video 51372 RTP/SAVP 31
i=a title
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:32
m=audio 49170/1 RTP/AVPF 0 8
c=IN IP6 2001:db8::7
a=sendonly
a=rtcp:53020 IN IP6 2001:db8::8
a=rtcp-mux
m=application 32416 udp wb
a=orient:portrait
";

fn example() -> Sdp {
    Sdp::parse(EXAMPLE.as_bytes()).unwrap()
}

#[test]
fn every_line_comes_back_as_it_was_with_either_line_ending() {
    for text in [EXAMPLE.to_owned(), EXAMPLE.replace('\n', "\r\n")] {
        assert_eq!(*Sdp::parse(text.as_bytes()).unwrap().write(), text);
    }
}

#[test]
fn empty_lines_are_left_out_and_a_last_line_without_an_ending_gets_one() {
    let sdp = Sdp::parse(b"v=0\r\n\r\ns=-\r\nt=0 0").unwrap();
    assert_eq!(*sdp.write(), "v=0\r\ns=-\r\nt=0 0\r\n");
}

#[test]
fn what_a_medium_does_not_say_holds_as_the_session_says() {
    let sdp = example();
    let [video, audio, wb] = sdp.media() else {
        panic!("three media");
    };
    let ip = |media| sdp.connection(media).unwrap().ip().unwrap().to_string();
    assert_eq!(ip(video), "161.44.17.12");
    assert_eq!(ip(audio), "2001:db8::7");
    assert_eq!(sdp.direction(video), Direction::RecvOnly);
    assert_eq!(sdp.direction(audio), Direction::SendOnly);
    assert_eq!(sdp.attribute(wb, "charset"), Some("UTF-8"));
    assert_eq!(sdp.attribute(audio, "rtcp-mux"), Some(""));
    assert_eq!(sdp.attribute(video, "rtcp-mux"), None);
    assert_eq!(
        audio.rtcp(),
        Some(Rtcp {
            port: 53020,
            address: Some("2001:db8::8".parse().unwrap())
        })
    );
    assert_eq!(*wb.profile(), Profile::Other("udp".to_owned()));
    assert_eq!(sdp.session().origin().unwrap().version, "2890842807");
}

#[test]
fn what_is_changed_stays_in_its_place() {
    let mut sdp = example();
    let origin = Origin {
        username: "-".to_owned(),
        ..sdp.session().origin().unwrap().clone()
    };
    sdp.session_mut().set_origin(origin);
    let [video, audio, _] = sdp.media_mut() else {
        panic!("three media");
    };
    let ip: core::net::IpAddr = "192.0.2.1".parse().unwrap();
    video.section_mut().set_connection(ip.into());
    video.section_mut().remove_attributes(&["crypto"]);
    video.set_profile(Profile::Avp);
    video.set_port(4000);
    audio.section_mut().set_connection(ip.into());
    audio.section_mut().set_attribute("rtcp", Some("4003"));
    audio.section_mut().set_attribute("label", Some("7"));
    audio.set_port(4002);
    let expected = EXAMPLE
        .replace("o=jdoe", "o=-")
        .replace("m=video 51372 RTP/SAVP 31", "m=video 4000 RTP/AVP 31")
        .replace("i=a title\n", "i=a title\nc=IN IP4 192.0.2.1\n")
        .lines()
        .filter(|line| !line.starts_with("a=crypto"))
        .map(|line| match line {
            "m=audio 49170/1 RTP/AVPF 0 8" => "m=audio 4002 RTP/AVPF 0 8\n".to_owned(),
            "c=IN IP6 2001:db8::7" => "c=IN IP4 192.0.2.1\n".to_owned(),
            "a=rtcp:53020 IN IP6 2001:db8::8" => "a=rtcp:4003\n".to_owned(),
            "a=rtcp-mux" => "a=rtcp-mux\na=label:7\n".to_owned(),
            line => format!("{line}\n"),
        })
        .collect::<String>();
    assert_eq!(*sdp.write(), expected);
}

#[test]
fn what_is_no_session_description_is_refused_with_its_line() {
    let long = format!("v=0\r\ns={}\r\n", "x".repeat(Sdp::MAX_LEN));
    let many = format!("v=0\n{}", "a=x\n".repeat(Sdp::MAX_LINES));
    let cases: [(&[u8], SdpError); 26] = [
        (b"", SdpError::Version),
        (b"\r\n\r\n", SdpError::Version),
        (b"v=1\r\n", SdpError::Version),
        (b"s=-\r\nv=0\r\n", SdpError::Version),
        (b"v=0\r\n\xff", SdpError::NotUtf8),
        (long.as_bytes(), SdpError::TooLong { len: long.len() }),
        (many.as_bytes(), SdpError::TooManyLines),
        (b"v=0\nbroken", SdpError::Line { number: 2 }),
        (b"v=0\n\nab=c", SdpError::Line { number: 3 }),
        (b"v=0\n=c", SdpError::Line { number: 2 }),
        (b"v=0\n1=c", SdpError::Line { number: 2 }),
        (b"v=0\ns=a\rb\n", SdpError::Line { number: 2 }),
        (b"v=0\ns=a\0b\n", SdpError::Line { number: 2 }),
        (b"v=0\no=- 1 1 IN IP4", SdpError::Origin { number: 2 }),
        (b"v=0\no=-  1 1 IN IP4 x", SdpError::Origin { number: 2 }),
        (b"v=0\nc=IN IP4", SdpError::Connection { number: 2 }),
        (b"v=0\nc=IN IP4 ::1", SdpError::Connection { number: 2 }),
        (
            b"v=0\nc=IN IP6 10.0.0.1",
            SdpError::Connection { number: 2 },
        ),
        (
            b"v=0\nc=IN IP4 10.0.0.256",
            SdpError::Connection { number: 2 },
        ),
        (
            b"v=0\nc=IN IP4 10.0.0.1 x",
            SdpError::Connection { number: 2 },
        ),
        (b"v=0\nm=audio", SdpError::Media { number: 2 }),
        (b"v=0\nm=audio 1 RTP/AVP", SdpError::Media { number: 2 }),
        (b"v=0\nm=audio  RTP/AVP 0", SdpError::Media { number: 2 }),
        (
            b"v=0\nm=audio 65536 RTP/AVP 0",
            SdpError::Media { number: 2 },
        ),
        (b"v=0\nm=audio -1 RTP/AVP 0", SdpError::Media { number: 2 }),
        (b"v=0\nm=audio 1/x RTP/AVP 0", SdpError::Media { number: 2 }),
    ];
    for (text, error) in cases {
        let shown = String::from_utf8_lossy(&text[..text.len().min(40)]);
        assert_eq!(Sdp::parse(text).map(drop), Err(error), "{shown:?}");
    }
    let two = b"v=0\no=- 1 1 IN IP4 h.example\no=- 1 1 IN IP4 h.example\n";
    assert_eq!(
        Sdp::parse(two).map(drop),
        Err(SdpError::Origin { number: 3 })
    );
    let in_media = b"v=0\nm=audio 1 RTP/AVP 0\no=- 1 1 IN IP4 h.example\n";
    assert_eq!(
        Sdp::parse(in_media).map(drop),
        Err(SdpError::Origin { number: 3 })
    );
}

#[test]
fn an_address_that_is_none_is_told_from_the_others() {
    for (text, is_nowhere) in [
        ("IN IP4 0.0.0.0", true),
        ("IN IP6 ::", true),
        ("IN IP6 anonymous.invalid", true),
        ("IN IP4 host.example.com", false),
        ("IN IP4 10.0.0.1", false),
        ("IN IP4 224.2.1.1/127/3", false),
    ] {
        let connection = Connection::parse(text).unwrap();
        assert_eq!(connection.is_nowhere(), is_nowhere, "{text}");
        assert_eq!(connection.to_string(), text);
    }
}

#[test]
fn the_place_of_rtcp_is_read_or_refused() {
    for (text, rtcp) in [
        ("53020", Some((53020, None))),
        (
            "53020 IN IP4 126.16.64.4",
            Some((53020, Some("126.16.64.4"))),
        ),
        (
            "53020 IN IP6 2001:db8::4",
            Some((53020, Some("2001:db8::4"))),
        ),
        ("", None),
        ("0", None),
        ("65536", None),
        ("x", None),
        ("1 IN", None),
        ("1 IN IP4 host.example", None),
    ] {
        let rtcp = rtcp.map(|(port, address): (u16, Option<&str>)| Rtcp {
            port,
            address: address.map(|address| address.parse().unwrap()),
        });
        assert_eq!(Rtcp::parse(text), rtcp, "{text:?}");
        if let Some(rtcp) = rtcp {
            assert_eq!(rtcp.to_string(), text);
        }
    }
}

#[test]
fn no_line_is_ever_printed() {
    let printed = format!("{:?}", example());
    assert!(!printed.contains("inline"), "{printed}");
    assert!(printed.contains("Savp"), "{printed}");
}

/// Lines that make sense, and lines that do not.
fn any_text() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "[a-z]=[ -~]{0,30}",
        "m=(audio|video|x) [0-9]{1,6}(/[0-9])? (RTP/S?AVPF?|x) [0-9 ]{1,5}",
        "c=IN IP[46] [0-9a-f.:]{1,12}",
        "a=(rtcp|crypto|sendonly|rtcp-mux|3ge2ae)(:[ -~]{0,20})?",
        ".{0,20}",
    ];
    (proptest::collection::vec(line, 0..20), any::<bool>()).prop_map(|(lines, crlf)| {
        let ending = if crlf { "\r\n" } else { "\n" };
        format!("v=0{ending}{}{ending}", lines.join(ending))
    })
}

proptest! {
    #[test]
    fn what_is_read_is_written_as_it_was(text in any_text()) {
        if let Ok(sdp) = Sdp::parse(text.as_bytes()) {
            let written = sdp.write();
            prop_assert!(written.lines().eq(text.lines().filter(|line| !line.is_empty())));
            prop_assert_eq!(Sdp::parse(written.as_bytes()), Ok(sdp));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_panic(bytes: Vec<u8>) {
        let _ = Sdp::parse(&bytes);
        let _ = Sdp::parse(&[b"v=0\r\n", bytes.as_slice()].concat());
    }

    /// Crate sdp-types, which knows every line, finds in our text what we find.
    #[test]
    fn another_reader_finds_the_same(
        session in "[a-z]{1,8}",
        media in proptest::collection::vec(
            (any::<u16>(), "RTP/S?AVPF?", "[0-9]{1,3}", any::<[u8; 4]>(), "[a-z]{1,5}:[!-~]{1,9}"),
            0..5,
        ),
    ) {
        let mut text = format!("v=0\r\no=- 1 2 IN IP4 10.0.0.1\r\ns={session}\r\nt=0 0\r\n");
        for (port, profile, format, ip, attribute) in &media {
            let ip = core::net::Ipv4Addr::from(*ip);
            let media = format!("m=audio {port} {profile} {format}");
            text += &[&media, &format!("c=IN IP4 {ip}"), &format!("a={attribute}"), ""].join("\r\n");
        }
        let ours = Sdp::parse(text.as_bytes()).unwrap();
        let theirs = sdp_types::Session::parse(ours.write().as_bytes()).unwrap();
        prop_assert_eq!(theirs.to_string(), text);
        prop_assert_eq!(theirs.medias.len(), ours.media().len());
        for (theirs, ours) in theirs.medias.iter().zip(ours.media()) {
            prop_assert_eq!(theirs.port, ours.port());
            prop_assert_eq!(&theirs.proto, ours.profile().name());
            let ip = theirs.connections[0].try_address().unwrap().ip;
            prop_assert_eq!(Some(ip), ours.section().connection().unwrap().ip());
        }
    }
}
