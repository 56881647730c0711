// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What ng clients want to see of a call in the log, whatever else is logged.

use sallyport_signalling::sdp::Sdp;
use tracing::info;

/// Attributes that hold keys.
const SECRET: [&str; 3] = ["crypto", "key-mgmt", "ice-pwd"];

/// Logs a session description without its keys.
pub(crate) fn show(call_id: &str, what: &str, sdp: &Sdp) {
    info!(call = call_id, "{what}:\n{}", without_keys(&sdp.write()));
}

fn without_keys(sdp: &str) -> String {
    let mut shown = String::new();
    for line in sdp.lines() {
        let attribute = line
            .strip_prefix("a=")
            .and_then(|line| line.split_once(':'));
        match attribute.filter(|(name, _)| SECRET.contains(name)) {
            // Tag and suite of a=crypto.
            Some(("crypto", value)) => {
                let known: Vec<_> = value.split_ascii_whitespace().take(2).collect();
                shown += &["a=crypto:", &known.join(" ")].concat();
            }
            Some((name, _)) => shown += &["a=", name, ":…"].concat(),
            None => shown += line,
        }
        shown.push('\n');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_description_is_shown_without_its_keys() {
        let text = "v=0\r\nm=audio 4000 RTP/SAVP 0\r\n\
                    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNf|2^20 KDR=1\r\n\
                    a=key-mgmt:mikey AQID\r\na=ice-pwd:secret\r\na=crypto\r\na=sendrecv\r\n";
        assert_eq!(
            without_keys(text),
            "v=0\nm=audio 4000 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80\na=key-mgmt:…\n\
             a=ice-pwd:…\na=crypto\na=sendrecv\n"
        );
    }
}
