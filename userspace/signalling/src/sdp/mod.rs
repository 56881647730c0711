// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Session descriptions that are changed, and otherwise left as they came.
//!
//! A gateway between two peers rewrites a handful of lines and has no business with the others, so
//! every line is kept, in its place and letter by letter, known or not, and so is the kind of line
//! ending. Only lines that the gateway works with are parsed: `o=`, `c=`, `m=` and the names of
//! attributes. (Crate sdp-types parses every line, but drops unknown ones, reorders the others and
//! writes CRLF only. It is the oracle of our tests.)
//!
//! Source: RFC 8866 (SDP), RFC 3264 (offer and answer).

mod address;
mod attribute;
mod error;
mod media;
mod payload_type;
mod section;

use core::fmt;

use zeroize::Zeroizing;

pub use address::{Connection, Origin};
pub use attribute::{Direction, Rtcp};
pub use error::SdpError;
pub use media::{Media, Medium, Profile};
pub use payload_type::Clock;
pub(crate) use payload_type::assigned;
pub use section::Section;

use section::Line;

/// A session description. May hold keys, so it is wiped when dropped and does not print its lines.
#[derive(Clone, Eq, PartialEq)]
pub struct Sdp {
    ending: &'static str,
    session: Section,
    media: Vec<Media>,
}

impl Sdp {
    /// The longest text taken, in bytes.
    pub const MAX_LEN: usize = 64 * 1024;

    /// The most lines taken.
    pub const MAX_LINES: usize = 10_000;

    /// Reads a session description. Empty lines are left out.
    ///
    /// # Errors
    /// An [`SdpError`] for the first line that is not as it should be.
    pub fn parse(text: &[u8]) -> Result<Self, SdpError> {
        if text.len() > Self::MAX_LEN {
            return Err(SdpError::TooLong { len: text.len() });
        }
        let text = core::str::from_utf8(text).map_err(|_| SdpError::NotUtf8)?;
        if text.lines().nth(Self::MAX_LINES).is_some() {
            return Err(SdpError::TooManyLines);
        }
        let mut sdp = Self {
            ending: match text.find('\n') {
                Some(end) if !text[..end].ends_with('\r') => "\n",
                _ => "\r\n",
            },
            session: Section::default(),
            media: Vec::new(),
        };
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty());
        match lines.next() {
            Some((_, version @ "v=0")) => sdp.session.push(Line::Other(keep(version))),
            _ => return Err(SdpError::Version),
        }
        for (number, line) in lines {
            let (letter, value) = split(line).ok_or(SdpError::Line { number })?;
            let line = match letter {
                'm' => {
                    let media = Media::parse(value).ok_or(SdpError::Media { number })?;
                    sdp.media.push(media);
                    continue;
                }
                'o' => {
                    let is_first = sdp.media.is_empty() && sdp.session.origin().is_none();
                    let origin = Origin::parse(value).filter(|_| is_first);
                    Line::Origin(origin.ok_or(SdpError::Origin { number })?)
                }
                'c' => {
                    let connection = Connection::parse(value);
                    Line::Connection(connection.ok_or(SdpError::Connection { number })?)
                }
                'a' => Line::attribute(value),
                _ => Line::Other(keep(line)),
            };
            match sdp.media.last_mut() {
                Some(media) => media.section_mut().push(line),
                None => sdp.session.push(line),
            }
        }
        Ok(sdp)
    }

    /// The text, with the line endings that the session description came with.
    pub fn write(&self) -> Zeroizing<String> {
        // Room for all of it, so that no unwiped copy is left behind by growth.
        let mut counter = Counter(0);
        self.write_to(&mut counter).unwrap_or_default();
        let mut text = Zeroizing::new(String::with_capacity(counter.0));
        self.write_to(&mut *text).unwrap_or_default();
        text
    }

    /// The lines in front of the first `m=`.
    pub const fn session(&self) -> &Section {
        &self.session
    }

    /// The lines in front of the first `m=`.
    pub const fn session_mut(&mut self) -> &mut Section {
        &mut self.session
    }

    /// The `m=` lines in order, each with the lines behind it.
    pub fn media(&self) -> &[Media] {
        &self.media
    }

    /// The `m=` lines in order, each with the lines behind it.
    pub fn media_mut(&mut self) -> &mut [Media] {
        &mut self.media
    }

    /// The same with other `m=` lines.
    #[must_use]
    pub fn with_media(self, media: Vec<Media>) -> Self {
        Self { media, ..self }
    }

    /// The connection that holds for a medium of this session description: its own, or that of the
    /// session.
    pub fn connection(&self, media: &Media) -> Option<Connection> {
        let own = media.section().connection();
        own.or_else(|| self.session.connection()).cloned()
    }

    /// The value of the first attribute of this name that holds for a medium of this session
    /// description: its own, or that of the session; empty for an attribute without value.
    pub fn attribute<'a>(&'a self, media: &'a Media, name: &str) -> Option<&'a str> {
        let own = media.section().attribute(name);
        own.or_else(|| self.session.attribute(name))
    }

    /// The direction that holds for a medium of this session description, as its sender sees it.
    pub fn direction(&self, media: &Media) -> Direction {
        let own = Direction::of(media.section());
        own.or_else(|| Direction::of(&self.session))
            .unwrap_or_default()
    }

    fn write_to(&self, text: &mut impl fmt::Write) -> fmt::Result {
        self.session.write_to(text, self.ending)?;
        for media in &self.media {
            media.write_to(text, self.ending)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Sdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sdp")
            .field("media", &self.media)
            .finish_non_exhaustive()
    }
}

/// Counts the bytes of a text.
struct Counter(usize);

impl fmt::Write for Counter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

fn keep(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

/// Splits `<letter>=<value>`.
fn split(line: &str) -> Option<(char, &str)> {
    if line.contains(['\r', '\0']) {
        return None;
    }
    let (letter, value) = line.split_once('=')?;
    let mut letters = letter.chars();
    let letter = letters.next().filter(char::is_ascii_alphabetic)?;
    letters.next().is_none().then_some((letter, value))
}

#[cfg(test)]
mod tests;
