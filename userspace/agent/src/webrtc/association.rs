// SPDX-License-Identifier: Apache-2.0 OR MIT

//! One handshake of DTLS 1.2 or 1.3, and the SRTP keys that come out of it (RFC 5764). No I/O.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::crypto::rust_crypto::default_provider;
use dimpl::{Config, Dtls, DtlsCertificate, Output, SrtpProfile};
use sallyport_flow::{Crypto, MasterKey, Secret, Suite};
use sallyport_signalling::dtls::{self, Fingerprint};
use zeroize::Zeroizing;

use super::certificate::{Certificate, is_announced};

/// How long a handshake may take.
const TIME_LIMIT: Duration = Duration::from_secs(15);

/// When the first flight of messages is repeated. Each time after that takes twice as long.
const FIRST_REPETITION: Duration = Duration::from_millis(250);

const REPETITIONS: usize = 6;

/// The least time until it goes on though nothing arrives.
const REST: Duration = Duration::from_millis(10);

/// More than the longest datagram that leaves.
const DATAGRAM: usize = 2048;

/// Who we are in handshakes, and how we lead them.
pub(super) struct Identity {
    config: Arc<Config>,
    certificate: DtlsCertificate,
}

impl Identity {
    pub(super) fn new(certificate: &Certificate) -> Result<Self, dimpl::Error> {
        let config = Config::builder()
            .with_crypto_provider(default_provider())
            .handshake_timeout(TIME_LIMIT)
            .flight_start_rto(FIRST_REPETITION)
            .flight_retries(REPETITIONS)
            .build()?;
        Ok(Self {
            config: Arc::new(config),
            certificate: DtlsCertificate {
                certificate: certificate.certificate.clone(),
                private_key: certificate.key.to_vec(),
            },
        })
    }
}

/// One handshake, and what answers the peer after it when our last messages got lost.
pub(super) struct Association {
    dtls: Dtls,
    is_client: bool,
    announced: Vec<Fingerprint>,
    /// Whether the peer has shown a certificate that was announced.
    is_genuine: bool,
    has_keys: bool,
    now: Instant,
    deadline: Instant,
}

/// The keys of a leg.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Keys {
    pub(crate) receive: Crypto,
    pub(crate) send: Crypto,
}

impl Association {
    /// Begins a handshake. As client, [`Self::proceed`] has something to send.
    pub(super) fn begin(
        identity: &Identity,
        terms: &dtls::Dtls,
        now: Instant,
    ) -> Result<Self, Broken> {
        let config = Arc::clone(&identity.config);
        let mut dtls = Dtls::new_auto(config, identity.certificate.clone(), now);
        dtls.set_active(terms.is_client);
        dtls.handle_timeout(now).map_err(Broken::Dtls)?;
        Ok(Self {
            dtls,
            is_client: terms.is_client,
            announced: terms.peer.fingerprints.clone(),
            is_genuine: false,
            has_keys: false,
            now,
            deadline: now,
        })
    }

    /// Whether a datagram may begin a handshake with a server: it has a `ClientHello`.
    pub(super) fn may_begin(datagram: &[u8]) -> bool {
        const HANDSHAKE: u8 = 22;
        const CLIENT_HELLO: u8 = 1;
        const RECORD_HEADER: usize = 13;
        datagram.first() == Some(&HANDSHAKE) && datagram.get(RECORD_HEADER) == Some(&CLIENT_HELLO)
    }

    /// Whether a datagram begins as records of DTLS do: with the header of 1.2, or the short one of
    /// 1.3 (RFC 9147 section 4).
    pub(super) fn may_take(datagram: &[u8]) -> bool {
        matches!(
            datagram,
            [20..=26, 0xfe, 0xfd | 0xff, _, _, _, _, _, _, _, _, _, _, ..] | [32..=63, _, _, ..]
        )
    }

    /// Takes what has arrived, if something has.
    pub(super) fn take(&mut self, datagram: Option<&[u8]>, now: Instant) -> Result<(), Broken> {
        self.now = now;
        self.dtls.handle_timeout(now).map_err(Broken::Dtls)?;
        match datagram {
            Some(datagram) => self.dtls.handle_packet(datagram).map_err(Broken::Dtls),
            None => Ok(()),
        }
    }

