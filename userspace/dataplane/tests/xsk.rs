// SPDX-License-Identifier: Apache-2.0 OR MIT

//! AF_XDP sockets on real interfaces: veth pairs in a network namespace of each test's own.
//!
//! A namespace has no name: it belongs to the thread of its test and goes away with it. Needs root
//! and `ip`; without, the tests say `SKIPPED`, or fail if `SALLYPORT_REQUIRE_ALL=1`.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "a test, helpers included, may end where it fails"
)]

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use sallyport_dataplane::xdp::{AttachMode, NicId, Steer, unload};
use sallyport_dataplane::xsk::{
    BindMode, FRAME_HEADROOM, Frame, FramePool, Outstanding, Received, Socket, SocketConfig, Umem,
    XskError, XskStatistics,
};
use sallyport_ebpf::Verdict;
use sallyport_ebpf::layout::PortState;

/// Where our packets go. No interface has this address, so the kernel takes no notice of them.
const TO: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 40_000);

/// Where the RTP sequence number, used as the packet's number, is: after Ethernet, IPv4 and UDP.
const NUMBER: usize = 14 + 20 + 8 + 2;

#[test]
fn ten_thousand_frames_arrive_in_order_and_every_frame_comes_back() {
    in_namespace(|| {
        veth("a", "b");
        let peer = packet_socket();
        let (mut umem, mut pool) = Umem::allocate(512).unwrap();
        let mut socket = Socket::open(&mut umem, &mut pool, &config("a", 0)).unwrap();
        let mut arrived = 0;
        let mut sent = 0;
        while sent < 10_000 {
            for _ in 0..64.min(pool.len()) {
                let (frame, len) = packet(&mut pool, sent).unwrap();
                socket.transmit(frame, FRAME_HEADROOM, len).unwrap();
                sent += 1;
            }
            socket.flush().unwrap();
            socket.reclaim(&mut pool);
            assert_complete(&umem, &pool, &[&socket]);
            arrived += drain(&peer, arrived);
        }
        settle(&mut socket, &mut pool);
        arrived += drain(&peer, arrived);
        assert_eq!(arrived, sent);
        assert_eq!(
            socket.outstanding(),
            Outstanding {
                receive: 128,
                transmit: 0
            }
        );
        assert_complete(&umem, &pool, &[&socket]);
        let counted = socket.statistics().unwrap();
        let expected = XskStatistics {
            tx_ring_empty_descs: counted.tx_ring_empty_descs,
            ..XskStatistics::default()
        };
        assert_eq!(counted, expected);
    });
}

#[test]
fn packets_that_xdp_redirects_leave_in_their_frame_on_another_nic() {
    for mode in [AttachMode::Native, AttachMode::Generic] {
        in_namespace(|| {
            veth("a0", "b0");
            veth("a1", "b1");
            let peer = packet_socket();
            let (mut source_umem, mut source_pool) = Umem::allocate(512).unwrap();
            let mut source =
                Socket::open(&mut source_umem, &mut source_pool, &config("b0", 0)).unwrap();
            let (mut umem, mut pool) = Umem::allocate(512).unwrap();
            let mut first = Socket::open(&mut umem, &mut pool, &config("a0", 0)).unwrap();
            let mut second = Socket::open(&mut umem, &mut pool, &config("a1", 0)).unwrap();
            let steering = Steering::to(&first, "a0", mode);

            let (mut sent, mut received, mut arrived) = (0, 0, 0);
            while sent < 10_000 {
                for _ in 0..32 {
                    let (frame, len) = packet(&mut source_pool, sent).unwrap();
                    source.transmit(frame, FRAME_HEADROOM, len).unwrap();
                    sent += 1;
                }
                source.flush().unwrap();
                settle(&mut source, &mut source_pool);
                while received < sent {
                    assert!(
                        is_readable(&first, PATIENCE),
                        "{received} of {sent}: {:?}",
                        first.statistics()
                    );
                    first.receive(64, |packet| {
                        let Received { frame, start, len } = packet;
                        if number(&frame.bytes()[start..][..len]) != Some(received) {
                            return pool.give(frame);
                        }
                        assert_eq!(start, FRAME_HEADROOM);
                        received += 1;
                        second.transmit(frame, start, len).unwrap();
                    });
                    second.flush().unwrap();
                    second.reclaim(&mut pool);
                    first.refill(&mut pool);
                    assert_complete(&umem, &pool, &[&first, &second]);
                }
                arrived += drain(&peer, arrived);
            }
            settle(&mut second, &mut pool);
            arrived += drain(&peer, arrived);
            assert_eq!((sent, received, arrived), (10_016, 10_016, 10_016));
            assert_eq!(steering.redirected(), 10_016);
            assert_complete(&umem, &pool, &[&first, &second]);
        });
    }
}

