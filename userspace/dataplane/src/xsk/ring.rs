// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The rings between the kernel and us, and the order of memory accesses that makes them work.
//!
//! # Shape
//!
//! A ring is a power of two of slots and two indices in shared memory, both 32 bits wide and only
//! ever counting up, past `u32::MAX` to 0. The producer writes slots and moves the producer index;
//! the consumer reads slots and moves the consumer index. `producer - consumer` (wrapping) is the
//! number of full slots; `index & (size - 1)` is a slot. Each index has one writer, so nobody needs
//! an atomic read-modify-write: plain loads and stores of an atomic do.
//!
//! # Order
//!
//! Four accesses must not be reordered against their neighbours:
//!
//! ```text
//!  producer                                       consumer
//!  (1) load consumer index, Acquire               (3) load producer index, Acquire
//!      write slots                                    read slots
//!  (2) store producer index, Release              (4) store consumer index, Release
//! ```
//!
//! (2) with (3): who sees the new producer index also sees the slots, and the bytes of the frames
//! that they name. (4) with (1): who sees the new consumer index may overwrite the slots, because
//! their readers are done. The kernel does the same on its side with `smp_load_acquire` and
//! `smp_store_release`; see
//! [xsk_queue.h](https://github.com/torvalds/linux/blob/v6.18/net/xdp/xsk_queue.h).
//!
//! The other side's index lies in a cache line that the other side writes, so looking at it costs.
//! Each side therefore keeps the value that it saw last, which is always a safe underestimate, and
//! looks again only when that is not enough. For the same reason our own index is stored once for a
//! whole burst: [`Producer::push`] and [`Consumer::pop`] move a private copy,
//! [`Producer::submit`] and [`Consumer::release`] publish it.
//!
//! # The one race that is left
//!
//! The kernel asks for a wake-up by a flag in the ring. We store the producer index and then load the
//! flag; the kernel stores the flag and then loads the index. Neither Acquire nor Release orders a
//! store before a later load of something else, so both sides can miss each other, and a descriptor
//! stays where it is. A full fence per burst would close the gap; looking at the flag again in the
//! next round of the loop, as long as frames are outstanding, does so for free (and `poll(2)`, before
//! the thread sleeps, wakes whoever asked to be woken).

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use super::mmap::Mmap;

/// Our end of a ring that the kernel consumes: fill and transmit.
pub(super) struct Producer<T> {
    ring: Ring<T>,
    /// The next slot to write.
    index: u32,
    /// The producer index that the consumer sees.
    published: u32,
    /// The consumer index, as we saw it last.
    consumer: u32,
}

impl<T: Copy> Producer<T> {
    pub(super) fn new(ring: Ring<T>) -> Self {
        let index = ring.producer().load(Ordering::Relaxed);
        let consumer = ring.consumer().load(Ordering::Acquire);
        Self {
            ring,
            index,
            published: index,
            consumer,
        }
    }

    /// Whether no slot is free.
    pub(super) fn is_full(&mut self) -> bool {
        if self.index.wrapping_sub(self.consumer) < self.ring.size {
            return false;
        }
        self.consumer = self.ring.consumer().load(Ordering::Acquire);
        self.index.wrapping_sub(self.consumer) >= self.ring.size
    }

    /// Stages a descriptor, which comes back if the ring is full.
    pub(super) fn push(&mut self, descriptor: T) -> Result<(), T> {
        if self.is_full() {
            return Err(descriptor);
        }
        // SAFETY: the slot is inside the ring (see `slot`), and the consumer, whose index we
        // acquired, is done with it.
        unsafe { self.ring.slot(self.index).write(descriptor) };
        self.index = self.index.wrapping_add(1);
        Ok(())
    }

    /// Publishes everything staged.
    pub(super) fn submit(&mut self) {
        if self.published != self.index {
            self.published = self.index;
            self.ring.producer().store(self.index, Ordering::Release);
        }
    }

    /// How many published descriptors the consumer has not taken.
    pub(super) fn pending(&mut self) -> u32 {
        self.consumer = self.ring.consumer().load(Ordering::Acquire);
        self.published.wrapping_sub(self.consumer)
    }

