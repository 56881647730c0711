// SPDX-License-Identifier: Apache-2.0 OR MIT

//! From message to command to reply.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sallyport_signalling::ng::{
    Command, Delete, Detail, Encoding, Ignored, Limit, Message, Offer, Refusal, Reply,
    RequestError, SdpBody, Why,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::{debug, error};
use zeroize::Zeroizing;

use super::calls::Calls;
use super::config::Config;
use super::cookies::{Bytes, Cookies, Size};
use super::counters::{Counters, count};

/// How many requests are carried out at once.
const MAX_UNDER_WAY: usize = 1024;

/// Enough for five seconds of 15 000 answers of 2 KiB each, the longest that a client repeats
/// itself, in each of two generations.
const MAX_ANSWERS: Size = Size {
    answers: 75_000,
    bytes: 128 << 20,
};

/// What the operator may see and do while the front end runs.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    counters: Counters,
    is_draining: AtomicBool,
}

impl Control {
    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(crate) fn count_stranger(&self) {
        count(&self.counters().strangers);
    }

    /// Notes an option that turned out not to be done here.
    pub(crate) fn note_unsupported(&self, option: &str) {
        debug!(option, why = ?Why::Unsupported, "ignored");
        count(&self.counters().unsupported_options);
    }

    /// Whether new calls are refused, so that their clients try another gateway. Those that exist
    /// are served as before.
    pub fn drain(&self, drain: bool) {
        self.0.is_draining.store(drain, Ordering::Relaxed);
    }

    /// Whether new calls are refused.
    pub fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Relaxed)
    }
}

/// What all sockets share.
pub(super) struct Front<C> {
    calls: Arc<C>,
    cookies: Cookies,
    control: Control,
    under_way: Arc<Semaphore>,
    detail: Detail,
    stop: watch::Sender<bool>,
}

impl<C: Calls> Front<C> {
    pub(super) fn new(config: &Config, calls: Arc<C>) -> Self {
        Self {
            control: calls.control(),
            calls,
            cookies: Cookies::new(MAX_ANSWERS),
            under_way: Arc::new(Semaphore::new(MAX_UNDER_WAY)),
            detail: config.delete_reply.into(),
            stop: watch::Sender::new(false),
        }
    }

    pub(super) fn control(&self) -> Control {
        self.control.clone()
    }

    pub(super) fn counters(&self) -> &Counters {
        self.control.counters()
    }

    pub(super) fn forget_cookies(&self) {
        self.cookies.turn();
    }

    /// What a listener, a connection or a request holds while it lasts.
    pub(super) fn stop(&self) -> Stop {
        Stop(self.stop.subscribe())
    }

    /// Ends all listeners and connections, and completes once they and all requests are at their
    /// end.
    pub(super) async fn finish(&self) {
        self.stop.send_replace(true);
        self.stop.closed().await;
    }

    /// Room for one more request; `None` when too many are under way.
    pub(super) fn try_admit(&self) -> Option<Admitted> {
        let Ok(permit) = Arc::clone(&self.under_way).try_acquire_owned() else {
            count(&self.counters().overload);
            return None;
        };
        Some(Admitted { _permit: permit })
    }

    /// Room for one more request, as soon as there is some.
    pub(super) async fn admit(&self) -> Admitted {
        let permit = Arc::clone(&self.under_way).acquire_owned().await;
        Admitted {
            _permit: permit.expect("the semaphore is never closed"),
        }
    }

    /// Answers a message: with what it was answered before, if its cookie is known. `None` without
    /// a cookie, when nobody could know what the answer is for. To be awaited to its end.
    ///
    /// An answer of more than `room` bytes is replaced by an error.
    pub(super) async fn answer_in_task(
        &self,
        _admitted: Admitted,
        peer: IpAddr,
        bytes: Zeroizing<Vec<u8>>,
        room: usize,
    ) -> Option<Bytes> {
        let Some(message) = Message::split(&bytes) else {
            count(&self.counters().without_cookie);
            return None;
        };
        let (slot, is_known) = self.cookies.slot(peer, message);
        if is_known {
            count(&self.counters().repeated);
        }
        let answer = slot.get_or_init(|| async {
            let answer = self
                .execute(Some(message.cookie), message.document, room)
                .await;
            self.cookies.weigh(answer.len());
            answer
        });
        Some(Arc::clone(answer.await))
    }

    /// The same for who may be gone before the end.
    pub(super) async fn answer(
        self: &Arc<Self>,
        admitted: Admitted,
        peer: IpAddr,
        bytes: Zeroizing<Vec<u8>>,
        room: usize,
    ) -> Option<Bytes> {
        let front = Arc::clone(self);
        let carry_out = async move { front.answer_in_task(admitted, peer, bytes, room).await };
        to_its_end(carry_out).await?
    }

