// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The XDP program and its maps, as user space holds them.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use aya::maps::{Array, MapData, MapError, PerCpuArray, PerCpuValues, XskMap};
use aya::programs::links::FdLink;
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp, loaded_programs};
use aya::util::{KernelVersion, nr_cpus};
use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};
use aya_log::EbpfLogger;
use caps::{CapSet, Capability};
use nix::net::if_::if_nametoindex;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use sallyport_ebpf::Verdict;
use sallyport_ebpf::layout::{
    FlowWord, MAX_NICS, NIC_NAME_LEN, PortState, RANGES_LEN, RANGES_PER_NIC, Range,
    WORDS_PER_RANGE, flow_index, range_index, socket_index, verdict_index,
};
use tracing::warn;

use super::attached::Attached;
use super::error::{chain, errno};
use super::pin::{FLOWS, NICS, PinFolder, RANGES, SOCKETS, VERDICTS};
use super::status::open;
use super::{AttachMode, NicId, XdpError};

/// The program as the build script made it.
static PROGRAM: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer"));

/// The oldest kernel that has all of: XDP links, AF_XDP sockets that share a UMEM between NICs.
const OLDEST_KERNEL: KernelVersion = KernelVersion::new(5, 10, 0);

/// From this kernel on, maps no longer count as locked memory.
const NO_MEMLOCK: KernelVersion = KernelVersion::new(5, 11, 0);

/// How many lines of the verifier's log are worth showing.
const VERIFIER_LOG_LINES: usize = 20;

/// The XDP program `steer`, loaded once for each NIC, and the maps that all share.
///
/// Dropping it changes nothing: maps and links are pinned, so the program goes on.
pub struct Steer {
    folder: PinFolder,
    nics: Vec<Nic>,
    ranges: Array<MapData, [u32; Range::WORDS]>,
    flows: Array<MapData, u64>,
    sockets: XskMap<MapData>,
    verdicts: PerCpuArray<MapData, u64>,
}

/// What the kernel did with a packet of [`Steer::test_run`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TestRunOutcome {
    /// The program's return value (`enum xdp_action`, include/uapi/linux/bpf.h).
    pub action: u32,
    /// How long one run took, on average.
    pub duration: Duration,
}

struct Nic {
    name: String,
    ebpf: Ebpf,
    /// Logs what the program has to say; only one built with the feature `trace` says anything.
    flush_log: Option<Box<dyn FnMut() + Send>>,
    mode: Option<AttachMode>,
}

impl Steer {
    /// Loads the program for each NIC; a NIC's place in the slice is its [`NicId`]. Maps that are
    /// pinned under `pin` already are used again with what is in them. What was attached stays
    /// attached as it is, but links of NICs that are not in the slice are removed.
    ///
    /// There is room for a flow on every port, so the number of flows needs no setting here.
    ///
    /// # Errors
    /// [`XdpError`].
    pub fn load(pin: &Path, nics: &[&str]) -> Result<Self, XdpError> {
        check_process()?;
        if nics.len() > MAX_NICS as usize {
            return Err(XdpError::TooManyNics);
        }
        for nic in nics {
            index_of(nic)?;
        }
        let folder = PinFolder::new(pin);
        folder.create()?;
        folder.check_maps()?;
        let nics = (0..)
            .zip(nics)
            .map(|(number, name)| Nic::load(&folder, number, name))
            .collect::<Result<Vec<_>, _>>()?;
        for linked in folder.linked_nics()? {
            if nics.iter().all(|nic| nic.name != linked) {
                folder.remove_link(&linked)?;
            }
        }
        let mut steer = Self {
            ranges: open(&folder, RANGES).map_err(failed(RANGES))?,
            flows: open(&folder, FLOWS).map_err(failed(FLOWS))?,
            sockets: open(&folder, SOCKETS).map_err(failed(SOCKETS))?,
            verdicts: open(&folder, VERDICTS).map_err(failed(VERDICTS))?,
            folder,
            nics,
        };
        steer.write_names()?;
        Ok(steer)
    }

