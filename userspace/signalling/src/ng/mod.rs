// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The ng control protocol, which Kamailio and OpenSIPS speak to a media proxy.
//!
//! A message is a cookie, a space and a document: a dictionary in bencode or JSON. The order of
//! the modules is the way of a request and back: bytes ([`Encoding`], [`bencode`]) become a
//! [`Dictionary`], that becomes a [`Command`], and a [`Reply`] becomes bytes again. Sockets, the
//! cache of cookies and the calls themselves are not here.
//!
//! What a request says and we do not know is ignored, as clients expect, and listed in
//! [`Ignored`]; what makes it ambiguous is refused. An SDP body may carry keys: it is wiped when
//! dropped and never printed.
//!
//! Compatible with what Kamailio 5.6 and OpenSIPS 3 and 4 send and read. Keys and words are
//! compared without regard to case, and a space, a hyphen and an underscore are one, since clients
//! differ in these.

/// Bencode as ng uses it.
pub mod bencode;
/// Commands, with whom they are about.
mod command;
/// What is to be changed in an SDP that leaves.
mod edits;
/// Bencode or JSON, and the cookie in front.
mod encoding;
/// Why a request cannot be understood.
mod error;
/// Options as one text.
mod flag_text;
/// What was not understood and left out.
mod ignored;
/// JSON as ng uses it.
mod json;
/// What offers and answers ask for beside their SDP.
mod options;
/// Why a call is refused.
mod refusal;
/// What is answered.
mod reply;
/// What one call did.
mod report;
/// What `SDES` asks for.
mod sdes;
/// What all calls together did.
mod statistics;
/// The values of documents.
mod value;
/// Keys and words, however they are spelt.
mod word;
/// The words that options are made of.
mod words;

pub use bencode::BencodeError;
pub use command::{Answer, Command, Delete, List, Offer, Query, SdpBody};
pub use edits::{AttributeEdit, Attributes, Codecs, Edits, Extensions};
pub use encoding::{Encoding, MAX_MESSAGE, Message};
pub use error::RequestError;
pub use ignored::{Ignored, Why};
pub use json::JsonError;
pub use options::{Options, Tos};
pub use refusal::{Limit, Refusal};
pub use reply::{Detail, Reply};
pub use report::{
    Counters, MediaReport, Mos, Report, SsrcQuality, StreamKind, StreamReport, TagReport, Totals,
};
pub use sdes::Sdes;
pub use statistics::Statistics;
pub use value::{Dictionary, Value};
pub use words::{
    Dtls, DtlsHash, EndpointLearning, Family, Flag, Ice, IceLite, MediaEcho, Osrtp, Replace,
    RtcpMux, Traffic, Transport,
};
