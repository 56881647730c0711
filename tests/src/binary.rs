// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where the `sallyport` that is tested is.

use std::env;
use std::path::PathBuf;

/// `$SALLYPORT_BIN`, or else the `sallyport` of the build that the running executable is from.
///
/// # Panics
///
/// If there is none.
pub fn sallyport() -> PathBuf {
    if let Some(path) = env::var_os("SALLYPORT_BIN").map(PathBuf::from) {
        assert!(
            path.is_file(),
            "SALLYPORT_BIN names {}, which is not there",
            path.display()
        );
        return path;
    }
    let executable = env::current_exe().expect("/proc is mounted");
    // target/debug/sallyport-demo, but target/debug/deps/media-0123456789abcdef.
    executable
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("sallyport"))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!(
                "no `sallyport` beside {}; run `cargo xtask test` or `cargo xtask demo`, which \
                 build it, or name one in SALLYPORT_BIN",
                executable.display(),
            )
        })
}
