// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What keeps the media keys in the store from whoever reads the file: AES-256-GCM under a key that
//! lies elsewhere.
//!
//! The key is 32 bytes: a systemd credential, or a file that the agent makes at its first start and
//! that only its owner reads. It seals nothing itself. Each start of the agent derives a key of its
//! own from it with a random salt (HKDF, RFC 5869) and counts nonces from 0 on, so that no nonce
//! comes twice under one key, however many sessions there are (RFC 5116 section 3.2). Salt and
//! nonce stand in front of what is sealed, and the session's id is authenticated with it: a record
//! cannot take the place of another.

use std::collections::HashMap;
use std::env;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The name of the key among the credentials of a systemd unit.
const CREDENTIAL: &str = "sallyport.store-key";

const KEY_LEN: usize = 32;
const SALT_LEN: usize = 16;
const COUNT_LEN: usize = 8;

/// What the derived key is for.
const PURPOSE: &[u8] = b"sallyport session store, version 1";

/// Seals records with the key of this start, and opens those of earlier starts.
pub(crate) struct Seal {
    master: Hkdf<Sha256>,
    salt: [u8; SALT_LEN],
    cipher: Aes256Gcm,
    count: AtomicU64,
}

impl Seal {
    /// Takes the credential, if systemd hands one over, or else the key in the file, which is made
    /// if it is not there.
    ///
    /// # Errors
    /// A [`SealError`] when there is a key and it is of no use.
    pub(crate) fn load(path: &Path) -> Result<Self, SealError> {
        let credentials = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self::load_with(path, credentials.as_deref())
    }

    fn load_with(path: &Path, credentials: Option<&Path>) -> Result<Self, SealError> {
        let credential = credentials
            .map(|folder| folder.join(CREDENTIAL))
            .filter(|credential| credential.exists());
        let key = match &credential {
            // systemd keeps others from it.
            Some(credential) => read(credential)?,
            None if path.exists() => {
                let mode = fs::metadata(path).map_err(|error| SealError::io(path, error))?;
                if mode.permissions().mode() & 0o077 != 0 {
                    return Err(SealError::Readable(path.to_owned()));
                }
                read(path)?
            }
            None => make(path)?,
        };
        Self::new(&key).map_err(SealError::Random)
    }

    fn new(key: &[u8; KEY_LEN]) -> Result<Self, getrandom::Error> {
        let mut salt = [0; SALT_LEN];
        getrandom::fill(&mut salt)?;
        // The key is uniformly random already: the salt tells the starts apart.
        let master = Hkdf::new(None, key);
        Ok(Self {
            cipher: derive(&master, &salt),
            master,
            salt,
            count: AtomicU64::new(0),
        })
    }

    /// Seals a record under its name. `version` stands in front of it, for everybody to read.
    pub(crate) fn close(
        &self,
        version: u8,
        name: &[u8],
        record: &[u8],
    ) -> Result<Vec<u8>, NotSealed> {
        let count = self.count.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let payload = Payload {
            msg: record,
            aad: name,
        };
        let sealed = self
            .cipher
            .encrypt(&nonce(count).into(), payload)
            .map_err(|_| NotSealed)?;
        Ok([&[version], &self.salt[..], &count, &sealed].concat())
    }

    /// A secret for a purpose: the same at each start, and of no use to find out any other.
    pub(crate) fn secret(&self, purpose: &[u8]) -> Zeroizing<[u8; KEY_LEN]> {
        expand(&self.master, &[purpose])
    }

    /// Opens records, each under the name that it was sealed with.
    pub(crate) fn opener(&self) -> Opener<'_> {
        Opener {
            master: &self.master,
            ciphers: HashMap::new(),
        }
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").finish_non_exhaustive()
    }
}

/// Opens what this start of the agent or earlier ones sealed.
pub(crate) struct Opener<'a> {
    master: &'a Hkdf<Sha256>,
    ciphers: HashMap<[u8; SALT_LEN], Aes256Gcm>,
}

impl Opener<'_> {
    pub(crate) fn open(
        &mut self,
        name: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotSealed> {
        let (salt, rest) = sealed.split_first_chunk().ok_or(NotSealed)?;
        let (count, sealed) = rest.split_first_chunk::<COUNT_LEN>().ok_or(NotSealed)?;
        let cipher = self
            .ciphers
            .entry(*salt)
            .or_insert_with(|| derive(self.master, salt));
        let payload = Payload {
            msg: sealed,
            aad: name,
        };
        cipher
            .decrypt(&nonce(*count).into(), payload)
            .map(Zeroizing::new)
            .map_err(|_| NotSealed)
    }
}

fn derive(master: &Hkdf<Sha256>, salt: &[u8; SALT_LEN]) -> Aes256Gcm {
    Aes256Gcm::new((&*expand(master, &[PURPOSE, salt])).into())
}

