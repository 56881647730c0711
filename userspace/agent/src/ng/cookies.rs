// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The answers given lately.
//!
//! A client that got no answer in time asks again with the same cookie. It must get the answer
//! that it missed, for the command has been carried out; and if that is still going on, it must
//! wait and not start it again. Answers live for 30 to 60 seconds: in a young generation first,
//! then in an old one.
//!
//! Cookies are unique to a client, not among clients, and one that restarts may count from the
//! start again: so an answer belongs to peer, cookie and document together.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use sallyport_signalling::ng::Message;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

/// How long each of the two generations lasts.
pub(super) const LIFETIME: Duration = Duration::from_secs(30);

/// More answers than are wiped in a moment.
const MANY: usize = 100;

/// An answer, which may hold keys.
pub(super) type Bytes = Arc<Zeroizing<Vec<u8>>>;

/// Where the answer to a request is, or will be.
pub(super) type Slot = Arc<OnceCell<Bytes>>;

pub(super) struct Cookies {
    hasher: RandomState,
    generations: Mutex<Generations>,
    max: Size,
}

/// How many answers, and how many bytes of them, a generation may hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) answers: usize,
    pub(super) bytes: usize,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Key, Slot>,
    /// Of the answers in `young`.
    bytes: usize,
    old: HashMap<Key, Slot>,
}

#[derive(Eq, Hash, PartialEq)]
struct Key {
    peer: IpAddr,
    cookie: Box<[u8]>,
    /// Hashed under a key of our own: no client can make two of one hash on purpose.
    document: u64,
}

impl Cookies {
    pub(super) fn new(max: Size) -> Self {
        Self {
            hasher: RandomState::new(),
            generations: Mutex::default(),
            max,
        }
    }

    /// Where the answer to a request is, and whether it was asked before.
    pub(super) fn slot(&self, peer: IpAddr, message: Message<'_>) -> (Slot, bool) {
        let key = Key {
            peer,
            cookie: message.cookie.into(),
            document: self.hasher.hash_one(message.document),
        };
        let mut generations = self.lock();
        let Generations { young, old, .. } = &*generations;
        if let Some(slot) = young.get(&key).or_else(|| old.get(&key)) {
            return (Arc::clone(slot), true);
        }
        if young.len() >= self.max.answers || generations.bytes >= self.max.bytes {
            generations.turn();
        }
        let slot = Slot::default();
        generations.young.insert(key, Arc::clone(&slot));
        (slot, false)
    }

    /// Takes note of an answer's size.
    pub(super) fn weigh(&self, bytes: usize) {
        self.lock().bytes += bytes;
    }

    /// Makes the young generation the old one.
    pub(super) fn turn(&self) {
        self.lock().turn();
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn turn(&mut self) {
        let oldest = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        self.bytes = 0;
        // To wipe so many answers takes longer than a request may.
        if oldest.len() > MANY {
            thread::spawn(move || drop(oldest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn cookies() -> Cookies {
        Cookies::new(Size {
            answers: 2,
            bytes: 100,
        })
    }

    fn is_known(cookies: &Cookies, message: &'static str) -> bool {
        let message = Message::split(message.as_bytes()).unwrap();
        cookies.slot(PEER, message).1
    }

    #[test]
    fn an_answer_belongs_to_peer_cookie_and_document() {
        let cookies = cookies();
        assert!(!is_known(&cookies, "1 ping"));
        assert!(is_known(&cookies, "1 ping"));
        assert!(!is_known(&cookies, "1 pong"));
        let other = IpAddr::from([192, 0, 2, 7]);
        let message = Message::split(b"1 ping").unwrap();
        assert!(!cookies.slot(other, message).1);
    }

    #[test]
    fn an_answer_lives_for_one_generation_and_up_to_two() {
        let cookies = cookies();
        assert!(!is_known(&cookies, "1 ping"));
        cookies.turn();
        assert!(is_known(&cookies, "1 ping"));
        cookies.turn();
        assert!(!is_known(&cookies, "1 ping"));
    }

    #[test]
    fn neither_many_answers_nor_long_ones_are_kept_without_end() {
        let cookies = cookies();
        for message in ["1 x", "2 x", "3 x", "4 x", "5 x"] {
            assert!(!is_known(&cookies, message));
        }
        assert!(is_known(&cookies, "4 x") && is_known(&cookies, "5 x"));
        assert!(!is_known(&cookies, "1 x"));
        cookies.turn();
        cookies.weigh(100);
        assert!(!is_known(&cookies, "6 x"));
        cookies.weigh(100);
        assert!(!is_known(&cookies, "7 x"));
        assert!(is_known(&cookies, "6 x"), "old by now");
        assert!(!is_known(&cookies, "4 x"), "gone by now");
    }
}
