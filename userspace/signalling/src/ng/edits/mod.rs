// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What clients want to be changed in an SDP that leaves, beside what leads media here: codecs,
//! header extensions, attributes.
//!
//! None of it changes what we understand of the SDP. Codecs are left out, never added.

/// Lines `a=`.
mod attributes;
/// Payload types.
mod codecs;
/// Header extensions.
mod extensions;

pub use attributes::{AttributeEdit, Attributes};
pub use codecs::Codecs;
pub use extensions::Extensions;

use crate::sdp::{Media, Profile, Sdp};

/// What clients want to be changed in an SDP that leaves; by default nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Edits {
    /// `codec`.
    pub codecs: Codecs,
    /// `extmap`.
    pub extensions: Extensions,
    /// `sdp-attr`.
    pub attributes: Attributes,
}

impl Edits {
    /// Changes an SDP.
    pub fn apply(&self, sdp: &mut Sdp) {
        let gone = self.extensions.gone();
        Extensions::apply(&gone, sdp.session_mut());
        let is_there = |media: &&mut Media| media.port() != 0 && is_rtp(media.profile());
        self.codecs
            .apply(sdp.media_mut().iter_mut().filter(is_there));
        for media in sdp.media_mut().iter_mut().filter(is_there) {
            Extensions::apply(&gone, media.section_mut());
        }
        self.attributes.apply(sdp);
    }
}

