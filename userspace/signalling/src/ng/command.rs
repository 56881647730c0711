// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Commands, with whom they are about.
//!
//! Tags are those of the SIP dialogue: in an answer, too, `from-tag` is who made the offer and
//! `to-tag` who answers it.

use core::fmt;
use std::borrow::Cow;
use std::time::Duration;

use zeroize::Zeroizing;

use super::error::RequestError;
use super::ignored::Ignored;
use super::options::Options;
use super::value::{Dictionary, Value};
use super::word::{MAX_TEXT, normal};
use super::words::Flag;

/// What a client asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// Whether the gateway is there.
    Ping,
    /// An offer to be rewritten.
    Offer(Box<Offer>),
    /// An answer to be rewritten.
    Answer(Box<Answer>),
    /// The end of a call, or of a branch of it.
    Delete(Delete),
    /// What a call did.
    Query(Query),
    /// Which calls there are.
    List(List),
    /// What all calls did.
    Statistics,
}

/// An offer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Offer {
    /// The SIP call-id.
    pub call_id: String,
    /// Who offers.
    pub from_tag: String,
    /// To whom; unknown in a call's first offer.
    pub to_tag: Option<String>,
    /// The branch, where one call-id and tag is several calls.
    pub via_branch: Option<String>,
    /// The offer itself.
    pub sdp: SdpBody,
    /// What else is asked for.
    pub options: Options,
}

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The SIP call-id.
    pub call_id: String,
    /// Who made the offer.
    pub from_tag: String,
    /// Who answers it.
    pub to_tag: String,
    /// The branch, where one call-id and tag is several calls.
    pub via_branch: Option<String>,
    /// The answer itself.
    pub sdp: SdpBody,
    /// What else is asked for.
    pub options: Options,
}

/// The end of a call, or of a branch of it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Delete {
    /// The SIP call-id.
    pub call_id: String,
    /// Whose part of it ends; the whole call without.
    pub from_tag: Option<String>,
    /// With whom.
    pub to_tag: Option<String>,
    /// On which branch.
    pub via_branch: Option<String>,
    /// How long it goes on; as configured without.
    pub delay: Option<Duration>,
    /// To find nothing is an error, not only a warning.
    pub fatal: bool,
    /// The reply is to have no statistics.
    pub fast: bool,
    /// What was left out.
    pub ignored: Ignored,
}

/// What a call did.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Query {
    /// The SIP call-id.
    pub call_id: String,
    /// Who of it.
    pub from_tag: Option<String>,
    /// With whom.
    pub to_tag: Option<String>,
    /// What was left out.
    pub ignored: Ignored,
}

/// Which calls there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct List {
    /// The most to list; 32 unless said otherwise.
    pub limit: usize,
}

/// An SDP body. It may carry keys: wiped when dropped, never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct SdpBody(Zeroizing<Vec<u8>>);

impl Command {
    /// Reads a request.
    ///
    /// # Errors
    /// A [`RequestError`] when the command, whom it is about or its SDP is missing or ambiguous.
    pub fn parse(document: Dictionary<'_>) -> Result<Self, RequestError> {
        let request = Request::read(document)?;
        let command = request.command.as_deref().ok_or(RequestError::NoCommand)?;
        match normal(command).as_str() {
            "ping" => Ok(Self::Ping),
            "offer" => request
                .offer(false)
                .map(|offer| Self::Offer(Box::new(offer))),
            "answer" => request
                .answer()
                .map(|answer| Self::Answer(Box::new(answer))),
            "delete" => request.delete().map(Self::Delete),
            "query" => request.query().map(Self::Query),
            "list" => request.list().map(Self::List),
            "statistics" => Ok(Self::Statistics),
            _ => Err(RequestError::UnrecognizedCommand),
        }
    }

    /// The name of the command.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Offer(_) => "offer",
            Self::Answer(_) => "answer",
            Self::Delete(_) => "delete",
            Self::Query(_) => "query",
            Self::List(_) => "list",
            Self::Statistics => "statistics",
        }
    }

    /// What of the request was left out.
    pub fn ignored(&self) -> Option<&Ignored> {
        match self {
            Self::Offer(offer) => Some(&offer.options.ignored),
            Self::Answer(answer) => Some(&answer.options.ignored),
            Self::Delete(delete) => Some(&delete.ignored),
            Self::Query(query) => Some(&query.ignored),
            Self::Ping | Self::List(_) | Self::Statistics => None,
        }
    }
}

