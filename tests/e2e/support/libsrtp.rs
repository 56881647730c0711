// SPDX-License-Identifier: Apache-2.0 OR MIT

//! libsrtp in the place of user equipment.

use std::path::PathBuf;
use std::sync::LazyLock;

use sallyport_tests::compile::compile;
use sallyport_tests::libsrtp;

use super::{Key, Kind, Suite};

/// One end of an SRTP session in libsrtp: a sending key and a receiving key.
#[derive(Debug)]
pub(crate) struct Libsrtp {
    peer: libsrtp::Libsrtp,
    /// Such as `libsrtp2 2.5.0`.
    pub(crate) version: String,
}

impl Libsrtp {
    pub(crate) const AUTH_FAIL: u8 = libsrtp::Libsrtp::AUTH_FAIL;

    /// Whether libsrtp and a compiler are installed.
    pub(crate) fn is_there() -> bool {
        libsrtp::Libsrtp::is_there()
    }

    pub(crate) fn new(suite: Suite, send: &Key, receive: &Key) -> Self {
        Self::start(suite, send, receive, None)
    }

    /// One that sends under a key with a name: four bytes with this number.
    pub(crate) fn with_mki(suite: Suite, send: &Key, mki: u32) -> Self {
        // What it receives under does not matter.
        Self::start(suite, send, send, Some(&format!("mki={mki:08x}")))
    }

    fn start(suite: Suite, send: &Key, receive: &Key, option: Option<&str>) -> Self {
        static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
            compile(
                env!("CARGO_TARGET_TMPDIR"),
                "libsrtp_peer",
                Some("libsrtp2"),
            )
        });
        let (send, receive) = (send.hex(), receive.hex());
        let args = [suite.name, &send, &receive].into_iter().chain(option);
        let peer = libsrtp::Libsrtp::start(&PROGRAM, args);
        let peer = peer.expect("libsrtp has what every gateway offers");
        Self {
            version: peer.version.clone(),
            peer,
        }
    }

    /// Encrypts and authenticates an RTP or RTCP packet.
    pub(crate) fn protect(&mut self, kind: Kind, packet: &[u8]) -> Vec<u8> {
        let operation = match kind {
            Kind::Rtp => b'p',
            Kind::Rtcp => b'P',
        };
        self.peer
            .ask(operation, packet)
            .unwrap_or_else(|status| panic!("libsrtp: status {status}"))
    }

    /// Authenticates and decrypts, or returns libsrtp's status.
    pub(crate) fn unprotect(&mut self, kind: Kind, packet: &[u8]) -> Result<Vec<u8>, u8> {
        let operation = match kind {
            Kind::Rtp => b'u',
            Kind::Rtcp => b'U',
        };
        self.peer.ask(operation, packet)
    }
}
