// SPDX-License-Identifier: Apache-2.0 OR MIT

//! One call as a SIP proxy tells it: SRTP on the access side, RTP on the core side.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    Offer,
    Answer,
    Delete,
}

impl Command {
    pub(crate) const ALL: [Self; 3] = [Self::Offer, Self::Answer, Self::Delete];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Delete => "delete",
        }
    }
}

/// A call, by its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call(pub(crate) u64);

impl Call {
    /// The request, as Kamailio writes it, without a cookie.
    pub(crate) fn request(self, command: Command) -> String {
        let mut document = "d".to_owned();
        if let Command::Offer | Command::Answer = command {
            string(&mut document, "sdp");
            string(&mut document, &self.sdp(command));
        }
        if let Command::Offer = command {
            document.push_str("9:directionl6:access4:coree18:transport-protocol7:RTP/AVP");
        }
        let name = command.name();
        for (key, value) in [
            ("call-id", format!("call-{}", self.0)),
            ("from-tag", format!("from-{}", self.0)),
            ("to-tag", format!("to-{}", self.0)),
            ("command", name.to_owned()),
        ] {
            if key != "to-tag" || matches!(command, Command::Answer) {
                string(&mut document, key);
                string(&mut document, &value);
            }
        }
        document.push_str("8:supportsl10:load limite");
        document.push('e');
        document
    }

    /// What each side sends.
    fn sdp(self, command: Command) -> String {
        let port = 10_000 + 2 * (self.0 % 20_000);
        let (address, profile, keys) = match command {
            Command::Offer => ("192.0.2.2", "RTP/SAVP", self.keys()),
            Command::Answer | Command::Delete => ("10.0.0.2", "RTP/AVP", String::new()),
        };
        format!(
            "v=0\r\no=- {number} 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
             m=audio {port} {profile} 8 101\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n{keys}",
            number = self.0,
        )
    }

    /// A key of its own.
    fn keys(self) -> String {
        let mut key = [0x5a; 30];
        key[..8].copy_from_slice(&self.0.to_be_bytes());
        let key = STANDARD.encode(key);
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n")
    }
}

/// A bencoded string.
fn string(document: &mut String, text: &str) {
    let _ = write!(document, "{}:{text}", text.len());
}
