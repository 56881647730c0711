// SPDX-License-Identifier: Apache-2.0 OR MIT

//! HTTP and WebSocket: `/ng` with a cookie, `/ng-plain` without, `/ping`.
//!
//! A WebSocket speaks one of the subprotocols `ng.rtpengine.com` and `ng-plain.rtpengine.com`; if
//! it asks for none, what its path says.
//!
//! The buffers of the HTTP server, which may hold keys for a while, are out of our reach.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes as Body;
use axum::extract::ws::{self, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, DefaultBodyLimit, OriginalUri, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use sallyport_signalling::ng::{Encoding, MAX_MESSAGE};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, interval_at, timeout};
use tracing::debug;
use zeroize::Zeroizing;

use super::calls::Calls;
use super::cookies::Bytes;
use super::front::Front;
use super::tcp::{MAX_ANSWERS, PATIENCE};
use crate::https;
use crate::peers::{Guarded, Peer};

const NG: &str = "ng.rtpengine.com";
const NG_PLAIN: &str = "ng-plain.rtpengine.com";

/// The longest message with its cookie.
const MAX_BODY: usize = MAX_MESSAGE + 256;

/// How often something is asked of whoever has a WebSocket and may have nothing to say, so that it
/// is heard of while it is there.
const PING: Duration = https::IDLE.checked_div(2).expect("no zero");

pub(super) async fn serve<C: Calls>(listener: Guarded, router: Router, front: Arc<Front<C>>) {
    let (mut stop, held) = (front.stop(), front.stop());
    let service = router.into_make_service_with_connect_info::<Peer>();
    // Until it is told to end, and its connections have ended, too.
    let _ = axum::serve(listener, service)
        .with_graceful_shutdown(async move { stop.wait().await })
        .await;
    drop(held);
}

/// What HTTP is spoken over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Over {
    Tcp,
    Tls,
}

