// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A SIP proxy that speaks ng with the gateway, for one call between `ue` and `core`.

use std::net::{IpAddr, SocketAddr};

use sallyport_tests::Topology;
use serde_json::{Value, json};

use super::Ng;

/// A SIP proxy, and its call.
pub(crate) struct Proxy {
    ng: Ng,
    call_id: &'static str,
}

impl Proxy {
    /// One beside the gateway.
    pub(crate) fn new(topology: &Topology, call_id: &'static str) -> Self {
        Self {
            ng: Ng::new(topology),
            call_id,
        }
    }

    /// Passes on an offer; who answers is known in a second one. Returns the SDP for who answers.
    pub(crate) fn offer(&self, [from, to]: [&str; 2], sdp: &str, options: Value) -> String {
        self.exchange(
            "offer",
            from,
            Some(to).filter(|to| !to.is_empty()),
            sdp,
            options,
        )
    }

    /// Passes on an answer. Returns the SDP for who made the offer.
    pub(crate) fn answer(&self, [from, to]: [&str; 2], sdp: &str, options: Value) -> String {
        self.exchange("answer", from, Some(to), sdp, options)
    }

    /// What is known of the call.
    pub(crate) fn query(&self) -> Value {
        self.ng
            .ask(&json!({ "command": "query", "call-id": self.call_id }))
    }

    fn exchange(
        &self,
        command: &str,
        from: &str,
        to: Option<&str>,
        sdp: &str,
        mut request: Value,
    ) -> String {
        for (key, value) in [
            ("command", command),
            ("call-id", self.call_id),
            ("from-tag", from),
            ("sdp", sdp),
        ] {
            request[key] = json!(value);
        }
        if let Some(to) = to {
            request["to-tag"] = json!(to);
        }
        let reply = self.ng.ask(&request);
        let sdp = reply["sdp"].as_str();
        sdp.unwrap_or_else(|| panic!("{request}: {reply}"))
            .to_owned()
    }
}

/// What one end says of itself: where it is, its profile, and further lines.
pub(crate) fn sdp(at: SocketAddr, profile: &str, lines: &str) -> String {
    let (ip, port) = (at.ip(), at.port());
    let version = if ip.is_ipv4() { 4 } else { 6 };
    format!(
        "v=0\r\no=- 1 1 IN IP{version} {ip}\r\ns=-\r\nc=IN IP{version} {ip}\r\nt=0 0\r\n\
         m=audio {port} {profile} 8\r\n{lines}"
    )
}

/// Where an SDP leads the media of its first medium, as the gateway describes a leg over HTTP.
pub(crate) fn leg(sdp: &str) -> Value {
    let behind = |start: &str| {
        let mut lines = sdp.lines().filter_map(|line| line.strip_prefix(start));
        lines
            .next()
            .unwrap_or_else(|| panic!("no {start} in {sdp}"))
    };
    let (_, ip) = behind("c=IN IP").split_once(' ').expect("an address");
    let ip: IpAddr = ip.parse().expect("an address");
    let port = behind("m=audio ").split(' ').next().unwrap_or_default();
    let port: u16 = port.parse().expect("a port");
    let at = |port| SocketAddr::new(ip, port).to_string();
    json!({ "local": at(port), "local_rtcp": at(port + 1) })
}
