// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Clients of the ng socket: each asks, waits for the reply, and asks again.

use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sallyport_tests::Topology;

use crate::call::{Call, Command};
use crate::latency::Latencies;

/// Where an agent listens if not told otherwise.
const NG: &str = "127.0.0.1:2223";

/// How long a reply may take: what Kamailio waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a request is repeated, under its cookie.
const REPETITIONS: u32 = 5;

/// So many clients.
#[derive(Debug)]
pub(crate) struct Clients {
    clients: Vec<Client>,
    /// The number of the next call.
    next: AtomicU64,
}

impl Clients {
    /// Opens a socket for each.
    pub(crate) fn start(topology: &Topology, count: u32) -> Result<Self, Failure> {
        let open = |_| {
            let socket = topology.gateway.run(|| -> io::Result<_> {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                socket.connect(NG)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Ok(socket)
            });
            socket.map(|socket| Client { socket })
        };
        let clients = (0..count).map(open).collect::<Result<_, _>>();
        Ok(Self {
            clients: clients.map_err(Failure::Socket)?,
            next: AtomicU64::new(0),
        })
    }

    /// Offers and answers so many calls, which stay.
    pub(crate) fn open(&self, calls: u32) -> Result<(), Failure> {
        let last = self.next.load(Ordering::Relaxed) + u64::from(calls);
        self.each(|client| {
            while let Some(call) = self.next(last) {
                client.ask(call, Command::Offer)?;
                client.ask(call, Command::Answer)?;
            }
            Ok(Latencies::default())
        })?;
        // Each client took one more than there are.
        self.next.store(last, Ordering::Relaxed);
        Ok(())
    }

    /// Offers, answers and deletes calls for a while. Returns how long every request took, and how
    /// long all of them.
    pub(crate) fn cycle(&self, time: Duration) -> Result<(Latencies, Duration), Failure> {
        let start = Instant::now();
        let latencies = self.each(|client| {
            let mut latencies = Latencies::default();
            while start.elapsed() < time {
                let call = Call(self.next.fetch_add(1, Ordering::Relaxed));
                for command in Command::ALL {
                    latencies.add(command, client.ask(call, command)?);
                }
            }
            Ok(latencies)
        })?;
        Ok((latencies, start.elapsed()))
    }

    fn next(&self, last: u64) -> Option<Call> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < last).then_some(Call(number))
    }

    /// The same work for each, all at once.
    fn each(
        &self,
        work: impl Fn(&Client) -> Result<Latencies, Failure> + Sync,
    ) -> Result<Latencies, Failure> {
        thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = self
                .clients
                .iter()
                .map(|client| scope.spawn(move || work(client)))
                .collect();
            let mut all = Latencies::default();
            for thread in threads {
                all.merge(thread.join().map_err(|_| Failure::Panic)??);
            }
            Ok(all)
        })
    }
}

#[derive(Debug)]
struct Client {
    socket: UdpSocket,
}

impl Client {
    /// Sends a request and returns how long its reply took.
    fn ask(&self, call: Call, command: Command) -> Result<Duration, Failure> {
        let cookie = format!("{}_{} ", call.0, command.name());
        let request = cookie.clone() + &call.request(command);
        let mut reply = [0; 4096];
        let start = Instant::now();
        for _ in 0..=REPETITIONS {
            self.socket
                .send(request.as_bytes())
                .map_err(Failure::Socket)?;
            loop {
                match self.socket.recv(&mut reply) {
                    Ok(len) => {
                        let elapsed = start.elapsed();
                        // The reply to an earlier request may come twice, as that may have.
                        if let Some(document) = reply[..len].strip_prefix(cookie.as_bytes()) {
                            return expect_ok(command, document).map(|()| elapsed);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(Failure::Socket(error)),
                }
            }
        }
        Err(Failure::Silence(command))
    }
}

fn expect_ok(command: Command, document: &[u8]) -> Result<(), Failure> {
    let ok = b"6:result2:ok";
    if document.windows(ok.len()).any(|part| part == ok) {
        return Ok(());
    }
    let reply = String::from_utf8_lossy(document).into_owned();
    Err(Failure::Refused { command, reply })
}

/// Why there is nothing to report.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A socket does not work.
    Socket(io::Error),
    /// No reply came.
    Silence(Command),
    /// The reply was not the one that was hoped for.
    Refused {
        /// To what.
        command: Command,
        /// As it came.
        reply: String,
    },
    /// A client ended early.
    Panic,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(error) => write!(f, "the ng socket {NG}: {error}; does the agent run?"),
            Self::Silence(command) => {
                write!(f, "no reply to {}; does the agent run?", command.name())
            }
            Self::Refused { command, reply } => {
                write!(f, "{} was refused: {reply}", command.name())
            }
            Self::Panic => f.write_str("a client panicked; its message is above"),
        }
    }
}
