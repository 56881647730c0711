// SPDX-License-Identifier: Apache-2.0 OR MIT

//! An `m=` line and the lines behind it.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Rtcp, Section};
use crate::decimal::decimal;

/// An `m=` line (RFC 8866 section 5.14) and the lines behind it, up to the next.
#[derive(Clone, Eq, PartialEq)]
pub struct Media {
    medium: Medium,
    port: u16,
    /// How many ports, where that is said.
    count: Option<u16>,
    profile: Profile,
    formats: String,
    section: Section,
}

impl Media {
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let mut fields = value.splitn(4, ' ');
        let mut field = || fields.next().filter(|field| !field.is_empty());
        let medium = Medium::from(field()?);
        let ports = field()?;
        let (port, count) = match ports.split_once('/') {
            Some((port, count)) => (port, Some(decimal(count)?)),
            None => (ports, None),
        };
        Some(Self {
            medium,
            port: decimal(port)?,
            count,
            profile: Profile::from(field()?),
            formats: field()?.to_owned(),
            section: Section::default(),
        })
    }

    /// What kind of media.
    pub const fn medium(&self) -> &Medium {
        &self.medium
    }

    /// The port; 0 where the stream is refused or over.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether the line asks for several ports in a row.
    pub fn has_several_ports(&self) -> bool {
        self.count.is_some_and(|count| count != 1)
    }

    /// The transport profile.
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The formats, which are payload types where this is RTP.
    pub fn formats(&self) -> impl Iterator<Item = &str> {
        self.formats.split(' ').filter(|format| !format.is_empty())
    }

    /// The lines behind the `m=` line.
    pub const fn section(&self) -> &Section {
        &self.section
    }

    /// The lines behind the `m=` line.
    pub const fn section_mut(&mut self) -> &mut Section {
        &mut self.section
    }

    /// The line alone, with port 0.
    #[must_use]
    pub fn refused(&self) -> Self {
        Self {
            medium: self.medium.clone(),
            port: 0,
            count: None,
            profile: self.profile.clone(),
            formats: self.formats.clone(),
            section: Section::default(),
        }
    }

    /// The line, without `m=` and what is behind it.
    pub(crate) fn line(&self) -> String {
        let mut line = String::new();
        self.write_line(&mut line).unwrap_or_default();
        line
    }

    fn write_line(&self, text: &mut impl fmt::Write) -> fmt::Result {
        let Self {
            medium,
            port,
            profile,
            formats,
            ..
        } = self;
        write!(text, "{} {port}", medium.name())?;
        if let Some(count) = self.count {
            write!(text, "/{count}")?;
        }
        write!(text, " {} {formats}", profile.name())
    }

    /// Moves the stream to another port; 0 refuses it.
    pub const fn set_port(&mut self, port: u16) {
        self.port = port;
        self.count = None;
    }

    /// Leaves these formats, of which there must be one.
    pub fn set_formats(&mut self, formats: &[&str]) {
        self.formats = formats.join(" ");
    }

    /// Gives the stream another transport profile.
    pub fn set_profile(&mut self, profile: Profile) {
        self.profile = profile;
    }

    /// Where RTCP is received, if the lines say so.
    pub fn rtcp(&self) -> Option<Rtcp> {
        self.section.attribute("rtcp").and_then(Rtcp::parse)
    }

    /// Whether RTP and RTCP share a port, or are to (RFC 5761, RFC 8858).
    pub fn has_rtcp_mux(&self) -> bool {
        ["rtcp-mux", "rtcp-mux-only"]
            .into_iter()
            .any(|name| self.section.attribute(name).is_some())
    }

    pub(super) fn write_to(&self, text: &mut impl fmt::Write, ending: &str) -> fmt::Result {
        text.write_str("m=")?;
        self.write_line(text)?;
        text.write_str(ending)?;
        self.section.write_to(text, ending)
    }
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media")
            .field("medium", &self.medium)
            .field("port", &self.port)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// What kind of media an `m=` line is about.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Medium {
    /// Speech and music.
    Audio,
    /// Moving pictures.
    Video,
    /// Real-time text.
    Text,
    /// Applications, such as the control of a floor (BFCP).
    Application,
    /// Messages (MSRP).
    Message,
    /// Still pictures, such as telefax (T.38).
    Image,
    /// Anything else.
    Other(String),
}

impl Medium {
    /// The name in an `m=` line.
    pub fn name(&self) -> &str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Text => "text",
            Self::Application => "application",
            Self::Message => "message",
            Self::Image => "image",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for Medium {
    fn from(name: &str) -> Self {
        match name {
            "audio" => Self::Audio,
            "video" => Self::Video,
            "text" => Self::Text,
            "application" => Self::Application,
            "message" => Self::Message,
            "image" => Self::Image,
            _ => Self::Other(name.to_owned()),
        }
    }
}

/// A transport profile.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Profile {
    /// Plain RTP (RFC 3551).
    Avp,
    /// Plain RTP with feedback (RFC 4585).
    Avpf,
    /// SRTP (RFC 3711).
    Savp,
    /// SRTP with feedback (RFC 5124).
    Savpf,
    /// Plain MSRP (RFC 4975).
    Msrp,
    /// MSRP over TLS (RFC 4975).
    MsrpTls,
    /// Plain BFCP (RFC 8856).
    Bfcp,
    /// BFCP over TLS (RFC 8856).
    BfcpTls,
    /// Anything else, among it SRTP with keys from DTLS.
    Other(String),
}

impl Profile {
    /// Every profile that has a name of its own here.
    const KNOWN: [Self; 8] = [
        Self::Avp,
        Self::Avpf,
        Self::Savp,
        Self::Savpf,
        Self::Msrp,
        Self::MsrpTls,
        Self::Bfcp,
        Self::BfcpTls,
    ];

    /// The name in an `m=` line.
    pub fn name(&self) -> &str {
        match self {
            Self::Avp => "RTP/AVP",
            Self::Avpf => "RTP/AVPF",
            Self::Savp => "RTP/SAVP",
            Self::Savpf => "RTP/SAVPF",
            Self::Msrp => "TCP/MSRP",
            Self::MsrpTls => "TCP/TLS/MSRP",
            Self::Bfcp => "TCP/BFCP",
            Self::BfcpTls => "TCP/TLS/BFCP",
            Self::Other(name) => name,
        }
    }

    /// Whether this is RTP, plain or with keys that signalling carries.
    pub const fn is_rtp(&self) -> bool {
        matches!(self, Self::Avp | Self::Avpf | Self::Savp | Self::Savpf)
    }

    /// Whether its packets are protected, as far as the name tells.
    pub fn is_protected(&self) -> bool {
        self.plain().is_some() || matches!(self, Self::Other(name) if name.contains("TLS"))
    }

    /// The protected profile that belongs to this plain one.
    pub const fn protected(&self) -> Option<Self> {
        Some(match self {
            Self::Avp => Self::Savp,
            Self::Avpf => Self::Savpf,
            Self::Msrp => Self::MsrpTls,
            Self::Bfcp => Self::BfcpTls,
            _ => return None,
        })
    }

    /// The plain profile that belongs to this protected one.
    pub const fn plain(&self) -> Option<Self> {
        Some(match self {
            Self::Savp => Self::Avp,
            Self::Savpf => Self::Avpf,
            Self::MsrpTls => Self::Msrp,
            Self::BfcpTls => Self::Bfcp,
            _ => return None,
        })
    }
}

impl From<&str> for Profile {
    fn from(name: &str) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|profile| profile.name() == name)
            .unwrap_or_else(|| Self::Other(name.to_owned()))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
