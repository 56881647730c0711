// SPDX-License-Identifier: Apache-2.0 OR MIT

//! GStreamer's `srtpenc` and `srtpdec` as user equipment, GStreamer and plain sockets as core
//! network. What arrives is compared byte for byte with what left the RTP session of the sender.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sallyport_tests::cleanup::temporary_folder;
use sallyport_tests::patience::{SILENCE, wait_until};
use sallyport_tests::{
    Family, Gateway, GatewayOptions, Namespace, Topology, media, report, require,
};

use crate::support::call::local;
use crate::support::{Collector, End, Key, Kind, Suite, Terms, expect_balanced};

#[test]
fn audio_of_gstreamer_arrives_byte_for_byte_in_both_directions() {
    let calls = [Suite::CM_80, Suite::CM_32, Suite::GCM_256].map(|suite| (suite, Family::V4));
    exchange(Media::Audio, &calls, "audio_of_gstreamer");
}

#[test]
fn h264_of_gstreamer_arrives_byte_for_byte_in_both_directions() {
    let calls = [(Suite::CM_80, Family::V6), (Suite::GCM_128, Family::V4)];
    exchange(Media::H264, &calls, "h264_of_gstreamer");
}

/// Four seconds in both directions of every call, all at once.
fn exchange(media: Media, calls: &[(Suite, Family)], test: &str) {
    let needed = [
        "srtpenc",
        "srtpdec",
        "rtpsession",
        "rtpstreampay",
        media.encoder(),
    ];
    if !require::root_and_namespaces()
        || !require::program("gst-launch-1.0")
        || !needed.into_iter().all(require::gstreamer_element)
    {
        return;
    }
    let version = version();
    let topology = Topology::new();
    let gateway = Gateway::start(&topology, &GatewayOptions::default());
    thread::scope(|scope| {
        for (&(suite, family), port) in calls.iter().zip((5000..).step_by(20)) {
            let bed = Bed {
                topology: &topology,
                gateway: &gateway,
                media,
            };
            let up = Terms {
                suite,
                family,
                port,
                ..Terms::default()
            };
            let down = Terms {
                port: port + 10,
                ..up
            };
            let version = &version;
            scope.spawn(move || {
                let packets = bed.access_to_core(up);
                let peer = format!("{version} srtpenc, {media:?}");
                report::peer(&peer, suite.name, "access to core", packets, test);
            });
            scope.spawn(move || {
                let packets = bed.core_to_access(down);
                let peer = format!("{version} srtpdec, {media:?}");
                report::peer(&peer, suite.name, "core to access", packets, test);
            });
        }
    });
    expect_balanced(&gateway);
}

#[derive(Clone, Copy)]
struct Bed<'a> {
    topology: &'a Topology,
    gateway: &'a Gateway<'a>,
    media: Media,
}

impl Bed<'_> {
    /// GStreamer protects and sends, a socket of ours receives. Returns the number of packets.
    fn access_to_core(self, terms: Terms) -> u64 {
        let session = self.gateway.create_session(&terms.offer()).description;
        let core = End::new(&self.topology.core, terms.core(), false, &session["core"]);
        let [rtp, rtcp] = [Kind::Rtp, Kind::Rtcp].map(|kind| Collector::start(core.socket(kind)));
        let sender = Sender::new(self.media, terms.ue(), &session["access"]);
        let sent = sender.run(&self.topology.ue, Some((terms.suite, &terms.up())));
        compare(
            &sent,
            &Packets {
                rtp: rtp.finish(|packets| packets.len() >= sent.rtp.len()),
                rtcp: rtcp.finish(|packets| packets.len() >= sent.rtcp.len()),
            },
        )
    }

    /// GStreamer sends plain RTP and RTCP, GStreamer unprotects. Returns the number of packets.
    fn core_to_access(self, terms: Terms) -> u64 {
        let session = self.gateway.create_session(&terms.offer()).description;
        let receiver = Receiver::start(&self.topology.ue, self.media, terms);
        let sender = Sender::new(self.media, terms.core(), &session["core"]);
        let sent = sender.run(&self.topology.core, None);
        compare(&sent, &receiver.finish(&sent))
    }
}

/// The packets of one sender, unprotected.
struct Packets {
    rtp: Vec<Vec<u8>>,
    rtcp: Vec<Vec<u8>>,
}