#[test]
fn a_full_receive_ring_drops_and_counts_and_goes_on() {
    in_namespace(|| {
        veth("a", "b");
        let (mut source_umem, mut source_pool) = Umem::allocate(512).unwrap();
        let mut source = Socket::open(&mut source_umem, &mut source_pool, &config("b", 0)).unwrap();
        let (mut umem, mut pool) = Umem::allocate(512).unwrap();
        let mut socket = Socket::open(&mut umem, &mut pool, &config("a", 0)).unwrap();
        let steering = Steering::to(&socket, "a", AttachMode::Native);
        for round in 1..=3 {
            // The receive ring holds 64 of these 100.
            for number in 0..100 {
                let (frame, len) = packet(&mut source_pool, number).unwrap();
                source.transmit(frame, FRAME_HEADROOM, len).unwrap();
            }
            source.flush().unwrap();
            settle(&mut source, &mut source_pool);
            wait_until(|| steering.redirected() == 100 * round);
            let mut next = 0;
            let mut total = 0;
            while is_readable(&socket, Duration::from_millis(200)) {
                total += socket.receive(7, |Received { frame, start, len }| {
                    assert_eq!(number(&frame.bytes()[start..][..len]), Some(next));
                    next += 1;
                    pool.give(frame);
                });
            }
            assert_eq!((total, next), (64, 64));
            assert_eq!(socket.statistics().unwrap().rx_ring_full, 36 * round);
            assert_eq!(socket.refill(&mut pool), 64);
            assert_complete(&umem, &pool, &[&socket]);
        }
    });
}

#[test]
fn an_empty_fill_ring_drops_and_counts_and_goes_on() {
    in_namespace(|| {
        veth("a", "b");
        let (mut source_umem, mut source_pool) = Umem::allocate(512).unwrap();
        let mut source = Socket::open(&mut source_umem, &mut source_pool, &config("b", 0)).unwrap();
        let (mut umem, mut pool) = Umem::allocate(32).unwrap();
        let mut socket = Socket::open(&mut umem, &mut pool, &config("a", 0)).unwrap();
        let steering = Steering::to(&socket, "a", AttachMode::Native);
        for round in 1..=3 {
            for number in 0..40 {
                let (frame, len) = packet(&mut source_pool, number).unwrap();
                source.transmit(frame, FRAME_HEADROOM, len).unwrap();
            }
            source.flush().unwrap();
            settle(&mut source, &mut source_pool);
            wait_until(|| steering.redirected() == 40 * round);
            assert_eq!(
                socket.receive(usize::MAX, |packet| pool.give(packet.frame)),
                32
            );
            assert!(socket.statistics().unwrap().rx_fill_ring_empty_descs >= round);
            assert_eq!(socket.outstanding(), Outstanding::default());
            assert_eq!(socket.refill(&mut pool), 32);
            assert_complete(&umem, &pool, &[&socket]);
        }
    });
}

#[test]
fn two_nics_share_one_umem() {
    in_namespace(|| {
        veth("a0", "b0");
        veth("a1", "b1");
        let peer = packet_socket();
        let (mut umem, mut pool) = Umem::allocate(512).unwrap();
        let mut first = Socket::open(&mut umem, &mut pool, &config("a0", 0)).unwrap();
        let mut second = Socket::open(&mut umem, &mut pool, &config("a1", 0)).unwrap();
        for round in 0..50 {
            for number in 0..32 {
                let (frame, len) = packet(&mut pool, round * 32 + number).unwrap();
                let socket = if number % 3 == 0 {
                    &mut first
                } else {
                    &mut second
                };
                socket.transmit(frame, FRAME_HEADROOM, len).unwrap();
            }
            assert_complete(&umem, &pool, &[&first, &second]);
            for socket in [&mut first, &mut second] {
                socket.flush().unwrap();
                settle(socket, &mut pool);
            }
        }
        assert_eq!(pool.len(), 512 - 2 * 128);
        assert_eq!(drain_unordered(&peer), 50 * 32);
    });
}

