// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Packets that no honest peer sends.

/// An endless source of noise, the same for the same seed: xorshift64 (Marsaglia 2003).
pub(crate) struct Noise(u64);

impl Noise {
    /// A source with this seed, which must not be 0.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Noise, noise behind a plausible start, or a genuine packet cut short, prolonged or damaged.
    /// Never the genuine packet itself.
    pub(crate) fn packet(&mut self, genuine: &[u8]) -> Vec<u8> {
        let len = match self.below(8) {
            0 => self.below(16),
            1 => 1400 + self.below(73),
            _ => self.below(400),
        };
        let mut packet = genuine.to_vec();
        match self.below(8) {
            0 => self.bytes(len),
            1 | 2 => {
                let mut packet = self.bytes(len);
                if let Some(first) = packet.first_mut() {
                    *first = 0x80 | *first & 0x3f;
                }
                packet
            }
            3 => {
                // CSRCs, an extension, padding that are not there.
                packet[0] ^= 1 << self.below(6);
                packet
            }
            4 | 5 => {
                packet.truncate(self.below(genuine.len()));
                packet
            }
            6 => {
                let len = 1 + self.below(64);
                packet.extend(self.bytes(len));
                packet
            }
            _ => {
                let place = self.below(packet.len());
                packet[place] ^= 1 << self.below(8);
                packet
            }
        }
    }

    /// A number from 0 up to, not including, this one.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = limit as u64;
        usize::try_from(self.word() % limit).expect("it is below a usize")
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len.next_multiple_of(8));
        while bytes.len() < len {
            bytes.extend(self.word().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    const fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
