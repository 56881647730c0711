// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which of the codecs in an SDP pass.

use std::collections::{HashMap, HashSet};

use crate::decimal::decimal;
use crate::sdp::{Media, Medium, assigned};

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
    /// Of audio nothing but the first codec, and what stands beside every codec: tones (RFC 4733)
    /// and comfort noise (RFC 3389).
    pub single: bool,
}

impl Codecs {
    /// Takes out of media what does not pass; of one nothing if nothing would be left.
    pub(super) fn apply<'a>(&self, media: impl Iterator<Item = &'a mut Media>) {
        if *self == Self::default() {
            return;
        }
        let lists = Lists {
            gone: Names::new(self.strip.iter().chain(&self.mask)),
            except: Names::new(&self.except),
            offer: Names::new(&self.offer),
        };
        for media in media {
            self.apply_to(media, &lists);
        }
    }

    fn apply_to(&self, media: &mut Media, lists: &Lists<'_>) {
        let codecs = Codec::all(media);
        let passes = |codec: &&Codec| {
            let has = |names: &Names<'_>| names.position(codec).is_some();
            !has(&lists.gone) || has(&lists.except) || has(&lists.offer)
        };
        let mut left: Vec<_> = codecs.iter().filter(passes).collect();
        let numbers: HashSet<_> = left.iter().map(|codec| codec.format.as_str()).collect();
        // A retransmission is of no use without what it retransmits.
        left.retain(|codec| {
            let apt = codec.apt.as_deref();
            apt.is_none_or(|apt| numbers.contains(apt))
        });
        if left.is_empty() {
            return;
        }
        left.sort_by_cached_key(|codec| lists.offer.position(codec).unwrap_or(usize::MAX));
        if self.single && *media.medium() == Medium::Audio {
            let mut has_one = false;
            left.retain(|codec| codec.is_beside() || !std::mem::replace(&mut has_one, true));
        }
        let formats: Vec<_> = left.iter().map(|codec| codec.format.as_str()).collect();
        let mut gone: HashSet<_> = codecs.iter().map(|codec| codec.format.as_str()).collect();
        for format in &formats {
            gone.remove(format);
        }
        media.section_mut().retain_attributes(|name, value| {
            let is_about_one = matches!(name, "rtpmap" | "fmtp" | "rtcp-fb");
            let format = value.split(' ').next().unwrap_or_default();
            !is_about_one || !gone.contains(format)
        });
        media.set_formats(&formats);
    }
}

struct Lists<'a> {
    gone: Names<'a>,
    except: Names<'a>,
    offer: Names<'a>,
}

/// A list of codecs as clients name them, to be looked up: there may be thousands of names, and of
/// payload types. Each has its first place in the list.
#[derive(Default)]
struct Names<'a> {
    all: Option<usize>,
    formats: HashMap<&'a str, usize>,
    /// By name, and rate and channels where they are said.
    codecs: HashMap<(String, Option<(u32, u8)>), usize>,
}

impl<'a> Names<'a> {
    fn new(list: impl IntoIterator<Item = &'a String>) -> Self {
        let mut names = Self::default();
        for (at, said) in list.into_iter().enumerate() {
            if matches!(said.as_str(), "all" | "full") {
                names.all.get_or_insert(at);
            }
            names.formats.entry(said).or_insert(at);
            let mut parts = said.split('/');
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let clock = match (parts.next(), parts.next()) {
                (None, _) => Some(None),
                (Some(rate), channels) => decimal(rate)
                    .zip(channels.map_or(Some(1), decimal))
                    .map(Some),
            };
            if let Some(clock) = clock {
                names.codecs.entry((name, clock)).or_insert(at);
            }
        }
        names
    }

    /// Where the list has a codec first.
    fn position(&self, codec: &Codec) -> Option<usize> {
        let clock = Some((codec.rate, codec.channels));
        let by_name = [None, clock].map(|clock| {
            let key = (codec.name.to_ascii_lowercase(), clock);
            self.codecs.get(&key).copied()
        });
        let by_format = self.formats.get(codec.format.as_str()).copied();
        by_name
            .into_iter()
            .chain([by_format, self.all])
            .flatten()
            .min()
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
    /// Those of a medium, in their order.
    fn all(media: &Media) -> Vec<Self> {
        let [maps, parameters] = ["rtpmap", "fmtp"].map(|name| {
            let mut about = HashMap::new();
            for value in media.section().attributes(name) {
                if let Some((format, rest)) = value.split_once(' ') {
                    about.entry(format).or_insert(rest.trim());
                }
            }
            about
        });
        let codec = |format| {
            let map = maps.get(format).copied().or_else(|| assigned(format));
            Self::new(format, map, parameters.get(format).copied())
        };
        media.formats().map(codec).collect()
    }

    fn new(format: &str, map: Option<&str>, parameters: Option<&str>) -> Self {
        let mut parts = map.unwrap_or_default().split('/');
        let name = parts.next().unwrap_or_default().to_owned();
        let is_retransmission = name.eq_ignore_ascii_case("rtx");
        let parameters = parameters.filter(|_| is_retransmission);
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

    /// Whether it stands beside others, whichever they are.
    fn is_beside(&self) -> bool {
        let mut names = ["telephone-event", "CN"].iter();
        names.any(|name| name.eq_ignore_ascii_case(&self.name))
    }
}
