// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Any bytes are a document in bencode or none; what was read is what is written, and the end of a
//! document is found in a stream, in however many pieces it comes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sallyport_signalling::ng::bencode::{self, Scanner};
use sallyport_signalling::ng::{Dictionary, MAX_MESSAGE};
use sallyport_signalling_fuzz::grow;

fuzz_target!(|bytes: &[u8]| {
    let bytes = grow(bytes);
    let end = Scanner::default().end(&bytes);
    // The first byte decides where the stream is cut.
    let cut = usize::from(bytes.first().copied().unwrap_or(0)) % (bytes.len() + 1);
    let mut scanner = Scanner::default();
    if let Ok(None) = scanner.end(&bytes[..cut]) {
        assert_eq!(scanner.end(&bytes), end);
    }
    let Ok(document) = bencode::decode(&bytes) else {
        return;
    };
    assert_eq!(end, Ok(Some(bytes.len())));
    let written = write(&document);
    assert_eq!(written.len(), bytes.len());
    assert!(written.len() <= MAX_MESSAGE);
    let read = bencode::decode(&written).expect("we can read what we wrote");
    assert_eq!(write(&read), written);
});

fn write(document: &Dictionary<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    bencode::encode(document, &mut bytes).expect("a vector refuses no bytes");
    bytes
}
