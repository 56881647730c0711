// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is wrong with the configuration: `FILE: KEY: problem; remedy`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use sallyport_dataplane::{DataPlaneError, RealmConfig};
use sallyport_flow::Realm;

/// What is wrong with the configuration.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct ConfigError {
    file: PathBuf,
    /// Where in the file, as `realm.access.nic`; empty for the file as a whole.
    key: String,
    problem: String,
}

impl ConfigError {
    /// Something about one key: the problem and its remedy.
    pub(crate) fn key(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            file: PathBuf::new(),
            key: key.into(),
            problem: problem.into(),
        }
    }

    /// Something about the file as a whole.
    pub(crate) fn file(problem: impl Into<String>) -> Self {
        Self::key("", problem)
    }

    /// What only the data plane could see: that a NIC does not fit.
    pub(crate) fn of_data_plane(
        error: &DataPlaneError,
        realms: &BTreeMap<Realm, RealmConfig>,
    ) -> Option<Self> {
        let key_of = |name: &String| {
            let mut entries = realms.iter();
            let by_nic = entries.find(|(_, config)| config.nic == *name);
            let (realm, _) = by_nic.or_else(|| realms.iter().next())?;
            Some(format!("realm.{realm}.nic"))
        };
        let key = match error {
            DataPlaneError::NicMissing { nic }
            | DataPlaneError::NotEthernet { nic }
            | DataPlaneError::MtuTooBig { nic, .. } => key_of(nic)?,
            DataPlaneError::TooFewQueues { .. } => "dataplane.queues".to_owned(),
            _ => return None,
        };
        Some(Self::key(key, error.to_string()))
    }

    /// Says which file.
    pub(crate) fn in_file(self, file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            ..self
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ConfigError {}
