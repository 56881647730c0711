// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The nightly compiler, what belongs to it, and the BPF linker, which has to speak the same LLVM.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::packages;
use crate::program::{cargo, output, run, rustup, say};

/// The BPF linker of our choice.
const BPF_LINKER: &str = "0.13.0";

/// The driver of the fuzz targets of our choice.
const CARGO_FUZZ: &str = "0.13.2";

/// The LLVM versions it can be built for: its features `llvm-21` to `llvm-23`.
const LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// Finds or installs the nightly compiler with the source of the standard library, and answers
/// the major version of its LLVM.
pub(crate) fn ensure_nightly() -> Result<u32, Error> {
    if output(rustup().arg("--version")).is_none() {
        return Err(Error::machine(
            "there is no rustup, which the XDP program's nightly compiler comes from",
            "install it as https://rustup.rs says",
        ));
    }
    let mut version = output(rustup().args(["run", "nightly", "rustc", "-vV"]));
    if version.is_none() {
        say("installing the nightly compiler");
        run(
            rustup().args(["toolchain", "install", "nightly", "--profile", "minimal"]),
            "without a network, copy a nightly toolchain to this machine and name it with \
             `rustup toolchain link nightly FOLDER`",
        )?;
        version = output(rustup().args(["run", "nightly", "rustc", "-vV"]));
    }
    let version = version.unwrap_or_default();
    let Some(llvm) = llvm_of(&version) else {
        return Err(Error::machine(
            "`rustc +nightly -vV` names no LLVM",
            "reinstall it with `rustup toolchain uninstall nightly` and this command again",
        ));
    };
    let name = version.lines().next().unwrap_or("rustc");
    say(format!("found {name}, LLVM {llvm}"));
    ensure_rust_src()?;
    Ok(llvm)
}

/// Finds or installs the BPF linker for this LLVM.
pub(crate) fn ensure_bpf_linker(llvm: u32) -> Result<(), Error> {
    if let Some(found) = installed_linker(llvm) {
        say(format!(
            "found bpf-linker {BPF_LINKER} at {}",
            found.display()
        ));
        return Ok(());
    }
    if !LLVM.contains(&llvm) {
        return Err(Error::machine(
            format!(
                "nightly has LLVM {llvm}, and bpf-linker {BPF_LINKER} knows {} to {}",
                LLVM.start(),
                LLVM.end()
            ),
            if llvm < *LLVM.start() {
                "run `rustup update nightly`"
            } else {
                "raise BPF_LINKER and LLVM in xtask/src/toolchain.rs to a release that knows it"
            },
        ));
    }
    let dev = format!("llvm-{llvm}-dev");
    let polly = format!("libpolly-{llvm}-dev");
    let installed = packages::ensure("bpf-linker", &[&dev, &polly, "libzstd-dev"]);
    if installed.is_err() && !packages::knows(&dev) {
        return Err(Error::machine(
            format!("this distribution has no package {dev}"),
            format!("add https://apt.llvm.org for LLVM {llvm} and run this again"),
        ));
    }
    installed?;
    say(format!(
        "installing bpf-linker {BPF_LINKER} for LLVM {llvm}"
    ));
    let feature = format!("llvm-{llvm}");
    run(
        cargo()
            // Else it links with whatever lies beside the first llvm-config.
            .env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"))
            .args(["install", "--locked", "--force", "--no-default-features"])
            .args([
                "--features",
                &feature,
                "bpf-linker",
                "--version",
                BPF_LINKER,
            ]),
        "",
    )
}

/// Finds or installs what runs the fuzz targets.
pub(crate) fn ensure_cargo_fuzz() -> Result<(), Error> {
    let version = output(Command::new("cargo-fuzz").args(["fuzz", "--version"]));
    if version.is_some_and(|version| version.split_whitespace().nth(1) == Some(CARGO_FUZZ)) {
        say(format!("found cargo-fuzz {CARGO_FUZZ}"));
        return Ok(());
    }
    say(format!("installing cargo-fuzz {CARGO_FUZZ}"));
    run(
        cargo()
            .args(["install", "--locked", "--force", "cargo-fuzz"])
            .args(["--version", CARGO_FUZZ]),
        "",
    )
}

/// Finds or installs Miri.
pub(crate) fn ensure_miri() -> Result<(), Error> {
    if output(rustup().args(["run", "nightly", "cargo", "miri", "--version"])).is_some() {
        say("found Miri");
        return Ok(());
    }
    say("installing Miri");
    run(
        rustup().args(["component", "add", "miri", "--toolchain", "nightly"]),
        "this nightly may lack it: try `rustup update nightly`",
    )
}

/// Clippy of the nightly compiler, which only `lint` needs.
pub(crate) fn ensure_nightly_clippy() -> Result<(), Error> {
    if output(rustup().args(["run", "nightly", "cargo", "clippy", "--version"])).is_some() {
        return Ok(());
    }
    say("installing clippy of the nightly compiler");
    run(
        rustup().args(["component", "add", "clippy", "--toolchain", "nightly"]),
        "",
    )
}

fn ensure_rust_src() -> Result<(), Error> {
    let sysroot = output(rustup().args(["run", "nightly", "rustc", "--print", "sysroot"]));
    let source = Path::new(sysroot.unwrap_or_default().trim()).join("lib/rustlib/src/rust/library");
    if source.is_dir() {
        say("found rust-src of the nightly compiler");
        return Ok(());
    }
    say("installing rust-src of the nightly compiler");
    run(
        rustup().args(["component", "add", "rust-src", "--toolchain", "nightly"]),
        "",
    )
}

/// The linker in the path, when it is of our version, runs, and reads what this LLVM writes.
fn installed_linker(llvm: u32) -> Option<PathBuf> {
    let version = output(Command::new("bpf-linker").arg("--version"))?;
    if version.split_whitespace().nth(1) != Some(BPF_LINKER) {
        return None;
    }
    let place = std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join("bpf-linker"))
        .find(|file| file.is_file())?;
    let linked = shared_llvm_of(&fs::read(&place).ok()?);
    // LLVM reads the bitcode of older releases. One linked statically is a published binary,
    // which has the newest.
    linked.is_none_or(|linked| linked >= llvm).then_some(place)
}

/// The major version of the LLVM that a compiler is built with.
fn llvm_of(version: &str) -> Option<u32> {
    let line = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
}

/// The major version of the libLLVM that a program needs; `None` when it needs none.
fn shared_llvm_of(program: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"libLLVM.so.";
    let at = program.windows(NAME.len()).position(|part| part == NAME)?;
    let digits: String = program[at + NAME.len()..]
        .iter()
        .map_while(|&byte| byte.is_ascii_digit().then_some(char::from(byte)))
        .collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_says_its_llvm() {
        for (version, expected) in [
            (
                "rustc 1.97.0-nightly\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n",
                Some(22),
            ),
            ("LLVM version: 9\n", Some(9)),
            ("rustc 1.97.0\n", None),
            ("LLVM version: new\n", None),
            ("", None),
        ] {
            assert_eq!(llvm_of(version), expected, "{version:?}");
        }
    }

    #[test]
    fn a_linker_names_the_llvm_it_needs() {
        for (program, expected) in [
            (&b"\x7fELF\0libLLVM.so.22.1\0libc.so.6\0"[..], Some(22)),
            (b"\0libLLVM.so.21", Some(21)),
            (b"\0libLLVM.so\0", None),
            (b"static", None),
        ] {
            assert_eq!(shared_llvm_of(program), expected, "{program:?}");
        }
    }
}
