// SPDX-License-Identifier: Apache-2.0 OR MIT

//! SRTP and SRTCP in bursts: keys in, packets in, packets out.
//!
//! A [`ContextSet`] is made from a [`MasterKey`] for one direction of one leg; a worker keeps its
//! sets in [`ContextSets`] and hands over a burst of [`Job`]s, each a packet in a frame and the
//! set it belongs to. Packets are changed in place, and each job says what became of it. No I/O,
//! no clock, no allocation per packet.
//!
//! # Index, ROC, replay
//!
//! Every SRTP packet has an index of 48 bits: the upper 32 are the rollover counter (ROC), the
//! lower 16 the sequence number (SEQ) of its RTP header. The keystream and the tag depend on the
//! index, and only SEQ is sent. The receiver completes it: of all indices with this SEQ it takes
//! the one nearest to the highest it knows (RFC 3711 appendix A). That holds as long as fewer
//! than 2^15 packets are lost or late at once; after that both sides disagree on the ROC, nothing
//! authenticates any more, and only a new key helps.
//!
//! So the highest index is worth protecting. Were it moved by whatever arrives, one forged packet
//! with a far SEQ would end the call. Therefore *state changes only after a packet
//! authenticated*: the index is estimated, the replay list consulted, the tag verified, and only
//! then do the highest index, the replay list, the count of packets and, for a new SSRC, the
//! table of contexts change. A refused packet leaves no trace, in the state or in its bytes.
//! (Within a burst a packet may be counted before. If it is refused that is taken back, unseen.)
//!
//! The replay list remembers which of the last 128 (or so) indices were seen: a second packet
//! with the same index is [`Refusal::Replayed`], one from before the list [`Refusal::TooOld`].
//! It exists on the sending side too. There it guards the key: counter mode encrypts with one
//! keystream per index, and two different packets under one keystream give away both. SEQ comes
//! from the core side, which may send anything, so what would use an index twice is refused.
//!
//! SRTCP sends its index, 31 bits, behind each packet, and the sender counts it: from 1, as
//! libsrtp does, though the RFC can be read as from 0. A receiver takes either. The flag E in
//! front of it says "encrypted". Packets without it are [`Refusal::NotEncrypted`], unless
//! UNENCRYPTED_SRTCP was negotiated (RFC 4568 section 6.3.2, [`Policy::unencrypted_srtcp`]) or the
//! suite does not encrypt.
//!
//! # What may be agreed on besides
//!
//! A set can have several master keys: each packet then names its own by an MKI
//! ([`MasterKey::with_mki`], [`ContextSet::receiver_of`]), and the index of an SSRC goes on from
//! key to key. [`Policy`] has the rest: session keys that are derived anew every so many packets,
//! header extensions encrypted by element (RFC 6904) or as a whole (cryptex, RFC 9335), tags that
//! carry the ROC (RFC 4771). What these do to a packet before and after the kernel is in
//! `around.rs`; the kernels know nothing of it. Suites with F8 and without cipher exist for peers
//! that have nothing else, and are not to be offered.
//!
//! # A burst
//!
//! The result of a burst is that of its packets one after the other, though the crypto sees them
//! all at once. `burst.rs` says how. The kernels behind it (`kernel/`) may overwrite
//! [`HEADROOM`] bytes in front of a packet and [`TAILROOM`] bytes behind it, so that they can
//! work in whole vectors. Which of them runs, [`Kernel::current`] says.

#![deny(unsafe_code)] // Only kernels may allow it.

mod around;
#[cfg(feature = "bare")]
pub mod bare;
mod burst;
mod context_set;
mod context_sets;
mod contexts;
mod cryptex;
mod derivation;
mod extension;
mod f8;
pub mod header;
mod index;
mod job;
mod kernel;
mod key_set;
mod mark;
mod master_key;
mod one_or_more;
mod packet;
mod packets;
mod policy;
mod rcc;
mod replay;
mod run;
mod session;
mod suite;
#[cfg(test)]
mod tests;
mod usage;

pub use context_set::ContextSet;
pub use context_sets::{ContextSets, SetId};
pub use extension::ExtensionIds;
pub use job::{HEADROOM, Job, Kind, MAX_BURST, MAX_GROWTH, Refusal, TAILROOM};
pub use kernel::{Kernel, KernelError};
pub use key_set::KeySetError;
pub use mark::{Mark, TooManySsrcs};
pub use master_key::{KeyError, MAX_MKI_LEN, MasterKey, MkiError};
pub use policy::Policy;
pub use rcc::{Rcc, RccMode};
pub use replay::{ReplayWindow, WindowError};
pub use session::{KeyDerivationRate, RateError};
pub use suite::Suite;
pub use usage::Usage;
