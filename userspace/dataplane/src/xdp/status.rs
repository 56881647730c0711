// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is pinned: for people to look at, and to take away.

use std::fmt;
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray};
use nix::net::if_::if_nametoindex;
use sallyport_ebpf::Verdict;
use sallyport_ebpf::layout::{
    FlowWord, MAX_NICS, NIC_NAME_LEN, RANGES_LEN, Range, WORDS_PER_RANGE, flow_index,
};

use super::attached::Attached;
use super::error::chain;
use super::pin::{FLOWS, NICS, PinFolder, RANGES, VERDICTS};
use super::steer::{nic_name, read_verdicts};
use super::{AttachMode, XdpError};

/// Detaches the program from one NIC, or from all, and removes the pins. The maps go with the last
/// NIC. Returns what was removed, which is nothing if nothing was there.
///
/// # Errors
/// [`XdpError::Pin`] when a pin cannot be removed.
pub fn unload(pin: &Path, nic: Option<&str>) -> Result<Vec<String>, XdpError> {
    let folder = PinFolder::new(pin);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let (gone, left): (Vec<_>, Vec<_>) = folder
        .linked_nics()?
        .into_iter()
        .partition(|found| nic.is_none_or(|nic| nic == found));
    let mut removed = Vec::new();
    for nic in gone {
        folder.remove_link(&nic)?;
        removed.push(format!("link of {nic}"));
    }
    // A NIC that was never attached takes nothing with it.
    if left.is_empty() && (nic.is_none() || !removed.is_empty()) {
        removed.extend(folder.remove_maps()?);
    }
    Ok(removed)
}

/// Looks at what is pinned.
///
/// # Errors
/// [`XdpError::Pin`] or [`XdpError::Map`] when a pin or map cannot be read.
pub fn status(pin: &Path) -> Result<Status, XdpError> {
    let folder = PinFolder::new(pin);
    let mut status = Status {
        folder: folder.path().to_owned(),
        ..Status::default()
    };
    if !folder.exists() {
        return Ok(status);
    }
    let failed = |map| {
        move |error: MapError| XdpError::Map {
            map,
            reason: chain(&error),
        }
    };
    let numbers = match folder.map_info(NICS)? {
        Some(_) => open(&folder, NICS)
            .and_then(|map| numbers(&map))
            .map_err(failed(NICS))?,
        None => Vec::new(),
    };
    let verdicts: Option<PerCpuArray<MapData, u64>> = match folder.map_info(VERDICTS)? {
        Some(_) => Some(open(&folder, VERDICTS).map_err(failed(VERDICTS))?),
        None => None,
    };
    for nic in folder.linked_nics()? {
        let Some((_, program)) = folder.open_link(&nic)? else {
            continue;
        };
        let mode = match if_nametoindex(nic.as_str()) {
            Ok(index) => Attached::of(index)
                .map_err(XdpError::Netlink)?
                .mode(program),
            Err(_) => None,
        };
        let number = (0..).zip(&numbers).find(|(_, found)| **found == nic);
        let verdicts = match (number, &verdicts) {
            (Some((number, _)), Some(map)) => {
                read_verdicts(map, number).map_err(failed(VERDICTS))?
            }
            _ => [0; Verdict::COUNT],
        };
        status.nics.push(NicStatus {
            name: nic,
            mode,
            program,
            verdicts,
        });
    }
    if folder.map_info(RANGES)?.is_some() {
        let ranges = open(&folder, RANGES).map_err(failed(RANGES))?;
        let flows = open(&folder, FLOWS).map_err(failed(FLOWS))?;
        status.count(&ranges, &flows).map_err(failed(RANGES))?;
    }
    Ok(status)
}

/// What is pinned.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The folder with the pins.
    pub folder: PathBuf,
    /// The NICs that have a link.
    pub nics: Vec<NicStatus>,
    /// How many media addresses there are, over all NICs.
    pub addresses: u32,
    /// How many media ports they have together.
    pub ports: u32,
    /// How many of the ports have a flow.
    pub flows: u32,
}

impl Status {
    fn count(
        &mut self,
        ranges: &Array<MapData, [u32; Range::WORDS]>,
        flows: &Array<MapData, u64>,
    ) -> Result<(), MapError> {
        for index in 0..RANGES_LEN {
            let range = Range::from_words(ranges.get(&index, 0)?);
            if range.is_end() || range.is_empty() {
                continue;
            }
            self.addresses += 1;
            self.ports += range.len();
            for word in flow_index(index, 0)..flow_index(index, 0) + WORDS_PER_RANGE {
                self.flows += FlowWord(flows.get(&word, 0)?).count();
            }
        }
        Ok(())
    }
}

/// A NIC that has a pinned link.
#[derive(Clone, Debug)]
pub struct NicStatus {
    /// Its name.
    pub name: String,
    /// How the program is attached; `None` when the link is of a NIC that is gone.
    pub mode: Option<AttachMode>,
    /// The kernel's number of the program.
    pub program: u32,
    /// How many packets got each verdict, in the order of [`Verdict::ALL`].
    pub verdicts: [u64; Verdict::COUNT],
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nics.is_empty() && self.ports == 0 {
            return write!(f, "nothing is loaded in {}", self.folder.display());
        }
        write!(f, "loaded in {}", self.folder.display())?;
        for nic in &self.nics {
            match nic.mode {
                Some(mode) => write!(f, "\n{}: {mode}, program {}", nic.name, nic.program)?,
                None => write!(f, "\n{}: not attached, the NIC is gone", nic.name)?,
            }
            for (verdict, packets) in Verdict::ALL.into_iter().zip(nic.verdicts) {
                write!(f, "\n  {:<12} {packets}", verdict.name())?;
            }
        }
        let Self {
            addresses,
            ports,
            flows,
            ..
        } = self;
        write!(
            f,
            "\n{flows} flows on {ports} media ports of {addresses} addresses"
        )
    }
}

/// The NICs' names, at their numbers.
fn numbers(map: &Array<MapData, [u8; NIC_NAME_LEN]>) -> Result<Vec<String>, MapError> {
    (0..MAX_NICS)
        .map(|number| map.get(&number, 0).map(|name| nic_name(&name)))
        .collect()
}

/// Opens a pinned map.
pub(super) fn open<M: TryFrom<Map, Error = MapError>>(
    folder: &PinFolder,
    name: &str,
) -> Result<M, MapError> {
    Map::from_map_data(MapData::from_pin(folder.map(name))?)?.try_into()
}
