// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A thread that receives while others send.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::call::receive;

/// Collects everything that arrives at a connected socket.
pub(crate) struct Collector {
    everything_is_sent: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Collector {
    pub(crate) fn start(socket: &UdpSocket) -> Self {
        let socket = socket.try_clone().expect("there are file descriptors left");
        socket
            .set_read_timeout(Some(SILENCE))
            .expect("the timeout is not zero");
        let everything_is_sent = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&everything_is_sent);
        let thread = thread::spawn(move || {
            let mut packets = Vec::new();
            loop {
                let last = over.load(Ordering::Relaxed);
                match receive(&socket) {
                    Some(packet) => packets.push(packet),
                    None if last => return packets,
                    None => {}
                }
            }
        });
        Self {
            everything_is_sent,
            thread,
        }
    }

    /// Every packet, once none has come for half a second after the call.
    pub(crate) fn finish(self) -> Vec<Vec<u8>> {
        self.everything_is_sent.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

const SILENCE: Duration = Duration::from_millis(500);
