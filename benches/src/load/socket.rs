// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The sockets of one end of a call.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce, ReceiveTimestampns};

/// Where one end of a call receives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Endpoints {
    /// RTP.
    pub rtp: SocketAddr,
    /// RTCP; the same as RTP when multiplexed.
    pub rtcp: SocketAddr,
}

/// The sockets of one end of a call.
#[derive(Debug)]
pub struct Sockets {
    pub(super) rtp: UdpSocket,
    /// `None` when multiplexed.
    pub(super) rtcp: Option<UdpSocket>,
}

impl Sockets {
    /// Binds one socket to this port, or one to it and one to the next (RFC 3550 section 11).
    pub fn bind(address: IpAddr, port: u16, muxed: bool) -> io::Result<Self> {
        let rtp = bind(SocketAddr::new(address, port))?;
        let rtcp = if muxed {
            None
        } else {
            Some(bind(SocketAddr::new(address, port + 1))?)
        };
        Ok(Self { rtp, rtcp })
    }

    /// Where they receive.
    pub fn endpoints(&self) -> io::Result<Endpoints> {
        let rtp = self.rtp.local_addr()?;
        let rtcp = self.rtcp.as_ref().map_or(Ok(rtp), UdpSocket::local_addr)?;
        Ok(Endpoints { rtp, rtcp })
    }

    /// From now on, sends to the peer and receives from nobody else.
    pub fn connect(&self, peer: Endpoints) -> io::Result<()> {
        self.rtp.connect(peer.rtp)?;
        self.rtcp
            .as_ref()
            .map_or(Ok(()), |rtcp| rtcp.connect(peer.rtcp))
    }
}

/// What a socket may hold while its thread waits for a processor.
const RECEIVE_BUFFER: usize = 4 << 20;

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("bind {address}: {error}")))?;
    socket.set_nonblocking(true)?;
    // Beyond net.core.rmem_max only root may go.
    setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER)
        .or_else(|_| setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER))?;
    // The kernel's time of arrival does not depend on when our thread wakes.
    setsockopt(&socket, ReceiveTimestampns, &true)?;
    Ok(socket)
}
