// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The XDP program in a real kernel: what it decides (`BPF_PROG_TEST_RUN`), how it is pinned and
//! replaced, and what a peer on the wire sees of it.
//!
//! Each test has a network namespace, which goes away with its thread, and a pin folder of its own.
//! Needs root, `ip` and a BPF file system; without, the tests say `SKIPPED`, or fail if
//! `SALLYPORT_REQUIRE_ALL=1`.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "a test, helpers included, may end where it fails"
)]

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use caps::{CapSet, Capability};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use sallyport_dataplane::xdp::{AttachMode, NicId, Steer, XdpError, status, unload};
use sallyport_dataplane::xsk::{BindMode, Socket, SocketConfig, Umem};
use sallyport_ebpf::Verdict;
use sallyport_ebpf::layout::PortState;

const ACCESS: NicId = NicId(0);
const CORE: NicId = NicId(1);
const PORTS: RangeInclusive<u16> = 40_000..=40_099;
const V4: &str = "192.0.2.1:40000";
const V6: &str = "[2001:db8::1]:40000";
const RTP: [u8; 4] = [0x80, 0, 0, 1];
const RTCP: [u8; 4] = [0x81, 200, 0, 6];
const STUN: [u8; 4] = [0, 1, 0, 0];
const DTLS: [u8; 4] = [22, 254, 253, 0];

// enum xdp_action, include/uapi/linux/bpf.h
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

#[test]
fn every_packet_gets_its_verdict() {
    with_pins("verdicts", |pin| {
        let mut steer = Steer::load(pin, &["lo"]).unwrap();
        serve(&mut steer, &[(ACCESS, V4), (ACCESS, V6)]);
        let (mut umem, mut pool) = Umem::allocate(256).unwrap();
        let socket = Socket::open(&mut umem, &mut pool, &config("lo")).unwrap();
        steer.set_socket(ACCESS, 0, socket.as_fd()).unwrap();

        let passed = (XDP_PASS, Verdict::Passed);
        let fragment = (XDP_PASS, Verdict::Fragment);
        let options = (XDP_PASS, Verdict::Options);
        let malformed = (XDP_PASS, Verdict::Malformed);
        let unknown = (XDP_DROP, Verdict::UnknownFlow);
        let not_media = (XDP_DROP, Verdict::NotMedia);
        let redirected = (XDP_REDIRECT, Verdict::Redirected);
        let udp4 = || datagram(V4, &[], &RTP);
        let udp6 = || datagram(V6, &[], &RTP);
        for (sentence, packet, (action, verdict)) in [
            ("RTP over IPv4", udp4(), redirected),
            ("RTP over IPv6", udp6(), redirected),
            ("RTCP over IPv4", datagram(V4, &[], &RTCP), redirected),
            ("RTCP over IPv6", datagram(V6, &[], &RTCP), redirected),
            (
                "one VLAN tag over IPv4",
                datagram(V4, &[0x8100], &RTP),
                redirected,
            ),
            (
                "one VLAN tag over IPv6",
                datagram(V6, &[0x88a8], &RTP),
                redirected,
            ),
            (
                "two VLAN tags over IPv4",
                datagram(V4, &[0x88a8, 0x8100], &RTP),
                redirected,
            ),
            (
                "two VLAN tags over IPv6",
                datagram(V6, &[0x8100, 0x8100], &RTP),
                redirected,
            ),
            ("three VLAN tags", datagram(V4, &[0x8100; 3], &RTP), passed),
            ("the first fragment", with(udp4(), 20, 0x20), fragment),
            ("a later fragment", with(udp4(), 21, 0x01), fragment),
            ("don't fragment", with(udp4(), 20, 0x40), redirected),
            ("a fragment of IPv6", with(udp6(), 20, 44), fragment),
            ("IP options", with(udp4(), 14, 0x46), options),
            ("a hop-by-hop header", with(udp6(), 20, 0), options),
            (
                "a destination options header",
                with(udp6(), 20, 60),
                options,
            ),
            (
                "an IP header of four words",
                with(udp4(), 14, 0x44),
                malformed,
            ),
            ("version 6 in IPv4", with(udp4(), 14, 0x65), malformed),
            ("TCP over IPv4", with(udp4(), 23, 6), passed),
            ("TCP over IPv6", with(udp6(), 20, 6), passed),
            ("ICMP", with(udp4(), 23, 1), passed),
            ("ICMPv6", with(udp6(), 20, 58), passed),
            ("ARP", with(udp4(), 13, 0x06), passed),
            (
                "another address",
                datagram("192.0.2.2:40000", &[], &RTP),
                passed,
            ),
            (
                "another IPv6 address",
                datagram("[2001:db8::2]:40000", &[], &RTP),
                passed,
            ),
            (
                "the port below the range",
                datagram("192.0.2.1:39999", &[], &RTP),
                passed,
            ),
            (
                "the port above the range",
                datagram("192.0.2.1:40100", &[], &RTP),
                passed,
            ),
            (
                "a media port without a flow",
                datagram("192.0.2.1:40001", &[], &RTP),
                unknown,
            ),
            (
                "the last media port",
                datagram("192.0.2.1:40099", &[], &RTP),
                unknown,
            ),
            ("STUN", datagram(V4, &[], &STUN), not_media),
            ("DTLS", datagram(V6, &[], &DTLS), not_media),
            ("no payload", datagram(V4, &[], &[]), not_media),
        ] {
            let before = steer.verdicts(ACCESS).unwrap();
            let outcome = steer.test_run(ACCESS, &packet, 1).unwrap();
            assert_eq!(outcome.action, action, "{sentence}");
            let mut expected = before;
            expected[verdict as usize] += 1;
            assert_eq!(
                steer.verdicts(ACCESS).unwrap(),
                expected,
                "{sentence}: {verdict}"
            );
        }
    });
}

