// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What this host has, and values that it cannot use.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage};
use nix::unistd::Pid;
use sallyport_dataplane::{Config, RealmConfig};
use sallyport_flow::Realm;

use super::ConfigError;

/// What this host has.
#[derive(Debug)]
pub(crate) struct Host {
    /// The network interfaces of this namespace and their addresses.
    interfaces: BTreeMap<String, Vec<IpAddr>>,
    /// The processors that this process may use.
    cpus: Vec<u32>,
}

impl Host {
    /// Asks the kernel.
    pub(crate) fn read() -> Self {
        Self {
            interfaces: interfaces(),
            cpus: cpus(),
        }
    }

    pub(super) fn fits(&self, config: &Config) -> Result<(), ConfigError> {
        for (realm, config) in &config.realms {
            self.fits_realm(*realm, config)?;
        }
        for cpu in &config.cpus {
            if !self.cpus.contains(cpu) {
                let usable = list(&self.cpus);
                let problem = format!("this process may not use processor {cpu}, only {usable}");
                return Err(ConfigError::key("dataplane.cpus", problem));
            }
        }
        Ok(())
    }

    pub(crate) fn fits_realm(&self, realm: Realm, config: &RealmConfig) -> Result<(), ConfigError> {
        let section = format!("realm.{realm}");
        self.addresses_of(&format!("{section}.nic"), &config.nic)?;
        let interface = &config.interface;
        let has = self.addresses_of(&format!("{section}.interface"), interface)?;
        for address in &config.addresses {
            if !has.contains(address) {
                let has = list(has);
                let problem = format!(
                    "{address} is not on {interface}, which has {has}; correct it, or \
                     `ip address add {address} dev {interface}`"
                );
                return Err(ConfigError::key(format!("{section}.addresses"), problem));
            }
        }
        Ok(())
    }

    fn addresses_of(&self, key: &str, name: &str) -> Result<&[IpAddr], ConfigError> {
        let found = self.interfaces.get(name).map(Vec::as_slice);
        found.ok_or_else(|| {
            let has = list(self.interfaces.keys().filter(|name| *name != "lo"));
            let problem = format!("no such network interface \"{name}\"; the host has {has}");
            ConfigError::key(key, problem)
        })
    }
}

fn interfaces() -> BTreeMap<String, Vec<IpAddr>> {
    let mut interfaces: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    // Each interface once for every address, and once for its link.
    for entry in getifaddrs().into_iter().flatten() {
        let addresses = interfaces.entry(entry.interface_name).or_default();
        addresses.extend(entry.address.as_ref().and_then(ip_address));
    }
    interfaces
}

fn ip_address(address: &SockaddrStorage) -> Option<IpAddr> {
    match address.family()? {
        AddressFamily::Inet => Some(address.as_sockaddr_in()?.ip().into()),
        AddressFamily::Inet6 => Some(address.as_sockaddr_in6()?.ip().into()),
        _ => None,
    }
}

fn cpus() -> Vec<u32> {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else {
        return Vec::new();
    };
    (0..)
        .zip(0..CpuSet::count())
        .filter(|(_, cpu)| allowed.is_set(*cpu).unwrap_or(false))
        .map(|(number, _)| number)
        .collect()
}

/// `a, b, c`, or `none`.
fn list<T: Display>(things: impl IntoIterator<Item = T>) -> String {
    let things: Vec<String> = things.into_iter().map(|thing| thing.to_string()).collect();
    if things.is_empty() {
        return "none".to_owned();
    }
    things.join(", ")
}

#[cfg(test)]
impl Host {
    /// A host with these interfaces, their addresses, and these processors.
    pub(super) fn with(interfaces: &[(&str, &[&str])], cpus: &[u32]) -> Self {
        let interfaces = interfaces.iter().map(|(name, addresses)| {
            let addresses = addresses.iter().map(|address| address.parse().unwrap());
            ((*name).to_owned(), addresses.collect())
        });
        Self {
            interfaces: interfaces.collect(),
            cpus: cpus.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn this_host_has_a_loopback_interface_and_a_processor() {
        let host = Host::read();
        // In a new namespace it is down and has no address.
        let loopback = &host.interfaces["lo"];
        assert!(loopback.is_empty() || loopback.contains(&Ipv4Addr::LOCALHOST.into()));
        assert!(!host.cpus.is_empty());
    }
}
