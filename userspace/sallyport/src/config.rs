// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The configuration file: text in, what the two processes are told out, or one error that names
//! the file, the key and the remedy.
//!
//! [`Config::read`] needs nothing but the file; [`Config::fit`] compares it with the host. Only
//! the data plane depends on the host: an agent that restarts while a NIC is away still starts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use sallyport_dataplane::PollMode;
use sallyport_flow::Realm;
use sallyport_signalling::policy::Policy;

/// Values that no host could use.
mod check;
/// What is wrong with it.
mod error;
/// What the file says, key by key.
mod file;
/// What this host has, and values that it cannot use.
mod host;
/// What the media of calls must be.
mod policy;

pub(crate) use error::ConfigError;
pub(crate) use host::Host;

use file::File;

/// What the file says, in the words of the two processes.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) agent: sallyport_agent::Config,
    pub(crate) data_plane: sallyport_dataplane::Config,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// The first thing in it that no host could use.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|cause| {
            let remedy = "name the configuration with --config FILE";
            ConfigError::file(format!("{cause}; {remedy}")).in_file(path)
        })?;
        Self::parse(&text).map_err(|error| error.in_file(path))
    }

    /// Compares with the host.
    ///
    /// # Errors
    /// The first thing that this host cannot do.
    pub(crate) fn fit(&self, host: &Host, path: &Path) -> Result<(), ConfigError> {
        host.fits(&self.data_plane)
            .map_err(|error| error.in_file(path))
    }

    /// Reads what else the agent needs: tokens, certificates.
    ///
    /// # Errors
    /// The first thing that would keep the agent from starting.
    pub(crate) fn suit_agent(&self, path: &Path) -> Result<(), ConfigError> {
        let checked = self.agent.check();
        checked.map_err(|error| ConfigError::file(error.to_string()).in_file(path))
    }

    fn parse(text: &str) -> Result<Self, ConfigError> {
        let file = File::parse(text)?;
        check::file(&file)?;
        let policy = policy::read(&file.agent.policy)?;
        Ok(Self::new(file, policy))
    }

    fn new(file: File, policy: Policy) -> Self {
        let File {
            realm,
            dataplane,
            agent,
            ..
        } = file;
        let max_sessions = agent.max_sessions.unwrap_or(dataplane.sessions());
        let media = |realm: &file::Realm| sallyport_agent::RealmConfig {
            addresses: realm.addresses.clone(),
            ports: realm.port_range(),
        };
        let steered = |realm: file::Realm| sallyport_dataplane::RealmConfig {
            ports: realm.port_range(),
            interface: realm.interface.unwrap_or_else(|| realm.nic.clone()),
            nic: realm.nic,
            addresses: realm.addresses,
            vlan: realm.vlan,
        };
        Self {
            agent: sallyport_agent::Config {
                listen: agent.listen,
                store_key: agent
                    .store_key
                    .unwrap_or_else(|| agent.store.with_added_extension("key")),
                store: agent.store,
                flow_socket: dataplane.socket.clone(),
                access: media(&realm.access),
                core: media(&realm.core),
                limits: sallyport_agent::Limits {
                    max_sessions: max_sessions as usize,
                    max_streams: agent.max_streams,
                },
                timeouts: agent.timeouts.into(),
                policy,
                ng: agent.ng,
                https: agent.https,
            },
            data_plane: sallyport_dataplane::Config {
                realms: BTreeMap::from([
                    (Realm::Access, steered(realm.access)),
                    (Realm::Core, steered(realm.core)),
                ]),
                socket: dataplane.socket,
                pin: dataplane.pin,
                queues: dataplane.queues,
                cpus: dataplane.cpus,
                frames: dataplane.frames,
                max_flows: dataplane.max_flows,
                require_zero_copy: dataplane.require_zero_copy,
                require_native: dataplane.require_native,
                poll: match dataplane.poll {
                    file::Poll::Wait => PollMode::Wait,
                    file::Poll::Busy => PollMode::Busy,
                },
            },
        }
    }
}

impl From<file::Timeouts> for sallyport_agent::Timeouts {
    fn from(timeouts: file::Timeouts) -> Self {
        let file::Timeouts {
            unanswered,
            inactive,
            held,
            total,
        } = timeouts;
        let [unanswered, inactive, held, total] = [unanswered, inactive, held, total]
            .map(|seconds| (seconds != 0).then(|| Duration::from_secs(seconds.into())));
        Self {
            unanswered,
            inactive,
            held,
            total,
        }
    }
}

#[cfg(test)]
mod tests;
