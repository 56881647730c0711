// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Requests that come again.

use std::time::Duration;

use crate::harness::{Front, offer, wait_until};

#[test]
fn a_repeated_cookie_gets_the_same_answer_and_is_carried_out_once() {
    let front = Front::start();
    let client = front.client();
    let request = format!("1_2_3 {}", offer("c", "alice"));
    let answer = client.ask(&request);
    assert_eq!(answer, "1_2_3 d6:result2:ok3:sdp16:offer 1 of alicee");
    // Also when the client asks from another port.
    for client in [client, front.client()] {
        assert_eq!(client.ask(&request), answer);
    }
    assert_eq!(front.offers(), 1);
    front.wait_for(|control| &control.counters().repeated, 2);
}

#[test]
fn a_repetition_waits_for_the_first_to_be_carried_out() {
    let front = Front::start();
    let client = front.client();
    let request = format!("1 {}", offer("slow", "alice"));
    client.send(request.as_bytes());
    client.send(request.as_bytes());
    front.wait_for(|control| &control.counters().repeated, 1);
    assert_eq!(client.receive_within(Duration::from_millis(50)), None);
    front.calls.gate.add_permits(1);
    for _ in 0..2 {
        assert_eq!(client.receive(), "1 d6:result2:ok3:sdp16:offer 1 of alicee");
    }
    assert_eq!(front.offers(), 1);
}

#[test]
fn another_request_with_an_old_cookie_is_another_request() {
    let front = Front::start();
    let client = front.client();
    client.ask(format!("1 {}", offer("c", "alice")));
    let answer = client.ask(format!("1 {}", offer("c", "bob")));
    assert_eq!(answer, "1 d6:result2:ok3:sdp14:offer 2 of bobe");
}

#[test]
fn requests_do_not_wait_for_each_other() {
    let front = Front::start();
    let client = front.client();
    for number in 0..20 {
        client.send(format!("{number} {}", offer(&format!("slow{number}"), "a")).as_bytes());
    }
    wait_until("all offers have begun", || front.offers() == 20);
    assert_eq!(
        client.ask("ping d7:command4:pinge"),
        "ping d6:result4:ponge"
    );
    front.calls.gate.add_permits(20);
    let mut cookies: Vec<u32> = (0..20)
        .map(|_| {
            client
                .receive()
                .split(' ')
                .next()
                .expect("a cookie")
                .parse()
                .expect("a number")
        })
        .collect();
    cookies.sort_unstable();
    assert!(cookies.into_iter().eq(0..20));
}
