// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The Internet checksum (RFC 1071).
//!
//! It is the one's complement of the one's complement sum of 16-bit words. Two of its properties
//! carry this module. The sum does not care in which byte order the words are added, as long as
//! the result is stored in the same order (RFC 1071 section 2 (B)): so words are loaded as the
//! machine likes them, and never swapped. And it does not care how wide the words are (section 2
//! (A)): 32-bit words go into a 64-bit sum, whose carries are folded once, at the end.
//!
//! Checksums are always computed afresh, never updated from the arriving packet's: packets from a
//! virtual NIC arrive with checksums that nobody has computed yet (`CHECKSUM_PARTIAL`), and an
//! update of such a one is wrong for ever.

/// A sum on its way to a checksum. Holds native-endian words.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of bytes that start at an even offset of the summed data. An odd last byte counts
    /// as if a zero stood behind it.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum: u64 = words
            .iter()
            .map(|word| u64::from(u32::from_ne_bytes(*word)))
            .sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_ne_bytes(last));
        Self(sum)
    }

    /// The sum of one 16-bit word, given as a number.
    #[inline]
    pub const fn word(word: u16) -> Self {
        Self(u16::from_ne_bytes(word.to_be_bytes()) as u64)
    }

    /// Both together.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        // A packet has less than 2^14 words: 2^32 * 2^14 is far from an overflow.
        Self(self.0 + other.0)
    }

    /// The checksum, in the order of bytes in which it is stored in the packet.
    #[inline]
    pub const fn checksum(self) -> [u8; 2] {
        let mut sum = self.0;
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        let [low, high, ..] = sum.to_le_bytes();
        (!u16::from_le_bytes([low, high])).to_ne_bytes()
    }

    /// The checksum for a UDP header, where zero means "none" and is sent as its twin 0xffff
    /// (RFC 768).
    #[inline]
    pub const fn udp_checksum(self) -> [u8; 2] {
        match self.checksum() {
            [0, 0] => [0xff, 0xff],
            checksum => checksum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, word by word.
    fn plain(bytes: &[u8]) -> [u8; 2] {
        let mut sum: u32 = 0;
        for word in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([
                word[0],
                word.get(1).copied().unwrap_or(0),
            ]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!u16::try_from(sum).unwrap()).to_be_bytes()
    }

    #[test]
    fn the_example_of_rfc_1071_has_its_sum() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes).checksum(), (!0xddf2u16).to_be_bytes());
    }

    #[test]
    fn a_udp_checksum_of_zero_is_sent_as_ones() {
        assert_eq!(Sum::of(&[0xff, 0xff]).udp_checksum(), [0xff, 0xff]);
    }

    proptest::proptest! {
        #[test]
        fn the_sum_is_that_of_the_definition(bytes: Vec<u8>) {
            proptest::prop_assert_eq!(Sum::of(&bytes).checksum(), plain(&bytes));
        }

        #[test]
        fn sums_of_even_parts_add_up(front: Vec<u16>, back: Vec<u8>) {
            let front: Vec<u8> = front.into_iter().flat_map(u16::to_be_bytes).collect();
            let whole = [&front[..], &back].concat();
            proptest::prop_assert_eq!(
                Sum::of(&front).and(Sum::of(&back)).checksum(),
                plain(&whole)
            );
        }
    }
}
