// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What can go wrong between a person and the agent.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a session is not as it was asked for.
#[derive(Debug)]
pub(crate) enum SessionError {
    /// A key is not where it was said to be.
    Key {
        /// Which flag said so.
        flag: String,
        /// The file or the variable.
        place: String,
        /// Why it cannot be read.
        cause: String,
    },
    /// The file with the session cannot be read.
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The agent does not answer.
    NoAnswer {
        /// What was asked.
        url: String,
        /// Why.
        cause: String,
    },
    /// The agent refuses.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The value at fault, as `access.suite`; empty when it is none.
        field: String,
        /// What is wrong and what to do.
        message: String,
    },
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { flag, place, cause } => {
                write!(f, "--{flag}: read {place}: {cause}; give @FILE or env:NAME")
            }
            Self::File { file, cause } => {
                write!(
                    f,
                    "--file: read {}: {cause}; give a JSON file or -",
                    file.display()
                )
            }
            Self::NoAnswer { url, cause } => {
                write!(
                    f,
                    "{url}: {cause}; does `sallyport run` run, and is --api its agent?"
                )
            }
            Self::Refused {
                status,
                field,
                message,
            } if field.is_empty() => write!(f, "the agent refuses ({status}): {message}"),
            Self::Refused {
                status,
                field,
                message,
            } => write!(f, "the agent refuses ({status}): {field}: {message}"),
        }
    }
}

impl std::error::Error for SessionError {}
