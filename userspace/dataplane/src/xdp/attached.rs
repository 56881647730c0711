// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is attached to a NIC, as the kernel tells it (`IFLA_XDP`, rtnetlink(7)).
//!
//! A link knows neither how it is attached nor, to aya, to what; the NIC knows the numbers of its
//! programs, and every program of ours is attached to one NIC only.

use std::io;

use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use super::AttachMode;

/// The numbers of the programs that are attached to a NIC.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Attached {
    native: Option<u32>,
    generic: Option<u32>,
    offloaded: Option<u32>,
}

impl Attached {
    /// Asks the kernel about the NIC of this index. None are attached to a NIC that is gone.
    pub(super) fn of(index: u32) -> io::Result<Self> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let mut request = NetlinkMessage::new(header, RouteNetlinkMessage::GetLink(request).into());
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);

        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.send(&bytes, 0)?;
        let (bytes, _) = socket.recv_from_full()?;
        let answer = NetlinkMessage::deserialize(&bytes).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                Ok(Self::from_message(&link))
            }
            NetlinkPayload::Error(error) if error.to_io().raw_os_error() == Some(libc::ENODEV) => {
                Ok(Self::default())
            }
            NetlinkPayload::Error(error) => Err(error.to_io()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The program that is attached in this mode.
    pub(super) const fn program(self, mode: AttachMode) -> Option<u32> {
        match mode {
            AttachMode::Native => self.native,
            AttachMode::Generic => self.generic,
        }
    }

    /// How a program is attached, if it is.
    pub(super) fn mode(self, program: u32) -> Option<AttachMode> {
        [AttachMode::Native, AttachMode::Generic]
            .into_iter()
            .find(|mode| self.program(*mode) == Some(program))
    }

    /// Any program that is attached.
    pub(super) fn any(self) -> Option<u32> {
        self.native.or(self.generic).or(self.offloaded)
    }

    fn from_message(link: &LinkMessage) -> Self {
        let mut attached = Self::default();
        let xdp = link
            .attributes
            .iter()
            .filter_map(|attribute| match attribute {
                LinkAttribute::Xdp(xdp) => Some(xdp),
                _ => None,
            });
        for xdp in xdp.flatten() {
            match xdp {
                LinkXdp::DrvProgId(id) => attached.native = Some(*id),
                LinkXdp::SkbProgId(id) => attached.generic = Some(*id),
                LinkXdp::HwProgId(id) => attached.offloaded = Some(*id),
                _ => {}
            }
        }
        attached
    }
}