#[test]
fn a_frame_that_ends_inside_a_header_goes_to_the_kernel() {
    with_pins("truncated", |pin| {
        let mut steer = Steer::load(pin, &["lo"]).unwrap();
        serve(&mut steer, &[(ACCESS, V4), (ACCESS, V6)]);
        for packet in [
            datagram(V4, &[], &RTP),
            datagram(V6, &[0x88a8, 0x8100], &RTP),
        ] {
            let headers = packet.len() - RTP.len();
            // The kernel takes no shorter ones for a test run; the parser's own tests do.
            for len in 14..headers {
                let outcome = steer.test_run(ACCESS, &packet[..len], 1).unwrap();
                assert_eq!(outcome.action, XDP_PASS, "{len} of {headers} bytes");
            }
        }
        let verdicts = steer.verdicts(ACCESS).unwrap();
        assert_eq!(verdicts[Verdict::Malformed as usize], 42 - 14 + 70 - 14);
    });
}

#[test]
fn media_is_dropped_while_no_socket_serves_its_queue() {
    with_pins("no-socket", |pin| {
        let mut steer = Steer::load(pin, &["lo"]).unwrap();
        serve(&mut steer, &[(ACCESS, V4)]);
        let packet = datagram(V4, &[], &RTP);
        let (mut umem, mut pool) = Umem::allocate(256).unwrap();
        let socket = Socket::open(&mut umem, &mut pool, &config("lo")).unwrap();
        let action = |steer: &mut Steer| steer.test_run(ACCESS, &packet, 1).unwrap().action;

        assert_eq!(action(&mut steer), XDP_DROP, "before there is a socket");
        steer.set_socket(ACCESS, 0, socket.as_fd()).unwrap();
        assert_eq!(action(&mut steer), XDP_REDIRECT);
        steer.unset_socket(ACCESS, 0).unwrap();
        assert_eq!(action(&mut steer), XDP_DROP, "after it was taken out");
        steer.unset_socket(ACCESS, 0).unwrap();
        steer.set_socket(ACCESS, 0, socket.as_fd()).unwrap();
        assert_eq!(action(&mut steer), XDP_REDIRECT);
        drop(socket);
        eventually("the closed socket leaves the map", || {
            action(&mut steer) == XDP_DROP
        });
        assert!(steer.verdicts(ACCESS).unwrap()[Verdict::NoSocket as usize] >= 3);
        let error = steer
            .set_socket(ACCESS, 64, std::io::stdin().as_fd())
            .unwrap_err();
        assert!(
            matches!(error, XdpError::QueueTooHigh { queue: 64 }),
            "{error}"
        );
    });
}

