// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Any bytes are a request or are answered with an error; the reply repeats the cookie, is written
//! as the request was, and can be read. What a request wants to be changed in its SDP leaves one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sallyport_signalling::ng::{
    Command, Edits, Encoding, MAX_MESSAGE, Message, Reply, RequestError, SdpBody,
};
use sallyport_signalling::sdp::Sdp;
use sallyport_signalling_fuzz::grow;

fuzz_target!(|bytes: &[u8]| {
    let bytes = grow(bytes);
    let Some(message) = Message::split(&bytes) else {
        return;
    };
    let Ok(encoding) = Encoding::of(message.document) else {
        return;
    };
    let reply = match request(encoding, message.document) {
        Ok(Command::Offer(offer)) => Reply::Sdp(edited(offer.sdp, &offer.options.edits)),
        Ok(Command::Answer(answer)) => Reply::Sdp(edited(answer.sdp, &answer.options.edits)),
        Ok(Command::Delete(delete)) => Reply::Listed(vec![delete.call_id]),
        Ok(Command::Query(query)) => Reply::Listed(vec![query.call_id]),
        Ok(_) => Reply::Pong,
        Err(error) => Reply::from(error),
    };
    let reply = reply.encode(Some(message.cookie), encoding);
    // Text that JSON has to escape becomes longer.
    if reply.len() > MAX_MESSAGE {
        return;
    }
    let answered = Message::split(&reply).expect("a reply has a cookie");
    assert_eq!(answered.cookie, message.cookie);
    assert_eq!(Encoding::of(answered.document), Ok(encoding));
    let document = encoding.decode(answered.document);
    let document = document.expect("a client can read it");
    assert!(document.iter().any(|(key, _)| key == b"result"));
});

fn edited(body: SdpBody, edits: &Edits) -> SdpBody {
    let Ok(mut sdp) = Sdp::parse(body.expose()) else {
        return body;
    };
    let count = sdp.media().len();
    edits.apply(&mut sdp);
    let text = sdp.write();
    // Attributes may be added until there are too many.
    if text.len() <= Sdp::MAX_LEN && text.lines().count() <= Sdp::MAX_LINES {
        let read = Sdp::parse(text.as_bytes()).expect("it can still be read");
        assert_eq!(read.media().len(), count);
        assert!(read.media().iter().all(|media| media.formats().count() > 0));
    }
    SdpBody::new(text.as_bytes().to_vec())
}

fn request(encoding: Encoding, document: &[u8]) -> Result<Command, RequestError> {
    Command::parse(encoding.decode(document)?)
}
