// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kernel that runs everywhere, one packet after the other, on the RustCrypto crates. They
//! use AES-NI, VAES, PCLMUL and SHA-NI where the CPU has them.

use aes::{Aes128Enc, Aes192Enc, Aes256Enc};
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::{AeadInOut, AesGcm, Nonce, Tag};
use ctr::Ctr128BE;
use ctr::cipher::{BlockCipherEncrypt, BlockSizeUser, InnerIvInit, StreamCipher};
use hmac::block_api::HmacCore;
use hmac::digest::block_api::{Buffer, CoreProxy};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Item;
use crate::derivation::SessionKey;
use crate::header::RtcpHeader;
use crate::packet::INDEX_WORD_LEN;
use crate::{Kind, Suite};

/// Length of a GCM tag, in bytes.
const TAG_LEN: usize = 16;

/// The session keys of a set. On the heap, so that moving a set leaves no copy behind.
///
/// Expanded they have some 800 bytes. Where a vector kernel does nearly all packets, they are
/// expanded for each of the others: SRTCP, mostly.
pub(crate) struct Keys {
    /// Of SRTP and of SRTCP.
    bytes: Box<[SessionKey; 2]>,
    expanded: Option<Box<[Box<dyn Cipher>; 2]>>,
}

/// AES in counter mode and HMAC-SHA1 (RFC 3711 sections 4.1.1 and 4.2.1).
struct Cm<A> {
    cipher: A,
    /// HMAC with the key's own two blocks already hashed.
    mac: HmacCore<Sha1>,
    salt: Salt,
    tag_len: usize,
}

/// AES in Galois counter mode (RFC 7714).
struct Gcm<A> {
    aead: AesGcm<A, U12>,
    salt: Salt,
}

/// The session salt as a number.
struct Salt(Zeroizing<u128>);

impl Keys {
    /// `is_rare` where few packets will need them.
    pub(crate) fn new(rtp: &SessionKey, rtcp: &SessionKey, is_rare: bool) -> Self {
        Self {
            bytes: Box::new([rtp.clone(), rtcp.clone()]),
            expanded: (!is_rare)
                .then(|| Box::new([boxed(rtp, Kind::Rtp), boxed(rtcp, Kind::Rtcp)])),
        }
    }

    /// Takes other keys of the same suite, without allocating.
    pub(crate) fn renew(&mut self, rtp: &SessionKey, rtcp: &SessionKey) {
        let [of_rtp, of_rtcp] = &mut *self.bytes;
        of_rtp.clone_from(rtp);
        of_rtcp.clone_from(rtcp);
        if let Some([of_rtp, of_rtcp]) = self.expanded.as_deref_mut() {
            of_rtp.renew(rtp, Kind::Rtp);
            of_rtcp.renew(rtcp, Kind::Rtcp);
        }
    }

    /// Lends what packets of this kind are sealed and opened with.
    fn with<R>(&self, kind: Kind, work: impl FnOnce(&dyn Cipher) -> R) -> R {
        let place = match kind {
            Kind::Rtp => 0,
            Kind::Rtcp => 1,
        };
        if let Some(expanded) = &self.expanded {
            return work(&*expanded[place]);
        }
        let key = &self.bytes[place];
        match Form::of(key.suite) {
            Form::Cm128 => work(&Cm::<Aes128Enc>::new(key, kind)),
            Form::Cm192 => work(&Cm::<Aes192Enc>::new(key, kind)),
            Form::Cm256 => work(&Cm::<Aes256Enc>::new(key, kind)),
            Form::Gcm128 => work(&Gcm::<Aes128Enc>::new(key, kind)),
            Form::Gcm256 => work(&Gcm::<Aes256Enc>::new(key, kind)),
        }
    }
}

