// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The pretended calls, and a front end before them.

use std::io::{self, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sallyport_agent::ng::{Calls, Config, Control, Server};
use sallyport_signalling::ng::{
    Answer, Delete, Limit, Offer, Query, Refusal, Report, SdpBody, Statistics, TagReport,
};
use tokio::sync::{Semaphore, oneshot};

/// Calls whose ids say what becomes of them.
#[derive(Debug)]
pub(crate) struct Pretended {
    /// How many offers came.
    pub(crate) offers: AtomicUsize,
    /// Offers for `slow` wait for one of these.
    pub(crate) gate: Semaphore,
}

impl Pretended {
    fn refusal(call_id: &str) -> Result<(), Refusal> {
        Err(match call_id {
            "unknown" => Refusal::UnknownCall,
            "full" => Refusal::Limit(Limit::Sessions),
            "no-ports" => Refusal::Limit(Limit::Ports),
            "no-sdp" => Refusal::Sdp,
            "panic" => panic!("as the test wants"),
            _ => return Ok(()),
        })
    }
}

impl Calls for Pretended {
    async fn ping(&self) -> Result<(), Refusal> {
        Ok(())
    }

    async fn has(&self, call_id: &str) -> bool {
        call_id == "old"
    }

    async fn offer(&self, offer: Offer) -> Result<SdpBody, Refusal> {
        let number = self.offers.fetch_add(1, Ordering::Relaxed) + 1;
        if offer.call_id.starts_with("slow") {
            self.gate.acquire().await.expect("a gate").forget();
        }
        Self::refusal(&offer.call_id)?;
        let text = format!("offer {number} of {}", offer.from_tag);
        Ok(SdpBody::new(text.into_bytes()))
    }

    async fn answer(&self, answer: Answer) -> Result<SdpBody, Refusal> {
        Self::refusal(&answer.call_id)?;
        Ok(SdpBody::new(
            format!("answer of {}", answer.to_tag).into_bytes(),
        ))
    }

    async fn delete(&self, delete: Delete) -> Result<Report, Refusal> {
        Self::refusal(&delete.call_id)?;
        Ok(Report::default())
    }

    async fn query(&self, query: Query) -> Result<Report, Refusal> {
        Self::refusal(&query.call_id)?;
        let tags = if query.call_id == "long" { 2000 } else { 1 };
        let tag = TagReport {
            tag: "alice".to_owned(),
            ..TagReport::default()
        };
        Ok(Report {
            created: Duration::from_secs(7),
            tags: vec![tag; tags],
            ..Report::default()
        })
    }

    async fn list(&self, limit: usize) -> Vec<String> {
        (0..limit.min(3))
            .map(|number| format!("call-{number}"))
            .collect()
    }

    async fn statistics(&self) -> Statistics {
        Statistics {
            sessions: 5,
            ..Statistics::default()
        }
    }
}

/// A front end on its own threads, with one address of each kind.
pub(crate) struct Front {
    pub(crate) calls: Arc<Pretended>,
    pub(crate) control: Control,
    pub(crate) udp: SocketAddr,
    pub(crate) tcp: SocketAddr,
    pub(crate) http: SocketAddr,
    /// What the server prints of itself.
    pub(crate) printed: String,
    log: Log,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Front {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        (config.udp, config.tcp, config.http) = (vec![any], vec![any], vec![any]);
        change(&mut config);
        let calls = Arc::new(Pretended {
            offers: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let log = Log::default();
        let thread = {
            let (calls, log) = (Arc::clone(&calls), log.clone());
            thread::spawn(move || {
                let subscriber = tracing_subscriber::fmt()
                    .with_ansi(false)
                    .with_writer(move || log.clone())
                    .finish();
                let _log = tracing::subscriber::set_default(subscriber);
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async {
                    let server = Server::bind(&config, calls).await.expect("sockets");
                    let addresses = [
                        server.udp_addresses(),
                        server.tcp_addresses(),
                        server.http_addresses(),
                    ];
                    let printed = format!("{server:?}");
                    let _ = tell.send((server.control(), addresses.concat(), printed));
                    server
                        .run(async {
                            let _ = stopped.await;
                        })
                        .await;
                });
            })
        };
        let (control, addresses, printed) = told.recv().expect("a front end");
        Self {
            calls,
            control,
            udp: addresses[0],
            tcp: addresses[1],
            http: addresses[2],
            printed,
            log,
            running: Some((stop, thread)),
        }
    }

    pub(crate) fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            thread.join().expect("the front end does not panic");
        }
    }

    /// Whether it has given up requests that were under way in the end.
    pub(crate) fn has_given_up(&self) -> bool {
        let log = self.log.0.lock().expect("nobody panics with it");
        String::from_utf8_lossy(&log).contains("requests that were under way are not answered")
    }

    pub(crate) fn client(&self) -> Client {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(self.udp).expect("an address");
        Client(socket)
    }

    /// How many offers reached the calls.
    pub(crate) fn offers(&self) -> usize {
        self.calls.offers.load(Ordering::Relaxed)
    }

    /// Waits until a counter is at least this.
    pub(crate) fn wait_for(&self, counter: fn(&Control) -> &AtomicU64, least: u64) {
        wait_until("a counter", || {
            counter(&self.control).load(Ordering::Relaxed) >= least
        });
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.calls.gate.close();
        self.stop();
    }
}

/// What a server logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with it").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client over UDP, as Kamailio is one.
pub(crate) struct Client(UdpSocket);

impl Client {
    pub(crate) fn send(&self, message: &[u8]) {
        self.0.send(message).expect("send");
    }

    /// What comes within [`PATIENCE`].
    pub(crate) fn receive(&self) -> String {
        self.receive_within(PATIENCE).expect("an answer")
    }

    pub(crate) fn receive_within(&self, time: Duration) -> Option<String> {
        let mut buffer = vec![0; 1 << 16];
        self.0.set_read_timeout(Some(time)).expect("a timeout");
        let length = self.0.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(String::from_utf8(buffer).expect("text"))
    }

    pub(crate) fn ask(&self, message: impl AsRef<[u8]>) -> String {
        self.send(message.as_ref());
        self.receive()
    }
}

/// An offer in bencode, without its cookie.
pub(crate) fn offer(call_id: &str, from_tag: &str) -> String {
    format!(
        "d7:call-id{}:{call_id}7:command5:offer8:from-tag{}:{from_tag}3:sdp3:v=0\
         8:supportsl10:load limitee",
        call_id.len(),
        from_tag.len()
    )
}

/// How long what has to happen is waited for: no test fails because the machine is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Asks again and again, as long as [`PATIENCE`] lasts.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
