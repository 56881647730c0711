// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What `test` does beside the tests: the fuzz targets of the SRTP and the signalling crate for some
//! seconds each, and some tests of the SRTP crate under Miri, which sees every access to memory.

use std::fs;
use std::time::Duration;

use crate::error::Error;
use crate::program::{nightly_cargo, run, say, target, workspace};
use crate::toolchain;

/// The fuzz targets of one crate.
struct Fuzz {
    /// Where they are.
    folder: &'static str,
    /// What they start from.
    seeds: &'static [&'static str],
    targets: &'static [&'static str],
    /// The longest input, in bytes.
    max_len: usize,
}

const SRTP: Fuzz = Fuzz {
    folder: "userspace/srtp/fuzz",
    seeds: &["userspace/srtp/fuzz/seeds"],
    targets: &["unprotect", "protect"],
    // Enough for a burst.
    max_len: 800,
};

const SIGNALLING: Fuzz = Fuzz {
    folder: "userspace/signalling/fuzz",
    seeds: &[
        "userspace/signalling/fuzz/seeds",
        "userspace/signalling/tests/golden",
        "userspace/signalling/tests/ng",
    ],
    targets: &["sdp", "sdes", "e2ae", "bencode", "ng"],
    // A few session descriptions; the targets themselves make long ones of short ones.
    max_len: 4000,
};

/// How long each fuzz target runs.
const FUZZ_TIME: Duration = Duration::from_secs(12);

/// The kernels that may not be this CPU's first choice.
const SLOWER_KERNELS: [&str; 3] = ["portable", "aesni", "avx2"];

/// Tests that Miri, a thousand times slower than the machine, finishes in about a minute: one
/// packet of each kind, frames without room, what parses. It knows no vector instructions, so the
/// portable kernel runs.
const UNDER_MIRI: [&str; 9] = [
    "context_sets::tests::a_stale_id",
    "extension::tests::elements",
    "extension::tests::keys",
    "header::tests::the_",
    "index::tests::the_estimate",
    "kernel::choice",
    "tests::forgery::positions_outside",
    "tests::vectors::cm_packets_are_those_of_libsrtp",
    "tests::vectors::gcm_packets_are_those_of_libsrtp",
];

/// Both, or loudly less where a tool is missing; under `SALLYPORT_REQUIRE_ALL=1` that is an error.
pub(crate) fn run_all() -> Result<(), Error> {
    if there_or_skip("fuzzing", toolchain::ensure_cargo_fuzz())? {
        fuzz()?;
    }
    if there_or_skip("the tests under Miri", toolchain::ensure_miri())? {
        miri()?;
    }
    Ok(())
}

fn fuzz() -> Result<(), Error> {
    for name in SRTP.targets {
        SRTP.explore(name)?;
        // A name that this CPU has no kernel for costs a second and does no harm.
        for kernel in SLOWER_KERNELS {
            say(format!(
                "`{name}` once more over what was found, with the kernel {kernel}"
            ));
            SRTP.run(name, kernel, "-runs=0")?;
        }
    }
    for name in SIGNALLING.targets {
        SIGNALLING.explore(name)?;
    }
    Ok(())
}

impl Fuzz {
    fn explore(&self, name: &str) -> Result<(), Error> {
        say(format!("fuzzing `{name}` for {} s", FUZZ_TIME.as_secs()));
        let how_long = format!("-max_total_time={}", FUZZ_TIME.as_secs());
        self.run(name, "", &how_long)
    }

    fn run(&self, name: &str, kernel: &str, how_long: &str) -> Result<(), Error> {
        // What the fuzzer learns stays on this machine; what it starts from is in the repository.
        let corpus = target().join("fuzz/corpus").join(name);
        fs::create_dir_all(&corpus).map_err(|cause| {
            Error::machine(
                format!("cannot make {}: {cause}", corpus.display()),
                "make the target folder writable",
            )
        })?;
        run(
            nightly_cargo()
                .env("SALLYPORT_SRTP_KERNEL", kernel)
                .args(["fuzz", "run", "--fuzz-dir", self.folder])
                .arg("--target-dir")
                .arg(target().join("fuzz"))
                .arg(name)
                .arg(&corpus)
                .args(self.seeds.iter().map(|seeds| workspace().join(seeds)))
                .args(["--", how_long])
                .arg(format!("-max_len={}", self.max_len))
                .args(["-verbosity=0", "-close_fd_mask=1"]),
            &format!("the input that did it is in {}/artifacts", self.folder),
        )
    }
}

fn miri() -> Result<(), Error> {
    say("tests of the SRTP crate under Miri");
    run(
        nightly_cargo()
            // What Miri builds is of no use to anybody else.
            .env("CARGO_TARGET_DIR", target().join("miri"))
            .args(["miri", "test", "--package", "sallyport-srtp", "--lib", "--"])
            .args(UNDER_MIRI),
        "",
    )
}

/// Whether a tool is there.
fn there_or_skip(what: &str, tool: Result<(), Error>) -> Result<bool, Error> {
    match tool {
        Ok(()) => Ok(true),
        Err(error) if std::env::var("SALLYPORT_REQUIRE_ALL").as_deref() == Ok("1") => Err(error),
        Err(error) => {
            say(format!("SKIPPED: {what}: {error}"));
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::program::workspace;

    /// Miri says nothing of a name that no test has.
    #[test]
    fn what_runs_under_miri_is_still_there() {
        for name in UNDER_MIRI {
            let (_, last) = name.rsplit_once("::").expect("a module and a test");
            let function = Command::new("grep")
                .args(["-rqF", "--include=*.rs", &format!("fn {last}"), "."])
                .current_dir(workspace().join("userspace/srtp/src"))
                .status();
            let module = workspace().join("userspace/srtp/src/kernel");
            let is_there = function.is_ok_and(|status| status.success())
                || module.join(format!("{last}.rs")).exists();
            assert!(is_there, "{name}");
        }
    }
}
