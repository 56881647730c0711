// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The e2ae procedures of TS 33.328, for a P-CSCF that speaks HTTP.
//!
//! | request | when |
//! |---|---|
//! | `POST /v1/e2ae/originating/offer` | a UE has made an offer; what is answered goes to the core |
//! | `POST /v1/e2ae/originating/answer` | the core has answered it; what is answered goes to the UE |
//! | `POST /v1/e2ae/terminating/offer` | the core has made an offer; what is answered goes to a UE |
//! | `POST /v1/e2ae/terminating/answer` | the UE has answered it; what is answered goes to the core |
//! | `POST /v1/e2ae/query` | whoever wants to know what protects the call, and what arrived |
//! | `POST /v1/e2ae/delete` | the call has ended, or a part of it |
//!
//! The body of an offer and of an answer:
//!
//! ```json
//! {
//!   "call_id": "a84b4c76e66710", "from_tag": "1928301774", "to_tag": "a6c85cf", "via_branch": "z9",
//!   "sdp": "v=0\r\n…", "media_address": "192.0.2.8",
//!   "ue": {
//!     "security_client": ["sdes-srtp;mediasec"],
//!     "security_server": ["sdes-srtp;mediasec"],
//!     "access_network": "3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=…",
//!     "signalling": "confidential",
//!     "received_from": "192.0.2.7"
//!   },
//!   "policy": {
//!     "e2ae": "required", "needs_indications": true, "end_to_end": true,
//!     "suites": ["AEAD_AES_256_GCM"]
//!   }
//! }
//! ```
//!
//! `from_tag` is who made the offer, `to_tag` who answers; both are those of the SIP dialog, and
//! `to_tag` is missing in a call's first offer. `via_branch` tells the branches of a forked call
//! apart; each has at most 1024 bytes. `media_address` is where media of who sent the SDP is,
//! whatever that says: a plain peer that says a host name needs it. `security_client` and
//! `security_server` are header field values: what the UE said at its registration and what the
//! network did; `signalling` is `confidential` or, without encryption between UE and network,
//! `exposed`. `policy` takes the place of what the agent is configured with, key by key; what a
//! rule there says of suites still holds. Everything but `call_id`, the tags and `sdp` may be
//! missing, in an answer, too; without `ue` nothing was agreed on at registration. `"final": true`
//! in an answer says that the call is taken with it: without media it then ends after `inactive`,
//! and not only after `unanswered`.
//!
//! An offer is never refused for glare. Where one of the other side has no answer yet, the new one
//! takes its place, since nobody tells of an offer that was refused: peers whose offers cross
//! refuse each other's with 491 (RFC 3261 section 14.1). If one of them answers nevertheless, that
//! counts for eight seconds.
//!
//! The answer is `{"sdp": "…"}`, with the keys that are for who will get it. A refusal has the SIP
//! status and warning code that fit beside its message:
//! `{"error": {"field": "sdp", "message": "…", "sip_status": 488, "sip_warning": 302}}`.
//!
//! A query has `call_id`. Its answer tells of each peer, line by line, how far its protection
//! reaches (`end-to-access-edge`, `end-to-end` or `none`, by which it may be shown to its user), in
//! which suite if it ends here, and what arrived from it:
//!
//! ```json
//! {"peers": [{"tag": "1928301774", "media": [{
//!     "medium": "audio", "profile": "RTP/SAVP", "protection": "end-to-access-edge",
//!     "suite": "AEAD_AES_256_GCM", "packets": 1000, "bytes": 172000, "errors": 0
//! }]}]}
//! ```
//!
//! A deletion has `call_id`, and the tags and the branch if only a part of the call has ended; its
//! answer tells what arrived: `{"packets": 2000, "bytes": 344000, "errors": 0}`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::post;
use sallyport_flow::Realm;
use sallyport_signalling::Suite;
use sallyport_signalling::e2ae::Side;
use sallyport_signalling::mediasec::{Binding, Mechanisms};
use sallyport_signalling::ng::{Counters, MediaReport};
use sallyport_signalling::policy::{AccessNetwork, Policy, Rule};
use sallyport_signalling::sdes::Suites;
use sallyport_signalling::sdp::Sdp;
use sallyport_signalling::shape::Wanted;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Error;
use super::request::{Secret, read};
use crate::call::{About, Answer, Offer, Part, Reach, Registration, Tags, Terms};
use crate::call_error::CallError;
use crate::calls::{Finish, Ours};
use crate::manager::{Manager, to_its_end};
use crate::report::report;

/// An SDP of 64 KiB, however it is escaped.
pub(super) const MAX_BODY: usize = 256 << 10;

/// The longest call-id, tag or branch, in bytes; the same as over ng.
const MAX_TEXT: usize = 1024;

pub(super) fn router(manager: Arc<Manager>) -> Router {
    Router::new()
        .route("/v1/e2ae/originating/offer", post(originating_offer))
        .route("/v1/e2ae/originating/answer", post(originating_answer))
        .route("/v1/e2ae/terminating/offer", post(terminating_offer))
        .route("/v1/e2ae/terminating/answer", post(terminating_answer))
        .route("/v1/e2ae/query", post(query))
        .route("/v1/e2ae/delete", post(delete))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(manager)
}

