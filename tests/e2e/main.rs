// SPDX-License-Identifier: Apache-2.0 OR MIT

//! End-to-end tests: `sallyport run` between network namespaces, and peers that are not ours.
//!
//! They need root and the Debian packages that `cargo xtask setup` installs. What is missing is
//! said loudly, and fails under `SALLYPORT_REQUIRE_ALL=1`.

#![forbid(unsafe_code)]

mod between;
mod changes;
mod command_line;
mod dialogues;
mod ffmpeg;
mod gstreamer;
mod hostile;
mod https;
mod interworking;
mod libsrtp;
mod neighbourhood;
mod ng;
mod opensips;
mod pcscf;
mod quality;
mod queues;
mod sdes;
mod secrecy;
mod sip;
mod support;
mod survival;
mod webrtc;