    /// Attaches the program to a NIC, so that it sees every packet from now on. A program of ours
    /// that is attached in the same mode is replaced atomically; one in the other mode is detached
    /// first, and so is one whose NIC was deleted and made again.
    ///
    /// # Errors
    /// [`XdpError::NoNative`] when the driver refuses the native mode, [`XdpError::OtherProgram`]
    /// when somebody else's program is attached, and others.
    pub fn attach(&mut self, nic: NicId, mode: AttachMode) -> Result<(), XdpError> {
        let folder = self.folder.clone();
        let nic = self.nic(nic)?;
        let index = index_of(&nic.name)?;
        let attached = Attached::of(index).map_err(XdpError::Netlink)?;
        if let Some((link, program)) = folder.open_link(&nic.name)? {
            if attached.program(mode) == Some(program) {
                return nic.replace(link, mode);
            }
            drop(link);
            folder.remove_link(&nic.name)?;
        }
        nic.attach(index, mode, &folder)
    }

    /// Attaches on the highest rung of the ladder that the driver has: native, or else generic,
    /// which is said in the log because it is slow.
    ///
    /// # Errors
    /// [`XdpError`]; [`XdpError::NoNative`] only with `require_native`.
    pub fn attach_best(
        &mut self,
        nic: NicId,
        require_native: bool,
    ) -> Result<AttachMode, XdpError> {
        match self.attach(nic, AttachMode::Native) {
            Ok(()) => Ok(AttachMode::Native),
            Err(error @ XdpError::NoNative { .. }) if !require_native => {
                warn!(%error, "falling back to generic XDP, which is slow");
                self.attach(nic, AttachMode::Generic)?;
                Ok(AttachMode::Generic)
            }
            Err(error) => Err(error),
        }
    }

    /// How the program was attached to a NIC; `None` before [`Self::attach`].
    pub fn attach_mode(&self, nic: NicId) -> Option<AttachMode> {
        self.nics.get(usize::from(nic.0))?.mode
    }

    /// Gives the media of a queue to an AF_XDP socket, which must be bound to that queue. The
    /// kernel takes it out again when the socket is closed.
    ///
    /// # Errors
    /// [`XdpError::QueueTooHigh`], or what the kernel says.
    pub fn set_socket(
        &mut self,
        nic: NicId,
        queue: u32,
        socket: BorrowedFd<'_>,
    ) -> Result<(), XdpError> {
        let index = self.socket_index(nic, queue)?;
        self.sockets
            .set(index, socket.as_raw_fd(), 0)
            .map_err(failed(SOCKETS))
    }

    /// Lets the media of a queue be dropped again.
    ///
    /// # Errors
    /// [`XdpError::QueueTooHigh`], or what the kernel says.
    pub fn unset_socket(&mut self, nic: NicId, queue: u32) -> Result<(), XdpError> {
        let index = self.socket_index(nic, queue)?;
        ignore_missing(self.sockets.unset(index)).map_err(failed(SOCKETS))
    }

    /// Makes these ports of a local address media ports, and no others of it. When they were not
    /// just these before, the address has no flow any more.
    ///
    /// # Errors
    /// [`XdpError::TooManyAddresses`], or what the kernel says.
    pub fn set_range(
        &mut self,
        nic: NicId,
        address: IpAddr,
        ports: RangeInclusive<u16>,
    ) -> Result<(), XdpError> {
        self.check_nic(nic)?;
        let wanted = Range::new(address, *ports.start(), *ports.end());
        let (index, found) = match self.range_of(nic, address)? {
            Some(found) => found,
            None => self.free_range(nic)?,
        };
        if found == wanted {
            return Ok(());
        }
        self.clear_flows_of(index)?;
        self.write_range(index, wanted)
    }

