// SPDX-License-Identifier: Apache-2.0 OR MIT

//! aws-lc-rs, packet by packet, with expanded keys.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use sallyport_srtp::Suite;

use crate::case::{Operation, is_gcm};
use crate::contestant::Contestant;
use crate::keys::{Salt, SessionKey, StreamKey, roc};
use crate::pool::{HEADER, PACKETS, Packet, Pool};

const CM_TAG: usize = 10;
const GCM_TAG: usize = 16;

pub(crate) struct AwsLc {
    streams: Vec<Stream>,
    operation: Operation,
}

struct Cm {
    cipher: EncryptingKey,
    mac: hmac::Key,
    salt: Salt,
}

enum Stream {
    Cm(Box<Cm>),
    Gcm { aead: LessSafeKey, salt: Salt },
}

impl AwsLc {
    pub(crate) fn new(suite: Suite, operation: Operation, streams: usize) -> Self {
        let streams = (0..streams).map(|stream| {
            let key = StreamKey::of(suite, stream).session(stream);
            if is_gcm(suite) {
                Stream::gcm(&key)
            } else {
                Stream::cm(&key)
            }
        });
        Self {
            streams: streams.collect(),
            operation,
        }
    }
}

impl Contestant for AwsLc {
    fn name(&self) -> &'static str {
        "aws-lc-rs"
    }

    fn version(&self) -> String {
        super::locked("aws-lc-rs")
    }

    fn streams(&self) -> usize {
        self.streams.len()
    }

    fn run(&mut self, pool: &mut Pool, _burst: usize) -> usize {
        let mut refused = 0;
        for at in 0..PACKETS {
            let info = pool.packets[at];
            let stream = &self.streams[info.stream];
            let trailer = match stream {
                Stream::Cm(_) => CM_TAG,
                Stream::Gcm { .. } => GCM_TAG,
            };
            let packet = pool.packet(at, trailer);
            match self.operation {
                Operation::Protect => stream.protect(packet, info),
                Operation::Unprotect => refused += usize::from(!stream.unprotect(packet, info)),
            }
        }
        refused
    }
}

impl Stream {
    fn cm(key: &SessionKey) -> Self {
        let algorithm = if key.cipher.len() == 16 {
            &AES_128
        } else {
            &AES_256
        };
        let cipher = UnboundCipherKey::new(algorithm, &key.cipher).and_then(EncryptingKey::ctr);
        Self::Cm(Box::new(Cm {
            cipher: cipher.expect("the suite's key length is its cipher's"),
            mac: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key.auth),
            salt: key.salt,
        }))
    }

    fn gcm(key: &SessionKey) -> Self {
        let algorithm = if key.cipher.len() == 16 {
            &AES_128_GCM
        } else {
            &AES_256_GCM
        };
        let key_bytes = UnboundKey::new(algorithm, &key.cipher);
        let key_bytes = key_bytes.expect("the suite's key length is its cipher's");
        Self::Gcm {
            aead: LessSafeKey::new(key_bytes),
            salt: key.salt,
        }
    }

    fn protect(&self, packet: &mut [u8], info: Packet) {
        let (packet, trailer) = packet.split_at_mut(info.len);
        match self {
            Self::Cm(cm) => {
                cm.xor_keystream(packet, info);
                trailer.copy_from_slice(&cm.tag(packet, info).as_ref()[..CM_TAG]);
            }
            Self::Gcm { aead, salt } => {
                let (header, text) = packet.split_at_mut(HEADER);
                let nonce = Nonce::assume_unique_for_key(salt.gcm_iv(info.index));
                let tag = aead.seal_in_place_separate_tag(nonce, Aad::from(&*header), text);
                trailer.copy_from_slice(tag.expect("a packet is short").as_ref());
            }
        }
    }

    fn unprotect(&self, packet: &mut [u8], info: Packet) -> bool {
        match self {
            Self::Cm(cm) => {
                let (packet, trailer) = packet.split_at_mut(info.len);
                let expected = cm.tag(packet, info);
                let is_right = verify_slices_are_equal(&expected.as_ref()[..CM_TAG], trailer);
                if is_right.is_ok() {
                    cm.xor_keystream(packet, info);
                }
                is_right.is_ok()
            }
            Self::Gcm { aead, salt } => {
                let (header, text) = packet.split_at_mut(HEADER);
                let nonce = Nonce::assume_unique_for_key(salt.gcm_iv(info.index));
                aead.open_in_place(nonce, Aad::from(&*header), text).is_ok()
            }
        }
    }
}

impl Cm {
    fn xor_keystream(&self, packet: &mut [u8], info: Packet) {
        let iv = EncryptionContext::Iv128(FixedLength::from(self.salt.cm_iv(info.index)));
        let done = self.cipher.less_safe_encrypt(&mut packet[HEADER..], iv);
        done.expect("counter mode takes an IV and any length");
    }

    fn tag(&self, packet: &[u8], info: Packet) -> hmac::Tag {
        let mut mac = hmac::Context::with_key(&self.mac);
        mac.update(packet);
        mac.update(&roc(info.index).to_be_bytes());
        mac.sign()
    }
}
