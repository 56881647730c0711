// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Intel's multi-buffer library: bare ciphers and tags, with IV and ROC given.
//!
//! It has code for several instruction sets and several interfaces, and which is the fastest
//! depends on the length of the packets and on their number; whether it pays to prefetch keys, on the
//! number of streams. All are tried before each case, and the best one is the peer.

use sallyport_srtp::Suite;

use crate::case::{Allowed, Isa, Operation, is_gcm};
use crate::contestant::Contestant;
use crate::keys::{Salt, StreamKey, roc};
use crate::peers::ffi::{Api, Item, MultiBuffer};
use crate::pool::{PACKETS, Pool};

pub(crate) struct IpsecMb {
    managers: Vec<(Isa, MultiBuffer)>,
    apis: &'static [Api],
    /// Index of the manager and of the interface, and whether keys are prefetched.
    chosen: (usize, usize, bool),
    salts: Vec<Salt>,
    is_gcm: bool,
    operation: Operation,
}

impl IpsecMb {
    /// `None` when the CPU has nothing that the library needs.
    pub(crate) fn new(
        suite: Suite,
        operation: Operation,
        streams: usize,
        allowed: Allowed,
    ) -> Option<Self> {
        let is_gcm = is_gcm(suite);
        let mut managers = Vec::new();
        for isa in [Isa::Sse, Isa::Avx2, Isa::Avx512] {
            let is_allowed = match allowed {
                Allowed::Best | Allowed::Auto => true,
                Allowed::Avx2 => isa == Isa::Avx2,
                Allowed::Sse => isa == Isa::Sse,
            };
            if !is_allowed {
                continue;
            }
            managers.extend(
                MultiBuffer::new(isa, is_gcm, suite.key_len(), streams)
                    .map(|manager| (isa, manager)),
            );
        }
        if allowed == Allowed::Auto {
            managers.drain(..managers.len().saturating_sub(1));
        }
        let mut salts = Vec::new();
        for stream in 0..streams {
            let key = StreamKey::of(suite, stream).session(stream);
            for (_, manager) in &mut managers {
                manager.set_key(stream, &key.cipher, &key.auth);
            }
            salts.push(key.salt);
        }
        (!managers.is_empty()).then_some(Self {
            managers,
            apis: if is_gcm { Api::OF_GCM } else { Api::OF_CM },
            chosen: (0, 0, false),
            salts,
            is_gcm,
            operation,
        })
    }
}

impl Contestant for IpsecMb {
    fn name(&self) -> &'static str {
        super::IPSEC_MB
    }

    fn version(&self) -> String {
        let (manager, api, prefetch) = self.chosen;
        let (isa, _) = &self.managers[manager];
        let version = MultiBuffer::version();
        let prefetch = if prefetch { " after prefetch" } else { "" };
        format!("{version}, {isa}, {}{prefetch}", self.apis[api])
    }

    fn streams(&self) -> usize {
        self.salts.len()
    }

    fn variants(&self) -> usize {
        2 * self.managers.len() * self.apis.len()
    }

    fn choose(&mut self, variant: usize) {
        let (prefetch, variant) = (variant % 2 == 1, variant / 2);
        self.chosen = (
            variant / self.apis.len(),
            variant % self.apis.len(),
            prefetch,
        );
    }

    fn prepare(&mut self, pool: &Pool) {
        let (_, manager) = &mut self.managers[self.chosen.0];
        for (at, packet) in pool.packets.iter().enumerate() {
            let salt = self.salts[packet.stream];
            let mut iv = [0; 16];
            if self.is_gcm {
                iv[..12].copy_from_slice(&salt.gcm_iv(packet.index));
            } else {
                iv = salt.cm_iv(packet.index);
            }
            let item = Item::new(at, packet.len, packet.stream, roc(packet.index), iv);
            manager.put(at, item);
        }
    }

    fn run(&mut self, pool: &mut Pool, burst: usize) -> usize {
        let (manager, api, prefetch) = self.chosen;
        let (_, manager) = &mut self.managers[manager];
        let unprotect = self.operation == Operation::Unprotect;
        let bursts = (0..PACKETS).step_by(burst);
        bursts
            .map(|first| {
                let range = first..PACKETS.min(first + burst);
                manager.run(self.apis[api], prefetch, unprotect, &mut pool.frames, range)
            })
            .sum()
    }
}