fn boxed(key: &SessionKey, kind: Kind) -> Box<dyn Cipher> {
    match Form::of(key.suite) {
        Form::Cm128 => Box::new(Cm::<Aes128Enc>::new(key, kind)),
        Form::Cm192 => Box::new(Cm::<Aes192Enc>::new(key, kind)),
        Form::Cm256 => Box::new(Cm::<Aes256Enc>::new(key, kind)),
        Form::Gcm128 => Box::new(Gcm::<Aes128Enc>::new(key, kind)),
        Form::Gcm256 => Box::new(Gcm::<Aes256Enc>::new(key, kind)),
    }
}

/// Mode and key length of a suite.
#[derive(Clone, Copy)]
enum Form {
    Cm128,
    Cm192,
    Cm256,
    Gcm128,
    Gcm256,
}

impl Form {
    const fn of(suite: Suite) -> Self {
        match suite {
            // Of F8 and NULL this kernel makes the tag only; their items have no text.
            Suite::AesCm128HmacSha1_80
            | Suite::AesCm128HmacSha1_32
            | Suite::F8128HmacSha1_80
            | Suite::NullHmacSha1_80
            | Suite::NullHmacSha1_32 => Self::Cm128,
            Suite::Aes192CmHmacSha1_80 | Suite::Aes192CmHmacSha1_32 => Self::Cm192,
            Suite::Aes256CmHmacSha1_80 | Suite::Aes256CmHmacSha1_32 => Self::Cm256,
            Suite::AeadAes128Gcm => Self::Gcm128,
            Suite::AeadAes256Gcm => Self::Gcm256,
        }
    }
}

/// What packets of one kind are sealed and opened with.
trait Cipher: Send + Sync {
    /// Expands another key.
    fn renew(&mut self, key: &SessionKey, kind: Kind);

