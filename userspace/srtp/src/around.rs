// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is done to a packet before and after the kernel, which knows neither MKI nor F8, and
//! of headers only that they stay in the clear.

use crate::kernel::{self, Item};
use crate::packet::{Cipher, Format, INDEX_WORD_LEN, Packet, index_word, index_word_at, tag_at};
use crate::session::Session;
use crate::{Job, Kind, cryptex, f8};

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
        if let Some(csrcs) = packet.cryptex {
            cryptex::hide(&mut job.frame[job.start..], csrcs, job.len);
        } else {
            self.extension_cipher(job, packet, index);
        }
        job.len = packet.end + self.format.trailer_len(job.kind);
        if job.kind == Kind::Rtcp {
            let word = job.start + index_word_at(self.format.suite, packet.end);
            job.frame[word..][..INDEX_WORD_LEN].copy_from_slice(&index_word(index, packet.cipher));
        }
        fold(job, packet);
        self.outer_cipher(job, packet, index);
    }

    /// Completes a packet that was sealed.
    pub(crate) fn after_seal(self, job: &mut Job<'_>, packet: &Packet) {
        unfold(job, packet);
        self.insert_mki(job, packet);
    }

    /// Makes a packet ready to be opened.
    pub(crate) fn before_open(self, job: &mut Job<'_>, packet: &Packet) {
        if !self.mki.is_empty() && !self.format.suite.is_aead() {
            let (tag_at, tag_len) = self.tag(job, packet);
            let from = tag_at + self.mki.len();
            job.frame.copy_within(from..from + tag_len, tag_at);
        }
        fold(job, packet);
    }

    /// Gives a packet that was not accepted its former bytes.
    pub(crate) fn after_refusal(self, job: &mut Job<'_>, packet: &Packet) {
        unfold(job, packet);
        self.insert_mki(job, packet);
    }

    /// Completes a packet that was opened and accepted.
    pub(crate) fn after_open(self, job: &mut Job<'_>, packet: &Packet, index: u64) {
        self.outer_cipher(job, packet, index);
        unfold(job, packet);
        job.len = packet.end;
        if let Some(csrcs) = packet.cryptex {
            cryptex::show(&mut job.frame[job.start..], csrcs);
        } else {
            self.extension_cipher(job, packet, index);
        }
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
        let csrcs = packet.cryptex.unwrap_or(0);
        if csrcs > 0 {
            cryptex::fold(&mut job.frame[job.start..], csrcs);
        }
        if let Some(f8) = self.session.f8(job.kind) {
            let bytes = &mut job.frame[job.start..][..packet.end];
            let iv = f8::iv(job.kind, bytes, index, index_word(index, packet.cipher));
            f8.apply(iv, &mut bytes[packet.clear..]);
        } else {
            let text = job.start + packet.clear;
            let item = self.item(job, packet, index);
            kernel::restore(&mut Item { text, ..item });
        }
        if csrcs > 0 {
            cryptex::unfold(&mut job.frame[job.start..], csrcs);
        }
    }

    /// Encrypts or decrypts the elements of the header extension that were agreed on.
    fn extension_cipher(self, job: &mut Job<'_>, packet: &Packet, index: u64) {
        if let (Kind::Rtp, Some(cipher)) = (job.kind, &self.session.extension) {
            let bytes = &mut job.frame[job.start..][..packet.end];
            cipher.apply(packet.ssrc, index, bytes);
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

/// Gives the kernel one piece to encrypt.
fn fold(job: &mut Job<'_>, packet: &Packet) {
    if let (Some(csrcs @ 1..), Cipher::Kernel) = (packet.cryptex, packet.cipher) {
        cryptex::fold(&mut job.frame[job.start..], csrcs);
    }
}

/// Takes back [`fold`].
fn unfold(job: &mut Job<'_>, packet: &Packet) {
    if let (Some(csrcs @ 1..), Cipher::Kernel) = (packet.cryptex, packet.cipher) {
        cryptex::unfold(&mut job.frame[job.start..], csrcs);
    }
}