    /// Makes the media ports of these local addresses media ports, and no others. At no time are
    /// ports that were and will be media ports left to the kernel, which would answer their media
    /// with ICMP errors.
    ///
    /// # Errors
    /// [`XdpError::TooManyAddresses`], or what the kernel says.
    pub fn set_ranges(
        &mut self,
        ranges: &[(NicId, IpAddr, RangeInclusive<u16>)],
    ) -> Result<(), XdpError> {
        for nic in (0..=u8::MAX).map(NicId).take(MAX_NICS as usize) {
            for place in 0..RANGES_PER_NIC {
                let index = range_index(nic.0.into(), place);
                let range = self.range(index)?;
                let wanted = ranges
                    .iter()
                    .any(|(n, a, _)| *n == nic && range.has_address(*a));
                if !range.is_end() && !wanted {
                    self.write_range(index, range.closed())?;
                }
            }
        }
        for (nic, address, ports) in ranges {
            self.set_range(*nic, *address, ports.clone())?;
        }
        Ok(())
    }

    /// Lets the media for a local address and port through; what else they get goes nowhere, or
    /// with [`PortState::KernelDemux`] STUN and DTLS go to the kernel's socket, if there is one.
    ///
    /// # Errors
    /// [`XdpError::NotInRange`], or what the kernel says.
    pub fn insert_flow(
        &mut self,
        nic: NicId,
        local: SocketAddr,
        state: PortState,
    ) -> Result<(), XdpError> {
        self.check_nic(nic)?;
        match self.range_of(nic, local.ip())? {
            Some((index, range)) if range.has_port(local.port()) => {
                self.set_state(index, local.port(), state)
            }
            _ => Err(XdpError::NotInRange { local }),
        }
    }

