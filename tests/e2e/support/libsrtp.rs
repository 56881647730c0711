// SPDX-License-Identifier: Apache-2.0 OR MIT

//! libsrtp (the Debian package), driven through `peers/libsrtp_peer.c`.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

use sallyport_tests::require;

use super::compile::compile;
use super::{Key, Kind, Suite};

/// One end of an SRTP session in libsrtp: a sending key and a receiving key.
#[derive(Debug)]
pub(crate) struct Libsrtp {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Such as `libsrtp2 2.5.0`.
    pub(crate) version: String,
}

impl Libsrtp {
    /// `srtp_err_status_auth_fail`.
    pub(crate) const AUTH_FAIL: u8 = 7;

    /// Whether libsrtp and a compiler are installed.
    pub(crate) fn is_there() -> bool {
        require::program("gcc")
            && require::program("pkg-config")
            && require::file("/usr/include/srtp2/srtp.h")
    }

    pub(crate) fn new(suite: Suite, send: &Key, receive: &Key) -> Self {
        static PROGRAM: LazyLock<PathBuf> =
            LazyLock::new(|| compile("libsrtp_peer", Some("libsrtp2")));
        let mut process = Command::new(&*PROGRAM)
            .args([suite.name, &send.hex(), &receive.hex()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start libsrtp_peer");
        let requests = process.stdin.take().expect("standard input is a pipe");
        let mut answers = BufReader::new(process.stdout.take().expect("so is standard output"));
        let mut version = String::new();
        answers.read_line(&mut version).expect("libsrtp_peer lives");
        assert!(!version.is_empty(), "libsrtp_peer refused {}", suite.name);
        Self {
            process,
            requests,
            answers,
            version: version.trim_end().to_owned(),
        }
    }

    /// Encrypts and authenticates an RTP or RTCP packet.
    pub(crate) fn protect(&mut self, kind: Kind, packet: &[u8]) -> Vec<u8> {
        let operation = match kind {
            Kind::Rtp => b'p',
            Kind::Rtcp => b'P',
        };
        self.ask(operation, packet)
            .unwrap_or_else(|status| panic!("libsrtp: status {status}"))
    }

    /// Authenticates and decrypts, or returns libsrtp's status.
    pub(crate) fn unprotect(&mut self, kind: Kind, packet: &[u8]) -> Result<Vec<u8>, u8> {
        let operation = match kind {
            Kind::Rtp => b'u',
            Kind::Rtcp => b'U',
        };
        self.ask(operation, packet)
    }

    fn ask(&mut self, operation: u8, packet: &[u8]) -> Result<Vec<u8>, u8> {
        let len = u16::try_from(packet.len()).expect("a packet has fewer than 65536 bytes");
        let mut request = vec![operation];
        request.extend(len.to_be_bytes());
        request.extend(packet);
        self.requests
            .write_all(&request)
            .expect("libsrtp_peer lives");
        let mut head = [0; 3];
        self.answers
            .read_exact(&mut head)
            .expect("libsrtp_peer lives");
        let mut answer = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
        self.answers
            .read_exact(&mut answer)
            .expect("libsrtp_peer lives");
        if head[0] == 0 {
            Ok(answer)
        } else {
            Err(head[0])
        }
    }
}

impl Drop for Libsrtp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
