// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Datagrams: one message in each, and its answer in one.

use std::sync::Arc;
use std::time::Duration;

use sallyport_signalling::ng::MAX_MESSAGE;
use tokio::net::UdpSocket;
use tokio::time::sleep;
use tracing::{debug, warn};
use zeroize::Zeroizing;

use super::calls::Calls;
use super::front::Front;
use crate::peers::Peers;

/// More than any datagram has.
const BUFFER: usize = 1 << 16;

pub(super) async fn serve<C: Calls>(socket: UdpSocket, peers: Peers, front: Arc<Front<C>>) {
    /// How long to wait when the kernel has no datagram to give but an error.
    const PAUSE: Duration = Duration::from_millis(10);
    let socket = Arc::new(socket);
    let mut stop = front.stop();
    let mut buffer = Zeroizing::new(vec![0; BUFFER]);
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = stop.wait() => return,
        };
        let (length, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                warn!(%error, "receive a request");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some(ip) = peers.admit(peer) else {
            continue;
        };
        // A client that is not answered asks again.
        let Some(admitted) = front.try_admit() else {
            continue;
        };
        let message = Zeroizing::new(buffer[..length].to_vec());
        let (socket, front) = (Arc::clone(&socket), Arc::clone(&front));
        let stop = front.stop();
        tokio::spawn(async move {
            if let Some(answer) = front
                .answer_in_task(admitted, ip, message, MAX_MESSAGE)
                .await
                && let Err(error) = socket.send_to(&answer, peer).await
            {
                debug!(%error, %peer, "send an answer");
            }
            drop(stop);
        });
    }
}
