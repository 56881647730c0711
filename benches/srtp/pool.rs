// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The packets that all contestants work on, one contestant after the other.

use sallyport_srtp::{HEADROOM, MAX_BURST, MAX_GROWTH, TAILROOM};

use crate::case::{Case, HOT_STREAMS, MAX_PAYLOAD, Payload};
use crate::random::Random;

/// Packets of a pool, which are processed in one pass.
pub(crate) const PACKETS: usize = MAX_BURST;

/// From one frame to the next, in bytes: no power of two, so that frames use all cache sets.
pub(crate) const STRIDE: usize = 2304;

/// Where a packet starts in its frame: behind Ethernet, IPv4 and UDP, as it would on a NIC, but at
/// a multiple of four, which libsrtp asks for.
pub(crate) const START: usize = HEADROOM + 44;

/// Length of the RTP header, in bytes.
pub(crate) const HEADER: usize = 12;

const _: () = assert!(START + HEADER + MAX_PAYLOAD + MAX_GROWTH + TAILROOM <= STRIDE);

/// Room for one packet. Starts on a cache line, as frames of a UMEM do.
#[derive(Clone)]
#[repr(align(64))]
pub(crate) struct Frame(pub(crate) [u8; STRIDE]);

/// One packet, in the frame of the same number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Packet {
    pub(crate) stream: usize,
    /// Length of header and payload, in bytes.
    pub(crate) len: usize,
    /// The SRTP index, whose lower 16 bits are in the header.
    pub(crate) index: u64,
}

/// Frames and what is in them.
pub(crate) struct Pool {
    /// As many as packets.
    pub(crate) frames: Vec<Frame>,
    pub(crate) packets: [Packet; PACKETS],
}

impl Pool {
    /// Frames without packets.
    pub(crate) fn new() -> Self {
        let mut random = Random::new(1);
        let mut frames = vec![Frame([0; STRIDE]); PACKETS];
        for frame in &mut frames {
            frame.0.fill_with(|| random.below(256).to_le_bytes()[0]);
        }
        Self {
            frames,
            packets: [Packet::default(); PACKETS],
        }
    }

    /// Turns the frames into RTP packets, each with the next index of its stream. What their
    /// payloads were before becomes their payloads.
    pub(crate) fn draw(&mut self, case: &Case, random: &mut Random, next: &mut [u64]) {
        for at in 0..PACKETS {
            let stream = if case.streams == HOT_STREAMS {
                at
            } else {
                random.below(case.streams)
            };
            let payload = match case.payload {
                Payload::Bytes(bytes) => bytes,
                Payload::Mix => [160, 1200][random.below(2)],
                Payload::Random => 20 + random.below(1181),
            };
            self.put(at, stream, payload, next);
        }
    }

    /// Turns one frame into an RTP packet.
    pub(crate) fn put(&mut self, at: usize, stream: usize, payload: usize, next: &mut [u64]) {
        let index = next[stream];
        next[stream] += 1;
        self.packets[at] = Packet {
            stream,
            len: HEADER + payload,
            index,
        };
        let [.., high, low] = index.to_be_bytes();
        let header = &mut self.frames[at].0[START..][..HEADER];
        header[..8].copy_from_slice(&[0x80, 0x60, high, low, 0, 0, high, low]);
        header[8..].copy_from_slice(&ssrc(stream).to_be_bytes());
    }

    /// A packet, and `more` bytes behind it.
    pub(crate) fn packet(&mut self, at: usize, more: usize) -> &mut [u8] {
        let len = self.packets[at].len + more;
        &mut self.frames[at].0[START..][..len]
    }
}

/// The SSRC of a stream.
pub(crate) fn ssrc(stream: usize) -> u32 {
    0x5a11_0000 + u32::try_from(stream).expect("there are fewer than 2^16 streams")
}