fn is_rtp(profile: &Profile) -> bool {
    profile.is_rtp() || profile.name().contains("RTP/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of the lines of an SDP from the first `m=` on.
    fn edited(edits: &Edits, lines: &str) -> String {
        let text = format!("v=0\no=- 1 1 IN IP4 192.0.2.7\ns=-\nt=0 0\n{lines}");
        let mut sdp = Sdp::parse(text.as_bytes()).unwrap();
        edits.apply(&mut sdp);
        let after = sdp.write();
        let (_, lines) = after.split_once("t=0 0\n").unwrap();
        lines.to_owned()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn codecs_that_are_stripped_go_with_all_that_is_said_of_them() {
        let offered = "m=audio 4000 RTP/AVP 0 8 96 97 101\n\
                       a=rtpmap:8 PCMA/8000\n\
                       a=rtpmap:96 opus/48000/2\n\
                       a=fmtp:96 useinbandfec=1\n\
                       a=rtcp-fb:96 transport-cc\n\
                       a=rtcp-fb:* nack\n\
                       a=rtpmap:97 rtx/48000\n\
                       a=fmtp:97 apt=96\n\
                       a=rtpmap:101 telephone-event/8000\n";
        for (strip, except, offer, formats, attributes) in [
            (vec!["PCMU"], vec![], vec![], "8 96 97 101", 8),
            (vec!["pcma"], vec![], vec![], "0 96 97 101", 7),
            (vec!["8"], vec![], vec![], "0 96 97 101", 7),
            (vec!["opus"], vec![], vec![], "0 8 101", 3),
            (vec!["opus/48000/2"], vec![], vec![], "0 8 101", 3),
            // Mono, and another rate.
            (vec!["opus/48000"], vec![], vec![], "0 8 96 97 101", 8),
            (vec!["opus/8000/2"], vec![], vec![], "0 8 96 97 101", 8),
            (vec!["all"], vec!["PCMA"], vec![], "8", 2),
            (
                vec!["all"],
                vec!["telephone-event"],
                vec!["PCMA", "PCMU"],
                "8 0 101",
                3,
            ),
            (vec![], vec![], vec!["PCMA"], "8 0 96 97 101", 8),
            // A medium without a codec would be none.
            (vec!["all"], vec![], vec![], "0 8 96 97 101", 8),
            (vec!["full"], vec!["G722"], vec![], "0 8 96 97 101", 8),
        ] {
            let edits = Edits {
                codecs: Codecs {
                    strip: names(&strip),
                    except: names(&except),
                    offer: names(&offer),
                    ..Codecs::default()
                },
                ..Edits::default()
            };
            let after = edited(&edits, offered);
            let line = format!("m=audio 4000 RTP/AVP {formats}\n");
            assert!(after.starts_with(&line), "{strip:?}: {after}");
            assert_eq!(after.lines().count(), attributes + 1, "{strip:?}: {after}");
        }
    }

    #[test]
    fn of_audio_one_codec_is_left_with_what_stands_beside_every_codec() {
        let edits = Edits {
            codecs: Codecs {
                single: true,
                offer: names(&["PCMA"]),
                ..Codecs::default()
            },
            ..Edits::default()
        };
        let lines = "m=audio 4000 RTP/AVP 0 8 13 101\na=rtpmap:0 PCMU/8000\n\
                     a=rtpmap:101 telephone-event/8000\nm=video 4002 RTP/AVP 31 34\n";
        assert_eq!(
            edited(&edits, lines),
            "m=audio 4000 RTP/AVP 8 13 101\na=rtpmap:101 telephone-event/8000\n\
             m=video 4002 RTP/AVP 31 34\n"
        );
    }

    /// Were any of the lines looked through for each payload type, this would not come to an end.
    #[test]
    fn the_lines_of_a_medium_with_many_codecs_are_read_once() {
        const MANY: usize = 1 << 17;
        let text = "v=0\no=- 1 1 IN IP4 192.0.2.7\ns=-\nt=0 0\nm=audio 4000 RTP/AVP 0\n";
        let mut sdp = Sdp::parse(text.as_bytes()).unwrap();
        let media = &mut sdp.media_mut()[0];
        let formats: Vec<_> = (0..MANY).map(|number| number.to_string()).collect();
        for (number, format) in formats.iter().enumerate() {
            let [codec, parameters] = match number % 2 {
                0 => ["opus/48000/2", "useinbandfec=1"],
                _ => ["rtx/48000", "apt=0"],
            };
            let lines = media.section_mut();
            lines.add_attribute("rtpmap", Some(&format!("{format} {codec}")));
            lines.add_attribute("fmtp", Some(&format!("{format} {parameters}")));
        }
        let formats: Vec<_> = formats.iter().map(String::as_str).collect();
        media.set_formats(&formats);
        // Nor were any of the names, of which there may be as many.
        let many = |name: &'static str| (0..MANY).map(move |it| format!("{name}{it}"));
        let owned = |name: &str| [name.to_owned()];
        let edits = Edits {
            codecs: Codecs {
                strip: many("a").chain(owned("opus")).collect(),
                except: many("b").chain(owned("0")).collect(),
                offer: many("c").chain(owned("0")).collect(),
                mask: many("d").collect(),
                ..Codecs::default()
            },
            extensions: Extensions {
                strip: many("urn:").collect(),
                mask: many("urn:x:").collect(),
            },
            ..Edits::default()
        };
        edits.apply(&mut sdp);
        let media = &sdp.media()[0];
        // The one that stays, and what retransmits it.
        assert_eq!(media.formats().count(), MANY / 2 + 1);
        assert_eq!(media.section().attributes("fmtp").count(), MANY / 2 + 1);
    }

    #[test]
    fn what_is_masked_is_stripped_and_other_media_have_no_codecs() {
        let edits = Edits {
            codecs: Codecs {
                mask: names(&["all"]),
                except: names(&["VP8"]),
                ..Codecs::default()
            },
            ..Edits::default()
        };
        let lines = "m=video 4000 UDP/TLS/RTP/SAVPF 98 99\na=rtpmap:98 VP8/90000\n\
                     a=rtpmap:99 VP9/90000\nm=image 4002 udptl t38\nm=audio 0 RTP/AVP 0 8\n";
        assert_eq!(
            edited(&edits, lines),
            "m=video 4000 UDP/TLS/RTP/SAVPF 98\na=rtpmap:98 VP8/90000\n\
             m=image 4002 udptl t38\nm=audio 0 RTP/AVP 0 8\n"
        );
    }

    #[test]
    fn header_extensions_are_stripped_by_name_or_all() {
        let lines = "a=extmap:3 urn:x:mid\nm=audio 4000 RTP/AVP 0\n\
                     a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on\n\
                     a=extmap:2/sendonly urn:x:mid\na=extmap-allow-mixed\n";
        for (strip, mask, left) in [
            (vec!["urn:x:mid"], vec![], 3),
            (
                vec![],
                vec!["urn:ietf:params:rtp-hdrext:ssrc-audio-level"],
                4,
            ),
            (vec!["all"], vec![], 2),
            (vec!["mid"], vec![], 5),
        ] {
            let edits = Edits {
                extensions: Extensions {
                    strip: names(&strip),
                    mask: names(&mask),
                },
                ..Edits::default()
            };
            let after = edited(&edits, lines);
            assert_eq!(after.lines().count(), left, "{strip:?} {mask:?}: {after}");
        }
    }

    #[test]
    fn attributes_are_added_removed_and_put_in_place_of_others_where_they_are_meant() {
        let mut edits = Edits::default();
        for word in [
            "add-none-x-first",
            "add-audio-ptime:20",
            "add-audio-ptime:20",
            "remove-audio-rtpmap:101",
            "remove-video-sendrecv",
            "substitute-audio-fmtp:101..0-15>fmtp:126..0--16",
        ] {
            assert!(edits.attributes.word(word), "{word}");
        }
        let lines = "m=audio 4000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n\
                     a=fmtp:101 0-15\na=sendrecv\nm=video 4002 RTP/AVP 31\na=sendrecv\n";
        assert_eq!(
            edited(&edits, lines),
            "a=x-first\nm=audio 4000 RTP/AVP 0 101\na=fmtp:126 0=16\na=sendrecv\na=ptime:20\n\
             m=video 4002 RTP/AVP 31\n"
        );
        for word in [
            "add",
            "add-audio",
            "add-audio-",
            "move-audio-x",
            "add-audio-x\ny",
            "",
        ] {
            assert!(!Attributes::default().word(word), "{word:?}");
        }
        let mut many = Attributes::default();
        let taken = (0..100).filter(|_| many.word("add-audio-x")).count();
        assert_eq!(taken, 64);
    }
}
