// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is asked: the body of `POST /v1/sessions`.
//!
//! Any value may be a key in the wrong place, so no error repeats one; not even serde's own words
//! are passed on where they could.

use std::net::{IpAddr, SocketAddr};

use sallyport_flow::{Realm, Suite};
use sallyport_signalling::{InlineKey, Suite as SignalledSuite};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::Error;
use crate::session::{Ends, Keys, LegRequest, Name, SessionRequest};

/// Reads the body.
///
/// # Errors
/// An [`Error`] that names the field at fault.
pub(super) fn parse(body: &[u8]) -> Result<SessionRequest, Error> {
    let body: Body = read(body)?;
    Ok(SessionRequest {
        name: body
            .name
            .map(Name::try_from)
            .transpose()
            .map_err(|error| Error::field("name", error.to_string()))?,
        access: body.access.parse(Realm::Access)?,
        core: body.core.parse(Realm::Core)?,
    })
}

/// Reads JSON.
///
/// # Errors
/// An [`Error`] that names the field at fault and repeats no value.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| explain(&error.path().to_string(), error.inner()))?;
    json.end().map_err(|error| explain("", &error))?;
    Ok(value)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Body {
    name: Option<String>,
    access: LegBody,
    core: LegBody,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct LegBody {
    profile: ProfileName,
    remote: String,
    remote_rtcp: Option<String>,
    #[serde(default)]
    rtcp_mux: bool,
    address: Option<String>,
    suite: Option<String>,
    receive: Option<Secret>,
    send: Option<Secret>,
}

#[derive(Clone, Copy, Deserialize)]
enum ProfileName {
    #[serde(rename = "RTP/AVP")]
    Avp,
    #[serde(rename = "RTP/SAVP")]
    Savp,
}

/// Text with a key in it, wiped when dropped. (The buffer of the HTTP server that it was read from
/// is out of our reach.)
pub(super) struct Secret(Zeroizing<String>);

impl std::ops::Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Zeroizing::new(text)))
    }
}

impl LegBody {
    fn parse(self, realm: Realm) -> Result<LegRequest, Error> {
        let at = |key: &str| format!("{realm}.{key}");
        let address = self
            .address
            .as_deref()
            .map(str::parse::<IpAddr>)
            .transpose()
            .map_err(|_| {
                Error::field(
                    at("address"),
                    "not an IP address; leave it out for the realm's own",
                )
            })?;
        Ok(LegRequest {
            address: address.map(|address| address.to_canonical()),
            rtcp_mux: self.rtcp_mux,
            remote: self.remote(at)?,
            keys: self.keys(at)?,
        })
    }

    fn remote(&self, at: impl Fn(&str) -> String) -> Result<Option<Ends>, Error> {
        let own_rtcp = self.remote_rtcp.as_deref();
        if self.rtcp_mux && own_rtcp.is_some() {
            return Err(Error::field(
                at("remote_rtcp"),
                "with rtcp_mux, RTCP has no port of its own; leave out one of the two",
            ));
        }
        if self.remote == "any" {
            return match own_rtcp {
                None => Ok(None),
                Some(_) => Err(Error::field(
                    at("remote_rtcp"),
                    "with remote \"any\", RTCP is latched like RTP; leave it out",
                )),
            };
        }
        let rtp = peer(&self.remote).ok_or_else(|| {
            Error::field(
                at("remote"),
                "not a peer; write \"any\", or unicast address and port such as 192.0.2.7:5004 \
                 or [2001:db8::7]:5004",
            )
        })?;
        let rtcp = match own_rtcp {
            _ if self.rtcp_mux => rtp,
            None => {
                let port = rtp.port().checked_add(1).ok_or_else(|| {
                    Error::field(
                        at("remote_rtcp"),
                        "no port follows that of remote; say where RTCP goes",
                    )
                })?;
                SocketAddr::new(rtp.ip(), port)
            }
            Some(rtcp) => peer(rtcp)
                .filter(|rtcp| rtcp.is_ipv4() == rtp.is_ipv4() && *rtcp != rtp)
                .ok_or_else(|| {
                    Error::field(
                        at("remote_rtcp"),
                        "not a peer of remote's IP version with another port; write it such as \
                         192.0.2.7:5005, or use rtcp_mux for the same port",
                    )
                })?,
        };
        Ok(Some(Ends { rtp, rtcp }))
    }

