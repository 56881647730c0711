// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Requests that are refused, and why.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::harness::{Front, offer};

#[test]
fn a_limit_is_answered_as_the_client_knows_it() {
    let front = Front::start();
    let client = front.client();
    let knowing = offer("full", "alice");
    let unknowing = knowing.replace("8:supportsl10:load limite", "");
    for (request, reply) in [
        (
            knowing.as_str(),
            "d7:message30:Parallel session limit reached6:result10:load limite",
        ),
        (
            &unknowing,
            "d12:error-reason30:Parallel session limit reached6:result5:errore",
        ),
        (
            &offer("no-ports", "alice"),
            "d12:error-reason16:Ran out of ports6:result5:errore",
        ),
        (
            &offer("no-sdp", "alice"),
            "d12:error-reason19:Failed to parse SDP6:result5:errore",
        ),
    ] {
        assert_eq!(client.ask(format!("1 {request}")), format!("1 {reply}"));
    }
}

#[test]
fn a_front_end_that_drains_refuses_new_calls_and_serves_old_ones() {
    let front = Front::start();
    let client = front.client();
    front.control.drain(true);
    assert!(front.control.is_draining());
    assert_eq!(
        client.ask(format!("1 {}", offer("new", "alice"))),
        "1 d7:message19:Load limit exceeded6:result10:load limite"
    );
    assert_eq!(front.offers(), 0);
    assert_eq!(
        client.ask(format!("2 {}", offer("old", "alice"))),
        "2 d6:result2:ok3:sdp16:offer 1 of alicee"
    );
    assert_eq!(client.ask("3 d7:command4:pinge"), "3 d6:result4:ponge");
    front.control.drain(false);
    assert!(
        client
            .ask(format!("4 {}", offer("new", "alice")))
            .contains("offer 2")
    );
    assert_eq!(front.control.counters().limited.load(Ordering::Relaxed), 1);
}

#[test]
fn nonsense_is_answered_in_words_and_without_a_cookie_not_at_all() {
    let front = Front::start();
    let client = front.client();
    for (message, reply) in [
        (
            "1 ",
            "d12:error-reason25:Invalid data (no payload)6:result5:errore",
        ),
        (
            "1 hello",
            "d12:error-reason22:Invalid NG data format6:result5:errore",
        ),
        (
            "1 d7:comm",
            "d12:error-reason35:Could not decode bencode dictionary6:result5:errore",
        ),
        (
            "1 {\"command\":",
            "{\"error-reason\":\"Failed to parse JSON document\",\"result\":\"error\"}",
        ),
        (
            "1 d7:command5:dancee",
            "d12:error-reason20:Unrecognized command6:result5:errore",
        ),
    ] {
        assert_eq!(client.ask(message), format!("1 {reply}"));
    }
    for message in ["", "hello", " d7:command4:pinge"] {
        client.send(message.as_bytes());
    }
    assert_eq!(client.receive_within(Duration::from_millis(100)), None);
    front.wait_for(|control| &control.counters().without_cookie, 3);
}

#[test]
fn a_request_that_breaks_the_calls_breaks_no_other() {
    let front = Front::start();
    let client = front.client();
    client.send(format!("1 {}", offer("panic", "alice")).as_bytes());
    assert_eq!(client.receive_within(Duration::from_millis(100)), None);
    assert!(
        client
            .ask(format!("2 {}", offer("c", "alice")))
            .contains("offer 2")
    );
}

#[test]
fn options_that_are_left_out_are_counted() {
    let front = Front::start();
    let request = offer("c", "alice").replace(
        "8:supports",
        "5:flagsl10:frobnicate9:transcodee3:TOS4:high8:supports",
    );
    assert!(front.client().ask(format!("1 {request}")).contains("2:ok"));
    let counters = front.control.counters();
    for counter in [
        &counters.unknown_options,
        &counters.unsupported_options,
        &counters.bad_options,
    ] {
        assert_eq!(counter.load(Ordering::Relaxed), 1);
    }
}