/// Fails unless everything has arrived as it was sent; returns how many packets that were.
fn compare(sent: &Packets, received: &Packets) -> u64 {
    let kinds = [
        ("RTP", &sent.rtp, &received.rtp),
        ("RTCP", &sent.rtcp, &received.rtcp),
    ];
    for (kind, sent, received) in kinds {
        assert!(!sent.is_empty(), "GStreamer sent no {kind}");
        assert_eq!(
            sent.len(),
            received.len(),
            "{kind} packets sent and received"
        );
        for (sent, received) in sent.iter().zip(received) {
            media::expect_same(sent, received);
        }
    }
    (sent.rtp.len() + sent.rtcp.len()) as u64
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
enum Media {
    Audio,
    H264,
}

impl Media {
    const fn encoder(self) -> &'static str {
        match self {
            Self::Audio => "alawenc",
            Self::H264 => "x264enc",
        }
    }

    /// Four seconds of RTP whose sequence numbers wrap early.
    const fn source(self) -> &'static str {
        match self {
            Self::Audio => {
                "audiotestsrc num-buffers=200 samplesperbuffer=160 wave=pink-noise \
                 ! audio/x-raw,rate=8000,channels=1 ! alawenc \
                 ! rtppcmapay min-ptime=20000000 max-ptime=20000000 ssrc=305419896 \
                 seqnum-offset=65500"
            }
            Self::H264 => {
                "videotestsrc num-buffers=120 pattern=ball \
                 ! video/x-raw,width=320,height=240,framerate=30/1 \
                 ! x264enc speed-preset=ultrafast tune=zerolatency bitrate=1000 threads=1 \
                 key-int-max=30 ! rtph264pay mtu=1200 ssrc=305419896 seqnum-offset=65500"
            }
        }
    }

    const fn caps(self) -> &'static str {
        match self {
            Self::Audio => "media=audio,clock-rate=8000,encoding-name=PCMA,payload=8",
            Self::H264 => "media=video,clock-rate=90000,encoding-name=H264,payload=96",
        }
    }
}

/// A pipeline that sends media in real time and writes what it sends, unprotected, into files.
struct Sender {
    media: Media,
    from: SocketAddr,
    to_rtp: SocketAddr,
    to_rtcp: SocketAddr,
}

impl Sender {
    fn new(media: Media, from: SocketAddr, leg: &serde_json::Value) -> Self {
        let (to_rtp, to_rtcp) = (local(leg, "local"), local(leg, "local_rtcp"));
        Self {
            media,
            from,
            to_rtp,
            to_rtcp,
        }
    }

    /// Sends everything, protected if there is a key, and returns what was sent.
    fn run(self, host: &Namespace, srtp: Option<(Suite, &Key)>) -> Packets {
        let (folder, _cleanup) = temporary_folder("gst-send").expect("create a folder");
        let (rtp_file, rtcp_file) = (folder.join("rtp"), folder.join("rtcp"));
        let [rtp_out, rtcp_out] = [(self.to_rtp, 0), (self.to_rtcp, 1)].map(|(to, offset)| {
            format!(
                "udpsink host={} port={} bind-address={} bind-port={}",
                to.ip(),
                to.port(),
                self.from.ip(),
                self.from.port() + offset,
            )
        });
        let (rtp_way, rtcp_way) = match srtp {
            None => (String::new(), String::new()),
            Some((suite, key)) => (
                format!(
                    "enc.rtp_sink_0 srtpenc name=enc key={} rtp-cipher={cipher} \
                     rtcp-cipher={cipher} rtp-auth={} rtcp-auth={} enc.rtp_src_0 !",
                    key.hex(),
                    suite.gst_rtp_auth,
                    suite.gst_rtcp_auth,
                    cipher = suite.gst_cipher,
                ),
                "enc.rtcp_sink_0 enc.rtcp_src_0 !".to_owned(),
            ),
        };
        let pipeline = format!(
            "{} ! session.send_rtp_sink rtpsession name=session \
             session.send_rtp_src ! tee name=rtp ! queue ! {} rtp. ! queue ! {rtp_way} {rtp_out} \
             session.send_rtcp_src ! tee name=rtcp ! queue ! {} \
             rtcp. ! queue ! {rtcp_way} {rtcp_out} sync=false async=false",
            self.media.source(),
            dump(&rtp_file),
            dump(&rtcp_file),
        );
        let mut process = host
            .spawn(&mut launch(&pipeline))
            .expect("run gst-launch-1.0");
        // Now and then rtpsession does not pass on that the media is over, and reports for ever.
        let len = || fs::metadata(&rtp_file).map_or(0, |metadata| metadata.len());
        let (mut before, mut since) = (0, Instant::now());
        let mut ended = None;
        let over = wait_until(|| {
            if len() != before {
                (before, since) = (len(), Instant::now());
            }
            ended = process.try_wait().expect("it is our child");
            let silent = before > 0 && since.elapsed() > STANDSTILL;
            ended.is_some() || silent && !packets(&rtcp_file).is_empty()
        });
        let _ = process.kill();
        let output = process.wait_with_output().expect("it is our child");
        let said = String::from_utf8_lossy(&output.stderr);
        let well = over && ended.is_none_or(|status| status.success());
        assert!(well, "gst-launch-1.0 {pipeline}: {ended:?}: {said}");
        Packets {
            rtp: packets(&rtp_file),
            rtcp: packets(&rtcp_file),
        }
    }
}

