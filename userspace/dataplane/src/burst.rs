// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The packets that one worker took at once, and what has been found out about each.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use arrayvec::ArrayVec;
use sallyport_flow::Reason;
use sallyport_srtp::Kind;

use crate::flow_table::Slot;
use crate::xdp::NicId;
use crate::xsk::{Frame, Received};

/// The most packets in a burst.
pub const MAX_BURST: usize = 64;

/// The packets that one worker took at once, in the order of their arrival.
pub type Burst = ArrayVec<Packet, MAX_BURST>;

/// One packet on its way through the stages.
#[derive(Debug)]
pub struct Packet {
    /// The memory it is in.
    pub frame: Frame,
    /// Where what the current stage calls the packet starts in the frame: the Ethernet frame at
    /// first and at last, the UDP payload between classify and rewrite.
    pub start: usize,
    /// How many bytes that has.
    pub len: usize,
    /// The NIC it is at: the one it arrived on, after rewrite the one it leaves on.
    pub nic: NicId,
    /// Its flow, once classified.
    pub flow: Slot,
    /// Its sender, once classified.
    pub source: SocketAddr,
    /// RTP or RTCP, once classified.
    pub kind: Kind,
    /// Its synchronisation source, once admitted.
    pub ssrc: u32,
    /// Type of service or traffic class that it arrived with, once classified.
    pub traffic_class: u8,
    /// How often it has come back.
    pub returns: u8,
    /// What becomes of it.
    pub fate: Fate,
    /// Bytes of UDP payload with which it leaves, once rewritten.
    pub payload_len: usize,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It goes on to the next stage, and leaves after the last.
    Onward,
    /// It does not leave.
    Refused(Reason),
    /// Its flow belongs to another worker, which gets it.
    HandedOver(u32),
    /// It goes to a media address of our own, and has to be processed as if it had arrived there.
    Returned,
}

impl Packet {
    /// How often a packet may come back. Once is what a call needs that passes the gateway twice, as
    /// that from one UE to another does when the core brings it back; flows that lead to each other
    /// would never let go of a packet.
    pub const MAX_RETURNS: u8 = 4;

    /// A packet as a socket gave it.
    #[inline]
    pub fn new(received: Received, nic: NicId) -> Self {
        Self {
            frame: received.frame,
            start: received.start,
            len: received.len,
            nic,
            flow: Slot::NONE,
            source: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            kind: Kind::Rtp,
            ssrc: 0,
            traffic_class: 0,
            returns: 0,
            fate: Fate::Onward,
            payload_len: 0,
        }
    }

    /// The bytes that the current stage calls the packet.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // A frame always holds its packet; an empty slice would be refused as malformed.
        self.frame
            .bytes()
            .get(self.start..self.start + self.len)
            .unwrap_or_default()
    }

    /// Whether it still goes on.
    #[inline]
    pub fn goes_on(&self) -> bool {
        self.fate == Fate::Onward
    }

    /// Starts its way again where it was sent to: nothing of before counts any more.
    pub const fn come_back(&mut self) {
        self.returns += 1;
        self.flow = Slot::NONE;
        self.fate = Fate::Onward;
    }

    /// Ends its way here.
    #[inline]
    pub const fn refuse(&mut self, reason: Reason) {
        self.fate = Fate::Refused(reason);
    }
}