#[test]
fn a_umem_outlives_its_first_socket() {
    in_namespace(|| {
        veth("a0", "b0");
        veth("a1", "b1");
        let (mut umem, mut pool) = Umem::allocate(1024).unwrap();
        let first = Socket::open(&mut umem, &mut pool, &config("a0", 0)).unwrap();
        let second = Socket::open(&mut umem, &mut pool, &config("a1", 0)).unwrap();
        drop(first);
        let again = Socket::open(&mut umem, &mut pool, &config("a0", 0)).unwrap();
        drop((second, again));
        let mut last = Socket::open(&mut umem, &mut pool, &config("a1", 0)).unwrap();
        let (frame, len) = packet(&mut pool, 0).unwrap();
        last.transmit(frame, FRAME_HEADROOM, len).unwrap();
        last.flush().unwrap();
        settle(&mut last, &mut pool);
        assert_eq!(pool.len(), 1024 - 4 * 128);
    });
}

#[test]
fn a_queue_opens_again_right_after_it_was_closed() {
    in_namespace(|| {
        veth("a", "b");
        for _ in 0..20 {
            let (mut umem, mut pool) = Umem::allocate(128).unwrap();
            let socket = Socket::open(&mut umem, &mut pool, &config("a", 0)).unwrap();
            assert_complete(&umem, &pool, &[&socket]);
        }
    });
}

