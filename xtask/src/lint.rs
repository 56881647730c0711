// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `lint`: format, clippy on both targets, documentation, and where `unsafe` may stand.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::program::{cargo, run, rustup, say, workspace};
use crate::{packages, setup, toolchain};

/// Where `unsafe` may stand: kernel memory, vector instructions, packet bytes of the XDP program,
/// and the peers of the benchmark, which are C libraries and are in no program that is installed.
const UNSAFE_ROOMS: &[&str] = &[
    "userspace/dataplane/src/xsk",
    "userspace/srtp/src/kernel",
    "ebpf/src",
    "benches/srtp/peers/ffi.rs",
];

/// Everything that can be wrong without running a test.
pub(crate) fn run_all() -> Result<(), Error> {
    setup::build()?;
    unsafe_in_its_rooms()?;
    say("cargo fmt");
    run(cargo().args(["fmt", "--all", "--check"]), "run `cargo fmt`")?;
    for fuzz in ["userspace/srtp/fuzz", "userspace/signalling/fuzz"] {
        let manifest = format!("{fuzz}/Cargo.toml");
        run(
            cargo().args(["fmt", "--check", "--manifest-path", &manifest]),
            &format!("run `cargo fmt --manifest-path {manifest}`"),
        )?;
    }
    say("cargo clippy");
    run(
        cargo()
            .args(["clippy", "--workspace", "--all-targets"])
            .args(["--", "--deny", "warnings"]),
        "",
    )?;
    say("cargo clippy of the benchmarks with their peers and the data plane");
    packages::ensure("the benchmark", packages::BENCHES)?;
    run(
        cargo()
            .args(["clippy", "--package", "sallyport-benches", "--all-targets"])
            .args(["--features", "peers,pipeline", "--", "--deny", "warnings"]),
        "",
    )?;
    say("cargo clippy of the XDP program");
    toolchain::ensure_nightly_clippy()?;
    run(
        rustup()
            .current_dir(workspace())
            .args(["run", "nightly", "cargo", "clippy"])
            .args([
                "--package",
                "sallyport-ebpf",
                "--features",
                "program",
                "--bin",
                "steer",
            ])
            // No warning is denied here: tomorrow's nightly may have a new one.
            .args(["--target", "bpfel-unknown-none", "-Zbuild-std=core"]),
        "",
    )?;
    say("cargo doc");
    run(
        cargo()
            .env("RUSTDOCFLAGS", "--deny warnings")
            .args(["doc", "--workspace", "--no-deps"]),
        "",
    )
}

fn unsafe_in_its_rooms() -> Result<(), Error> {
    let mut files = Vec::new();
    collect(workspace(), &mut files);
    let mut places = Vec::new();
    for file in files {
        let name = file.strip_prefix(workspace()).unwrap_or(&file);
        if UNSAFE_ROOMS.iter().any(|room| name.starts_with(room)) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap_or_default();
        for number in lines_with_unsafe(&text) {
            places.push(format!("{}:{number}", name.display()));
        }
    }
    if places.is_empty() {
        say("found `unsafe` nowhere but in its rooms");
        return Ok(());
    }
    Err(Error::machine(
        format!("`unsafe` outside its rooms: {}", places.join(", ")),
        format!("move it to {}, or do without", UNSAFE_ROOMS.join(", ")),
    ))
}

/// Every Rust source below a folder, but not what cargo and git keep there.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && !name.as_encoded_bytes().starts_with(b".") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The numbers of the lines that begin an unsafe block, function, impl, trait or extern.
fn lines_with_unsafe(text: &str) -> Vec<usize> {
    let begins = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.match_indices("unsafe").any(|(at, word)| {
            let is_whole = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let rest = code[at + word.len()..].trim_start();
            let starts = ["{", "fn ", "impl", "trait ", "extern ", "("];
            is_whole && starts.iter().any(|start| rest.starts_with(start))
        })
    };
    let numbered = text.lines().enumerate();
    numbered
        .filter(|(_, line)| begins(line))
        .map(|(index, _)| index + 1)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_code_is_seen_and_talk_about_it_is_not() {
        // Put together here, so that this file has none.
        let code = |rest: &str| format!("{}{rest}", "unsafe");
        for (line, expected) in [
            (code(" { read(p) }"), true),
            (code(" fn f() {}"), true),
            (code(" impl Send for A {}"), true),
            (code(" extern \"C\" {}"), true),
            (code("(no_mangle)"), true),
            (format!("// {}", code(" { }")), false),
            (format!("is_{}", code("(line)")), false),
            ("#![forbid(unsafe_code)]".to_owned(), false),
        ] {
            assert_eq!(!lines_with_unsafe(&line).is_empty(), expected, "{line}");
        }
    }
}
