// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The XDP program and its maps, as user space holds them.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, PerCpuValues, XskMap};
use aya::programs::links::FdLink;
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp, loaded_programs};
use aya::util::{KernelVersion, nr_cpus};
use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};
use aya_log::EbpfLogger;
use caps::{CapSet, Capability};
use nix::net::if_::if_nametoindex;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use sallyport_ebpf::layout::{MAX_RANGES, NIC_NAME_LEN, socket_index, verdict_index};
use sallyport_ebpf::{FlowKey, FlowValue, MAX_NICS, RangeKey, RangeValue, Verdict};

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
    ranges: HashMap<MapData, [u8; RangeKey::LEN], [u8; RangeValue::LEN]>,
    flows: HashMap<MapData, [u8; FlowKey::LEN], [u8; FlowValue::LEN]>,
    sockets: XskMap<MapData>,
    verdicts: PerCpuArray<MapData, u64>,
    max_flows: u32,
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
    /// pinned under `pin` already are used again with what is in them, except that the flows go
    /// when there is to be room for another number of them. What was attached stays attached as
    /// it is, but links of NICs that are not in the slice are removed.
    ///
    /// # Errors
    /// [`XdpError`].
    pub fn load(pin: &Path, nics: &[&str], max_flows: u32) -> Result<Self, XdpError> {
        check_process()?;
        if nics.len() > MAX_NICS as usize {
            return Err(XdpError::TooManyNics);
        }
        for nic in nics {
            index_of(nic)?;
        }
        let folder = PinFolder::new(pin);
        folder.create()?;
        folder.check_maps(max_flows)?;
        let nics = (0..)
            .zip(nics)
            .map(|(number, name)| Nic::load(&folder, number, name, max_flows))
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
            max_flows,
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

    /// Makes these ports of a local address media ports, and no others of it.
    ///
    /// # Errors
    /// [`XdpError::Full`], or what the kernel says.
    pub fn set_range(
        &mut self,
        nic: NicId,
        address: IpAddr,
        ports: RangeInclusive<u16>,
    ) -> Result<(), XdpError> {
        self.check_nic(nic)?;
        let key = RangeKey::new(nic.0, address).to_bytes();
        let value = RangeValue {
            first: *ports.start(),
            last: *ports.end(),
        }
        .to_bytes();
        self.ranges
            .insert(key, value, 0)
            .map_err(full_or_failed(RANGES, MAX_RANGES))
    }

    /// Makes the media ports of these local addresses media ports, and no others. At no time are
    /// ports that were and will be media ports left to the kernel, which would answer their media
    /// with ICMP errors.
    ///
    /// # Errors
    /// [`XdpError::Full`], or what the kernel says.
    pub fn set_ranges(
        &mut self,
        ranges: &[(NicId, IpAddr, RangeInclusive<u16>)],
    ) -> Result<(), XdpError> {
        for (nic, address, ports) in ranges {
            self.set_range(*nic, *address, ports.clone())?;
        }
        let wanted = |key: &[u8; RangeKey::LEN]| {
            ranges
                .iter()
                .any(|(nic, address, _)| RangeKey::new(nic.0, *address).to_bytes() == *key)
        };
        remove_all(&mut self.ranges, |key| !wanted(key)).map_err(failed(RANGES))
    }

    /// Leaves all ports to the kernel.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn clear_ranges(&mut self) -> Result<(), XdpError> {
        remove_all(&mut self.ranges, |_| true).map_err(failed(RANGES))
    }

    /// Lets the media for a local address and port through. It must be in a range.
    ///
    /// # Errors
    /// [`XdpError::Full`], or what the kernel says.
    pub fn insert_flow(&mut self, nic: NicId, local: SocketAddr) -> Result<(), XdpError> {
        self.check_nic(nic)?;
        let key = FlowKey::new(nic.0, local).to_bytes();
        let value = FlowValue::default().to_bytes();
        self.flows
            .insert(key, value, 0)
            .map_err(full_or_failed(FLOWS, self.max_flows))
    }

    /// Refuses the media for a local address and port again.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove_flow(&mut self, nic: NicId, local: SocketAddr) -> Result<(), XdpError> {
        let key = FlowKey::new(nic.0, local).to_bytes();
        ignore_missing(self.flows.remove(&key)).map_err(failed(FLOWS))
    }

    /// Refuses all media.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn clear_flows(&mut self) -> Result<(), XdpError> {
        remove_all(&mut self.flows, |_| true).map_err(failed(FLOWS))
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
    fn load(folder: &PinFolder, number: u32, name: &str, max_flows: u32) -> Result<Self, XdpError> {
        let mut ebpf = EbpfLoader::new()
            .default_map_pin_directory(folder.path())
            .map_max_entries(FLOWS, max_flows)
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
            .field("max_flows", &self.max_flows)
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

/// Removes the entries whose key is chosen.
fn remove_all<const K: usize, const V: usize>(
    map: &mut HashMap<MapData, [u8; K], [u8; V]>,
    chosen: impl Fn(&[u8; K]) -> bool,
) -> Result<(), MapError> {
    // First the keys: the kernel starts over when an entry vanishes under the iterator.
    let keys = map.keys().collect::<Result<Vec<_>, _>>()?;
    for key in keys.iter().filter(|key| chosen(key)) {
        ignore_missing(map.remove(key))?;
    }
    Ok(())
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

fn full_or_failed(map: &'static str, limit: u32) -> impl Fn(MapError) -> XdpError {
    move |error| match errno(&error) {
        Some(libc::E2BIG) => XdpError::Full { map, limit },
        _ => failed(map)(error),
    }
}
