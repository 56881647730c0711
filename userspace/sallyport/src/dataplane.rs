// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sallyport dataplane`: the process with the packets. It parses nothing but packets and flow
//! messages.

use std::path::Path;

use clap::Args;

use crate::config::{Config, ConfigError, Host};
use crate::failure::Failure;
use crate::{event_loop, log, privileges};

/// How far down the ladder zero copy, copy, generic a start may go. The configuration says so,
/// too; whichever demands more wins.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Ladder {
    /// Refuse to start where the NIC's driver cannot hand packets over without a copy
    #[arg(long)]
    pub(crate) require_zero_copy: bool,
    /// Refuse to start where the NIC's driver has no XDP of its own
    #[arg(long)]
    pub(crate) require_native: bool,
}

impl Ladder {
    /// The flags that say the same.
    pub(crate) fn to_args(self) -> Vec<&'static str> {
        let zero_copy = self.require_zero_copy.then_some("--require-zero-copy");
        let native = self.require_native.then_some("--require-native");
        zero_copy.into_iter().chain(native).collect()
    }
}

pub(crate) fn execute(path: &Path, ladder: Ladder) -> Result<(), Failure> {
    log::start();
    privileges::keep_memory_private();
    let config = Config::read(path)?;
    config.fit(&Host::read(), path)?;
    let mut config = config.data_plane;
    privileges::suffice_for(&config)?;
    config.require_zero_copy |= ladder.require_zero_copy;
    config.require_native |= ladder.require_native;
    let realms = config.realms.clone();
    event_loop::run(async {
        let ended = sallyport_dataplane::run(config, event_loop::end_signal()?).await;
        ended.map_err(|error| match ConfigError::of_data_plane(&error, &realms) {
            Some(error) => error.in_file(path).into(),
            None => error.into(),
        })
    })
}
