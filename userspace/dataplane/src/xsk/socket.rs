// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A socket: one queue of one NIC.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libc::{c_int, off_t};
use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use super::error::{NicQueue, XskError};
use super::ethtool;
use super::frame::{CHUNK_SIZE, FRAME_SIZE, Frame, FramePool};
use super::if_xdp::{
    TX_BATCH_SIZE, XDP_MAX_TX_SKB_BUDGET, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING,
};
use super::mmap::Mmap;
use super::ring::{Consumer, Producer, Ring};
use super::statistics::XskStatistics;
use super::syscall;
use super::umem::{Area, Umem};

/// How packets travel between the NIC and the UMEM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BindMode {
    /// The NIC reads and writes the UMEM itself. Needs support by the driver.
    ZeroCopy,
    /// The kernel copies. Works on every NIC.
    Copy,
}

impl fmt::Display for BindMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
        })
    }
}

/// What to open. Ring sizes are in frames, each a power of two.
#[derive(Clone, Copy, Debug)]
pub struct SocketConfig<'a> {
    /// The NIC's name, for messages.
    pub nic: &'a str,
    /// The NIC's index.
    pub ifindex: u32,
    /// Which of its queues.
    pub queue: u32,
    /// Size of the receive ring.
    pub receive: u32,
    /// Size of the fill ring; twice the receive ring is usual.
    pub fill: u32,
    /// Size of the transmit ring.
    pub transmit: u32,
    /// Size of the completion ring.
    pub completion: u32,
    /// The mode of the first socket of a UMEM; the later ones inherit it.
    pub mode: BindMode,
}

/// A packet that arrived.
#[derive(Debug)]
pub struct Received {
    /// The frame it is in.
    pub frame: Frame,
    /// Where in the frame it starts.
    pub start: usize,
    /// How long it is; it ends inside the frame.
    pub len: usize,
}

/// The frames that a socket has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outstanding {
    /// In the fill ring, in the NIC or in the receive ring.
    pub receive: u32,
    /// Staged, in the transmit ring, in the NIC or in the completion ring.
    pub transmit: u32,
}

/// An AF_XDP socket with its four rings.
///
/// Dropping it loses the frames that are outstanding: they do not return to the pool, because the
/// kernel takes a zero-copy socket down in the background, after `close`, and the NIC may write to
/// them meanwhile. A worker that loses a NIC allocates a new UMEM, or ends.
pub struct Socket {
    at: NicQueue,
    area: Area,
    fill: Producer<u64>,
    completion: Consumer<u64>,
    receive: Consumer<libc::xdp_desc>,
    transmit: Producer<libc::xdp_desc>,
    outstanding: Outstanding,
    zero_copy: bool,
    /// The two counters that the kernel does not have.
    counted: XskStatistics,
    /// Last, so that the rings are unmapped before it is closed. The UMEM has weak references.
    fd: Arc<OwnedFd>,
}

#[expect(clippy::cast_possible_truncation, reason = "it is 44")]
const FAMILY: u16 = libc::AF_XDP.cast_unsigned() as u16;

/// How long a queue may stay busy. A closed socket gives up its queue, and its locked memory, in the
/// background; over 20 restarts the worst was seen to take 43 ms.
const PATIENCE: Duration = Duration::from_millis(1500);

/// `sendto` calls of one [`Socket::flush`] at most: at least 32 frames each, 2048 in all.
const KICKS: usize = 64;

impl Socket {
    /// Opens a socket on one queue of one NIC, and fills its fill ring from the pool.
    ///
    /// The first socket registers the UMEM with the kernel; the later ones (other NIC or queue, and
    /// opened while one of the earlier is open) share it and inherit the first one's mode. Sleeps up
    /// to 1.5 s while the queue is still busy with a socket that was closed just now. The NIC must be
    /// in the network namespace of the calling thread.
    ///
    /// # Errors
    /// See [`XskError`]. Every frame is back in the pool then.
    pub fn open(
        umem: &mut Umem,
        pool: &mut FramePool,
        config: &SocketConfig<'_>,
    ) -> Result<Self, XskError> {
        let shared = umem.shared_socket();
        let mut socket = Self::prepare(umem.area(), config, shared.is_none())?;
        // Before `bind`: several drivers with zero copy never start to receive otherwise.
        socket.refill(pool);
        if let Err(error) = socket.bind(config, shared.as_deref()) {
            socket.abandon(pool);
            return Err(error);
        }
        // From here on the kernel has the frames, so nothing may fail.
        socket.zero_copy = match syscall::options(socket.as_fd()) {
            Ok(options) => options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0,
            Err(_) => config.mode == BindMode::ZeroCopy,
        };
        umem.joined(&socket.fd);
        Ok(socket)
    }

