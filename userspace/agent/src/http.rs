// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The HTTP front end, version 1.
//!
//! Keys come in and never go out: neither an answer nor an error repeats a value of a request,
//! but for a session's name, and the SDP of a call, which is for one of its peers.

/// What is answered.
pub(crate) mod answer;
/// The e2ae procedures.
mod e2ae;
/// What is asked.
mod request;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, put};
use sallyport_flow::{Realm, Refused};
use serde_json::{Value, json};

use crate::data_plane::DataPlaneError;
use crate::http::answer::{
    Summary, WithCounters, agent as agent_answer, statistics as statistics_answer,
};
use crate::manager::{Manager, ManagerError};
use crate::ng::Control;
use crate::session::SessionId;

/// The longest body of a request, in bytes; those with an SDP may be longer.
const MAX_BODY: usize = 64 << 10;

/// The routes of version 1.
pub(crate) fn router(manager: Arc<Manager>, ng: Option<Control>) -> Router {
    let agent = Agent {
        manager: Arc::clone(&manager),
        ng,
    };
    let of_agent = Router::new()
        .route("/v1/agent", get(show_agent))
        .route("/v1/agent/drain", put(drain).delete(fill))
        .with_state(agent);
    let sessions = Router::new()
        .route("/v1/sessions", get(list).post(create))
        .route("/v1/sessions/{id}", get(show).delete(delete))
        .route("/v1/statistics", get(statistics))
        .route("/v1/health", get(health))
        .with_state(Arc::clone(&manager));
    Router::new()
        .merge(sessions)
        .merge(of_agent)
        .merge(e2ae::router(manager))
        .fallback(async || Error::new(StatusCode::NOT_FOUND, "", "no such path; see /v1/sessions"))
        .method_not_allowed_fallback(async || {
            Error::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "",
                "this path has no such method; the Allow header lists those it has",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(refuse_browsers))
}

/// The agent itself.
#[derive(Clone, Debug)]
struct Agent {
    manager: Arc<Manager>,
    ng: Option<Control>,
}

async fn show_agent(State(agent): State<Agent>) -> Json<Value> {
    Json(agent_answer(&agent.manager, agent.ng.as_ref()))
}

/// Takes no new session any more. Those that exist are served as before.
async fn drain(state: State<Agent>) -> Json<Value> {
    set_drain(state, true).await
}

/// Takes new sessions again.
async fn fill(state: State<Agent>) -> Json<Value> {
    set_drain(state, false).await
}

async fn set_drain(State(agent): State<Agent>, drain: bool) -> Json<Value> {
    agent.manager.drain(drain);
    if let Some(ng) = &agent.ng {
        ng.drain(drain);
    }
    show_agent(State(agent)).await
}

async fn create(
    State(manager): State<Arc<Manager>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Summary>), Error> {
    let request = request::parse(&body?)?;
    let session = manager.create(request).await?;
    Ok((StatusCode::CREATED, Json(Summary::active(session))))
}

async fn list(State(manager): State<Arc<Manager>>) -> Json<Value> {
    let sessions = manager.list().into_iter().map(Summary::active);
    Json(json!({ "sessions": sessions.collect::<Vec<_>>() }))
}

async fn show(
    State(manager): State<Arc<Manager>>,
    id: Result<Path<SessionId>, PathRejection>,
) -> Result<Json<WithCounters>, Error> {
    let Path(id) = id.map_err(|_| ManagerError::UnknownSession)?;
    let (session, counters) = manager.show(id).await?;
    Ok(Json(WithCounters {
        session: Summary::active(session),
        counters,
    }))
}

async fn delete(
    State(manager): State<Arc<Manager>>,
    id: Result<Path<SessionId>, PathRejection>,
) -> Result<Json<WithCounters>, Error> {
    let Path(id) = id.map_err(|_| ManagerError::UnknownSession)?;
    let (session, counters) = manager.delete(id).await?;
    Ok(Json(WithCounters {
        session: Summary::deleted(session),
        counters,
    }))
}

async fn statistics(State(manager): State<Arc<Manager>>) -> Result<Json<Value>, Error> {
    Ok(Json(statistics_answer(&manager.statistics().await?)))
}

async fn health(State(manager): State<Arc<Manager>>) -> (StatusCode, Json<Value>) {
    let is_connected = manager.is_connected().await;
    let data_plane = if is_connected {
        "connected"
    } else {
        "not connected"
    };
    let problem = manager.check_store().await.err();
    let store = problem.map_or_else(|| "ok".to_owned(), |problem| problem.to_string());
    let status = if is_connected && store == "ok" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let health = json!({ "agent": "ok", "data_plane": data_plane, "store": store });
    (status, Json(health))
}

/// A page in a browser on this host must not reach the sessions: browsers name the page's origin
/// with every request that could change something.
async fn refuse_browsers(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        let message = "requests from web pages are refused; leave out the Origin header";
        return Error::new(StatusCode::FORBIDDEN, "", message).into_response();
    }
    next.run(request).await
}

/// What is answered instead: `{"error":{"field":"access.suite","message":"…"}}`.
#[derive(Debug, Eq, PartialEq)]
struct Error {
    status: StatusCode,
    /// The path of the value in the request that is at fault; empty when it is none.
    field: String,
    message: String,
    /// Status and warning code of the SIP answer that fits.
    sip: Option<(u16, u16)>,
}

impl Error {
    fn new(status: StatusCode, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            field: field.into(),
            message: message.into(),
            sip: None,
        }
    }

    /// The request is wrong.
    fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, field, message)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut error = json!({ "field": self.field, "message": self.message });
        if let Some((status, warning)) = self.sip {
            error["sip_status"] = json!(status);
            error["sip_warning"] = json!(warning);
        }
        (self.status, Json(json!({ "error": error }))).into_response()
    }
}

impl From<BytesRejection> for Error {
    fn from(rejection: BytesRejection) -> Self {
        let message = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => format!(
                "the body is too long; send at most {MAX_BODY} bytes, or {} with an SDP",
                e2ae::MAX_BODY
            ),
            _ => "the body ended early; send all of it".to_owned(),
        };
        Self::new(rejection.status(), "", message)
    }
}

impl From<ManagerError> for Error {
    fn from(error: ManagerError) -> Self {
        let message = error.to_string();
        let of = |realm: Realm, key: &str| format!("{realm}.{key}");
        let (status, field) = match error {
            ManagerError::UnknownSession => (StatusCode::NOT_FOUND, String::new()),
            ManagerError::AddressNotInRealm { realm, .. } | ManagerError::OtherFamily { realm } => {
                (StatusCode::BAD_REQUEST, of(realm, "address"))
            }
            ManagerError::NoAddressOfFamily { realm } => {
                (StatusCode::BAD_REQUEST, of(realm, "remote"))
            }
            ManagerError::KeyInUse { realm } => (StatusCode::BAD_REQUEST, of(realm, "send")),
            ManagerError::Exhausted(exhausted) => {
                (StatusCode::CONFLICT, of(exhausted.realm, "address"))
            }
            ManagerError::DataPlane(DataPlaneError::Refused(Refused::Full { .. }))
            | ManagerError::TooMany
            | ManagerError::TooManyFlows { .. } => (StatusCode::CONFLICT, String::new()),
            ManagerError::DataPlane(DataPlaneError::Refused(_))
            | ManagerError::Random(_)
            | ManagerError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
            ManagerError::NotConnected | ManagerError::Draining | ManagerError::DataPlane(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, String::new())
            }
        };
        Self::new(status, field, message)
    }
}
