// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Messages as they arrive: one read may bring several, or a part of one.

use zeroize::{Zeroize, Zeroizing};

use crate::{FrameError, MAX_FRAME_LEN, read_frame_len};

/// Longer than nearly all messages, and than many small ones together.
const USUAL: usize = 64 << 10;

/// Length in front of a message, in bytes.
const HEAD: usize = 4;

/// What has arrived of a stream of frames and was not taken yet. Wiped when dropped, since it may
/// hold keys.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Zeroizing<Vec<u8>>,
    /// Where in `bytes` lies what was not taken yet.
    start: usize,
    end: usize,
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self {
            bytes: Zeroizing::new(vec![0; USUAL]),
            start: 0,
            end: 0,
        }
    }
}

impl FrameBuffer {
    /// Where the next bytes of the stream go; never empty once [`FrameBuffer::next_body`] has said that
    /// there is no whole frame.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// So many bytes were written to the start of [`FrameBuffer::room`].
    pub fn fill(&mut self, len: usize) {
        self.end = (self.end + len).min(self.bytes.len());
    }

    /// Takes the body of the next frame, if it has arrived whole.
    ///
    /// # Errors
    /// [`FrameError::TooLong`]: nothing of the stream can be understood from then on.
    pub fn next_body(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let arrived = &self.bytes[self.start..self.end];
        let len = match arrived.first_chunk() {
            Some(head) => HEAD + read_frame_len(*head)?,
            None => HEAD,
        };
        if arrived.len() < len {
            self.make_room(len);
            return Ok(None);
        }
        let body = self.start + HEAD..self.start + len;
        self.start = body.end;
        Ok(Some(&self.bytes[body]))
    }

    /// Moves what is left to the front, into memory that the next frame fits, and wipes the rest.
    fn make_room(&mut self, len: usize) {
        debug_assert!(len <= HEAD + MAX_FRAME_LEN);
        let left = self.start..self.end;
        self.end = left.len();
        self.start = 0;
        let wanted = len.max(USUAL);
        if self.bytes.len() == wanted {
            self.bytes.copy_within(left.clone(), 0);
            self.bytes[self.end..left.end].zeroize();
        } else {
            let mut bytes = Zeroizing::new(vec![0; wanted]);
            bytes[..self.end].copy_from_slice(&self.bytes[left]);
            self.bytes = bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).unwrap();
        [&len.to_be_bytes()[..], body].concat()
    }

    proptest! {
        #[test]
        fn frames_are_found_again_however_the_stream_is_cut(
            lens in prop::collection::vec(prop_oneof![0_usize..40, 60_000_usize..140_000], 0..8),
            pieces in prop::collection::vec(prop_oneof![1_usize..10, 1_usize..200_000], 1..8),
        ) {
            let bodies: Vec<_> = (1_u8..).zip(&lens).map(|(byte, len)| vec![byte; *len]).collect();
            let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
            let (mut rest, mut pieces) = (&stream[..], pieces.iter().cycle());
            let (mut buffer, mut found) = (FrameBuffer::default(), Vec::new());
            loop {
                while let Some(body) = buffer.next_body().unwrap() {
                    found.push(body.to_vec());
                }
                if rest.is_empty() {
                    break;
                }
                let room = buffer.room();
                prop_assert!(!room.is_empty());
                let len = room.len().min(rest.len()).min(*pieces.next().unwrap());
                room[..len].copy_from_slice(&rest[..len]);
                rest = &rest[len..];
                buffer.fill(len);
            }
            prop_assert_eq!(found, bodies);
        }
    }

    #[test]
    fn a_frame_that_is_too_long_takes_no_memory() {
        let mut buffer = FrameBuffer::default();
        buffer.room()[..HEAD].copy_from_slice(&u32::MAX.to_be_bytes());
        buffer.fill(HEAD);
        let len = u32::MAX as usize;
        assert_eq!(buffer.next_body(), Err(FrameError::TooLong { len }));
        assert_eq!(buffer.bytes.len(), USUAL);
    }
}
