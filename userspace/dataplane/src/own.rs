// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Our own media addresses, which are told from a peer's without looking at each.

use std::net::IpAddr;

/// The media addresses of a NIC.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OwnAddresses {
    addresses: Vec<IpAddr>,
    /// One bit for the end of each. A peer whose end is none of them is none of ours, and hardly any
    /// other has to be compared.
    ends: u64,
}

impl OwnAddresses {
    /// Whether an address is one of them.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ends & end(address) != 0 && self.addresses.contains(&address)
    }
}

impl FromIterator<IpAddr> for OwnAddresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let addresses: Vec<_> = addresses.into_iter().collect();
        let ends = addresses.iter().map(|address| end(*address));
        Self {
            ends: ends.fold(0, |ends, end| ends | end),
            addresses,
        }
    }
}

/// The bit of the last six bits of an address.
#[inline]
const fn end(address: IpAddr) -> u64 {
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    1 << (last & 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_told_from_others_with_the_same_end_or_another() {
        let own: OwnAddresses = ["192.0.2.1", "192.0.2.64", "2001:db8::1"]
            .map(|address| address.parse().unwrap())
            .into_iter()
            .collect();
        for (address, is_ours) in [
            ("192.0.2.1", true),
            ("192.0.2.64", true),
            ("2001:db8::1", true),
            ("192.0.2.2", false),
            ("192.0.2.65", false),
            ("192.0.2.128", false),
            ("198.51.100.1", false),
            ("2001:db8::41", false),
            ("::ffff:192.0.2.1", false),
        ] {
            assert_eq!(own.contains(address.parse().unwrap()), is_ours, "{address}");
        }
        let none = OwnAddresses::default();
        assert!(!none.contains("192.0.2.1".parse().unwrap()));
    }
}