/// Media that stops for this long is over, even on a slow machine.
const STANDSTILL: Duration = Duration::from_secs(15);

/// A pipeline that unprotects and writes what comes out into files.
struct Receiver {
    process: Child,
    rtp_file: PathBuf,
    rtcp_file: PathBuf,
    _cleanup: sallyport_tests::cleanup::Cleanup,
}

impl Receiver {
    fn start(host: &Namespace, media: Media, terms: Terms) -> Self {
        let (folder, cleanup) = temporary_folder("gst-receive").expect("create a folder");
        let (rtp_file, rtcp_file) = (folder.join("rtp"), folder.join("rtcp"));
        let Suite {
            gst_cipher,
            gst_rtp_auth,
            gst_rtcp_auth,
            ..
        } = terms.suite;
        let at = terms.ue();
        let keys = format!(
            "ssrc=(uint)305419896,srtp-key=(buffer){},srtp-cipher=(string){gst_cipher},\
             srtp-auth=(string){gst_rtp_auth},srtcp-cipher=(string){gst_cipher},\
             srtcp-auth=(string){gst_rtcp_auth}",
            terms.down().hex(),
        );
        let ip = at.ip();
        let pipeline = format!(
            "udpsrc address={ip} port={} caps=application/x-srtp,{},{keys} ! srtpdec name=dec \
             dec.rtp_src ! {} udpsrc address={ip} port={} caps=application/x-srtcp,{keys} \
             ! dec.rtcp_sink dec.rtcp_src ! {}",
            at.port(),
            media.caps(),
            dump(&rtp_file),
            at.port() + 1,
            dump(&rtcp_file),
        );
        let process = host
            .spawn(&mut launch(&pipeline))
            .expect("run gst-launch-1.0");
        let ready = wait_until(|| host.has_udp(at.port()) && host.has_udp(at.port() + 1));
        assert!(ready, "gst-launch-1.0 {pipeline} does not listen");
        Self {
            process,
            rtp_file,
            rtcp_file,
            _cleanup: cleanup,
        }
    }

    /// Waits until as much has arrived as was sent, and returns what has.
    fn finish(mut self, sent: &Packets) -> Packets {
        wait_until(|| {
            packets(&self.rtp_file).len() >= sent.rtp.len()
                && packets(&self.rtcp_file).len() >= sent.rtcp.len()
        });
        // Packets that should not come would come now.
        thread::sleep(SILENCE);
        let _ = self.process.kill();
        let _ = self.process.wait();
        Packets {
            rtp: packets(&self.rtp_file),
            rtcp: packets(&self.rtcp_file),
        }
    }
}

fn launch(pipeline: &str) -> Command {
    let mut command = Command::new("gst-launch-1.0");
    command
        .arg("-q")
        .args(pipeline.split_whitespace())
        // Threads of tests must not write one cache of plugins at the same time.
        .env("GST_REGISTRY_UPDATE", "no")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Elements that write packets into a file, each behind its length (RFC 4571).
fn dump(file: &Path) -> String {
    format!(
        "rtpstreampay ! filesink buffer-mode=unbuffered async=false sync=false location={}",
        file.display(),
    )
}

/// The whole packets in such a file.
fn packets(file: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(file).unwrap_or_default();
    let mut rest = bytes.as_slice();
    let mut packets = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk() {
        let Some((packet, behind)) = behind.split_at_checked(u16::from_be_bytes(*len).into())
        else {
            break;
        };
        packets.push(packet.to_vec());
        rest = behind;
    }
    packets
}

/// Such as `GStreamer 1.22.0`.
fn version() -> String {
    let output = Command::new("gst-launch-1.0")
        .arg("--version")
        .output()
        .expect("it is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("GStreamer "));
    line.expect("GStreamer says its version").to_owned()
}
