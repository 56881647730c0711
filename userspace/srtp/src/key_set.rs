// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Several master keys of one leg, told apart by their MKIs (RFC 3711 section 3.2.1).

use core::fmt;

use crate::MasterKey;

/// Whether keys can be in one set.
pub(crate) fn check(keys: &[MasterKey]) -> Result<(), KeySetError> {
    let (first, rest) = keys.split_first().ok_or(KeySetError::NoKey)?;
    for (i, key) in rest.iter().enumerate() {
        if key.suite() != first.suite() {
            return Err(KeySetError::SuitesDiffer);
        }
        if key.mki().is_empty() || key.mki().len() != first.mki().len() {
            return Err(KeySetError::MkiLengthsDiffer);
        }
        if keys[..=i].iter().any(|other| other.mki() == key.mki()) {
            return Err(KeySetError::SameMki);
        }
    }
    Ok(())
}

/// Master keys that cannot be in one set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeySetError {
    /// There is none.
    NoKey,
    /// They are for different suites.
    SuitesDiffer,
    /// Some have no MKI, or one of another length (RFC 4568 section 6.1 wants one length).
    MkiLengthsDiffer,
    /// Two have the same MKI.
    SameMki,
}

impl fmt::Display for KeySetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoKey => "a context set without a master key; give at least one",
            Self::SuitesDiffer => {
                "master keys of one set for different suites; make one set for each suite"
            }
            Self::MkiLengthsDiffer => {
                "several master keys in one set; give each an MKI, all of the same length"
            }
            Self::SameMki => "two master keys with the same MKI; give each its own",
        })
    }
}

impl core::error::Error for KeySetError {}