#[test]
fn stun_and_dtls_are_dropped_while_nobody_awaits_them() {
    with_pins("awaited", |pin| {
        let mut steer = Steer::load(pin, &["lo"]).unwrap();
        serve(&mut steer, &[(ACCESS, V4), (ACCESS, V6)]);
        for local in [V4, V6] {
            let local: SocketAddr = local.parse().unwrap();
            ip(&format!("address add {} dev lo nodad", local.ip()));
            let state = PortState::KernelDemux;
            steer.insert_flow(ACCESS, local, state).unwrap();
        }
        for (local, other) in [(V4, V6), (V6, V4)] {
            for payload in [STUN, DTLS] {
                let packet = datagram(local, &[], &payload);
                let mut action = || steer.test_run(ACCESS, &packet, 1).unwrap().action;
                assert_eq!(action(), XDP_DROP, "{local}");
                let _elsewhere = UdpSocket::bind(other).unwrap();
                assert_eq!(action(), XDP_DROP, "{local}");
                let socket = UdpSocket::bind(local).unwrap();
                assert_eq!(action(), XDP_PASS, "{local}");
                drop(socket);
                assert_eq!(action(), XDP_DROP, "{local}");
            }
        }
        let verdicts = steer.verdicts(ACCESS).unwrap();
        assert_eq!(verdicts[Verdict::NoSocket as usize], 12);
        assert_eq!(verdicts[Verdict::KernelDemux as usize], 4);
    });
}

#[test]
fn two_nics_share_the_maps_and_keep_their_flows_apart() {
    with_pins("two", |pin| {
        veth("a", "pa");
        veth("c", "pc");
        let mut steer = Steer::load(pin, &["a", "c"]).unwrap();
        serve(&mut steer, &[(ACCESS, V4), (CORE, "10.0.0.1:40000")]);
        steer.attach(ACCESS, AttachMode::Native).unwrap();
        steer.attach(CORE, AttachMode::Generic).unwrap();
        assert_eq!(steer.attach_mode(ACCESS), Some(AttachMode::Native));
        assert_eq!(steer.attach_mode(CORE), Some(AttachMode::Generic));

        let access = datagram(V4, &[], &RTP);
        let core = datagram("10.0.0.1:40000", &[], &RTP);
        for (nic, packet, action) in [
            (ACCESS, &access, XDP_DROP),
            (ACCESS, &core, XDP_PASS),
            (CORE, &core, XDP_DROP),
            (CORE, &access, XDP_PASS),
        ] {
            assert_eq!(steer.test_run(nic, packet, 1).unwrap().action, action);
        }
        let status = status(pin).unwrap();
        let nics: Vec<_> = status
            .nics
            .iter()
            .map(|nic| (nic.name.as_str(), nic.mode))
            .collect();
        assert_eq!(
            nics,
            [
                ("a", Some(AttachMode::Native)),
                ("c", Some(AttachMode::Generic))
            ]
        );
        for nic in &status.nics {
            assert_eq!(nic.verdicts[Verdict::NoSocket as usize], 1, "{}", nic.name);
        }
        let text = status.to_string();
        for line in [
            "a: native, program ",
            "2 flows on 200 media ports of 2 addresses",
        ] {
            assert!(text.contains(line), "{line} in:\n{text}");
        }

        let removed = unload(pin, Some("a")).unwrap();
        assert_eq!(removed, ["link of a"]);
        assert!(pin.join("v1/FLOWS").exists(), "c still needs it");
        assert_eq!(unload(pin, Some("x")).unwrap(), [""; 0]);
        unload(pin, Some("c")).unwrap();
        assert!(!pin.exists(), "the last NIC takes everything with it");
    });
}