/// The routes, for whoever knows the token.
pub(super) fn router<C: Calls>(front: Arc<Front<C>>, over: Over) -> Router {
    Router::new()
        .route("/", get(web_socket))
        .route("/ng", post(ng).get(web_socket))
        .route("/ng-plain", post(ng_plain).get(web_socket))
        .route("/ping", get(async || "pong"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(over, refuse_browsers))
        .with_state(front)
}

async fn ng<C: Calls>(
    State(front): State<Arc<Front<C>>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    body: Body,
) -> Response {
    let message = Zeroizing::new(body.to_vec());
    let admitted = front.admit().await;
    match front.answer(admitted, peer, message, usize::MAX).await {
        Some(answer) => answered("application/x-rtpengine-ng", &answer),
        None => (StatusCode::BAD_REQUEST, "no cookie and space in front\n").into_response(),
    }
}

async fn ng_plain<C: Calls>(State(front): State<Arc<Front<C>>>, body: Body) -> Response {
    let kind = match Encoding::of(&body) {
        Ok(Encoding::Json) => "application/json",
        _ => "application/x-rtpengine-ng",
    };
    let document = Zeroizing::new(body.to_vec());
    let admitted = front.admit().await;
    match front.answer_plain(admitted, document).await {
        Some(answer) => answered(kind, &answer),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn answered(kind: &'static str, answer: &Bytes) -> Response {
    ([(header::CONTENT_TYPE, kind)], answer.to_vec()).into_response()
}

async fn web_socket<C: Calls>(
    State(front): State<Arc<Front<C>>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    OriginalUri(uri): OriginalUri,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .protocols([NG, NG_PLAIN])
        .max_message_size(MAX_BODY)
        .max_frame_size(MAX_BODY)
        .on_upgrade(async move |socket| {
            let has_cookie = match socket.protocol().map(header::HeaderValue::as_bytes) {
                Some(protocol) => protocol != NG_PLAIN.as_bytes(),
                None => uri.path() != "/ng-plain",
            };
            if let Err(error) = converse(socket, peer, has_cookie, &front).await {
                debug!(%error, %peer, "WebSocket ended");
            }
        })
}

async fn converse<C: Calls>(
    mut socket: WebSocket,
    peer: IpAddr,
    has_cookie: bool,
    front: &Arc<Front<C>>,
) -> Result<(), axum::Error> {
    let (answers, mut ready) = mpsc::channel::<(Option<Bytes>, bool)>(MAX_ANSWERS);
    let mut stop = front.stop();
    let mut is_reading = true;
    let mut pings = interval_at(Instant::now() + PING, PING);
    loop {
        let is_idle = answers.capacity() == MAX_ANSWERS;
        if !is_reading && is_idle {
            return socket.send(ws::Message::Close(None)).await;
        }
        tokio::select! {
            answer = ready.recv() => {
                let Some((Some(answer), is_text)) = answer else {
                    return socket.send(ws::Message::Close(None)).await;
                };
                let send = socket.send(frame(&answer, is_text));
                timeout(PATIENCE, send).await.map_err(axum::Error::new)??;
            }
            message = socket.recv(), if is_reading && answers.capacity() > 0 => {
                let (message, is_text) = match message {
                    Some(Ok(ws::Message::Text(text))) => (text.as_bytes().to_vec(), true),
                    Some(Ok(ws::Message::Binary(bytes))) => (bytes.to_vec(), false),
                    // Answered by the library.
                    Some(Ok(ws::Message::Ping(_) | ws::Message::Pong(_))) => continue,
                    Some(Ok(ws::Message::Close(_))) | None => return Ok(()),
                    Some(Err(error)) => return Err(error),
                };
                let message = Zeroizing::new(message);
                let Ok(place) = answers.clone().try_reserve_owned() else {
                    return Ok(());
                };
                let front = Arc::clone(front);
                tokio::spawn(async move {
                    let admitted = front.admit().await;
                    let answer = if has_cookie {
                        front.answer(admitted, peer, message, usize::MAX).await
                    } else {
                        front.answer_plain(admitted, message).await
                    };
                    place.send((answer, is_text));
                });
            }
            _ = pings.tick() => {
                let send = socket.send(ws::Message::Ping(Body::new()));
                timeout(PATIENCE, send).await.map_err(axum::Error::new)??;
            }
            () = stop.wait(), if is_reading => is_reading = false,
        }
    }
}

/// As the request was, as far as the answer is text.
fn frame(answer: &[u8], is_text: bool) -> ws::Message {
    match str::from_utf8(answer) {
        Ok(text) if is_text => ws::Message::Text(text.into()),
        _ => ws::Message::Binary(answer.to_vec().into()),
    }
}

/// A page in a browser on this host must not reach the calls.
async fn refuse_browsers(State(over): State<Over>, request: Request, next: Next) -> Response {
    if !is_own_origin(request.headers(), over) {
        let words = "requests from web pages are refused; leave out the Origin header\n";
        return (StatusCode::FORBIDDEN, words).into_response();
    }
    next.run(request).await
}

/// Whether a request comes from no web page. Kamailio's WebSocket client, too, names an origin: the
/// host that it asks. A page could only do that if it were ours, or if its name had become our
/// address (DNS rebinding), so the host must be no name; with TLS our certificate is for no such
/// name, and a browser does not get this far.
fn is_own_origin(headers: &HeaderMap, over: Over) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let text = |value: &header::HeaderValue| value.to_str().ok().map(str::to_owned);
    let origin = text(origin).and_then(|origin| {
        let uri: Result<Uri, _> = origin.parse();
        Some(uri.ok()?.host()?.to_owned())
    });
    let host = headers.get(header::HOST).and_then(text).and_then(|host| {
        let authority: Result<Authority, _> = host.parse();
        Some(authority.ok()?.host().to_owned())
    });
    let is_address = |host: &String| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok() || bare == "localhost"
    };
    host == origin && host.is_some_and(|host| over == Over::Tls || is_address(&host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_names_our_own_address_as_origin_is_no_browser() {
        let name = "name.example:2225";
        for (origin, host, [is_own, is_own_with_tls]) in [
            (None, "sallyport.example", [true; 2]),
            (Some("http://127.0.0.1"), "127.0.0.1:2225", [true; 2]),
            (Some("127.0.0.1"), "127.0.0.1:2225", [true; 2]),
            (Some("http://[::1]:2225"), "[::1]:2225", [true; 2]),
            (Some("http://localhost:8080"), "localhost:2225", [true; 2]),
            (Some("https://example.com"), "127.0.0.1:2225", [false; 2]),
            (Some("https://example.com"), name, [false; 2]),
            (Some("https://name.example"), name, [false, true]),
            (Some("null"), "127.0.0.1:2225", [false; 2]),
            (Some(""), "127.0.0.1:2225", [false; 2]),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            for (over, is_own) in [(Over::Tcp, is_own), (Over::Tls, is_own_with_tls)] {
                let found = is_own_origin(&headers, over);
                assert_eq!(found, is_own, "{origin:?} {host} {over:?}");
            }
        }
    }
}
