// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sallyport doctor`: what this machine offers to a data plane, one line for each thing, and what
//! to do where it is not enough. Changes nothing.

use std::fmt::{self, Display};
use std::fs;
use std::path::Path;

use sallyport_dataplane::nic::MAX_MTU;
use sallyport_dataplane::{Config as DataPlaneConfig, DataPlaneError, RealmConfig, xsk};
use sallyport_srtp::Kernel;

use crate::config::{Config, Host};
use crate::failure::Failure;
use crate::privileges;

/// Where maps are pinned unless a configuration says otherwise.
const PIN: &str = "/sys/fs/bpf/sallyport";

/// Drivers with zero copy in the kernel's own tree.
const ZERO_COPY: [&str; 9] = [
    "gve",
    "i40e",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "mlx5_core",
    "nfp",
    "stmmac",
];

/// Drivers with XDP and without zero copy.
const NATIVE: [&str; 14] = [
    "bnxt_en",
    "ena",
    "hv_netvsc",
    "ixgbevf",
    "mana",
    "mlx4_en",
    "mvneta",
    "nicvf",
    "qede",
    "sfc",
    "tun",
    "veth",
    "virtio_net",
    "vmxnet3",
];

pub(crate) fn execute(config: Option<&Path>) -> Result<(), Failure> {
    let mut report = Report::default();
    report.crypto();
    match config.map(|path| (path, Config::read(path))) {
        None => report.machine(Path::new(PIN), 0),
        Some((_, Err(error))) => {
            report.machine(Path::new(PIN), 0);
            report.add("configuration", Err(Finding::Error(error.to_string())));
        }
        Some((path, Ok(config))) => {
            let agent = config.suit_agent(path).map_err(Finding::error);
            report.add("agent", agent.map(|()| front_ends(&config.agent)));
            let config = config.data_plane;
            report.machine(&config.pin, privileges::frames_of(&config));
            let host = Host::read();
            for (realm, nic) in &config.realms {
                let fits = host.fits_realm(*realm, nic);
                let fits = fits.map_err(|error| error.in_file(path));
                let has_nic = Path::new("/sys/class/net").join(&nic.nic).exists();
                report.add(format!("realm {realm}"), addresses(nic, fits));
                if has_nic {
                    report.nic(&config, nic);
                }
            }
        }
    }
    print!("{report}");
    if report
        .0
        .iter()
        .any(|(_, found)| matches!(found, Err(Finding::Error(_))))
    {
        return Err(Failure::Unfit);
    }
    Ok(())
}

/// What was looked at, and what was found.
#[derive(Default)]
struct Report(Vec<(String, Result<String, Finding>)>);

/// What is not as it should be, with its remedy.
enum Finding {
    /// It will work, but not as well as it could.
    Warning(String),
    /// It will not work.
    Error(String),
}

impl Finding {
    fn error(error: impl Display) -> Self {
        Self::Error(error.to_string())
    }
}

impl Report {
    fn add(&mut self, subject: impl Into<String>, found: Result<String, Finding>) {
        self.0.push((subject.into(), found));
    }

    fn crypto(&mut self) {
        let current = Kernel::current();
        let others = Kernel::ALL
            .into_iter()
            .filter(|kernel| kernel.is_available());
        let others: Vec<_> = others.map(Kernel::name).collect();
        self.add("SRTP kernel", match Kernel::complaint() {
            Some(complaint) => Err(Finding::Warning(format!("{current}; {complaint}"))),
            None if others == ["portable"] => Err(Finding::Warning(format!(
                "{current}, which is slow; take a CPU with AES instructions, or let the virtual \
                 machine see them"
            ))),
            None => Ok(format!("{current}, of {}", others.join(", "))),
        });
        self.add("CPU", Ok(cpu_features()));
    }

    /// What every data plane needs; its frames take this many bytes.
    fn machine(&mut self, pin: &Path, frames: u64) {
        self.add("Linux", privileges::new_kernel().map_err(Finding::error));
        let allowed = privileges::capabilities(frames).map_err(Finding::error);
        self.add(
            "capabilities",
            allowed.map(|()| "all that a data plane needs".to_owned()),
        );
        let pinned = privileges::bpffs(pin).map_err(Finding::error);
        self.add(
            "BPF file system",
            pinned.map(|()| format!("maps go to {}", pin.display())),
        );
    }

