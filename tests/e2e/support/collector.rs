// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A thread that receives while others send.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use sallyport_tests::patience::{SILENCE, SOON, wait_until};

use super::call::receive;

/// Collects everything that arrives at a connected socket.
pub(crate) struct Collector {
    packets: Arc<Mutex<Vec<Vec<u8>>>>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Collector {
    pub(crate) fn start(socket: &UdpSocket) -> Self {
        let socket = socket.try_clone().expect("there are file descriptors left");
        socket
            .set_read_timeout(Some(SOON))
            .expect("the timeout is not zero");
        let packets = Arc::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let (collected, over) = (Arc::clone(&packets), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            loop {
                let is_last = over.load(Ordering::Relaxed);
                match receive(&socket) {
                    Some(packet) => lock(&collected).push(packet),
                    None if is_last => return,
                    None => {}
                }
            }
        });
        Self {
            packets,
            is_over,
            thread,
        }
    }

    /// Every packet, once everything has come that should, and what should not would have.
    pub(crate) fn finish(self, is_all: impl Fn(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
        wait_until(|| is_all(&lock(&self.packets)));
        thread::sleep(SILENCE);
        self.is_over.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        std::mem::take(&mut lock(&self.packets))
    }
}

fn lock(packets: &Mutex<Vec<Vec<u8>>>) -> MutexGuard<'_, Vec<Vec<u8>>> {
    packets.lock().unwrap_or_else(PoisonError::into_inner)
}
