// SPDX-License-Identifier: Apache-2.0 OR MIT

//! HTTP.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use sallyport_agent::TokenError;
use sallyport_agent::ng::{Config, NgError, Server};

use crate::harness::{Front, offer};

/// Asks, and returns status, type and body.
fn post(front: &Front, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.post(format!("http://{}{path}", front.http));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.send(body).expect("an answer");
    let kind = answer.headers().get("content-type");
    let kind = kind
        .map_or("", |kind| kind.to_str().expect("text"))
        .to_owned();
    let text = answer.body_mut().read_to_string().expect("text");
    (answer.status().as_u16(), kind, text)
}

#[test]
fn requests_come_with_a_cookie_or_without() {
    let front = Front::start();
    let ng = "application/x-rtpengine-ng";
    for (path, body, kind, answer) in [
        ("/ng", "1 d7:command4:pinge", ng, "1 d6:result4:ponge"),
        (
            "/ng",
            "1 {\"command\":\"ping\"}",
            ng,
            "1 {\"result\":\"pong\"}",
        ),
        ("/ng-plain", "d7:command4:pinge", ng, "d6:result4:ponge"),
        (
            "/ng-plain",
            "{\"command\":\"ping\"}",
            "application/json",
            "{\"result\":\"pong\"}",
        ),
    ] {
        let expected = (200, kind.to_owned(), answer.to_owned());
        assert_eq!(post(&front, path, &[], body), expected);
    }
    let mut pong = ureq::get(format!("http://{}/ping", front.http))
        .call()
        .expect("an answer");
    assert_eq!(pong.body_mut().read_to_string().expect("text"), "pong");
}

#[test]
fn a_repeated_cookie_gets_the_same_answer_over_http_too() {
    let front = Front::start();
    let request = format!("1 {}", offer("c", "alice"));
    let first = post(&front, "/ng", &[], &request);
    assert_eq!(post(&front, "/ng", &[], &request), first);
    assert_eq!(front.offers(), 1);
    // Without a cookie nobody can tell a repetition from a new request.
    post(&front, "/ng-plain", &[], &offer("c", "alice"));
    post(&front, "/ng-plain", &[], &offer("c", "alice"));
    assert_eq!(front.offers(), 3);
}

#[test]
fn what_is_no_request_is_refused() {
    let front = Front::start();
    assert_eq!(post(&front, "/ng", &[], "hello").0, 400);
    assert_eq!(post(&front, "/ng", &[], &"x".repeat(70_000)).0, 413);
    assert_eq!(post(&front, "/elsewhere", &[], "").0, 404);
    let origin = [("Origin", "https://example.com")];
    assert_eq!(post(&front, "/ng", &origin, "1 d7:command4:pinge").0, 403);
}

#[test]
fn a_token_is_asked_for_where_one_is_configured() {
    let file = TokenFile::new("known", "0123456789abcdef\n", 0o600);
    let front = Front::start_with(|config| config.token_file = Some(file.0.clone()));
    let ping = |headers: &[(&str, &str)]| post(&front, "/ng", headers, "1 d7:command4:pinge").0;
    assert_eq!(ping(&[]), 401);
    assert_eq!(ping(&[("Authorization", "Bearer 0123456789abcdeX")]), 401);
    assert_eq!(ping(&[("Authorization", "0123456789abcdef")]), 401);
    assert_eq!(ping(&[("Authorization", "Bearer")]), 401);
    assert_eq!(ping(&[("Authorization", "Bearer 0123456789abcdef")]), 200);
    assert_eq!(ping(&[("Authorization", "bearer 0123456789abcdef")]), 200);
    assert!(
        !front.printed.contains("0123456789abcdef"),
        "{}",
        front.printed
    );
}

#[test]
fn a_token_that_others_know_or_guess_keeps_the_front_end_from_starting() {
    let bind = |path: PathBuf| {
        let mut config = Config::default();
        (config.udp, config.token_file) = (Vec::new(), Some(path));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let calls = Front::start().calls.clone();
        let server = Server::bind(&config, calls);
        runtime
            .expect("a runtime")
            .block_on(server)
            .map(drop)
            .expect_err("an error")
    };
    let open = TokenFile::new("open", "0123456789abcdef", 0o644);
    assert!(matches!(
        bind(open.0.clone()),
        NgError::Token(TokenError::OpenToOthers { .. })
    ));
    let short = TokenFile::new("short", "0123456789abcde", 0o600);
    assert!(matches!(
        bind(short.0.clone()),
        NgError::Token(TokenError::Short { .. })
    ));
    assert!(matches!(
        bind("/nowhere/token".into()),
        NgError::Token(TokenError::Unreadable { .. })
    ));
}

struct TokenFile(PathBuf);

impl TokenFile {
    fn new(name: &str, token: &str, mode: u32) -> Self {
        let file = format!("sallyport-ng-token-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(file);
        fs::write(&path, token).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        Self(path)
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
