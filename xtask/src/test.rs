// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `test`: every test of the workspace, and which foreign peers really took part; then fuzzing and
//! Miri.

use std::fs;
use std::process::Command;

use crate::error::Error;
use crate::program::{self, cargo, relay, target};
use crate::{peers, proof, root, setup};

/// Builds, tests, and prints the table of peers whatever the tests' end.
pub(crate) fn run(args: &[String]) -> Result<(), Error> {
    root::require("the tests make network namespaces and load XDP programs, which needs root")?;
    setup::everything()?;
    program::run(cargo().args(["build", "--package", "sallyport"]), "")?;
    // As the caller, so that what is compiled stays the caller's.
    relay(cargo().args(test_arguments(args, Some("--no-run"))))?;

    let report = target().join("peers.jsonl");
    fs::write(&report, "").map_err(|cause| {
        Error::machine(
            format!("cannot write {}: {cause}", report.display()),
            "make the target folder writable",
        )
    })?;
    let mut as_root = Command::new(cargo().get_program());
    as_root
        .current_dir(program::workspace())
        .env("SALLYPORT_PEER_REPORT", &report)
        .args(test_arguments(args, None));
    let done = relay(&mut as_root);
    eprint!(
        "{}",
        peers::table(&fs::read_to_string(&report).unwrap_or_default())
    );
    done?;
    if args.is_empty() {
        proof::run_all()?;
    }
    Ok(())
}

/// `cargo test` with the caller's arguments, of the whole workspace unless they name packages.
fn test_arguments(args: &[String], first: Option<&str>) -> Vec<String> {
    let names_packages = args
        .iter()
        .take_while(|arg| *arg != "--")
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    let workspace = (!names_packages).then_some("--workspace");
    let head = ["test"].into_iter().chain(workspace).chain(first);
    head.map(str::to_owned)
        .chain(args.iter().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_packages_are_tested_unless_some_are_named() {
        for (args, expected) in [
            (&[][..], &["test", "--workspace", "--no-run"][..]),
            (&["-p", "xtask"], &["test", "--no-run", "-p", "xtask"]),
            (
                &["--package=xtask"],
                &["test", "--no-run", "--package=xtask"],
            ),
            (
                &["ring", "--", "-p"],
                &["test", "--workspace", "--no-run", "ring", "--", "-p"],
            ),
        ] {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            assert_eq!(test_arguments(&args, Some("--no-run")), expected);
        }
    }
}
