// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The peers that are written in C, through `shim.c`. The only file of this program with
//! `unsafe`, and only behind the feature `peers`.

#![allow(
    unsafe_code,
    reason = "libsrtp and ipsec-mb are C, and have to run in this process to be compared"
)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;
#[cfg(libsrtp)]
use std::sync::OnceLock;
#[cfg(ipsec_mb)]
use std::{fmt, ops::Range};

use crate::pool::HEADER;
#[cfg(ipsec_mb)]
use crate::{
    case::Isa,
    pool::{Frame, PACKETS, START, STRIDE},
};

/// A session of libsrtp with one stream.
#[cfg(libsrtp)]
pub(crate) struct Session(NonNull<c_void>);

#[cfg(libsrtp)]
impl Session {
    /// `SRTP_MAX_TRAILER_LEN`: what libsrtp may write behind a packet, in bytes.
    pub(crate) const MAX_TRAILER: usize = 16 + 128;

    /// `None` when this build of libsrtp does not have the suite.
    pub(crate) fn new(gcm: bool, key_len: usize, key_and_salt: &[u8], ssrc: u32) -> Option<Self> {
        static STARTED: OnceLock<bool> = OnceLock::new();
        let salt_len = if gcm { 12 } else { 14 };
        assert!(matches!(key_len, 16 | 32) && key_and_salt.len() == key_len + salt_len);
        // SAFETY: called once, before everything else of libsrtp.
        if !STARTED.get_or_init(|| unsafe { bench_srtp_start() } != 0) {
            return None;
        }
        // SAFETY: libsrtp reads as many bytes of the key as the suite asks for, which are there,
        // and keeps no pointer to them.
        let session =
            unsafe { bench_srtp_new(c_int::from(gcm), key_len, key_and_salt.as_ptr(), ssrc) };
        NonNull::new(session).map(Self)
    }

    pub(crate) fn version() -> String {
        // SAFETY: it is a string constant of libsrtp.
        let version = unsafe { CStr::from_ptr(bench_srtp_version()) };
        version.to_string_lossy().into_owned()
    }

    /// Protects the first `len` bytes; [`Self::MAX_TRAILER`] more have to be there.
    pub(crate) fn protect(&mut self, packet: &mut [u8], len: usize) -> bool {
        assert!(len >= HEADER && len + Self::MAX_TRAILER <= packet.len());
        assert!(packet.as_ptr().addr().is_multiple_of(4));
        // SAFETY: the session is alive and ours alone; libsrtp writes at most MAX_TRAILER bytes
        // behind the packet, which are there; the packet is aligned as it asks.
        unsafe { bench_srtp_protect(self.0.as_ptr(), packet.as_mut_ptr(), int(len)) != 0 }
    }

    /// Unprotects the first `len` bytes.
    pub(crate) fn unprotect(&mut self, packet: &mut [u8], len: usize) -> bool {
        assert!(len >= HEADER && len <= packet.len());
        assert!(packet.as_ptr().addr().is_multiple_of(4));
        // SAFETY: the session is alive and ours alone; libsrtp writes only into the packet,
        // which is aligned as it asks.
        unsafe { bench_srtp_unprotect(self.0.as_ptr(), packet.as_mut_ptr(), int(len)) != 0 }
    }
}

#[cfg(libsrtp)]
impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the session is alive, and nobody uses it after this.
        unsafe { bench_srtp_free(self.0.as_ptr()) }
    }
}

#[cfg(libsrtp)]
fn int(len: usize) -> c_int {
    c_int::try_from(len).expect("a packet is shorter than its frame")
}

/// An interface of ipsec-mb. The numbers are those of `shim.c`.
#[cfg(ipsec_mb)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Api {
    /// One job after the other, then a flush.
    Job = 0,
    /// A burst of jobs.
    Burst = 1,
    /// A burst of cipher jobs and one of hash jobs.
    CipherHashBurst = 2,
    /// One call for each packet.
    Direct = 3,
}

#[cfg(ipsec_mb)]
impl Api {
    pub(crate) const OF_CM: &[Self] = &[Self::Job, Self::Burst, Self::CipherHashBurst];
    pub(crate) const OF_GCM: &[Self] = &[Self::Job, Self::Burst, Self::Direct];
}

#[cfg(ipsec_mb)]
impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Job => "job",
            Self::Burst => "burst",
            Self::CipherHashBurst => "cipher+hash burst",
            Self::Direct => "direct",
        })
    }
}

/// One packet for ipsec-mb: `struct item` of `shim.c`.
#[cfg(ipsec_mb)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Item {
    offset: u32,
    len: u32,
    stream: u32,
    roc: u32,
    iv: [u8; 16],
}

#[cfg(ipsec_mb)]
impl Item {
    /// What ipsec-mb may write behind a packet, in bytes.
    const TRAILER: usize = 16;

    /// The packet in frame `at`; the IV of GCM are the first 12 bytes of `iv`.
    pub(crate) fn new(at: usize, len: usize, stream: usize, roc: u32, iv: [u8; 16]) -> Self {
        assert!(at < PACKETS && len > HEADER && START + len + Self::TRAILER <= STRIDE);
        let number = |n: usize| u32::try_from(n).expect("frames and streams are fewer than 2^32");
        Self {
            offset: number(at * STRIDE + START),
            len: number(len),
            stream: number(stream),
            roc,
            iv,
        }
    }
}

