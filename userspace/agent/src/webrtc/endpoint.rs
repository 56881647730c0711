// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The socket of one port: answers checks and leads handshakes, and reports what comes of it.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sallyport_signalling::dtls::Dtls;
use sallyport_signalling::e2ae::Side;
use sallyport_signalling::ice::Ice;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::association::{Association, Broken, Identity, Keys};
use super::lite::{self, Check};
use super::pace::{Pace, Rate};
use crate::manager::lock;
use crate::session::SessionId;

/// More than the longest datagram that arrives.
const DATAGRAM: usize = 2048;

/// How long until the same is tried again: a port that is in use, a report that came to nothing, a
/// handshake that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How long it is at most, where a peer does not answer.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// How long the peer may miss our last messages of a handshake.
const LINGER: Duration = Duration::from_mins(1);

/// How long a nominated address counts though nothing is heard of it: a peer that still wants it
/// asks every 5 seconds (RFC 7675 section 5.1).
const SILENCE: Duration = Duration::from_secs(15);

/// From how many addresses the peer may speak at once.
const MAX_KNOWN: usize = 8;

/// Where in a session a port is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) session: SessionId,
    /// Which dialog of the call: its own as long as it lasts, whatever ports it moves to.
    pub(crate) dialog: u32,
    /// Which m-line.
    pub(crate) index: u16,
    pub(crate) side: Side,
    /// It is the port of RTCP alone.
    pub(crate) is_rtcp: bool,
}

/// What is wanted of a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Terms {
    pub(crate) place: Place,
    /// What checks have to prove, where the peer has ICE.
    pub(crate) ice: Option<Ice>,
    /// The handshake that gives the keys.
    pub(crate) dtls: Option<Dtls>,
    /// Whether it has given them.
    pub(crate) has_keys: bool,
    /// Where the peer is, as far as that is known: with ICE, what it nominated earlier; a plain one
    /// that has nominated nothing yet, where it says.
    pub(crate) peer: Option<SocketAddr>,
    /// Without ICE nobody else is listened to; and nobody at all, as long as that is not known.
    pub(crate) from: Option<IpAddr>,
}

/// What a port has found out.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) place: Place,
    pub(crate) fact: Fact,
    /// Answered with whether it is known now, or need not be.
    pub(crate) is_done: oneshot::Sender<bool>,
}

/// What a port finds out.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// Media is to go there.
    Nominated(SocketAddr),
    /// The keys of the leg, from this handshake.
    Keys(Box<Dtls>, Box<Keys>),
}

/// What all endpoints share.
pub(super) struct Shared {
    pub(super) identity: Identity,
    /// One for each handshake that may run.
    pub(super) permits: Arc<Semaphore>,
    pub(super) reports: mpsc::Sender<Report>,
    /// How fast what is not the peers' is read at all ports together.
    pub(super) strangers: Mutex<Pace>,
}

/// Serves a port until nobody has wishes for it any more.
pub(super) async fn serve(
    local: SocketAddr,
    bound: io::Result<std::net::UdpSocket>,
    mut terms: watch::Receiver<Terms>,
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
) {
    let socket = match bound.and_then(UdpSocket::from_std) {
        Ok(socket) => socket,
        Err(error) => {
            warn!(%local, "bind a socket for ICE and DTLS: {error}; trying again");
            loop {
                sleep(PAUSE).await;
                if terms.has_changed().is_err() {
                    return;
                }
                if let Ok(socket) = UdpSocket::bind(local).await {
                    break socket;
                }
            }
        }
    };
    let now = Instant::now();
    let first = terms.borrow_and_update().clone();
    let mut endpoint = Endpoint::new(first, socket, shared, permits, now);
    let [mut peer, mut strangers] = [Rate::PEER, Rate::STRANGERS].map(|rate| Pace::new(rate, now));
    let mut pause_until = None::<Instant>;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        endpoint.go_on().await;
        let deadline = endpoint.deadline();
        let pause = pause_until.unwrap_or(now);
        tokio::select! {
            changed = terms.changed() => match changed {
                Ok(()) => endpoint.change(terms.borrow_and_update().clone()),
                Err(_) => return,
            },
            () = sleep_until(deadline.unwrap_or(now)), if deadline.is_some() => {}
            () = sleep_until(pause), if pause_until.is_some() => pause_until = None,
            received = endpoint.socket.recv_from(&mut buffer), if pause_until.is_none() => {
                // An error is one of an earlier datagram, which did not arrive.
                let is_peer =
                    received.is_ok_and(|(len, from)| endpoint.receive(&buffer[..len], from));
                let now = Instant::now();
                pause_until = if is_peer {
                    peer.count(now)
                } else {
                    let all = lock(&endpoint.shared.strangers).count(now);
                    strangers.count(now).max(all)
                };
            }
        }
    }
}

