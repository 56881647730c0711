// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A call across the gateway with a socket of ours at both ends.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};
use sallyport_tests::patience::{PATIENCE, SILENCE, wait_until};
use sallyport_tests::{Family, Gateway, Namespace, Session, Topology, media};
use serde_json::{Value, json};

use super::accounts::total;
use super::{Key, Libsrtp, Suite};

/// RTP or RTCP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Rtp,
    Rtcp,
}

/// What the two sides agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) suite: Suite,
    pub(crate) family: Family,
    /// RTP and RTCP of the access leg share one port.
    pub(crate) mux: bool,
    /// The gateway learns the address of the user equipment from its packets.
    pub(crate) latch: bool,
    /// The even port of both ends; RTCP has the next one.
    pub(crate) port: u16,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            suite: Suite::CM_80,
            family: Family::V4,
            mux: false,
            latch: false,
            port: 5000,
        }
    }
}

impl Terms {
    /// Where the user equipment is.
    pub(crate) fn ue(self) -> SocketAddr {
        SocketAddr::new(Topology::ue_address(self.family), self.port)
    }

    /// Where the core network's end is.
    pub(crate) fn core(self) -> SocketAddr {
        SocketAddr::new(Topology::core_address(self.family), self.port)
    }

    /// What the user equipment protects with.
    pub(crate) fn up(self) -> Key {
        self.suite.key(self.port.into())
    }

    /// What the user equipment unprotects with.
    pub(crate) fn down(self) -> Key {
        self.suite.key(u32::from(self.port) + 1)
    }

    /// The request for such a session.
    pub(crate) fn offer(self) -> Value {
        let mut offer = json!({
            "access": {
                "profile": "RTP/SAVP",
                "remote": self.ue().to_string(),
                "rtcp_mux": self.mux,
                "suite": self.suite.name,
                "receive": self.up().inline(),
                "send": self.down().inline(),
            },
            "core": { "profile": "RTP/AVP", "remote": self.core().to_string() },
        });
        if self.latch {
            offer["access"]["remote"] = json!("any");
            // Then nothing else says which IP version the user equipment has.
            let address = Topology::access_address(self.family);
            offer["access"]["address"] = json!(address.to_string());
        }
        offer
    }
}

/// A session of the gateway, and both peers.
pub(crate) struct Call<'a> {
    gateway: &'a Gateway<'a>,
    pub(crate) id: String,
    pub(crate) terms: Terms,
    /// The user equipment: SRTP and SRTCP.
    pub(crate) ue: End,
    /// The core network: RTP and RTCP.
    pub(crate) core: End,
}

impl<'a> Call<'a> {
    pub(crate) fn new(topology: &Topology, gateway: &'a Gateway<'a>, terms: Terms) -> Self {
        let Session { id, description } = gateway.create_session(&terms.offer());
        Self {
            gateway,
            id,
            terms,
            ue: End::new(&topology.ue, terms.ue(), terms.mux, &description["access"]),
            core: End::new(&topology.core, terms.core(), false, &description["core"]),
        }
    }

    /// libsrtp with the keys of the user equipment.
    pub(crate) fn libsrtp(&self) -> Libsrtp {
        Libsrtp::new(self.terms.suite, &self.terms.up(), &self.terms.down())
    }

    /// Lets the gateway learn where the user equipment is, and waits until it has found the way there:
    /// what the core sends meanwhile has none.
    pub(crate) fn latch(&self, libsrtp: &mut Libsrtp) {
        for kind in [Kind::Rtp, Kind::Rtcp] {
            let mut numbers = 0..;
            let mut next = || {
                let number = numbers.next().expect("it has no end");
                match kind {
                    Kind::Rtp => media::numbered_rtp(LATCHING, number, 160),
                    Kind::Rtcp => media::sender_report(LATCHING, number, 1, 160),
                }
            };
            let up = next();
            self.ue.send(kind, &libsrtp.protect(kind, &up));
            assert_eq!(self.core.receive(kind), Some(up), "{:?}", self.terms);
            let is_heard = wait_until(|| {
                let down = next();
                self.core.send(kind, &down);
                let last = media::receive_last(self.ue.socket(kind));
                last.is_some_and(|srtp| libsrtp.unprotect(kind, &srtp) == Ok(down))
            });
            assert!(is_heard, "{:?}: nobody hears the core", self.terms);
        }
    }

    /// Waits until so many packets of one direction were refused for these reasons together.
    pub(crate) fn expect_refused(&self, direction: &str, reasons: &[&str], count: u64) {
        let refused = || -> u64 {
            let counts = reasons.iter().map(|reason| self.refused(direction, reason));
            counts.sum()
        };
        let is_so = wait_until(|| refused() >= count) && refused() == count;
        assert!(
            is_so,
            "{:?}: {count} should be refused: {reasons:?}: {}",
            self.terms,
            self.counters(direction)
        );
    }

