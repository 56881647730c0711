// SPDX-License-Identifier: Apache-2.0 OR MIT

//! SIP by hand, word for word what a test wants: over UDP, one dialogue after the other, without
//! timers.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};

use sallyport_tests::{Family, Namespace, Topology, media};

use super::Suite;

/// A UDP socket that speaks SIP.
pub(crate) struct Phone {
    socket: UdpSocket,
    proxy: SocketAddr,
    requests: Cell<u32>,
    /// What has arrived: a message that is repeated is the same in every byte.
    seen: RefCell<HashSet<Vec<u8>>>,
}

/// A SIP message.
#[derive(Clone, Debug)]
pub(crate) struct Message(String);

impl Phone {
    /// At port 5060 of its host; everything goes to the proxy.
    pub(crate) fn new(host: &Namespace, address: SocketAddr, proxy: SocketAddr) -> Self {
        Self {
            socket: host.udp(address),
            proxy,
            requests: Cell::new(0),
            seen: RefCell::default(),
        }
    }

    /// Where everything goes.
    pub(crate) const fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// Sends a request: a start line, header fields with values, and a body if it is not empty.
    /// Via, Max-Forwards and the lengths are added.
    pub(crate) fn request(&self, start: &str, fields: &str, sdp: &str) {
        let from = self.socket.local_addr().expect("it is bound");
        let number = self.requests.replace(self.requests.get() + 1);
        self.send(&format!(
            "{start} SIP/2.0\r\nVia: SIP/2.0/UDP {from};rport;branch=z9hG4bK{number}\r\n\
             Max-Forwards: 70\r\n{}{}",
            lines(fields),
            body(sdp),
        ));
    }

    /// Answers a request.
    pub(crate) fn reply(&self, request: &Message, status: &str, fields: &str, sdp: &str) {
        self.reply_as("callee", request, status, fields, sdp);
    }

    /// Answers a request as one of several that it has reached.
    pub(crate) fn reply_as(
        &self,
        tag: &str,
        request: &Message,
        status: &str,
        fields: &str,
        sdp: &str,
    ) {
        let mut copied = String::new();
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in request.fields(name) {
                let is_new = name == "To" && !value.contains(";tag=");
                let tag = if is_new {
                    format!(";tag={tag}")
                } else {
                    String::new()
                };
                let _ = write!(copied, "{name}: {value}{tag}\r\n");
            }
        }
        self.send(&format!(
            "SIP/2.0 {status}\r\n{copied}{}{}",
            lines(fields),
            body(sdp)
        ));
    }

    /// The next message that starts so; others, such as 100 and repeated ones, are passed
    /// over.
    pub(crate) fn receive(&self, start: &str) -> Message {
        let mut others = Vec::new();
        while let Some(bytes) = media::receive(&self.socket) {
            if !self.seen.borrow_mut().insert(bytes.clone()) {
                continue;
            }
            let message = Message(String::from_utf8(bytes).expect("SIP is text"));
            if message.0.starts_with(start) {
                return message;
            }
            others.push(message);
        }
        panic!("no {start}, but {others:#?}");
    }

    /// Fails if anything new arrives within a moment.
    pub(crate) fn expect_nothing(&self) {
        media::expect_silence(&self.socket);
    }

    fn send(&self, text: &str) {
        self.socket
            .send_to(text.as_bytes(), self.proxy)
            .expect("the proxy is in reach");
    }
}

impl Message {
    /// One that is nothing but an SDP.
    pub(crate) fn of_sdp(sdp: &str) -> Self {
        Self(format!("\r\n\r\n{sdp}"))
    }

    /// The values of the header fields of a name, in their order.
    pub(crate) fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let (head, _) = self.parts();
        head.lines().filter_map(move |line| {
            let (key, value) = line.split_once(": ")?;
            (key == name).then_some(value)
        })
    }

    /// The values of the attributes of a name in the SDP.
    pub(crate) fn attributes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let (_, sdp) = self.parts();
        sdp.lines().filter_map(move |line| {
            line.strip_prefix("a=")?
                .strip_prefix(name)?
                .strip_prefix(':')
        })
    }

    /// The attribute with the key of a suite.
    pub(crate) fn crypto(&self, suite: Suite) -> &str {
        let mut attributes = self.attributes("crypto");
        attributes
            .find(|value| value.contains(suite.name))
            .unwrap_or_else(|| panic!("no key of {} in {}", suite.name, self.0))
    }

    /// Address, port and profile of the only audio stream.
    pub(crate) fn audio(&self) -> (SocketAddr, &str) {
        let (_, sdp) = self.parts();
        let line = |start: &str| {
            let mut lines = sdp.lines().filter_map(|line| line.strip_prefix(start));
            lines
                .next()
                .unwrap_or_else(|| panic!("no {start} in {}", self.0))
        };
        let mut media = line("m=audio ").split(' ');
        let mut word = || media.next().expect("the line has all its words");
        let (port, profile) = (word().parse(), word());
        let address = line("c=IN IP4 ").parse().expect("an address");
        (SocketAddr::new(address, port.expect("a port")), profile)
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once("\r\n\r\n").unwrap_or((&self.0, ""))
    }
}

/// The header fields of the first request of a dialogue between `ue` and `core`.
pub(crate) fn first_of_dialogue(from: &str, to: &str, call: &str, sequence: &str) -> String {
    let host = match from {
        "ue" => Topology::ue_address(Family::V4),
        _ => Topology::core_address(Family::V4),
    };
    format!(
        "From: <sip:{from}@ims.example>;tag=caller\nTo: <sip:{to}@ims.example>\n\
         Call-ID: {call}\nCSeq: {sequence}\nContact: <sip:{from}@{host}>"
    )
}

/// Those of a later request of who called, as the first request and the answer say.
pub(crate) fn in_dialogue(first: &str, answer: &Message, sequence: &str) -> String {
    let to = answer.fields("To").next().expect("every answer has one");
    let kept = first
        .lines()
        .filter(|line| line.starts_with("From") || line.starts_with("Call"));
    let mut fields: Vec<_> = kept.map(str::to_owned).collect();
    fields.push(format!("To: {to}\nCSeq: {sequence}"));
    let routes: Vec<_> = answer.fields("Record-Route").collect();
    // As its sender meets them (RFC 3261 section 12.1.2).
    fields.extend(routes.iter().rev().map(|route| format!("Route: {route}")));
    fields.join("\n")
}

/// Header fields, one a line, with the line endings of SIP.
fn lines(fields: &str) -> String {
    fields
        .lines()
        .filter(|line| !line.is_empty())
        .flat_map(|line| [line, "\r\n"])
        .collect()
}

fn body(sdp: &str) -> String {
    if sdp.is_empty() {
        return "Content-Length: 0\r\n\r\n".to_owned();
    }
    let len = sdp.len();
    format!("Content-Type: application/sdp\r\nContent-Length: {len}\r\n\r\n{sdp}")
}
