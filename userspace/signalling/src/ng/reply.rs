// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is answered.

use zeroize::Zeroizing;

use super::command::SdpBody;
use super::encoding::Encoding;
use super::error::RequestError;
use super::refusal::{Limit, Refusal};
use super::report::Report;
use super::statistics::Statistics;
use super::value::Dictionary;

/// What is answered.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// To a ping.
    Pong,
    /// To an offer or an answer: the same, rewritten.
    Sdp(SdpBody),
    /// To a deletion.
    Deleted(Box<Report>, Detail),
    /// To a deletion that found nothing.
    NotDeleted,
    /// To a query.
    Queried(Box<Report>),
    /// To a list: call-ids.
    Listed(Vec<String>),
    /// To a question for statistics.
    Statistics(Box<Statistics>),
    /// There is a limit, and the client knows this result.
    LoadLimit(Limit),
    /// Everything else that went wrong.
    Error(String),
}

/// How much of a call's statistics a deletion is answered with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Detail {
    /// None.
    None,
    /// The totals of the call: less than 256 bytes, so that every reply fits in a packet.
    #[default]
    Totals,
    /// As much as a query is answered with. Clients that make MOS variables of it need it, and a
    /// reply that UDP has to fragment.
    Full,
}

impl Reply {
    /// The refusal of a call, in a form that the client knows.
    pub fn refusal(refusal: &Refusal, supports_load_limit: bool) -> Self {
        match refusal {
            Refusal::Limit(limit) if supports_load_limit && *limit != Limit::Ports => {
                Self::LoadLimit(*limit)
            }
            refusal => Self::Error(refusal.to_string()),
        }
    }

    /// Writes the reply behind the cookie of its request; without one where the transport needs
    /// none.
    pub fn encode(&self, cookie: Option<&[u8]>, encoding: Encoding) -> Zeroizing<Vec<u8>> {
        let before = cookie.map_or_else(Vec::new, |cookie| [cookie, b" "].concat());
        encoding.encode(&before, &self.dictionary())
    }

    fn dictionary(&self) -> Dictionary<'_> {
        let result = |result| Dictionary::new().with("result", result);
        match self {
            Self::Pong => result("pong"),
            Self::Sdp(sdp) => result("ok").with("sdp", sdp.expose()),
            Self::Deleted(_, Detail::None) => result("ok"),
            Self::Deleted(report, Detail::Totals) => report.brief(result("ok")),
            Self::Deleted(report, Detail::Full) | Self::Queried(report) => {
                report.full(result("ok"))
            }
            Self::NotDeleted => result("ok").with("warning", NOT_FOUND),
            Self::Listed(calls) => {
                let calls: Vec<_> = calls.iter().map(String::as_str).collect();
                result("ok").with("calls", calls)
            }
            Self::Statistics(statistics) => {
                result("ok").with("statistics", statistics.dictionary())
            }
            Self::LoadLimit(limit) => result("load limit").with("message", limit.to_string()),
            Self::Error(reason) => result("error").with("error-reason", reason.as_str()),
        }
    }

    /// To a deletion that found nothing: an error only if that was asked for.
    pub fn not_deleted(fatal: bool) -> Self {
        if fatal {
            Self::Error(NOT_FOUND.to_owned())
        } else {
            Self::NotDeleted
        }
    }
}

impl From<RequestError> for Reply {
    fn from(error: RequestError) -> Self {
        Self::Error(error.to_string())
    }
}

const NOT_FOUND: &str = "Call-ID not found or tags didn't match";