    /// Refuses the media for a local address and port again.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove_flow(&mut self, nic: NicId, local: SocketAddr) -> Result<(), XdpError> {
        match self.range_of(nic, local.ip())? {
            Some((index, _)) => self.set_state(index, local.port(), PortState::Unknown),
            None => Ok(()),
        }
    }

    /// Refuses all media.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn clear_flows(&mut self) -> Result<(), XdpError> {
        for index in 0..RANGES_LEN {
            if !self.range(index)?.is_end() {
                self.clear_flows_of(index)?;
            }
        }
        Ok(())
    }

    /// How many packets of a NIC got each verdict, in the order of [`Verdict::ALL`], summed over
    /// CPUs. They count from the first load on, over restarts of the process, so that what was
    /// dropped while no process was there is counted, too.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn verdicts(&self, nic: NicId) -> Result<[u64; Verdict::COUNT], XdpError> {
        self.check_nic(nic)?;
        read_verdicts(&self.verdicts, nic.0.into()).map_err(failed(VERDICTS))
    }

    /// Logs what the program has to say, if it was built with the feature `trace`.
    pub fn flush_logs(&mut self) {
        for flush_log in self
            .nics
            .iter_mut()
            .filter_map(|nic| nic.flush_log.as_mut())
        {
            flush_log();
        }
    }

    /// Runs the program of a NIC on a packet as if it had arrived on queue 0, `repeat` times
    /// (`BPF_PROG_TEST_RUN`). Verdicts are counted; the packet goes nowhere.
    ///
    /// # Errors
    /// What the kernel says; it takes no packets shorter than 14 bytes.
    pub fn test_run(
        &mut self,
        nic: NicId,
        packet: &[u8],
        repeat: u32,
    ) -> Result<TestRunOutcome, XdpError> {
        let options = TestRunOptions {
            data_in: Some(packet),
            repeat,
            ..Default::default()
        };
        let result = self.nic(nic)?.program()?.test_run(options);
        let result = result.map_err(|error| XdpError::Load {
            reason: chain(&error),
        })?;
        Ok(TestRunOutcome {
            action: result.return_value,
            duration: result.duration,
        })
    }

    fn nic(&mut self, nic: NicId) -> Result<&mut Nic, XdpError> {
        self.nics
            .get_mut(usize::from(nic.0))
            .ok_or(XdpError::UnknownNic(nic))
    }

    fn check_nic(&self, nic: NicId) -> Result<(), XdpError> {
        match self.nics.get(usize::from(nic.0)) {
            Some(_) => Ok(()),
            None => Err(XdpError::UnknownNic(nic)),
        }
    }

    fn socket_index(&self, nic: NicId, queue: u32) -> Result<u32, XdpError> {
        self.check_nic(nic)?;
        socket_index(nic.0.into(), queue).ok_or(XdpError::QueueTooHigh { queue })
    }

    fn range_of(&self, nic: NicId, address: IpAddr) -> Result<Option<(u32, Range)>, XdpError> {
        for place in 0..RANGES_PER_NIC {
            let index = range_index(nic.0.into(), place);
            let range = self.range(index)?;
            if range.has_address(address) {
                return Ok(Some((index, range)));
            }
        }
        Ok(None)
    }

    /// A place for another range of a NIC: behind the last one, or where one was closed.
    fn free_range(&mut self, nic: NicId) -> Result<(u32, Range), XdpError> {
        for place in 0..RANGES_PER_NIC {
            let index = range_index(nic.0.into(), place);
            let range = self.range(index)?;
            if range.is_end() || range.is_empty() {
                return Ok((index, range));
            }
        }
        Err(XdpError::TooManyAddresses {
            nic: self.nic(nic)?.name.clone(),
        })
    }

    fn range(&self, index: u32) -> Result<Range, XdpError> {
        self.ranges
            .get(&index, 0)
            .map(Range::from_words)
            .map_err(failed(RANGES))
    }

    fn write_range(&mut self, index: u32, range: Range) -> Result<(), XdpError> {
        self.ranges
            .set(index, range.to_words(), 0)
            .map_err(failed(RANGES))
    }

    fn set_state(&mut self, range: u32, port: u16, state: PortState) -> Result<(), XdpError> {
        let index = flow_index(range, port);
        let word = FlowWord(self.flows.get(&index, 0).map_err(failed(FLOWS))?);
        self.flows
            .set(index, word.with(port, state).0, 0)
            .map_err(failed(FLOWS))
    }

    fn clear_flows_of(&mut self, range: u32) -> Result<(), XdpError> {
        for index in flow_index(range, 0)..flow_index(range, 0) + WORDS_PER_RANGE {
            if self.flows.get(&index, 0).map_err(failed(FLOWS))? != 0 {
                self.flows.set(index, 0, 0).map_err(failed(FLOWS))?;
            }
        }
        Ok(())
    }

    /// Notes which NIC has which number. Counters of another NIC that had it start from zero.
    fn write_names(&mut self) -> Result<(), XdpError> {
        let mut names: Array<MapData, [u8; NIC_NAME_LEN]> =
            open(&self.folder, NICS).map_err(failed(NICS))?;
        for number in 0..MAX_NICS {
            let mut name = [0; NIC_NAME_LEN];
            if let Some(nic) = self.nics.get(number as usize) {
                // The kernel takes no longer names.
                name[..nic.name.len()].copy_from_slice(nic.name.as_bytes());
            }
            if names.get(&number, 0).map_err(failed(NICS))? != name {
                self.clear_verdicts(number)?;
                names.set(number, name, 0).map_err(failed(NICS))?;
            }
        }
        Ok(())
    }

    fn clear_verdicts(&mut self, nic: u32) -> Result<(), XdpError> {
        let cpus = nr_cpus().map_err(|(_, error)| failed(VERDICTS)(error.into()))?;
        for verdict in Verdict::ALL {
            let zeros = PerCpuValues::try_from(vec![0; cpus])
                .map_err(|error| failed(VERDICTS)(error.into()))?;
            let index = verdict_index(nic, verdict);
            self.verdicts
                .set(index, zeros, 0)
                .map_err(failed(VERDICTS))?;
        }
        Ok(())
    }
}

