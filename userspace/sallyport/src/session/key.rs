// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where a key is read from: a file, the environment, or, for all to see, the command line.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::SessionError;

/// A key as it was given: `@FILE`, `env:NAME` or the key itself.
pub(super) struct Key(String);

impl Key {
    pub(super) fn new(given: String) -> Self {
        Self(given)
    }

    /// The key itself; `flag` is where it was given.
    ///
    /// # Errors
    /// [`SessionError::Key`] when it is not where it should be.
    pub(super) fn text(&self, flag: &str) -> Result<String, SessionError> {
        let failed = |place: &str, cause: String| SessionError::Key {
            flag: flag.to_owned(),
            place: place.to_owned(),
            cause,
        };
        if let Some(file) = self.0.strip_prefix('@') {
            let text = fs::read_to_string(file).map_err(|cause| failed(file, cause.to_string()))?;
            return Ok(text.trim().to_owned());
        }
        if let Some(name) = self.0.strip_prefix("env:") {
            return std::env::var(name).map_err(|cause| failed(name, cause.to_string()));
        }
        Ok(self.0.clone())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A whole file, or standard input for `-`.
///
/// # Errors
/// [`SessionError::File`].
pub(super) fn read(file: &Path) -> Result<Vec<u8>, SessionError> {
    let read = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(file)
    };
    read.map_err(|cause| SessionError::File {
        file: file.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_where_it_is_said_to_be() {
        let file = std::env::temp_dir().join(format!("sallyport-key-{}", std::process::id()));
        fs::write(&file, "inline:abc\n").unwrap();
        let in_file = Key::new(format!("@{}", file.display())).text("access-send");
        fs::remove_file(&file).unwrap();
        assert_eq!(in_file.unwrap(), "inline:abc");
        assert_eq!(
            Key::new("inline:abc".to_owned()).text("").unwrap(),
            "inline:abc"
        );
        let path = std::env::var("PATH").unwrap();
        assert_eq!(Key::new("env:PATH".to_owned()).text("").unwrap(), path);
    }

    #[test]
    fn a_key_that_is_not_there_is_missed_by_its_flag() {
        for given in ["@/no/such/file", "env:NO_SUCH_VARIABLE"] {
            let error = Key::new(given.to_owned()).text("core-send").unwrap_err();
            assert!(
                error.to_string().starts_with("--core-send: read "),
                "{error}"
            );
        }
    }
}