impl SdpBody {
    /// Takes a body as it is.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Copy them only into something that is wiped, too.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SdpBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SdpBody(<{} bytes>)", self.0.len())
    }
}

/// A request, before it is known what its command needs.
#[derive(Default)]
struct Request {
    command: Option<String>,
    call_id: Option<String>,
    from_tag: Option<String>,
    to_tag: Option<String>,
    via_branch: Option<String>,
    sdp: Option<SdpBody>,
    limit: Option<i64>,
    options: Options,
}

impl Request {
    fn read(document: Dictionary<'_>) -> Result<Self, RequestError> {
        let mut request = Self::default();
        for (key, value) in document {
            let key = String::from_utf8_lossy(&key);
            match normal(&key).as_str() {
                "command" => identity("command", value, &mut request.command)?,
                "call-id" => identity("call-id", value, &mut request.call_id)?,
                "from-tag" => identity("from-tag", value, &mut request.from_tag)?,
                "to-tag" => identity("to-tag", value, &mut request.to_tag)?,
                "via-branch" => identity("via-branch", value, &mut request.via_branch)?,
                "sdp" => {
                    let Value::Bytes(bytes) = value else {
                        return Err(RequestError::NoSdp);
                    };
                    let body = SdpBody::new(bytes.into_owned());
                    if request.sdp.replace(body).is_some() {
                        return Err(RequestError::Twice("sdp"));
                    }
                }
                "limit" => request.limit = Some(value.integer().unwrap_or(0)),
                _ => request.options.option(&key, &value),
            }
        }
        Ok(request)
    }

    fn offer(mut self, is_answer: bool) -> Result<Offer, RequestError> {
        self.options.close(is_answer);
        Ok(Offer {
            sdp: self
                .sdp
                .filter(|sdp| !sdp.expose().is_empty())
                .ok_or(RequestError::NoSdp)?,
            call_id: self.call_id.ok_or(RequestError::NoCallId)?,
            from_tag: self.from_tag.ok_or(RequestError::NoFromTag)?,
            to_tag: self.to_tag,
            via_branch: self.via_branch,
            options: self.options,
        })
    }

    fn answer(mut self) -> Result<Answer, RequestError> {
        let to_tag = self.to_tag.take();
        let offer = self.offer(true)?;
        Ok(Answer {
            call_id: offer.call_id,
            from_tag: offer.from_tag,
            to_tag: to_tag.ok_or(RequestError::NoToTag)?,
            via_branch: offer.via_branch,
            sdp: offer.sdp,
            options: offer.options,
        })
    }

    fn delete(self) -> Result<Delete, RequestError> {
        Ok(Delete {
            call_id: self.call_id.ok_or(RequestError::NoCallId)?,
            from_tag: self.from_tag,
            to_tag: self.to_tag,
            via_branch: self.via_branch,
            delay: self.options.delete_delay,
            fatal: self.options.flags.contains(&Flag::Fatal),
            fast: self.options.flags.contains(&Flag::Fast),
            ignored: self.options.ignored,
        })
    }

    fn query(self) -> Result<Query, RequestError> {
        Ok(Query {
            call_id: self.call_id.ok_or(RequestError::NoCallId)?,
            from_tag: self.from_tag,
            to_tag: self.to_tag,
            ignored: self.options.ignored,
        })
    }

    fn list(self) -> Result<List, RequestError> {
        const DEFAULT: i64 = 32;
        match usize::try_from(self.limit.unwrap_or(DEFAULT)) {
            Ok(0) | Err(_) => Err(RequestError::Limit),
            Ok(limit) => Ok(List { limit }),
        }
    }
}

/// Takes what says whom a request is about. An empty string is the same as nothing.
fn identity(
    key: &'static str,
    value: Value<'_>,
    to: &mut Option<String>,
) -> Result<(), RequestError> {
    let Value::Bytes(bytes) = value else {
        return Err(RequestError::NotText(key));
    };
    let text = match bytes {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).map(str::to_owned).ok(),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok(),
    };
    let text = text.ok_or(RequestError::NotText(key))?;
    if text.len() > MAX_TEXT {
        return Err(RequestError::TooLong(key));
    }
    if text.is_empty() {
        return Ok(());
    }
    match to.replace(text) {
        Some(_) => Err(RequestError::Twice(key)),
        None => Ok(()),
    }
}
