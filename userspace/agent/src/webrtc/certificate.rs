// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The certificate that we show in handshakes. Nobody signs it: peers compare its hash with the one
//! in our session descriptions (RFC 5763 section 5).
//!
//! Its key is derived from the key of the store and never written down, and so is all else in it:
//! it is the same at each start, and offers of an earlier one still hold.

use p256::SecretKey;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::EncodePrivateKey;
use sallyport_signalling::dtls::{Fingerprint, Hash};
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_cert::TbsCertificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder, Error};
use x509_cert::der::asn1::UtcTime;
use x509_cert::der::{DateTime, Encode};
use x509_cert::ext::Extension;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};
use zeroize::Zeroizing;

/// What the derived secrets are for.
const KEY: &[u8] = b"sallyport DTLS key, version 1";
const SERIAL: &[u8] = b"sallyport DTLS certificate serial number, version 1";

/// A certificate of ECDSA on P-256, which every browser knows, and its private key.
pub(crate) struct Certificate {
    /// In DER.
    pub(super) certificate: Vec<u8>,
    /// In PKCS #8, in DER.
    pub(super) key: Zeroizing<Vec<u8>>,
}

impl Certificate {
    /// The certificate that belongs to a source of secrets, each for its purpose.
    pub(crate) fn derive(secret: impl Fn(&[u8]) -> Zeroizing<[u8; 32]>) -> Result<Self, Error> {
        // One in 2^32 secrets is no key of the curve.
        let key = (0..=u8::MAX)
            .find_map(|turn| SecretKey::from_slice(&*secret(&[KEY, &[turn]].concat())).ok())
            .ok_or(Error::PublicKey(x509_cert::spki::Error::KeyMalformed))?;
        let document = key.to_pkcs8_der().map_err(x509_cert::spki::Error::from);
        let document = document.map_err(Error::PublicKey)?;
        let signer = SigningKey::from(&key);
        // Firefox wants serial numbers to be different all over the world.
        let serial = SerialNumber::new(&secret(SERIAL)[..16])?;
        let public = SubjectPublicKeyInfo::from_key(signer.verifying_key())?;
        // RFC 5280 section 4.1.2.5: no end.
        let start = UtcTime::from_date_time(DateTime::new(2020, 1, 1, 0, 0, 0)?)?;
        let validity = Validity::new(Time::UtcTime(start), Time::INFINITY);
        let builder = CertificateBuilder::new(SelfSigned, serial, validity, public)?;
        let certificate = builder.build::<_, DerSignature>(&signer)?;
        Ok(Self {
            certificate: certificate.to_der()?,
            key: Zeroizing::new(document.as_bytes().to_vec()),
        })
    }

    /// Its hash.
    pub(crate) fn fingerprint(&self, hash: Hash) -> Fingerprint {
        fingerprint(&self.certificate, hash)
    }
}

/// The hash of a certificate.
fn fingerprint(certificate: &[u8], hash: Hash) -> Fingerprint {
    let digest = match hash {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    };
    Fingerprint { hash, digest }
}

/// Whether a certificate is one of those announced (RFC 8122 section 5).
pub(super) fn is_announced(certificate: &[u8], announced: &[Fingerprint]) -> bool {
    announced
        .iter()
        .any(|one| fingerprint(certificate, one.hash) == *one)
}

/// Nobody needs to know more about us than the key.
struct SelfSigned;

impl BuilderProfile for SelfSigned {
    fn get_issuer(&self, subject: &Name) -> Name {
        subject.clone()
    }

    fn get_subject(&self) -> Name {
        // What it says is of no meaning; some peers do not take an empty one.
        "CN=sallyport".parse().unwrap_or_default()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> Result<Vec<Extension>, Error> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derive(seed: u8) -> Certificate {
        Certificate::derive(|purpose| {
            let digest = Sha256::digest([&[seed], purpose].concat());
            Zeroizing::new(digest.into())
        })
        .unwrap()
    }

    #[test]
    fn the_same_secret_makes_the_same_certificate_and_another_one_another() {
        let first = derive(1);
        assert_eq!(first.certificate, derive(1).certificate);
        assert_eq!(first.key, derive(1).key);
        assert_ne!(first.certificate, derive(2).certificate);
    }

    #[test]
    fn a_certificate_is_known_by_any_of_its_hashes_and_by_no_other() {
        let (own, other) = (derive(1), derive(2));
        for hash in Hash::ALL {
            let announced = [other.fingerprint(hash), own.fingerprint(hash)];
            assert!(is_announced(&own.certificate, &announced));
            assert!(!is_announced(&own.certificate, &announced[..1]));
        }
        assert!(!is_announced(&own.certificate, &[]));
    }
}