    /// Answers a document that needs no cookie, since the transport itself knows what the answer
    /// is for.
    pub(super) async fn answer_plain(
        self: &Arc<Self>,
        admitted: Admitted,
        document: Zeroizing<Vec<u8>>,
    ) -> Option<Bytes> {
        let front = Arc::clone(self);
        let carry_out = async move {
            let _admitted = admitted;
            front.execute(None, &document, usize::MAX).await
        };
        to_its_end(carry_out).await
    }

    async fn execute(&self, cookie: Option<&[u8]>, document: &[u8], room: usize) -> Bytes {
        count(&self.counters().requests);
        let encoding = Encoding::of(document);
        let reply = match encoding.clone().and_then(|encoding| {
            let document = encoding.decode(document)?;
            Command::parse(document)
        }) {
            Ok(command) => self.carry_out(command).await,
            Err(error) => refused(&error),
        };
        match reply {
            Reply::Error(_) => count(&self.counters().errors),
            Reply::LoadLimit(_) => count(&self.counters().limited),
            _ => {}
        }
        let encoding = encoding.unwrap_or(Encoding::Bencode);
        let answer = reply.encode(cookie, encoding);
        if answer.len() <= room {
            return Arc::new(answer);
        }
        let reason = "Reply is too long for UDP; ask over TCP or HTTP".to_owned();
        Arc::new(Reply::Error(reason).encode(cookie, encoding))
    }

    async fn carry_out(&self, command: Command) -> Reply {
        if let Some(ignored) = command.ignored() {
            self.note(command.name(), ignored);
        }
        let calls = &self.calls;
        match command {
            Command::Ping => match calls.ping().await {
                Ok(()) => Reply::Pong,
                Err(refusal) => Reply::refusal(&refusal, false),
            },
            Command::Offer(offer) => self.offer(*offer).await,
            Command::Answer(answer) => {
                let supports_load_limit = answer.options.supports_load_limit;
                sdp(calls.answer(*answer).await, supports_load_limit)
            }
            Command::Delete(delete) => self.delete(delete).await,
            Command::Query(query) => match calls.query(query).await {
                Ok(report) => Reply::Queried(Box::new(report)),
                Err(refusal) => Reply::refusal(&refusal, false),
            },
            Command::List(list) => Reply::Listed(calls.list(list.limit).await),
            Command::Statistics => Reply::Statistics(Box::new(calls.statistics().await)),
            _ => RequestError::UnrecognizedCommand.into(),
        }
    }

    async fn offer(&self, offer: Offer) -> Reply {
        let supports_load_limit = offer.options.supports_load_limit;
        if self.control.is_draining() && !self.calls.has(&offer.call_id).await {
            return Reply::refusal(&Refusal::Limit(Limit::Load), supports_load_limit);
        }
        sdp(self.calls.offer(offer).await, supports_load_limit)
    }

    async fn delete(&self, delete: Delete) -> Reply {
        let detail = if delete.fast {
            Detail::None
        } else {
            self.detail
        };
        let fatal = delete.fatal;
        match self.calls.delete(delete).await {
            Ok(report) => Reply::Deleted(Box::new(report), detail),
            Err(Refusal::UnknownCall | Refusal::Dialogue) => Reply::not_deleted(fatal),
            Err(refusal) => Reply::refusal(&refusal, false),
        }
    }

    /// Takes note of what a client asked for in vain.
    fn note(&self, command: &str, ignored: &Ignored) {
        let counters = self.counters();
        for (why, option) in ignored.entries() {
            debug!(command, option, ?why, "ignored");
            count(match why {
                Why::Unsupported => &counters.unsupported_options,
                Why::Value => &counters.bad_options,
                _ => &counters.unknown_options,
            });
        }
    }
}

impl<C> fmt::Debug for Front<C> {
    /// Without the answers, which hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

/// Says when to end; the front end waits for all of them to be dropped.
#[derive(Debug)]
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Completes once the front end ends.
    pub(super) async fn wait(&mut self) {
        // A front end that is gone has ended, too.
        let _ = self.0.wait_for(|is_over| *is_over).await;
    }
}

/// One of the requests that are under way.
#[derive(Debug)]
pub(super) struct Admitted {
    _permit: OwnedSemaphorePermit,
}

/// Runs to the end, even when nobody waits for it any more. `None` when it panicked.
async fn to_its_end<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let result = tokio::spawn(future).await;
    result
        .inspect_err(|error| error!(%error, "a request was not answered"))
        .ok()
}

fn sdp(result: Result<SdpBody, Refusal>, supports_load_limit: bool) -> Reply {
    match result {
        Ok(sdp) => Reply::Sdp(sdp),
        Err(refusal) => Reply::refusal(&refusal, supports_load_limit),
    }
}

fn refused(error: &RequestError) -> Reply {
    let detail = std::error::Error::source(error).map(ToString::to_string);
    debug!(%error, detail, "request refused");
    Reply::from(error.clone())
}
