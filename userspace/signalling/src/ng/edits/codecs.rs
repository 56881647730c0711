// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which of the codecs in an SDP pass.

use crate::decimal::decimal;
use crate::sdp::{Media, assigned};

/// Which of the codecs in an SDP pass: names as in `a=rtpmap`, with or without `/rate/channels`,
/// numbers of payload types, or `all` and `full`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Codecs {
    /// These do not.
    pub strip: Vec<String>,
    /// These do although `strip` has them, and stand first in this order.
    pub offer: Vec<String>,
    /// These do although `strip` has them.
    pub except: Vec<String>,
    /// These do not, either; without transcoding it is the same as `strip`.
    pub mask: Vec<String>,
}

impl Codecs {
    /// Takes out of a medium what does not pass; nothing if nothing would be left.
    pub(super) fn apply(&self, media: &mut Media) {
        if *self == Self::default() {
            return;
        }
        let codecs: Vec<_> = media
            .formats()
            .map(|format| Codec::of(media, format))
            .collect();
        let passes = |codec: &&Codec| {
            let has = |list: &[String]| list.iter().any(|name| codec.is(name));
            let is_stripped = has(&self.strip) || has(&self.mask);
            !is_stripped || has(&self.except) || has(&self.offer)
        };
        let mut left: Vec<_> = codecs.iter().filter(passes).collect();
        let numbers: Vec<_> = left.iter().map(|codec| codec.format.clone()).collect();
        // A retransmission is of no use without what it retransmits.
        left.retain(|codec| codec.apt.as_ref().is_none_or(|apt| numbers.contains(apt)));
        if left.is_empty() {
            return;
        }
        left.sort_by_key(|codec| {
            let at = self.offer.iter().position(|name| codec.is(name));
            at.unwrap_or(self.offer.len())
        });
        let formats: Vec<_> = left.iter().map(|codec| codec.format.as_str()).collect();
        let is_gone = |format: &str| {
            !formats.contains(&format) && codecs.iter().any(|codec| codec.format == format)
        };
        media.section_mut().retain_attributes(|name, value| {
            let is_about_one = matches!(name, "rtpmap" | "fmtp" | "rtcp-fb");
            let format = value.split(' ').next().unwrap_or_default();
            !is_about_one || !is_gone(format)
        });
        media.set_formats(&formats);
    }
}

/// One payload type.
struct Codec {
    format: String,
    /// As in `a=rtpmap`; empty if nobody knows.
    name: String,
    rate: u32,
    channels: u8,
    /// The payload type that this one retransmits (RFC 4588).
    apt: Option<String>,
}

impl Codec {
    fn of(media: &Media, format: &str) -> Self {
        let about = |name| {
            let mut values = media.section().attributes(name);
            values.find_map(|value| {
                let (of, rest) = value.split_once(' ')?;
                (of == format).then_some(rest.trim())
            })
        };
        let map = about("rtpmap").or_else(|| assigned(format));
        let mut parts = map.unwrap_or_default().split('/');
        let name = parts.next().unwrap_or_default().to_owned();
        let is_retransmission = name.eq_ignore_ascii_case("rtx");
        let parameters = about("fmtp").filter(|_| is_retransmission);
        let mut parameters = parameters.unwrap_or_default().split(';');
        Self {
            format: format.to_owned(),
            name,
            rate: parts.next().and_then(decimal).unwrap_or(0),
            channels: parts.next().and_then(decimal).unwrap_or(1),
            apt: parameters
                .find_map(|it| it.trim().strip_prefix("apt="))
                .map(str::to_owned),
        }
    }

    /// Whether a client means this one.
    fn is(&self, said: &str) -> bool {
        if said == self.format || matches!(said, "all" | "full") {
            return true;
        }
        let mut parts = said.split('/');
        let has_name = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(&self.name));
        let rate = parts.next();
        let channels = parts.next().map_or(Some(1), decimal);
        has_name
            && rate.is_none_or(|rate| {
                decimal(rate) == Some(self.rate) && channels == Some(self.channels)
            })
    }
}
