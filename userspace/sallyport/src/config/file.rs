// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The file as it is written: every key, its type, its default. What is not here is an error.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use sallyport_agent::Limits;
use serde::Deserialize;

use super::ConfigError;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) version: u32,
    pub(super) realm: Realms,
    #[serde(default)]
    pub(super) dataplane: DataPlane,
    #[serde(default)]
    pub(super) agent: Agent,
}

/// `[realm.*]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Realms {
    pub(super) access: Realm,
    pub(super) core: Realm,
}

/// `[realm.access]` and `[realm.core]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Realm {
    /// Where XDP attaches.
    pub(super) nic: String,
    /// Local media addresses.
    pub(super) addresses: Vec<IpAddr>,
    /// First and last media port.
    pub(super) ports: [u16; 2],
    /// VLAN ids that leaving packets carry, outermost first.
    #[serde(default)]
    pub(super) vlan: Vec<u16>,
    /// The kernel's interface that has the addresses; the NIC by default.
    pub(super) interface: Option<String>,
}

/// `[dataplane]`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DataPlane {
    pub(super) socket: PathBuf,
    pub(super) pin: PathBuf,
    pub(super) queues: Option<u32>,
    pub(super) cpus: Vec<u32>,
    pub(super) frames: u32,
    pub(super) max_flows: u32,
    pub(super) require_zero_copy: bool,
    pub(super) require_native: bool,
    pub(super) poll: Poll,
}

/// `dataplane.poll`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Poll {
    Wait,
    Busy,
}

/// `[agent]`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Agent {
    pub(super) listen: SocketAddr,
    pub(super) store: PathBuf,
    /// `store` with `.key` behind it by default.
    pub(super) store_key: Option<PathBuf>,
    /// As many as `dataplane.max_flows` has room for by default.
    pub(super) max_sessions: Option<u32>,
    pub(super) max_streams: u16,
    pub(super) timeouts: Timeouts,
    pub(super) policy: MediaPolicy,
    pub(super) ng: Option<sallyport_agent::ng::Config>,
    pub(super) https: Option<sallyport_agent::https::Config>,
}

/// `[agent.policy]`: what the media of calls must be.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MediaPolicy {
    /// In the order of preference.
    pub(super) suites: Option<Vec<String>>,
    /// Whether e2ae is for UEs only that registered for it and ask for it.
    pub(super) needs_indications: bool,
    /// Whether media that peers protect from end to end may pass.
    pub(super) end_to_end: bool,
    /// Whether peers that are protected may do without encryption of RTCP.
    pub(super) unencrypted_srtcp: bool,
    /// Whether protection is wanted on the access side; the first that fits counts.
    pub(super) e2ae: Vec<E2aeRule>,
}

/// `[[agent.policy.e2ae]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct E2aeRule {
    /// `audio`, `video`; any without.
    pub(super) medium: Option<String>,
    /// As in P-Access-Network-Info; any without.
    pub(super) access_network: Option<String>,
    /// `off`, `optional` or `required`.
    pub(super) e2ae: String,
    /// Those of the policy that may be used then; all of them without.
    pub(super) suites: Option<Vec<String>>,
}

/// `[agent.timeouts]`, in seconds; 0 for never.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Timeouts {
    pub(super) unanswered: u32,
    pub(super) inactive: u32,
    pub(super) held: u32,
    pub(super) total: u32,
}

impl File {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        let toml = toml::Deserializer::parse(text).map_err(|error| of_toml(text, "", &error))?;
        serde_path_to_error::deserialize(toml).map_err(|error| {
            let path = error.path().to_string();
            // What the crate calls the top of the file.
            let key = if path == "." { "" } else { &path };
            of_toml(text, key, error.inner())
        })
    }
}

impl DataPlane {
    /// How many sessions of one stream its flows are enough for: RTP and RTCP, both ways.
    pub(super) const fn sessions(&self) -> u32 {
        match self.max_flows / 4 {
            0 => 1,
            sessions => sessions,
        }
    }
}

impl Realm {
    pub(super) const fn port_range(&self) -> RangeInclusive<u16> {
        let [first, last] = self.ports;
        first..=last
    }
}

impl Default for DataPlane {
    fn default() -> Self {
        Self {
            socket: "/run/sallyport/flow.sock".into(),
            pin: "/sys/fs/bpf/sallyport".into(),
            queues: None,
            cpus: Vec::new(),
            frames: 8192,
            max_flows: 65_536,
            require_zero_copy: false,
            require_native: false,
            poll: Poll::Wait,
        }
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            store: "/run/sallyport/sessions.redb".into(),
            store_key: None,
            max_sessions: None,
            max_streams: Limits::default().max_streams,
            timeouts: Timeouts::default(),
            policy: MediaPolicy::default(),
            ng: None,
            https: None,
        }
    }
}

impl Default for MediaPolicy {
    fn default() -> Self {
        Self {
            suites: None,
            needs_indications: true,
            end_to_end: true,
            unencrypted_srtcp: false,
            e2ae: Vec::new(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let default = sallyport_agent::Timeouts::default();
        let seconds = |timeout: Option<Duration>| {
            let seconds = timeout.map_or(0, |timeout| timeout.as_secs());
            u32::try_from(seconds).unwrap_or(u32::MAX)
        };
        Self {
            unanswered: seconds(default.unanswered),
            inactive: seconds(default.inactive),
            held: seconds(default.held),
            total: seconds(default.total),
        }
    }
}

/// One line of what the parser says in several.
fn of_toml(text: &str, key: &str, error: &toml::de::Error) -> ConfigError {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let line = error.span().map(|span| {
        let before = text.get(..span.start).unwrap_or_default();
        1 + before.matches('\n').count()
    });
    let place = line.map_or_else(String::new, |line| format!("line {line}: "));
    ConfigError::key(key, format!("{place}{message}"))
}
