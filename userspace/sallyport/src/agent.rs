// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sallyport agent`: the process that strangers speak to, without any capability.

use std::path::Path;

use crate::config::Config;
use crate::failure::Failure;
use crate::{event_loop, log, privileges};

pub(crate) fn execute(path: &Path) -> Result<(), Failure> {
    // Before anything is parsed, and before there is a second thread.
    privileges::give_up()?;
    log::start();
    privileges::keep_memory_private();
    privileges::raise_file_limit();
    let config = Config::read(path)?.agent;
    event_loop::run(async {
        let ended = sallyport_agent::run(config, event_loop::end_signal()?).await;
        Ok(ended?)
    })
}
