// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Any text is a crypto attribute or none; what was read is what is written. What is chosen was
//! offered, and an answer brings a key that is not ours.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sallyport_signalling::sdes::{Crypto, Relaxed, Sdes};
use sallyport_signalling_fuzz::{Repeating, grow};

fuzz_target!(|bytes: &[u8]| {
    let bytes = grow(bytes);
    let text = String::from_utf8_lossy(&bytes);
    // Each line is an attribute, as in a session description or on its own.
    let attributes: Vec<_> = text
        .lines()
        .map(|line| line.strip_prefix("a=crypto:").unwrap_or(line))
        .collect();
    for text in &attributes {
        if let Ok(crypto) = Crypto::parse(text) {
            assert_eq!(Crypto::parse(&crypto.write()), Ok(crypto));
        }
    }
    let sdes = Sdes::default();
    if let Ok(chosen) = sdes.choose(attributes.iter().copied()) {
        assert!(sdes.suites.as_slice().contains(&chosen.suite));
        let is_offered = |text: &&str| Crypto::parse(text).as_ref() == Ok(&chosen);
        assert!(attributes.iter().any(is_offered));
    }
    let offered = sdes.offer(Relaxed::default(), &mut Repeating::default());
    let offered = offered.expect("there is always a next key");
    if let Ok((ours, theirs)) = sdes.read_answer(&offered, attributes) {
        assert_eq!((ours.tag, ours.suite), (theirs.tag, theirs.suite));
        assert!(ours.keys.iter().all(|key| !theirs.keys.contains(key)));
    }
});
