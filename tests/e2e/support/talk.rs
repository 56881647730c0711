// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Two who talk through the gateway, a packet at a time: SRTP of libsrtp on the access side, RTP on
//! the core side.

use std::net::{SocketAddr, UdpSocket};

use sallyport_tests::{Namespace, media};

use super::phone::Message;
use super::{Key, Kind, Libsrtp, Suite};

/// A UE and who it talks to.
pub(crate) struct Talk {
    ue: UdpSocket,
    core: UdpSocket,
    libsrtp: Libsrtp,
    number: u32,
}

impl Talk {
    /// The UE sends with the first key and receives with the second.
    pub(crate) fn new(
        ue: (&Namespace, SocketAddr),
        core: (&Namespace, SocketAddr),
        suite: Suite,
        keys: [&Key; 2],
    ) -> Self {
        let socket = |(host, address): (&Namespace, SocketAddr)| host.udp(address);
        Self {
            ue: socket(ue),
            core: socket(core),
            libsrtp: Libsrtp::new(suite, keys[0], keys[1]),
            number: 0,
        }
    }

    /// The same UE, and another one of those that its offer has reached.
    pub(crate) fn fork(
        &self,
        core: (&Namespace, SocketAddr),
        suite: Suite,
        keys: [&Key; 2],
    ) -> Self {
        let (host, address) = core;
        Self {
            ue: self
                .ue
                .try_clone()
                .expect("there are file descriptors left"),
            core: host.udp(address),
            libsrtp: Libsrtp::new(suite, keys[0], keys[1]),
            number: 1000 + self.number,
        }
    }

    /// Both send where the SDP that each got says.
    pub(crate) fn connect(&self, to_ue: &Message, to_core: &Message) {
        for (socket, message) in [(&self.ue, to_ue), (&self.core, to_core)] {
            let gateway = message.audio().0;
            socket.connect(gateway).expect("the gateway is in reach");
        }
    }

    /// Fails unless so many packets cross in each direction.
    pub(crate) fn cross(&mut self, packets: u32) {
        for _ in 0..packets {
            assert!(self.up(), "nothing arrives in the core");
            assert!(self.down(), "nothing arrives at the UE");
        }
    }

    /// Whether a packet of the UE arrives in the core.
    pub(crate) fn up(&mut self) -> bool {
        let packet = self.next();
        let srtp = self.libsrtp.protect(Kind::Rtp, &packet);
        self.ue.send(&srtp).expect("no ICMP error");
        let received = media::receive(&self.core);
        received
            .inspect(|rtp| media::expect_same(&packet, rtp))
            .is_some()
    }

    /// Whether a packet of the core arrives at the UE.
    pub(crate) fn down(&mut self) -> bool {
        let packet = self.next();
        self.core.send(&packet).expect("no ICMP error");
        let Some(srtp) = media::receive(&self.ue) else {
            return false;
        };
        let rtp = self.libsrtp.unprotect(Kind::Rtp, &srtp);
        media::expect_same(&packet, &rtp.expect("it authenticates"));
        true
    }

    /// Fails if a packet of the core arrives at the UE.
    pub(crate) fn expect_unheard(&mut self) {
        let packet = self.next();
        self.core.send(&packet).expect("no ICMP error");
        media::expect_silence(&self.ue);
    }

    /// Others have sent so many packets meanwhile.
    pub(crate) const fn skip(&mut self, packets: u32) {
        self.number += packets;
    }

    /// Where the core's media is.
    pub(crate) fn core_port(&self) -> u16 {
        self.core.local_addr().expect("it is bound").port()
    }

    pub(crate) fn version(&self) -> &str {
        &self.libsrtp.version
    }

    fn next(&mut self) -> Vec<u8> {
        self.number += 1;
        media::numbered_rtp(0x7461_6c6b, self.number, 160)
    }
}