    /// Whether the kernel wants a system call before it goes on.
    pub(super) fn needs_wakeup(&self) -> bool {
        self.ring.flags().load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// Takes the newest descriptor back, from a ring that never had a consumer.
    pub(super) fn take_back(&mut self) -> T {
        self.index = self.index.wrapping_sub(1);
        // SAFETY: the slot is inside the ring, and nobody but us ever wrote to it.
        unsafe { self.ring.slot(self.index).read() }
    }
}

/// Our end of a ring that the kernel produces: receive and completion.
pub(super) struct Consumer<T> {
    ring: Ring<T>,
    /// The next slot to read.
    index: u32,
    /// The consumer index that the producer sees.
    published: u32,
    /// The producer index, as we saw it last.
    producer: u32,
}

impl<T: Copy> Consumer<T> {
    pub(super) fn new(ring: Ring<T>) -> Self {
        let index = ring.consumer().load(Ordering::Relaxed);
        let producer = ring.producer().load(Ordering::Acquire);
        Self {
            ring,
            index,
            published: index,
            producer,
        }
    }

    /// The next descriptor. Its slot stays ours until [`Self::release`].
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.index == self.producer {
            self.producer = self.ring.producer().load(Ordering::Acquire);
            if self.index == self.producer {
                return None;
            }
        }
        // SAFETY: the slot is inside the ring (see `slot`), and the producer, whose index we
        // acquired, has written it.
        let descriptor = unsafe { self.ring.slot(self.index).read() };
        self.index = self.index.wrapping_add(1);
        Some(descriptor)
    }

    /// Returns the slots of everything popped.
    pub(super) fn release(&mut self) {
        if self.published != self.index {
            self.published = self.index;
            self.ring.consumer().store(self.index, Ordering::Release);
        }
    }
}

/// The shared memory of a ring of descriptors `T`.
pub(super) struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    size: u32,
    /// Keeps all of them mapped.
    _memory: Arc<Mmap>,
}

impl<T: Copy> Ring<T> {
    /// How many bytes a ring of `size` slots takes.
    pub(super) fn bytes(offsets: &libc::xdp_ring_offset, size: u32) -> Result<usize, Errno> {
        let slots = usize::try_from(offsets.desc).map_err(|_| Errno::EINVAL)?;
        slots
            .checked_add(size as usize * size_of::<T>())
            .ok_or(Errno::EINVAL)
    }

    /// The ring of `size` slots in `memory`, whose parts are at `offsets`. `EINVAL` if they are not
    /// inside, or if the size is no power of two.
    ///
    /// # Safety
    /// At the offsets are two ring indices, the flags and `size` descriptors `T`; and on our side of
    /// the ring there is one producer or one consumer, which this becomes.
    pub(super) unsafe fn new(
        memory: Arc<Mmap>,
        offsets: &libc::xdp_ring_offset,
        size: u32,
    ) -> Result<Self, Errno> {
        if !size.is_power_of_two() {
            return Err(Errno::EINVAL);
        }
        let offset = |offset: u64| usize::try_from(offset).map_err(|_| Errno::EINVAL);
        Ok(Self {
            producer: memory.at(offset(offsets.producer)?, 1)?,
            consumer: memory.at(offset(offsets.consumer)?, 1)?,
            flags: memory.at(offset(offsets.flags)?, 1)?,
            slots: memory.at(offset(offsets.desc)?, size as usize)?,
            size,
            _memory: memory,
        })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: inside `_memory`, aligned, and only ever accessed atomically.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.flags.as_ref() }
    }

    /// The slot of an index; inside the ring whatever the index is.
    fn slot(&self, index: u32) -> NonNull<T> {
        let slot = index & (self.size - 1);
        // SAFETY: slot < size, and there are `size` slots.
        unsafe { self.slots.add(slot as usize) }
    }
}

