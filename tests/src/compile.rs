// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Our helpers in C, compiled when first needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, id};

/// Compiles `peers/<name>.c` with this pkg-config library, if any, into this folder, and returns
/// the program.
///
/// # Panics
///
/// If that fails.
pub fn compile(folder: &str, name: &str, library: Option<&str>) -> PathBuf {
    let program = Path::new(folder).join(name);
    // Tests of another process may be running the old one.
    let fresh = program.with_extension(id().to_string());
    let compiled = Command::new("gcc")
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&fresh)
        .arg(format!(
            concat!(env!("CARGO_MANIFEST_DIR"), "/peers/{}.c"),
            name
        ))
        .args(library.into_iter().flat_map(flags))
        .status()
        .expect("run gcc");
    assert!(compiled.success(), "gcc could not compile {name}.c");
    fs::rename(&fresh, &program).expect("both are in one folder");
    program
}

fn flags(library: &str) -> Vec<String> {
    let output = Command::new("pkg-config")
        .args(["--cflags", "--libs", library])
        .output()
        .expect("run pkg-config");
    assert!(
        output.status.success(),
        "pkg-config does not know {library}"
    );
    let flags = String::from_utf8(output.stdout).expect("flags are text");
    flags.split_whitespace().map(str::to_owned).collect()
}
