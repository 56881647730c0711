// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How many packets a master key has protected.

use core::cell::Cell;

use crate::Kind;

/// How many packets a master key has protected.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Packets {
    rtp: Cell<u64>,
    rtcp: Cell<u64>,
}

impl Packets {
    /// Those of a kind.
    #[inline]
    pub(crate) fn of(&self, kind: Kind) -> &Cell<u64> {
        match kind {
            Kind::Rtp => &self.rtp,
            Kind::Rtcp => &self.rtcp,
        }
    }

    /// Counts so many more.
    #[inline]
    pub(crate) fn add(&self, kind: Kind, packets: u64) {
        let count = self.of(kind);
        count.set(count.get().saturating_add(packets));
    }
}
