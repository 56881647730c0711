// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the kernel must offer to a data plane, and what a process gives up.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability};
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use sallyport_dataplane::Config;

/// The oldest kernel whose AF_XDP has everything: bpf links for XDP, and shared UMEM over two NICs.
const KERNEL: (u32, u32) = (5, 10);
/// Size of a UMEM frame in bytes.
const FRAME: u64 = 2048;
/// What maps, the verifier, XDP and AF_XDP sockets ask for, in this order.
const NEEDED: [Capability; 4] = [
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
];
/// What the frames ask for when the limit of locked memory is too low for them.
const LOCK: Capability = Capability::CAP_IPC_LOCK;

/// Why this process cannot do what it should. Each names the remedy.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum PrivilegeError {
    /// The kernel is too old.
    Kernel {
        /// Its release.
        release: String,
    },
    /// Capabilities are missing.
    Capabilities {
        /// Which.
        missing: Vec<Capability>,
        /// When CAP_IPC_LOCK is among them: the limit and what is needed, in bytes.
        memlock: Option<(u64, u64)>,
    },
    /// There is no BPF file system where maps are to be pinned.
    NoBpffs {
        /// Where they are to be pinned.
        pin: PathBuf,
    },
    /// Capabilities cannot be given up.
    Drop(String),
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { release } => {
                let (major, minor) = KERNEL;
                write!(
                    f,
                    "kernel {release} is too old for AF_XDP with a shared UMEM; boot {major}.{minor} \
                     or newer"
                )
            }
            Self::Capabilities { missing, memlock } => {
                write!(f, "the data plane lacks {}", names(missing).join(", "))?;
                if let Some((limit, needed)) = memlock {
                    write!(
                        f,
                        " (RLIMIT_MEMLOCK is {limit} bytes, its frames take {needed})"
                    )?;
                }
                let all = names(NEEDED.iter().chain([&LOCK]));
                let exe = std::env::current_exe().unwrap_or_else(|_| "sallyport".into());
                write!(
                    f,
                    "; run it as root, or `setcap {}+ep {}`, or with systemd \
                     AmbientCapabilities={}",
                    all.join(",").to_lowercase(),
                    exe.display(),
                    all.join(" ")
                )
            }
            Self::NoBpffs { pin } => write!(
                f,
                "dataplane.pin {} is on no BPF file system; `mount -t bpf bpf /sys/fs/bpf`",
                pin.display()
            ),
            Self::Drop(cause) => write!(
                f,
                "give up capabilities: {cause}; the agent does not start with any, run it as an \
                 ordinary user"
            ),
        }
    }
}

impl std::error::Error for PrivilegeError {}

/// Whether this process may be a data plane; raises the limit of locked memory as far as it may.
///
/// # Errors
/// What is missing.
pub(crate) fn suffice_for(config: &Config) -> Result<(), PrivilegeError> {
    new_kernel()?;
    capabilities(frames_of(config))?;
    bpffs(&config.pin)
}

/// The kernel's release, if it is new enough.
///
/// # Errors
/// [`PrivilegeError::Kernel`].
pub(crate) fn new_kernel() -> Result<String, PrivilegeError> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().to_owned();
    if is_older(&release, KERNEL) {
        return Err(PrivilegeError::Kernel { release });
    }
    Ok(release)
}

/// What the frames of a data plane take, in bytes. At least: how many queues there are without a
/// word in the file, only the data plane knows.
pub(crate) fn frames_of(config: &Config) -> u64 {
    u64::from(config.queues.unwrap_or(1)) * u64::from(config.frames) * FRAME
}

/// Whether this process has what it takes to be a data plane whose frames need this many bytes;
/// raises the limit of locked memory as far as it may.
///
/// # Errors
/// [`PrivilegeError::Capabilities`].
pub(crate) fn capabilities(needed: u64) -> Result<(), PrivilegeError> {
    let mut missing = NEEDED.to_vec();
    missing.retain(|capability| !has(*capability));
    let limit = raise_memlock();
    let memlock = (limit < needed && !has(LOCK)).then_some((limit, needed));
    missing.extend(memlock.map(|_| LOCK));
    if !missing.is_empty() {
        return Err(PrivilegeError::Capabilities { missing, memlock });
    }
    Ok(())
}