    /// Goes on as far as it can. Returns keys once there are some, and the peer has proved to be
    /// who was announced.
    pub(super) fn proceed(&mut self, mut send: impl FnMut(&[u8])) -> Result<Option<Keys>, Broken> {
        let mut buffer = Zeroizing::new(vec![0; DATAGRAM]);
        let mut keys = None;
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(datagram) => send(datagram),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::PeerCert(certificate) => {
                    self.is_genuine = is_announced(certificate, &self.announced);
                    if !self.is_genuine {
                        return Err(Broken::Certificate);
                    }
                }
                Output::KeyingMaterial(material, profile) => {
                    if !self.is_genuine {
                        return Err(Broken::Certificate);
                    }
                    let material = Zeroizing::new(material.to_vec());
                    keys = Some(self.keys(&material, profile).ok_or(Broken::Profile)?);
                    self.has_keys = true;
                }
                Output::Timeout(at) => {
                    self.deadline = at.max(self.now + REST);
                    return Ok(keys);
                }
                // Keys are all that is wanted of it, and calls are ended by signalling.
                _ => {}
            }
        }
    }

    /// When to go on though nothing arrives.
    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether it has given keys.
    pub(super) const fn has_keys(&self) -> bool {
        self.has_keys
    }

    /// RFC 5764 section 4.2: the client's key, the server's, the client's salt, the server's.
    fn keys(&self, material: &[u8], profile: SrtpProfile) -> Option<Keys> {
        let (suite, key_len) = match profile {
            SrtpProfile::AES128_CM_SHA1_80 => (Suite::AesCm128HmacSha1_80, 16),
            SrtpProfile::AEAD_AES_128_GCM => (Suite::AeadAes128Gcm, 16),
            SrtpProfile::AEAD_AES_256_GCM => (Suite::AeadAes256Gcm, 32),
            _ => return None,
        };
        let salt_len = suite.key_len() - key_len;
        if material.len() != 2 * suite.key_len() {
            return None;
        }
        let (keys, salts) = material.split_at(2 * key_len);
        let mut both = keys.chunks(key_len).zip(salts.chunks(salt_len));
        let mut next = || {
            let (key, salt) = both.next()?;
            Some(Crypto {
                suite,
                keys: vec![MasterKey::new(Secret::new([key, salt].concat()))],
                lifetime: None,
                replay_window: 0,
                key_derivation_rate: None,
                unencrypted_srtcp: false,
                marks: Vec::new(),
            })
        };
        let (of_client, of_server) = (next()?, next()?);
        Some(if self.is_client {
            Keys {
                receive: of_server,
                send: of_client,
            }
        } else {
            Keys {
                receive: of_client,
                send: of_server,
            }
        })
    }
}

