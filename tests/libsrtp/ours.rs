// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The SRTP crate as one end of a session.

use std::fmt::{self, Write as _};

use sallyport_srtp::{
    ContextSet, ContextSets, ExtensionIds, HEADROOM, Job, Kind, MAX_GROWTH, MasterKey, Policy,
    Refusal, SetId, Suite, TAILROOM,
};
use sallyport_tests::media;

/// What both ends agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) suite: Suite,
    /// Empty for none.
    pub(crate) mki: Vec<u8>,
    /// Elements of header extensions that are encrypted.
    pub(crate) extensions: Vec<u8>,
    pub(crate) cryptex: bool,
    /// Master key and master salt.
    pub(crate) key: Vec<u8>,
}

impl Terms {
    /// A suite, and nothing besides.
    pub(crate) fn of(suite: Suite) -> Self {
        Self {
            suite,
            mki: Vec::new(),
            extensions: Vec::new(),
            cryptex: false,
            key: media::payload(0x6b65_7973, 3, suite.key_len() + suite.salt_len()),
        }
    }

    /// What is special about them.
    pub(crate) fn name(&self) -> &'static str {
        if self.cryptex {
            "cryptex"
        } else if !self.extensions.is_empty() {
            "header extensions"
        } else if !self.mki.is_empty() {
            "MKI"
        } else {
            "every length"
        }
    }

    /// The arguments of `libsrtp_peer`. Both of its ends have the same key.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let key = hex(&self.key);
        let mut arguments = vec![self.suite.name().to_owned(), key.clone(), key];
        if !self.mki.is_empty() {
            arguments.push(format!("mki={}", hex(&self.mki)));
        }
        arguments.extend(self.extensions.iter().map(|id| format!("extension={id}")));
        arguments.extend(self.cryptex.then(|| "cryptex".to_owned()));
        arguments
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.suite, self.name())
    }
}

/// A sender and a receiver with the same key.
pub(crate) struct Ours {
    sets: ContextSets,
    sender: SetId,
    receiver: SetId,
}

impl Ours {
    pub(crate) fn new(terms: &Terms) -> Self {
        let mut key = MasterKey::new(terms.suite, &terms.key).expect("it has the right length");
        if !terms.mki.is_empty() {
            key = key.with_mki(&terms.mki).expect("it is not too long");
        }
        let policy = Policy {
            cryptex: terms.cryptex,
            encrypted_extensions: terms
                .extensions
                .iter()
                .fold(ExtensionIds::NONE, |ids, id| ids.with(*id)),
            ..Policy::default()
        };
        let mut sets = ContextSets::new();
        let sender = sets.insert(ContextSet::sender(&key, policy));
        let receiver = sets.insert(ContextSet::receiver(&key, policy));
        Self {
            sets,
            sender,
            receiver,
        }
    }

    /// Protects a burst, of which nothing may be refused.
    pub(crate) fn protect(&mut self, burst: &[(Kind, Vec<u8>)]) -> Vec<Vec<u8>> {
        let outcomes = pass(burst, self.sender, |jobs| self.sets.protect(jobs));
        let packets = outcomes.into_iter();
        packets
            .map(|outcome| outcome.expect("packets of this stream may be sent"))
            .collect()
    }

    pub(crate) fn unprotect(&mut self, burst: &[(Kind, Vec<u8>)]) -> Vec<Result<Vec<u8>, Refusal>> {
        pass(burst, self.receiver, |jobs| self.sets.unprotect(jobs))
    }
}

fn pass(
    burst: &[(Kind, Vec<u8>)],
    set: SetId,
    call: impl FnOnce(&mut [Job<'_>]),
) -> Vec<Result<Vec<u8>, Refusal>> {
    let mut frames: Vec<Vec<u8>> = burst
        .iter()
        .map(|(_, packet)| {
            let mut frame = vec![0; HEADROOM];
            frame.extend(packet);
            frame.resize(frame.len() + MAX_GROWTH + TAILROOM, 0);
            frame
        })
        .collect();
    let mut jobs: Vec<_> = burst
        .iter()
        .zip(&mut frames)
        .map(|((kind, packet), frame)| Job::new(frame, HEADROOM, packet.len(), *kind, set))
        .collect();
    call(&mut jobs);
    jobs.iter()
        .map(|job| {
            job.outcome
                .map(|()| job.frame[job.start..][..job.len].to_vec())
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