#[test]
fn the_program_outlives_the_process_and_is_replaced_in_place() {
    with_pins("pins", |pin| {
        veth("a", "pa");
        let mut steer = Steer::load(pin, &["a"]).unwrap();
        serve(&mut steer, &[(ACCESS, V4)]);
        steer.attach(ACCESS, AttachMode::Native).unwrap();
        steer.test_run(ACCESS, &datagram(V4, &[], &RTP), 5).unwrap();
        let first = program_on("a").expect("attached");
        drop(steer);
        assert_eq!(program_on("a"), Some(first), "it outlives its loader");

        let mut steer = Steer::load(pin, &["a"]).unwrap();
        assert_eq!(program_on("a"), Some(first), "loading changes nothing");
        let dropped = steer
            .test_run(ACCESS, &datagram(V4, &[], &RTP), 1)
            .unwrap()
            .action;
        assert_eq!(dropped, XDP_DROP, "ranges and flows are still there");
        assert_eq!(
            steer.verdicts(ACCESS).unwrap()[Verdict::NoSocket as usize],
            6
        );

        // Replacing is one update of the link: the NIC never stands without a program.
        let link = link_of(pin);
        steer.attach(ACCESS, AttachMode::Native).unwrap();
        let second = program_on("a").expect("attached");
        assert_ne!(first, second);
        assert_eq!(link_of(pin), link);
        drop(steer);

        let removed = unload(pin, None).unwrap();
        assert_eq!(removed.len(), 1 + 5 + 2, "{removed:?}");
        assert_eq!(program_on("a"), None);
        assert!(!pin.exists());
        assert_eq!(
            unload(pin, None).unwrap(),
            [""; 0],
            "again, with nothing there"
        );
        assert!(
            status(pin)
                .unwrap()
                .to_string()
                .starts_with("nothing is loaded")
        );
    });
}

#[test]
fn a_link_that_does_not_fit_is_replaced() {
    with_pins("stale", |pin| {
        veth("a", "pa");
        let mut steer = Steer::load(pin, &["a"]).unwrap();
        for mode in [AttachMode::Generic, AttachMode::Native, AttachMode::Generic] {
            steer.attach(ACCESS, mode).unwrap();
            assert_eq!(
                status(pin).unwrap().nics[0].mode,
                Some(mode),
                "the mode changed"
            );
        }
        drop(steer);

        ip("link del dev a");
        let gone = status(pin).unwrap();
        assert_eq!(gone.nics[0].mode, None, "the NIC is gone");
        assert!(
            gone.to_string()
                .contains("a: not attached, the NIC is gone")
        );
        veth("a", "pa");
        let mut steer = Steer::load(pin, &["a"]).unwrap();
        steer.attach(ACCESS, AttachMode::Generic).unwrap();
        assert_eq!(
            status(pin).unwrap().nics[0].mode,
            Some(AttachMode::Generic),
            "a new NIC"
        );

        veth("c", "pc");
        let mut steer = Steer::load(pin, &["c"]).unwrap();
        assert_eq!(program_on("a"), None, "no longer one of ours");
        steer.attach(ACCESS, AttachMode::Native).unwrap();
        assert_eq!(
            steer.verdicts(ACCESS).unwrap(),
            [0; Verdict::COUNT],
            "not a's counters"
        );
    });
}