struct Endpoint {
    terms: Terms,
    socket: UdpSocket,
    shared: Arc<Shared>,
    /// One for each handshake of the session that may run.
    permits: Arc<Semaphore>,
    /// From where checks have come, the latest last.
    known: VecDeque<SocketAddr>,
    nominated: Option<Nominated>,
    handshake: Option<Handshake>,
    /// Before, none begins.
    next_handshake: Instant,
    /// How many of ours have failed, one after the other.
    failures: u32,
    untold: VecDeque<Fact>,
    /// Before, nothing is reported.
    next_report: Instant,
}

struct Nominated {
    at: SocketAddr,
    priority: u32,
    heard: Instant,
}

struct Handshake {
    association: Association,
    /// What it is about.
    dtls: Dtls,
    /// Whom it is with: where the latest message came from.
    peer: SocketAddr,
    since: Instant,
    /// Of the session, and of all: given back once it is done.
    permits: Option<[OwnedSemaphorePermit; 2]>,
}

impl Endpoint {
    fn new(
        terms: Terms,
        socket: UdpSocket,
        shared: Arc<Shared>,
        permits: Arc<Semaphore>,
        now: Instant,
    ) -> Self {
        Self {
            terms,
            socket,
            shared,
            permits,
            known: VecDeque::new(),
            nominated: None,
            handshake: None,
            next_handshake: now,
            failures: 0,
            untold: VecDeque::new(),
            next_report: now,
        }
    }

    fn change(&mut self, terms: Terms) {
        let fingerprints = |terms: &Terms| {
            let dtls = terms.dtls.as_ref();
            dtls.map(|dtls| dtls.peer.fingerprints.clone())
        };
        if terms.place != self.terms.place || fingerprints(&terms) != fingerprints(&self.terms) {
            // Somebody else answers, who was offered the same port, and ICE and DTLS the same way.
            self.known.clear();
            self.nominated = None;
            self.handshake = None;
            self.next_handshake = Instant::now();
            self.failures = 0;
            self.untold.clear();
        }
        if terms.ice != self.terms.ice {
            // ICE has been restarted. Media goes on as it did until another address is nominated.
            self.known.clear();
            self.nominated = None;
        }
        let round = |terms: &Terms| {
            terms
                .dtls
                .as_ref()
                .map(|dtls| (dtls.id.clone(), dtls.round))
        };
        if round(&terms) != round(&self.terms) {
            self.handshake = None;
            self.next_handshake = Instant::now();
            self.failures = 0;
        }
        self.terms = terms;
    }

    /// When there is something to do though nothing arrives.
    fn deadline(&self) -> Option<Instant> {
        let handshake = self.handshake.as_ref().map(|handshake| {
            let next = Instant::from_std(handshake.association.deadline());
            next.min(handshake.since + LINGER)
        });
        let begins = (self.client_of().is_some()).then_some(self.next_handshake);
        let report = (!self.untold.is_empty()).then_some(self.next_report);
        [handshake, begins, report].into_iter().flatten().min()
    }

    /// Does what is due.
    async fn go_on(&mut self) {
        let now = Instant::now();
        if let Some(handshake) = &self.handshake {
            if now >= handshake.since + LINGER {
                self.handshake = None;
            } else if now >= Instant::from_std(handshake.association.deadline()) {
                self.step(None);
            }
        }
        if now >= self.next_handshake
            && let Some(peer) = self.client_of()
        {
            self.begin(peer);
            self.step(None);
        }
        if now >= self.next_report {
            self.report().await;
        }
    }

    /// The peer that waits for us to begin a handshake.
    fn client_of(&self) -> Option<SocketAddr> {
        let dtls = self.terms.dtls.as_ref()?;
        let nominated = self.nominated.as_ref().map(|nominated| nominated.at);
        let peer = nominated.or(self.terms.peer);
        peer.filter(|_| dtls.is_client && !self.terms.has_keys && self.handshake.is_none())
    }

    /// Takes a datagram. Returns whether it may be the peer's, which is the dearer case.
    fn receive(&mut self, datagram: &[u8], from: SocketAddr) -> bool {
        match datagram.first() {
            // RFC 7983 section 7: STUN, DTLS.
            Some(0..=3) => self.check(datagram, from),
            Some(20..=63) if self.may_shake_hands(from) => self.shake_hands(datagram, from),
            _ => false,
        }
    }