    fn nic(&mut self, config: &DataPlaneConfig, realm: &RealmConfig) {
        let nic = &realm.nic;
        self.add(format!("{nic} driver"), driver(config, &xsk::driver(nic)));
        self.add(format!("{nic} queues"), queues(config, nic));
        let mtu = fs::read_to_string(format!("/sys/class/net/{nic}/mtu")).unwrap_or_default();
        let mtu = mtu.trim().parse().unwrap_or(0);
        self.add(
            format!("{nic} MTU"),
            if mtu > MAX_MTU {
                let nic = nic.clone();
                Err(Finding::error(DataPlaneError::MtuTooBig { nic, mtu }))
            } else {
                Ok(mtu.to_string())
            },
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (subject, found) in &self.0 {
            let (verdict, text) = match found {
                Ok(text) => ("ok", text),
                Err(Finding::Warning(text)) => ("warning", text),
                Err(Finding::Error(text)) => ("error", text),
            };
            writeln!(f, "{verdict:8} {subject}: {text}")?;
        }
        Ok(())
    }
}

/// Whether the addresses of a realm are there.
fn addresses(realm: &RealmConfig, fits: Result<(), impl Display>) -> Result<String, Finding> {
    fits.map_err(Finding::error)?;
    let addresses: Vec<_> = realm.addresses.iter().map(ToString::to_string).collect();
    Ok(format!("{} on {}", addresses.join(", "), realm.interface))
}

/// Where the agent is to be asked.
fn front_ends(agent: &sallyport_agent::Config) -> String {
    let ng = agent.ng.iter().flat_map(|ng| {
        [("udp", &ng.udp), ("tcp", &ng.tcp), ("http", &ng.http)]
            .map(|(scheme, listen)| (scheme, listen.as_slice()))
    });
    let https = agent.https.iter();
    let https = https.map(|https| ("https", https.listen.as_slice()));
    let api = std::iter::once(("http", std::slice::from_ref(&agent.listen)));
    let places = api.chain(ng).chain(https).flat_map(|(scheme, listen)| {
        let places = listen.iter();
        places.map(move |listen| format!("{scheme}://{listen}"))
    });
    places.collect::<Vec<_>>().join(", ")
}

/// What may be expected of a driver. What it really does, the data plane says when it starts.
fn driver(config: &DataPlaneConfig, driver: &str) -> Result<String, Finding> {
    if ZERO_COPY.contains(&driver) {
        return Ok(format!("{driver}, native XDP and zero copy expected"));
    }
    let native = NATIVE.contains(&driver);
    if config.require_zero_copy || (config.require_native && !native) {
        return Err(Finding::Error(format!(
            "{driver} is not known to have what dataplane.require_zero_copy or \
             dataplane.require_native asks for; drop it, or take another NIC"
        )));
    }
    Err(Finding::Warning(if native {
        format!(
            "{driver}, native XDP expected, but packets are copied; take an ice, i40e or mlx5 NIC for zero copy"
        )
    } else {
        format!("{driver} is not known to have XDP: slow generic XDP expected; take another NIC")
    }))
}

/// Whether a NIC has as many queues as are to be served, and no more.
fn queues(config: &DataPlaneConfig, nic: &str) -> Result<String, Finding> {
    let has = xsk::channels(nic).map_err(Finding::error)?;
    let wanted = config.queues.unwrap_or(has);
    if has < wanted {
        let nic = nic.to_owned();
        return Err(Finding::error(DataPlaneError::TooFewQueues {
            nic,
            has,
            wanted,
        }));
    }
    if has > wanted {
        return Err(Finding::Warning(format!(
            "{has}, of which {wanted} are served and media on the others is refused; \
             `ethtool -L {nic} combined {wanted}`, or raise dataplane.queues"
        )));
    }
    Ok(has.to_string())
}

/// The instructions that the kernels are chosen by, as far as this CPU has them.
#[cfg(target_arch = "x86_64")]
fn cpu_features() -> String {
    macro_rules! found {
        ($($feature:tt)*) => {
            [$(($feature, std::arch::is_x86_feature_detected!($feature))),*]
        };
    }
    let features = found!(
        "aes" "pclmulqdq" "sha" "avx2" "vaes" "vpclmulqdq" "avx512f" "avx512bw" "avx512dq"
        "avx512vl"
    );
    let (has, lacks): (Vec<_>, Vec<_>) = features.into_iter().partition(|(_, found)| *found);
    let names = |list: Vec<(&'static str, bool)>| {
        let names: Vec<_> = list.into_iter().map(|(name, _)| name).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(" ")
        }
    };
    format!("has {}; lacks {}", names(has), names(lacks))
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_features() -> String {
    format!(
        "{}, for which there is only the portable kernel",
        std::env::consts::ARCH
    )
}