#[test]
fn ranges_and_flows_come_and_go() {
    with_pins("ranges", |pin| {
        let mut steer = Steer::load(pin, &["lo"]).unwrap();
        let address = |host: u8| IpAddr::from([192, 0, 2, host]);
        let flow = |host: u8, port: u16| SocketAddr::new(address(host), port);
        let verdict = |steer: &mut Steer, host: u8, port: u16| {
            let packet = datagram(&flow(host, port).to_string(), &[], &RTP);
            let before = steer.verdicts(ACCESS).unwrap();
            steer.test_run(ACCESS, &packet, 1).unwrap();
            let after = steer.verdicts(ACCESS).unwrap();
            Verdict::ALL
                .into_iter()
                .find(|v| after[*v as usize] > before[*v as usize])
                .unwrap()
        };

        let sixteen: Vec<_> = (1..=16)
            .map(|host| (ACCESS, address(host), PORTS))
            .collect();
        steer.set_ranges(&sixteen).unwrap();
        for port in PORTS {
            steer
                .insert_flow(ACCESS, flow(16, port), PortState::Flow)
                .unwrap();
        }
        steer
            .insert_flow(ACCESS, flow(1, 40_000), PortState::Flow)
            .unwrap();
        steer
            .insert_flow(ACCESS, flow(1, 40_000), PortState::Flow)
            .expect("again");
        assert_eq!(counts(pin), (16, 1600, 101));
        assert_eq!(verdict(&mut steer, 16, 40_099), Verdict::NoSocket);
        assert_eq!(verdict(&mut steer, 15, 40_099), Verdict::UnknownFlow);
        for (host, port) in [(17, 40_000), (1, 39_999), (1, 40_100)] {
            let error = steer
                .insert_flow(ACCESS, flow(host, port), PortState::Flow)
                .unwrap_err();
            assert!(matches!(error, XdpError::NotInRange { .. }), "{error}");
            assert_eq!(verdict(&mut steer, host, port), Verdict::Passed);
        }
        let mut seventeen = sixteen.clone();
        seventeen.push((ACCESS, address(17), PORTS));
        let error = steer.set_ranges(&seventeen).unwrap_err();
        assert!(error.to_string().contains("at most 16"), "{error}");

        steer.remove_flow(ACCESS, flow(16, 40_099)).unwrap();
        steer
            .remove_flow(ACCESS, flow(16, 40_099))
            .expect("removing twice is no error");
        steer
            .remove_flow(ACCESS, flow(99, 40_099))
            .expect("nor is removing what never was");
        assert_eq!(verdict(&mut steer, 16, 40_099), Verdict::UnknownFlow);
        assert_eq!(counts(pin), (16, 1600, 100));

        let kept = [
            (ACCESS, address(16), PORTS),
            (ACCESS, address(17), 50_000..=50_001),
        ];
        steer.set_ranges(&kept).unwrap();
        assert_eq!(
            verdict(&mut steer, 1, 40_000),
            Verdict::Passed,
            "its address is gone"
        );
        assert_eq!(
            verdict(&mut steer, 16, 40_000),
            Verdict::NoSocket,
            "its address was kept"
        );
        assert_eq!(
            verdict(&mut steer, 17, 50_000),
            Verdict::UnknownFlow,
            "in another's place"
        );
        assert_eq!(counts(pin), (2, 102, 99));
        drop(steer);
        let mut steer = Steer::load(pin, &["lo"]).unwrap();
        assert_eq!(counts(pin), (2, 102, 99), "what is pinned stays");

        steer
            .set_ranges(&[(ACCESS, address(16), 40_000..=40_001), kept[1].clone()])
            .unwrap();
        assert_eq!(counts(pin), (2, 4, 0), "other ports, other flows");
        steer
            .insert_flow(ACCESS, flow(17, 50_001), PortState::Flow)
            .unwrap();
        steer.clear_flows().unwrap();
        assert_eq!(counts(pin), (2, 4, 0));
        steer.set_ranges(&[]).unwrap();
        assert_eq!(counts(pin), (0, 0, 0));
    });
}

