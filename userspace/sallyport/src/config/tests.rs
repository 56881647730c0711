// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Configuration files, good ones and what is said about bad ones.

use std::net::IpAddr;

use super::*;

const ACCESS: &str = r#"nic = "eth0"
addresses = ["192.0.2.1", "2001:db8::1"]
ports = [40000, 49999]
"#;
const CORE: &str = r#"nic = "eth1"
addresses = ["10.0.0.1"]
ports = [40000, 49999]
"#;

fn text(access: &str, core: &str, rest: &str) -> String {
    format!("version = 1\n[realm.access]\n{access}[realm.core]\n{core}{rest}")
}

/// What is said about a file; empty when it is good.
fn complaint(text: &str) -> String {
    let path = Path::new("sallyport.toml");
    let host = Host::with(
        &[
            ("eth0", &["192.0.2.1", "2001:db8::1"]),
            ("eth1", &["10.0.0.1"]),
            ("eth1.7", &["10.7.0.1"]),
            ("lo", &["127.0.0.1"]),
        ],
        &[0, 1],
    );
    Config::parse(text)
        .map_err(|error| error.in_file(path))
        .and_then(|config| config.fit(&host, path))
        .map_or_else(|error| error.to_string(), |()| String::new())
}

#[test]
fn the_shortest_file_has_every_default() {
    let Config { agent, data_plane } = Config::parse(&text(ACCESS, CORE, "")).unwrap();
    assert_eq!(agent.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(agent.store, Path::new("/run/sallyport/sessions.redb"));
    assert_eq!(agent.flow_socket, data_plane.socket);
    assert_eq!(agent.access.ports, 40000..=49999);
    assert_eq!(
        agent.core.addresses,
        ["10.0.0.1".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(data_plane.socket, Path::new("/run/sallyport/flow.sock"));
    assert_eq!(data_plane.pin, Path::new("/sys/fs/bpf/sallyport"));
    assert_eq!(agent.limits.max_sessions, 65_536 / 4);
    assert_eq!(data_plane.queues, None);
    assert_eq!(data_plane.cpus, [0; 0]);
    assert_eq!((data_plane.frames, data_plane.max_flows), (8192, 65_536));
    assert!(!data_plane.require_native && !data_plane.require_zero_copy);
    assert_eq!(data_plane.poll, PollMode::Wait);
    let access = &data_plane.realms[&Realm::Access];
    assert_eq!((&*access.nic, &*access.interface), ("eth0", "eth0"));
}

#[test]
fn the_longest_file_is_read_whole() {
    let core = r#"nic = "eth1"
interface = "eth1.7"
vlan = [7]
addresses = ["10.7.0.1"]
ports = [20000, 20001]
"#;
    let rest = r#"[dataplane]
socket = "/tmp/f"
pin = "/sys/fs/bpf/x"
queues = 2
cpus = [1, 0]
frames = 512
max_flows = 9
require_zero_copy = true
require_native = true
poll = "busy"
[agent]
listen = "[::1]:0"
store = "/tmp/s"
"#;
    let text = text(ACCESS, core, rest);
    assert_eq!(complaint(&text), "");
    let data_plane = Config::parse(&text).unwrap().data_plane;
    let core = &data_plane.realms[&Realm::Core];
    assert_eq!((&*core.interface, &*core.vlan), ("eth1.7", &[7][..]));
    assert_eq!(
        (data_plane.queues, &*data_plane.cpus),
        (Some(2), &[1, 0][..])
    );
    assert!(data_plane.require_native && data_plane.require_zero_copy);
    assert_eq!(data_plane.poll, PollMode::Busy);
}

#[test]
fn what_is_wrong_is_said_with_key_and_remedy() {
    let with = |from: &str, to: &str| {
        assert!(ACCESS.contains(from), "{from}");
        text(&ACCESS.replacen(from, to, 1), CORE, "")
    };
    let rest = |rest: &str| text(ACCESS, CORE, rest);
    let good = rest("");
    let https = |certificate: &str, key: &str| {
        rest(&format!(
            "[agent.https]\nlisten = [\"[::1]:8443\"]\ncertificate = \"{certificate}\"\nkey = \
             \"{key}\"\n"
        ))
    };
    for (text, expected) in [
        (
            good.replace("version = 1", "version = 2"),
            "version: 2 is unknown; this release reads version 1",
        ),
        (
            good.replace("version = 1\n", ""),
            "line 1: missing field `version`",
        ),
        (
            good.replace("version = 1", "version = "),
            "line 1: string values must be quoted, expected literal string",
        ),
        (
            good.replace("realm.core", "realm.cores"),
            "realm.cores: line 6: unknown field `cores`, expected `access` or `core`",
        ),
        (
            with("nic", "nick"),
            "realm.access.nick: line 3: unknown field `nick`, expected one of `nic`, \
             `addresses`, `ports`, `vlan`, `interface`",
        ),
        (
            rest("[dataplane]\nframe = 1\n"),
            "dataplane.frame: line 11: unknown field `frame`, expected one of `socket`, `pin`, \
             `queues`, `cpus`, `frames`, `max_flows`, `require_zero_copy`, `require_native`, \
             `poll`",
        ),
        (
            rest("[dataplane]\npoll = \"often\"\n"),
            "dataplane.poll: line 11: unknown variant `often`, expected `wait` or `busy`",
        ),
        (
            with("eth0", "eth7"),
            "realm.access.nic: no such network interface \"eth7\"; the host has eth0, eth1, eth1.7",
        ),
        (
            with("\"eth0\"", "\"eth0\"\ninterface = \"eth0.9\""),
            "realm.access.interface: no such network interface \"eth0.9\"; the host has eth0, \
             eth1, eth1.7",
        ),
        (
            with("192.0.2.1", "192.0.2.9"),
            "realm.access.addresses: 192.0.2.9 is not on eth0, which has 192.0.2.1, 2001:db8::1; \
             correct it, or `ip address add 192.0.2.9 dev eth0`",
        ),
        (
            with("192.0.2.1", "192.0.2"),
            "realm.access.addresses[0]: line 4: invalid IP address syntax",
        ),
        (
            with("\"192.0.2.1\", \"2001:db8::1\"", ""),
            "realm.access.addresses: empty; list at least one address of the NIC",
        ),
        (
            with("2001:db8::1", "192.0.2.1"),
            "realm.access.addresses: 192.0.2.1 is there twice; remove one",
        ),
        (
            with("192.0.2.1", "0.0.0.0"),
            "realm.access.addresses: 0.0.0.0 is the unspecified address; list unicast addresses \
             of the NIC",
        ),
        (
            with("192.0.2.1", "224.0.0.5"),
            "realm.access.addresses: 224.0.0.5 is a multicast address; list unicast addresses of \
             the NIC",
        ),
        (
            with("2001:db8::1", "ff02::1"),
            "realm.access.addresses: ff02::1 is a multicast address; list unicast addresses of \
             the NIC",
        ),
        (
            with("2001:db8::1", "fe80::1"),
            "realm.access.addresses: fe80::1 is a link-local address; list unicast addresses of \
             the NIC",
        ),
        (
            with("40000, 49999", "49999, 40000"),
            "realm.access.ports: [49999, 40000] is reversed; write [40000, 49999]",
        ),
        (
            with("40000, 49999", "40001, 50000"),
            "realm.access.ports: [40001, 50000] cuts a pair of RTP and RTCP port; start even and \
             end odd, as [40000, 50001]",
        ),
        (
            with("40000, 49999", "0, 49999"),
            "realm.access.ports: 0 is among the ports of the host's own services; start at 1024 \
             or above",
        ),
        (
            with("40000, 49999", "40000, 70000"),
            "realm.access.ports[1]: line 5: invalid value: integer `70000`, expected u16",
        ),
        (
            with("40000, 49999", "40000"),
            "realm.access.ports: line 5: invalid length 1, expected an array of length 2",
        ),
        (
            with("ports", "vlan = [1, 2, 3]\nports"),
            "realm.access.vlan: 3 tags; a packet carries two at most",
        ),
        (
            with("ports", "vlan = [4095]\nports"),
            "realm.access.vlan: 4095 is no VLAN id; give 1 to 4094",
        ),
        (
            text(ACCESS, ACCESS, ""),
            "realm.core.ports: [40000, 49999] overlaps [40000, 49999] of realm.access on \
             192.0.2.1, which both realms have; give each its own ports or its own address",
        ),
        (
            text(ACCESS, &ACCESS.replace("40000, 49999", "30000, 40001"), ""),
            "realm.core.ports: [30000, 40001] overlaps [40000, 49999] of realm.access on \
             192.0.2.1, which both realms have; give each its own ports or its own address",
        ),
        (
            text(ACCESS, &ACCESS.replace("40000, 49999", "30000, 39999"), ""),
            "",
        ),
        (
            rest("[dataplane]\nqueues = 0\n"),
            "dataplane.queues: 0; give 1 to 64",
        ),
        (
            rest("[dataplane]\nqueues = 65\n"),
            "dataplane.queues: 65; give 1 to 64",
        ),
        (
            rest("[dataplane]\nqueues = 2\ncpus = [1]\n"),
            "dataplane.cpus: 1 processors for 2 queues; list one for each",
        ),
        (
            rest("[dataplane]\ncpus = [1, 1]\n"),
            "dataplane.cpus: 1 is there twice; a worker needs a processor of its own",
        ),
        (
            rest("[dataplane]\ncpus = [2]\n"),
            "dataplane.cpus: this process may not use processor 2, only 0, 1",
        ),
        (
            rest("[dataplane]\nframes = 64\n"),
            "dataplane.frames: 64; give 512 to 1048576",
        ),
        (
            rest("[dataplane]\nframes = 8191\n"),
            "dataplane.frames: 8191 is no multiple of 64; write 8192",
        ),
        (
            rest("[dataplane]\nmax_flows = 0\n"),
            "dataplane.max_flows: 0; give 1 to 1048576",
        ),
        (
            rest("[agent]\nmax_sessions = 16385\n"),
            "agent.max_sessions: 16385 sessions have 65540 flows; raise dataplane.max_flows to \
             that, or give 16384 at most",
        ),
        (
            rest("[dataplane]\nmax_flows = 400000\n[agent]\nmax_sessions = 100000\n"),
            "",
        ),
        (
            rest("[dataplane]\nsocket = \"flow.sock\"\n"),
            "dataplane.socket: flow.sock depends on where the process starts; write the whole \
             path, from / on",
        ),
        (
            rest(&format!("[dataplane]\nsocket = \"/{}\"\n", "x".repeat(107))),
            "dataplane.socket: 108 bytes; the kernel takes 107 at most",
        ),
        (
            rest("[agent]\nlisten = \"0.0.0.0:8080\"\n"),
            "agent.listen: 0.0.0.0:8080 can be reached from other hosts, and HTTP carries keys; \
             listen on 127.0.0.1:8080 and serve other hosts in agent.https",
        ),
        (https("/etc/https.pem", "/etc/https.key"), ""),
        (
            https("https.pem", "/etc/https.key"),
            "agent.https.certificate: https.pem depends on where the process starts; write the \
             whole path, from / on",
        ),
        (
            https("/etc/https.pem", "https.key"),
            "agent.https.key: https.key depends on where the process starts; write the whole \
             path, from / on",
        ),
        (
            rest("[agent.https]\nlisten = [\"127.0.0.1:8443\"]\n"),
            "agent.https: line 10: missing field `certificate`",
        ),
        (
            rest("[agent]\nlisten = \"8080\"\n"),
            "agent.listen: line 11: invalid socket address syntax",
        ),
    ] {
        let expected = match expected {
            "" => String::new(),
            expected => format!("sallyport.toml: {expected}"),
        };
        assert_eq!(complaint(&text), expected, "\n{text}");
    }
}

#[test]
fn a_file_that_is_not_there_is_said_to_be_so() {
    let error = Config::read(Path::new("/nowhere/sallyport.toml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nowhere/sallyport.toml: No such file or directory (os error 2); name the configuration \
         with --config FILE"
    );
}
