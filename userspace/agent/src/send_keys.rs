// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which keys that clients gave are in use.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use sallyport_flow::Realm;

use crate::session::SessionKeys;

/// The keys that protect something, as keyed hashes: one key that protected two streams would give
/// away both, should they ever have an SSRC in common (RFC 3711 section 9.1).
#[derive(Debug, Default)]
pub(crate) struct SendKeys {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl SendKeys {
    /// Adds a session's keys, or none when one of them is in use; then says of which leg.
    pub(crate) fn add(&mut self, keys: &SessionKeys) -> Result<(), Realm> {
        let hashes = self.hashes_of(keys);
        let is_used = |realm: &(Realm, u64)| self.hashes.contains(&realm.1);
        if let Some((realm, _)) = hashes.iter().copied().find(is_used) {
            return Err(realm);
        }
        if let [(_, access), (realm, core)] = hashes[..]
            && access == core
        {
            return Err(realm);
        }
        self.hashes.extend(hashes.into_iter().map(|(_, hash)| hash));
        Ok(())
    }

    pub(crate) fn remove(&mut self, keys: &SessionKeys) {
        for (_, hash) in self.hashes_of(keys) {
            self.hashes.remove(&hash);
        }
    }

    fn hashes_of(&self, keys: &SessionKeys) -> Vec<(Realm, u64)> {
        let hash = |realm| {
            let keys = keys.leg(realm)?;
            Some((realm, self.hasher.hash_one(keys.send.secret.expose())))
        };
        Realm::ALL.into_iter().filter_map(hash).collect()
    }
}
