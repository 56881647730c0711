// SPDX-License-Identifier: Apache-2.0 OR MIT

//! RustCrypto, packet by packet, with expanded keys: what a straightforward Rust program does.

use aes::{Aes128Enc, Aes256Enc};
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::{AeadInOut, AesGcm, Tag};
use ctr::Ctr128BE;
use ctr::cipher::{BlockCipherEncrypt, BlockSizeUser, InnerIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use sallyport_srtp::Suite;
use sha1::Sha1;

use crate::case::{Operation, is_gcm};
use crate::contestant::Contestant;
use crate::keys::{Salt, SessionKey, StreamKey, roc};
use crate::peers::locked;
use crate::pool::{HEADER, PACKETS, Packet, Pool};

const CM_TAG: usize = 10;
const GCM_TAG: usize = 16;

pub(crate) struct RustCrypto {
    streams: Streams,
    operation: Operation,
}

enum Streams {
    Cm128(Vec<Cm<Aes128Enc>>),
    Cm256(Vec<Cm<Aes256Enc>>),
    Gcm128(Vec<Gcm<Aes128Enc>>),
    Gcm256(Vec<Gcm<Aes256Enc>>),
}

struct Cm<A> {
    cipher: A,
    mac: Hmac<Sha1>,
    salt: Salt,
}

struct Gcm<A> {
    aead: AesGcm<A, U12>,
    salt: Salt,
}

impl RustCrypto {
    pub(crate) fn new(suite: Suite, operation: Operation, streams: usize) -> Self {
        let keys = (0..streams).map(|stream| StreamKey::of(suite, stream).session(stream));
        let streams = match (is_gcm(suite), suite.key_len()) {
            (false, 16) => Streams::Cm128(keys.map(|key| Cm::new(&key)).collect()),
            (false, _) => Streams::Cm256(keys.map(|key| Cm::new(&key)).collect()),
            (true, 16) => Streams::Gcm128(keys.map(|key| Gcm::new(&key)).collect()),
            (true, _) => Streams::Gcm256(keys.map(|key| Gcm::new(&key)).collect()),
        };
        Self { streams, operation }
    }
}

impl Contestant for RustCrypto {
    fn name(&self) -> &'static str {
        "RustCrypto"
    }

    fn version(&self) -> String {
        let crates: &[_] = match self.streams {
            Streams::Cm128(_) | Streams::Cm256(_) => &["aes", "ctr", "hmac", "sha1"],
            Streams::Gcm128(_) | Streams::Gcm256(_) => &["aes-gcm"],
        };
        let crates = crates.iter().map(|name| format!("{name} {}", locked(name)));
        crates.collect::<Vec<_>>().join(", ")
    }

    fn streams(&self) -> usize {
        match &self.streams {
            Streams::Cm128(streams) => streams.len(),
            Streams::Cm256(streams) => streams.len(),
            Streams::Gcm128(streams) => streams.len(),
            Streams::Gcm256(streams) => streams.len(),
        }
    }

    fn run(&mut self, pool: &mut Pool, _burst: usize) -> usize {
        let operation = self.operation;
        match &self.streams {
            Streams::Cm128(streams) => Cm::run(streams, operation, pool),
            Streams::Cm256(streams) => Cm::run(streams, operation, pool),
            Streams::Gcm128(streams) => Gcm::run(streams, operation, pool),
            Streams::Gcm256(streams) => Gcm::run(streams, operation, pool),
        }
    }
}

impl<A: KeyInit + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> Cm<A> {
    fn new(key: &SessionKey) -> Self {
        let cipher = A::new_from_slice(&key.cipher);
        let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(&key.auth);
        Self {
            cipher: cipher.expect("the suite's key length is its cipher's"),
            mac: mac.expect("HMAC takes keys of any length"),
            salt: key.salt,
        }
    }

    fn run(streams: &[Self], operation: Operation, pool: &mut Pool) -> usize {
        let mut refused = 0;
        for at in 0..PACKETS {
            let info = pool.packets[at];
            let stream = &streams[info.stream];
            let (packet, trailer) = pool.packet(at, CM_TAG).split_at_mut(info.len);
            if operation == Operation::Protect {
                stream.xor_keystream(packet, info);
                trailer
                    .copy_from_slice(&stream.mac(packet, info).finalize().into_bytes()[..CM_TAG]);
            } else if stream
                .mac(packet, info)
                .verify_truncated_left(trailer)
                .is_ok()
            {
                stream.xor_keystream(packet, info);
            } else {
                refused += 1;
            }
        }
        refused
    }

    fn xor_keystream(&self, packet: &mut [u8], info: Packet) {
        let core = InnerIvInit::inner_iv_init(&self.cipher, &self.salt.cm_iv(info.index).into());
        Ctr128BE::from_core(core).apply_keystream(&mut packet[HEADER..]);
    }

    fn mac(&self, packet: &[u8], info: Packet) -> Hmac<Sha1> {
        let mut mac = self.mac.clone();
        mac.update(packet);
        mac.update(&roc(info.index).to_be_bytes());
        mac
    }
}

impl<A> Gcm<A>
where
    A: KeyInit,
    AesGcm<A, U12>: AeadInOut<NonceSize = U12, TagSize = U16> + From<A>,
{
    fn new(key: &SessionKey) -> Self {
        let cipher = A::new_from_slice(&key.cipher);
        Self {
            aead: cipher
                .expect("the suite's key length is its cipher's")
                .into(),
            salt: key.salt,
        }
    }

    fn run(streams: &[Self], operation: Operation, pool: &mut Pool) -> usize {
        let mut refused = 0;
        for at in 0..PACKETS {
            let info = pool.packets[at];
            let Self { aead, salt } = &streams[info.stream];
            let iv = salt.gcm_iv(info.index).into();
            let (packet, trailer) = pool.packet(at, GCM_TAG).split_at_mut(info.len);
            let (header, text) = packet.split_at_mut(HEADER);
            if operation == Operation::Protect {
                let tag = aead.encrypt_inout_detached(&iv, header, text.into());
                trailer.copy_from_slice(&tag.expect("a packet is short"));
            } else {
                let tag: [u8; GCM_TAG] = (&*trailer).try_into().expect("a tag has 16 bytes");
                let tag = Tag::from(tag);
                let opened = aead.decrypt_inout_detached(&iv, header, text.into(), &tag);
                refused += usize::from(opened.is_err());
            }
        }
        refused
    }
}
