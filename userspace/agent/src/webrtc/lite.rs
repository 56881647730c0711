// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The answers of a lite agent to the checks of its peer (RFC 8445 section 7.3, RFC 8489).
//!
//! What is not for us is not answered: what does not look like a check at all, and what does not even
//! have our name. What does and is not from who knows our password and its own name gets an error,
//! shorter than itself, and changes nothing.

use std::net::SocketAddr;

use sallyport_signalling::ice::Ice;
use stun_types::attribute::{
    Attribute, AttributeStaticType, AttributeType, ErrorCode, Fingerprint, MessageIntegrity,
    MessageIntegritySha256, UnknownAttributes, Username, XorMappedAddress,
};
use stun_types::message::{
    BINDING, Message, MessageClass, MessageIntegrityCredentials, MessageWrite, MessageWriteExt,
    MessageWriteVec, ShortTermCredentials, StunWriteError,
};

const PRIORITY: AttributeType = AttributeType::new(0x0024);
const USE_CANDIDATE: AttributeType = AttributeType::new(0x0025);
const ICE_CONTROLLED: AttributeType = AttributeType::new(0x8029);

/// What has to be understood to understand a check.
const KNOWN: [AttributeType; 6] = [
    Username::TYPE,
    MessageIntegrity::TYPE,
    MessageIntegritySha256::TYPE,
    UnknownAttributes::TYPE,
    PRIORITY,
    USE_CANDIDATE,
];

/// From here on an attribute need not be understood.
const OPTIONAL: u16 = 0x8000;

/// The answer to a check, and what it means.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    /// `None` if it is an error.
    pub(super) check: Option<Check>,
}

/// A check that was passed: the peer can be reached where it came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Check {
    /// Media is to go there.
    pub(super) nominates: bool,
    /// The more the better (RFC 8445 section 5.1.2).
    pub(super) priority: u32,
}

/// Answers a datagram, if it is a check for us. To tell that of one that is not takes no hash with a
/// key.
pub(super) fn answer(datagram: &[u8], from: SocketAddr, ice: &Ice) -> Option<Answer> {
    // The hash of the fingerprint is looked at here.
    let request = Message::from_bytes(datagram).ok()?;
    let is_check = request.has_class(MessageClass::Request)
        && request.has_method(BINDING)
        && request.has_attribute(Fingerprint::TYPE);
    if !is_check {
        return None;
    }
    // RFC 8445 section 7.2.2: who is asked, and who asks.
    let user = request.attribute::<Username>().ok()?;
    let (ours, theirs) = user.username().split_once(':')?;
    if ours != ice.local.fragment() {
        return None;
    }
    let error = |code| {
        let bytes = refuse(&request, code).ok()?;
        Some(Answer { bytes, check: None })
    };
    if !has_integrity(&request) {
        return error(ErrorCode::BAD_REQUEST);
    }
    let password = ShortTermCredentials::new(ice.local.expose().to_owned());
    let password = MessageIntegrityCredentials::from(password);
    if theirs != ice.remote.fragment() || request.validate_integrity(&password).is_err() {
        return error(ErrorCode::UNAUTHORIZED);
    }
    if unknown(&request).next().is_some() {
        return error(ErrorCode::UNKNOWN_ATTRIBUTE);
    }
    // A lite agent never leads: whoever checks does (RFC 8445 section 6.1.1).
    if request.has_attribute(ICE_CONTROLLED) {
        return error(ErrorCode::ROLE_CONFLICT);
    }
    let priority = request.raw_attribute(PRIORITY);
    let priority = priority.and_then(|raw| <[u8; 4]>::try_from(&*raw.value).ok());
    let Some(priority) = priority.map(u32::from_be_bytes) else {
        return error(ErrorCode::BAD_REQUEST);
    };
    let bytes = accept(&request, from, &password).ok()?;
    let check = Check {
        nominates: request.has_attribute(USE_CANDIDATE),
        priority,
    };
    Some(Answer {
        bytes,
        check: Some(check),
    })
}

fn has_integrity(request: &Message<'_>) -> bool {
    [MessageIntegrity::TYPE, MessageIntegritySha256::TYPE]
        .into_iter()
        .any(|kind| request.has_attribute(kind))
}

