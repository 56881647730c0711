// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Why the XDP program cannot be loaded, attached or spoken with.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use sallyport_ebpf::layout::{MAX_NICS, QUEUES_PER_NIC, RANGES_PER_NIC};

use super::{AttachMode, NicId};

/// Why the XDP program cannot be loaded, attached or spoken with. Each says what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum XdpError {
    /// The program was left out when this binary was built.
    NotBuilt,
    /// A capability is missing.
    Capability {
        /// Its name.
        name: &'static str,
    },
    /// The kernel lacks what the program needs.
    KernelTooOld {
        /// The version that runs.
        found: String,
    },
    /// The folder for pins is not on a BPF file system.
    NoBpffs {
        /// The folder.
        path: PathBuf,
    },
    /// A pin could not be read, made or removed.
    Pin {
        /// The file or folder.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// The process may not lock the memory that the maps take (kernels before 5.11).
    Memlock {
        /// The limit in bytes.
        limit: u64,
    },
    /// The kernel's verifier refuses the program.
    Verifier {
        /// The end of its log.
        log: String,
    },
    /// The program or a map could not be loaded.
    Load {
        /// What failed.
        reason: String,
    },
    /// A pinned map is not as this version makes it.
    OtherLayout {
        /// Its pin.
        path: PathBuf,
    },
    /// More NICs than the maps have room for.
    TooManyNics,
    /// There is no such network interface.
    NicMissing {
        /// Its name.
        nic: String,
    },
    /// No NIC was loaded under this number.
    UnknownNic(NicId),
    /// The NIC's driver refuses the program.
    NoNative {
        /// Its name.
        nic: String,
        /// What the driver says.
        error: io::Error,
    },
    /// Another XDP program is attached to the NIC.
    OtherProgram {
        /// The NIC's name.
        nic: String,
        /// The program, by name and number if known.
        program: String,
    },
    /// The program could not be attached.
    Attach {
        /// The NIC's name.
        nic: String,
        /// How it was to be attached.
        mode: AttachMode,
        /// What failed.
        reason: String,
    },
    /// The kernel does not tell what is attached to a NIC.
    Netlink(io::Error),
    /// A queue that cannot have a socket.
    QueueTooHigh {
        /// Its number.
        queue: u32,
    },
    /// A NIC has more media addresses than the map has room for.
    TooManyAddresses {
        /// The NIC's name.
        nic: String,
    },
    /// A flow's local address and port are not among the media addresses and ports.
    NotInRange {
        /// The address and port.
        local: SocketAddr,
    },
    /// A map could not be read or written.
    Map {
        /// The map.
        map: &'static str,
        /// What failed.
        reason: String,
    },
}

impl fmt::Display for XdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt => f.write_str(
                "load steer: this binary was built with AYA_BUILD_SKIP=1 and has no XDP program; \
                 build it without",
            ),
            Self::Capability { name } => write!(
                f,
                "load steer: {name} is missing; run as root or with CAP_BPF, CAP_PERFMON, \
                 CAP_NET_ADMIN, CAP_NET_RAW and CAP_IPC_LOCK"
            ),
            Self::KernelTooOld { found } => {
                write!(
                    f,
                    "load steer: Linux {found} is too old; 5.10 or newer is needed"
                )
            }
            Self::NoBpffs { path } => write!(
                f,
                "pin in {}: not on a BPF file system; run `mount -t bpf bpf /sys/fs/bpf`, or \
                 correct dataplane.pin in the configuration",
                path.display()
            ),
            Self::Pin { path, error } if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "pin {}: {error}; make its folder belong to this user, and keep dots out of the \
                 path",
                path.display()
            ),
            Self::Pin { path, error } => write!(
                f,
                "pin {}: {error}; `sallyport steer unload` removes all pins",
                path.display()
            ),
            Self::Memlock { limit } => write!(
                f,
                "load steer: the limit of locked memory (RLIMIT_MEMLOCK) of {limit} bytes is too \
                 low; raise it with `ulimit -l unlimited` or LimitMEMLOCK=infinity"
            ),
            Self::Verifier { log } => write!(
                f,
                "load steer: the kernel's verifier refuses it; report this with the kernel's \
                 version and the end of its log:\n{log}"
            ),
            Self::Load { reason } => write!(
                f,
                "load steer: {reason}; is the kernel built with CONFIG_BPF_SYSCALL and \
                 CONFIG_XDP_SOCKETS?"
            ),
            Self::OtherLayout { path } => write!(
                f,
                "open pinned map {}: another version of Sallyport made it; run `sallyport steer \
                 unload`, or give dataplane.pin another folder",
                path.display()
            ),
            Self::TooManyNics => {
                write!(f, "load steer: too many NICs; configure at most {MAX_NICS}")
            }
            Self::NicMissing { nic } => write!(
                f,
                "find {nic}: no such network interface; correct realm.*.nic in the configuration"
            ),
            Self::UnknownNic(NicId(nic)) => {
                write!(
                    f,
                    "find NIC number {nic}: not loaded; load steer with all NICs at once"
                )
            }
            Self::NoNative { nic, error } => write!(
                f,
                "attach steer to {nic}: its driver refuses native XDP ({error}); lower the MTU, \
                 turn off LRO, lower the number of queues, or drop --require-native to accept generic"
            ),
            Self::OtherProgram { nic, program } => write!(
                f,
                "attach steer to {nic}: {program} is attached already; end the process that owns \
                 it, or run `ip link set dev {nic} xdp off`"
            ),
            Self::Attach { nic, mode, reason } => write!(
                f,
                "attach steer to {nic} in {mode} mode: {reason}; an MTU of 1500 and LRO turned \
                 off suit every driver"
            ),
            Self::Netlink(error) => {
                write!(
                    f,
                    "ask the kernel what is attached: {error}; is rtnetlink allowed here?"
                )
            }
            Self::QueueTooHigh { queue } => write!(
                f,
                "set the socket of queue {queue}: queues from {QUEUES_PER_NIC} on cannot be \
                 served; lower their number with `ethtool -L`"
            ),
            Self::TooManyAddresses { nic } => write!(
                f,
                "set the media addresses of {nic}: too many; configure at most {RANGES_PER_NIC} \
                 for a NIC"
            ),
            Self::NotInRange { local } => write!(
                f,
                "insert flow {local}: not a media address and port; correct realm.*.addresses or \
                 realm.*.ports in the configuration"
            ),
            Self::Map { map, reason } => write!(
                f,
                "access map {map}: {reason}; `sallyport steer unload` and a restart make it anew"
            ),
        }
    }
}

impl Error for XdpError {}

/// An error with all its causes, on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let error_text = error.to_string();
        // Some errors of aya repeat their cause.
        if !text.ends_with(&error_text) {
            text = format!("{text}: {error_text}");
        }
        cause = error.source();
    }
    text
}

/// The system error at the root of an error, if there is one.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.raw_os_error();
        }
        cause = error.source();
    }
    None
}
