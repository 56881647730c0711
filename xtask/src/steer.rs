// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `load`, `unload` and `status` of the XDP program on real NICs: `sallyport steer`, built first.

use std::process::Command;

use crate::error::Error;
use crate::program::{self, become_it, cargo, target};
use crate::{bpffs, root, setup};

/// Builds the gateway and becomes `sallyport steer`.
pub(crate) fn run(action: &str, nics: &[String]) -> Result<(), Error> {
    root::require("the XDP program and its maps are root's")?;
    setup::build()?;
    bpffs::ensure()?;
    program::run(
        cargo().args(["build", "--release", "--package", "sallyport"]),
        "",
    )?;
    let sallyport = target().join("release/sallyport");
    let mut steer = Command::new(sallyport);
    Err(become_it(steer.args(["steer", action]).args(nics)))
}