    fn check(&mut self, datagram: &[u8], from: SocketAddr) -> bool {
        let ice = self.terms.ice.as_ref();
        let Some(answer) = ice.and_then(|ice| lite::answer(datagram, from, ice)) else {
            return false;
        };
        // Lost, it is asked for again.
        let _ = self.socket.try_send_to(&answer.bytes, from);
        let Some(check) = answer.check else {
            return true;
        };
        if self.known.back() != Some(&from) {
            self.known.retain(|known| *known != from);
            self.known.push_back(from);
            if self.known.len() > MAX_KNOWN {
                self.known.pop_front();
            }
        }
        self.nominate(check, from);
        true
    }

    /// Takes over where media is to go. A peer may nominate several addresses, one after the other,
    /// of which the best counts (RFC 5245 section 8.1.1.2), as long as it is there.
    fn nominate(&mut self, check: Check, from: SocketAddr) {
        let now = Instant::now();
        match &mut self.nominated {
            Some(nominated) if nominated.at == from => nominated.heard = now,
            Some(nominated)
                if check.priority <= nominated.priority
                    && now.duration_since(nominated.heard) < SILENCE => {}
            _ if check.nominates => {
                self.nominated = Some(Nominated {
                    at: from,
                    priority: check.priority,
                    heard: now,
                });
                self.untold
                    .retain(|fact| !matches!(fact, Fact::Nominated(_)));
                self.untold.push_back(Fact::Nominated(from));
            }
            _ => {}
        }
    }

    /// Whether that can be the peer: with ICE who has passed a check.
    fn may_shake_hands(&self, from: SocketAddr) -> bool {
        if self.terms.ice.is_some() {
            return self.known.contains(&from);
        }
        // Of whom nothing is known, that can be anybody.
        self.terms.from == Some(from.ip())
    }

    fn shake_hands(&mut self, datagram: &[u8], from: SocketAddr) -> bool {
        let is_server = self.terms.dtls.as_ref().is_some_and(|dtls| !dtls.is_client);
        let now = Instant::now();
        if self.handshake.is_none()
            && is_server
            && now >= self.next_handshake
            && Association::may_begin(datagram)
        {
            self.begin(from);
        }
        let Some(handshake) = &mut self.handshake else {
            return false;
        };
        if !Association::may_take(datagram) {
            return false;
        }
        handshake.peer = from;
        self.step(Some(datagram));
        true
    }

    fn begin(&mut self, peer: SocketAddr) {
        let now = Instant::now();
        self.next_handshake = now + PAUSE;
        let Some(dtls) = self.terms.dtls.clone() else {
            return;
        };
        let permit = |permits: &Arc<Semaphore>| Arc::clone(permits).try_acquire_owned();
        // In this order: a session that has enough takes none away, not even for a moment.
        let of_session = permit(&self.permits);
        let Ok(permits) = of_session.and_then(|one| Ok([one, permit(&self.shared.permits)?]))
        else {
            // The peer, or we, will try again.
            debug!("as many DTLS handshakes as may run at once");
            return;
        };
        match Association::begin(&self.shared.identity, &dtls, now.into_std()) {
            Ok(association) => {
                self.handshake = Some(Handshake {
                    association,
                    dtls,
                    peer,
                    since: now,
                    permits: Some(permits),
                });
            }
            Err(broken) => warn!(session = %self.terms.place.session, "{broken}"),
        }
    }

    /// How long to wait after one more handshake has failed: a peer that begins them itself may
    /// soon, and one that does not answer ours is asked ever more seldom.
    fn pause(&mut self) -> Duration {
        let is_client = self.terms.dtls.as_ref().is_some_and(|dtls| dtls.is_client);
        if !is_client {
            return PAUSE;
        }
        let pause = (PAUSE * (1 << self.failures)).min(MAX_PAUSE);
        self.failures = (self.failures + 1).min(MAX_PAUSE.as_secs().ilog2() + 1);
        pause
    }

    /// Goes on with the handshake.
    fn step(&mut self, datagram: Option<&[u8]>) {
        let Some(handshake) = &mut self.handshake else {
            return;
        };
        let now = Instant::now();
        let (socket, peer) = (&self.socket, handshake.peer);
        let association = &mut handshake.association;
        let had_keys = association.has_keys();
        let progress = association.take(datagram, now.into_std());
        let progress = progress.and_then(|()| {
            association.proceed(|datagram| {
                // Lost, it is repeated.
                let _ = socket.try_send_to(datagram, peer);
            })
        });
        let session = self.terms.place.session;
        match progress {
            Ok(None) => {}
            Ok(Some(keys)) => {
                info!(%session, %peer, suite = %keys.send.suite, "keys agreed by DTLS");
                handshake.permits = None;
                self.failures = 0;
                handshake.since = now;
                let dtls = Box::new(handshake.dtls.clone());
                self.untold.retain(|fact| !matches!(fact, Fact::Keys(..)));
                self.untold.push_back(Fact::Keys(dtls, Box::new(keys)));
            }
            Err(broken) => {
                if !had_keys {
                    self.next_handshake = now + self.pause();
                    if matches!(broken, Broken::Certificate) {
                        warn!(%session, %peer, "{broken}");
                    } else {
                        info!(%session, %peer, "{broken}");
                    }
                }
                // What it gave stays. A new one begins with the peer's next message.
                self.handshake = None;
            }
        }
    }