#[test]
fn a_queue_in_use_is_refused_after_some_patience() {
    in_namespace(|| {
        veth("a", "b");
        let (mut theirs, mut their_pool) = Umem::allocate(128).unwrap();
        let _socket = Socket::open(&mut theirs, &mut their_pool, &config("a", 0)).unwrap();
        let (mut umem, mut pool) = Umem::allocate(128).unwrap();
        let start = Instant::now();
        let error = Socket::open(&mut umem, &mut pool, &config("a", 0)).unwrap_err();
        assert!(start.elapsed() >= Duration::from_secs(1));
        assert!(
            matches!(
                error,
                XskError::Bind {
                    errno: Errno::EBUSY,
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .starts_with("bind a queue 0: queue in use; "),
            "{error}"
        );
        assert_eq!(pool.len(), 128);
    });
}

#[test]
fn a_full_transmit_ring_gives_the_frame_back() {
    in_namespace(|| {
        veth("a", "b");
        let (mut umem, mut pool) = Umem::allocate(512).unwrap();
        let small = SocketConfig {
            transmit: 64,
            ..config("a", 0)
        };
        let mut socket = Socket::open(&mut umem, &mut pool, &small).unwrap();
        for number in 0..64 {
            let (frame, len) = packet(&mut pool, number).unwrap();
            socket.transmit(frame, FRAME_HEADROOM, len).unwrap();
        }
        let (frame, len) = packet(&mut pool, 64).unwrap();
        let frame = socket.transmit(frame, FRAME_HEADROOM, len).unwrap_err();
        assert_eq!(&frame.bytes()[FRAME_HEADROOM..][..len], content(64));
        socket.flush().unwrap();
        socket.transmit(frame, FRAME_HEADROOM, len).unwrap();
        socket.flush().unwrap();
        settle(&mut socket, &mut pool);
        assert_complete(&umem, &pool, &[&socket]);
        assert_eq!(pool.len(), 512 - 128);
    });
}

#[test]
#[cfg(not(debug_assertions))]
fn bytes_outside_the_frame_are_not_sent() {
    in_namespace(|| {
        veth("a", "b");
        let (mut umem, mut pool) = Umem::allocate(256).unwrap();
        let mut socket = Socket::open(&mut umem, &mut pool, &config("a", 0)).unwrap();
        for (start, len) in [(0, 0), (0, 2049), (2048, 1), (2000, 49), (usize::MAX, 2)] {
            let frame = pool.take().unwrap();
            pool.give(socket.transmit(frame, start, len).unwrap_err());
        }
        assert_eq!(socket.outstanding().transmit, 0);
        assert_complete(&umem, &pool, &[&socket]);
    });
}

#[test]
fn a_link_that_is_down_loses_no_frame() {
    in_namespace(|| {
        veth("a", "b");
        let (mut umem, mut pool) = Umem::allocate(512).unwrap();
        let mut socket = Socket::open(&mut umem, &mut pool, &config("a", 0)).unwrap();
        let send_64 = |socket: &mut Socket, pool: &mut FramePool| {
            for number in 0..64 {
                let (frame, len) = packet(pool, number).unwrap();
                socket.transmit(frame, FRAME_HEADROOM, len).unwrap();
            }
            socket.flush().unwrap();
        };

        // Down ourselves: the packets wait, and are counted.
        ip("link set dev a down");
        send_64(&mut socket, &mut pool);
        socket.reclaim(&mut pool);
        assert_eq!(socket.outstanding().transmit, 64);
        assert_eq!(socket.statistics().unwrap().link_down, 1);
        ip("link set dev a up");
        socket.flush().unwrap();
        settle(&mut socket, &mut pool);

        // Without carrier: the kernel drops them one by one, in one call of flush.
        ip("link set dev b down");
        send_64(&mut socket, &mut pool);
        socket.reclaim(&mut pool);
        assert_eq!(socket.outstanding().transmit, 0);
        assert_complete(&umem, &pool, &[&socket]);
    });
}

#[test]
fn a_nic_that_vanishes_is_an_error() {
    in_namespace(|| {
        veth("a", "b");
        let (mut umem, mut pool) = Umem::allocate(512).unwrap();
        let mut socket = Socket::open(&mut umem, &mut pool, &config("a", 0)).unwrap();
        ip("link delete dev a");
        let (frame, len) = packet(&mut pool, 0).unwrap();
        socket.transmit(frame, FRAME_HEADROOM, len).unwrap();
        let error = socket.flush().unwrap_err();
        assert_eq!(
            error.to_string(),
            "send on a queue 0: the NIC is gone; bring it back and restart"
        );
    });
}

#[test]
fn a_nic_without_zero_copy_says_so_and_then_copies() {
    in_namespace(|| {
        veth("a", "b");
        let (mut umem, mut pool) = Umem::allocate(512).unwrap();
        let wish = SocketConfig {
            mode: BindMode::ZeroCopy,
            ..config("a", 0)
        };
        let error = Socket::open(&mut umem, &mut pool, &wish).unwrap_err();
        assert_eq!(
            error.to_string(),
            "bind a queue 0: zero copy unsupported by driver veth; drop --require-zero-copy"
        );
        assert!(error.is_zero_copy_refused());
        assert_eq!(pool.len(), 512);
        let socket = Socket::open(&mut umem, &mut pool, &config("a", 0)).unwrap();
        assert!(!socket.zero_copy());
        assert_complete(&umem, &pool, &[&socket]);
    });
}

#[test]
fn what_does_not_exist_is_named() {
    in_namespace(|| {
        veth("a", "b");
        let (mut umem, mut pool) = Umem::allocate(512).unwrap();
        let table = [
            (
                config("a", 7),
                "bind a queue 7: driver veth refuses it; a needs a queue 7",
            ),
            (
                SocketConfig {
                    ifindex: 9999,
                    ..config("a", 0)
                },
                "bind a queue 0: no such NIC",
            ),
            (
                SocketConfig {
                    transmit: 100,
                    ..config("a", 0)
                },
                "make transmit ring of 100 for a queue 0",
            ),
            (
                SocketConfig {
                    fill: 0,
                    ..config("a", 0)
                },
                "make fill ring of 0 for a queue 0",
            ),
        ];
        for (config, text) in &table {
            let error = Socket::open(&mut umem, &mut pool, config)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(text), "{error}");
            assert_eq!(pool.len(), 512);
        }
        // And once more beside a socket that exists.
        let socket = Socket::open(&mut umem, &mut pool, &config("b", 0)).unwrap();
        for (config, text) in &table {
            let error = Socket::open(&mut umem, &mut pool, config)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(text), "{error}");
            assert_complete(&umem, &pool, &[&socket]);
        }
    });
}

