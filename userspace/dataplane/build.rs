// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Builds the XDP program `steer`, which the library embeds.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use aya_build::{Package, Toolchain, build_ebpf};

/// Makes the inner cargo report nothing but errors and warnings. The build script runs itself once
/// more with it set, since aya-build hands its own environment on.
const QUIET: (&str, &str) = ("CARGO_TERM_QUIET", "true");

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=AYA_BUILD_SKIP");
    let Some(out_dir) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        return fail("OUT_DIR is not set: only cargo runs this");
    };
    if is_skipped() {
        // `Steer::load` refuses an empty program.
        return match fs::write(out_dir.join("steer"), []) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("the empty XDP program cannot be written: {error}")),
        };
    }
    if env::var_os(QUIET.0).is_none_or(|quiet| quiet != QUIET.1) {
        return run_quietly();
    }
    if let Some(missing) = missing_tool() {
        return fail(&format!(
            "the XDP program cannot be built: {missing} is missing; run `cargo xtask setup`"
        ));
    }
    let trace = env::var_os("CARGO_FEATURE_TRACE").is_some();
    let package = Package {
        name: "sallyport-ebpf",
        root_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/../../ebpf"),
        no_default_features: true,
        features: if trace {
            &["program", "trace"]
        } else {
            &["program"]
        },
    };
    match build_ebpf([package], Toolchain::Nightly) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("the XDP program cannot be built: {error:#}")),
    }
}

fn run_quietly() -> ExitCode {
    let status =
        env::current_exe().and_then(|script| Command::new(script).env(QUIET.0, QUIET.1).status());
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => fail(&format!("the build script cannot run itself: {error}")),
    }
}

/// As aya-build understands it: `cargo clippy` and `cargo doc` need no program.
fn is_skipped() -> bool {
    env::var("AYA_BUILD_SKIP").is_ok_and(|skip| skip == "1" || skip.eq_ignore_ascii_case("true"))
}

/// The first tool that is missing of those that the build needs.
fn missing_tool() -> Option<&'static str> {
    let nightly = |arguments: &[&str]| {
        let output = Command::new("rustup")
            .args(["run", "nightly"])
            .args(arguments)
            .output();
        output.ok().filter(|output| output.status.success())
    };
    if Command::new("rustup").arg("--version").output().is_err() {
        return Some("rustup");
    }
    let Some(sysroot) = nightly(&["rustc", "--print", "sysroot"]) else {
        return Some("the nightly toolchain");
    };
    let sysroot = String::from_utf8_lossy(&sysroot.stdout);
    if !Path::new(sysroot.trim())
        .join("lib/rustlib/src/rust/library/core")
        .is_dir()
    {
        return Some("the component rust-src of the nightly toolchain");
    }
    if nightly(&["bpf-linker", "--version"]).is_none() {
        return Some("bpf-linker");
    }
    None
}

fn fail(sentence: &str) -> ExitCode {
    println!("cargo::error={sentence}");
    ExitCode::FAILURE
}
