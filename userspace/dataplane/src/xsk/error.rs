// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What can go wrong with a socket, and what to do about it.

use std::error::Error;
use std::fmt;

use nix::errno::Errno;

use super::frame::FRAME_SIZE;
use super::socket::BindMode;

/// A queue of a NIC, shown as `eth0 queue 3`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NicQueue {
    /// The NIC's name.
    pub nic: String,
    /// The queue's number, from 0.
    pub queue: u32,
}

impl fmt::Display for NicQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} queue {}", self.nic, self.queue)
    }
}

/// A step that failed, where, why, and the remedy.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum XskError {
    /// The number of a NIC's queues is unknown.
    Channels {
        /// The NIC's name.
        nic: String,
        /// Of `ioctl(SIOCETHTOOL)`.
        errno: Errno,
    },
    /// No memory for the UMEM.
    Allocate {
        /// How much.
        bytes: usize,
        /// Of `mmap`.
        errno: Errno,
    },
    /// No AF_XDP socket.
    Open {
        /// For which queue.
        at: NicQueue,
        /// Of `socket`.
        errno: Errno,
    },
    /// The kernel refuses the UMEM.
    Register {
        /// For which queue.
        at: NicQueue,
        /// How large it is.
        bytes: u64,
        /// How much memory the process may lock; `None` without limit.
        limit: Option<u64>,
        /// Of `setsockopt(XDP_UMEM_REG)`.
        errno: Errno,
    },
    /// A ring could not be made.
    Ring {
        /// Of which queue.
        at: NicQueue,
        /// `fill`, `completion`, `receive` or `transmit`.
        ring: &'static str,
        /// How many slots were asked for.
        size: u32,
        /// Of `setsockopt` or `mmap`.
        errno: Errno,
    },
    /// The socket could not be bound.
    Bind {
        /// To which queue.
        at: NicQueue,
        /// The mode that was asked for, or inherited from the first socket of the UMEM.
        mode: BindMode,
        /// The NIC's driver.
        driver: String,
        /// Of `bind`; `EBUSY` if the queue stayed busy for all attempts.
        errno: Errno,
    },
    /// The kernel did not accept a wake-up for the transmit ring: the socket no longer works.
    Kick {
        /// Of which queue.
        at: NicQueue,
        /// Of `sendto`.
        errno: Errno,
    },
    /// No statistics.
    Statistics {
        /// Of which queue.
        at: NicQueue,
        /// Of `getsockopt(XDP_STATISTICS)`.
        errno: Errno,
    },
}

impl XskError {
    /// Whether the NIC refused zero copy, so that [`BindMode::Copy`] may still work.
    pub fn is_zero_copy_refused(&self) -> bool {
        let Self::Bind {
            mode: BindMode::ZeroCopy,
            errno,
            ..
        } = self
        else {
            return false;
        };
        !matches!(errno, Errno::ENODEV | Errno::EPERM)
    }
}

impl fmt::Display for XskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channels { nic, errno } => {
                write!(f, "count the queues of {nic}: {errno}; check realm.*.nic")
            }
            Self::Allocate { bytes, errno } => {
                write!(
                    f,
                    "map {bytes} bytes of UMEM: {errno}; lower dataplane.frames (at least 1)"
                )
            }
            Self::Open {
                at,
                errno: Errno::EPERM,
            } => {
                write!(
                    f,
                    "open socket for {at}: not permitted; give the process CAP_NET_RAW"
                )
            }
            Self::Open {
                at,
                errno: Errno::EAFNOSUPPORT,
            } => write!(
                f,
                "open socket for {at}: this kernel has no AF_XDP; \
                 use Linux 5.10 or newer with CONFIG_XDP_SOCKETS"
            ),
            Self::Open { at, errno } => write!(f, "open socket for {at}: {errno}"),
            Self::Register {
                at,
                bytes,
                limit: Some(limit),
                errno: Errno::ENOBUFS,
            } => write!(
                f,
                "register UMEM for {at}: locked memory limit RLIMIT_MEMLOCK is {limit} bytes, \
                 UMEM needs {bytes}: raise LimitMEMLOCK or give CAP_IPC_LOCK"
            ),
            Self::Register {
                at, bytes, errno, ..
            } => write!(
                f,
                "register UMEM of {bytes} bytes for {at}: {errno}; lower dataplane.frames"
            ),
            Self::Ring {
                at,
                ring,
                size,
                errno,
            } => write!(
                f,
                "make {ring} ring of {size} for {at}: {errno}; take a smaller power of two"
            ),
            Self::Bind {
                at,
                mode,
                driver,
                errno,
            } => bind(f, at, *mode, driver, *errno),
            Self::Kick {
                at,
                errno: Errno::ENXIO,
            } => {
                write!(
                    f,
                    "send on {at}: the NIC is gone; bring it back and restart"
                )
            }
            Self::Kick { at, errno } => write!(f, "send on {at}: {errno}; restart"),
            Self::Statistics { at, errno } => write!(f, "read statistics of {at}: {errno}"),
        }
    }
}

