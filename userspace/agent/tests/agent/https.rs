// SPDX-License-Identifier: Apache-2.0 OR MIT

//! HTTP for other hosts, as a TLS library sees it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use sallyport_agent::https::{CertificateError, Config, HttpsError};
use sallyport_agent::{AgentError, TokenError};
use tungstenite::client::IntoClientRequest;

use crate::harness::{Agent, PATIENCE, free_port, log, wait_until};

const TOKEN: &str = "0123456789abcdef";

#[test]
fn the_api_and_ng_are_served_with_tls_to_who_knows_the_token() {
    let (_agent, files) = started(Some(TOKEN));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let https = Https::new(&files, &files.shown, &[version]);
        assert_eq!(https.stream.conn.protocol_version(), Some(version.version));
        let refused = https.ask("GET", "/v1/sessions", "", "");
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
        assert!(refused.contains("www-authenticate: Bearer"), "{refused}");
        assert!(refused.contains("agent.https.token_file"), "{refused}");
    }
    let authorization = format!("Authorization: Bearer {TOKEN}\r\n");
    for (method, path, body, answer) in [
        ("GET", "/v1/sessions", "", "{\"sessions\":[]}"),
        (
            "POST",
            "/ng",
            "1 d7:command4:liste",
            "1 d5:callsle6:result2:oke",
        ),
        (
            "POST",
            "/ng-plain",
            "{\"command\":\"list\"}",
            "{\"calls\":[]",
        ),
        ("GET", "/ping", "", "pong"),
        ("GET", "/elsewhere", "", "no such path"),
    ] {
        let https = Https::new(&files, &files.shown, rustls::DEFAULT_VERSIONS);
        let answered = https.ask(method, path, &authorization, body);
        assert!(answered.contains(answer), "{method} {path}: {answered}");
    }
    assert!(!log().contains(TOKEN));
}

#[test]
fn ng_asks_for_its_own_token_where_https_has_none() {
    let (mut agent, files) = stopped(None);
    let path = agent.folder.join("ng.token");
    replace(&path, TOKEN);
    agent.config.ng.as_mut().expect("a front end").token_file = Some(path);
    start(&mut agent, &files);
    let ask = |path, headers: &str| {
        let https = Https::new(&files, &files.shown, rustls::DEFAULT_VERSIONS);
        https.ask("POST", path, headers, "{\"command\":\"list\"}")
    };
    let refused = ask("/ng-plain", "");
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert!(refused.contains("agent.ng.token_file"), "{refused}");
    let answered = ask("/ng-plain", &format!("Authorization: bearer {TOKEN}\r\n"));
    assert!(answered.contains("{\"calls\":[]"), "{answered}");
    let https = Https::new(&files, &files.shown, rustls::DEFAULT_VERSIONS);
    let answered = https.ask("GET", "/v1/sessions", "", "");
    assert!(answered.contains("{\"sessions\":[]}"), "{answered}");
}

#[test]
fn a_web_socket_is_served_with_tls() {
    let (_agent, files) = started(None);
    let https = Https::new(&files, &files.shown, rustls::DEFAULT_VERSIONS);
    let url = format!("wss://{}/ng", files.address);
    let (mut socket, _) = tungstenite::client(url, https.stream).expect("a WebSocket");
    let request = tungstenite::Message::text("1 d7:command4:liste");
    socket.send(request).expect("send");
    let answer = socket.read().expect("an answer").into_text().expect("text");
    assert_eq!(answer.as_str(), "1 d5:callsle6:result2:oke");
}

#[test]
fn a_web_socket_may_be_asked_for_by_name() {
    let (_agent, files) = started(None);
    for (origin, is_served) in [("https://sip.example", true), ("https://a.example", false)] {
        let https = Https::new(&files, &files.shown, rustls::DEFAULT_VERSIONS);
        let request = "wss://sip.example:8443/ng".into_client_request();
        let mut request = request.expect("a request");
        let origin = origin.parse().expect("a value");
        request.headers_mut().insert("Origin", origin);
        let served = tungstenite::client(request, https.stream);
        assert_eq!(served.is_ok(), is_served);
    }
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_one_that_is_spoilt_is_not() {
    let (_agent, files) = started(None);
    let first = &files.shown;
    Https::new(&files, first, rustls::DEFAULT_VERSIONS).expect_served();
    let open = Https::new(&files, first, rustls::DEFAULT_VERSIONS);

    // What an ACME client does, cut off in the middle.
    let second = certificate();
    replace(&files.certificate, &second.cert.pem());
    let warning = "until then the certificate is as it was";
    wait_until("the agent complains", || log().contains(warning));
    Https::new(&files, first, rustls::DEFAULT_VERSIONS).expect_served();

    replace(&files.key, &second.signing_key.serialize_pem());
    let second = second.cert.der();
    wait_until("the new certificate is shown", || {
        Https::connect(&files, second, rustls::DEFAULT_VERSIONS).is_ok()
    });
    assert!(Https::connect(&files, first, rustls::DEFAULT_VERSIONS).is_err());
    open.expect_served();
}

#[test]
fn who_does_not_speak_tls_keeps_nobody_waiting() {
    let (_agent, files) = started(None);
    let address = files.address;
    let mut plain = TcpStream::connect(address).expect("a connection");
    plain
        .write_all(b"GET /v1/sessions HTTP/1.1\r\n\r\n")
        .expect("send");
    // Nobody's time has to pass, which on a slow machine it may all the same. The oldest make room
    // at once.
    wait_until("one is served while others are waited for", || {
        let silent: Vec<_> = (0..200)
            .map(|_| TcpStream::connect(address).expect("a connection"))
            .collect();
        Https::new(&files, &files.shown, rustls::DEFAULT_VERSIONS).expect_served();
        silent[184..].iter().all(is_open)
    });
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());
}