type Body = Result<Bytes, BytesRejection>;

async fn originating_offer(State(manager): State<Arc<Manager>>, body: Body) -> Answered {
    offer(manager, Side::Access, &body?).await
}

async fn originating_answer(State(manager): State<Arc<Manager>>, body: Body) -> Answered {
    answer(manager, Side::Access, &body?).await
}

async fn terminating_offer(State(manager): State<Arc<Manager>>, body: Body) -> Answered {
    offer(manager, Side::Core, &body?).await
}

async fn terminating_answer(State(manager): State<Arc<Manager>>, body: Body) -> Answered {
    answer(manager, Side::Core, &body?).await
}

type Answered = Result<Json<Value>, Error>;

async fn offer(manager: Arc<Manager>, by: Side, body: &[u8]) -> Answered {
    let exchange = Exchange::parse(body, &manager)?;
    let realms = match by {
        Side::Access => [Realm::Access, Realm::Core],
        Side::Core => [Realm::Core, Realm::Access],
    };
    let offer = Offer {
        about: exchange.about(by == Side::Access),
        tags: exchange.tags,
        sdp: exchange.sdp,
        realms: realms.map(Some),
        by: Some(by),
        terms: Terms::Policy(exchange.registration),
        policy: exchange.policy,
        rtcp_mux: None,
        shape: Wanted::default(),
        version: None,
        moves_ports: false,
        dscp: None,
        max_streams: manager.limits.max_streams,
    };
    to_its_end(async move { manager.offer(&offer, &AsItIs).await })
        .await
        .map(|sdp| passed(&sdp))
        .map_err(Error::from)
}

async fn answer(manager: Arc<Manager>, to: Side, body: &[u8]) -> Answered {
    let exchange = Exchange::parse(body, &manager)?;
    if exchange.tags.to.is_none() {
        return Err(Error::field("to_tag", "missing; add it"));
    }
    let answer = Answer {
        about: exchange.about(to == Side::Core),
        tags: exchange.tags,
        to: Some(to),
        sdp: exchange.sdp,
        terms: Terms::Policy(exchange.registration),
        policy: exchange.policy,
        is_final: exchange.is_final,
    };
    to_its_end(async move { manager.answer(&answer, &AsItIs).await })
        .await
        .map(|sdp| passed(&sdp))
        .map_err(Error::from)
}

async fn query(State(manager): State<Arc<Manager>>, body: Body) -> Answered {
    let QueryBody { call_id } = read(&body?)?;
    let report = report(&manager.ask(&call_id).await?, manager.now());
    let peers = report.tags.iter().map(|peer| {
        let media: Vec<_> = peer.medias.iter().map(media).collect();
        json!({ "tag": peer.tag, "media": media })
    });
    Ok(Json(json!({ "peers": peers.collect::<Vec<_>>() })))
}

/// What protects a line of one peer, and what arrived.
fn media(media: &MediaReport) -> Value {
    let protection = if media.flags.contains(&"passthrough") {
        "end-to-end"
    } else if media.protocol.contains("SAVP") {
        "end-to-access-edge"
    } else {
        "none"
    };
    let mut arrived = Counters::default();
    for stream in &media.streams {
        arrived += stream.ingress;
    }
    json!({
        "medium": media.kind,
        "profile": media.protocol,
        "protection": protection,
        "suite": media.streams.iter().find_map(|stream| stream.suite.as_ref()),
        "packets": arrived.packets,
        "bytes": arrived.bytes,
        "errors": arrived.errors,
    })
}

async fn delete(State(manager): State<Arc<Manager>>, body: Body) -> Answered {
    let DeleteBody {
        call_id,
        from_tag,
        to_tag,
        via_branch,
    } = read(&body?)?;
    let part = Part {
        from: from_tag,
        to: to_tag,
        via: via_branch,
    };
    let report = to_its_end(async move {
        let did = manager.end(&call_id, &part, Duration::ZERO).await?;
        Ok::<_, CallError>(report(&did, manager.now()))
    });
    let totals = report.await?.totals();
    let all = |of: fn(&Counters) -> u64| of(&totals.rtp) + of(&totals.rtcp);
    Ok(Json(json!({
        "packets": all(|counters| counters.packets),
        "bytes": all(|counters| counters.bytes),
        "errors": all(|counters| counters.errors),
    })))
}

fn passed(sdp: &Sdp) -> Json<Value> {
    Json(json!({ "sdp": sdp.write().as_str() }))
}

/// No line is ours but those that lead media here.
struct AsItIs;

impl Finish for AsItIs {
    fn is_always_new(&self) -> bool {
        false
    }

    fn finish(&self, _: &mut Sdp, _: Ours) {}
}

/// What an offer and an answer say.
struct Exchange {
    tags: Tags,
    sdp: Sdp,
    registration: Registration,
    received_from: Option<IpAddr>,
    media_address: Option<IpAddr>,
    policy: Policy,
    is_final: bool,
}

