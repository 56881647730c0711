// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `demo`: protected calls through a gateway in network namespaces.

use std::process::Command;

use crate::error::Error;
use crate::program::{self, become_it, cargo, target};
use crate::{root, setup};

/// Builds the gateway and the generator, then becomes the demo.
pub(crate) fn run(args: &[String]) -> Result<(), Error> {
    root::require("the demo makes network namespaces and loads an XDP program, which needs root")?;
    setup::demo()?;
    program::run(
        cargo().args(["build", "--release"]).args([
            "--package",
            "sallyport",
            "--package",
            "sallyport-benches",
        ]),
        "",
    )?;
    let demo = target().join("release/sallyport-demo");
    Err(become_it(Command::new(demo).args(args)))
}
