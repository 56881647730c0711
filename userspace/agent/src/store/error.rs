// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Why the store cannot be read or written.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::seal::SealError;

/// The store cannot be read or written.
#[derive(Debug)]
pub struct StoreError {
    /// `None` when there is no key.
    step: Option<(&'static str, PathBuf)>,
    problem: String,
}

impl StoreError {
    pub(super) fn new(step: &'static str, path: &Path, problem: String) -> Self {
        Self {
            step: Some((step, path.to_owned())),
            problem,
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
    pub(super) fn key(error: SealError) -> Self {
        Self {
            step: None,
            problem: error.to_string(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((step, path)) = &self.step else {
            return f.write_str(&self.problem);
        };
        let remedy = match *step {
            "read" => {
                "give it the agent.store_key that it was written with, or move it away to start \
                 without its sessions"
            }
            "understand" => {
                "start an agent that is not older than the one that wrote it, or move it away to \
                 start without its sessions"
            }
            _ => "make room and give the agent write permission, or set another agent.store",
        };
        write!(f, "{step} {}: {}; {remedy}", path.display(), self.problem)
    }
}

impl std::error::Error for StoreError {}
