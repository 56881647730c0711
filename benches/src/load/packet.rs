// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets that can be made again from what is written in them, and so compared byte for byte on
//! arrival.

use std::time::{Duration, SystemTime};

use sallyport_srtp::Kind;

/// Room for one packet, protected or not, without headroom and tailroom.
pub(super) const MAX_PACKET: usize = 1500;
/// A payload begins with the time of sending and the packet's number.
pub(super) const MIN_PAYLOAD: usize = 12;
/// What a link of MTU 1500 carries besides IPv6, UDP and RTP headers and the longest tag.
pub(super) const MAX_PAYLOAD: usize = 1500 - 40 - 8 - RTP_HEADER_LEN - 16;

/// The packets of one SSRC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) ssrc: u32,
    /// The sequence number of packet 0.
    pub(super) first_sequence: u16,
    /// Bytes of payload in an RTP packet.
    pub(super) payload: usize,
    /// RTP packets between two reports.
    pub(super) pps: u32,
}

/// What a packet says about itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    /// Its place in the stream, from 0.
    pub(super) number: u32,
    /// When it was sent: nanoseconds since 1970.
    pub(super) sent: u64,
}

impl Stamp {
    /// A packet that is sent now.
    pub(super) fn now(number: u32) -> Self {
        Self {
            number,
            sent: now(),
        }
    }
}

/// Nanoseconds since 1970.
pub(super) fn now() -> u64 {
    nanoseconds(
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// Saturates after 584 years.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Stream {
    /// Writes a packet and returns its length.
    pub(super) fn write(&self, kind: Kind, stamp: Stamp, out: &mut [u8; MAX_PACKET]) -> usize {
        match kind {
            Kind::Rtp => self.write_rtp(stamp, out),
            Kind::Rtcp => self.write_rtcp(stamp, out),
        }
    }

    /// The stamp of a packet that is, byte for byte, one that this stream sends.
    pub(super) fn read(&self, kind: Kind, packet: &[u8]) -> Option<Stamp> {
        let stamp = match kind {
            Kind::Rtp => {
                let sent = u64::from_be_bytes(*packet.get(RTP_HEADER_LEN..)?.first_chunk()?);
                let number = u32::from_be_bytes(*packet.get(RTP_HEADER_LEN + 8..)?.first_chunk()?);
                Stamp { number, sent }
            }
            Kind::Rtcp => {
                let ntp = u64::from_be_bytes(*packet.get(8..)?.first_chunk()?);
                let timestamp = u32::from_be_bytes(*packet.get(16..)?.first_chunk()?);
                Stamp {
                    number: timestamp / CLOCK_RATE,
                    sent: from_ntp(ntp),
                }
            }
        };
        let mut expected = [0; MAX_PACKET];
        let len = self.write(kind, stamp, &mut expected);
        (packet == &expected[..len]).then_some(stamp)
    }

    /// RTP header, time of sending, number, and bytes that depend on all of them.
    fn write_rtp(&self, stamp: Stamp, out: &mut [u8; MAX_PACKET]) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
        let sequence = self.first_sequence.wrapping_add(stamp.number as u16);
        let timestamp = stamp
            .number
            .wrapping_mul(CLOCK_RATE / self.pps.clamp(1, CLOCK_RATE));
        let len = RTP_HEADER_LEN + self.payload;
        let packet = &mut out[..len];
        packet[0] = 0x80;
        packet[1] = PCMA;
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        packet[12..20].copy_from_slice(&stamp.sent.to_be_bytes());
        packet[20..24].copy_from_slice(&stamp.number.to_be_bytes());
        fill(&mut packet[24..], self.seed(stamp));
        len
    }

    /// A sender report and a source description (RFC 3550 sections 6.4.1 and 6.5), whose CNAME
    /// depends on the time of sending and on the number.
    fn write_rtcp(&self, stamp: Stamp, out: &mut [u8; MAX_PACKET]) -> usize {
        let packets = stamp.number.wrapping_mul(self.pps);
        #[expect(clippy::cast_possible_truncation, reason = "a payload fits a packet")]
        let octets = packets.wrapping_mul(self.payload as u32);
        let packet = &mut out[..REPORT_LEN];
        packet[..4].copy_from_slice(&[0x80, 200, 0, 6]);
        packet[4..8].copy_from_slice(&self.ssrc.to_be_bytes());
        packet[8..16].copy_from_slice(&to_ntp(stamp.sent).to_be_bytes());
        packet[16..20].copy_from_slice(&stamp.number.wrapping_mul(CLOCK_RATE).to_be_bytes());
        packet[20..24].copy_from_slice(&packets.to_be_bytes());
        packet[24..28].copy_from_slice(&octets.to_be_bytes());
        packet[28..32].copy_from_slice(&[0x81, 202, 0, 6]);
        packet[32..36].copy_from_slice(&self.ssrc.to_be_bytes());
        packet[36..38].copy_from_slice(&[1, 16]);
        fill(&mut packet[38..54], self.seed(stamp));
        for byte in &mut packet[38..54] {
            *byte = b'a' + (*byte & 15);
        }
        packet[54..].fill(0);
        REPORT_LEN
    }

    /// What the bytes that mean nothing depend on.
    fn seed(&self, stamp: Stamp) -> u64 {
        (u64::from(self.ssrc) << 32) ^ u64::from(stamp.number) ^ stamp.sent
    }
}

