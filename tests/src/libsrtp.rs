// SPDX-License-Identifier: Apache-2.0 OR MIT

//! libsrtp (the Debian package), driven through `peers/libsrtp_peer.c`.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::require;

/// One end of an SRTP session in libsrtp: a sending key and a receiving key.
#[derive(Debug)]
pub struct Libsrtp {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Such as `libsrtp2 2.5.0`.
    pub version: String,
}

impl Libsrtp {
    /// `srtp_err_status_auth_fail`.
    pub const AUTH_FAIL: u8 = 7;

    /// Whether libsrtp and a compiler are installed.
    pub fn is_there() -> bool {
        require::program("gcc")
            && require::program("pkg-config")
            && require::file("/usr/include/srtp2/srtp.h")
    }

    /// Starts `peers/libsrtp_peer.c`, compiled, with arguments that it explains itself; `None` when
    /// this build of libsrtp cannot do what they ask for.
    ///
    /// # Panics
    ///
    /// If the arguments are wrong.
    pub fn start<'a>(program: &Path, args: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut process = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start libsrtp_peer");
        let requests = process.stdin.take().expect("standard input is a pipe");
        let mut answers = BufReader::new(process.stdout.take().expect("so is standard output"));
        let mut version = String::new();
        answers.read_line(&mut version).expect("libsrtp_peer lives");
        if version.is_empty() {
            let status = process.wait().expect("it is a child");
            assert_eq!(status.code(), Some(3), "libsrtp_peer says why");
            return None;
        }
        Some(Self {
            process,
            requests,
            answers,
            version: version.trim_end().to_owned(),
        })
    }

    /// Sends a request; libsrtp's packet, or its status if that is not success.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub fn ask(&mut self, operation: u8, packet: &[u8]) -> Result<Vec<u8>, u8> {
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
