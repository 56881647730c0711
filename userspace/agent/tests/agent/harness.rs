// SPDX-License-Identifier: Apache-2.0 OR MIT

//! An agent in a thread of its own, a client for it, and everything it ever logged.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use sallyport_agent::{AgentError, Config, Limits, RealmConfig, Timeouts, default_policy, ng};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::data_plane::DataPlane;

/// An agent with its folder.
pub(crate) struct Agent {
    pub(crate) config: Config,
    pub(crate) folder: PathBuf,
    running: Option<Running>,
}

/// What ends it, and its thread.
type Running = (oneshot::Sender<()>, JoinHandle<Result<(), AgentError>>);

impl Agent {
    /// An agent and a data plane that are connected.
    pub(crate) fn connected() -> (Self, DataPlane) {
        Self::connected_with_ports(40000..=40999)
    }

    pub(crate) fn connected_with_ports(ports: RangeInclusive<u16>) -> (Self, DataPlane) {
        let mut agent = Self::stopped(ports);
        let data_plane = DataPlane::start(&agent.config.flow_socket);
        agent.start();
        agent.wait_until_connected();
        (agent, data_plane)
    }

    /// An agent that does not run yet.
    pub(crate) fn stopped(ports: RangeInclusive<u16>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        log_everything();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("sallyport-agent-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("create a folder");
        let realm = |addresses: &[&str]| RealmConfig {
            addresses: addresses
                .iter()
                .map(|address| address.parse().expect("an address"))
                .collect(),
            ports: ports.clone(),
        };
        let mut ng = ng::Config::default();
        ng.udp = vec![free_udp_port()];
        let config = Config {
            listen: free_port(),
            store: folder.join("sessions.redb"),
            store_key: folder.join("sessions.key"),
            flow_socket: folder.join("flow.sock"),
            access: realm(&["192.0.2.1", "2001:db8::1", "192.0.2.2"]),
            core: realm(&["10.0.0.1"]),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            policy: default_policy(),
            ng: Some(ng),
            https: None,
        };
        Self {
            config,
            folder,
            running: None,
        }
    }

    pub(crate) fn start(&mut self) {
        let (stop, stopped) = oneshot::channel::<()>();
        let config = self.config.clone();
        let thread = thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("build a runtime")
                .block_on(sallyport_agent::run(config, async {
                    let _ = stopped.await;
                }))
        });
        self.running = Some((stop, thread));
        wait_until("the agent answers", || {
            std::net::TcpStream::connect(self.config.listen).is_ok()
        });
    }

    pub(crate) fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            thread
                .join()
                .expect("the agent does not panic")
                .expect("the agent ends well");
        }
    }

    pub(crate) fn wait_until_connected(&self) {
        wait_until("agent and data plane are connected", || {
            self.get("/v1/health").0 == 200
        });
    }

    pub(crate) fn wait_until_disconnected(&self) {
        wait_until("the agent notices that the data plane is gone", || {
            self.get("/v1/health").0 == 503
        });
    }

    /// Asks over ng, as a SIP proxy does.
    pub(crate) fn ng(&self, request: &Value) -> Value {
        static COOKIE: AtomicU32 = AtomicU32::new(0);
        let ng = self.config.ng.as_ref().expect("an ng front end");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let cookie = format!("{} ", COOKIE.fetch_add(1, Ordering::Relaxed));
        let message = format!("{cookie}{request}");
        socket.send_to(message.as_bytes(), ng.udp[0]).expect("send");
        let mut answer = vec![0; 1 << 16];
        let length = socket.recv(&mut answer).expect("an answer");
        let answer = std::str::from_utf8(&answer[..length]).expect("text");
        let answer = answer.strip_prefix(&cookie).expect("the cookie");
        serde_json::from_str(answer).expect("JSON")
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        self.request("GET", path, &[], "")
    }

    pub(crate) fn delete(&self, path: &str) -> (u16, Value) {
        self.request("DELETE", path, &[], "")
    }

    pub(crate) fn create(&self, body: &Value) -> (u16, Value) {
        self.request("POST", "/v1/sessions", &[], &body.to_string())
    }

    /// Creates a session, which must succeed, and returns its id.
    pub(crate) fn created(&self, body: &Value) -> String {
        let (status, answer) = self.create(body);
        assert_eq!(status, 201, "{answer}");
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// The ids of all sessions.
    pub(crate) fn ids(&self) -> Vec<String> {
        let (status, answer) = self.get("/v1/sessions");
        assert_eq!(status, 200, "{answer}");
        let sessions = answer["sessions"].as_array().expect("sessions");
        let id = |session: &Value| session["id"].as_str().expect("an id").to_owned();
        sessions.iter().map(id).collect()
    }

    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, Value) {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.config.listen));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .build()
            .new_agent()
            .run(request.body(body.to_owned()).expect("a request"))
            .expect("an answer");
        let text = answer.body_mut().read_to_string().expect("a body");
        let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (answer.status().as_u16(), json)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A session between an SRTP peer on the access side and a plain one on the core side.
pub(crate) fn srtp_to_rtp() -> Value {
    json!({
        "access": {
            "profile": "RTP/SAVP",
            "remote": "192.0.2.7:5004",
            "suite": "AES_CM_128_HMAC_SHA1_80",
            "receive": inline(&new_key(30)),
            "send": inline(&new_key(30)),
        },
        "core": { "profile": "RTP/AVP", "remote": "10.0.0.9:6000" },
    })
}

/// A session without keys.
pub(crate) fn rtp_to_rtp() -> Value {
    json!({
        "access": { "profile": "RTP/AVP", "remote": "192.0.2.7:5004" },
        "core": { "profile": "RTP/AVP", "remote": "10.0.0.9:6000" },
    })
}

/// Bytes that no other key has.
pub(crate) fn new_key(len: usize) -> Vec<u8> {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut key = vec![0x9c; len];
    key[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b1).to_be_bytes());
    key
}

pub(crate) fn inline(key: &[u8]) -> String {
    format!("inline:{}", BASE64_STANDARD.encode(key))
}

/// How long what has to happen is waited for: no test fails because the machine is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Asks again and again, as long as [`PATIENCE`] lasts.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn free_udp_port() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a free port")
}

pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// What all agents of this process logged, at every level.
pub(crate) fn log() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

fn log_everything() {
    struct Log;

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            LOG.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Log)
            .init();
    });
}
