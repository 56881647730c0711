// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What crosses a link, as tcpdump sees it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use nix::net::if_::if_nametoindex;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sallyport_tests::cleanup::{Cleanup, temporary_folder};
use sallyport_tests::patience::wait_until;
use sallyport_tests::{Namespace, Topology};

/// A running tcpdump.
pub(crate) struct Capture {
    mark: UdpSocket,
    process: Child,
    messages: BufReader<ChildStderr>,
    file: PathBuf,
    folder: Cleanup,
}

impl Capture {
    /// Records what matches the filter of pcap-filter(7) on a peer's NIC, in both directions.
    pub(crate) fn start(peer: &Namespace, filter: &str) -> Self {
        let (path, folder) = temporary_folder("capture").expect("create a folder");
        let mark = peer.udp((Ipv6Addr::UNSPECIFIED, 0));
        let nic = peer.run(|| if_nametoindex(Topology::PEER_NIC));
        let to = SocketAddrV6::new(MARK.0, MARK.1, 0, nic.expect("every peer has one"));
        mark.connect(to).expect("multicast needs no route");
        let file = path.join("capture.pcap");
        let mut command = Command::new("tcpdump");
        command
            .args([
                "-i",
                Topology::PEER_NIC,
                "-Z",
                "root",
                "-U",
                "--immediate-mode",
            ])
            .args(["-n", "-B", "65536", "-w"])
            .arg(&file)
            .arg(format!(
                "({filter}) or (dst host {} and udp dst port {})",
                MARK.0, MARK.1
            ))
            .stderr(Stdio::piped());
        let mut process = peer.spawn(&mut command).expect("start tcpdump");
        let mut messages = BufReader::new(process.stderr.take().expect("standard error is a pipe"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            let len = messages.read_line(&mut line).expect("tcpdump lives");
            assert!(len > 0, "tcpdump did not start with the filter {filter}");
        }
        Self {
            mark,
            process,
            messages,
            file,
            folder,
        }
    }

    /// What is recorded so far.
    pub(crate) fn frames(&self) -> Vec<Vec<u8>> {
        let mut frames = parse(&fs::read(&self.file).unwrap_or_default());
        frames.retain(|frame| !is_mark(frame));
        frames
    }

    /// Ends the recording, once all that has crossed the link until now is in there.
    pub(crate) fn stop(mut self) -> Recording {
        let is_marked = wait_until(|| {
            self.mark.send(b"the end").expect("the link is up");
            let file = fs::read(&self.file).unwrap_or_default();
            parse(&file).iter().any(|frame| is_mark(frame))
        });
        assert!(is_marked, "tcpdump records nothing any more");
        let _ = kill(
            Pid::from_raw(self.process.id().cast_signed()),
            Signal::SIGINT,
        );
        let mut report = String::new();
        self.messages
            .read_to_string(&mut report)
            .expect("tcpdump's last words are text");
        self.process.wait().expect("tcpdump is our child");
        assert!(
            report.contains("0 packets dropped by kernel"),
            "tcpdump lost packets: {report}"
        );
        Recording {
            frames: self.frames(),
            file: self.file,
            _folder: self.folder,
        }
    }
}

/// What was recorded.
pub(crate) struct Recording {
    /// Ethernet frames, in their order.
    pub(crate) frames: Vec<Vec<u8>>,
    file: PathBuf,
    _folder: Cleanup,
}

impl Recording {
    /// The file in pcap format.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The UDP datagrams among the frames.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        datagrams(&self.frames)
    }
}

/// The UDP datagrams among frames.
pub(crate) fn datagrams(frames: &[Vec<u8>]) -> impl Iterator<Item = Datagram<'_>> {
    frames.iter().filter_map(|frame| datagram(frame))
}

/// What ends a recording: to all hosts of the link and the discard port, so that nobody answers.
const MARK: (Ipv6Addr, u16) = (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 9);

fn is_mark(frame: &[u8]) -> bool {
    let (ip, port) = MARK;
    datagram(frame).is_some_and(|datagram| datagram.destination == SocketAddr::from((ip, port)))
}

/// A UDP datagram.
#[derive(Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) payload: &'a [u8],
}

/// The whole frames of a pcap file in this machine's byte order (draft-ietf-opsawg-pcap section 4).
fn parse(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = file.get(24..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some((head, body)) = rest.split_at_checked(16) {
        let captured = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let Some((frame, behind)) = body.split_at_checked(captured) else {
            break;
        };
        frames.push(frame.to_vec());
        rest = behind;
    }
    frames
}

/// Ethernet without VLAN tags, IPv4 without options or IPv6 without extension headers, UDP.
fn datagram(frame: &[u8]) -> Option<Datagram<'_>> {
    let (ethernet, packet) = frame.split_at_checked(14)?;
    let (source, destination, udp) = match ethernet[12..] {
        [0x08, 0x00] => {
            let (ip, udp) = packet.split_at_checked(20)?;
            let address =
                |at: usize| Ipv4Addr::from_octets(ip[at..at + 4].try_into().expect("four bytes"));
            (ip[0] == 0x45 && ip[9] == 17).then(|| (address(12).into(), address(16).into(), udp))?
        }
        [0x86, 0xdd] => {
            let (ip, udp) = packet.split_at_checked(40)?;
            let address = |at: usize| {
                Ipv6Addr::from_octets(ip[at..at + 16].try_into().expect("sixteen bytes"))
            };
            (ip[6] == 17).then(|| (address(8).into(), address(24).into(), udp))?
        }
        _ => return None,
    };
    let (head, payload) = udp.split_at_checked(8)?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    Some(Datagram {
        source: SocketAddr::new(source, word(0)),
        destination: SocketAddr::new(destination, word(2)),
        payload: payload.get(..usize::from(word(4)).checked_sub(8)?)?,
    })
}