    /// A socket with rings, but without queue.
    fn prepare(area: Area, config: &SocketConfig<'_>, first: bool) -> Result<Self, XskError> {
        let at = NicQueue {
            nic: config.nic.to_owned(),
            queue: config.queue,
        };
        let fd = syscall::socket(libc::AF_XDP, libc::SOCK_RAW).map_err(|errno| XskError::Open {
            at: at.clone(),
            errno,
        })?;
        if first {
            register(fd.as_fd(), area).map_err(|errno| XskError::Register {
                at: at.clone(),
                bytes: area.bytes(),
                limit: locked_memory_limit(),
                errno,
            })?;
        }
        let failed = |ring, size| {
            let at = at.clone();
            move |errno| XskError::Ring {
                at,
                ring,
                size,
                errno,
            }
        };
        let offsets = syscall::ring_offsets(fd.as_fd()).map_err(failed("fill", config.fill))?;
        let fill = ring(
            fd.as_fd(),
            libc::XDP_UMEM_FILL_RING,
            XDP_UMEM_PGOFF_FILL_RING,
            &offsets.fr,
            config.fill,
        )
        .map_err(failed("fill", config.fill))?;
        let completion = ring(
            fd.as_fd(),
            libc::XDP_UMEM_COMPLETION_RING,
            XDP_UMEM_PGOFF_COMPLETION_RING,
            &offsets.cr,
            config.completion,
        )
        .map_err(failed("completion", config.completion))?;
        let receive = ring(
            fd.as_fd(),
            libc::XDP_RX_RING,
            libc::XDP_PGOFF_RX_RING,
            &offsets.rx,
            config.receive,
        )
        .map_err(failed("receive", config.receive))?;
        let transmit = ring(
            fd.as_fd(),
            libc::XDP_TX_RING,
            libc::XDP_PGOFF_TX_RING,
            &offsets.tx,
            config.transmit,
        )
        .map_err(failed("transmit", config.transmit))?;
        if config.transmit > TX_BATCH_SIZE {
            // One `sendto` for a whole burst in copy mode; kernels before 6.17 do not know it.
            let _ = syscall::set_number(fd.as_fd(), XDP_MAX_TX_SKB_BUDGET, config.transmit);
        }
        Ok(Self {
            at,
            area,
            fill: Producer::new(fill),
            completion: Consumer::new(completion),
            receive: Consumer::new(receive),
            transmit: Producer::new(transmit),
            outstanding: Outstanding::default(),
            zero_copy: false,
            counted: XskStatistics::default(),
            fd: Arc::new(fd),
        })
    }

    fn bind(&self, config: &SocketConfig<'_>, shared: Option<&OwnedFd>) -> Result<(), XskError> {
        // One mode, explicitly: there are drivers that let "either" succeed, and then send nothing.
        let mode = match config.mode {
            BindMode::ZeroCopy => libc::XDP_ZEROCOPY,
            BindMode::Copy => libc::XDP_COPY,
        };
        let address = libc::sockaddr_xdp {
            sxdp_family: FAMILY,
            sxdp_flags: match shared {
                // The kernel takes no other flag beside this one: the rest is inherited.
                Some(_) => libc::XDP_SHARED_UMEM,
                None => mode | libc::XDP_USE_NEED_WAKEUP,
            },
            sxdp_ifindex: config.ifindex,
            sxdp_queue_id: config.queue,
            sxdp_shared_umem_fd: shared.map_or(0, |fd| fd.as_raw_fd().cast_unsigned()),
        };
        retry(Errno::EBUSY, || syscall::bind(self.as_fd(), &address)).map_err(|errno| {
            XskError::Bind {
                at: self.at.clone(),
                mode: config.mode,
                driver: ethtool::driver(config.nic),
                errno,
            }
        })
    }

