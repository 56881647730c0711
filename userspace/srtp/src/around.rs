// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is done to a packet before and after the kernel, which knows neither MKI nor F8.

use crate::f8;
use crate::kernel::Item;
use crate::packet::{Cipher, Format, INDEX_WORD_LEN, Packet, index_word, index_word_at, tag_at};
use crate::session::Session;
use crate::{Job, Kind};

/// What it takes to process packets under one key.
#[derive(Clone, Copy)]
pub(crate) struct Crypto<'s> {
    pub(crate) format: Format,
    pub(crate) mki: &'s [u8],
    pub(crate) session: &'s Session,
}

impl<'s> Crypto<'s> {
    /// Makes a packet ready to be sealed.
    pub(crate) fn before_seal(self, job: &mut Job<'_>, packet: &Packet, index: u64) {
        job.len = packet.end + self.format.growth(job.kind);
        if job.kind == Kind::Rtcp {
            let word = job.start + index_word_at(self.format.suite, packet.end);
            job.frame[word..][..INDEX_WORD_LEN].copy_from_slice(&index_word(index, packet.cipher));
        }
        self.outer_cipher(job, packet, index);
    }

    /// Completes a packet that was sealed.
    pub(crate) fn after_seal(self, job: &mut Job<'_>, packet: &Packet) {
        self.insert_mki(job, packet);
    }

    /// Makes a packet ready to be opened.
    pub(crate) fn before_open(self, job: &mut Job<'_>, packet: &Packet) {
        if !self.mki.is_empty() && !self.format.suite.is_aead() {
            let (tag_at, tag_len) = self.tag(job, packet);
            let from = tag_at + self.mki.len();
            job.frame.copy_within(from..from + tag_len, tag_at);
        }
    }

    /// Gives a packet that was not accepted its former bytes.
    pub(crate) fn after_refusal(self, job: &mut Job<'_>, packet: &Packet) {
        self.insert_mki(job, packet);
    }

    /// Completes a packet that was opened and accepted.
    pub(crate) fn after_open(self, job: &mut Job<'_>, packet: &Packet, index: u64) {
        self.outer_cipher(job, packet, index);
        job.len = packet.end;
    }

    /// What the kernel takes.
    pub(crate) fn item<'a>(self, job: &'a mut Job<'_>, packet: &Packet, index: u64) -> Item<'a>
    where
        's: 'a,
    {
        Item {
            keys: &self.session.keys,
            kind: job.kind,
            start: job.start,
            text: job.start
                + match packet.cipher {
                    Cipher::Kernel => packet.clear,
                    Cipher::Outside | Cipher::Null => packet.end,
                },
            end: job.start + packet.end,
            frame: job.frame,
            ssrc: packet.ssrc,
            index,
            authentic: false,
        }
    }

    /// Encrypts or decrypts what the kernel does not.
    fn outer_cipher(self, job: &mut Job<'_>, packet: &Packet, index: u64) {
        if packet.cipher != Cipher::Outside {
            return;
        }
        let bytes = &mut job.frame[job.start..][..packet.end];
        if let Some(f8) = self.session.f8(job.kind) {
            let iv = f8::iv(job.kind, bytes, index, index_word(index, packet.cipher));
            f8.apply(iv, &mut bytes[packet.clear..]);
        }
    }

    /// Writes the MKI into a packet that the kernel took without one. The kernel may have
    /// overwritten what was there.
    fn insert_mki(self, job: &mut Job<'_>, packet: &Packet) {
        if self.mki.is_empty() {
            return;
        }
        if !self.format.suite.is_aead() {
            let (tag_at, tag_len) = self.tag(job, packet);
            let to = tag_at + self.mki.len();
            job.frame.copy_within(tag_at..tag_at + tag_len, to);
        }
        let at = job.start + self.format.mki_at(job.kind, packet.end);
        job.frame[at..][..self.mki.len()].copy_from_slice(self.mki);
    }

    /// Where HMAC's tag of a packet without MKI stands in the frame, and its length.
    fn tag(self, job: &Job<'_>, packet: &Packet) -> (usize, usize) {
        let at = job.start + tag_at(job.kind, packet.end);
        (at, self.format.suite.tag_len(job.kind))
    }
}
