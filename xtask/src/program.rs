// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Programs that are started: said, run, and their failure turned into an [`Error`].

use std::ffi::{OsStr, OsString};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::error::Error;
use crate::root;

/// Prints one step. Standard output belongs to the programs that are run.
pub(crate) fn say(step: impl AsRef<str>) {
    eprintln!("xtask: {}", step.as_ref());
}

/// Cargo of the host compiler, in the workspace, as the user who called.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    root::as_caller(&mut cargo);
    cargo
}

/// Cargo of the nightly compiler, in the workspace, as the user who called.
pub(crate) fn nightly_cargo() -> Command {
    let mut rustup = rustup();
    rustup
        .current_dir(workspace())
        .args(["run", "nightly", "cargo"]);
    rustup
}

/// Rustup, as the user who called.
pub(crate) fn rustup() -> Command {
    let mut rustup = Command::new("rustup");
    root::as_caller(&mut rustup);
    rustup
}

/// Runs it to its end; anything but success is an error, and `remedy` says what then.
pub(crate) fn run(program: &mut Command, remedy: &str) -> Result<(), Error> {
    if status(program)?.success() {
        return Ok(());
    }
    Err(Error::Failed {
        program: line(program),
        remedy: remedy.to_owned(),
    })
}

/// Runs it to its end; its exit status becomes the task's.
pub(crate) fn relay(program: &mut Command) -> Result<(), Error> {
    let status = status(program)?;
    if status.success() {
        return Ok(());
    }
    // As a shell counts: 128 and the signal.
    let code = status.code().unwrap_or(128 + status.signal().unwrap_or(0));
    Err(Error::Ended(u8::try_from(code).unwrap_or(1)))
}

/// Becomes it: signals and exit status are its own from here on. Returns only when that fails.
pub(crate) fn become_it(program: &mut Command) -> Error {
    let cause = program.exec();
    Error::Start {
        program: line(program),
        cause,
    }
}

/// Its standard output, or `None` when there is no such program or it failed.
pub(crate) fn output(program: &mut Command) -> Option<String> {
    let output = program.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}

/// The top of the repository.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a folder of the workspace")
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target"));
    workspace().join(target)
}

fn status(program: &mut Command) -> Result<ExitStatus, Error> {
    program.status().map_err(|cause| Error::Start {
        program: line(program),
        cause,
    })
}

fn line(program: &Command) -> String {
    let mut words = vec![program.get_program()];
    words.extend(program.get_args());
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}