impl Nic {
    fn load(folder: &PinFolder, number: u32, name: &str) -> Result<Self, XdpError> {
        let mut ebpf = EbpfLoader::new()
            .default_map_pin_directory(folder.path())
            .override_global("NIC", &number, true)
            .load(PROGRAM)
            .map_err(|error| load_error(&error))?;
        let flush_log: Option<Box<dyn FnMut() + Send>> = match EbpfLogger::init(&mut ebpf) {
            Ok(mut logger) => Some(Box::new(move || logger.flush())),
            // Without the feature `trace` there is no log.
            Err(_) => None,
        };
        let mut nic = Self {
            name: name.to_owned(),
            ebpf,
            flush_log,
            mode: None,
        };
        nic.program()?
            .load()
            .map_err(|error| load_error(&error.into()))?;
        Ok(nic)
    }

    fn program(&mut self) -> Result<&mut Xdp, XdpError> {
        let missing = || XdpError::Load {
            reason: "the object has no XDP program steer".into(),
        };
        self.ebpf
            .program_mut("steer")
            .ok_or_else(missing)?
            .try_into()
            .map_err(|_| missing())
    }

    /// Puts the program in the place of the one that a link has attached.
    fn replace(&mut self, link: FdLink, mode: AttachMode) -> Result<(), XdpError> {
        let name = self.name.clone();
        let failed = |reason| XdpError::Attach {
            nic: name.clone(),
            mode,
            reason,
        };
        let link = XdpLink::try_from(link).map_err(|error| failed(chain(&error)))?;
        let program = self.program()?;
        let id = program
            .attach_to_link(link)
            .map_err(|error| failed(chain(&error)))?;
        // The pin keeps the link; were it kept here too, removing the pin would not detach it.
        drop(program.take_link(id));
        self.mode = Some(mode);
        Ok(())
    }

    /// Attaches the program with a new link, and pins that.
    fn attach(&mut self, index: u32, mode: AttachMode, folder: &PinFolder) -> Result<(), XdpError> {
        let name = self.name.clone();
        let failed = |reason| XdpError::Attach {
            nic: name.clone(),
            mode,
            reason,
        };
        let program = self.program()?;
        let id = match program.attach_to_if_index(index, mode.into()) {
            Ok(id) => id,
            Err(error) => return Err(attach_error(&name, index, mode, &error)),
        };
        let link = program
            .take_link(id)
            .map_err(|error| failed(chain(&error)))?;
        let path = folder.link(&name);
        FdLink::try_from(link)
            .map_err(|error| failed(chain(&error)))?
            .pin(&path)
            .map_err(|error| XdpError::Pin {
                path,
                error: io::Error::other(chain(&error)),
            })?;
        self.mode = Some(mode);
        Ok(())
    }
}

impl fmt::Debug for Steer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steer")
            .field("folder", &self.folder)
            .field("nics", &self.nics)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nic")
            .field("name", &self.name)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl From<AttachMode> for XdpMode {
    fn from(mode: AttachMode) -> Self {
        match mode {
            AttachMode::Native => Self::Driver,
            AttachMode::Generic => Self::Skb,
        }
    }
}

/// The counters of one NIC, summed over CPUs.
pub(super) fn read_verdicts(
    map: &PerCpuArray<MapData, u64>,
    nic: u32,
) -> Result<[u64; Verdict::COUNT], MapError> {
    let mut sums = [0; Verdict::COUNT];
    for (sum, verdict) in sums.iter_mut().zip(Verdict::ALL) {
        *sum = map.get(&verdict_index(nic, verdict), 0)?.iter().sum();
    }
    Ok(sums)
}

/// A name as it stands in the map of NICs.
pub(super) fn nic_name(bytes: &[u8; NIC_NAME_LEN]) -> String {
    String::from_utf8_lossy(bytes)
        .trim_end_matches('\0')
        .to_owned()
}