    /// Returns the frames of a socket that was never bound: no NIC ever knew them.
    fn abandon(mut self, pool: &mut FramePool) {
        for _ in 0..self.outstanding.receive {
            let address = self.fill.take_back();
            // SAFETY: `refill` put this address there, once, and the kernel does not use it.
            if let Some(frame) = unsafe { self.area.reclaim(address) } {
                pool.give(frame);
            }
        }
    }

    /// Hands at most `max` packets that arrived to `each`, and says how many.
    pub fn receive(&mut self, max: usize, mut each: impl FnMut(Received)) -> usize {
        let mut count = 0;
        while count < max
            && let Some(descriptor) = self.receive.pop()
        {
            // The descriptor is popped whatever happens, so that a panic in `each` repeats no frame.
            let Some(received) = self.received(descriptor) else {
                self.counted.invalid_from_kernel += 1;
                continue;
            };
            self.outstanding.receive -= 1;
            count += 1;
            each(received);
        }
        self.receive.release();
        count
    }

    /// The packet that a descriptor of the receive ring means, if it means one. Otherwise its frame
    /// stays outstanding: nobody knows which one it was.
    fn received(&self, descriptor: libc::xdp_desc) -> Option<Received> {
        let start = Area::offset(descriptor.addr);
        let len = descriptor.len as usize;
        if start + len > FRAME_SIZE {
            return None;
        }
        // SAFETY: the kernel returns in this ring what it took from the fill ring, each once, and
        // does not touch it any more.
        let frame = unsafe { self.area.reclaim(descriptor.addr) }?;
        Some(Received { frame, start, len })
    }

