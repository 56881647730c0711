// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What RTP payload types mean.

use serde::{Deserialize, Serialize};

use super::Media;
use crate::decimal::decimal;

/// The clock of the timestamps of a payload type (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Clock {
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// Ticks a second, not 0.
    pub rate: u32,
}

impl Clock {
    /// Those of the payload types that mean the same everywhere.
    pub fn assigned() -> impl Iterator<Item = Self> {
        (0..35).filter_map(|payload_type| {
            let rate = rate_of(assigned(&payload_type.to_string())?)?;
            Some(Self { payload_type, rate })
        })
    }
}

impl Media {
    /// The clocks of its formats, as far as anybody knows them.
    pub fn clocks(&self) -> impl Iterator<Item = Clock> {
        let mut rates = [None; 128];
        let maps = self.section().attributes("rtpmap");
        for (format, map) in maps.filter_map(|value| value.split_once(' ')) {
            if let Some(rate) = decimal(format).and_then(|it: usize| rates.get_mut(it)) {
                // Only the first counts.
                *rate = rate.or_else(|| rate_of(map.trim()));
            }
        }
        self.formats().filter_map(move |format| {
            let payload_type: u8 = decimal(format)?;
            let mapped = *rates.get(usize::from(payload_type))?;
            Some(Clock {
                payload_type,
                rate: mapped.or_else(|| rate_of(assigned(format)?))?,
            })
        })
    }
}

/// The rate in what an `a=rtpmap` says of a format, such as `opus/48000/2`.
fn rate_of(map: &str) -> Option<u32> {
    let rate = decimal(map.split('/').nth(1)?)?;
    (rate != 0).then_some(rate)
}

/// What payload types mean that need no `a=rtpmap` (RFC 3551 section 6).
pub(crate) fn assigned(format: &str) -> Option<&'static str> {
    Some(match format {
        "0" => "PCMU/8000",
        "3" => "GSM/8000",
        "4" => "G723/8000",
        "5" => "DVI4/8000",
        "6" => "DVI4/16000",
        "7" => "LPC/8000",
        "8" => "PCMA/8000",
        "9" => "G722/8000",
        "10" => "L16/44100/2",
        "11" => "L16/44100",
        "12" => "QCELP/8000",
        "13" => "CN/8000",
        "14" => "MPA/90000",
        "15" => "G728/8000",
        "16" => "DVI4/11025",
        "17" => "DVI4/22050",
        "18" => "G729/8000",
        "25" => "CelB/90000",
        "26" => "JPEG/90000",
        "28" => "nv/90000",
        "31" => "H261/90000",
        "32" => "MPV/90000",
        "33" => "MP2T/90000",
        "34" => "H263/90000",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::sdp::Sdp;

    #[test]
    fn a_clock_is_as_mapped_or_as_assigned() {
        let sdp = "v=0\no=- 1 1 IN IP4 192.0.2.7\ns=-\nc=IN IP4 192.0.2.7\nt=0 0\n\
                   m=audio 4000 RTP/AVP 0 9 96 97 98 101 128 x\n\
                   a=rtpmap:96 opus/48000/2\na=rtpmap:97 AMR-WB/16000\na=rtpmap:97 AMR/8000\n\
                   a=rtpmap:98 EVS/0\na=rtpmap:101 telephone-event/8000\n\
                   a=rtpmap:128 PCMU/8000\na=rtpmap:300 PCMU/8000\na=rtpmap:9\n";
        let sdp = Sdp::parse(sdp.as_bytes()).unwrap();
        let clocks = sdp.media()[0].clocks();
        let clocks: Vec<_> = clocks.map(|it| (it.payload_type, it.rate)).collect();
        let expected = [(0, 8000), (9, 8000), (96, 48000), (97, 16000), (101, 8000)];
        assert_eq!(clocks, expected);
    }
}
