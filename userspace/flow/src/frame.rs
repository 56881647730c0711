// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Framing: each message is its length (u32, big endian) and its postcard encoding.

use core::fmt;

use serde::Serialize;
use zeroize::Zeroizing;

/// The longest message body, in bytes. [`crate::Request::PAGE`] flows fit.
pub const MAX_FRAME_LEN: usize = 4 << 20;

/// Encodes a message with its length in front. The bytes are wiped when dropped, since they may
/// hold keys.
///
/// # Errors
/// [`FrameError::TooLong`] when the message is longer than [`MAX_FRAME_LEN`].
pub fn to_frame<M: Serialize>(message: &M) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    // Growing a vector would leave unwiped copies of keys behind: measure first.
    let len = postcard::experimental::serialized_size(message).map_err(|_| FrameError::Encode)?;
    if len > MAX_FRAME_LEN {
        return Err(FrameError::TooLong { len });
    }
    let mut frame = Zeroizing::new(vec![0; 4 + len]);
    let (head, body) = frame.split_at_mut(4);
    head.copy_from_slice(
        &u32::try_from(len)
            .map_err(|_| FrameError::TooLong { len })?
            .to_be_bytes(),
    );
    postcard::to_slice(message, body).map_err(|_| FrameError::Encode)?;
    Ok(frame)
}

/// Reads the length in front of a message body.
///
/// # Errors
/// [`FrameError::TooLong`] when it is more than [`MAX_FRAME_LEN`].
pub fn read_frame_len(head: [u8; 4]) -> Result<usize, FrameError> {
    let len = u32::from_be_bytes(head) as usize;
    if len > MAX_FRAME_LEN {
        return Err(FrameError::TooLong { len });
    }
    Ok(len)
}

/// Decodes a message body.
///
/// # Errors
/// [`FrameError::Decode`] when it is not one whole message of this type.
pub fn from_body<'de, M: serde::Deserialize<'de>>(body: &'de [u8]) -> Result<M, FrameError> {
    let (message, rest) = postcard::take_from_bytes(body).map_err(|_| FrameError::Decode)?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(FrameError::Decode)
    }
}

/// A message that cannot be carried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FrameError {
    /// Longer than [`MAX_FRAME_LEN`].
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// It could not be encoded.
    Encode,
    /// The bytes are not one whole message.
    Decode,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len } => {
                write!(
                    f,
                    "flow message of {len} bytes; at most {MAX_FRAME_LEN} are allowed"
                )
            }
            Self::Encode => f.write_str("flow message could not be encoded"),
            Self::Decode => f.write_str("flow message could not be decoded"),
        }
    }
}

impl core::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Carries, ClientMessage, Clock, Crypto, Egress, Flow, FlowId, Gate, Ingress, Latch, LatchOn,
        Mark, MasterKey, Path, Realm, Remote, Request, Secret, Source, Suite, Update,
    };

    fn flow(number: u64) -> Flow {
        let local = "[2001:db8::1]:40000".parse().unwrap();
        let path = Path {
            local,
            remote: Remote::Latched(FlowId(u64::MAX)),
        };
        let mark = Mark {
            ssrc: u32::MAX,
            rtp: Some(u64::MAX),
            rtcp: Some(u32::MAX),
        };
        let key = MasterKey {
            secret: Secret::new(vec![7; 44]),
            mki: vec![9; MasterKey::MAX_MKI_LEN],
        };
        let crypto = Crypto {
            suite: Suite::AeadAes256Gcm,
            keys: vec![key.clone(), key],
            lifetime: Some(u64::MAX),
            replay_window: 32768,
            key_derivation_rate: Some(24),
            unencrypted_srtcp: true,
            marks: vec![mark; 16],
        };
        let clock = Clock {
            payload_type: 127,
            rate: u32::MAX,
        };
        Flow {
            id: FlowId(number),
            gate: Gate::Closed,
            ingress: Ingress {
                realm: Realm::Access,
                local,
                carries: Carries::Muxed,
                handshakes: false,
                clocks: vec![clock; Ingress::MAX_CLOCKS],
                source: Source::Latch(Latch {
                    signalled: Some(local),
                    from: Some("2001:db8::/64".parse().unwrap()),
                    window: Some(Flow::OVERLAP),
                    on: LatchOn::Best(Flow::OVERLAP),
                    waits: true,
                }),
                unprotect: Some(crypto.clone()),
                expect: Some(crypto.clone()),
            },
            egress: Egress {
                realm: Realm::Core,
                rtp: path,
                rtcp: path,
                protect: Some(crypto),
                dscp: Some(46),
            },
        }
    }

    #[test]
    fn a_full_page_of_flows_fits_a_frame_and_survives_it() {
        let flows = (0..Request::PAGE as u64)
            .map(|n| flow(u64::MAX - n))
            .collect();
        let message = ClientMessage {
            number: u32::MAX,
            request: Request::Update(Update {
                install: flows,
                ..Update::default()
            }),
        };
        let frame = to_frame(&message).unwrap();
        let (head, body) = frame.split_at(4);
        assert_eq!(
            read_frame_len(head.try_into().unwrap()).unwrap(),
            body.len()
        );
        assert_eq!(from_body::<ClientMessage>(body).unwrap(), message);
    }

    #[test]
    fn a_body_with_bytes_behind_it_is_refused() {
        let mut frame = to_frame(&Request::Statistics).unwrap().to_vec();
        frame.push(0);
        assert_eq!(from_body::<Request>(&frame[4..]), Err(FrameError::Decode));
    }

    #[test]
    fn a_truncated_body_is_refused_at_every_length() {
        let update = Update {
            remove: vec![FlowId(1)],
            change: vec![flow(2)],
            install: vec![flow(3)],
        };
        let frame = to_frame(&Request::Update(update)).unwrap();
        for len in 4..frame.len() {
            assert_eq!(
                from_body::<Request>(&frame[4..len]),
                Err(FrameError::Decode),
                "{len}"
            );
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_read() {
        assert!(read_frame_len(u32::MAX.to_be_bytes()).is_err());
    }
}