#[test]
fn too_little_locked_memory_names_the_limit() {
    in_namespace(|| {
        veth("a", "b");
        let (mut umem, mut pool) = Umem::allocate(512).unwrap();
        // The limit is the process's, but it does not bind the other tests, which have the
        // capability. That is this thread's alone.
        let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap();
        setrlimit(Resource::RLIMIT_MEMLOCK, 65_536, hard).unwrap();
        caps::drop(None, CapSet::Effective, Capability::CAP_IPC_LOCK).unwrap();
        let result = Socket::open(&mut umem, &mut pool, &config("a", 0));
        setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard).unwrap();
        assert_eq!(
            result.unwrap_err().to_string(),
            "register UMEM for a queue 0: locked memory limit RLIMIT_MEMLOCK is 65536 bytes, \
             UMEM needs 1048576: raise LimitMEMLOCK or give CAP_IPC_LOCK"
        );
        assert_eq!(pool.len(), 512);
    });
}

#[test]
fn a_process_without_the_capability_is_told_which() {
    in_namespace(|| {
        veth("a", "b");
        caps::drop(None, CapSet::Effective, Capability::CAP_NET_RAW).unwrap();
        let (mut umem, mut pool) = Umem::allocate(512).unwrap();
        assert_eq!(
            Socket::open(&mut umem, &mut pool, &config("a", 0))
                .unwrap_err()
                .to_string(),
            "open socket for a queue 0: not permitted; give the process CAP_NET_RAW"
        );
        assert_eq!(pool.len(), 512);
    });
}

/// Runs `test` on a thread with a network namespace of its own.
fn in_namespace(test: impl FnOnce() + Send) {
    let required = std::env::var_os("SALLYPORT_REQUIRE_ALL").is_some_and(|value| value == "1");
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
                assert!(
                    !required,
                    "SALLYPORT_REQUIRE_ALL=1, but no network namespace: {errno}"
                );
                // Not by eprintln!, which the test harness swallows when a test passes.
                let _ = writeln!(
                    std::io::stderr(),
                    "SKIPPED: AF_XDP sockets need a network namespace: {errno}; run as root"
                );
                return;
            }
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs `ip` in the namespace of this thread.
fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("install iproute2");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A pair of interfaces that are up, and silent as far as the kernel lets them.
fn veth(one: &str, other: &str) {
    ip(&format!("link add name {one} type veth peer name {other}"));
    for nic in [one, other] {
        ip(&format!("link set dev {nic} addrgenmode none"));
        ip(&format!("link set dev {nic} up"));
    }
}

fn config(nic: &str, queue: u32) -> SocketConfig<'_> {
    SocketConfig {
        nic,
        ifindex: if_nametoindex(nic).unwrap(),
        queue,
        receive: 64,
        fill: 128,
        transmit: 128,
        completion: 128,
        mode: BindMode::Copy,
    }
}

/// A frame of ours, 60 to 1059 bytes behind the headroom, and its length.
fn packet(pool: &mut FramePool, number: u16) -> Option<(Frame, usize)> {
    let mut frame = pool.take()?;
    let bytes = content(number);
    frame.bytes_mut()[FRAME_HEADROOM..][..bytes.len()].copy_from_slice(&bytes);
    Some((frame, bytes.len()))
}

/// RTP over UDP over IPv4 over Ethernet, whose length and payload follow from its number.
fn content(number: u16) -> Vec<u8> {
    let payload = 6 + number % 1000;
    let mut bytes = vec![
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x00,
    ];
    let ip_len = (20 + 8 + 12 + payload).to_be_bytes();
    bytes.extend([0x45, 0, ip_len[0], ip_len[1], 0, 0, 0x40, 0, 64, 17, 0, 0]);
    bytes.extend([192, 0, 2, 2]);
    bytes.extend(TO.ip().octets());
    bytes.extend(40_002_u16.to_be_bytes());
    bytes.extend(TO.port().to_be_bytes());
    bytes.extend((8 + 12 + payload).to_be_bytes());
    bytes.extend([0, 0, 0x80, 0]);
    bytes.extend(number.to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend((0..payload).map(|index| (index ^ number).to_le_bytes()[0]));
    bytes
}

/// A packet socket that sees everything in this namespace.
fn packet_socket() -> OwnedFd {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_NONBLOCK,
        SockProtocol::EthAll,
    )
    .unwrap();
    setsockopt(&socket, sockopt::RcvBufForce, &(32 << 20)).unwrap();
    socket
}