/// Whether this process, on this kernel, may do all that is needed.
fn check_process() -> Result<(), XdpError> {
    if PROGRAM.is_empty() {
        return Err(XdpError::NotBuilt);
    }
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    let all = has(Capability::CAP_SYS_ADMIN);
    for (name, there) in [
        ("CAP_BPF", all || has(Capability::CAP_BPF)),
        // Without, the verifier allows only programs that are slowed down against Spectre.
        ("CAP_PERFMON", all || has(Capability::CAP_PERFMON)),
        ("CAP_NET_ADMIN", has(Capability::CAP_NET_ADMIN)),
    ] {
        if !there {
            return Err(XdpError::Capability { name });
        }
    }
    let Ok(kernel) = KernelVersion::current() else {
        return Ok(());
    };
    if kernel < OLDEST_KERNEL {
        let release = nix::sys::utsname::uname().map(|uname| uname.release().to_owned());
        let found = release.unwrap_or_default().to_string_lossy().into_owned();
        return Err(XdpError::KernelTooOld { found });
    }
    if kernel < NO_MEMLOCK {
        // If it is not allowed, loading fails and says so.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    }
    Ok(())
}

fn index_of(nic: &str) -> Result<u32, XdpError> {
    if_nametoindex(nic).map_err(|_| XdpError::NicMissing {
        nic: nic.to_owned(),
    })
}

fn load_error(error: &EbpfError) -> XdpError {
    if let EbpfError::ProgramError(ProgramError::LoadError {
        io_error,
        verifier_log,
    }) = error
    {
        let log = verifier_log.to_string();
        if log.is_empty() {
            return XdpError::Load {
                reason: io_error.to_string(),
            };
        }
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.len().saturating_sub(VERIFIER_LOG_LINES);
        return XdpError::Verifier {
            log: lines[tail..].join("\n"),
        };
    }
    let refused = matches!(errno(error), Some(libc::EPERM | libc::ENOMEM));
    if refused && KernelVersion::current().is_ok_and(|kernel| kernel < NO_MEMLOCK) {
        let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft);
        return XdpError::Memlock { limit };
    }
    XdpError::Load {
        reason: chain(error),
    }
}

fn attach_error(nic: &str, index: u32, mode: AttachMode, error: &ProgramError) -> XdpError {
    let nic = nic.to_owned();
    match (errno(error), mode) {
        // EBUSY: in the same mode. EEXIST: in the other one.
        (Some(libc::EBUSY | libc::EEXIST), _) => XdpError::OtherProgram {
            nic,
            program: attached_program(index),
        },
        (Some(libc::EPERM), _) => XdpError::Capability {
            name: "CAP_NET_ADMIN",
        },
        (Some(libc::ENODEV), _) => XdpError::NicMissing { nic },
        // Drivers have many errors for an MTU, an offload or a number of queues they dislike.
        (Some(errno), AttachMode::Native) => XdpError::NoNative {
            nic,
            error: io::Error::from_raw_os_error(errno),
        },
        (None, AttachMode::Native) => XdpError::NoNative {
            nic,
            error: io::Error::other(chain(error)),
        },
        (_, AttachMode::Generic) => XdpError::Attach {
            nic,
            mode,
            reason: chain(error),
        },
    }
}

/// The program that is in the way, by name and number if the kernel tells.
fn attached_program(index: u32) -> String {
    let Some(id) = Attached::of(index).ok().and_then(Attached::any) else {
        return "another XDP program".to_owned();
    };
    let name = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned));
    match name {
        Some(name) => format!("XDP program {name} (number {id})"),
        None => format!("XDP program number {id}"),
    }
}

fn ignore_missing(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(()),
        Err(MapError::KeyNotFound) => Ok(()),
        result => result,
    }
}

fn failed(map: &'static str) -> impl Fn(MapError) -> XdpError {
    move |error| XdpError::Map {
        map,
        reason: chain(&error),
    }
}
