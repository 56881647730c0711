// SPDX-License-Identifier: Apache-2.0 OR MIT

//! libsrtp, one session for each stream, since a session looks its streams up in a list.

use sallyport_srtp::Suite;

use crate::case::{HOT_STREAMS, Operation, is_gcm};
use crate::contestant::Contestant;
use crate::keys::StreamKey;
use crate::peers::ffi;
use crate::pool::{PACKETS, Pool, ssrc};

const NSS: &str = "NSS";

pub(crate) struct Libsrtp {
    sessions: Vec<ffi::Session>,
    operation: Operation,
    tag_len: usize,
}

impl Libsrtp {
    /// `None` when this build of libsrtp does not have the suite.
    pub(crate) fn new(suite: Suite, operation: Operation, streams: usize) -> Option<Self> {
        // NSS looks its sessions up as well: with thousands of them it takes a millisecond a packet.
        let streams = match cipher_library() {
            NSS => streams.min(HOT_STREAMS),
            _ => streams,
        };
        let sessions = (0..streams).map(|stream| {
            let key = StreamKey::of(suite, stream).key_and_salt;
            ffi::Session::new(is_gcm(suite), suite.key_len(), &key, ssrc(stream))
        });
        Some(Self {
            sessions: sessions.collect::<Option<_>>()?,
            operation,
            tag_len: suite.rtp_tag_len(),
        })
    }
}

impl Contestant for Libsrtp {
    fn name(&self) -> &'static str {
        super::LIBSRTP
    }

    fn version(&self) -> String {
        let version = ffi::Session::version();
        let version = version.rsplit(' ').next().unwrap_or_default();
        format!("{version}, {}", cipher_library())
    }

    fn is_full(&self) -> bool {
        true
    }

    fn streams(&self) -> usize {
        self.sessions.len()
    }

    fn run(&mut self, pool: &mut Pool, _burst: usize) -> usize {
        let mut refused = 0;
        for at in 0..PACKETS {
            let len = pool.packets[at].len;
            let session = &mut self.sessions[pool.packets[at].stream];
            let packet = pool.packet(at, ffi::Session::MAX_TRAILER);
            let done = match self.operation {
                Operation::Protect => session.protect(packet, len),
                Operation::Unprotect => session.unprotect(packet, len + self.tag_len),
            };
            refused += usize::from(!done);
        }
        refused
    }
}

/// Whose ciphers this build of libsrtp uses: what the dynamic linker has loaded with it.
fn cipher_library() -> &'static str {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    if maps.contains("/libcrypto.so") {
        "OpenSSL"
    } else if maps.contains("/libnss3.so") {
        NSS
    } else {
        "its own ciphers"
    }
}