impl Error for XskError {}

fn bind(
    f: &mut fmt::Formatter<'_>,
    at: &NicQueue,
    mode: BindMode,
    driver: &str,
    errno: Errno,
) -> fmt::Result {
    let NicQueue { nic, queue } = at;
    write!(f, "bind {at}: ")?;
    match errno {
        Errno::EOPNOTSUPP if mode == BindMode::ZeroCopy => {
            write!(
                f,
                "zero copy unsupported by driver {driver}; drop --require-zero-copy"
            )
        }
        Errno::EOPNOTSUPP => write!(f, "AF_XDP unsupported by driver {driver}; use another NIC"),
        Errno::EBUSY => write!(
            f,
            "queue in use; stop the other AF_XDP program, or lower dataplane.queues (ip link show {nic})"
        ),
        Errno::ENODEV => write!(f, "no such NIC; name one that `ip link` shows"),
        Errno::EINVAL => write!(
            f,
            "driver {driver} refuses it; {nic} needs a queue {queue} (ethtool -l {nic}) that no \
             socket of this UMEM has yet, and zero copy an MTU that fits frames of {FRAME_SIZE} \
             bytes (ip link set {nic} mtu 1500)"
        ),
        Errno::ENETDOWN => write!(f, "link down; ip link set {nic} up"),
        _ => write!(f, "{errno} in {mode} mode with driver {driver}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> NicQueue {
        NicQueue {
            nic: "eth0".to_owned(),
            queue: 3,
        }
    }

    fn refused(mode: BindMode, errno: Errno) -> XskError {
        XskError::Bind {
            at: at(),
            mode,
            driver: "veth".to_owned(),
            errno,
        }
    }

    #[test]
    fn an_error_names_the_step_the_place_and_the_remedy() {
        let table = [
            (
                refused(BindMode::ZeroCopy, Errno::EOPNOTSUPP),
                "bind eth0 queue 3: zero copy unsupported by driver veth; drop --require-zero-copy",
            ),
            (
                refused(BindMode::Copy, Errno::ENODEV),
                "bind eth0 queue 3: no such NIC; name one that `ip link` shows",
            ),
            (
                XskError::Open {
                    at: at(),
                    errno: Errno::EPERM,
                },
                "open socket for eth0 queue 3: not permitted; give the process CAP_NET_RAW",
            ),
            (
                XskError::Register {
                    at: at(),
                    bytes: 16_777_216,
                    limit: Some(65_536),
                    errno: Errno::ENOBUFS,
                },
                "register UMEM for eth0 queue 3: locked memory limit RLIMIT_MEMLOCK is 65536 bytes, \
                 UMEM needs 16777216: raise LimitMEMLOCK or give CAP_IPC_LOCK",
            ),
            (
                XskError::Kick {
                    at: at(),
                    errno: Errno::ENXIO,
                },
                "send on eth0 queue 3: the NIC is gone; bring it back and restart",
            ),
        ];
        for (error, text) in table {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn copy_mode_is_worth_a_try_only_after_zero_copy_was_refused() {
        assert!(refused(BindMode::ZeroCopy, Errno::EOPNOTSUPP).is_zero_copy_refused());
        assert!(refused(BindMode::ZeroCopy, Errno::EINVAL).is_zero_copy_refused());
        assert!(!refused(BindMode::ZeroCopy, Errno::ENODEV).is_zero_copy_refused());
        assert!(!refused(BindMode::Copy, Errno::EINVAL).is_zero_copy_refused());
    }
}