/// What has to be understood, and is not.
fn unknown(request: &Message<'_>) -> impl Iterator<Item = AttributeType> {
    let found = request.iter_attributes().map(|(_, raw)| raw.get_type());
    found.filter(|kind| kind.value() < OPTIONAL && !KNOWN.contains(kind))
}

fn accept(
    request: &Message<'_>,
    from: SocketAddr,
    password: &MessageIntegrityCredentials,
) -> Result<Vec<u8>, StunWriteError> {
    let mut response = Message::builder_success(request, MessageWriteVec::new());
    let at = XorMappedAddress::new(from, request.transaction_id());
    response.add_attribute(&at)?;
    // The answer is protected as the question was (RFC 8489 section 9.1.4).
    let algorithm = if request.has_attribute(MessageIntegritySha256::TYPE) {
        stun_types::message::IntegrityAlgorithm::Sha256
    } else {
        stun_types::message::IntegrityAlgorithm::Sha1
    };
    response.add_message_integrity(password, algorithm)?;
    response.add_fingerprint()?;
    Ok(response.finish())
}

fn refuse(request: &Message<'_>, code: u16) -> Result<Vec<u8>, StunWriteError> {
    let mut response = Message::builder_error(request, MessageWriteVec::new());
    response.add_attribute(&ErrorCode::builder(code).build()?)?;
    if code == ErrorCode::UNKNOWN_ATTRIBUTE {
        let unknown: Vec<_> = unknown(request).collect();
        response.add_attribute(&UnknownAttributes::new(&unknown))?;
    }
    response.add_fingerprint()?;
    Ok(response.finish())
}

#[cfg(test)]
mod tests {
    use sallyport_signalling::ice::Credentials;
    use sallyport_signalling::random::{Random, RandomError};
    use stun_types::attribute::RawAttribute;
    use stun_types::message::IntegrityAlgorithm;

    use super::*;

    struct Filled(u8);

    impl Random for Filled {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    fn ice() -> Ice {
        let [local, remote] = [1, 2].map(|byte| Credentials::random(&mut Filled(byte)).unwrap());
        Ice {
            local,
            remote,
            peer_is_lite: false,
        }
    }

    fn from() -> SocketAddr {
        "192.0.2.7:5004".parse().unwrap()
    }

