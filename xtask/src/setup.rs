// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What has to be on the machine. Each step says what it found or what it installs, and costs
//! next to nothing when there is nothing to do.

use crate::error::Error;
use crate::program::say;
use crate::{bpffs, packages, toolchain};

/// What building, the demo and the tests need.
pub(crate) fn everything() -> Result<(), Error> {
    build()?;
    packages::ensure("the tests", packages::TESTS)?;
    bpffs::ensure()?;
    for tool in [toolchain::ensure_cargo_fuzz(), toolchain::ensure_miri()] {
        // Not every nightly has Miri, and the tests are worth running even so.
        if let Err(error) = tool {
            say(format!("{error}: `test` will do without"));
        }
    }
    say("the machine has all that Sallyport needs");
    Ok(())
}

/// What building and the demo need.
pub(crate) fn demo() -> Result<(), Error> {
    build()?;
    packages::ensure("the demo", packages::DEMO)?;
    bpffs::ensure()
}

/// What building needs beside the host compiler.
pub(crate) fn build() -> Result<(), Error> {
    let llvm = toolchain::ensure_nightly()?;
    toolchain::ensure_bpf_linker(llvm)
}
