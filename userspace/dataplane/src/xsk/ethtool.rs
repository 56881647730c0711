// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What ethtool(8) knows about a NIC of the calling thread's network namespace.
//!
//! Kernel ABI: [ethtool.h](https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/ethtool.h).

use std::ffi::CStr;
use std::os::fd::AsRawFd;
use std::ptr;

use nix::errno::Errno;

use super::XskError;
use super::syscall;

/// On how many queues a NIC both receives and sends: its combined channels, and its receive
/// channels as far as each has a transmit channel. A driver that cannot tell has one.
///
/// # Errors
/// [`XskError::Channels`] when there is no such NIC.
pub fn channels(nic: &str) -> Result<u32, XskError> {
    let mut channels = Channels {
        cmd: ETHTOOL_GCHANNELS,
        ..Channels::default()
    };
    match ask(nic, &mut channels) {
        Ok(()) => Ok((channels.combined_count + channels.rx_count.min(channels.tx_count)).max(1)),
        Err(Errno::EOPNOTSUPP) => Ok(1),
        Err(errno) => Err(XskError::Channels {
            nic: nic.to_owned(),
            errno,
        }),
    }
}

/// The driver of a NIC, or `?`.
pub fn driver(nic: &str) -> String {
    let mut answer = DriverInfo {
        cmd: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        rest: [0; 160],
    };
    if ask(nic, &mut answer).is_err() {
        return "?".to_owned();
    }
    let driver = CStr::from_bytes_until_nul(&answer.driver)
        .ok()
        .and_then(|name| name.to_str().ok());
    driver.unwrap_or("?").to_owned()
}

/// A structure that starts with the number of the command that fills it in.
///
/// # Safety
/// The structure has at least the size and layout that the kernel expects for the command it
/// holds, and any bytes are a valid value of it.
unsafe trait Answer {}

/// Has the kernel fill in an answer.
fn ask<A: Answer>(nic: &str, answer: &mut A) -> Result<(), Errno> {
    // AF_XDP sockets refuse every ioctl.
    let socket = syscall::socket(libc::AF_INET, libc::SOCK_DGRAM)?;
    let mut name = [0; libc::IFNAMSIZ];
    if nic.len() >= name.len() {
        return Err(Errno::ENODEV);
    }
    for (to, from) in name.iter_mut().zip(nic.bytes()) {
        *to = from.cast_signed();
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: ptr::from_mut(answer).cast(),
        },
    };
    // SAFETY: the kernel reads the name and the command, and writes one answer of that command,
    // for which `Answer` promises the room.
    let result = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCETHTOOL,
            ptr::from_mut(&mut request),
        )
    };
    Errno::result(result).map(drop)
}

const ETHTOOL_GDRVINFO: u32 = 0x3;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    cmd: u32,
    driver: [u8; 32],
    /// `version` to `regdump_len`.
    rest: [u8; 160],
}

const _: () = assert!(size_of::<DriverInfo>() == 196);

// SAFETY: of the kernel's size, and made of plain bytes and numbers.
unsafe impl Answer for DriverInfo {}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct Channels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx_count: u32,
    tx_count: u32,
    other_count: u32,
    combined_count: u32,
}

const _: () = assert!(size_of::<Channels>() == 36);

// SAFETY: of the kernel's size, and made of plain numbers.
unsafe impl Answer for Channels {}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn a_nic_that_does_not_exist_has_no_driver_and_no_channels() {
        for nic in ["no-such-nic", "a name that is too long for a NIC"] {
            assert_eq!(driver(nic), "?");
            assert!(matches!(channels(nic), Err(XskError::Channels { .. })));
        }
    }

    #[test]
    fn loopback_has_one_channel() {
        assert_eq!(channels("lo").unwrap(), 1);
    }
}