#[test]
fn what_stands_in_the_way_is_named_with_its_remedy() {
    with_pins("errors", |pin| {
        veth("a", "pa");
        let says = |error: XdpError, words: &[&str]| {
            let text = error.to_string();
            for word in words {
                assert!(text.contains(word), "{word} in: {text}");
            }
        };
        let load = |pin: &Path, nics: &[&str]| Steer::load(pin, nics);

        says(
            load(pin, &["nosuch0"]).unwrap_err(),
            &["nosuch0", "realm.*.nic"],
        );
        says(
            load(Path::new("/tmp/sallyport"), &["a"]).unwrap_err(),
            &["mount -t bpf"],
        );
        says(load(pin, &["a"; 17]).unwrap_err(), &["at most 16"]);

        let mut ours = load(pin, &["a", "lo"]).unwrap();
        let error = ours.attach(CORE, AttachMode::Native).unwrap_err();
        assert!(matches!(error, XdpError::NoNative { .. }));
        says(error, &["lo", "drop --require-native"]);
        ours.attach(CORE, AttachMode::Generic)
            .expect("the next rung of the ladder");
        says(
            ours.attach(NicId(2), AttachMode::Native).unwrap_err(),
            &["NIC number 2"],
        );

        ours.attach(ACCESS, AttachMode::Native).unwrap();
        let others = pin.join("others");
        let mut other = load(&others, &["a"]).unwrap();
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let error = other.attach(ACCESS, mode).unwrap_err();
            says(
                error,
                &["XDP program steer (number", "ip link set dev a xdp off"],
            );
        }
        unload(&others, None).unwrap();

        fs::remove_file(pin.join("v1/RANGES")).unwrap();
        fs::rename(pin.join("v1/VERDICTS"), pin.join("v1/RANGES")).unwrap();
        says(
            load(pin, &["a"]).unwrap_err(),
            &["v1/RANGES", "sallyport steer unload"],
        );

        // Capabilities belong to the thread.
        for (name, capability) in [
            ("CAP_BPF", Capability::CAP_BPF),
            ("CAP_PERFMON", Capability::CAP_PERFMON),
            ("CAP_NET_ADMIN", Capability::CAP_NET_ADMIN),
        ] {
            for capability in [capability, Capability::CAP_SYS_ADMIN] {
                caps::drop(None, CapSet::Effective, capability).unwrap();
            }
            says(load(pin, &["a"]).unwrap_err(), &[name, "run as root"]);
            for capability in [capability, Capability::CAP_SYS_ADMIN] {
                caps::raise(None, CapSet::Effective, capability).unwrap();
            }
        }
    });
}

#[test]
fn three_capabilities_are_enough() {
    with_pins("caps", |pin| {
        veth("a", "pa");
        let all = caps::read(None, CapSet::Effective).unwrap();
        let few = [
            Capability::CAP_BPF,
            Capability::CAP_PERFMON,
            Capability::CAP_NET_ADMIN,
        ]
        .into();
        caps::set(None, CapSet::Effective, &few).unwrap();
        let steer = Steer::load(pin, &["a"]).and_then(|mut steer| {
            steer.attach(ACCESS, AttachMode::Native)?;
            serve(&mut steer, &[(ACCESS, V4)]);
            steer.verdicts(ACCESS)
        });
        caps::set(None, CapSet::Effective, &all).unwrap();
        assert_eq!(steer.unwrap(), [0; Verdict::COUNT]);
    });
}

#[test]
fn a_peer_gets_no_icmp_error_whoever_dies() {
    with_pins("wire", |pin| {
        let (here, peer) = mpsc::channel();
        let (done, wait) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                here.send(nix::unistd::gettid()).unwrap();
                wait.recv().unwrap_err();
            });
            // The peer's namespace lives until `done` is dropped.
            let done = done;
            let peer = peer.recv().unwrap();
            ip("link add name a numrxqueues 1 type veth peer name b numtxqueues 1");
            ip(&format!("link set dev b netns {peer}"));
            ip("addr add 192.0.2.1/24 dev a");
            ip("link set dev a up");
            in_namespace_of(peer, || {
                ip("addr add 192.0.2.2/24 dev b");
                ip("link set dev b up");
            });
            let refused = |port: u16| in_namespace_of(peer, || is_refused(port));

            let mut steer = Steer::load(pin, &["a"]).unwrap();
            steer.attach(ACCESS, AttachMode::Native).unwrap();
            eventually("the kernel refuses what nobody listens to", || {
                refused(40_000)
            });
            serve(&mut steer, &[(ACCESS, V4)]);
            eventually("what is still the kernel's is refused", || refused(50_000));
            assert!(!refused(40_001), "a media port without a flow");
            assert!(!refused(40_000), "a flow without a socket");

            let (mut umem, mut pool) = Umem::allocate(256).unwrap();
            let mut socket = Socket::open(&mut umem, &mut pool, &config("a")).unwrap();
            steer.set_socket(ACCESS, 0, socket.as_fd()).unwrap();
            assert!(!refused(40_000), "a flow with a socket");
            let mut payloads = Vec::new();
            eventually("the packet arrives", || {
                socket.receive(64, |received| {
                    let bytes = &received.frame.bytes()[received.start..][..received.len];
                    payloads.push(bytes[42..].to_vec());
                    pool.give(received.frame);
                });
                !payloads.is_empty()
            });
            assert_eq!(payloads, [RTP]);

            drop(socket);
            assert!(!refused(40_000), "its worker died");
            drop(steer);
            assert!(!refused(40_000), "its process died");
            let mut steer = Steer::load(pin, &["a"]).unwrap();
            steer.attach(ACCESS, AttachMode::Native).unwrap();
            assert!(!refused(40_000), "its process was born again");
            drop(done);
        });
    });
}

