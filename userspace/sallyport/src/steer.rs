// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sallyport steer`: the XDP program without a data plane. As long as no data plane gives it
//! ports, it passes everything to the kernel.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sallyport_dataplane::xdp::{NicId, Steer, status, unload};

use crate::failure::Failure;
use crate::log;

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Attach it to NICs
    Load {
        /// Their names
        #[arg(required = true)]
        nics: Vec<String>,
        #[command(flatten)]
        pin: Pin,
    },
    /// Detach it from these NICs, or from all when none is named
    Unload {
        /// Their names
        nics: Vec<String>,
        #[command(flatten)]
        pin: Pin,
    },
    /// Show where it is attached, its verdicts and its maps
    Status {
        #[command(flatten)]
        pin: Pin,
    },
}

/// Where its maps and links are pinned.
#[derive(Args, Debug)]
pub(crate) struct Pin {
    /// The folder of a BPF file system with its maps and links
    #[arg(
        long = "pin",
        value_name = "DIR",
        default_value = "/sys/fs/bpf/sallyport"
    )]
    folder: PathBuf,
}

impl Action {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        log::start();
        match self {
            Self::Load { nics, pin } => load(&nics, &pin)?,
            Self::Unload { nics, pin } => remove(&nics, &pin)?,
            Self::Status { pin } => println!("{}", status(&pin.folder)?),
        }
        Ok(())
    }
}

fn load(nics: &[String], pin: &Pin) -> Result<(), Failure> {
    // Loading detaches every NIC that is not named: nobody should lose media over a short list.
    let loaded = status(&pin.folder)?.nics;
    if let Some(other) = loaded.iter().find(|nic| !nics.contains(&nic.name)) {
        let nic = other.name.clone();
        return Err(Failure::OtherNicLoaded { nic });
    }
    let names: Vec<&str> = nics.iter().map(String::as_str).collect();
    let mut steer = Steer::load(&pin.folder, &names)?;
    for (number, nic) in (0..).map(NicId).zip(nics) {
        println!("{nic}: {}", steer.attach_best(number, false)?);
    }
    Ok(())
}

fn remove(nics: &[String], pin: &Pin) -> Result<(), Failure> {
    let mut removed = Vec::new();
    if nics.is_empty() {
        removed = unload(&pin.folder, None)?;
    }
    for nic in nics {
        removed.extend(unload(&pin.folder, Some(nic))?);
    }
    if removed.is_empty() {
        println!("nothing was loaded in {}", pin.folder.display());
    }
    for thing in removed {
        println!("removed {thing}");
    }
    Ok(())
}
