// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Frames, and who owns them.
//!
//! A chunk of the UMEM is at any time in exactly one place:
//!
//! ```text
//!  pool ──▶ fill ring ──▶ kernel ──▶ receive ring ──▶ worker ──▶ transmit ring ──▶ kernel ──▶ completion ring ──▶ pool
//! ```
//!
//! The kernel checks none of this. An address that is put into two rings is no error there: two NICs
//! then write to the same memory, and calls get each other's media. So an address never appears
//! outside this module. It is wrapped in a [`Frame`], which can be moved and nothing else: not
//! copied, not cloned, not made from a number. Whoever has the `Frame` has the chunk; who puts it
//! into a ring no longer has it. Thus `&mut self` on a `Frame` really is exclusive access, and "the
//! same frame twice" does not compile.
//!
//! The opposite mistake, to lose a frame, costs no safety: dropping a `Frame` leaks its chunk, and
//! the receive side starves after enough of them. It shows in the sum
//! `pool.len() + Σ socket.outstanding() + frames in the worker's hands == umem.frames()`,
//! which tests check after every run.

use std::fmt;
use std::ptr::NonNull;

use super::if_xdp::XDP_PACKET_HEADROOM;
use super::umem::Area;

/// Bytes of a frame. 2 KiB holds a packet of an MTU of 1500 with room on both sides, and uses half
/// the cache of the kernel's other choice, 4 KiB.
pub const FRAME_SIZE: usize = CHUNK_SIZE as usize;

/// The same, as the kernel takes it.
pub(super) const CHUNK_SIZE: u32 = 2048;

/// Bytes in front of a received packet, where a longer header finds place.
///
/// The same in every frame, though the caches would rather have packets at different distances from
/// the start of their chunks: where chunks are aligned the kernel looks at the number of the chunk
/// only when it takes one from the fill ring (`xp_aligned_extract_addr` in `xsk_buff_pool.h`).
pub const FRAME_HEADROOM: usize = XDP_PACKET_HEADROOM;

/// One chunk of the UMEM. Who has it owns it.
#[must_use = "a dropped frame is lost: give it to the pool"]
pub struct Frame {
    chunk: NonNull<[u8; FRAME_SIZE]>,
}

impl Frame {
    /// # Safety
    /// The chunk is initialised, stays mapped for the rest of the process, and nobody else has it.
    pub(super) unsafe fn new(chunk: NonNull<[u8; FRAME_SIZE]>) -> Self {
        Self { chunk }
    }

    /// The whole chunk, [`FRAME_SIZE`] bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: see `new`; nobody writes while the frame is borrowed.
        unsafe { self.chunk.as_ref() }
    }

    /// The whole chunk, [`FRAME_SIZE`] bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: see `new`; this is the only frame of the chunk, and it is borrowed exclusively.
        unsafe { self.chunk.as_mut() }
    }

    pub(super) fn chunk(&self) -> NonNull<[u8; FRAME_SIZE]> {
        self.chunk
    }
}

/// Does not show the content: that is somebody's conversation.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").finish_non_exhaustive()
    }
}

// SAFETY: a frame owns its chunk, as a box owns its content; it is not tied to a thread.
unsafe impl Send for Frame {}
// SAFETY: a shared frame can only be read.
unsafe impl Sync for Frame {}

/// The frames that nobody uses. Last in, first out: what was used last is still in the cache.
pub struct FramePool {
    area: Area,
    frames: Vec<Frame>,
}

impl FramePool {
    /// Takes every frame of a new UMEM.
    pub(super) fn full(area: Area) -> Self {
        let frames = (0..area.frames()).rev().map(|index| {
            // SAFETY: `Umem` makes one pool, before anybody else knows the area.
            unsafe { area.reclaim(u64::from(index) * FRAME_SIZE as u64) }
        });
        Self {
            area,
            frames: frames.flatten().collect(),
        }
    }

    /// A free frame, with whatever bytes its last owner left there; `None` if there is none.
    pub fn take(&mut self) -> Option<Frame> {
        self.frames.pop()
    }

    /// Returns a frame. One of another UMEM is refused (and lost); debug builds panic.
    pub fn give(&mut self, frame: Frame) {
        let ours = self.area.address_of(&frame).is_some();
        debug_assert!(ours, "the frame belongs to another UMEM");
        if ours {
            // Never grows: the capacity is the number of frames, and each exists once.
            self.frames.push(frame);
        }
    }

    /// How many frames are free.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

impl fmt::Debug for FramePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramePool")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::umem::tests::umem;
    use super::*;

    #[test]
    fn a_new_pool_has_every_frame_once() {
        let (umem, mut pool) = umem(64);
        assert_eq!(pool.len(), 64);
        let mut seen = HashSet::new();
        while let Some(frame) = pool.take() {
            assert_eq!(frame.bytes().len(), FRAME_SIZE);
            assert!(seen.insert(umem.area().address_of(&frame).unwrap()));
        }
        assert_eq!(seen.len(), 64);
        assert!(pool.is_empty());
    }

    #[test]
    fn frames_do_not_overlap() {
        let (_, mut pool) = umem(8);
        let mut frames: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        for (value, frame) in (0..).zip(&mut frames) {
            frame.bytes_mut().fill(value);
        }
        for (value, frame) in (0..).zip(&frames) {
            assert!(frame.bytes().iter().all(|byte| *byte == value));
        }
    }

    #[test]
    fn the_last_frame_in_is_the_first_out() {
        let (umem, mut pool) = umem(4);
        let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
        let address = umem.area().address_of(&first);
        pool.give(second);
        pool.give(first);
        assert_eq!(umem.area().address_of(&pool.take().unwrap()), address);
    }

    #[test]
    fn a_frame_works_on_another_thread() {
        let (_, mut pool) = umem(1);
        let mut frame = pool.take().unwrap();
        let frame = std::thread::spawn(move || {
            frame.bytes_mut()[0] = 7;
            frame
        });
        let frame = frame.join().unwrap();
        assert_eq!(frame.bytes()[0], 7);
        pool.give(frame);
        assert_eq!(pool.len(), 1);
    }

    #[test]
    fn its_debug_form_shows_no_content() {
        let (_, mut pool) = umem(1);
        let mut frame = pool.take().unwrap();
        frame.bytes_mut().fill(b'x');
        assert_eq!(format!("{frame:?}"), "Frame { .. }");
        assert_eq!(format!("{pool:?}"), "FramePool { len: 0, .. }");
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "belongs to another UMEM"))]
    fn a_foreign_frame_is_refused() {
        let (_, mut ours) = umem(1);
        let (_, mut theirs) = umem(1);
        ours.give(theirs.take().unwrap());
        assert_eq!(ours.len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 4 } else { 256 }, ..ProptestConfig::default() })]

        #[test]
        fn a_pool_is_a_stack(takes in prop::collection::vec(any::<bool>(), 0..200)) {
            let (umem, mut pool) = umem(16);
            let address = |frame: &Frame| umem.area().address_of(frame).unwrap();
            let mut model: Vec<u64> = (0..16).rev().map(|index| index * FRAME_SIZE as u64).collect();
            let mut held = Vec::new();
            for take in takes {
                if take {
                    let frame = pool.take();
                    prop_assert_eq!(frame.as_ref().map(address), model.pop());
                    held.extend(frame);
                } else if let Some(frame) = held.pop() {
                    model.push(address(&frame));
                    pool.give(frame);
                }
                prop_assert_eq!(pool.len() + held.len(), 16);
            }
        }
    }
}
