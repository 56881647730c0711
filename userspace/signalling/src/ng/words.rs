// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The words that options are made of.

use super::word::words;

words! {
    /// A word of `flags`.
    enum Flag {
        /// Believe the addresses in the SDP. The default.
        TrustAddress = "trust-address",
        /// Send media to where the SIP message came from, whatever the SDP says.
        SipSourceAddress = "sip-source-address",
        /// The peer sends from where it receives. The default.
        Symmetric = "symmetric",
        /// The peer does not: its address is not learned.
        Asymmetric = "asymmetric",
        /// Drop packets from elsewhere once the peer's address is learned.
        StrictSource = "strict-source",
        /// Follow the peer when packets come from elsewhere.
        MediaHandover = "media-handover",
        /// Keep our ports when the peer's change.
        PortLatching = "port-latching",
        /// Change our ports when the peer's change.
        NoPortLatching = "no-port-latching",
        /// Write no `a=rtcp`.
        NoRtcpAttribute = "no-rtcp-attribute",
        /// Write `a=rtcp` with its address.
        FullRtcpAttribute = "full-rtcp-attribute",
        /// Write `a=mid` where there is none.
        GenerateMid = "generate-mid",
        /// Mark the SDP, and leave one alone that is marked.
        LoopProtect = "loop-protect",
        /// Leave `a=sendrecv` and the like as they are.
        OriginalSendrecv = "original-sendrecv",
        /// Forget what the peer was found to be unable to do.
        Reset = "reset",
        /// Media flows one way only.
        Unidirectional = "unidirectional",
        /// Send an empty packet first, to open a NAT.
        PierceNat = "pierce-nat",
        /// Send nothing before something has arrived.
        NatWait = "nat-wait",
        /// Refuse the ICE that is offered.
        RejectIce = "reject-ice",
        /// Offer trickle ICE (RFC 8840).
        TrickleIce = "trickle-ice",
        /// Offer the newer version of ICE (RFC 8445).
        Ice2 = "ice2",
        /// The SDP may be a trickle ICE fragment.
        Fragment = "fragment",
        /// Protect anew, with keys of our own, even where both legs could share them.
        Recrypt = "recrypt",
        /// Write no `a=tls-id`.
        NoTlsId = "no-tls-id",
        /// The peer is a browser; the other options say what that means.
        WebRtc = "webrtc",
        /// Log this call in detail.
        Debug = "debug" | "debugging",
        /// The answer is provisional.
        Provisional = "provisional",
        /// The answer is final: a word of ours alone. Without, it may be that of a phone that rings.
        Final = "final",
        /// A UE is told that its keys end here; ours alone.
        E2ae = "3ge2ae",
        /// This is a new branch of a forked call.
        NewBranch = "new-branch",
        /// Everything, of whatever the command is about.
        All = "all",
        /// A deletion that finds nothing is an error.
        Fatal = "fatal",
        /// A deletion answered without statistics.
        Fast = "fast",
    }

    /// A word of `replace`.
    enum Replace {
        /// The address in `o=`.
        Origin = "origin",
        /// All of `o=`.
        OriginFull = "origin-full",
        /// `s=`.
        SessionName = "session-name",
        /// `c=` of the session, which is always ours; old configurations still ask for it.
        SessionConnection = "session-connection",
        /// The version in `o=`: higher with each change, and only then.
        SdpVersion = "sdp-version",
        /// The user name in `o=`.
        Username = "username",
        /// A zero address, which used to mean hold.
        ZeroAddress = "zero-address",
        /// The version in `o=`, higher each time.
        ForceIncrementSdpVersion = "force-increment-sdp-ver",
    }

    /// An address family.
    enum Family {
        /// IPv4.
        Ip4 = "ip4",
        /// IPv6.
        Ip6 = "ip6",
    }

    /// A transport protocol of an m-line.
    enum Transport {
        /// RTP/AVP
        Avp = "rtp/avp",
        /// RTP/AVPF
        Avpf = "rtp/avpf",
        /// RTP/SAVP
        Savp = "rtp/savp",
        /// RTP/SAVPF
        Savpf = "rtp/savpf",
        /// UDP/TLS/RTP/SAVP
        DtlsSavp = "udp/tls/rtp/savp",
        /// UDP/TLS/RTP/SAVPF
        DtlsSavpf = "udp/tls/rtp/savpf",
        /// In an answer: the one that it has, though another was offered.
        Accept = "accept",
    }

    /// A word of `ICE` (RFC 8445).
    enum Ice {
        /// Remove all of it.
        Remove = "remove",
        /// Replace all of it by our own.
        Force = "force",
        /// As [`Ice::Force`] where there was some, else none.
        Default = "default",
        /// As [`Ice::Force`], as a candidate of the type of a relay: those of others would lead past
        /// us.
        ForceRelay = "force-relay",
        /// As [`Ice::Force`]: those of others would lead past us.
        Optional = "optional",
    }

    /// Towards whom we are an ICE lite agent.
    enum IceLite {
        /// Who will get this SDP.
        Forward = "forward",
        /// Who sent it.
        Backward = "backward",
        /// Both.
        Both = "both",
        /// Nobody.
        Off = "off",
    }

    /// What becomes of DTLS-SRTP (RFC 5763).
    enum Dtls {
        /// None is offered or accepted.
        Off = "off" | "no" | "disable" | "disabled",
        /// We are the server.
        Passive = "passive",
        /// We are the client.
        Active = "active",
    }

    /// The hash of a certificate's fingerprint (RFC 8122).
    enum DtlsHash {
        /// SHA-1
        Sha1 = "sha-1",
        /// SHA-224
        Sha224 = "sha-224",
        /// SHA-256
        Sha256 = "sha-256",
        /// SHA-384
        Sha384 = "sha-384",
        /// SHA-512
        Sha512 = "sha-512",
    }

    /// A word of `OSRTP` (RFC 8643).
    enum Osrtp {
        /// Offer it as the RFC says.
        Offer = "offer" | "offer-rfc",
        /// Offer each m-line twice.
        OfferLegacy = "offer-legacy",
        /// Accept both ways.
        Accept = "accept",
        /// Accept it as the RFC says.
        AcceptRfc = "accept-rfc",
        /// Accept m-lines that are there twice.
        AcceptLegacy = "accept-legacy",
    }

    /// A word of `rtcp-mux` (RFC 5761).
    enum RtcpMux {
        /// Offer it.
        Offer = "offer",
        /// Offer it, and no port for RTCP.
        Require = "require",
        /// Accept it on the offerer's side, do not offer it on the other.
        Demux = "demux",
        /// Accept it, and offer it where it was offered.
        Accept = "accept",
        /// Refuse it.
        Reject = "reject",
    }

    /// How a peer's address is learned from its packets.
    enum EndpointLearning {
        /// Not at all.
        Off = "off",
        /// From the first packet.
        Immediate = "immediate",
        /// From the first packet after a while.
        Delayed = "delayed",
        /// From the packet that fits the SDP best.
        Heuristic = "heuristic",
    }

    /// What becomes of a call's media.
    enum Traffic {
        /// It is dropped from now on.
        Drop = "start",
        /// It flows from now on.
        Flow = "stop",
    }

    /// To whom media goes back.
    enum MediaEcho {
        /// Nobody: it is dropped.
        Blackhole = "blackhole" | "sinkhole",
        /// Who will get this SDP.
        Forward = "forward",
        /// Who sent it.
        Backwards = "backwards",
        /// Both.
        Both = "both",
    }
}