/// The numbers of our packets that wait in a packet socket, whose content is checked.
fn numbers(peer: &OwnedFd) -> Vec<u16> {
    let mut numbers = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match recv(peer.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(len) => {
                if let Some(number) = number(&buffer[..len]) {
                    numbers.push(number);
                }
            }
            Err(Errno::EAGAIN) => return numbers,
            Err(errno) => panic!("receive from the packet socket: {errno}"),
        }
    }
}

/// The number of a packet of ours; `None` for others, such as the kernel's own chatter.
fn number(bytes: &[u8]) -> Option<u16> {
    if bytes.get(30..34)? != TO.ip().octets() {
        return None;
    }
    let number = u16::from_be_bytes(bytes[NUMBER..][..2].try_into().unwrap());
    assert_eq!(bytes, content(number), "packet {number}");
    Some(number)
}

/// How many packets wait, which must be `next`, `next` + 1 and so on.
fn drain(peer: &OwnedFd, next: u16) -> u16 {
    let numbers = numbers(peer);
    for (number, expected) in numbers.iter().zip(next..) {
        assert_eq!(*number, expected);
    }
    u16::try_from(numbers.len()).unwrap()
}

fn drain_unordered(peer: &OwnedFd) -> usize {
    let mut numbers = numbers(peer);
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count, "a packet arrived twice");
    count
}

/// The XDP program, with a pin folder of its own that goes away with it.
struct Steering {
    steer: Steer,
    pin: PathBuf,
}

impl Steering {
    /// Steers our packets that arrive at `nic` to the socket of its first queue.
    fn to(socket: &Socket, nic: &str, mode: AttachMode) -> Self {
        let thread = nix::unistd::gettid();
        let pin = PathBuf::from(format!("/sys/fs/bpf/sallyport-test-xsk-{thread}"));
        let mut steer = Steer::load(&pin, &[nic]).unwrap();
        let id = NicId(0);
        steer
            .set_range(id, IpAddr::V4(*TO.ip()), TO.port()..=TO.port())
            .unwrap();
        steer.insert_flow(id, TO.into(), PortState::Flow).unwrap();
        steer.set_socket(id, 0, socket.as_fd()).unwrap();
        steer.attach(id, mode).unwrap();
        Self { steer, pin }
    }

    fn redirected(&self) -> u64 {
        self.steer.verdicts(NicId(0)).unwrap()[Verdict::Redirected as usize]
    }
}

impl Drop for Steering {
    fn drop(&mut self) {
        let _ = unload(&self.pin, None);
        let _ = std::fs::remove_dir_all(&self.pin);
    }
}

/// How long what has to happen is waited for: no test fails because the machine is slow.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until everything sent is completed.
fn settle(socket: &mut Socket, pool: &mut FramePool) {
    let start = Instant::now();
    while socket.outstanding().transmit > 0 {
        assert!(start.elapsed() < PATIENCE, "{socket:?} does not settle");
        socket.flush().unwrap();
        socket.reclaim(pool);
    }
}

/// Whether something to receive comes within this time.
fn is_readable(socket: &Socket, time: Duration) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(time).unwrap()).unwrap() > 0
}

fn wait_until(mut is_done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_done() {
        assert!(start.elapsed() < PATIENCE, "it does not happen");
        thread::yield_now();
    }
}

/// No frame is lost, none exists twice.
fn assert_complete(umem: &Umem, pool: &FramePool, sockets: &[&Socket]) {
    let outstanding = sockets.iter().map(|socket| socket.outstanding());
    let outstanding: u32 = outstanding
        .map(|frames| frames.receive + frames.transmit)
        .sum();
    assert_eq!(pool.len() + outstanding as usize, umem.frames() as usize);
}