#[test]
fn what_would_serve_the_wrong_ones_keeps_the_agent_from_starting() {
    let agent = Agent::stopped(40000..=40999);
    let files = Files::new(&agent.folder);
    let open = agent.folder.join("open.key");
    fs::copy(&files.key, &open).expect("a copy");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o604)).expect("a mode");
    let other = agent.folder.join("other.key");
    replace(&other, &certificate().signing_key.serialize_pem());
    let good = files.config();
    let refused = |change: fn(&mut Config, PathBuf), path: &Path| {
        let mut https = good.clone();
        change(&mut https, path.to_owned());
        let mut config = agent.config.clone();
        config.https = Some(https);
        match config.check() {
            Err(AgentError::Https(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let nowhere = Path::new("/nowhere/file");
    let of_certificate = |error| match error {
        HttpsError::Certificate(error) => error,
        other => panic!("{other:?}"),
    };
    let key = |path| of_certificate(refused(|config, path| config.key = path, path));
    let chain = |path| of_certificate(refused(|config, path| config.certificate = path, path));

    let error = refused(|config, _| config.listen.clear(), nowhere);
    assert!(matches!(error, HttpsError::Nowhere));
    let error = refused(
        |config, _| config.listen = vec!["192.0.2.1:8443".parse().unwrap()],
        nowhere,
    );
    assert_eq!(
        error.to_string(),
        "agent.https.listen: 192.0.2.1:8443 can be reached from other hosts; list those that may \
         ask in agent.https.allow, or listen on 127.0.0.1:8443"
    );
    let error = refused(|config, path| config.token_file = Some(path), nowhere);
    assert!(matches!(
        error,
        HttpsError::Token(TokenError::Unreadable { .. })
    ));
    assert!(matches!(
        chain(nowhere),
        CertificateError::Unreadable { .. }
    ));
    assert!(matches!(
        chain(&files.key),
        CertificateError::NoCertificate { .. }
    ));
    assert!(matches!(key(nowhere), CertificateError::Unreadable { .. }));
    assert!(matches!(key(&open), CertificateError::OpenToOthers { .. }));
    assert!(matches!(key(&other), CertificateError::Unfit { .. }));
    assert_eq!(
        key(&files.certificate).to_string(),
        format!(
            "agent.https.key: no private key in {}; put it there in PEM, without a passphrase",
            files.certificate.display()
        )
    );
}

/// Whether the other side has not ended this connection.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("an option");
    let end = stream.peek(&mut [0]);
    end.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// An agent that serves HTTPS, and its files.
fn started(token: Option<&str>) -> (Agent, Files) {
    let (mut agent, files) = stopped(token);
    start(&mut agent, &files);
    (agent, files)
}

fn stopped(token: Option<&str>) -> (Agent, Files) {
    let mut agent = Agent::stopped(40000..=40999);
    let files = Files::new(&agent.folder);
    let mut https = files.config();
    https.token_file = token.map(|token| {
        let path = agent.folder.join("token");
        replace(&path, token);
        path
    });
    agent.config.https = Some(https);
    (agent, files)
}

fn start(agent: &mut Agent, files: &Files) {
    agent.start();
    wait_until("HTTPS is served", || {
        TcpStream::connect(files.address).is_ok()
    });
}

/// Where an agent listens, and with what.
struct Files {
    address: SocketAddr,
    certificate: PathBuf,
    key: PathBuf,
    /// What is in them at first.
    shown: CertificateDer<'static>,
}

impl Files {
    fn new(folder: &Path) -> Self {
        let pair = certificate();
        let files = Self {
            address: free_port(),
            certificate: folder.join("https.pem"),
            key: folder.join("https.key"),
            shown: pair.cert.der().clone(),
        };
        replace(&files.certificate, &pair.cert.pem());
        replace(&files.key, &pair.signing_key.serialize_pem());
        files
    }

    fn config(&self) -> Config {
        let (certificate, key) = (self.certificate.clone(), self.key.clone());
        Config::new(vec![self.address], certificate, key)
    }
}

fn certificate() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate")
}

/// Puts a new file there at once, for its owner only, as those do who renew certificates.
fn replace(path: &Path, text: &str) {
    let new = path.with_added_extension("new");
    fs::write(&new, text).expect("a file");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::rename(new, path).expect("a file in its place");
}

/// A connection of a client that trusts one certificate.
struct Https {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Https {
    fn new(
        files: &Files,
        trusted: &CertificateDer<'static>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        Self::connect(files, trusted, versions).expect("a connection")
    }

    fn connect(
        files: &Files,
        trusted: &CertificateDer<'static>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = files.address.ip().into();
        let tls = ClientConnection::new(Arc::new(config), name).expect("a client");
        let tcp = TcpStream::connect(files.address)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(tls, tcp);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Self { stream })
    }

    /// Asks for the last time, and returns the whole answer.
    fn ask(mut self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Connection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).expect("send");
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn expect_served(self) {
        let answer = self.ask("GET", "/ping", "", "");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}
