// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is done to a packet before and after the kernel, which knows neither MKI nor F8, and
//! of headers only that they stay in the clear.

use core::slice;

use crate::kernel::{self, Item};
use crate::packet::{
    Cipher, Format, INDEX_WORD_LEN, Packet, Tag, index_word, index_word_at, tag_at,
};
use crate::rcc::{LONG_TAG_LEN, ROC_LEN};
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
    /// Seals one packet, whatever it has for a tag.
    #[cold]
    pub(crate) fn seal(self, job: &mut Job<'_>, packet: &Packet, index: u64) {
        self.before_seal(job, packet, index);
        let mut item = self.item(job, packet, index);
        match (packet.tag, &self.session.long_mac) {
            (Tag::Usual | Tag::WithRoc, _) => kernel::seal(slice::from_mut(&mut item)),
            (Tag::Long, Some(mac)) => {
                kernel::restore(&mut item);
                let (head, trailer) = item.frame[item.start..].split_at_mut(packet.end);
                trailer[..LONG_TAG_LEN].copy_from_slice(&mac.tag(head, index));
            }
            (Tag::Long | Tag::Absent, _) => kernel::restore(&mut item),
        }
        self.after_seal(job, packet, index);
    }

    /// Opens one packet, whatever it has for a tag, and says whether that was right.
    #[cold]
    pub(crate) fn open(self, job: &mut Job<'_>, packet: &Packet, index: u64) -> bool {
        self.before_open(job, packet);
        let mut item = self.item(job, packet, index);
        match (packet.tag, &self.session.long_mac) {
            (Tag::Usual | Tag::WithRoc, _) => {
                kernel::open(slice::from_mut(&mut item));
                item.authentic
            }
            (Tag::Long, Some(mac)) => {
                let (head, trailer) = item.frame[item.start..].split_at(packet.end);
                let is_tag = mac.is_tag(head, index, &trailer[..LONG_TAG_LEN]);
                if is_tag {
                    kernel::restore(&mut item);
                }
                is_tag
            }
            (Tag::Long, None) => false,
            (Tag::Absent, _) => {
                kernel::restore(&mut item);
                true
            }
        }
    }

    /// Makes a packet ready to be sealed.
    #[inline]
    pub(crate) fn before_seal(self, job: &mut Job<'_>, packet: &Packet, index: u64) {
        if let Some(csrcs) = packet.cryptex {
            cryptex::hide(&mut job.frame[job.start..], csrcs, job.len);
        } else {
            self.extension_cipher(job, packet, index);
        }
        job.len = packet.end + self.format.trailer_len(job.kind, packet.tag);
        if job.kind == Kind::Rtcp {
            let word = job.start + index_word_at(self.format.suite, packet.end);
            job.frame[word..][..INDEX_WORD_LEN].copy_from_slice(&index_word(index, packet.cipher));
        }
        fold(job, packet);
        self.outer_cipher(job, packet, index);
    }

    /// Completes a packet that was sealed.
    #[inline]
    pub(crate) fn after_seal(self, job: &mut Job<'_>, packet: &Packet, index: u64) {
        unfold(job, packet);
        self.insert_mki(job, packet, index);
    }

    /// Makes a packet ready to be opened.
    #[inline]
    pub(crate) fn before_open(self, job: &mut Job<'_>, packet: &Packet) {
        let inserted = self.inserted_len(packet);
        if inserted > 0 && !self.format.suite.is_aead() {
            let (tag_at, tag_len) = self.tag(job, packet);
            let from = tag_at + inserted;
            job.frame.copy_within(from..from + tag_len, tag_at);
        }
        fold(job, packet);
    }

    /// Gives a packet that was not accepted its former bytes.
    pub(crate) fn after_refusal(self, job: &mut Job<'_>, packet: &Packet, index: u64) {
        unfold(job, packet);
        self.insert_mki(job, packet, index);
    }

    /// Completes a packet that was opened and accepted.
    #[inline]
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
    #[inline]
    pub(crate) fn item<'a>(self, job: &'a mut Job<'_>, packet: &Packet, index: u64) -> Item<'a>
    where
        's: 'a,
    {
        Item {
            keys: &self.session.keys,
            kind: job.kind,
            start: job.start,
            head: match packet.cipher {
                Cipher::Kernel => packet.clear,
                Cipher::Outside | Cipher::Null => packet.end,
            },
            len: packet.end,
            frame: job.frame,
            ssrc: packet.ssrc,
            index,
            authentic: false,
        }
    }

    /// Encrypts or decrypts what the kernel does not.
    #[inline]
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
            let head = packet.clear;
            let item = self.item(job, packet, index);
            kernel::restore(&mut Item { head, ..item });
        }
        if csrcs > 0 {
            cryptex::unfold(&mut job.frame[job.start..], csrcs);
        }
    }

    /// Encrypts or decrypts the elements of the header extension that were agreed on.
    #[inline]
    fn extension_cipher(self, job: &mut Job<'_>, packet: &Packet, index: u64) {
        if let (Kind::Rtp, Some(cipher)) = (job.kind, &self.session.extension) {
            let bytes = &mut job.frame[job.start..][..packet.end];
            cipher.apply(packet.ssrc, index, bytes);
        }
    }

    /// Writes the MKI and the ROC into a packet that the kernel took without. The kernel may have
    /// overwritten what was there.
    fn insert_mki(self, job: &mut Job<'_>, packet: &Packet, index: u64) {
        let inserted = self.inserted_len(packet);
        if inserted == 0 {
            return;
        }
        if !self.format.suite.is_aead() {
            let (tag_at, tag_len) = self.tag(job, packet);
            let to = tag_at + inserted;
            job.frame.copy_within(tag_at..tag_at + tag_len, to);
        }
        let at = job.start + self.format.mki_at(job.kind, packet.end);
        let (mki, behind) = job.frame[at..].split_at_mut(self.mki.len());
        mki.copy_from_slice(self.mki);
        if packet.tag == Tag::WithRoc {
            let [_, _, roc @ .., _, _] = index.to_be_bytes();
            behind[..ROC_LEN].copy_from_slice(&roc);
        }
    }

    /// Length of what stands in front of the tag of HMAC, in bytes, and the kernel does not know.
    fn inserted_len(self, packet: &Packet) -> usize {
        let roc_len = if packet.tag == Tag::WithRoc {
            ROC_LEN
        } else {
            0
        };
        self.mki.len() + roc_len
    }

    /// Where HMAC's tag of a packet without MKI stands in the frame, and its length.
    fn tag(self, job: &Job<'_>, packet: &Packet) -> (usize, usize) {
        let at = job.start + tag_at(job.kind, packet.end);
        let len = match packet.tag {
            Tag::Usual | Tag::WithRoc => self.format.suite.tag_len(job.kind),
            Tag::Long => LONG_TAG_LEN,
            Tag::Absent => 0,
        };
        (at, len)
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