    /// The counters of one direction, `access_to_core` or `core_to_access`.
    pub(crate) fn counters(&self, direction: &str) -> Value {
        self.gateway.show(&self.id)["counters"][direction].clone()
    }

    /// The packets of one direction that arrived, and those that left.
    pub(crate) fn packets(&self, direction: &str) -> (u64, u64) {
        let counters = self.counters(direction);
        let count = |name: &str| {
            counters[name]
                .as_u64()
                .unwrap_or_else(|| panic!("no {name} in {counters}"))
        };
        (count("packets_in"), count("packets_out"))
    }

    /// How many packets of one direction were refused for this reason.
    pub(crate) fn refused(&self, direction: &str, reason: &str) -> u64 {
        self.counters(direction)["refused"][reason]
            .as_u64()
            .unwrap_or(0)
    }

    /// How many packets of one direction were refused at all.
    pub(crate) fn refused_total(&self, direction: &str) -> u64 {
        total(&self.counters(direction)["refused"])
    }
}

/// One end of a call.
#[derive(Debug)]
pub(crate) struct End {
    rtp: UdpSocket,
    /// `None` when RTP and RTCP share a port.
    rtcp: Option<UdpSocket>,
}

impl End {
    /// Sockets at this address that speak with a leg of the gateway, as it described the leg.
    pub(crate) fn new(host: &Namespace, address: SocketAddr, mux: bool, leg: &Value) -> Self {
        let socket = |port, gateway| {
            let socket = host.udp((address.ip(), port));
            // Packets of another call may wait long while many tests share two processors.
            let _ = setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20));
            socket
                .connect(local(leg, gateway))
                .expect("the gateway is in reach");
            socket
        };
        Self {
            rtp: socket(address.port(), "local"),
            rtcp: (!mux).then(|| socket(address.port() + 1, "local_rtcp")),
        }
    }

    pub(crate) fn socket(&self, kind: Kind) -> &UdpSocket {
        match kind {
            Kind::Rtp => &self.rtp,
            Kind::Rtcp => self.rtcp.as_ref().unwrap_or(&self.rtp),
        }
    }

    /// The gateway's address and port, as this end sees it.
    pub(crate) fn gateway(&self, kind: Kind) -> SocketAddr {
        self.socket(kind)
            .peer_addr()
            .expect("the socket is connected")
    }

    pub(crate) fn send(&self, kind: Kind, packet: &[u8]) {
        if let Err(error) = self.socket(kind).send(packet) {
            panic!(
                "send {} bytes of {kind:?}: {}",
                packet.len(),
                explain(&error)
            );
        }
    }

    /// The next packet, or `None` if none comes within [`PATIENCE`]. Packets from anywhere but the
    /// gateway's port do not count.
    pub(crate) fn receive(&self, kind: Kind) -> Option<Vec<u8>> {
        receive(self.socket(kind))
    }

    /// Fails if anything arrives within [`SILENCE`].
    pub(crate) fn expect_silence(&self) {
        for socket in [Some(&self.rtp), self.rtcp.as_ref()].into_iter().flatten() {
            socket
                .set_read_timeout(Some(SILENCE))
                .expect("the timeout is not zero");
            if let Some(packet) = receive(socket) {
                panic!("nothing should have arrived, but {packet:02x?} did");
            }
            socket
                .set_read_timeout(Some(PATIENCE))
                .expect("the timeout is not zero");
        }
    }
}

/// The next datagram of a connected socket, or `None` once its read timeout is over.
///
/// An ICMP port unreachable from the gateway shows here, and fails the test: at a real peer it
/// would end the call.
pub(crate) fn receive(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 2048];
    loop {
        match socket.recv(&mut buffer) {
            Ok(len) => return Some(buffer[..len].to_vec()),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return None,
                ErrorKind::Interrupted => {}
                _ => panic!("receive on {:?}: {}", socket.local_addr(), explain(&error)),
            },
        }
    }
}

/// Whose packets latch.
const LATCHING: u32 = 0x1a7c_41d6;

fn explain(error: &std::io::Error) -> String {
    if error.kind() == ErrorKind::ConnectionRefused {
        "the gateway answered with an ICMP port unreachable".to_owned()
    } else {
        error.to_string()
    }
}

/// An address in the gateway's description of a leg.
pub(crate) fn local(leg: &Value, name: &str) -> SocketAddr {
    leg[name]
        .as_str()
        .and_then(|address| address.parse().ok())
        .unwrap_or_else(|| panic!("the leg has no {name}: {leg}"))
}