    async fn report(&mut self) {
        while let Some(fact) = self.untold.front() {
            let (is_done, done) = oneshot::channel();
            let report = Report {
                place: self.terms.place,
                fact: fact.clone(),
                is_done,
            };
            let is_sent = self.shared.reports.send(report).await.is_ok();
            if !is_sent || !done.await.unwrap_or(false) {
                self.next_report = Instant::now() + PAUSE;
                return;
            }
            self.untold.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use sallyport_signalling::dtls::{DtlsPeer, Fingerprint, Hash};
    use sha2::{Digest, Sha256};
    use zeroize::Zeroizing;

    use super::super::certificate::Certificate;
    use super::*;

    const PEER: &str = "127.0.0.1:9";

    fn terms(dialog: u32, certificate: u8) -> Terms {
        let peer = DtlsPeer {
            fingerprints: vec![Fingerprint {
                hash: Hash::Sha256,
                digest: vec![certificate; 32],
            }],
            setup: None,
            id: None,
        };
        Terms {
            place: Place {
                session: "00000000000a0000".parse().unwrap(),
                dialog,
                index: 0,
                side: Side::Access,
                is_rtcp: false,
            },
            ice: None,
            dtls: Some(Dtls::new(None, true, "id".to_owned(), peer)),
            has_keys: false,
            peer: Some(PEER.parse().unwrap()),
            from: None,
        }
    }

    async fn endpoint(terms: Terms) -> Endpoint {
        let certificate =
            Certificate::derive(|purpose| Zeroizing::new(Sha256::digest(purpose).into())).unwrap();
        let (reports, _) = mpsc::channel(1);
        let now = Instant::now();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            identity: Identity::new(&certificate).unwrap(),
            permits: Arc::new(Semaphore::new(2)),
            reports,
            strangers: Mutex::new(Pace::new(Rate::ALL_STRANGERS, now)),
        });
        Endpoint::new(terms, socket, shared, Arc::new(Semaphore::new(1)), now)
    }

    #[tokio::test]
    async fn a_session_has_its_share_of_handshakes_and_no_more() {
        let peer = PEER.parse().unwrap();
        let mut first = endpoint(terms(0, 1)).await;
        let mut second = endpoint(terms(1, 1)).await;
        second.shared = Arc::clone(&first.shared);
        second.permits = Arc::clone(&first.permits);
        first.begin(peer);
        second.begin(peer);
        assert!(first.handshake.is_some());
        assert!(second.handshake.is_none());
        assert_eq!(first.shared.permits.available_permits(), 1);
        first.handshake = None;
        second.begin(peer);
        assert!(second.handshake.is_some());
    }

    #[tokio::test]
    async fn a_peer_that_does_not_answer_is_asked_ever_more_seldom() {
        let mut endpoint = endpoint(terms(0, 1)).await;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(endpoint.pause(), Duration::from_secs(seconds));
        }
    }

    #[tokio::test]
    async fn without_ice_nobody_begins_a_handshake_with_a_peer_that_is_nowhere() {
        let mut endpoint = endpoint(terms(0, 1)).await;
        let peer: SocketAddr = PEER.parse().unwrap();
        assert!(!endpoint.may_shake_hands(peer));
        endpoint.terms.from = Some(peer.ip());
        assert!(endpoint.may_shake_hands(peer));
    }

    #[tokio::test]
    async fn nothing_of_one_who_answers_counts_for_another() {
        for (other, is_another) in [
            (terms(0, 1), false),
            (terms(1, 1), true),
            (terms(0, 2), true),
        ] {
            let peer = PEER.parse().unwrap();
            let mut endpoint = endpoint(terms(0, 1)).await;
            endpoint.known.push_back(peer);
            endpoint.nominate(
                Check {
                    nominates: true,
                    priority: 1,
                },
                peer,
            );
            endpoint.begin(peer);
            endpoint.change(other);
            assert_eq!(endpoint.handshake.is_none(), is_another);
            assert_eq!(endpoint.nominated.is_none(), is_another);
            assert_eq!(endpoint.known.is_empty(), is_another);
            assert_eq!(endpoint.untold.is_empty(), is_another);
        }
    }
}