const RTP_HEADER_LEN: usize = 12;
/// G.711 A-law (RFC 3551).
const PCMA: u8 = 8;
/// RTP ticks per second of G.711.
const CLOCK_RATE: u32 = 8000;
/// A sender report and one chunk of a source description.
const REPORT_LEN: usize = 28 + 28;
/// From 1900, when NTP's calendar begins, to 1970.
const NTP_EPOCH: u64 = 2_208_988_800;
const NANOSECONDS: u64 = 1_000_000_000;

/// NTP's 32 bits of seconds and 32 bits of fraction, rounded up so that [`from_ntp`] gives back
/// the same nanosecond.
fn to_ntp(nanoseconds: u64) -> u64 {
    let (seconds, rest) = (nanoseconds / NANOSECONDS, nanoseconds % NANOSECONDS);
    (seconds + NTP_EPOCH) << 32 | (rest << 32).div_ceil(NANOSECONDS)
}

fn from_ntp(ntp: u64) -> u64 {
    let (seconds, fraction) = (ntp >> 32, ntp & 0xffff_ffff);
    seconds.saturating_sub(NTP_EPOCH) * NANOSECONDS + ((fraction * NANOSECONDS) >> 32)
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn fill(out: &mut [u8], mut state: u64) {
    for chunk in out.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream {
        ssrc: 0x1234_5678,
        first_sequence: 65_530,
        payload: 160,
        pps: 50,
    };

    #[test]
    fn what_was_written_is_read_back() {
        for kind in [Kind::Rtp, Kind::Rtcp] {
            for number in [0, 1, 5, 6, 70_000] {
                for sent in [0, 1, 1_795_226_400_999_999_999, 1_795_226_400_000_000_001] {
                    let stamp = Stamp { number, sent };
                    let mut packet = [0; MAX_PACKET];
                    let len = STREAM.write(kind, stamp, &mut packet);
                    assert_eq!(STREAM.read(kind, &packet[..len]), Some(stamp), "{kind:?}");
                }
            }
        }
    }

    #[test]
    fn a_packet_with_any_bit_flipped_or_byte_missing_is_not_intact() {
        for kind in [Kind::Rtp, Kind::Rtcp] {
            let mut packet = [0; MAX_PACKET];
            let len = STREAM.write(kind, Stamp::now(3), &mut packet);
            let packet = &mut packet[..len];
            for bit in 0..8 * len {
                packet[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(STREAM.read(kind, packet), None, "{kind:?}, bit {bit}");
                packet[bit / 8] ^= 1 << (bit % 8);
            }
            for shorter in 0..len {
                assert_eq!(
                    STREAM.read(kind, &packet[..shorter]),
                    None,
                    "{kind:?}, {shorter}"
                );
            }
        }
    }
}
