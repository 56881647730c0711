// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What becomes of each command.

use sallyport_agent::ng::DeleteReply;

use crate::harness::{Front, offer};

#[test]
fn every_command_reaches_the_calls_and_comes_back() {
    let front = Front::start();
    let client = front.client();
    let offered = offer("c", "alice");
    for (request, reply) in [
        ("d7:command4:pinge", "d6:result4:ponge"),
        (&offered, "d6:result2:ok3:sdp16:offer 1 of alicee"),
        (
            "d7:call-id1:c7:command6:answer8:from-tag5:alice3:sdp3:v=06:to-tag3:bobe",
            "d6:result2:ok3:sdp13:answer of bobe",
        ),
        (
            "d7:command4:list5:limiti2ee",
            "d5:callsl6:call-06:call-1e6:result2:oke",
        ),
        (
            "d7:command6:delete7:call-id1:ce",
            "d7:createdi0e10:created_usi0e11:last signali0e6:result2:ok6:totalsd4:RTCPd5:bytesi0e\
             6:errorsi0e7:packetsi0ee3:RTPd5:bytesi0e6:errorsi0e7:packetsi0eeee",
        ),
        (
            "d7:command6:delete7:call-id1:c5:flagsl4:fastee",
            "d6:result2:oke",
        ),
        (
            "d7:command6:delete7:call-id7:unknowne",
            "d6:result2:ok7:warning38:Call-ID not found or tags didn't matche",
        ),
        (
            "{\"command\":\"query\",\"call-id\":\"unknown\"}",
            "{\"error-reason\":\"Unknown call-id\",\"result\":\"error\"}",
        ),
    ] {
        assert_eq!(client.ask(format!("1_2 {request}")), format!("1_2 {reply}"));
    }
    let query = client.ask("3 {\"command\":\"query\",\"call-id\":\"c\"}");
    assert!(
        query.starts_with("3 {\"SSRC\":{},\"created\":7,"),
        "{query}"
    );
    assert!(query.contains("\"tags\":{\"alice\":{"), "{query}");
    let statistics = client.ask("4 {\"command\":\"statistics\"}");
    assert!(statistics.contains("\"sessionstotal\":5"), "{statistics}");
}

#[test]
fn a_deletion_says_as_much_as_is_configured() {
    for (reply, has_tags, has_totals) in [
        (DeleteReply::None, false, false),
        (DeleteReply::Totals, false, true),
        (DeleteReply::Full, true, true),
    ] {
        let front = Front::start_with(|config| config.delete_reply = reply);
        let answer = front
            .client()
            .ask("1 {\"command\":\"delete\",\"call-id\":\"c\"}");
        assert_eq!(answer.contains("\"tags\""), has_tags, "{answer}");
        assert_eq!(answer.contains("\"totals\""), has_totals, "{answer}");
    }
}

#[test]
fn what_does_not_fit_in_a_datagram_is_an_error_that_says_where_to_ask() {
    let front = Front::start();
    assert_eq!(
        front
            .client()
            .ask("1 {\"command\":\"query\",\"call-id\":\"long\"}"),
        "1 {\"error-reason\":\"Reply is too long for UDP; ask over TCP or HTTP\",\
         \"result\":\"error\"}"
    );
}
