// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The answers of a lite agent to the checks of its peer (RFC 8445 section 7.3, RFC 8489).
//!
//! What does not look like a check at all is not answered. What does and is not from who knows our
//! password gets an error, shorter than itself, and changes nothing.

use std::net::SocketAddr;

use sallyport_signalling::ice::Credentials;
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

/// Answers a datagram, if it is a check.
pub(super) fn answer(datagram: &[u8], from: SocketAddr, local: &Credentials) -> Option<Answer> {
    // The hash of the fingerprint is looked at here.
    let request = Message::from_bytes(datagram).ok()?;
    let is_check = request.has_class(MessageClass::Request)
        && request.has_method(BINDING)
        && request.has_attribute(Fingerprint::TYPE);
    if !is_check {
        return None;
    }
    let error = |code| {
        let bytes = refuse(&request, code).ok()?;
        Some(Answer { bytes, check: None })
    };
    let user = request.attribute::<Username>().ok();
    let (Some(user), true) = (user, has_integrity(&request)) else {
        return error(ErrorCode::BAD_REQUEST);
    };
    let is_ours = user
        .username()
        .split_once(':')
        .is_some_and(|(ours, _)| ours == local.fragment());
    let password = ShortTermCredentials::new(local.expose().to_owned());
    let password = MessageIntegrityCredentials::from(password);
    if !is_ours || request.validate_integrity(&password).is_err() {
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