    /// Stages the `len` bytes from `start` on for sending; [`Self::flush`] sends them. The frame
    /// comes back, empty, through [`Self::reclaim`].
    ///
    /// # Errors
    /// The frame, if the ring is full, the frame is of another UMEM, or there are no such bytes.
    pub fn transmit(&mut self, frame: Frame, start: usize, len: usize) -> Result<(), Frame> {
        let inside = len > 0 && start.checked_add(len).is_some_and(|end| end <= FRAME_SIZE);
        debug_assert!(inside, "{len} bytes from {start} are not in a frame");
        if !inside || self.transmit.is_full() {
            return Err(frame);
        }
        let address = self.area.surrender(frame)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most the size of a frame"
        )]
        let descriptor = libc::xdp_desc {
            addr: address + start as u64,
            len: len as u32,
            options: 0,
        };
        let pushed = self.transmit.push(descriptor);
        debug_assert!(pushed.is_ok(), "a ring that is not full takes a descriptor");
        self.outstanding.transmit += 1;
        Ok(())
    }

    /// Publishes everything staged with one store, and wakes the kernel as long as it asks for that.
    ///
    /// Call it in every round of the loop, also with nothing staged: it looks again at frames that
    /// an earlier call could not get rid of (see the module `ring` for the race, and a full queue of
    /// the NIC).
    ///
    /// # Errors
    /// [`XskError::Kick`] if the socket cannot send any more, for example because its NIC is gone.
    /// A busy NIC or a link that is down is no error.
    pub fn flush(&mut self) -> Result<(), XskError> {
        self.transmit.submit();
        for _ in 0..KICKS {
            if !self.wants_kick() {
                return Ok(());
            }
            let before = self.transmit.pending();
            let Err(errno) = syscall::kick_transmit(self.as_fd()) else {
                return Ok(());
            };
            match errno {
                // The driver dropped one packet (no carrier, for example); go on with the next.
                Errno::EBUSY if !self.zero_copy => {}
                // Enough for one call, while there is more.
                Errno::EAGAIN if self.transmit.pending() != before => {}
                // The NIC, the completion ring or the socket's buffer is full; later.
                Errno::EAGAIN | Errno::EBUSY | Errno::ENOBUFS => return Ok(()),
                Errno::ENETDOWN => {
                    self.counted.link_down += 1;
                    return Ok(());
                }
                errno => {
                    return Err(XskError::Kick {
                        at: self.at.clone(),
                        errno,
                    });
                }
            }
        }
        Ok(())
    }

    /// In copy mode `sendto` does the sending, so only the transmit ring counts. With zero copy
    /// some drivers also need it to get around to completions.
    fn wants_kick(&mut self) -> bool {
        let outstanding = if self.zero_copy {
            self.outstanding.transmit
        } else {
            self.transmit.pending()
        };
        outstanding > 0 && self.transmit.needs_wakeup()
    }

    /// Returns frames that were sent to the pool, and says how many.
    pub fn reclaim(&mut self, pool: &mut FramePool) -> usize {
        let mut count = 0;
        while let Some(address) = self.completion.pop() {
            // SAFETY: the kernel returns in this ring what it took from the transmit ring, each
            // once, and does not touch it any more.
            let Some(frame) = (unsafe { self.area.reclaim(address) }) else {
                self.counted.invalid_from_kernel += 1;
                continue;
            };
            self.outstanding.transmit -= 1;
            count += 1;
            pool.give(frame);
        }
        self.completion.release();
        count
    }

    /// Moves free frames to the fill ring until that is full or the pool is empty, says how many,
    /// and wakes the NIC if it waits for them.
    pub fn refill(&mut self, pool: &mut FramePool) -> usize {
        let mut count = 0;
        while !self.fill.is_full()
            && let Some(frame) = pool.take()
        {
            match self.area.surrender(frame) {
                Ok(address) => {
                    let pushed = self.fill.push(address);
                    debug_assert!(pushed.is_ok(), "a ring that is not full takes a descriptor");
                    self.outstanding.receive += 1;
                    count += 1;
                }
                Err(foreign) => {
                    debug_assert!(false, "the pool belongs to another UMEM");
                    pool.give(foreign);
                    break;
                }
            }
        }
        self.fill.submit();
        if self.outstanding.receive > 0 && self.fill.needs_wakeup() {
            // Whatever is wrong with the NIC, `flush` says it; here the next round tries again.
            let _ = syscall::kick_fill(self.as_fd());
        }
        count
    }

    /// The frames that this socket has. Between bursts, when the worker holds none:
    /// `pool.len() + Σ (receive + transmit) == umem.frames()`.
    pub fn outstanding(&self) -> Outstanding {
        self.outstanding
    }

    /// What happened since the socket was opened. A system call.
    ///
    /// # Errors
    /// [`XskError::Statistics`] if the kernel has none.
    pub fn statistics(&self) -> Result<XskStatistics, XskError> {
        let kernel = syscall::statistics(self.as_fd()).map_err(|errno| XskError::Statistics {
            at: self.at.clone(),
            errno,
        })?;
        Ok(XskStatistics {
            invalid_from_kernel: self.counted.invalid_from_kernel,
            link_down: self.counted.link_down,
            ..kernel.into()
        })
    }

    /// Whether the NIC reads and writes the UMEM itself.
    pub fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// For `poll` and for the XSKMAP. Must not be duplicated for longer than the socket lives: the
    /// queue stays busy as long as there is a duplicate.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("at", &self.at)
            .field("outstanding", &self.outstanding)
            .field("zero_copy", &self.zero_copy)
            .finish_non_exhaustive()
    }
}

fn register(socket: BorrowedFd<'_>, area: Area) -> Result<(), Errno> {
    // A data plane that died just now may still be charged for its locked memory.
    retry(Errno::ENOBUFS, || {
        syscall::register_umem(socket, area.start(), area.bytes(), CHUNK_SIZE)
    })
}

/// Makes one of the four rings and maps it.
fn ring<T: Copy>(
    socket: BorrowedFd<'_>,
    option: c_int,
    page_offset: off_t,
    offsets: &libc::xdp_ring_offset,
    size: u32,
) -> Result<Ring<T>, Errno> {
    syscall::set_number(socket, option, size)?;
    let memory = Mmap::ring(socket, Ring::<T>::bytes(offsets, size)?, page_offset)?;
    // SAFETY: the kernel made a ring of so many descriptors for this option and says where its parts
    // are; it is called once per ring of a socket.
    unsafe { Ring::new(Arc::new(memory), offsets, size) }
}

/// Repeats `step` with growing pauses as long as it fails with `transient`, for [`PATIENCE`].
fn retry(transient: Errno, mut step: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let result = step();
        if result != Err(transient) || start.elapsed() >= PATIENCE {
            return result;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The limit of locked memory; `None` if there is none.
fn locked_memory_limit() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}
