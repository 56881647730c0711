// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Being root, or becoming it. What is built and installed for the caller stays the caller's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::error::Error;
use crate::program::{become_it, say};

/// Set for a task that has re-run itself: the user and group who called, as `1000:1000`.
const CALLER: &str = "SALLYPORT_XTASK_CALLER";

/// Goes on when root; otherwise runs this very command again through sudo and does not return.
pub(crate) fn require(reason: &str) -> Result<(), Error> {
    let me = fs::metadata("/proc/self").map_err(|cause| {
        Error::machine(
            format!("cannot read /proc/self: {cause}"),
            "mount the proc file system",
        )
    })?;
    if me.uid() == 0 {
        return Ok(());
    }
    say(format!("{reason}: running again through sudo"));
    let exe = std::env::current_exe().map_err(|cause| Error::Start {
        program: "xtask".to_owned(),
        cause,
    })?;
    let mut sudo = Command::new("sudo");
    sudo.args(["--preserve-env", "env"]);
    // What sudo replaces even so, and what cargo and rustup need to find their folders again.
    for name in ["PATH", "HOME"] {
        let value = std::env::var(name).unwrap_or_default();
        sudo.arg(format!("{name}={value}"));
    }
    sudo.arg(format!("{CALLER}={}:{}", me.uid(), me.gid()))
        .arg(exe)
        .args(std::env::args_os().skip(1));
    match become_it(&mut sudo) {
        Error::Start { cause, .. } => Err(Error::machine(
            format!("{reason}, and sudo does not start ({cause})"),
            "run it as root",
        )),
        other => Err(other),
    }
}

/// Makes a program run as the user who called, when this process became root on the way.
pub(crate) fn as_caller(program: &mut Command) {
    let caller = std::env::var(CALLER).unwrap_or_default();
    if let Some((uid, gid)) = user_and_group(&caller) {
        program.uid(uid).gid(gid);
    }
}

fn user_and_group(caller: &str) -> Option<(u32, u32)> {
    let (uid, gid) = caller.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_is_a_user_and_a_group_or_nobody() {
        for (caller, expected) in [
            ("1000:100", Some((1000, 100))),
            ("0:0", Some((0, 0))),
            ("", None),
            ("1000", None),
            ("alice:users", None),
        ] {
            assert_eq!(user_and_group(caller), expected, "{caller:?}");
        }
    }
}
