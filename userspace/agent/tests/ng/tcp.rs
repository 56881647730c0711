// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Requests back to back.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use crate::harness::{Front, PATIENCE, offer, wait_until};

fn connect(front: &Front) -> TcpStream {
    let stream = TcpStream::connect(front.tcp).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn receive(stream: &mut TcpStream, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).expect("an answer");
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
}

/// Everything up to the end of the connection.
fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the end");
    text
}

#[test]
fn requests_in_one_piece_and_in_many_are_answered() {
    let front = Front::start();
    let mut stream = connect(&front);
    stream.write_all(b"1 d7:command4:pinge").expect("send");
    receive(&mut stream, "1 d6:result4:ponge");
    let pieces = format!("2 {}", offer("c", "alice"));
    for piece in pieces.as_bytes().chunks(7) {
        stream.write_all(piece).expect("send");
        thread::sleep(Duration::from_millis(1));
    }
    receive(&mut stream, "2 d6:result2:ok3:sdp16:offer 1 of alicee");
    let several: String = (0..200).map(|_| "3 d7:command4:pinge").collect();
    stream.write_all(several.as_bytes()).expect("send");
    for _ in 0..200 {
        receive(&mut stream, "3 d6:result4:ponge");
    }
}

#[test]
fn answers_come_as_they_are_ready() {
    let front = Front::start();
    let mut stream = connect(&front);
    let slow = format!("1 {}2 d7:command4:pinge", offer("slow", "alice"));
    stream.write_all(slow.as_bytes()).expect("send");
    receive(&mut stream, "2 d6:result4:ponge");
    front.calls.gate.add_permits(1);
    receive(&mut stream, "1 d6:result2:ok3:sdp16:offer 1 of alicee");
}

#[test]
fn who_stops_sending_still_gets_all_answers() {
    let front = Front::start();
    let mut stream = connect(&front);
    let slow = format!("1 {}", offer("slow", "alice"));
    stream.write_all(slow.as_bytes()).expect("send");
    stream.shutdown(Shutdown::Write).expect("shut down");
    wait_until("the offer has begun", || front.offers() == 1);
    front.calls.gate.add_permits(1);
    assert_eq!(rest(stream), "1 d6:result2:ok3:sdp16:offer 1 of alicee");
}

#[test]
fn an_answer_longer_than_a_datagram_arrives() {
    let front = Front::start();
    let mut stream = connect(&front);
    stream
        .write_all(b"1 d7:call-id4:long7:command5:querye")
        .expect("send");
    stream.shutdown(Shutdown::Write).expect("shut down");
    let answer = rest(stream);
    assert!(
        answer.len() > 65_507 && answer.ends_with("ee"),
        "{}",
        answer.len()
    );
}

#[test]
fn where_no_request_can_follow_the_connection_ends_with_the_reason() {
    let front = Front::start();
    let long = format!("1 d3:sdp70000:{}", "v".repeat(1000));
    let endless = format!("1 d1:al{}", "1:v".repeat(22_000));
    for (message, reason) in [
        ("1 hello", "Invalid NG data format"),
        ("1 d7:commandx", "Could not decode bencode dictionary"),
        (&long, "Could not decode bencode dictionary"),
        (&endless, "Could not decode bencode dictionary"),
    ] {
        let mut stream = connect(&front);
        stream.write_all(message.as_bytes()).expect("send");
        let length = reason.len();
        let answer = format!("1 d12:error-reason{length}:{reason}6:result5:errore");
        assert_eq!(rest(stream), answer, "{message:.20}");
    }
    let mut stream = connect(&front);
    stream.write_all(&[b'c'; 300]).expect("send");
    assert_eq!(rest(stream), "");
}
