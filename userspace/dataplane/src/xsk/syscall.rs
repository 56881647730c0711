// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The system calls on an AF_XDP socket, each once.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::{c_int, socklen_t};
use nix::errno::Errno;

/// A new, unbound socket of `family`.
pub(super) fn socket(family: c_int, kind: c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: no pointers.
    let fd = Errno::result(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Registers `len` bytes at `start` as UMEM of this socket, in chunks of `chunk_size`.
pub(super) fn register_umem(
    socket: BorrowedFd<'_>,
    start: u64,
    len: u64,
    chunk_size: u32,
) -> Result<(), Errno> {
    // Every field, zero or not: kernels have refused, and kernels have believed, what an older and
    // shorter form of this struct left uninitialised behind itself.
    let registration = libc::xdp_umem_reg {
        addr: start,
        len,
        chunk_size,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set_option(socket, libc::XDP_UMEM_REG, &registration)
}

/// Sets an option that is a number: the ring sizes and the like.
pub(super) fn set_number(socket: BorrowedFd<'_>, option: c_int, value: u32) -> Result<(), Errno> {
    set_option(socket, option, &value)
}

fn set_option<T: Copy>(socket: BorrowedFd<'_>, option: c_int, value: &T) -> Result<(), Errno> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes from `value`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            option,
            ptr::from_ref(value).cast(),
            len_of::<T>(),
        )
    };
    Errno::result(result).map(drop)
}

/// Where the parts of the four rings are in their mappings.
pub(super) fn ring_offsets(socket: BorrowedFd<'_>) -> Result<libc::xdp_mmap_offsets, Errno> {
    // SAFETY: a struct of integers.
    unsafe { option(socket, libc::XDP_MMAP_OFFSETS) }
}

/// What the kernel counted.
pub(super) fn statistics(socket: BorrowedFd<'_>) -> Result<libc::xdp_statistics, Errno> {
    // SAFETY: a struct of integers.
    unsafe { option(socket, libc::XDP_STATISTICS) }
}

/// How the kernel bound the socket.
pub(super) fn options(socket: BorrowedFd<'_>) -> Result<libc::xdp_options, Errno> {
    // SAFETY: a struct of one integer.
    unsafe { option(socket, libc::XDP_OPTIONS) }
}

/// # Safety
/// All zeros must be a valid `T`, and so must be what the kernel writes for `option`.
unsafe fn option<T: Copy>(socket: BorrowedFd<'_>, option: c_int) -> Result<T, Errno> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = len_of::<T>();
    // SAFETY: the kernel writes at most `len` bytes to `value`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            option,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    Errno::result(result)?;
    // SAFETY: zeroed, then written by the kernel; see above.
    Ok(unsafe { value.assume_init() })
}

/// Binds the socket to a (NIC, queue).
pub(super) fn bind(socket: BorrowedFd<'_>, address: &libc::sockaddr_xdp) -> Result<(), Errno> {
    // SAFETY: the kernel reads the size of the address from `address`.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            ptr::from_ref(address).cast(),
            len_of::<libc::sockaddr_xdp>(),
        )
    };
    Errno::result(result).map(drop)
}

/// Makes the kernel work on the transmit ring.
pub(super) fn kick_transmit(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: no data and no address, so no pointer is followed.
    let result = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            ptr::null(),
            0,
            libc::MSG_DONTWAIT,
            ptr::null(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// Makes the kernel work on the fill ring.
pub(super) fn kick_fill(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let nobody = ptr::null_mut();
    // SAFETY: no buffer and no address, so no pointer is followed.
    let result = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            nobody,
            ptr::null_mut(),
        )
    };
    Errno::result(result).map(drop)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "kernel structs are a few hundred bytes"
)]
const fn len_of<T>() -> socklen_t {
    size_of::<T>() as socklen_t
}
