// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The session keys of one master key: derived once, or again and again.

use core::fmt;

use crate::derivation::SessionKey;
use crate::extension::ExtensionCipher;
use crate::f8::F8;
use crate::kernel::Keys;
use crate::rcc::LongMac;
use crate::{ExtensionIds, Kind, MasterKey, Policy, RccMode, Suite};

/// How many packets a session key protects before the next is derived: a power of two
/// (RFC 3711 section 4.3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyDerivationRate {
    exponent: u8,
}

impl KeyDerivationRate {
    /// A rate of `2^exponent` packets, as the session parameter KDR of RFC 4568 section 6.3.1
    /// gives it: 0 to 24.
    pub fn new(exponent: u8) -> Result<Self, RateError> {
        if exponent > 24 {
            return Err(RateError { found: exponent });
        }
        Ok(Self { exponent })
    }

    /// The rate in packets.
    pub fn packets(self) -> u32 {
        1 << self.exponent
    }
}

/// There is no such key derivation rate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateError {
    /// The exponent asked for.
    pub found: u8,
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a key derivation rate of 2^{} packets does not exist; take 2^0 to 2^24",
            self.found
        )
    }
}

impl core::error::Error for RateError {}

/// The session keys that hold at one time.
#[repr(C)]
pub(crate) struct Session {
    pub(crate) keys: Keys,
    /// In suites with F8: for SRTP and for SRTCP.
    f8: Option<Box<[F8; 2]>>,
    /// Where elements of header extensions are encrypted one by one.
    pub(crate) extension: Option<Box<ExtensionCipher>>,
    /// In mode 2 of RFC 4771, for the packets without ROC.
    pub(crate) long_mac: Option<Box<LongMac>>,
}

impl Session {
    /// `turns` where they will be derived anew.
    pub(crate) fn new(rtp: &SessionKey, rtcp: &SessionKey, turns: bool) -> Self {
        let has_f8 = rtp.suite == Suite::F8128HmacSha1_80;
        Self {
            keys: Keys::new(rtp, rtcp, turns),
            f8: has_f8.then(|| Box::new([F8::new(rtp), F8::new(rtcp)])),
            extension: None,
            long_mac: None,
        }
    }

    /// Whether there are only the keys that the kernel has.
    pub(crate) fn is_bare(&self) -> bool {
        self.f8.is_none() && self.extension.is_none() && self.long_mac.is_none()
    }

    /// The cipher of F8 suites.
    pub(crate) fn f8(&self, kind: Kind) -> Option<&F8> {
        let [rtp, rtcp] = &**self.f8.as_ref()?;
        Some(match kind {
            Kind::Rtp => rtp,
            Kind::Rtcp => rtcp,
        })
    }

    fn derive(master: &MasterKey, policy: &Policy, r: u64) -> Self {
        let rtp = SessionKey::derive(master, Kind::Rtp, r);
        let rtcp = SessionKey::derive(master, Kind::Rtcp, r);
        let ids = policy.encrypted_extensions;
        let encrypts = ids != ExtensionIds::NONE && master.suite().encrypts();
        let is_long = policy.rcc.is_some_and(|rcc| rcc.mode() == RccMode::Two);
        Self {
            extension: encrypts.then(|| Box::new(ExtensionCipher::derive(master, ids, r))),
            long_mac: is_long.then(|| Box::new(LongMac::new(&rtp))),
            ..Self::new(&rtp, &rtcp, policy.key_derivation_rate.is_some())
        }
    }

    /// Derives anew, in the same memory.
    fn renew(&mut self, master: &MasterKey, r: u64) {
        let rtp = SessionKey::derive(master, Kind::Rtp, r);
        let rtcp = SessionKey::derive(master, Kind::Rtcp, r);
        self.keys.renew(&rtp, &rtcp);
        if let Some(f8) = &mut self.f8 {
            **f8 = [F8::new(&rtp), F8::new(&rtcp)];
        }
        if let Some(extension) = &mut self.extension {
            **extension = ExtensionCipher::derive(master, extension.ids(), r);
        }
        if let Some(mac) = &mut self.long_mac {
            **mac = LongMac::new(&rtp);
        }
    }
}

/// All session keys of one master key.
pub(crate) enum Sessions {
    /// Derived once.
    Fixed(Session),
    /// Derived when the index says so.
    Turning(Box<Turning>),
}

/// Session keys with a derivation rate, and what they are derived from.
pub(crate) struct Turning {
    master: MasterKey,
    rate: KeyDerivationRate,
    /// The last few, each with its `r`: streams are at different indices, packets come late.
    recent: [(u64, Session); 4],
    oldest: usize,
}

impl Sessions {
    pub(crate) fn new(master: &MasterKey, policy: &Policy) -> Self {
        match policy.key_derivation_rate {
            None => Self::Fixed(Session::derive(master, policy, 0)),
            Some(rate) => Self::Turning(Box::new(Turning {
                master: master.duplicate(),
                rate,
                recent: [0, 1, 2, 3].map(|r| (r, Session::derive(master, policy, r))),
                oldest: 0,
            })),
        }
    }

    /// The session keys, if they are the same for every index.
    #[inline]
    pub(crate) fn fixed(&self) -> Option<&Session> {
        match self {
            Self::Fixed(session) => Some(session),
            Self::Turning(_) => None,
        }
    }

    /// The session keys for a packet.
    pub(crate) fn at(&mut self, index: u64) -> &Session {
        match self {
            Self::Fixed(session) => session,
            Self::Turning(turning) => turning.at(index >> turning.rate.exponent),
        }
    }
}

impl Turning {
    fn at(&mut self, r: u64) -> &Session {
        let found = self.recent.iter().position(|(known, _)| *known == r);
        let at = found.unwrap_or_else(|| {
            let at = self.oldest;
            self.oldest = (at + 1) % self.recent.len();
            let (known, session) = &mut self.recent[at];
            session.renew(&self.master, r);
            *known = r;
            at
        });
        &self.recent[at].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_powers_of_two_up_to_2_24() {
        for exponent in 0..=255 {
            let rate = KeyDerivationRate::new(exponent);
            match rate {
                Ok(rate) => assert_eq!(rate.packets(), 1 << exponent),
                Err(error) => assert!(exponent > 24 && error.found == exponent),
            }
        }
        assert_eq!(
            RateError { found: 25 }.to_string(),
            "a key derivation rate of 2^25 packets does not exist; take 2^0 to 2^24"
        );
    }
}
