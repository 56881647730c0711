// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Audio that is known sample by sample wherever it turns up: A-law codes that follow no pattern.

use std::collections::HashMap;

use sallyport_tests::media;

/// 20 ms of G.711.
pub(crate) const FRAME: usize = 160;

/// Frames a second.
pub(crate) const FRAMES_PER_SECOND: usize = 50;

/// A-law codes (ITU-T G.711), 8000 a second, that may be played again and again.
pub(crate) struct Audio {
    codes: Vec<u8>,
}

impl Audio {
    /// So many seconds; another `number` is other audio.
    pub(crate) fn new(number: u32, seconds: usize) -> Self {
        let codes = media::payload(number, 0, seconds * FRAMES_PER_SECOND * FRAME);
        Self { codes }
    }

    pub(crate) fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// The same as a WAV file of 16 bit PCM, which an encoder turns into the very same codes.
    pub(crate) fn wav(&self) -> Vec<u8> {
        let samples = self.codes.iter().map(|code| sample(*code));
        let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
        let len = u32::try_from(data.len()).expect("the audio is short");
        let mut wav = b"RIFF".to_vec();
        wav.extend((36 + len).to_le_bytes());
        wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
        wav.extend(8000_u32.to_le_bytes());
        wav.extend(16_000_u32.to_le_bytes());
        wav.extend(b"\x02\0\x10\0data");
        wav.extend(len.to_le_bytes());
        wav.extend(data);
        wav
    }

    /// Fails unless every frame is one of this audio, each at most once and in its order but for
    /// those that are lost, and there are enough for this many seconds.
    pub(crate) fn expect_heard<'a>(
        &self,
        frames: impl Iterator<Item = &'a [u8]>,
        seconds: usize,
        who: &str,
    ) -> usize {
        let known: HashMap<&[u8], usize> = self.codes.chunks(FRAME).zip(0..).collect();
        let in_all = known.len();
        let mut count = 0;
        let mut latest = None;
        for frame in frames {
            let Some(&number) = known.get(frame) else {
                panic!("{who}: frame {count} is none of those sent: {frame:02x?}");
            };
            if let Some(latest) = latest {
                let ahead = (number + in_all - latest) % in_all;
                let is_next = (1..in_all / 2).contains(&ahead);
                assert!(is_next, "{who}: frame {number} after {latest} of {in_all}");
            }
            latest = Some(number);
            count += 1;
        }
        assert!(
            count >= seconds * FRAMES_PER_SECOND,
            "{who}: {count} frames, less than {seconds} s"
        );
        count
    }
}

/// The A-law codes of what is in a WAV file of 16 bit PCM, if it was decoded from such codes.
pub(crate) fn codes_of(wav: &[u8]) -> Vec<u8> {
    let codes: HashMap<i16, u8> = (0..=255).map(|code| (sample(code), code)).collect();
    let start = wav
        .windows(4)
        .position(|word| word == b"data")
        .map_or(wav.len(), |at| at + 8);
    let samples = wav.get(start..).unwrap_or_default().chunks_exact(2);
    samples
        .map(|bytes| {
            let sample = i16::from_le_bytes([bytes[0], bytes[1]]);
            *codes
                .get(&sample)
                .unwrap_or_else(|| panic!("sample {sample} is no A-law value"))
        })
        .collect()
}

/// What an A-law code stands for, in 16 bits (ITU-T G.711 table 1).
fn sample(code: u8) -> i16 {
    let code = code ^ 0x55;
    let step = i16::from(code & 0x0f) << 4;
    let magnitude = match (code >> 4) & 0x07 {
        0 => step + 0x008,
        segment => (step + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 {
        -magnitude
    } else {
        magnitude
    }
}