/// Whether maps can be pinned here.
///
/// # Errors
/// [`PrivilegeError::NoBpffs`].
pub(crate) fn bpffs(pin: &Path) -> Result<(), PrivilegeError> {
    if is_on_bpffs(pin) {
        return Ok(());
    }
    let pin = pin.to_owned();
    Err(PrivilegeError::NoBpffs { pin })
}

/// Gives up every capability, and every way to get one again. For a process with one thread:
/// capabilities are a thread's own, and later threads inherit them.
///
/// # Errors
/// [`PrivilegeError::Drop`].
pub(crate) fn give_up() -> Result<(), PrivilegeError> {
    let failed = |cause: &dyn fmt::Display| PrivilegeError::Drop(cause.to_string());
    prctl::set_no_new_privs().map_err(|errno| failed(&errno))?;
    // Without this one the bounding set cannot shrink, nor anything be got from it any more.
    if has(Capability::CAP_SETPCAP) {
        caps::clear(None, CapSet::Bounding).map_err(|error| failed(&error))?;
    }
    for set in [
        CapSet::Ambient,
        CapSet::Effective,
        CapSet::Permitted,
        CapSet::Inheritable,
    ] {
        caps::clear(None, set).map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// Keeps this process's memory, with its keys, out of core dumps and debuggers.
pub(crate) fn keep_memory_private() {
    if let Err(errno) = prctl::set_dumpable(false) {
        tracing::warn!(%errno, "a core dump of this process would contain keys");
    }
}

/// Lets this process open as many files as it may at all: each port of a leg with ICE or DTLS is a
/// socket.
pub(crate) fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        tracing::warn!(%errno, "raise the limit of open files (RLIMIT_NOFILE)");
    }
}

fn names<'a>(capabilities: impl IntoIterator<Item = &'a Capability>) -> Vec<String> {
    capabilities.into_iter().map(ToString::to_string).collect()
}

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Raises the limit of locked memory, and answers what it is now, in bytes.
fn raise_memlock() -> u64 {
    let resource = Resource::RLIMIT_MEMLOCK;
    let Ok((_, hard)) = getrlimit(resource) else {
        return RLIM_INFINITY;
    };
    // Beyond the hard limit only with CAP_SYS_RESOURCE, up to it always.
    for limit in [RLIM_INFINITY, hard] {
        if setrlimit(resource, limit, limit.max(hard)).is_ok() {
            return limit;
        }
    }
    0
}

fn is_on_bpffs(pin: &Path) -> bool {
    let there = pin.ancestors().find(|folder| folder.exists());
    there.is_some_and(|folder| {
        statfs(folder).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
    })
}

/// Whether a release such as `6.1.0-18-amd64` is older; one that cannot be read is not.
fn is_older(release: &str, than: (u32, u32)) -> bool {
    let mut numbers = release.split(['.', '-']).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < than,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        for (release, older) in [
            ("4.19.0-26-amd64\n", true),
            ("5.9.16", true),
            ("5.10.0-34-cloud-amd64", false),
            ("5.15", false),
            ("6.1.0-rc3+", false),
            ("10.0.1", false),
            ("unknown", false),
            ("", false),
        ] {
            assert_eq!(is_older(release, KERNEL), older, "{release:?}");
        }
    }

    #[test]
    fn a_complaint_names_what_is_missing_and_the_remedy() {
        let complaint = PrivilegeError::Capabilities {
            missing: vec![Capability::CAP_NET_RAW, Capability::CAP_IPC_LOCK],
            memlock: Some((65_536, 16_777_216)),
        };
        let text = complaint.to_string();
        for part in [
            "lacks CAP_NET_RAW, CAP_IPC_LOCK (RLIMIT_MEMLOCK is 65536 bytes, its frames take 16777216);",
            "`setcap cap_bpf,cap_perfmon,cap_net_admin,cap_net_raw,cap_ipc_lock+ep /",
            "AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_folder_of_tmp_is_on_no_bpf_file_system() {
        assert!(!is_on_bpffs(Path::new("/tmp/not/there")));
    }
}