    fn keys(&self, at: impl Fn(&str) -> String) -> Result<Option<Keys>, Error> {
        if let ProfileName::Avp = self.profile {
            let surplus = [
                ("suite", self.suite.is_some()),
                ("receive", self.receive.is_some()),
                ("send", self.send.is_some()),
            ];
            return match surplus.into_iter().find(|(_, is_there)| *is_there) {
                None => Ok(None),
                Some((key, _)) => Err(Error::field(
                    at(key),
                    "RTP/AVP has no keys; leave it out or use profile RTP/SAVP",
                )),
            };
        }
        let missing = |key| Error::field(at(key), "RTP/SAVP needs it; add it");
        let suite: SignalledSuite = self
            .suite
            .as_deref()
            .ok_or_else(|| missing("suite"))?
            .parse()
            .map_err(|error: sallyport_signalling::UnknownSuite| {
                Error::field(at("suite"), error.to_string())
            })?;
        if !suite.may_be_offered() {
            return Err(Error::field(at("suite"), offered_suites()));
        }
        let key = |field, text: &Option<Secret>| {
            let text = text.as_ref().ok_or_else(|| missing(field))?;
            let key = InlineKey::parse(suite, text)
                .map_err(|error| Error::field(at(field), error.to_string()))?;
            // A flow has no room for one.
            if key.mki().is_some() {
                let error = "master key identifiers are not supported yet; leave out |MKI:length";
                return Err(Error::field(at(field), error));
            }
            Ok(key)
        };
        let receive = key("receive", &self.receive)?;
        let send = key("send", &self.send)?;
        let suite: Suite =
            suite
                .name()
                .parse()
                .map_err(|error: sallyport_flow::crypto::UnknownSuite| {
                    Error::field(at("suite"), error.to_string())
                })?;
        Keys::new(suite, &receive, &send)
            .map(Some)
            .map_err(|error| Error::field(at("send"), error.to_string()))
    }
}

/// F8 and NULL are for peers that have nothing else, which whoever knows both keys can tell.
fn offered_suites() -> String {
    let suites = SignalledSuite::ALL
        .into_iter()
        .filter(|suite| suite.may_be_offered());
    let names: Vec<_> = suites.map(SignalledSuite::name).collect();
    format!("unknown crypto suite; known are {}", names.join(", "))
}

/// Reads a peer that a packet can be sent to.
fn peer(text: &str) -> Option<SocketAddr> {
    let peer: SocketAddr = text.parse().ok()?;
    if matches!(peer, SocketAddr::V6(peer) if peer.scope_id() != 0) {
        return None;
    }
    let ip = peer.ip().to_canonical();
    let is_unicast = match ip {
        IpAddr::V4(ip) => !ip.is_broadcast(),
        IpAddr::V6(_) => true,
    } && !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback());
    (is_unicast && peer.port() != 0).then(|| SocketAddr::new(ip, peer.port()))
}

/// Says what is wrong with a body without repeating any of its values.
fn explain(path: &str, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    if error.classify() != Category::Data {
        // These are about the form alone.
        return Error::field(at_path(path), format!("not JSON: {text}"));
    }
    if let Some(key) = quoted(&text, "missing field ") {
        let field = match at_path(path) {
            parent if parent.is_empty() => key.to_owned(),
            parent => format!("{parent}.{key}"),
        };
        return Error::field(field, "missing; add it");
    }
    if let Some(key) = quoted(&text, "duplicate field ") {
        return Error::field(at_path(path), format!("{key} is there twice; keep one"));
    }
    let message = if text.starts_with("unknown field ") {
        "unknown key; correct or remove it".to_owned()
    } else {
        // What was found stands before, what serde expects behind it, then the place.
        let expected = text
            .rsplit_once("expected ")
            .map_or("another value", |(_, tail)| tail);
        format!("expected {expected}")
    };
    Error::field(at_path(path), message)
}

/// The name that serde puts in backticks behind its first words.
fn quoted<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.strip_prefix(words)?
        .strip_prefix('`')?
        .split('`')
        .next()
}

/// The path of a field as serde knows it, without names that could be anything but ours.
fn at_path(path: &str) -> String {
    let is_name = |name: &str| {
        (1..=24).contains(&name.len())
            && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'))
    };
    path.split('.')
        .take_while(|name| is_name(name))
        .collect::<Vec<_>>()
        .join(".")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_error_repeats_what_could_be_a_key() {
        let key = "inline:c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
        let leg = format!(r#"{{"profile":"RTP/AVP","remote":"{key}"}}"#);
        for body in [
            format!(r#""{key}""#),
            format!(r#"{{"access":"{key}","core":1}}"#),
            format!(r#"{{"{key}":1}}"#),
            format!(r#"{{"name":["{key}, expected "]}}"#),
            format!(r#"{{"access":{{"{key}":1}}}}"#),
            format!(r#"{{"access":{{"profile":"{key}"}}}}"#),
            format!(r#"{{"access":{{"rtcp_mux":"{key}"}}}}"#),
            format!(r#"{{"access":{{"receive":{{"{key}":"{key}"}}}}}}"#),
            format!(r#"{{"access":{leg},"core":{leg}}}"#),
            format!(r#"{{"access":{{"send":"{key}"#),
            format!(r#"{{"access":"{key}"}} {key}"#),
        ] {
            let error = parse(body.as_bytes()).unwrap_err();
            for part in ["c2Vjcm", "secret"] {
                assert!(!format!("{error:?}").contains(part), "{error:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused_without_panic(
            body in proptest::collection::vec(any::<u8>(), 0..256),
            remote in ".{0,40}",
            key in ".{0,80}",
        ) {
            let _ = parse(&body);
            let leg = serde_json::json!({
                "profile": "RTP/SAVP", "remote": remote, "suite": "AEAD_AES_128_GCM",
                "receive": key, "send": format!("inline:{key}"),
            });
            let body = serde_json::json!({ "access": leg, "core": leg });
            let _ = parse(body.to_string().as_bytes());
        }
    }
}
