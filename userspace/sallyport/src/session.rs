// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sallyport session`: what a person asks the agent.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// What is sent and what comes back.
mod client;
/// What can go wrong.
mod error;
/// Where a key is read from.
mod key;
/// A leg, given as flags.
mod leg;
/// Answers for people.
mod view;

pub(crate) use error::SessionError;

use crate::config::Config;
use crate::failure::Failure;
use crate::privileges;
use client::Client;
use leg::Legs;

#[derive(Args, Debug)]
pub(crate) struct Session {
    /// The agent [default: agent.listen of --config, else http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL")]
    api: Option<String>,
    /// Configuration file that says where the agent listens
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "api")]
    config: Option<PathBuf>,
    /// Print the agent's answer as it is
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a session with two legs
    ///
    /// A key stands in a file (@FILE) or in the environment (env:NAME), as
    /// inline:BASE64 (RFC 4568). It may also be given as it is, but every user
    /// of the host can read the arguments of a process.
    Add(Add),
    /// List the sessions
    List,
    /// Show a session and what it did
    Show {
        /// Its id
        id: String,
    },
    /// End sessions
    Rm {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

#[derive(Args, Debug)]
struct Add {
    /// A file with the session as JSON, - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A name of yours for it
    #[arg(long, conflicts_with = "file")]
    name: Option<String>,
    #[command(flatten)]
    legs: Legs,
}

impl Session {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        // Keys pass through.
        privileges::keep_memory_private();
        let client = Client::new(&self.address()?);
        match self.action {
            Action::Add(add) => {
                let session = client.add(add.body()?)?;
                print(self.json, &session, view::session);
            }
            Action::List => print(self.json, &client.list()?, view::list),
            Action::Show { id } => print(self.json, &client.show(&id)?, view::session),
            Action::Rm { ids } => {
                for id in ids {
                    print(self.json, &client.remove(&id)?, view::session);
                }
            }
        }
        Ok(())
    }

    fn address(&self) -> Result<String, Failure> {
        if let Some(api) = &self.api {
            return Ok(api.trim_end_matches('/').to_owned());
        }
        let listen = match &self.config {
            Some(path) => Config::read(path)?.agent.listen,
            None => SocketAddr::from(([127, 0, 0, 1], 8080)),
        };
        Ok(format!("http://{listen}"))
    }
}

impl Add {
    fn body(self) -> Result<Vec<u8>, SessionError> {
        if let Some(file) = self.file {
            return key::read(&file);
        }
        let mut body = self.legs.to_json()?;
        if let Some(name) = self.name {
            body.insert("name".to_owned(), json!(name));
        }
        Ok(Value::from(body).to_string().into_bytes())
    }
}

fn print(as_json: bool, answer: &Value, view: impl Fn(&Value) -> String) {
    if as_json {
        println!("{answer:#}");
    } else {
        print!("{}", view(answer));
    }
}
