// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What went wrong: the step that failed, and what to do about it.

use std::fmt;

/// Why a task did not succeed.
#[derive(Debug)]
pub(crate) enum Error {
    /// The program that the task is about has ended with this status and said why itself.
    Ended(u8),
    /// A program could not be started at all.
    Start {
        /// Its command line.
        program: String,
        /// Why.
        cause: std::io::Error,
    },
    /// A program failed that should not.
    Failed {
        /// Its command line.
        program: String,
        /// What to do; empty when its own output says it.
        remedy: String,
    },
    /// Something about the machine does not fit.
    Machine {
        /// What.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

impl Error {
    pub(crate) fn machine(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Machine {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(code) => write!(f, "ended with exit status {code}"),
            Self::Start { program, cause } => {
                write!(f, "cannot start `{program}`: {cause}; is it installed?")
            }
            Self::Failed { program, remedy } if remedy.is_empty() => {
                write!(f, "`{program}` failed; its output is above")
            }
            Self::Failed { program, remedy } => write!(f, "`{program}` failed; {remedy}"),
            Self::Machine { problem, remedy } => write!(f, "{problem}; {remedy}"),
        }
    }
}

impl std::error::Error for Error {}
