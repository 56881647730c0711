// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The implementations that ours is compared with.

#[cfg(feature = "peers")]
mod aws_lc;
#[cfg(any(libsrtp, ipsec_mb))]
mod ffi;
#[cfg(ipsec_mb)]
mod ipsec_mb;
#[cfg(libsrtp)]
mod libsrtp;
mod rust_crypto;

use sallyport_srtp::Suite;

use crate::case::{Allowed, Operation};
use crate::contestant::Contestant;

/// The names of the peers that goals are about.
pub(crate) const IPSEC_MB: &str = "ipsec-mb";
pub(crate) const LIBSRTP: &str = "libsrtp";

/// All peers that there are and that know the suite, the fastest first. `allowed` is what
/// ipsec-mb may use.
#[cfg_attr(not(ipsec_mb), expect(unused_variables, reason = "it is for ipsec-mb"))]
pub(crate) fn all(
    suite: Suite,
    operation: Operation,
    streams: usize,
    allowed: Allowed,
) -> Vec<Box<dyn Contestant>> {
    let rust_crypto = rust_crypto::RustCrypto::new(suite, operation, streams);
    let mut peers: Vec<Box<dyn Contestant>> = vec![Box::new(rust_crypto)];
    #[cfg(feature = "peers")]
    peers.push(Box::new(aws_lc::AwsLc::new(suite, operation, streams)));
    #[cfg(libsrtp)]
    if let Some(peer) = libsrtp::Libsrtp::new(suite, operation, streams) {
        peers.push(Box::new(peer));
    }
    #[cfg(ipsec_mb)]
    if let Some(peer) = ipsec_mb::IpsecMb::new(suite, operation, streams, allowed) {
        peers.push(Box::new(peer));
    }
    peers.reverse();
    peers
}

/// The version of a crate that this program is built with.
fn locked(name: &str) -> String {
    let packages = include_str!("../../../Cargo.lock").split("[[package]]");
    let lines = packages.map(|package| package.trim().lines().collect::<Vec<_>>());
    let name = format!("name = \"{name}\"");
    let version = lines
        .filter(|lines| lines.first() == Some(&name.as_str()))
        .find_map(|lines| {
            lines
                .get(1)?
                .strip_prefix("version = \"")?
                .strip_suffix('"')
        });
    version.unwrap_or("unknown").to_owned()
}

/// What to do to have more of them; empty when all are there.
pub(crate) fn missing() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if cfg!(not(feature = "peers")) {
        missing.push("aws-lc-rs, libsrtp and ipsec-mb: build with `--features peers`");
        return missing;
    }
    if cfg!(not(libsrtp)) {
        missing.push("libsrtp: install libsrtp2-dev and pkg-config, then build again");
    }
    if cfg!(not(ipsec_mb)) {
        missing.push("ipsec-mb: install libipsec-mb-dev, then build again");
    }
    missing
}