/// A manager of ipsec-mb, restricted to one instruction set, and the keys of one suite for it.
#[cfg(ipsec_mb)]
pub(crate) struct MultiBuffer {
    manager: NonNull<c_void>,
    streams: usize,
    gcm: bool,
    key_len: usize,
    items: [Item; PACKETS],
}

/// As many as the shim has room for.
#[cfg(ipsec_mb)]
const _: () = assert!(PACKETS == 64);

#[cfg(ipsec_mb)]
impl MultiBuffer {
    /// `None` when the CPU does not have the instructions. The shim numbers them in their order.
    pub(crate) fn new(isa: Isa, gcm: bool, key_len: usize, streams: usize) -> Option<Self> {
        assert!(matches!(key_len, 16 | 32) && streams > 0);
        // SAFETY: takes numbers, and answers NULL when anything fails.
        let manager = unsafe { bench_mb_new(isa as c_int, c_int::from(gcm), key_len, streams) };
        Some(Self {
            manager: NonNull::new(manager)?,
            streams,
            gcm,
            key_len,
            items: [Item::new(0, HEADER + 1, 0, 0, [0; 16]); PACKETS],
        })
    }

    pub(crate) fn version() -> String {
        // SAFETY: it is a string constant of ipsec-mb.
        let version = unsafe { CStr::from_ptr(bench_mb_version()) };
        version.to_string_lossy().into_owned()
    }

    /// Sets the session keys of a stream. `auth` is empty for GCM.
    pub(crate) fn set_key(&mut self, stream: usize, cipher: &[u8], auth: &[u8]) {
        assert!(stream < self.streams);
        assert!(cipher.len() == self.key_len && auth.len() == if self.gcm { 0 } else { 20 });
        // SAFETY: the manager is alive and ours alone and has so many streams; the shim reads as
        // many bytes of the keys as are there, and `auth` not at all for GCM.
        unsafe {
            bench_mb_set_key(
                self.manager.as_ptr(),
                stream,
                cipher.as_ptr(),
                auth.as_ptr(),
            );
        }
    }

    /// Says what packet `at` is.
    pub(crate) fn put(&mut self, at: usize, item: Item) {
        assert!((item.stream as usize) < self.streams);
        self.items[at] = item;
    }

    /// Processes these packets at once, if asked to after prefetching their keys; answers how many have a wrong tag. It decrypts those
    /// too, and leaves the ROC where the tag was.
    pub(crate) fn run(
        &mut self,
        api: Api,
        prefetch: bool,
        unprotect: bool,
        frames: &mut [Frame],
        range: Range<usize>,
    ) -> usize {
        let apis = if self.gcm { Api::OF_GCM } else { Api::OF_CM };
        assert!(apis.contains(&api) && frames.len() == PACKETS);
        let items = &self.items[range];
        // SAFETY: the manager is alive and ours alone. The shim reads and writes packets and
        // Item::TRAILER bytes behind them, which Item::new has found to be in the frames, and
        // reads keys of streams, which put has found to be there. There are at most PACKETS items,
        // as many as the shim has room for. It keeps no pointer: all jobs are done on return.
        unsafe {
            bench_mb_run(
                self.manager.as_ptr(),
                api as c_int,
                c_int::from(prefetch),
                c_int::from(unprotect),
                frames.as_mut_ptr().cast(),
                items.as_ptr(),
                items.len(),
            )
        }
    }
}

#[cfg(ipsec_mb)]
impl Drop for MultiBuffer {
    fn drop(&mut self) {
        // SAFETY: the manager is alive, and nobody uses it after this.
        unsafe { bench_mb_free(self.manager.as_ptr()) }
    }
}

// SAFETY: these are the functions of shim.c, with their types.
#[cfg(libsrtp)]
unsafe extern "C" {
    fn bench_srtp_start() -> c_int;
    fn bench_srtp_version() -> *const c_char;
    fn bench_srtp_new(gcm: c_int, key_len: usize, key: *const u8, ssrc: u32) -> *mut c_void;
    fn bench_srtp_free(session: *mut c_void);
    fn bench_srtp_protect(session: *mut c_void, packet: *mut u8, len: c_int) -> c_int;
    fn bench_srtp_unprotect(session: *mut c_void, packet: *mut u8, len: c_int) -> c_int;
}

// SAFETY: these are the functions of shim.c, with their types.
#[cfg(ipsec_mb)]
unsafe extern "C" {
    fn bench_mb_version() -> *const c_char;
    fn bench_mb_new(isa: c_int, gcm: c_int, key_len: usize, streams: usize) -> *mut c_void;
    fn bench_mb_free(mb: *mut c_void);
    fn bench_mb_set_key(mb: *mut c_void, stream: usize, cipher: *const u8, auth: *const u8);
    fn bench_mb_run(
        mb: *mut c_void,
        api: c_int,
        prefetch: c_int,
        unprotect: c_int,
        frames: *mut u8,
        items: *const Item,
        count: usize,
    ) -> usize;
}
