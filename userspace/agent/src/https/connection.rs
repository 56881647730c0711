// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Connections that end when nothing comes, or nothing that could be answered.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

/// How long the first request may be waited for.
const FIRST: Duration = Duration::from_secs(10);

/// How long the next may be, or an answer may be on its way. Whoever begins a request has as long
/// for all of it: one that comes byte by byte would keep its place for good.
pub(crate) const IDLE: Duration = Duration::from_mins(1);

/// A stream of which something is heard now and then, and its place among those there may be.
#[derive(Debug)]
pub(super) struct Connection<S> {
    stream: S,
    end: Pin<Box<Sleep>>,
    /// Whether something has come since we said something last.
    is_asked: bool,
    _room: OwnedSemaphorePermit,
}

impl<S> Connection<S> {
    pub(super) fn new(stream: S, room: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            end: Box::pin(sleep(FIRST)),
            is_asked: false,
            _room: room,
        }
    }

    /// What is waited for fails, once nothing has come for too long.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_pending() && self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        done
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before && !this.is_asked {
            this.is_asked = true;
            this.end.as_mut().reset(Instant::now() + IDLE);
        }
        this.in_time(cx, read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.is_asked &= written.is_pending();
        this.in_time(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.is_asked &= written.is_pending();
        this.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.in_time(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.in_time(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_hung_up_on_and_makes_room() {
        let room = Arc::new(Semaphore::new(1));
        let (mut client, stream) = duplex(16);
        let permit = Arc::clone(&room).try_acquire_owned().unwrap();
        let mut connection = Connection::new(stream, permit);
        let mut byte = [0];
        let start = Instant::now();
        for wait in [FIRST, IDLE, IDLE] {
            sleep(wait / 2).await;
            client.write_all(b"x").await.unwrap();
            connection.read_exact(&mut byte).await.unwrap();
            connection.write_all(b"y").await.unwrap();
            client.read_exact(&mut byte).await.unwrap();
        }
        let late = connection.read(&mut byte).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let waited = FIRST / 2 + IDLE / 2 * 2 + IDLE;
        assert_eq!(start.elapsed().as_secs(), waited.as_secs());
        // Nor is it waited for room for an answer.
        let late = connection.write_all(&[0; 17]).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert_eq!(room.available_permits(), 0);
        drop(connection);
        assert_eq!(room.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_byte_by_byte_is_not_heard_to_the_end() {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (mut client, stream) = duplex(16);
        let mut connection = Connection::new(stream, permit);
        let start = Instant::now();
        let drip = async {
            while client.write_all(b"x").await.is_ok() {
                sleep(FIRST / 2).await;
            }
        };
        let hear = async { while connection.read_u8().await.is_ok() {} };
        tokio::select! {
            () = drip => panic!("still heard"),
            () = hear => {}
        }
        assert_eq!(start.elapsed().as_secs(), IDLE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_is_not_waited_for_as_long() {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (_client, stream) = duplex(16);
        let start = Instant::now();
        let late = Connection::new(stream, permit).read_u8().await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), FIRST.as_secs());
    }
}
