// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Header extension and CSRCs encrypted with the payload, as one text (RFC 9335).
//!
//! What is encrypted is not in one piece: the header of the extension, which stays readable and
//! says by its profile that the rest is not, stands between CSRCs and body. To encrypt, it is
//! moved in front of the CSRCs:
//!
//! ```text
//! as sent    fixed header | CSRCs | extension header | body | payload
//! folded     fixed header | extension header | CSRCs | body | payload
//!            clear                           | text
//! ```
//!
//! GCM authenticates the folded packet, HMAC the packet as sent.

use crate::header::{Extension, FIXED_LEN};

/// The profile that says that a body of this profile is encrypted; `None` for profiles that
/// cannot be.
pub(crate) fn hidden(profile: u16) -> Option<u16> {
    match profile {
        0xbede => Some(0xc0de),
        0x1000 => Some(0xc2de),
        _ => None,
    }
}

/// What [`hidden`] made this profile of.
pub(crate) fn shown(profile: u16) -> Option<u16> {
    match profile {
        0xc0de => Some(0xbede),
        0xc2de => Some(0x1000),
        _ => None,
    }
}

/// Marks a packet as encrypted. One without an extension gets an empty one, for which there is
/// room behind its `len` bytes.
pub(crate) fn hide(packet: &mut [u8], csrcs: usize, len: usize) {
    let at = FIXED_LEN + csrcs;
    if packet[0] & 0x10 == 0 {
        packet.copy_within(at..len, at + Extension::HEADER_LEN);
        packet[at..][..Extension::HEADER_LEN].copy_from_slice(&[0xc0, 0xde, 0, 0]);
        packet[0] |= 0x10;
    } else {
        rename(packet, at, hidden);
    }
}

/// Marks a packet as not encrypted.
pub(crate) fn show(packet: &mut [u8], csrcs: usize) {
    rename(packet, FIXED_LEN + csrcs, shown);
}

/// Moves the extension's header in front of the CSRCs.
pub(crate) fn fold(packet: &mut [u8], csrcs: usize) {
    packet[FIXED_LEN..][..csrcs + Extension::HEADER_LEN].rotate_right(Extension::HEADER_LEN);
}

/// Takes back [`fold`].
pub(crate) fn unfold(packet: &mut [u8], csrcs: usize) {
    packet[FIXED_LEN..][..csrcs + Extension::HEADER_LEN].rotate_left(Extension::HEADER_LEN);
}

fn rename(packet: &mut [u8], at: usize, to: impl FnOnce(u16) -> Option<u16>) {
    if let Some(profile) = to(u16::from_be_bytes([packet[at], packet[at + 1]])) {
        packet[at..][..2].copy_from_slice(&profile.to_be_bytes());
    }
}
