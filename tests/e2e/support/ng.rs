// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A client of the ng protocol, as a SIP proxy is one.

use std::cell::Cell;
use std::net::{Ipv4Addr, UdpSocket};

use sallyport_tests::Topology;
use serde_json::{Value, json};

/// Speaks JSON over UDP from the gateway's host.
pub(crate) struct Ng {
    socket: UdpSocket,
    cookie: Cell<u32>,
}

impl Ng {
    pub(crate) fn new(topology: &Topology) -> Self {
        let socket = topology.gateway.udp((Ipv4Addr::LOCALHOST, 0));
        socket
            .connect((Ipv4Addr::LOCALHOST, 2223))
            .expect("it is an address");
        Self {
            socket,
            cookie: Cell::new(0),
        }
    }

    /// Asks for something; whatever the answer, it is returned.
    pub(crate) fn ask(&self, request: &Value) -> Value {
        self.cookie.set(self.cookie.get() + 1);
        let cookie = self.cookie.get().to_string();
        let message = format!("{cookie} {request}");
        self.socket.send(message.as_bytes()).expect("ng listens");
        let mut buffer = vec![0; 1 << 16];
        let len = self.socket.recv(&mut buffer).expect("ng answers");
        let answer = std::str::from_utf8(&buffer[..len]).expect("JSON is text");
        let body = answer.strip_prefix(&cookie).expect("the cookie comes back");
        serde_json::from_str(body).expect("the answer is JSON")
    }

    /// Sends an offer or an answer of a call, with `options`. Returns the SDP for the other side.
    pub(crate) fn rewrite(&self, command: &str, call: &str, sdp: &str, options: &Value) -> String {
        let answer = self.ask(&request(command, call, sdp, options));
        let sdp = answer["sdp"].as_str();
        sdp.unwrap_or_else(|| panic!("{command}: {answer}"))
            .to_owned()
    }
}

/// A request about a call between `a` and `b`.
pub(crate) fn request(command: &str, call: &str, sdp: &str, options: &Value) -> Value {
    let mut request = json!({
        "command": command,
        "call-id": call,
        "from-tag": "a",
        "sdp": sdp,
    });
    if command == "answer" {
        request["to-tag"] = json!("b");
    }
    for (key, value) in options.as_object().into_iter().flatten() {
        request[key] = value.clone();
    }
    request
}
