// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Requests back to back on a connection, without a length in front: bencode says itself where it
//! ends. Answers come as they are ready, each with the cookie of its request.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use sallyport_signalling::ng::bencode::Scanner;
use sallyport_signalling::ng::{Encoding, MAX_MESSAGE, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tracing::debug;
use zeroize::Zeroizing;

use super::calls::Calls;
use super::counters::count;
use super::front::Front;
use crate::peers::Guarded;

/// How many connections there may be.
const MAX_CONNECTIONS: usize = 1024;

/// How many answers of a connection may be under way or unread.
pub(super) const MAX_ANSWERS: usize = 64;

/// How long the rest of a request, or room for an answer, is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn serve<C: Calls>(mut listener: Guarded, front: Arc<Front<C>>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stop = front.stop();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.wait() => return,
        };
        let Ok(room) = Arc::clone(&connections).try_acquire_owned() else {
            count(&front.counters().overload);
            continue;
        };
        let front = Arc::clone(&front);
        tokio::spawn(async move {
            if let Err(error) = connection(stream, peer, &front).await {
                debug!(%error, %peer, "connection ended");
            }
            drop(room);
        });
    }
}

async fn connection<C: Calls>(
    mut stream: TcpStream,
    peer: IpAddr,
    front: &Arc<Front<C>>,
) -> io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    let (answers, mut ready) = mpsc::channel(MAX_ANSWERS);
    // Never grows, so that no copy of a key is left behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(MAX_BUFFER));
    let mut frame = Frame::default();
    let mut stop = front.stop();
    let mut is_reading = true;
    loop {
        while is_reading && !buffer.is_empty() && answers.capacity() > 0 {
            let end = match frame.end(&buffer) {
                Ok(Some(end)) => end,
                Ok(None) if buffer.len() < MAX_BUFFER => break,
                // Nobody can tell where the next request starts: this one is answered, with what
                // is wrong with it, and no other.
                Ok(None) | Err(NoFrame) => {
                    is_reading = false;
                    buffer.len()
                }
            };
            let Ok(place) = answers.clone().try_reserve_owned() else {
                break;
            };
            let message = Zeroizing::new(buffer[..end].to_vec());
            buffer.drain(..end);
            frame = Frame::default();
            let front = Arc::clone(front);
            tokio::spawn(async move {
                let admitted = front.admit().await;
                place.send(front.answer(admitted, peer, message, usize::MAX).await);
            });
        }
        let is_idle = answers.capacity() == MAX_ANSWERS;
        if !is_reading && is_idle {
            break;
        }
        tokio::select! {
            answer = ready.recv() => {
                // Nothing to answer with: a message without a cookie.
                let Some(Some(answer)) = answer else {
                    break;
                };
                timeout(PATIENCE, writer.write_all(&answer)).await??;
            }
            read = read(&mut reader, &mut buffer), if is_reading && answers.capacity() > 0 => {
                is_reading = read? > 0;
            }
            () = stop.wait(), if is_reading => is_reading = false,
        }
    }
    writer.shutdown().await?;
    // To close while bytes are unread would take the last answer from the client.
    let mut nowhere = sink();
    tokio::select! {
        read = timeout(PATIENCE, copy(&mut reader, &mut nowhere)) => read?.map(drop),
        () = stop.wait() => Ok(()),
    }
}

/// Waits for more; not for long when a request has begun.
async fn read(reader: &mut (impl AsyncReadExt + Unpin), buffer: &mut Vec<u8>) -> io::Result<usize> {
    let room = MAX_BUFFER - buffer.len();
    let has_begun = !buffer.is_empty();
    let mut limited = reader.take(room as u64);
    let read = limited.read_buf(buffer);
    if has_begun {
        timeout(PATIENCE, read).await?
    } else {
        read.await
    }
}

/// The longest message with its cookie.
const MAX_BUFFER: usize = MAX_MESSAGE + 256;

/// Finds the end of the message that a buffer starts with.
#[derive(Debug, Default)]
struct Frame {
    scanner: Scanner,
}

/// There is no end to find.
#[derive(Debug, Eq, PartialEq)]
struct NoFrame;

impl Frame {
    /// `None` when the end is not there yet.
    fn end(&mut self, buffer: &[u8]) -> Result<Option<usize>, NoFrame> {
        let Some(message) = Message::split(buffer) else {
            let has_too_long_a_cookie = buffer.len() > 255 || buffer.starts_with(b" ");
            return if has_too_long_a_cookie {
                Err(NoFrame)
            } else {
                Ok(None)
            };
        };
        match Encoding::of(message.document) {
            Ok(Encoding::Bencode) => {}
            Err(_) if message.document.is_empty() => return Ok(None),
            Ok(Encoding::Json) | Err(_) => return Err(NoFrame),
        }
        let end = self.scanner.end(message.document).map_err(|_| NoFrame)?;
        Ok(end.map(|end| message.cookie.len() + 1 + end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_its_document_does() {
        type Case<'a> = (&'a [u8], Result<Option<usize>, NoFrame>);
        let cases: [Case<'_>; 12] = [
            (b"1 d7:command4:pinge", Ok(Some(19))),
            (b"1 d7:command4:pinge2 d7:comm", Ok(Some(19))),
            (b"1 d7:command4:ping", Ok(None)),
            (b"1 d7:com", Ok(None)),
            (b"1 ", Ok(None)),
            (b"1", Ok(None)),
            (b"", Ok(None)),
            (b" d", Err(NoFrame)),
            (b"1 {}", Err(NoFrame)),
            (b"1 hello", Err(NoFrame)),
            (b"1 d7:commandx", Err(NoFrame)),
            (&[b'c'; 256], Err(NoFrame)),
        ];
        for (buffer, end) in cases {
            let found = Frame::default().end(buffer);
            assert_eq!(found, end, "{}", buffer.escape_ascii());
        }
    }
}
