// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Values that no host could use.

use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::ConfigError;
use super::file::{DataPlane, File, Realm};

/// The version of the file's layout.
const VERSION: u32 = 1;
/// Below are the ports of the host's own services.
const FIRST_PORT: u16 = 1024;
/// What a socket address has room for (`sun_path`, unix(7)), its last byte 0.
const MAX_SOCKET_PATH: usize = 107;
/// Packets are taken in bursts of this many.
const BURST: u32 = 64;
const FRAMES: std::ops::RangeInclusive<u32> = 512..=1 << 20;
const FLOWS: std::ops::RangeInclusive<u32> = 1..=1 << 20;
const STREAMS: std::ops::RangeInclusive<u32> = 1..=64;
const QUEUES: std::ops::RangeInclusive<u32> = 1..=64;
/// Without 0 and 4095, which IEEE 802.1Q reserves.
const VLAN_IDS: std::ops::RangeInclusive<u16> = 1..=4094;

pub(super) fn file(file: &File) -> Result<(), ConfigError> {
    if file.version != VERSION {
        let problem = format!(
            "{} is unknown; this release reads version {VERSION}",
            file.version
        );
        return Err(ConfigError::key("version", problem));
    }
    let (access, core) = (&file.realm.access, &file.realm.core);
    realm("realm.access", access)?;
    realm("realm.core", core)?;
    apart(access, core)?;
    data_plane(&file.dataplane)?;
    absolute("agent.store", &file.agent.store)?;
    if let Some(key) = &file.agent.store_key {
        absolute("agent.store_key", key)?;
    }
    if let Some(https) = &file.agent.https {
        absolute("agent.https.certificate", &https.certificate)?;
        absolute("agent.https.key", &https.key)?;
        if let Some(token) = &https.token_file {
            absolute("agent.https.token_file", token)?;
        }
    }
    within("agent.max_streams", file.agent.max_streams.into(), &STREAMS)?;
    if let Some(sessions) = file.agent.max_sessions
        && sessions > file.dataplane.sessions()
    {
        // Offers would be taken whose answers are refused, when phones have rung.
        let problem = format!(
            "{sessions} sessions have {} flows; raise dataplane.max_flows to that, or give {} at \
             most",
            4 * u64::from(sessions),
            file.dataplane.sessions()
        );
        return Err(ConfigError::key("agent.max_sessions", problem));
    }
    if !file.agent.listen.ip().is_loopback() {
        let listen = file.agent.listen;
        let problem = format!(
            "{listen} can be reached from other hosts, and HTTP carries keys; listen on \
             127.0.0.1:{} and serve other hosts in agent.https",
            listen.port()
        );
        return Err(ConfigError::key("agent.listen", problem));
    }
    Ok(())
}

fn realm(section: &str, realm: &Realm) -> Result<(), ConfigError> {
    let error = |key, problem: String| Err(ConfigError::key(format!("{section}.{key}"), problem));
    if realm.addresses.is_empty() {
        let problem = "empty; list at least one address of the NIC";
        return error("addresses", problem.to_owned());
    }
    for (index, address) in realm.addresses.iter().enumerate() {
        if let Some(kind) = unfit(*address) {
            let problem = format!("{address} is {kind}; list unicast addresses of the NIC");
            return error("addresses", problem);
        }
        if realm.addresses[..index].contains(address) {
            return error("addresses", format!("{address} is there twice; remove one"));
        }
    }
    let [first, last] = realm.ports;
    if first > last {
        return error(
            "ports",
            format!("[{first}, {last}] is reversed; write [{last}, {first}]"),
        );
    }
    if first < FIRST_PORT {
        let problem = format!(
            "{first} is among the ports of the host's own services; start at {FIRST_PORT} or above"
        );
        return error("ports", problem);
    }
    // RFC 3550 section 11: RTP on an even port, its RTCP on the next one.
    if first % 2 != 0 || last % 2 != 1 {
        let (even, odd) = (first & !1, last | 1);
        let problem = format!(
            "[{first}, {last}] cuts a pair of RTP and RTCP port; start even and end odd, as \
             [{even}, {odd}]"
        );
        return error("ports", problem);
    }
    if realm.vlan.len() > 2 {
        let problem = format!("{} tags; a packet carries two at most", realm.vlan.len());
        return error("vlan", problem);
    }
    for id in &realm.vlan {
        if !VLAN_IDS.contains(id) {
            let (least, most) = (VLAN_IDS.start(), VLAN_IDS.end());
            return error(
                "vlan",
                format!("{id} is no VLAN id; give {least} to {most}"),
            );
        }
    }
    Ok(())
}

/// The two realms may share an address, but then not its ports.
fn apart(access: &Realm, core: &Realm) -> Result<(), ConfigError> {
    let [first, last] = core.ports;
    let [access_first, access_last] = access.ports;
    if last < access_first || access_last < first {
        return Ok(());
    }
    let Some(shared) = core
        .addresses
        .iter()
        .find(|at| access.addresses.contains(at))
    else {
        return Ok(());
    };
    let problem = format!(
        "[{first}, {last}] overlaps [{access_first}, {access_last}] of realm.access on {shared}, \
         which both realms have; give each its own ports or its own address"
    );
    Err(ConfigError::key("realm.core.ports", problem))
}

fn data_plane(config: &DataPlane) -> Result<(), ConfigError> {
    absolute("dataplane.socket", &config.socket)?;
    absolute("dataplane.pin", &config.pin)?;
    let length = config.socket.as_os_str().as_bytes().len();
    if length > MAX_SOCKET_PATH {
        let problem = format!("{length} bytes; the kernel takes {MAX_SOCKET_PATH} at most");
        return Err(ConfigError::key("dataplane.socket", problem));
    }
    if let Some(queues) = config.queues {
        within("dataplane.queues", queues, &QUEUES)?;
        let cpus = config.cpus.len();
        if cpus != 0 && cpus != queues as usize {
            let problem = format!("{cpus} processors for {queues} queues; list one for each");
            return Err(ConfigError::key("dataplane.cpus", problem));
        }
    }
    for (index, cpu) in config.cpus.iter().enumerate() {
        if config.cpus[..index].contains(cpu) {
            let problem = format!("{cpu} is there twice; a worker needs a processor of its own");
            return Err(ConfigError::key("dataplane.cpus", problem));
        }
    }
    within("dataplane.frames", config.frames, &FRAMES)?;
    if !config.frames.is_multiple_of(BURST) {
        let next = config.frames.next_multiple_of(BURST);
        let problem = format!("{} is no multiple of {BURST}; write {next}", config.frames);
        return Err(ConfigError::key("dataplane.frames", problem));
    }
    within("dataplane.max_flows", config.max_flows, &FLOWS)
}

fn within(key: &str, value: u32, range: &std::ops::RangeInclusive<u32>) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    Err(ConfigError::key(
        key,
        format!("{value}; give {least} to {most}"),
    ))
}

fn absolute(key: &str, path: &Path) -> Result<(), ConfigError> {
    if path.is_absolute() {
        return Ok(());
    }
    let problem = format!("{} depends on where the process starts", path.display());
    Err(ConfigError::key(
        key,
        format!("{problem}; write the whole path, from / on"),
    ))
}

/// What an address is that no media can arrive at.
fn unfit(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(address) if address.is_broadcast() => Some("the broadcast address"),
        IpAddr::V6(address) if address.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Some("IPv4 in disguise"),
        _ => None,
    }
}