/// Prints what a packet costs. Run it alone, on an idle machine and in a release build.
#[test]
#[ignore = "measures; says nothing in a debug build on a busy machine"]
fn what_a_packet_costs() {
    with_pins("cost", |pin| {
        let mut steer = Steer::load(pin, &["lo"]).unwrap();
        let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        steer
            .set_ranges(&addresses.map(|address| (ACCESS, address, 0..=u16::MAX)))
            .unwrap();
        for local in addresses
            .into_iter()
            .flat_map(|a| (0..=u16::MAX).map(move |p| (a, p)))
        {
            if local.1 % 2 == 0 {
                steer
                    .insert_flow(ACCESS, local.into(), PortState::Flow)
                    .unwrap();
            }
        }
        let (mut umem, mut pool) = Umem::allocate(256).unwrap();
        let socket = Socket::open(&mut umem, &mut pool, &config("lo")).unwrap();
        steer.set_socket(ACCESS, 0, socket.as_fd()).unwrap();
        let rtp = [[0x80, 0].as_slice(), &[7; 180]].concat();
        for (name, packet) in [
            ("shortest, malformed: the overhead", vec![0; 14]),
            ("ARP", with(datagram(V4, &[], &rtp), 13, 0x06)),
            ("TCP", with(datagram(V4, &[], &rtp), 23, 6)),
            (
                "UDP to another address",
                datagram("192.0.2.77:40000", &[], &rtp),
            ),
            (
                "UDP over IPv6 to another address",
                datagram("[2001:db8::7]:40000", &[], &rtp),
            ),
            ("RTP, IPv4", datagram(V4, &[], &rtp)),
            ("RTP, IPv4, one tag", datagram(V4, &[0x8100], &rtp)),
            ("RTP, IPv6", datagram(V6, &[], &rtp)),
            ("STUN, IPv4", datagram(V4, &[], &STUN)),
        ] {
            let runs = (0..9).map(|_| steer.test_run(ACCESS, &packet, 1_000_000).unwrap());
            let mut nanoseconds: Vec<u128> = runs.map(|run| run.duration.as_nanos()).collect();
            nanoseconds.sort_unstable();
            println!(
                "{name:<36} {} ns (median of 9: {})",
                nanoseconds[0], nanoseconds[4]
            );
        }
    });
}

/// Runs a test in a thread with a network namespace of its own, and a pin folder of its own that
/// is removed afterwards, whatever happens.
fn with_pins(name: &str, test: impl FnOnce(&Path) + Send) {
    let required = std::env::var_os("SALLYPORT_REQUIRE_ALL").is_some_and(|value| value == "1");
    let root = Path::new("/sys/fs/bpf");
    let result = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Err(reason) = prepare(root) {
                assert!(!required, "SALLYPORT_REQUIRE_ALL=1, but {reason}");
                eprintln!("SKIPPED: steer cannot be loaded: {reason}; run as root");
                return;
            }
            let pins = Pins(root.join(format!("sallyport-test-{}-{name}", std::process::id())));
            test(&pins.0);
        });
        thread.join()
    });
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// A namespace for this thread, and a BPF file system for all.
fn prepare(root: &Path) -> Result<(), String> {
    let on_bpffs = || statfs(root).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    if !on_bpffs() {
        let mount = Command::new("mount")
            .args(["-t", "bpf", "bpf"])
            .arg(root)
            .output();
        // Another test may have been faster.
        if !on_bpffs() {
            return Err(format!("no BPF file system: {mount:?}"));
        }
    }
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| format!("no namespace: {errno}"))?;
    ip("link set dev lo up");
    Ok(())
}

struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes the addresses of these flows media addresses, and installs the flows.
fn serve(steer: &mut Steer, flows: &[(NicId, &str)]) {
    let flows: Vec<(NicId, SocketAddr)> = flows
        .iter()
        .map(|(nic, local)| (*nic, local.parse().unwrap()))
        .collect();
    let ranges: Vec<_> = flows
        .iter()
        .map(|(nic, local)| (*nic, local.ip(), PORTS))
        .collect();
    steer.set_ranges(&ranges).unwrap();
    for (nic, local) in flows {
        steer.insert_flow(nic, local, PortState::Flow).unwrap();
    }
}

/// A UDP datagram to `local` behind these VLAN tags.
fn datagram(local: &str, tags: &[u16], payload: &[u8]) -> Vec<u8> {
    let local: SocketAddr = local.parse().unwrap();
    let udp_len = u16::try_from(8 + payload.len()).unwrap();
    let mut packet = vec![2; 12];
    for tag in tags {
        packet.extend(tag.to_be_bytes());
        packet.extend([0, 100]);
    }
    match local.ip() {
        IpAddr::V4(address) => {
            packet.extend([0x08, 0x00, 0x45, 0]);
            packet.extend((20 + udp_len).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 99]);
            packet.extend(address.octets());
        }
        IpAddr::V6(address) => {
            packet.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            packet.extend(udp_len.to_be_bytes());
            packet.extend([17, 64]);
            packet.extend([9; 16]);
            packet.extend(address.octets());
        }
    }
    packet.extend(5_000_u16.to_be_bytes());
    packet.extend(local.port().to_be_bytes());
    packet.extend(udp_len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

fn with(mut packet: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    packet[at] = value;
    packet
}

/// Whether an RTP packet from here to a port of the gateway is answered with port unreachable.
fn is_refused(port: u16) -> bool {
    let socket = UdpSocket::bind("192.0.2.2:0").unwrap();
    socket.connect(("192.0.2.1", port)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    socket.send(&RTP).unwrap();
    match socket.recv(&mut [0; 16]).unwrap_err().kind() {
        ErrorKind::ConnectionRefused => true,
        ErrorKind::WouldBlock => false,
        other => panic!("{other}"),
    }
}

/// Runs `work` in a thread that is in the network namespace of another thread.
fn in_namespace_of<T: Send>(thread: nix::unistd::Pid, work: impl FnOnce() -> T + Send) -> T {
    let namespace = fs::File::open(format!("/proc/{thread}/ns/net")).unwrap();
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        worker.join().unwrap()
    })
}

fn veth(one: &str, other: &str) {
    ip(&format!("link add name {one} type veth peer name {other}"));
    for end in [one, other] {
        // Or else the kernel says hello to IPv6 routers, which is counted.
        ip(&format!("link set dev {end} addrgenmode none"));
        ip(&format!("link set dev {end} up"));
    }
}

/// Runs `ip` in the namespace of this thread.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("install iproute2");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Which file the pinned link of `a` is: a new link has a new one.
fn link_of(pin: &Path) -> u64 {
    fs::metadata(pin.join("v1/link-a")).unwrap().ino()
}

/// The number of the program on a NIC, as `ip` sees it.
fn program_on(nic: &str) -> Option<u32> {
    let shown = ip(&format!("link show dev {nic}"));
    let (_, id) = shown.split_once("prog/xdp id ")?;
    id.split_whitespace().next()?.parse().ok()
}

fn config(nic: &str) -> SocketConfig<'_> {
    SocketConfig {
        nic,
        ifindex: if_nametoindex(nic).unwrap(),
        queue: 0,
        receive: 64,
        fill: 128,
        transmit: 64,
        completion: 64,
        mode: BindMode::Copy,
    }
}

/// Media addresses, media ports and flows.
fn counts(pin: &Path) -> (u32, u32, u32) {
    let status = status(pin).unwrap();
    (status.addresses, status.ports, status.flows)
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    // No test fails because the machine is slow.
    let deadline = Instant::now() + Duration::from_secs(90);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}