// SAFETY: shared memory is not tied to a thread, and descriptors are plain numbers.
unsafe impl<T: Copy + Send> Send for Ring<T> {}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const OFFSETS: libc::xdp_ring_offset = libc::xdp_ring_offset {
        producer: 0,
        consumer: 64,
        flags: 128,
        desc: 192,
    };

    /// Both ends of a ring in memory of our own, whose indices start at `start`.
    fn ends(size: u32, start: u32) -> (Producer<u64>, Consumer<u64>) {
        let bytes = Ring::<u64>::bytes(&OFFSETS, size).unwrap();
        let memory = Arc::new(Mmap::anonymous(bytes).unwrap());
        // SAFETY: the memory is zeroed, which is an empty ring; one end produces, one consumes.
        let ring = || unsafe { Ring::<u64>::new(memory.clone(), &OFFSETS, size).unwrap() };
        ring().producer().store(start, Ordering::Relaxed);
        ring().consumer().store(start, Ordering::Relaxed);
        (Producer::new(ring()), Consumer::new(ring()))
    }

    #[test]
    fn a_size_that_does_not_fit_or_is_no_power_of_two_is_refused() {
        let memory = Arc::new(Mmap::anonymous(4096).unwrap());
        for size in [0, 3, 12, 1 << 31] {
            // SAFETY: zeroed memory, and nobody else uses it.
            let ring = unsafe { Ring::<u64>::new(memory.clone(), &OFFSETS, size) };
            assert_eq!(ring.err(), Some(Errno::EINVAL), "{size}");
        }
    }

    #[test]
    fn what_is_staged_is_invisible_until_submitted() {
        let (mut producer, mut consumer) = ends(4, 0);
        producer.push(1).unwrap();
        assert_eq!(consumer.pop(), None);
        assert_eq!(producer.pending(), 0);
        producer.submit();
        assert_eq!(producer.pending(), 1);
        assert_eq!(consumer.pop(), Some(1));
    }

    #[test]
    fn a_slot_is_free_only_after_its_release() {
        let (mut producer, mut consumer) = ends(2, u32::MAX);
        producer.push(1).unwrap();
        producer.push(2).unwrap();
        producer.submit();
        assert_eq!(producer.push(3), Err(3));
        assert_eq!(consumer.pop(), Some(1));
        assert_eq!(producer.push(3), Err(3));
        consumer.release();
        assert_eq!(producer.push(3), Ok(()));
        assert_eq!(producer.push(4), Err(4));
    }

    #[test]
    fn descriptors_come_back_in_reverse_from_a_ring_without_consumer() {
        let (mut producer, _) = ends(4, u32::MAX - 1);
        for value in 0..4 {
            producer.push(value).unwrap();
        }
        assert_eq!([(); 4].map(|()| producer.take_back()), [3, 2, 1, 0]);
    }

    #[test]
    fn the_flag_is_the_kernels_wish_to_be_woken() {
        let (producer, _) = ends(2, 0);
        assert!(!producer.needs_wakeup());
        producer
            .ring
            .flags()
            .store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
        assert!(producer.needs_wakeup());
    }

    #[test]
    fn two_threads_exchange_everything_in_order() {
        let count: u64 = if cfg!(miri) { 300 } else { 500_000 };
        let (mut producer, mut consumer) = ends(8, u32::MAX - 100);
        let sender = std::thread::spawn(move || {
            for value in 0..count {
                while producer.push(value).is_err() {
                    producer.submit();
                    std::thread::yield_now();
                }
                if value % 3 == 0 {
                    producer.submit();
                }
            }
            producer.submit();
        });
        for value in 0..count {
            let received = loop {
                match consumer.pop() {
                    Some(received) => break received,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(received, value);
            if value % 5 == 0 {
                consumer.release();
            }
            // A full ring whose slots are all popped would wait for ever.
            if value % 8 == 7 {
                consumer.release();
            }
        }
        sender.join().unwrap();
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push,
        Submit,
        Pop,
        Release,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Push),
            2 => Just(Step::Submit),
            4 => Just(Step::Pop),
            1 => Just(Step::Release),
        ];
        prop::collection::vec(step, 0..if cfg!(miri) { 60 } else { 400 })
    }

    /// Somewhere, or so that the indices wrap within a few steps.
    fn start() -> impl Strategy<Value = u32> {
        prop_oneof![
            any::<u32>(),
            (0..40_u32).prop_map(|back| u32::MAX - back),
            Just(0)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 6 } else { 1000 }, ..ProptestConfig::default() })]

        /// The oracle: three queues, whose lengths together are the occupied slots.
        #[test]
        fn a_ring_is_a_bounded_queue(log in 0..6_u32, start in start(), steps in steps()) {
            let size = 1 << log;
            let (mut producer, mut consumer) = ends(size, start);
            let (mut staged, mut published, mut popped) = (VecDeque::new(), VecDeque::new(), 0);
            for (value, step) in (0_u64..).zip(steps) {
                match step {
                    Step::Push => {
                        let full = staged.len() + published.len() + popped == size as usize;
                        prop_assert_eq!(producer.is_full(), full);
                        prop_assert_eq!(producer.push(value), if full { Err(value) } else { Ok(()) });
                        if !full {
                            staged.push_back(value);
                        }
                    }
                    Step::Submit => {
                        producer.submit();
                        published.append(&mut staged);
                    }
                    Step::Pop => {
                        let expected = published.pop_front();
                        popped += usize::from(expected.is_some());
                        prop_assert_eq!(consumer.pop(), expected);
                    }
                    Step::Release => {
                        consumer.release();
                        popped = 0;
                    }
                }
                prop_assert_eq!(producer.pending() as usize, published.len() + popped);
            }
        }
    }
}
