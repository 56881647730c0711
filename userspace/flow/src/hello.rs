// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The first sixteen bytes of a connection, in each direction; the same in every version.

use core::fmt;

/// The version of the messages in this crate. Any change to them raises it.
pub const VERSION: u16 = 4;

/// What each side says first: who it is and which version it speaks.
///
/// Layout: `b"SPFL"`, version (u16, big endian), two zero bytes, `instance` (u64, big endian).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hello {
    /// The version of the messages that the sender speaks.
    pub version: u16,
    /// A number drawn at random when the sender's process started: a new one means that the
    /// process, and all flows in it, are new.
    pub instance: u64,
}

impl Hello {
    /// The length of an encoded hello, in bytes.
    pub const LEN: usize = 16;

    const MAGIC: [u8; 4] = *b"SPFL";

    /// A hello of this crate's version.
    pub const fn new(instance: u64) -> Self {
        Self {
            version: VERSION,
            instance,
        }
    }

    /// The bytes to send.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&Self::MAGIC);
        bytes[4..6].copy_from_slice(&self.version.to_be_bytes());
        bytes[8..].copy_from_slice(&self.instance.to_be_bytes());
        bytes
    }

    /// Reads the other side's hello.
    ///
    /// # Errors
    /// [`HelloError::NotSallyport`] when something else answers at the socket,
    /// [`HelloError::Version`] when the other side speaks another version.
    pub fn decode(bytes: [u8; Self::LEN]) -> Result<Self, HelloError> {
        let [m0, m1, m2, m3, v0, v1, _, _, instance @ ..] = bytes;
        if [m0, m1, m2, m3] != Self::MAGIC {
            return Err(HelloError::NotSallyport);
        }
        let version = u16::from_be_bytes([v0, v1]);
        if version != VERSION {
            return Err(HelloError::Version { theirs: version });
        }
        Ok(Self {
            version,
            instance: u64::from_be_bytes(instance),
        })
    }
}

/// Why a connection cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum HelloError {
    /// The other side is not a Sallyport process.
    NotSallyport,
    /// The other side speaks another version of the messages.
    Version {
        /// The version it speaks.
        theirs: u16,
    },
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSallyport => {
                write!(
                    f,
                    "flow socket: the other side is not sallyport; check the socket's path"
                )
            }
            Self::Version { theirs } => write!(
                f,
                "flow socket: the other side speaks version {theirs} of the flow messages, this \
                 process version {VERSION}; run agent and data plane of one release"
            ),
        }
    }
}

impl core::error::Error for HelloError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_survives_its_encoding() {
        let hello = Hello::new(0x0123_4567_89ab_cdef);
        assert_eq!(Hello::decode(hello.encode()), Ok(hello));
    }

    #[test]
    fn another_version_is_refused_by_number() {
        let hello = Hello {
            version: VERSION + 1,
            instance: 1,
        };
        assert_eq!(
            Hello::decode(hello.encode()),
            Err(HelloError::Version {
                theirs: VERSION + 1
            })
        );
    }

    #[test]
    fn another_protocol_is_refused() {
        assert_eq!(
            Hello::decode(*b"GET / HTTP/1.1\r\n"),
            Err(HelloError::NotSallyport)
        );
    }
}
