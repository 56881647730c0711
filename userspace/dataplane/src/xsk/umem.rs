// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The UMEM: the memory that NICs write packets to and read them from.
//!
//! The area is never unmapped. A NIC may still write to it for a while after its socket was closed
//! (the kernel tears zero-copy sockets down in the background), and because it lives as long as the
//! process, a [`Frame`] is one pointer, without lifetime and without reference count.

use std::fmt;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::error::XskError;
use super::frame::{FRAME_SIZE, Frame, FramePool};
use super::mmap::Mmap;

/// One area of frames that sockets of several NICs may share. It lives for the rest of the process.
pub struct Umem {
    area: Area,
    /// The sockets over this UMEM; through one that is alive the next one joins.
    sockets: Vec<Weak<OwnedFd>>,
}

impl Umem {
    /// Maps memory for `frames` frames and hands all of them out in a pool.
    ///
    /// Takes reserved huge pages where there are enough, ordinary memory (transparent huge pages)
    /// otherwise. The kernel places the memory near the thread that registers it, which is the one
    /// that opens the first socket: let that be the pinned one.
    ///
    /// # Errors
    /// [`XskError::Allocate`] if there is no memory, or for 0 frames.
    pub fn allocate(frames: u32) -> Result<(Self, FramePool), XskError> {
        let bytes = frames as usize * FRAME_SIZE;
        let memory = Mmap::huge(bytes).or_else(|errno| {
            tracing::info!(bytes, %errno, "UMEM: no reserved huge pages of 2 MiB, using ordinary memory");
            Mmap::anonymous(bytes)
        });
        let memory = memory.map_err(|errno| XskError::Allocate { bytes, errno })?;
        Ok(Self::over(memory, frames))
    }

    /// How many frames there are.
    pub fn frames(&self) -> u32 {
        self.area.frames
    }

    pub(super) fn over(memory: Mmap, frames: u32) -> (Self, FramePool) {
        let area = Area {
            start: memory.leak(),
            frames,
            #[cfg(debug_assertions)]
            handed_out: (0..frames)
                .map(|_| AtomicBool::new(false))
                .collect::<Vec<_>>()
                .leak(),
        };
        let umem = Self {
            area,
            sockets: Vec::new(),
        };
        (umem, FramePool::full(area))
    }

    pub(super) fn area(&self) -> Area {
        self.area
    }

    /// A socket that has this UMEM already.
    pub(super) fn shared_socket(&self) -> Option<Arc<OwnedFd>> {
        self.sockets.iter().find_map(Weak::upgrade)
    }

    pub(super) fn joined(&mut self, socket: &Arc<OwnedFd>) {
        self.sockets.retain(|socket| socket.strong_count() > 0);
        self.sockets.push(Arc::downgrade(socket));
    }
}

impl fmt::Debug for Umem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Umem")
            .field("frames", &self.area.frames)
            .finish_non_exhaustive()
    }
}

/// Where the UMEM is: turns frames into addresses for the kernel, and back.
///
/// These two functions are the only border between "ours" and "the kernel's". Debug builds keep a
/// list of what is on which side, and panic when the kernel returns what it does not have.
#[derive(Clone, Copy)]
pub(super) struct Area {
    start: NonNull<u8>,
    frames: u32,
    /// Per chunk: a [`Frame`] of it exists.
    #[cfg(debug_assertions)]
    handed_out: &'static [AtomicBool],
}

impl Area {
    pub(super) fn start(self) -> u64 {
        self.start.as_ptr() as u64
    }

    pub(super) fn frames(self) -> u32 {
        self.frames
    }

    pub(super) fn bytes(self) -> u64 {
        u64::from(self.frames) * FRAME_SIZE as u64
    }

    /// The address of a frame of this UMEM, relative to its start; `None` for a foreign frame.
    pub(super) fn address_of(self, frame: &Frame) -> Option<u64> {
        let address = (frame.chunk().as_ptr() as u64).wrapping_sub(self.start());
        (address < self.bytes()).then_some(address)
    }

    /// Gives up a frame: from now on its chunk is the kernel's. A foreign frame comes back.
    pub(super) fn surrender(self, frame: Frame) -> Result<u64, Frame> {
        let Some(address) = self.address_of(&frame) else {
            return Err(frame);
        };
        #[cfg(debug_assertions)]
        self.handed_out[Self::index(address)].store(false, Ordering::Relaxed);
        Ok(address)
    }

    /// The frame whose chunk contains `address`, if that is inside the UMEM.
    ///
    /// # Safety
    /// Nobody else may have this chunk: no [`Frame`] of it exists, and the kernel is done with it.
    pub(super) unsafe fn reclaim(self, address: u64) -> Option<Frame> {
        if address >= self.bytes() {
            return None;
        }
        let index = Self::index(address);
        #[cfg(debug_assertions)]
        assert!(
            !self.handed_out[index].swap(true, Ordering::Relaxed),
            "the kernel returned frame {index}, which it does not have"
        );
        // SAFETY: index < frames, and `start` has room for so many chunks.
        let chunk = unsafe { self.start.cast::<[u8; FRAME_SIZE]>().add(index) };
        // SAFETY: the chunk is mapped, zeroed at first and thus initialised, and the caller
        // promises that it is nobody's.
        Some(unsafe { Frame::new(chunk) })
    }

    /// How far an address is into its chunk.
    #[expect(clippy::cast_possible_truncation, reason = "below FRAME_SIZE")]
    pub(super) fn offset(address: u64) -> usize {
        (address % FRAME_SIZE as u64) as usize
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "below `frames`, which is 32 bits wide"
    )]
    fn index(address: u64) -> usize {
        (address / FRAME_SIZE as u64) as usize
    }
}

// SAFETY: the area is not tied to a thread; who may touch a chunk is decided by `Frame`.
unsafe impl Send for Area {}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A UMEM that no kernel knows.
    pub(in crate::xsk) fn umem(frames: u32) -> (Umem, FramePool) {
        Umem::over(
            Mmap::anonymous(frames as usize * FRAME_SIZE).unwrap(),
            frames,
        )
    }

    #[test]
    fn every_address_inside_a_chunk_means_its_frame() {
        let (umem, mut pool) = umem(4);
        let area = umem.area();
        while let Some(frame) = pool.take() {
            let address = area.surrender(frame).unwrap();
            assert_eq!(address % FRAME_SIZE as u64, 0);
            for offset in [0, 1, 256, FRAME_SIZE as u64 - 1] {
                // SAFETY: the frame was surrendered just now, and there is no kernel.
                let frame = unsafe { area.reclaim(address + offset) }.unwrap();
                assert_eq!(area.surrender(frame).unwrap(), address);
            }
        }
    }

    #[test]
    fn an_address_outside_is_no_frame() {
        let (umem, pool) = umem(4);
        for address in [4 * FRAME_SIZE as u64, u64::MAX, u64::MAX - 4096] {
            // SAFETY: no chunk has this address, so nobody has it.
            assert!(unsafe { umem.area().reclaim(address) }.is_none());
        }
        drop(pool);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "the kernel returned frame 0, which it does not have")]
    fn a_frame_that_exists_is_not_made_again() {
        let (umem, _pool) = umem(1);
        // SAFETY: the assertion in front of the new frame is what this test is about.
        let _ = unsafe { umem.area().reclaim(0) };
    }

    #[test]
    fn no_memory_is_an_error() {
        assert!(matches!(
            Umem::allocate(0),
            Err(XskError::Allocate { bytes: 0, .. })
        ));
    }
}
