// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The pins on the BPF file system, which keep maps and links alive while no process has them.
//!
//! `<pin>/v1/<MAP>` are the maps, `<pin>/v1/link-<nic>` the links. While a link is pinned the
//! program stays attached; it goes soon after its pin, and with it the program.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{MapInfo, MapType};
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use nix::net::if_::if_nametoindex;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use sallyport_ebpf::layout::{
    FLOWS_LEN, MAX_NICS, NIC_NAME_LEN, RANGES_LEN, Range, SOCKETS_LEN, VERDICTS_LEN, VERSION,
};

use super::XdpError;
use super::attached::Attached;
use super::error::errno;

pub(super) const NICS: &str = "NICS";
pub(super) const RANGES: &str = "RANGES";
pub(super) const FLOWS: &str = "FLOWS";
pub(super) const SOCKETS: &str = "SOCKETS";
pub(super) const VERDICTS: &str = "VERDICTS";

/// Every map: name, type, length of values, number of entries. All keys have four bytes.
const MAPS: [(&str, MapType, usize, u32); 5] = [
    (NICS, MapType::Array, NIC_NAME_LEN, MAX_NICS),
    (RANGES, MapType::Array, 4 * Range::WORDS, RANGES_LEN),
    (FLOWS, MapType::Array, 8, FLOWS_LEN),
    (SOCKETS, MapType::XskMap, 4, SOCKETS_LEN),
    (VERDICTS, MapType::PerCpuArray, 8, VERDICTS_LEN),
];

/// How long the kernel may take to detach a program after its link is gone.
const DETACH_TIMEOUT: Duration = Duration::from_secs(2);

/// The folder with all pins of this layout.
#[derive(Clone, Debug)]
pub(super) struct PinFolder {
    path: PathBuf,
}

impl PinFolder {
    /// The folder, which need not exist.
    pub(super) fn new(pin: &Path) -> Self {
        Self {
            path: pin.join(VERSION),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Makes the folder, for nobody else to enter.
    pub(super) fn create(&self) -> Result<(), XdpError> {
        let existing = self.path.ancestors().find(|path| path.exists());
        let on_bpffs = existing
            .and_then(|path| statfs(path).ok())
            .is_some_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
        if !on_bpffs {
            return Err(XdpError::NoBpffs {
                path: self.path.clone(),
            });
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(|error| XdpError::Pin {
                path: self.path.clone(),
                error,
            })
    }

    /// Makes sure that what is pinned here has our layout.
    pub(super) fn check_maps(&self) -> Result<(), XdpError> {
        for (name, map_type, value_len, entries) in MAPS {
            let Some(found) = self.map_info(name)? else {
                continue;
            };
            let fits = found.map_type().is_ok_and(|found| found == map_type)
                && found.key_size() == 4
                && found.value_size() as usize == value_len
                && found.max_entries() == entries;
            if !fits {
                return Err(XdpError::OtherLayout {
                    path: self.map(name),
                });
            }
        }
        Ok(())
    }

    /// What the kernel says about a pinned map.
    pub(super) fn map_info(&self, name: &str) -> Result<Option<MapInfo>, XdpError> {
        let path = self.map(name);
        match MapInfo::from_pin(&path) {
            Ok(info) => Ok(Some(info)),
            Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(XdpError::Pin {
                path,
                error: io::Error::other(error),
            }),
        }
    }

    /// The pin of a map.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The pin of a NIC's link. Names of pins must not have dots, names of NICs may.
    pub(super) fn link(&self, nic: &str) -> PathBuf {
        self.path.join(format!("link-{}", nic.replace('.', "%2e")))
    }

    /// The NICs that have a pinned link, sorted.
    pub(super) fn linked_nics(&self) -> Result<Vec<String>, XdpError> {
        let failed = |error| XdpError::Pin {
            path: self.path.clone(),
            error,
        };
        let mut nics = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(nic) = name.to_str().and_then(|name| name.strip_prefix("link-")) {
                nics.push(nic.replace("%2e", "."));
            }
        }
        nics.sort_unstable();
        Ok(nics)
    }

    /// A NIC's pinned link and the number of its program.
    pub(super) fn open_link(&self, nic: &str) -> Result<Option<(FdLink, u32)>, XdpError> {
        let path = self.link(nic);
        let failed = |error| XdpError::Pin {
            path: path.clone(),
            error: io::Error::other(error),
        };
        let link = match PinnedLink::from_pin(&path) {
            Ok(link) => FdLink::from(link),
            Err(LinkError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::NotFound =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let program = link.info().map_err(failed)?.program_id();
        Ok(Some((link, program)))
    }

    /// Detaches a NIC's program: removes the link's pin and waits until the program is gone.
    pub(super) fn remove_link(&self, nic: &str) -> Result<(), XdpError> {
        let Some((link, program)) = self.open_link(nic)? else {
            return Ok(());
        };
        remove(&self.link(nic))?;
        drop(link);
        let Ok(index) = if_nametoindex(nic) else {
            return Ok(());
        };
        let deadline = Instant::now() + DETACH_TIMEOUT;
        while Attached::of(index)
            .map_err(XdpError::Netlink)?
            .mode(program)
            .is_some()
        {
            if Instant::now() > deadline {
                let error = io::ErrorKind::TimedOut.into();
                return Err(XdpError::Pin {
                    path: self.link(nic),
                    error,
                });
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Removes the maps' pins, and the folders if nothing else is in them.
    pub(super) fn remove_maps(&self) -> Result<Vec<String>, XdpError> {
        let mut removed = Vec::new();
        for (name, ..) in MAPS {
            if remove(&self.map(name))? {
                removed.push(format!("map {name}"));
            }
        }
        for folder in self.path.ancestors().take(2) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
            removed.push(format!("folder {}", folder.display()));
        }
        Ok(removed)
    }
}

/// Removes a file; `false` when there is none.
fn remove(path: &Path) -> Result<bool, XdpError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(XdpError::Pin {
            path: path.to_owned(),
            error,
        }),
    }
}
