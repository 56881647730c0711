// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The BPF file system, where maps and links outlive the process that made them.

use std::fs;
use std::process::Command;

use crate::error::Error;
use crate::program::{run, say};
use crate::root;

const PLACE: &str = "/sys/fs/bpf";

/// Mounts it unless it is there.
pub(crate) fn ensure() -> Result<(), Error> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    if is_mounted(&mounts) {
        say(format!("found the BPF file system at {PLACE}"));
        return Ok(());
    }
    root::require("mounting the BPF file system needs root")?;
    say(format!("mounting the BPF file system at {PLACE}"));
    run(
        Command::new("mount").args(["-t", "bpf", "bpf", PLACE]),
        "the kernel needs CONFIG_BPF_SYSCALL, and a container the privilege to mount",
    )
}

fn is_mounted(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(PLACE) && fields.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bpf_mount_at_the_place_counts_and_nothing_else() {
        for (mounts, expected) in [
            ("bpf /sys/fs/bpf bpf rw,nosuid 0 0", true),
            ("none /sys/fs/bpf bpf rw 0 0", true),
            ("tmpfs /sys/fs/bpf tmpfs rw 0 0", false),
            ("bpf /sys/fs/bpf/other bpf rw 0 0", false),
            ("", false),
        ] {
            assert_eq!(is_mounted(mounts), expected, "{mounts:?}");
        }
    }
}
