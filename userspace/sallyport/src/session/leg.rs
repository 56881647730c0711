// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A leg, given as flags: `--access-profile RTP/SAVP --core-remote 10.0.0.7:5004`. The flags of
//! both legs come from one table, with the names that the agent's HTTP has.

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use serde_json::{Map, Value, json};

use super::SessionError;
use super::key::Key;

const REALMS: [&str; 2] = ["access", "core"];

/// Name, placeholder and help of each value of a leg.
const VALUES: [(&str, &str, &str); 5] = [
    (
        "profile",
        "PROFILE",
        "RTP/AVP or RTP/SAVP [default: RTP/AVP]",
    ),
    (
        "remote",
        "IP:PORT",
        "The peer, or `any` to latch it [default: any]",
    ),
    (
        "remote_rtcp",
        "IP:PORT",
        "The peer's RTCP [default: its next port]",
    ),
    (
        "address",
        "IP",
        "Local address [default: the realm's first that fits]",
    ),
    ("suite", "SUITE", "Crypto suite (RTP/SAVP)"),
];

/// Name and help of each key of a leg.
const KEYS: [(&str, &str); 2] = [
    (
        "receive",
        "The peer's key: @FILE, env:NAME or inline:BASE64 (RTP/SAVP)",
    ),
    (
        "send",
        "Our key: @FILE, env:NAME or inline:BASE64 (RTP/SAVP)",
    ),
];

/// RFC 5761.
const MUX: (&str, &str) = ("rtcp_mux", "RTP and RTCP share a port");

/// Both legs.
#[derive(Debug)]
pub(super) struct Legs([Leg; 2]);

#[derive(Debug)]
struct Leg {
    values: Vec<(&'static str, String)>,
    keys: Vec<(&'static str, Key)>,
    rtcp_mux: bool,
}

impl Legs {
    /// What the agent is sent, with the keys read from where they are.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub(super) fn to_json(&self) -> Result<Map<String, Value>, SessionError> {
        let mut body = Map::new();
        for (realm, leg) in REALMS.into_iter().zip(&self.0) {
            let mut object = json!({ "profile": "RTP/AVP", "remote": "any" });
            for (name, value) in &leg.values {
                object[name] = json!(value);
            }
            for (name, key) in &leg.keys {
                let flag = flag(realm, name);
                object[name] = json!(key.text(&flag)?);
            }
            object[MUX.0] = json!(leg.rtcp_mux);
            body.insert(realm.to_owned(), object);
        }
        Ok(body)
    }
}

/// The flag of a value: `access-remote-rtcp`.
fn flag(realm: &str, name: &str) -> String {
    format!("{realm}-{}", name.replace('_', "-"))
}

impl clap::Args for Legs {
    fn augment_args(mut command: Command) -> Command {
        for realm in REALMS {
            let arg = |name: &str, help: &'static str| {
                let flag = flag(realm, name);
                let heading = match realm {
                    "access" => "Access leg",
                    _ => "Core leg",
                };
                Arg::new(flag.clone())
                    .long(flag)
                    .help(help)
                    .help_heading(heading)
                    .conflicts_with("file")
            };
            let values = VALUES.map(|(name, value, help)| arg(name, help).value_name(value));
            let keys = KEYS.map(|(name, help)| arg(name, help).value_name("KEY"));
            command = command
                .args(values)
                .args(keys)
                .arg(arg(MUX.0, MUX.1).action(ArgAction::SetTrue));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Legs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(REALMS.map(|realm| {
            let given = |name: &str| matches.get_one::<String>(&flag(realm, name)).cloned();
            Leg {
                values: VALUES
                    .into_iter()
                    .filter_map(|(name, ..)| Some((name, given(name)?)))
                    .collect(),
                keys: KEYS
                    .into_iter()
                    .filter_map(|(name, _)| Some((name, Key::new(given(name)?))))
                    .collect(),
                rtcp_mux: matches.get_flag(&flag(realm, MUX.0)),
            }
        })))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    fn legs(args: &[&str]) -> Legs {
        let command = Command::new("add").arg(Arg::new("file").long("file"));
        let command = Legs::augment_args(command).no_binary_name(true);
        Legs::from_arg_matches(&command.get_matches_from(args)).unwrap()
    }

    #[test]
    fn without_flags_both_legs_are_plain_and_latch() {
        let plain = json!({ "profile": "RTP/AVP", "remote": "any", "rtcp_mux": false });
        let body = Value::from(legs(&[]).to_json().unwrap());
        assert_eq!(body, json!({ "access": plain, "core": plain }));
    }

    #[test]
    fn every_flag_has_its_place() {
        let args = [
            "--access-profile=RTP/SAVP",
            "--access-remote=192.0.2.7:5004",
            "--access-rtcp-mux",
            "--access-suite=AEAD_AES_128_GCM",
            "--access-receive=inline:a",
            "--access-send=inline:b",
            "--core-remote=10.0.0.7:5004",
            "--core-remote-rtcp=10.0.0.7:6000",
            "--core-address=10.0.0.1",
        ];
        let body = Value::from(legs(&args).to_json().unwrap());
        let expected = json!({
            "access": {
                "profile": "RTP/SAVP",
                "remote": "192.0.2.7:5004",
                "rtcp_mux": true,
                "suite": "AEAD_AES_128_GCM",
                "receive": "inline:a",
                "send": "inline:b",
            },
            "core": {
                "profile": "RTP/AVP",
                "remote": "10.0.0.7:5004",
                "remote_rtcp": "10.0.0.7:6000",
                "address": "10.0.0.1",
                "rtcp_mux": false,
            },
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn keys_are_not_shown() {
        let legs = legs(&["--access-send=inline:secret"]);
        assert!(!format!("{legs:?}").contains("secret"));
    }
}
