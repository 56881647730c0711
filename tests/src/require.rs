// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a test needs of the machine. Without it the test is skipped, loudly; under
//! `SALLYPORT_REQUIRE_ALL=1` it fails.
//!
//! ```no_run
//! # use sallyport_tests::require;
//! if !require::root_and_namespaces() || !require::program("gst-launch-1.0") {
//!     return;
//! }
//! ```

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// Whether this process may create network namespaces and load BPF programs.
pub fn root_and_namespaces() -> bool {
    static ALLOWED: LazyLock<bool> = LazyLock::new(|| {
        nix::unistd::geteuid().is_root()
            && Command::new("ip")
                .args(["netns", "list"])
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
    });
    or_skip(*ALLOWED, "root and `ip netns` (Debian: iproute2)")
}

/// Whether this program is on the search path.
pub fn program(name: &str) -> bool {
    let found = env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(name).is_file()));
    or_skip(found, name)
}

/// Whether GStreamer has this element.
pub fn gstreamer_element(name: &str) -> bool {
    let found = Command::new("gst-inspect-1.0")
        .arg(name)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    or_skip(found, &format!("the GStreamer element {name}"))
}

/// Whether Debian's Python has this module.
pub fn python_module(name: &str) -> bool {
    let found = Command::new(PYTHON)
        .args(["-c", &format!("import {name}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    or_skip(found, &format!("the Python module {name}"))
}

/// The Python that Debian's packages of modules are for.
pub const PYTHON: &str = "/usr/bin/python3";

/// Whether this file exists.
pub fn file(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    or_skip(path.exists(), &path.display().to_string())
}

/// Passes `there` on; where it is false, says so or fails.
fn or_skip(there: bool, what: &str) -> bool {
    if !there {
        let test = std::thread::current().name().unwrap_or("test").to_owned();
        assert!(
            env::var("SALLYPORT_REQUIRE_ALL").as_deref() != Ok("1"),
            "{test} needs {what}; run `cargo xtask setup`",
        );
        eprintln!("SKIPPED: {test} needs {what}; run `cargo xtask setup`");
    }
    there
}
