// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Any bytes are a session description or none; what was read is what is written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sallyport_signalling::sdp::Sdp;
use sallyport_signalling_fuzz::grow;

fuzz_target!(|bytes: &[u8]| {
    let Ok(sdp) = Sdp::parse(&grow(bytes)) else {
        return;
    };
    let text = sdp.write();
    // Line endings of both kinds become longer ones.
    if text.len() <= Sdp::MAX_LEN {
        assert_eq!(Sdp::parse(text.as_bytes()).as_ref(), Ok(&sdp));
    }
    for media in sdp.media() {
        let _ = (sdp.connection(media), sdp.direction(media));
        let _ = (media.medium(), media.port(), media.profile());
    }
});
