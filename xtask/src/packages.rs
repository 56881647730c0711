// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Debian packages: what is missing is installed, by apt.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::program::{output, run, say};
use crate::root;

/// What the demo calls.
pub(crate) const DEMO: &[&str] = &["iproute2"];

/// What the benchmark of SRTP is compiled and linked with: the peers that are written in C.
pub(crate) const BENCHES: &[&str] = &[
    "gcc",
    "libc6-dev",
    "libipsec-mb-dev",
    "libsrtp2-dev",
    "pkg-config",
];

/// What the tests call: namespaces, captures, and the peers that are not ours.
pub(crate) const TESTS: &[&str] = &[
    "baresip-core",
    "curl",
    "ethtool",
    "ffmpeg",
    "g++",
    "gcc",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-ugly",
    "gstreamer1.0-tools",
    "iproute2",
    "iputils-ping",
    KAMAILIO,
    "libc6-dev",
    "libsrtp2-dev",
    "openssl",
    "pkg-config",
    "python3-aiortc",
    "sip-tester",
    "tcpdump",
    "tshark",
];

/// The SIP proxy. Debian starts it as a service as soon as it is installed.
const KAMAILIO: &str = "kamailio";

/// Finds or installs these; `user` is what needs them.
pub(crate) fn ensure(user: &str, packages: &[&str]) -> Result<(), Error> {
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !is_debian(&os_release) {
        return Err(Error::machine(
            format!("{user}: only Debian and its children are known here"),
            format!(
                "install what your distribution calls {}, then build with cargo itself",
                packages.join(", ")
            ),
        ));
    }
    let missing = missing(packages);
    if missing.is_empty() {
        say(format!("found the packages of {user}"));
        return Ok(());
    }
    root::require(&format!("installing {} needs root", missing.join(", ")))?;
    if missing.contains(&KAMAILIO) {
        keep_from_starting(KAMAILIO)?;
    }
    say(format!("installing {} for {user}", missing.join(", ")));
    install(&missing).or_else(|_| {
        say("apt-get failed, as it does when a mirror changes under it: once more");
        install(&missing)
    })
}

/// Whether apt could install it.
pub(crate) fn knows(package: &str) -> bool {
    output(Command::new("apt-cache").args(["show", package])).is_some()
}

fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    // It fails as soon as one is unknown, and lists the others even so.
    let listed = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(packages)
        .stderr(Stdio::null())
        .output();
    let listed = listed.map_or_else(|_| Vec::new(), |output| output.stdout);
    let listed = String::from_utf8_lossy(&listed);
    let is_installed = |package: &&str| {
        let line = format!("{package} installed");
        listed.lines().any(|found| found == line)
    };
    let absent = packages.iter().copied();
    absent.filter(|package| !is_installed(package)).collect()
}

fn install(packages: &[&str]) -> Result<(), Error> {
    const REMEDY: &str = "check the network and the apt sources";
    // Lists of last month name files that are gone.
    run(apt().arg("update"), REMEDY)?;
    let mut install = apt();
    install.args(["install", "--yes", "--no-install-recommends"]);
    run(install.args(packages), REMEDY)
}

/// Masks a service, so that what is installed for tests does not serve this machine's networks.
fn keep_from_starting(service: &str) -> Result<(), Error> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    say(format!(
        "masking the service {service}: only the tests are to start it (`systemctl unmask \
         {service}` undoes it)"
    ));
    run(
        Command::new("systemctl").args(["mask", service]),
        "mask it by hand",
    )
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    // Nobody is there to answer tshark's question about captures; the default is right.
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-o", "DPkg::Lock::Timeout=300"])
        // Standard output belongs to the task.
        .stdout(std::io::stderr());
    apt
}

fn is_debian(os_release: &str) -> bool {
    os_release.lines().any(|line| {
        let (key, value) = line.split_once('=').unwrap_or_default();
        let value = value.trim_matches('"');
        matches!(key, "ID" | "ID_LIKE") && value.split(' ').any(|word| word == "debian")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_children_are_known() {
        for (os_release, expected) in [
            ("NAME=\"Debian GNU/Linux\"\nID=debian\n", true),
            ("ID=ubuntu\nID_LIKE=debian\n", true),
            ("ID=pop\nID_LIKE=\"ubuntu debian\"\n", true),
            ("ID=fedora\n", false),
            ("ID=rocky\nID_LIKE=\"rhel centos fedora\"\n", false),
            ("NAME=debian\n", false),
            ("", false),
        ] {
            assert_eq!(is_debian(os_release), expected, "{os_release:?}");
        }
    }
}
