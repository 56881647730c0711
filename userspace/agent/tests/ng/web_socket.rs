// SPDX-License-Identifier: Apache-2.0 OR MIT

//! WebSockets.

use std::io::{Read, Write};
use std::net::TcpStream;

use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use crate::harness::{Front, PATIENCE, offer};

fn connect(front: &Front, path: &str, protocol: Option<&str>) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(front.http).expect("a connection");
    let url = format!("ws://{}{path}", front.http);
    let mut request = url.into_client_request().expect("a request");
    if let Some(protocol) = protocol {
        let value = protocol.parse().expect("a value");
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", value);
    }
    // As Kamailio's client does it.
    let origin = format!("http://{}", front.http).parse().expect("a value");
    request.headers_mut().insert("Origin", origin);
    let (socket, answer) = tungstenite::client(request, stream).expect("a WebSocket");
    let chosen = answer.headers().get("Sec-WebSocket-Protocol");
    assert_eq!(
        chosen.map(|chosen| chosen.to_str().expect("text")),
        protocol
    );
    socket
}

#[test]
fn the_subprotocol_says_whether_there_are_cookies_and_without_one_the_path_does() {
    let front = Front::start();
    let with_cookie = ("1 d7:command4:pinge", "1 d6:result4:ponge");
    let plain = ("{\"command\":\"ping\"}", "{\"result\":\"pong\"}");
    for (path, protocol, (request, answer)) in [
        ("/", Some("ng.rtpengine.com"), with_cookie),
        ("/", Some("ng-plain.rtpengine.com"), plain),
        ("/", None, with_cookie),
        ("/ng", None, with_cookie),
        ("/ng-plain", None, plain),
        ("/ng-plain", Some("ng.rtpengine.com"), with_cookie),
    ] {
        let mut socket = connect(&front, path, protocol);
        for message in [
            Message::text(request),
            Message::binary(request.as_bytes().to_vec()),
        ] {
            let is_text = message.is_text();
            socket.send(message).expect("send");
            let received = socket.read().expect("an answer");
            assert_eq!(received.is_text(), is_text);
            assert_eq!(received.into_text().expect("text").as_str(), answer);
        }
    }
}

#[test]
fn answers_come_as_they_are_ready() {
    let front = Front::start();
    let mut socket = connect(&front, "/ng", None);
    let mut ask = |request: String| {
        socket.send(Message::text(request)).expect("send");
    };
    ask(format!("1 {}", offer("slow", "alice")));
    ask("2 d7:command4:pinge".to_owned());
    let mut receive = || socket.read().expect("an answer").into_text().expect("text");
    assert_eq!(receive().as_str(), "2 d6:result4:ponge");
    front.calls.gate.add_permits(1);
    assert_eq!(
        receive().as_str(),
        "1 d6:result2:ok3:sdp16:offer 1 of alicee"
    );
}

#[test]
fn a_message_without_a_cookie_or_too_long_ends_the_socket() {
    let front = Front::start();
    for message in ["hello".to_owned(), format!("1 {}", "x".repeat(70_000))] {
        let mut socket = connect(&front, "/ng", None);
        let _ = socket.send(Message::text(message));
        let ended = matches!(socket.read(), Err(_) | Ok(Message::Close(_)));
        assert!(ended);
    }
}

#[test]
fn a_frame_that_is_too_long_ends_the_socket_before_it_is_there() {
    let front = Front::start();
    let mut stream = connect(&front, "/ng", None)
        .get_ref()
        .try_clone()
        .expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // The head of a masked text of 1 MiB, and no more.
    let head = [0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 2, 3, 4];
    stream.write_all(&head).expect("send");
    let ended = stream.read_to_end(&mut Vec::new());
    assert!(ended.is_ok(), "{ended:?}");
}

#[test]
fn the_library_cannot_log_the_messages_which_hold_keys() {
    assert_eq!(log::STATIC_MAX_LEVEL, log::LevelFilter::Debug);
}