    /// See [`super::seal`].
    fn seal(&self, item: &mut Item<'_>);

    /// See [`super::open`]. Whether the packet is authentic.
    fn open(&self, item: &mut Item<'_>) -> bool;

    /// See [`super::restore`].
    fn restore(&self, item: &mut Item<'_>);
}

/// See [`super::seal`].
pub(super) fn seal(item: &mut Item<'_>) {
    let (keys, kind) = (item.keys, item.kind);
    keys.portable.with(kind, |cipher| cipher.seal(item));
}

/// See [`super::open`]. Whether the packet is authentic.
pub(super) fn open(item: &mut Item<'_>) -> bool {
    let (keys, kind) = (item.keys, item.kind);
    keys.portable.with(kind, |cipher| cipher.open(item))
}

/// See [`super::restore`].
pub(super) fn restore(item: &mut Item<'_>) {
    let (keys, kind) = (item.keys, item.kind);
    keys.portable.with(kind, |cipher| cipher.restore(item));
}

impl<A> Cipher for Cm<A>
where
    A: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit + Send + Sync,
{
    fn renew(&mut self, key: &SessionKey, kind: Kind) {
        *self = Self::new(key, kind);
    }

    fn seal(&self, item: &mut Item<'_>) {
        self.xor_keystream(item);
        let (tag, at) = (self.tag(item), Self::tag_at(item));
        item.frame[at..][..self.tag_len].copy_from_slice(&tag[..self.tag_len]);
    }

    fn open(&self, item: &mut Item<'_>) -> bool {
        let (tag, at) = (self.tag(item), Self::tag_at(item));
        let authentic = item.frame[at..][..self.tag_len].ct_eq(&tag[..self.tag_len]);
        if authentic.into() {
            self.xor_keystream(item);
            return true;
        }
        false
    }

    fn restore(&self, item: &mut Item<'_>) {
        self.xor_keystream(item);
    }
}

impl<A> Cm<A>
where
    A: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    fn new(key: &SessionKey, kind: Kind) -> Self {
        let cipher = A::new_from_slice(key.cipher());
        let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(key.auth());
        Self {
            cipher: cipher.expect("a suite's key length is its cipher's"),
            mac: mac.expect("HMAC takes keys of any length").decompose().0,
            salt: Salt::new(key),
            tag_len: match kind {
                Kind::Rtp => key.suite.rtp_tag_len(),
                Kind::Rtcp => key.suite.rtcp_tag_len(),
            },
        }
    }

    fn xor_keystream(&self, item: &mut Item<'_>) {
        let iv = (self.salt.nonce(item) << 16).to_be_bytes();
        let core = InnerIvInit::inner_iv_init(&self.cipher, &iv.into());
        let text = item.text()..item.end();
        Ctr128BE::from_core(core).apply_keystream(&mut item.frame[text]);
    }

    fn tag(&self, item: &Item<'_>) -> [u8; 20] {
        let mut mac = Hmac::<Sha1>::compose(self.mac.clone(), Buffer::<HmacCore<Sha1>>::default());
        mac.update(&item.frame[item.start..Self::tag_at(item)]);
        if item.kind == Kind::Rtp {
            // The upper 32 of 48 bits: the ROC.
            let [_, _, roc @ .., _, _] = item.index.to_be_bytes();
            mac.update(&roc);
        }
        mac.finalize().into_bytes().into()
    }

    /// Where the tag stands, and what it authenticates ends.
    fn tag_at(item: &Item<'_>) -> usize {
        match item.kind {
            Kind::Rtp => item.end(),
            Kind::Rtcp => item.end() + INDEX_WORD_LEN,
        }
    }
}

impl<A> Cipher for Gcm<A>
where
    A: KeyInit,
    AesGcm<A, U12>: AeadInOut<NonceSize = U12, TagSize = U16> + From<A> + Send + Sync,
{
    fn renew(&mut self, key: &SessionKey, kind: Kind) {
        *self = Self::new(key, kind);
    }

    fn seal(&self, item: &mut Item<'_>) {
        let (tag, end) = (self.encrypt(item), item.end());
        item.frame[end..][..tag.len()].copy_from_slice(&tag);
    }

    fn open(&self, item: &mut Item<'_>) -> bool {
        if is_clear_rtcp(item) {
            let tag = self.clear_rtcp_tag(item);
            return item.frame[item.end()..][..TAG_LEN].ct_eq(&tag).into();
        }
        let nonce = self.nonce(item);
        let (head, rest) = item.frame[item.start..].split_at_mut(item.head);
        let (text, trailer) = rest.split_at_mut(item.len - item.head);
        let Some(tag) = trailer.first_chunk::<TAG_LEN>() else {
            return false;
        };
        let word = &trailer[TAG_LEN..];
        // Verifies first; wrong packets stay as they were.
        let result = with_associated_data(item.kind, head, word, |data| {
            (self.aead).decrypt_inout_detached(&nonce, data, text.into(), &Tag::from(*tag))
        });
        result.is_ok()
    }

    fn restore(&self, item: &mut Item<'_>) {
        self.encrypt(item);
    }
}

impl<A> Gcm<A>
where
    A: KeyInit,
    AesGcm<A, U12>: AeadInOut<NonceSize = U12, TagSize = U16> + From<A>,
{
    fn new(key: &SessionKey, _kind: Kind) -> Self {
        let cipher = A::new_from_slice(key.cipher());
        Self {
            aead: cipher.expect("a suite's key length is its cipher's").into(),
            salt: Salt::new(key),
        }
    }

    fn encrypt(&self, item: &mut Item<'_>) -> [u8; TAG_LEN] {
        if is_clear_rtcp(item) {
            return self.clear_rtcp_tag(item);
        }
        let nonce = self.nonce(item);
        let (head, rest) = item.frame[item.start..].split_at_mut(item.head);
        let (text, trailer) = rest.split_at_mut(item.len - item.head);
        let word = &trailer[TAG_LEN..];
        with_associated_data(item.kind, head, word, |data| {
            (self.aead).encrypt_inout_detached(&nonce, data, text.into())
        })
        .expect("a packet is shorter than the 64 GiB that GCM encrypts")
        .into()
    }

    /// The tag of SRTCP that is not encrypted: all of the packet is associated data, and the word
    /// behind it (RFC 7714 section 9.3). The frame is as before in the end.
    fn clear_rtcp_tag(&self, item: &mut Item<'_>) -> [u8; TAG_LEN] {
        let nonce = self.nonce(item);
        let behind = item.end()..item.end() + TAG_LEN + INDEX_WORD_LEN;
        item.frame[behind.clone()].rotate_right(INDEX_WORD_LEN);
        let data = &item.frame[item.start..item.end() + INDEX_WORD_LEN];
        let text: &mut [u8] = &mut [];
        let tag = (self.aead).encrypt_inout_detached(&nonce, data, text.into());
        item.frame[behind].rotate_left(INDEX_WORD_LEN);
        tag.expect("a packet is shorter than what GCM authenticates")
            .into()
    }

    /// RFC 7714 sections 8.1 and 9.1.
    fn nonce(&self, item: &Item<'_>) -> Nonce<U12> {
        let [_, _, _, _, nonce @ ..] = self.salt.nonce(item).to_be_bytes();
        nonce.into()
    }
}

/// Whether an item is SRTCP with flag E not set, in a suite with GCM.
fn is_clear_rtcp(item: &Item<'_>) -> bool {
    item.kind == Kind::Rtcp && item.frame[item.end() + TAG_LEN] & 0x80 == 0
}

/// What GCM authenticates without encrypting it: the head of the packet, and behind it for SRTCP
/// the word with the index, with which `word` begins (RFC 7714 sections 8.2 and 9.2).
fn with_associated_data<R>(
    kind: Kind,
    head: &[u8],
    word: &[u8],
    then: impl FnOnce(&[u8]) -> R,
) -> R {
    match kind {
        Kind::Rtp => then(head),
        Kind::Rtcp => {
            let mut data = [0; RtcpHeader::LEN + INDEX_WORD_LEN];
            let (front, back) = data.split_at_mut(RtcpHeader::LEN);
            front.copy_from_slice(head);
            back.copy_from_slice(&word[..INDEX_WORD_LEN]);
            then(&data)
        }
    }
}

impl Salt {
    fn new(key: &SessionKey) -> Self {
        let mut salt = Zeroizing::new([0; 16]);
        salt[16 - key.salt().len()..].copy_from_slice(key.salt());
        Self(Zeroizing::new(u128::from_be_bytes(*salt)))
    }

    /// Salt XOR SSRC and index: the upper bits of the counter block of AES-CM (RFC 3711 section
    /// 4.1.1), and the IV of GCM (RFC 7714 section 8.1).
    fn nonce(&self, item: &Item<'_>) -> u128 {
        *self.0 ^ (u128::from(item.ssrc) << 48) ^ u128::from(item.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    /// Blocks of the keystream of AES-CM, at their numbers; RFC 3711 appendix B.2 and RFC 6188
    /// section 7 have the salt F0F1..FD, and SSRC and index zero.
    fn assert_keystream(suite: Suite, key: &[u8], blocks: [(usize, [u8; 16]); 6]) {
        let salt = hex!("F0F1F2F3F4F5F6F7F8F9FAFBFCFD");
        let key = SessionKey::from_bytes(suite, key, &[], &salt);
        let keys = super::super::Keys::new(&key, &key, false);
        let mut frame = vec![0; 1_044_512];
        restore(&mut Item {
            keys: &keys,
            kind: Kind::Rtp,
            start: 0,
            head: 0,
            len: frame.len(),
            frame: &mut frame,
            ssrc: 0,
            index: 0,
            authentic: false,
        });
        for (block, expected) in blocks {
            assert_eq!(frame[16 * block..][..16], expected, "{suite} {block:x}");
        }
    }

    #[test]
    fn the_keystream_is_that_of_rfc_3711_b_2() {
        assert_keystream(
            Suite::AesCm128HmacSha1_80,
            &hex!("2B7E151628AED2A6ABF7158809CF4F3C"),
            [
                (0, hex!("E03EAD0935C95E80E166B16DD92B4EB4")),
                (1, hex!("D23513162B02D0F72A43A2FE4A5F97AB")),
                (2, hex!("41E95B3BB0A2E8DD477901E4FCA894C0")),
                (0xfeff, hex!("EC8CDF7398607CB0F2D21675EA9EA1E4")),
                (0xff00, hex!("362B7C3C6773516318A077D7FC5073AE")),
                (0xff01, hex!("6A2CC3787889374FBEB4C81B17BA6C44")),
            ],
        );
    }

    #[test]
    fn the_keystreams_of_long_keys_are_those_of_rfc_6188() {
        // Sections 7.3 and 7.1.
        assert_keystream(
            Suite::Aes192CmHmacSha1_80,
            &hex!("eab234764e517b2d3d160d587d8c86219740f65f99b6bcf7"),
            [
                (0, hex!("35096cba4610028dc1b57503804ce37c")),
                (1, hex!("5de986291dcce161d5165ec4568f5c9a")),
                (2, hex!("474a40c77894bc17180202272a4c264d")),
                (0xfeff, hex!("d108d1a31a00bad6367ec23eb044b415")),
                (0xff00, hex!("c8f57129fdeb970b59f917b257662d4c")),
                (0xff01, hex!("a5dab625811034e8cebdfeb6dc158dd3")),
            ],
        );
        assert_keystream(
            Suite::Aes256CmHmacSha1_80,
            &hex!("57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98"),
            [
                (0, hex!("92bdd28a93c3f52511c677d08b5515a4")),
                (1, hex!("9da71b2378a854f67050756ded165bac")),
                (2, hex!("63c4868b7096d88421b563b8c94c9a31")),
                (0xfeff, hex!("cea518c90fd91ced9cbb18c078a54711")),
                (0xff00, hex!("3dbc4814f4da5f00a08772b63c6a046d")),
                (0xff01, hex!("6eb246913062a16891433e97dd01a57f")),
            ],
        );
    }

    #[test]
    fn tags_without_text_are_those_of_rfc_7714() {
        // Sections 16.1.3 and 16.2.3: an RTP packet of which nothing is encrypted.
        let packet = hex!(
            "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e697320646976
             69736120696e207061727465732074726573"
        );
        let salt = hex!("517569642070726f2071756f");
        let key: Vec<u8> = (0..32).collect();
        for (suite, tag) in [
            (
                Suite::AeadAes128Gcm,
                hex!("22493f82d2bce397e9d79e3b19aa4216"),
            ),
            (
                Suite::AeadAes256Gcm,
                hex!("a866d5910f887463067ceefec45215d4"),
            ),
        ] {
            let key = SessionKey::from_bytes(suite, &key[..suite.key_len()], &[], &salt);
            let keys = super::super::Keys::new(&key, &key, false);
            let mut frame = packet.to_vec();
            frame.resize(packet.len() + TAG_LEN, 0);
            let mut item = Item {
                keys: &keys,
                kind: Kind::Rtp,
                start: 0,
                head: packet.len(),
                len: packet.len(),
                frame: &mut frame,
                ssrc: 0x5501_a0b2,
                index: 0xf17b,
                authentic: false,
            };
            seal(&mut item);
            assert!(open(&mut item), "{suite}");
            assert_eq!(frame[..packet.len()], packet, "{suite}");
            assert_eq!(frame[packet.len()..], tag, "{suite}");
        }
    }

    #[test]
    fn keys_that_turn_are_expanded_once_and_not_for_each_packet() {
        for suite in Suite::ALL {
            let (key, salt) = (&[7; 32][..suite.key_len()], &[9; 14][..suite.salt_len()]);
            let key = SessionKey::from_bytes(suite, key, &[], salt);
            let mut keys = super::super::Keys::new(&key, &key, true);
            assert!(keys.portable.expanded.is_some(), "{suite}");
            keys.renew(&key, &key);
            assert!(keys.portable.expanded.is_some(), "{suite}");
        }
    }
}
