// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What ng clients want to see of a call in the log, whatever else is logged.

use sallyport_signalling::sdp::Sdp;
use tracing::info;

/// Attributes that hold keys, `acap` those of others (RFC 5939).
const SECRET: [&str; 4] = ["acap", "crypto", "key-mgmt", "ice-pwd"];

/// Logs a session description without its keys.
pub(crate) fn show(call_id: &str, what: &str, sdp: &Sdp) {
    info!(call = call_id, "{what}:\n{}", without_keys(&sdp.write()));
}

fn without_keys(sdp: &str) -> String {
    let mut shown = String::new();
    for line in sdp.lines() {
        let attribute = line
            .strip_prefix("a=")
            .and_then(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim(), value));
        let secret = attribute.filter(|(name, _)| {
            let mut secret = SECRET.iter();
            secret.any(|secret| secret.eq_ignore_ascii_case(name))
        });
        match secret {
            Some((name, value)) => {
                let known = tag_and_suite(value).filter(|_| name.eq_ignore_ascii_case("crypto"));
                shown += &["a=", name, ":", known.as_deref().unwrap_or("…")].concat();
            }
            // RFC 8866 section 5.12.
            None if line.starts_with("k=") => shown += "k=…",
            None => shown += line,
        }
        shown.push('\n');
    }
    shown
}

/// What of `a=crypto` is no secret, if it is one.
fn tag_and_suite(value: &str) -> Option<String> {
    let mut words = value.split_ascii_whitespace();
    let (tag, suite) = (words.next()?, words.next()?);
    let is_tag = tag.bytes().all(|byte| byte.is_ascii_digit());
    let is_suite = suite
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_tag && is_suite).then(|| [tag, " ", suite].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_description_is_shown_without_its_keys() {
        for (line, shown) in [
            ("m=audio 4000 RTP/SAVP 0", "m=audio 4000 RTP/SAVP 0"),
            (
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNf|2^20 KDR=1",
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80",
            ),
            ("a=crypto:inline:WVNf x", "a=crypto:…"),
            ("a=crypto:1 inline:WVNf x", "a=crypto:…"),
            ("a=crypto:1", "a=crypto:…"),
            ("a=Crypto:inline:WVNf x", "a=Crypto:…"),
            ("a=crypto :inline:WVNf x", "a=crypto:…"),
            (
                "a=acap:1 crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNf",
                "a=acap:…",
            ),
            ("a=key-mgmt:mikey AQID", "a=key-mgmt:…"),
            ("a=ice-pwd:secret", "a=ice-pwd:…"),
            ("k=base64:c2VjcmV0", "k=…"),
            ("a=crypto", "a=crypto"),
            ("a=sendrecv", "a=sendrecv"),
        ] {
            assert_eq!(without_keys(line), [shown, "\n"].concat(), "{line}");
        }
    }
}
