// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A mapping: memory of our own for the UMEM, or a ring that we share with the kernel.

use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use libc::{c_int, off_t};
use nix::errno::Errno;

/// Readable and writable memory, unmapped on drop.
pub(super) struct Mmap {
    start: NonNull<u8>,
    len: usize,
}

impl Mmap {
    /// `len` zeroed bytes, in transparent huge pages where the kernel has them to spare.
    pub(super) fn anonymous(len: usize) -> Result<Self, Errno> {
        let map = Self::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?;
        map.advise(libc::MADV_HUGEPAGE);
        Ok(map)
    }

    /// `len` zeroed bytes in reserved huge pages of 2 MiB, if the administrator reserved enough.
    pub(super) fn huge(len: usize) -> Result<Self, Errno> {
        let flags =
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB;
        Self::map(len, flags, -1, 0)
    }

    /// The ring of `socket` that the kernel offers at `offset`.
    pub(super) fn ring(socket: BorrowedFd<'_>, len: usize, offset: off_t) -> Result<Self, Errno> {
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        Self::map(len, flags, socket.as_raw_fd(), offset)
    }

    fn map(len: usize, flags: c_int, fd: c_int, offset: off_t) -> Result<Self, Errno> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: without MAP_FIXED the kernel chooses a free place; nothing existing is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let start = NonNull::new(start.cast()).ok_or(Errno::ENOMEM)?;
        let map = Self { start, len };
        // Neither a child process nor a core dump has any business with media. A child would also
        // keep the socket behind a ring alive.
        map.advise(libc::MADV_DONTFORK);
        map.advise(libc::MADV_DONTDUMP);
        Ok(map)
    }

    /// Advice may be refused: the mapping works without.
    fn advise(&self, advice: c_int) {
        if cfg!(miri) {
            return; // Miri has mmap, but no madvise.
        }
        // SAFETY: the range is our own mapping, and none of our advices changes its content.
        let _ = unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, advice) };
    }

    /// A pointer to `count` values of `T` at `offset`; `EINVAL` if they are not inside or not aligned.
    pub(super) fn at<T>(&self, offset: usize, count: usize) -> Result<NonNull<T>, Errno> {
        let end = count
            .checked_mul(size_of::<T>())
            .and_then(|bytes| bytes.checked_add(offset));
        if end.is_none_or(|end| end > self.len) {
            return Err(Errno::EINVAL);
        }
        // SAFETY: offset <= end <= len, so the pointer stays inside the mapping.
        let pointer = unsafe { self.start.add(offset) }.cast::<T>();
        if !pointer.is_aligned() {
            return Err(Errno::EINVAL);
        }
        Ok(pointer)
    }

    /// Keeps the mapping for the rest of the process.
    pub(super) fn leak(self) -> NonNull<u8> {
        let start = self.start;
        std::mem::forget(self);
        start
    }
}

impl Drop for Mmap {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours; whoever took a pointer from `at` keeps the `Mmap` beside it.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

// SAFETY: memory is not tied to the thread that mapped it.
unsafe impl Send for Mmap {}
// SAFETY: `&Mmap` only gives out raw pointers; their users answer for how they use them.
unsafe impl Sync for Mmap {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_outside_or_unaligned_is_refused() {
        let map = Mmap::anonymous(4096).unwrap();
        assert!(map.at::<u64>(0, 512).is_ok());
        assert!(map.at::<u64>(4088, 1).is_ok());
        for (offset, count) in [
            (0, 513),
            (4089, 1),
            (4096, 1),
            (usize::MAX, 1),
            (0, usize::MAX),
        ] {
            assert_eq!(map.at::<u64>(offset, count), Err(Errno::EINVAL));
        }
        assert_eq!(map.at::<u64>(4, 1), Err(Errno::EINVAL));
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        assert!(Mmap::anonymous(0).is_err());
    }
}