impl Exchange {
    fn parse(body: &[u8], manager: &Manager) -> Result<Self, Error> {
        let body: ExchangeBody = read(body)?;
        for (field, text) in [
            ("call_id", Some(&body.call_id)),
            ("from_tag", Some(&body.from_tag)),
            ("to_tag", body.to_tag.as_ref()),
            ("via_branch", body.via_branch.as_ref()),
        ] {
            if text.is_some_and(|text| text.len() > MAX_TEXT) {
                let problem = format!("longer than {MAX_TEXT} bytes; no SIP peer needs that");
                return Err(Error::field(field, problem));
            }
        }
        let sdp = Sdp::parse(body.sdp.as_bytes())
            .map_err(|error| Error::field("sdp", error.to_string()))?;
        let ue = body.ue.unwrap_or_default();
        let mechanisms = |headers: &[String]| Mechanisms::parse(headers.iter().map(String::as_str));
        Ok(Self {
            tags: Tags {
                call_id: body.call_id,
                from: body.from_tag,
                to: body.to_tag,
                via: body.via_branch,
            },
            sdp,
            registration: Registration {
                binding: Binding {
                    ue: mechanisms(&ue.security_client),
                    network: mechanisms(&ue.security_server),
                },
                access_network: ue.access_network.as_deref().map(AccessNetwork::parse),
                is_signalling_confidential: ue.signalling == Signalling::Confidential,
            },
            received_from: ue.received_from,
            media_address: body.media_address,
            is_final: body.is_final,
            policy: body.policy.unwrap_or_default().apply(&manager.policy)?,
        })
    }

    /// Only of the UE it is said where its messages come from.
    fn about(&self, is_of_ue: bool) -> About {
        About {
            reach: Reach {
                received_from: self.received_from.filter(|_| is_of_ue),
                media_address: self.media_address,
                ..Reach::default()
            },
            ..About::default()
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct ExchangeBody {
    call_id: String,
    from_tag: String,
    to_tag: Option<String>,
    via_branch: Option<String>,
    /// Of an answer: whether the call is taken with it.
    #[serde(default, rename = "final")]
    is_final: bool,
    sdp: Secret,
    media_address: Option<IpAddr>,
    ue: Option<UeBody>,
    policy: Option<PolicyBody>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
struct UeBody {
    security_client: Vec<String>,
    security_server: Vec<String>,
    access_network: Option<String>,
    signalling: Signalling,
    received_from: Option<IpAddr>,
}

#[derive(Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Signalling {
    Confidential,
    #[default]
    Exposed,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
struct PolicyBody {
    e2ae: Option<String>,
    needs_indications: Option<bool>,
    end_to_end: Option<bool>,
    suites: Option<Vec<String>>,
}

impl PolicyBody {
    fn apply(self, configured: &Policy) -> Result<Policy, Error> {
        let mut policy = configured.clone();
        if let Some(e2ae) = self.e2ae {
            let e2ae =
                e2ae.parse()
                    .map_err(|error: sallyport_signalling::policy::UnknownE2ae| {
                        Error::field("policy.e2ae", error.to_string())
                    })?;
            // Suites are those of the rules still.
            for rule in &mut policy.rules {
                rule.e2ae = e2ae;
            }
            policy.rules.push(Rule {
                medium: None,
                access_network: None,
                e2ae,
                suites: None,
            });
        }
        policy.needs_indications = self.needs_indications.unwrap_or(policy.needs_indications);
        policy.end_to_end = self.end_to_end.unwrap_or(policy.end_to_end);
        if let Some(names) = self.suites {
            let error = |problem: String| Error::field("policy.suites", problem);
            let suites = names.iter().map(|name| name.parse());
            let suites: Vec<Suite> = suites.collect::<Result<_, _>>().map_err(
                |problem: sallyport_signalling::UnknownSuite| error(problem.to_string()),
            )?;
            policy.sdes.suites =
                Suites::new(suites).map_err(|problem| error(problem.to_string()))?;
        }
        Ok(policy)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct QueryBody {
    call_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct DeleteBody {
    call_id: String,
    from_tag: Option<String>,
    to_tag: Option<String>,
    via_branch: Option<String>,
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        let (status, field) = match &error {
            CallError::Manager(_) => {
                let CallError::Manager(error) = error else {
                    return Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message);
                };
                return error.into();
            }
            CallError::UnknownCall => (StatusCode::NOT_FOUND, "call_id"),
            CallError::Dialogue => (StatusCode::CONFLICT, "from_tag"),
            CallError::Dialogs { .. } => (StatusCode::CONFLICT, ""),
            CallError::Refused(_)
            | CallError::Sdp(_)
            | CallError::Streams { .. }
            | CallError::Family
            | CallError::HostName(_)
            | CallError::Interface(_)
            | CallError::Unsupported(_) => (StatusCode::UNPROCESSABLE_ENTITY, "sdp"),
        };
        let sip = match &error {
            CallError::Refused(refusal) => Some((refusal.sip_status(), refusal.sip_warning())),
            _ => None,
        };
        Self {
            sip,
            ..Self::new(status, field, message)
        }
    }
}
