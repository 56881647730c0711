// SPDX-License-Identifier: Apache-2.0 OR MIT

//! One end of all calls: sends its half of their packets on time and checks the other half.

use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::time::TimeSpec;
use sallyport_srtp::header::is_rtcp;
use sallyport_srtp::{ContextSets, Kind, SetId};

use crate::load::burst::{Burst, Crypto};
use crate::load::metronome::Metronome;
use crate::load::packet::{Stamp, Stream, nanoseconds, now};
use crate::load::seen::Seen;
use crate::load::{Call, Direction, Plan, Sockets, Tallies, Tally};

/// One end of all calls. The end that sends [`Direction::ToCore`] is the user equipment, which
/// speaks SRTP; the other is the core network, which speaks RTP.
pub struct Peer {
    sends: Direction,
    plan: Plan,
    talks: Vec<Talk>,
    wires: Vec<Wire>,
    contexts: ContextSets,
    epoll: Epoll,
}

impl Peer {
    /// An end without calls.
    pub fn new(sends: Direction, plan: Plan) -> io::Result<Self> {
        Ok(Self {
            sends,
            plan,
            talks: Vec::new(),
            wires: Vec::new(),
            contexts: ContextSets::new(),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        })
    }

    /// Adds a call whose sockets are connected.
    pub fn add(&mut self, call: &Call, sockets: Sockets, tallies: &Tallies) -> io::Result<()> {
        let receives = self.sends.reverse();
        let contexts = (self.sends == Direction::ToCore).then(|| Contexts {
            protect: self.contexts.insert(call.sender(self.sends)),
            unprotect: self.contexts.insert(call.receiver(receives)),
        });
        let rtp = self.wire(sockets.rtp, sockets.rtcp.is_some().then_some(Kind::Rtp))?;
        let rtcp = match sockets.rtcp {
            Some(socket) => self.wire(socket, Some(Kind::Rtcp))?,
            None => rtp,
        };
        self.talks.push(Talk {
            wires: [rtp, rtcp],
            contexts,
            outgoing: call.stream(self.sends),
            sent: tallies.of(call.suite, self.sends),
            incoming: call.stream(receives),
            received: tallies.of(call.suite, receives),
            seen: [
                Seen::new(self.plan.packets()),
                Seen::new(self.plan.reports()),
            ],
        });
        Ok(())
    }

