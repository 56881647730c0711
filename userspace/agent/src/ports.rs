// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Local ports for legs: an even port for RTP and the odd one behind it for RTCP (RFC 3550
//! section 11), from each address of each realm.
//!
//! The search goes round: a port that was freed comes last, so that late packets of the call
//! before do not reach the next one.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use sallyport_flow::Realm;

/// Which ports are taken.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// In the order of preference.
    addresses: Vec<(Realm, IpAddr)>,
    pools: HashMap<(Realm, IpAddr), Pool>,
}

/// A version of IP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Version {
    V4,
    V6,
}

impl Version {
    pub(crate) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl Ports {
    /// Adds a realm's addresses with its port range.
    pub(crate) fn add(&mut self, realm: Realm, addresses: &[IpAddr], range: &RangeInclusive<u16>) {
        for address in addresses {
            self.addresses.push((realm, *address));
            self.pools.insert((realm, *address), Pool::new(range));
        }
    }

    /// Takes a pair of ports from the first address of a realm that has any, of a version of IP if
    /// that matters, and returns the even one. `None` when there is no such address.
    ///
    /// # Errors
    /// [`Exhausted`] when all are taken.
    pub(crate) fn take_any(
        &mut self,
        realm: Realm,
        version: Option<Version>,
    ) -> Option<Result<SocketAddr, Exhausted>> {
        let fits = |(of, address): &&(Realm, IpAddr)| {
            *of == realm && version.is_none_or(|version| version == Version::of(*address))
        };
        let addresses: Vec<_> = self.addresses.iter().filter(fits).copied().collect();
        let mut result = None;
        for (realm, address) in addresses {
            let taken = self.take(realm, address);
            if taken.is_ok() {
                return Some(taken);
            }
            result.get_or_insert(taken);
        }
        result
    }

    /// Takes a pair of ports and returns the even one.
    ///
    /// # Errors
    /// [`Exhausted`] when all are taken.
    pub(crate) fn take(&mut self, realm: Realm, address: IpAddr) -> Result<SocketAddr, Exhausted> {
        self.pools
            .get_mut(&(realm, address))
            .and_then(Pool::take)
            .map(|port| SocketAddr::new(address, port))
            .ok_or(Exhausted { realm, address })
    }

    /// Takes the pair of a session that exists already. One that the configuration does not know
    /// (any more) needs no care: nobody can be given it.
    pub(crate) fn retake(&mut self, realm: Realm, rtp: SocketAddr) {
        self.mark(realm, rtp, true);
    }

    /// Gives a pair back.
    pub(crate) fn free(&mut self, realm: Realm, rtp: SocketAddr) {
        self.mark(realm, rtp, false);
    }

    fn mark(&mut self, realm: Realm, rtp: SocketAddr, taken: bool) {
        if let Some(pool) = self.pools.get_mut(&(realm, rtp.ip())) {
            pool.mark(rtp.port(), taken);
        }
    }
}

/// Every port of an address is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Exhausted {
    pub(crate) realm: Realm,
    pub(crate) address: IpAddr,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { realm, address } = self;
        write!(
            f,
            "all ports of {address} are taken; end sessions, widen realm.{realm}.ports or add an \
             address to realm.{realm}.addresses"
        )
    }
}

/// The pairs of one address, in the order of their ports.
#[derive(Debug)]
struct Pool {
    first: u16,
    taken: Vec<bool>,
    free: usize,
    next: usize,
}

impl Pool {
    fn new(range: &RangeInclusive<u16>) -> Self {
        // Port 0 is none.
        let first = u32::from(*range.start()).next_multiple_of(2).max(2);
        let pairs = ((u32::from(*range.end()) + 1).saturating_sub(first) / 2) as usize;
        Self {
            // No pair starts above u16::MAX - 1: there, `taken` is empty.
            first: u16::try_from(first).unwrap_or(u16::MAX),
            taken: vec![false; pairs],
            free: pairs,
            next: 0,
        }
    }

    fn take(&mut self) -> Option<u16> {
        if self.free == 0 {
            return None;
        }
        let index = (self.next..self.taken.len())
            .chain(0..self.next)
            .find(|index| !self.taken[*index])?;
        self.taken[index] = true;
        self.free -= 1;
        self.next = (index + 1) % self.taken.len();
        u16::try_from(index)
            .ok()
            .map(|index| self.first + 2 * index)
    }

    fn mark(&mut self, port: u16, taken: bool) {
        let Some(index) = port
            .checked_sub(self.first)
            .map(|above| usize::from(above / 2))
        else {
            return;
        };
        match self.taken.get_mut(index) {
            Some(was) if *was != taken => {
                *was = taken;
                if taken {
                    self.free -= 1;
                } else {
                    self.free += 1;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn ports(range: RangeInclusive<u16>) -> Ports {
        let mut ports = Ports::default();
        ports.add(Realm::Access, &[HERE], &range);
        ports
    }

    fn take_all(ports: &mut Ports) -> Vec<u16> {
        std::iter::from_fn(|| ports.take(Realm::Access, HERE).ok())
            .map(|rtp| rtp.port())
            .collect()
    }

    #[test]
    fn a_range_gives_the_even_ports_whose_odd_one_is_inside_too() {
        for (range, expected) in [
            (40000..=40003, vec![40000, 40002]),
            (40001..=40004, vec![40002]),
            (40001..=40005, vec![40002, 40004]),
            (40001..=40002, vec![]),
            (40000..=40000, vec![]),
            (65534..=65535, vec![65534]),
            (65535..=65535, vec![]),
            (0..=3, vec![2]),
            (RangeInclusive::new(9, 8), vec![]),
        ] {
            assert_eq!(take_all(&mut ports(range.clone())), expected, "{range:?}");
        }
        assert_eq!(take_all(&mut ports(0..=65535)).len(), 32767);
    }

    #[test]
    fn a_freed_port_comes_last() {
        let mut ports = ports(40000..=40007);
        let mut take = |free: Option<u16>| {
            if let Some(port) = free {
                ports.free(Realm::Access, SocketAddr::new(HERE, port));
            }
            ports.take(Realm::Access, HERE).unwrap().port()
        };
        assert_eq!(take(None), 40000);
        assert_eq!(take(Some(40000)), 40002);
        assert_eq!(take(None), 40004);
        assert_eq!(take(None), 40006);
        assert_eq!(take(None), 40000);
    }

    #[test]
    fn when_all_are_taken_the_error_says_of_which_realm_and_address() {
        let mut ports = ports(40000..=40001);
        take_all(&mut ports);
        assert_eq!(
            ports.take(Realm::Access, HERE).unwrap_err().to_string(),
            "all ports of 127.0.0.1 are taken; end sessions, widen realm.access.ports or add an \
             address to realm.access.addresses"
        );
        assert!(ports.take(Realm::Core, HERE).is_err());
    }

    #[test]
    fn a_port_taken_again_is_not_given_out_and_one_outside_does_no_harm() {
        let mut ports = ports(40000..=40003);
        let at = |port| SocketAddr::new(HERE, port);
        ports.retake(Realm::Access, at(40000));
        ports.retake(Realm::Access, at(40000));
        for outside in [0, 39998, 40004, 65535] {
            ports.retake(Realm::Access, at(outside));
            ports.free(Realm::Access, at(outside));
        }
        assert_eq!(take_all(&mut ports), [40002]);
        ports.free(Realm::Access, at(40000));
        ports.free(Realm::Access, at(40000));
        assert_eq!(take_all(&mut ports), [40000]);
    }
}
