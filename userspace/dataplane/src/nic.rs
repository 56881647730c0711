// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the kernel says about a network interface.

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};

use crate::error::DataPlaneError;
use crate::xdp::NicId;

/// The longest IP packet that fits a frame with room for its growth, in bytes.
pub const MAX_MTU: usize = 1500;

/// The numbers of NICs, in order.
pub fn ids() -> impl Iterator<Item = NicId> {
    (0..).map(NicId)
}

/// A network interface as it was when looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Its number in this network namespace.
    pub index: u32,
    /// Its Ethernet address.
    pub address: [u8; 6],
    /// The longest IP packet it takes, in bytes.
    pub mtu: usize,
}

impl Nic {
    /// Asks the kernel (`RTM_GETLINK`, rtnetlink(7)).
    ///
    /// # Errors
    /// [`DataPlaneError::NicMissing`], or what the netlink socket says.
    pub async fn find(handle: &Handle, name: &str) -> Result<Self, DataPlaneError> {
        let missing = || DataPlaneError::NicMissing {
            nic: name.to_owned(),
        };
        let link = handle
            .link()
            .get()
            .match_name(name)
            .execute()
            .try_next()
            .await
            .map_err(|_| missing())?
            .ok_or_else(missing)?;
        Self::from_message(&link).ok_or(DataPlaneError::NotEthernet {
            nic: name.to_owned(),
        })
    }

    /// Reads a link message; `None` when it is not of an Ethernet interface.
    pub fn from_message(link: &LinkMessage) -> Option<Self> {
        let (mut name, mut address, mut mtu) = (None, None, None);
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(found) => name = Some(found.clone()),
                LinkAttribute::Address(found) => {
                    address = Some(<[u8; 6]>::try_from(found.as_slice()).ok()?);
                }
                LinkAttribute::Mtu(found) => mtu = Some(*found as usize),
                _ => {}
            }
        }
        Some(Self {
            name: name?,
            index: link.header.index,
            address: address?,
            mtu: mtu?,
        })
    }
}