/// Why a handshake has failed.
#[derive(Debug)]
pub(super) enum Broken {
    /// The peer did not follow the protocol, or not in time.
    Dtls(dimpl::Error),
    /// The peer's certificate is not one that was announced.
    Certificate,
    /// The peer wants no SRTP, or none that we know.
    Profile,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dtls(error) => write!(f, "DTLS: {error}; let the peer try again"),
            Self::Certificate => f.write_str(
                "the peer's certificate is not that of a=fingerprint; whoever answers is not who \
                 was called",
            ),
            Self::Profile => f.write_str(
                "the peer takes no SRTP profile of AEAD_AES_256_GCM, AEAD_AES_128_GCM and \
                 AES128_CM_HMAC_SHA1_80; let it offer one",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use sallyport_signalling::dtls::{DtlsPeer, Hash};
    use sha2::{Digest, Sha256};

    use super::*;

    /// One end, and what it has sent.
    struct End {
        certificate: Certificate,
        identity: Identity,
    }

    impl End {
        fn new(seed: u8) -> Self {
            let certificate = Certificate::derive(|purpose| {
                Zeroizing::new(Sha256::digest([&[seed], purpose].concat()).into())
            })
            .unwrap();
            let identity = Identity::new(&certificate).unwrap();
            Self {
                certificate,
                identity,
            }
        }

        fn begin(&self, peer: &Self, is_client: bool, now: Instant) -> Association {
            let peer = DtlsPeer {
                fingerprints: vec![peer.certificate.fingerprint(Hash::Sha256)],
                setup: None,
                id: None,
            };
            let terms = dtls::Dtls::new(None, is_client, String::new(), peer);
            Association::begin(&self.identity, &terms, now).unwrap()
        }
    }

    /// What one end makes of what has arrived: what it sends, and the keys.
    fn turn(
        association: &mut Association,
        arrived: &[Vec<u8>],
        now: Instant,
    ) -> Result<(Vec<Vec<u8>>, Option<Keys>), Broken> {
        let (mut sent, mut keys) = (Vec::new(), None);
        for datagram in arrived
            .iter()
            .map(|datagram| Some(datagram.as_slice()))
            .chain([None])
        {
            association.take(datagram, now)?;
            let found = association.proceed(|datagram| sent.push(datagram.to_vec()))?;
            keys = found.or(keys);
        }
        Ok((sent, keys))
    }

    #[test]
    fn both_ends_have_the_same_keys_even_if_any_flight_is_lost() {
        let (client, server) = (End::new(1), End::new(2));
        for lost in 0..8 {
            let mut now = Instant::now();
            let mut ends = [
                client.begin(&server, true, now),
                server.begin(&client, false, now),
            ];
            let mut keys = [None, None];
            let mut flight = Vec::new();
            for number in 0..40 {
                let at = number % 2;
                now += Duration::from_millis(150);
                let (sent, found) = turn(&mut ends[at], &flight, now).unwrap();
                keys[at] = found.or(keys[at].take());
                flight = if number == lost { Vec::new() } else { sent };
            }
            let [Some(of_client), Some(of_server)] = keys else {
                panic!("no keys when flight {lost} is lost: {keys:?}");
            };
            assert_eq!(of_client.send, of_server.receive, "{lost}");
            assert_eq!(of_client.receive, of_server.send, "{lost}");
            assert_ne!(of_client.send, of_client.receive, "{lost}");
            assert_eq!(of_client.send.suite, Suite::AeadAes256Gcm);
        }
    }

    #[test]
    fn whoever_is_not_who_was_announced_gets_no_keys() {
        let (client, server, other) = (End::new(1), End::new(2), End::new(3));
        for is_wrong_at_server in [false, true] {
            let now = Instant::now();
            let (of_client, of_server) = if is_wrong_at_server {
                (&server, &other)
            } else {
                (&other, &client)
            };
            let mut ends = [
                client.begin(of_client, true, now),
                server.begin(of_server, false, now),
            ];
            let mut flight = Vec::new();
            let broken =
                (0..20).find_map(|number| match turn(&mut ends[number % 2], &flight, now) {
                    Ok((sent, keys)) => {
                        let is_deceived = (number % 2 == 1) == is_wrong_at_server;
                        assert!(keys.is_none() || !is_deceived);
                        flight = sent;
                        None
                    }
                    Err(broken) => Some((number % 2, broken)),
                });
            let (at, broken) = broken.unwrap();
            assert_eq!(at == 1, is_wrong_at_server);
            assert!(matches!(broken, Broken::Certificate), "{broken}");
        }
    }

    #[test]
    fn a_handshake_begins_with_a_client_hello_only() {
        let (client, server) = (End::new(1), End::new(2));
        let now = Instant::now();
        let (first, _) = turn(&mut client.begin(&server, true, now), &[], now).unwrap();
        assert!(Association::may_begin(&first[0]));
        for no in [&[][..], &[22], &[22; 14], &first[0][..13], &[23; 100]] {
            assert!(!Association::may_begin(no), "{no:?}");
        }
    }

    #[test]
    fn all_that_a_handshake_sends_begins_as_records_do() {
        let (client, server) = (End::new(1), End::new(2));
        let now = Instant::now();
        let mut ends = [
            client.begin(&server, true, now),
            server.begin(&client, false, now),
        ];
        let mut flight = Vec::new();
        for number in 0..10 {
            (flight, _) = turn(&mut ends[number % 2], &flight, now).unwrap();
            assert!(
                flight
                    .iter()
                    .all(|datagram| Association::may_take(datagram))
            );
        }
        for no in [&[][..], &[22], &[22; 100], &[0; 20], &[0x80; 20], &[64; 20]] {
            assert!(!Association::may_take(no), "{no:?}");
        }
    }
}
