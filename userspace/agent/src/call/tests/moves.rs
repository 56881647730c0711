// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Ports that move, or would have.

use super::*;

fn over_ipv6() -> Sdp {
    let text = srtp().write().replace("IP4 192.0.2.7", "IP6 2001:db8::7");
    Sdp::parse(text.as_bytes()).unwrap()
}

/// An offer of the UE in a call that is set up.
fn of_ue(sdp: Sdp) -> Offer {
    offer(tags("ue", Some("as"), None), sdp, "RTP/AVP")
}

fn locals(played: &Played) -> [SocketAddr; 2] {
    let streams = played.call.streams();
    streams[0].legs.each_ref().map(|leg| leg.local.rtp)
}

#[test]
fn ports_of_an_offer_that_was_refused_are_not_those_of_the_next() {
    for next in [
        of_ue(srtp()),
        offer(tags("as", Some("ue"), None), rtp(), "RTP/SAVP"),
    ] {
        let mut played = Played::set_up();
        let (before, held) = (locals(&played), played.call.ports());
        played.offer(&of_ue(over_ipv6()), 10).unwrap();
        assert_eq!(played.call.ports().len(), held.len() + 1);
        // 488, of which nobody tells us.
        let offered = played.offer(&next, 100).unwrap();
        let by_ue = next.tags.from == "ue";
        let answered = answer(next.tags, if by_ue { rtp() } else { taken_of(&offered) });
        played.answer(&answered, 101).unwrap();
        assert_eq!(locals(&played), before);
        assert_eq!(played.call.ports(), held);
    }
}

#[test]
fn who_moves_on_and_on_does_not_run_out_of_flows() {
    let mut played = Played::set_up();
    let mut before = locals(&played);
    for at in 0..300_u16 {
        let text = srtp().write().replace("5004", &(6000 + 2 * at).to_string());
        let mut moved = of_ue(Sdp::parse(text.as_bytes()).unwrap());
        moved.moves_ports = true;
        let slot = played.call.streams()[0].slot;
        played.offer(&moved, 10).unwrap();
        played.answer(&answer(moved.tags, rtp()), 10).unwrap();
        let after = locals(&played);
        assert_ne!(after[0], before[0]);
        assert_ne!(played.call.streams()[0].slot, slot, "other flows");
        before = after;
    }
}
