// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The index of an SRTP packet, `2^16 * ROC + SEQ`, of which only SEQ is sent.

/// One above the last index of an SRTP stream (RFC 3711 section 3.2.1).
pub(crate) const RTP_END: u64 = 1 << 48;

/// One above the last index of an SRTCP stream (RFC 3711 section 3.4).
pub(crate) const RTCP_END: u64 = 1 << 31;

/// The index nearest to the highest one known that has this sequence number (RFC 3711
/// appendix A); `None` when that would be past the last.
///
/// A stream without a highest index starts at ROC 0. While the ROC is still 0 there is no earlier
/// one: a sequence number that looks like a step back over zero is taken for a long step forward,
/// as libsrtp does.
#[inline]
pub(crate) fn estimate(highest: Option<u64>, sequence: u16) -> Option<u64> {
    const HALF: u64 = 1 << 15;
    let sequence = u64::from(sequence);
    let Some(highest) = highest else {
        return Some(sequence);
    };
    let (roc, last) = (highest >> 16, highest & 0xffff);
    let roc = if last < HALF {
        if sequence > last + HALF {
            roc.saturating_sub(1)
        } else {
            roc
        }
    } else if last - HALF > sequence {
        roc + 1
    } else {
        roc
    };
    let index = (roc << 16) | sequence;
    (index < RTP_END).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_estimate_is_that_of_rfc_3711_appendix_a() {
        let at = |roc: u64, sequence: u64| Some((roc << 16) | sequence);
        for (highest, sequence, expected) in [
            (None, 0, at(0, 0)),
            (None, 65535, at(0, 65535)),
            (at(0, 65535), 0, at(1, 0)),
            (at(0, 65535), 32766, at(1, 32766)),
            (at(0, 65535), 32767, at(0, 32767)),
            (at(0, 5), 65530, at(0, 65530)),
            (at(1, 5), 65530, at(0, 65530)),
            (at(1, 5), 32773, at(1, 32773)),
            (at(1, 5), 32774, at(0, 32774)),
            (at(7, 0x1200), 0x11ff, at(7, 0x11ff)),
            (at(7, 40000), 7232, at(7, 7232)),
            (at(7, 40000), 7231, at(8, 7231)),
            (at(0xffff_ffff, 65535), 65534, at(0xffff_ffff, 65534)),
            (at(0xffff_ffff, 65535), 0, None),
        ] {
            assert_eq!(
                estimate(highest, sequence),
                expected,
                "{highest:?} {sequence}"
            );
        }
    }

    proptest! {
        #[test]
        fn steps_of_less_than_half_the_range_are_followed(
            highest in (1u64 << 16)..(RTP_END - (1 << 16)),
            step in -32767i64..=32767,
        ) {
            let index = highest.checked_add_signed(step).unwrap();
            let sequence = (index & 0xffff) as u16;
            prop_assert_eq!(estimate(Some(highest), sequence), Some(index));
        }
    }
}
