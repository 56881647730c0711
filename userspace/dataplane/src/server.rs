// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The Unix socket that the agent connects to. Only its owner may.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use sallyport_flow::{ClientMessage, FrameBuffer, Hello, ServerMessage, from_body, to_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use crate::control::Ask;
use crate::error::DataPlaneError;

/// Messages that may wait for a connection that does not read.
const OUTBOX: usize = 1024;

/// Makes the socket: its folder if missing (0700), the socket itself 0600.
///
/// # Errors
/// [`DataPlaneError::SocketTaken`] when somebody answers there already,
/// [`DataPlaneError::Socket`].
pub fn listen(path: &Path) -> Result<UnixListener, DataPlaneError> {
    let failed = |error| DataPlaneError::Socket {
        path: path.to_owned(),
        error,
    };
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(DataPlaneError::SocketTaken {
            path: path.to_owned(),
        });
    }
    // Nobody answers: what is there is left over from a process that was killed.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    // Between bind and chmod the folder keeps others out, or else the mask does.
    let mask = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path).map_err(failed);
    nix::sys::stat::umask(mask);
    let listener = listener?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Accepts connections for ever.
pub async fn serve(listener: UnixListener, instance: u64, asks: mpsc::Sender<Ask>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let asks = asks.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, instance, asks).await {
                        debug!(%error, "agent gone");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: others may give some back.
                warn!(%error, "accept at the flow socket");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// Speaks with one agent until it goes.
async fn converse(
    mut stream: UnixStream,
    instance: u64,
    asks: mpsc::Sender<Ask>,
) -> io::Result<()> {
    stream.write_all(&Hello::new(instance).encode()).await?;
    let mut hello = [0; Hello::LEN];
    stream.read_exact(&mut hello).await?;
    if let Err(error) = Hello::decode(hello) {
        warn!(%error, "refused an agent");
        return Ok(());
    }
    let (read, write) = stream.into_split();
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let writer = tokio::spawn(send(write, messages));
    let result = take(read, &asks, &outbox).await;
    drop(outbox);
    writer.abort();
    result
}

/// Takes an agent's requests one after another.
async fn take(
    mut read: OwnedReadHalf,
    asks: &mpsc::Sender<Ask>,
    outbox: &mpsc::Sender<ServerMessage>,
) -> io::Result<()> {
    let mut buffer = FrameBuffer::default();
    loop {
        let Some(body) = buffer.next_body().map_err(io::Error::other)? else {
            let len = read.read(buffer.room()).await?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer.fill(len);
            continue;
        };
        let message: ClientMessage = from_body(body).map_err(io::Error::other)?;
        let (answer, wait) = oneshot::channel();
        let ask = Ask {
            request: message.request,
            answer,
            events: outbox.clone(),
        };
        asks.send(ask).await.map_err(io::Error::other)?;
        let result = wait.await.map_err(io::Error::other)?;
        let answer = ServerMessage::Answer {
            number: message.number,
            result,
        };
        outbox.send(answer).await.map_err(io::Error::other)?;
    }
}

/// Sends what waits.
async fn send(mut write: OwnedWriteHalf, mut messages: mpsc::Receiver<ServerMessage>) {
    let mut waiting = Vec::new();
    while messages.recv_many(&mut waiting, OUTBOX).await > 0 {
        // All with one system call.
        let mut frames = Vec::new();
        for message in waiting.drain(..) {
            match to_frame(&message) {
                Ok(frame) => frames.extend_from_slice(&frame),
                Err(error) => {
                    warn!(%error, "answer to the agent");
                    return;
                }
            }
        }
        if write.write_all(&frames).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Held by whoever listens: the mask is that of the whole process.
    static MASK: Mutex<()> = Mutex::new(());

    fn path(name: &str) -> std::path::PathBuf {
        let folder = format!("sallyport-{}-{name}", std::process::id());
        std::env::temp_dir().join(folder).join("flow.sock")
    }

    #[tokio::test]
    async fn only_the_owner_may_open_the_socket() {
        let _mask = MASK.lock().unwrap_or_else(PoisonError::into_inner);
        let path = path("owner");
        let _listener = listen(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let folder = path.parent().unwrap();
        assert_eq!(
            std::fs::metadata(folder).unwrap().permissions().mode() & 0o777,
            0o700
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_socket_that_answers_is_not_taken_over_but_a_dead_one_is() {
        let _mask = MASK.lock().unwrap_or_else(PoisonError::into_inner);
        let path = path("taken");
        let first = listen(&path).unwrap();
        assert!(matches!(
            listen(&path),
            Err(DataPlaneError::SocketTaken { .. })
        ));
        drop(first);
        assert!(listen(&path).is_ok());
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
