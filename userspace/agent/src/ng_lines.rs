// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The lines of a session description that ng clients want to be ours, beside those that lead media
//! here.

use std::net::IpAddr;

use sallyport_signalling::ng::{Flag, Options, Replace, RtcpMux};
use sallyport_signalling::sdp::{Media, Rtcp, Sdp};

use crate::calls::{Finish, Ours};
use crate::ng::Control;
use crate::ng_calls::version;
use crate::ports::Version;

/// Marks what this gateway has rewritten.
const MARK: &str = "sallyport";

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    pub(crate) options: &'a Options,
    /// Tells this agent from others.
    pub(crate) instance: u64,
    /// Whether what is passed on is an answer.
    pub(crate) is_answer: bool,
    /// Notes what could not be done.
    pub(crate) control: &'a Control,
}

impl Lines<'_> {
    /// Whether a session description has been here before, and is to be left alone.
    pub(crate) fn is_loop(&self, sdp: &Sdp) -> bool {
        self.has(Flag::LoopProtect)
            && sdp
                .session()
                .attributes(MARK)
                .any(|mark| mark == self.mark())
    }

    fn mark(&self) -> String {
        format!("{:016x}", self.instance)
    }

    fn has(&self, flag: Flag) -> bool {
        self.options.flags.contains(&flag)
    }

    /// Whether who gets an offer has to have RTCP on the port of RTP.
    fn requires_rtcp_mux(&self) -> bool {
        !self.is_answer && self.options.rtcp_mux.contains(&RtcpMux::Require)
    }

    fn replaces(&self, what: Replace) -> bool {
        self.options.replace.contains(&what)
    }

    fn origin(&self, sdp: &mut Sdp, ours: Ours) {
        let Some(mut origin) = sdp.session().origin().cloned() else {
            return;
        };
        let is_full = self.replaces(Replace::OriginFull);
        if is_full {
            origin.id = (ours.session.number() >> 16).to_string();
        }
        if is_full || self.replaces(Replace::Username) {
            "-".clone_into(&mut origin.username);
        }
        if is_full || self.replaces(Replace::SdpVersion) || self.is_always_new() {
            // Never lower than what the peer has said before us.
            let said: u64 = origin.version.parse().unwrap_or(0);
            let first = if is_full { 0 } else { said };
            origin.version = first.wrapping_add(ours.version).to_string();
        }
        if let Some(address) = ours.address
            && (is_full || self.replaces(Replace::Origin))
        {
            origin.host = address.into();
        }
        sdp.session_mut().set_origin(origin);
    }

    fn media(&self, index: usize, media: &mut Media, address: Option<IpAddr>) {
        if self.has(Flag::GenerateMid) && media.section().attribute("mid").is_none() {
            let name = (index + 1).to_string();
            media.section_mut().add_attribute("mid", Some(&name));
        }
        if media.port() == 0 || !media.profile().is_rtp() {
            return;
        }
        if self.requires_rtcp_mux() && media.has_rtcp_mux() {
            // There is no other way.
            media.section_mut().remove_attributes(&["rtcp"]);
            media.section_mut().retain_attributes(|name, value| {
                let component = value.split(' ').nth(1);
                name != "candidate" || component != Some("2")
            });
        }
        if self.has(Flag::NoRtcpAttribute) {
            media.section_mut().remove_attributes(&["rtcp"]);
        } else if self.has(Flag::FullRtcpAttribute) && !media.has_rtcp_mux() {
            let said = media.rtcp();
            let rtcp = Rtcp {
                port: said.map_or_else(|| media.port().saturating_add(1), |rtcp| rtcp.port),
                address: said.and_then(|rtcp| rtcp.address).or(address),
            };
            media
                .section_mut()
                .set_attribute("rtcp", Some(&rtcp.to_string()));
        }
        if self.replaces(Replace::ZeroAddress)
            && let Some(address) = address
            && media.section().connection().is_some_and(is_nowhere)
        {
            media.section_mut().set_connection(address.into());
        }
    }
}

impl Finish for Lines<'_> {
    fn is_always_new(&self) -> bool {
        self.replaces(Replace::ForceIncrementSdpVersion)
    }

    fn finish(&self, sdp: &mut Sdp, ours: Ours) {
        // Who gets an answer, or has ports already, is led to the version of IP that it had.
        if let (Some(address), Some(wanted)) = (ours.address, version(self.options))
            && Version::of(address) != wanted
        {
            self.control.note_unsupported("address-family");
        }
        self.options.edits.apply(sdp);
        self.origin(sdp, ours);
        if self.replaces(Replace::SessionName) {
            sdp.session_mut().set_session_name("-");
        }
        if let Some(address) = ours.address
            && self.replaces(Replace::ZeroAddress)
            && sdp.session().connection().is_some_and(is_nowhere)
        {
            sdp.session_mut().set_connection(address.into());
        }
        for (index, media) in sdp.media_mut().iter_mut().enumerate() {
            self.media(index, media, ours.address);
        }
        if self.has(Flag::LoopProtect) {
            let mark = self.mark();
            sdp.session_mut().set_attribute(MARK, Some(&mark));
        }
    }
}

fn is_nowhere(connection: &sallyport_signalling::sdp::Connection) -> bool {
    connection.is_nowhere()
}
