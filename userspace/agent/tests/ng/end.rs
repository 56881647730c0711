// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The end of a front end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::harness::{Front, offer, wait_until};

const ANSWER: &str = "1 d6:result2:ok3:sdp16:offer 1 of alicee";

/// Ends a front end while it has an offer, and lets that go on a little later.
fn stop_with_an_offer(front: &mut Front) {
    wait_until("the offer has begun", || front.offers() == 1);
    let calls = Arc::clone(&front.calls);
    let open = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        calls.gate.add_permits(1);
    });
    front.stop();
    open.join().expect("no panic");
}

/// Everything up to the end of the connection.
fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the end");
    text
}

#[test]
fn a_request_under_way_is_answered() {
    let request = format!("1 {}", offer("slow", "alice"));

    let mut front = Front::start();
    let client = front.client();
    client.send(request.as_bytes());
    stop_with_an_offer(&mut front);
    assert_eq!(client.receive(), ANSWER);

    let mut front = Front::start();
    let mut stream = TcpStream::connect(front.tcp).expect("a connection");
    stream.write_all(request.as_bytes()).expect("send");
    stop_with_an_offer(&mut front);
    assert_eq!(rest(stream), ANSWER);

    let mut front = Front::start();
    let mut stream = TcpStream::connect(front.http).expect("a connection");
    let length = request.len();
    let post = format!("POST /ng HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{request}");
    stream.write_all(post.as_bytes()).expect("send");
    stop_with_an_offer(&mut front);
    let answer = rest(stream);
    assert!(answer.ends_with(ANSWER), "{answer}");
}

#[test]
fn idle_connections_keep_nobody_waiting() {
    let end_with_idle_connections = || {
        let mut front = Front::start();
        let ping = b"1 d7:command4:pinge";
        let mut tcp = TcpStream::connect(front.tcp).expect("a connection");
        tcp.write_all(ping).expect("send");
        let mut http = TcpStream::connect(front.http).expect("a connection");
        http.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("send");
        for stream in [&mut tcp, &mut http] {
            assert!(stream.read(&mut [0; 256]).expect("an answer") > 0);
        }
        front.stop();
        assert_eq!(rest(tcp) + &rest(http), "");
        front
    };
    // A slow machine may need all the time that there is.
    wait_until("they are not waited for", || {
        !end_with_idle_connections().has_given_up()
    });
}

#[test]
fn a_request_that_takes_too_long_is_given_up() {
    let mut front = Front::start();
    let client = front.client();
    client.send(format!("1 {}", offer("slow", "alice")).as_bytes());
    wait_until("the offer has begun", || front.offers() == 1);
    front.stop();
    assert!(front.has_given_up());
}