    /// Sends from `start` on and receives until `stop` is set.
    ///
    /// # Panics
    ///
    /// Never: the kernel gives back what was given to it.
    pub fn run(mut self, start: Instant, stop: &AtomicBool) -> io::Result<()> {
        let Plan { calls, pps, .. } = self.plan;
        let interval = Duration::from_secs(1);
        let mut rtp = Metronome::new(start, interval / pps.max(1), calls, self.plan.packets());
        // Reports go a little after the second's first packets, not with them.
        let reports_start = start + interval / 128;
        let mut rtcp = Metronome::new(reports_start, interval, calls, self.plan.reports());
        let mut burst = Burst::new();
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut events = [EpollEvent::empty(); 64];
        while !stop.load(Ordering::Relaxed) {
            self.send_due(&mut burst, &mut rtp, Kind::Rtp);
            self.send_due(&mut burst, &mut rtcp, Kind::Rtcp);
            self.sleep_until([rtp.next(), rtcp.next()].into_iter().flatten().min())?;
            let ready = match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
                Err(Errno::EINTR) => 0,
                ready => ready?,
            };
            for event in &events[..ready] {
                let wire = usize::try_from(event.data()).expect("a place in a list was put there");
                self.receive(wire, &mut burst, &mut control)?;
            }
            self.check(&mut burst);
        }
        Ok(())
    }

    /// Takes a socket into use and returns its place.
    fn wire(&mut self, socket: UdpSocket, carries: Option<Kind>) -> io::Result<usize> {
        let place = self.wires.len();
        self.epoll
            .add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, place as u64))?;
        self.wires.push(Wire {
            socket,
            talk: self.talks.len(),
            carries,
        });
        Ok(place)
    }

    /// Sends every packet whose time has come.
    fn send_due(&mut self, burst: &mut Burst, metronome: &mut Metronome, kind: Kind) {
        let now = Instant::now();
        loop {
            while let Some(frame) = burst.vacant()
                && let Some((talk, number)) = metronome.due(now)
            {
                frame.talk = talk;
                frame.kind = kind;
                frame.len = self.talks[talk]
                    .outgoing
                    .write(kind, Stamp::now(number), frame.room());
                burst.take();
            }
            if burst.is_empty() {
                return;
            }
            let set = |talk: usize| Some(self.talks[talk].contexts.as_ref()?.protect);
            burst.apply(Crypto::Protect, &mut self.contexts, set);
            for frame in burst.frames() {
                let talk = &self.talks[frame.talk];
                let socket = &self.wires[talk.wires[kind as usize]].socket;
                let tally = &talk.sent[kind as usize];
                if frame.is_good && send(socket, frame.packet()) {
                    tally.count_sent();
                } else {
                    tally.count_unsent();
                }
            }
            burst.clear();
        }
    }

    /// Sleeps until a packet arrives or is due, but never so long that `stop` goes unnoticed.
    fn sleep_until(&self, next: Option<Instant>) -> io::Result<()> {
        let longest = Duration::from_millis(20);
        let sleep = next.map_or(longest, |next| {
            next.saturating_duration_since(Instant::now()).min(longest)
        });
        // Unlike epoll_wait(2), ppoll(2) can sleep for less than a millisecond.
        match ppoll(
            &mut [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)],
            Some(TimeSpec::from_duration(sleep)),
            None,
        ) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes everything that waits at one socket.
    fn receive(&mut self, wire: usize, burst: &mut Burst, control: &mut [u8]) -> io::Result<()> {
        loop {
            if burst.is_full() {
                self.check(burst);
            }
            let Some(frame) = burst.vacant() else {
                continue;
            };
            let Wire {
                socket,
                talk,
                carries,
            } = &self.wires[wire];
            let mut buffers = [IoSliceMut::new(frame.room())];
            let (len, arrived) = match recvmsg::<()>(
                socket.as_raw_fd(),
                &mut buffers,
                Some(control),
                MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(message) => (message.bytes, time_of(message.cmsgs()?)),
                Err(Errno::EAGAIN) => return Ok(()),
                // The kernel's memory of an ICMP error; the packet that caused it is missing.
                Err(Errno::ECONNREFUSED | Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            frame.len = len;
            frame.talk = *talk;
            frame.arrived = arrived;
            frame.kind = carries.unwrap_or_else(|| {
                if is_rtcp(frame.packet()) {
                    Kind::Rtcp
                } else {
                    Kind::Rtp
                }
            });
            burst.take();
        }
    }

    /// Compares every packet of the burst with what the other end sends.
    fn check(&mut self, burst: &mut Burst) {
        let set = |talk: usize| Some(self.talks[talk].contexts.as_ref()?.unprotect);
        burst.apply(Crypto::Unprotect, &mut self.contexts, set);
        for frame in burst.frames() {
            let Talk {
                incoming,
                received,
                seen,
                ..
            } = &mut self.talks[frame.talk];
            let tally = &received[frame.kind as usize];
            let stamp = incoming
                .read(frame.kind, frame.packet())
                .filter(|_| frame.is_good);
            let Some(stamp) = stamp else {
                tally.count_corrupt();
                continue;
            };
            match seen[frame.kind as usize].add(stamp.number) {
                Some(true) => tally.count_intact(frame.arrived.saturating_sub(stamp.sent)),
                Some(false) => tally.count_duplicate(),
                None => tally.count_corrupt(),
            }
        }
        burst.clear();
    }
}

/// One end of one call. Pairs are RTP first, RTCP second.
struct Talk {
    /// The places of the sockets to send by.
    wires: [usize; 2],
    /// `None` where RTP is plain.
    contexts: Option<Contexts>,
    outgoing: Stream,
    sent: [Arc<Tally>; 2],
    incoming: Stream,
    received: [Arc<Tally>; 2],
    seen: [Seen; 2],
}

struct Contexts {
    protect: SetId,
    unprotect: SetId,
}

/// One socket.
struct Wire {
    socket: UdpSocket,
    /// The place of its conversation.
    talk: usize,
    /// `None` for both.
    carries: Option<Kind>,
}

/// Sends a packet; false if the kernel has no room.
fn send(socket: &UdpSocket, packet: &[u8]) -> bool {
    // An ICMP error that an earlier packet caused is reported once, instead of sending.
    (0..2).any(|_| socket.send(packet).is_ok())
}

/// The kernel's time of arrival, in nanoseconds since 1970.
fn time_of(mut messages: impl Iterator<Item = ControlMessageOwned>) -> u64 {
    let kernel_time = messages.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(time) => Some(nanoseconds(Duration::from(time))),
        _ => None,
    });
    kernel_time.unwrap_or_else(now)
}