    /// How a check is made.
    struct Made<'a> {
        user: Option<&'a str>,
        password: Option<&'a str>,
        algorithm: IntegrityAlgorithm,
        attributes: &'a [(u16, &'a [u8])],
        has_fingerprint: bool,
    }

    const GOOD: Made<'_> = Made {
        user: Some("AQEBAQEB:AgICAgIC"),
        password: Some("AQEBAQEBAQEBAQEBAQEBAQEB"),
        algorithm: IntegrityAlgorithm::Sha1,
        attributes: &[(0x0024, &[1, 2, 3, 4]), (0x802a, &[0; 8])],
        has_fingerprint: true,
    };

    impl Made<'_> {
        fn bytes(&self) -> Vec<u8> {
            let mut check = Message::builder_request(BINDING, MessageWriteVec::new());
            if let Some(user) = self.user {
                check.add_attribute(&Username::new(user).unwrap()).unwrap();
            }
            for (kind, value) in self.attributes {
                let raw = RawAttribute::new(AttributeType::new(*kind), value);
                check.add_attribute(&raw).unwrap();
            }
            if let Some(password) = self.password {
                let password = ShortTermCredentials::new(password.to_owned()).into();
                check
                    .add_message_integrity(&password, self.algorithm)
                    .unwrap();
            }
            if self.has_fingerprint {
                check.add_fingerprint().unwrap();
            }
            check.finish()
        }
    }

    #[test]
    fn a_check_of_who_knows_the_password_is_answered_with_where_it_came_from() {
        let with_nomination = [GOOD.attributes, &[(0x0025, &[][..])]].concat();
        for (attributes, nominates) in [(GOOD.attributes, false), (&with_nomination, true)] {
            for algorithm in [IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256] {
                let made = Made {
                    algorithm,
                    attributes,
                    ..GOOD
                };
                let Answer { bytes, check } = answer(&made.bytes(), from(), &ice()).unwrap();
                let priority = 0x0102_0304;
                assert_eq!(
                    check,
                    Some(Check {
                        nominates,
                        priority
                    })
                );
                let response = Message::from_bytes(&bytes).unwrap();
                assert!(response.has_class(MessageClass::Success));
                let at = response.attribute::<XorMappedAddress>().unwrap();
                assert_eq!(at.addr(response.transaction_id()), from());
                let password = ShortTermCredentials::new(GOOD.password.unwrap().to_owned());
                let found = response.validate_integrity(&password.into());
                assert_eq!(found.unwrap(), algorithm);
            }
        }
    }

    #[test]
    fn who_does_not_know_the_password_or_breaks_the_rules_gets_an_error_and_no_more() {
        let made = |attributes| Made { attributes, ..GOOD };
        for (name, made, code) in [
            (
                "no integrity",
                Made {
                    password: None,
                    ..GOOD
                },
                400,
            ),
            (
                "another password",
                Made {
                    password: Some("AQEBAQEBAQEBAQEBAQEBAQEC"),
                    ..GOOD
                },
                401,
            ),
            (
                "another name of its own",
                Made {
                    user: Some("AQEBAQEB:AgICAgID"),
                    ..GOOD
                },
                401,
            ),
            (
                "no name of its own",
                Made {
                    user: Some("AQEBAQEB:"),
                    ..GOOD
                },
                401,
            ),
            (
                "more than its own name",
                Made {
                    user: Some("AQEBAQEB:AgICAgIC:AgICAgIC"),
                    ..GOOD
                },
                401,
            ),
            ("no priority", made(&[(0x802a, &[0; 8])]), 400),
            (
                "an unknown attribute that has to be understood",
                made(&[(0x0024, &[0; 4]), (0x7fff, &[])]),
                420,
            ),
            (
                "a peer that wants us to lead",
                made(&[(0x0024, &[0; 4]), (0x8029, &[0xff; 8])]),
                487,
            ),
        ] {
            let Answer { bytes, check } = answer(&made.bytes(), from(), &ice()).unwrap();
            assert_eq!(check, None, "{name}");
            let response = Message::from_bytes(&bytes).unwrap();
            assert!(response.has_class(MessageClass::Error), "{name}");
            let error = response.attribute::<ErrorCode>().unwrap();
            assert_eq!(error.code(), code, "{name}");
        }
    }

    #[test]
    fn what_is_no_check_or_for_somebody_else_is_not_answered() {
        let good = GOOD.bytes();
        let mut damaged = good.clone();
        damaged[30] ^= 1;
        let without_fingerprint = Made {
            has_fingerprint: false,
            ..GOOD
        };
        let message = Message::from_bytes(&good).unwrap();
        let response = Message::builder_success(&message, MessageWriteVec::new()).finish();
        for (name, datagram) in [
            ("nothing", &[][..]),
            ("a header that ends", &good[..19]),
            ("an end that is missing", &good[..good.len() - 4]),
            ("a flipped bit", &damaged),
            ("no fingerprint", &without_fingerprint.bytes()),
            ("a response", &response),
        ] {
            assert_eq!(answer(datagram, from(), &ice()), None, "{name}");
        }
        for user in [
            None,
            Some(""),
            Some(":"),
            Some("AQEBAQEB"),
            Some("AQEBAQEC:AgICAgIC"),
            Some("AQEBAQEBAQ:AgICAgIC"),
            Some("AgICAgIC:AQEBAQEB"),
        ] {
            let made = Made { user, ..GOOD };
            assert_eq!(answer(&made.bytes(), from(), &ice()), None, "{user:?}");
        }
    }

    #[test]
    fn what_anybody_may_have_added_behind_the_integrity_does_not_count() {
        let made = Made {
            has_fingerprint: false,
            ..GOOD
        };
        let mut late = made.bytes();
        late.extend([0, 0x25, 0, 0]);
        late[3] += 4 + 8;
        let fingerprint = Fingerprint::new(Fingerprint::compute(&[&late]));
        late.extend(RawAttribute::from(&fingerprint).to_bytes());
        let nominates = answer(&late, from(), &ice())
            .and_then(|answer| answer.check)
            .is_some_and(|check| check.nominates);
        assert!(!nominates);
    }
}