fn expand(master: &Hkdf<Sha256>, info: &[&[u8]]) -> Zeroizing<[u8; KEY_LEN]> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    master
        .expand_multi_info(info, key.as_mut_slice())
        .expect("HKDF gives up to 8160 bytes");
    key
}

fn nonce(count: [u8; COUNT_LEN]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[12 - COUNT_LEN..].copy_from_slice(&count);
    nonce
}

fn read(path: &Path) -> Result<Zeroizing<[u8; KEY_LEN]>, SealError> {
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| SealError::io(path, error))?);
    let key = <[u8; KEY_LEN]>::try_from(bytes.as_slice());
    key.map(Zeroizing::new).map_err(|_| SealError::Length {
        path: path.to_owned(),
        found: bytes.len(),
    })
}

/// Makes the file, whole or not at all.
fn make(path: &Path) -> Result<Zeroizing<[u8; KEY_LEN]>, SealError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    getrandom::fill(key.as_mut_slice()).map_err(SealError::Random)?;
    let new = path.with_added_extension("new");
    let write = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(key.as_slice())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|error| SealError::io(path, error))?;
    Ok(key)
}

/// What is sealed was not sealed under this key and name, or has changed since.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NotSealed;

/// There is no key that could seal anything.
#[derive(Debug)]
pub(crate) enum SealError {
    /// The file cannot be read or made.
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others may read the file.
    Readable(PathBuf),
    /// The file does not have 32 bytes.
    Length {
        /// The file.
        path: PathBuf,
        /// How many it has.
        found: usize,
    },
    /// The kernel has no random numbers.
    Random(getrandom::Error),
}

impl SealError {
    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            error,
        }
    }
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(
                f,
                "key of the store in {}: {error}; make room and give the agent permission, or set \
                 another agent.store_key",
                path.display()
            ),
            Self::Readable(path) => write!(
                f,
                "key of the store: others may read {}; end the calls, remove this file and the \
                 store, and start again",
                path.display()
            ),
            Self::Length { path, found } => write!(
                f,
                "key of the store: {} has {found} bytes instead of {KEY_LEN}; restore it, or \
                 remove it and the store to start without sessions",
                path.display()
            ),
            Self::Random(error) => write!(f, "draw a key for the store: {error}; start again"),
        }
    }
}

impl std::error::Error for SealError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = env::temp_dir().join(format!("sallyport-seal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_key_is_made_once_and_opens_what_it_sealed_after_any_number_of_starts() {
        let folder = folder("made");
        let path = folder.join("key");
        let first = Seal::load(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let sealed = [
            first.close(7, b"a", b"one").unwrap(),
            first.close(7, b"a", b"one").unwrap(),
        ];
        assert_ne!(sealed[0], sealed[1]);
        let second = Seal::load(&path).unwrap();
        let third = second.close(7, b"a", b"one").unwrap();
        assert_ne!(third[1..=SALT_LEN], sealed[0][1..=SALT_LEN]);
        let mut opener = second.opener();
        for sealed in sealed.iter().chain([&third]) {
            assert_eq!(opener.open(b"a", &sealed[1..]).unwrap().as_slice(), b"one");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_credential_of_systemd_takes_the_place_of_the_file() {
        let folder = folder("credential");
        let path = folder.join("key");
        Seal::load_with(&path, Some(&folder)).unwrap();
        assert!(path.exists(), "without a credential there is a file");
        fs::remove_file(&path).unwrap();
        fs::write(folder.join(CREDENTIAL), [7; KEY_LEN]).unwrap();
        let sealed = Seal::new(&[7; KEY_LEN])
            .unwrap()
            .close(7, b"a", b"one")
            .unwrap();
        let seal = Seal::load_with(&path, Some(&folder)).unwrap();
        assert!(seal.opener().open(b"a", &sealed[1..]).is_ok());
        assert!(!path.exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_was_moved_cut_changed_or_sealed_under_another_key_does_not_open() {
        let seal = Seal::new(&[1; KEY_LEN]).unwrap();
        let sealed = seal.close(7, b"a", b"one").unwrap()[1..].to_vec();
        let mut opener = seal.opener();
        assert!(opener.open(b"b", &sealed).is_err());
        for length in 0..sealed.len() {
            assert!(opener.open(b"a", &sealed[..length]).is_err(), "{length}");
        }
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(opener.open(b"a", &changed).is_err(), "{index}");
        }
        let other = Seal::new(&[2; KEY_LEN]).unwrap();
        assert!(other.opener().open(b"a", &sealed).is_err());
    }

    #[test]
    fn a_key_that_others_read_or_of_another_length_is_refused_with_a_remedy() {
        let folder = folder("refused");
        let path = folder.join("key");
        fs::write(&path, [0; 31]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Seal::load(&path).unwrap_err().to_string();
        assert!(error.contains("others may read"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = Seal::load(&path).unwrap_err().to_string();
        assert!(error.contains("31 bytes instead of 32"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }
}
