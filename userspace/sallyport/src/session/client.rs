// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the agent is sent over HTTP, and what comes back.

use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent as Http;
use ureq::http::{Request, Response};

use super::SessionError;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Speaks to one agent.
pub(super) struct Client {
    http: Http,
    api: String,
}

impl Client {
    /// Will speak to the agent at this URL.
    pub(super) fn new(api: &str) -> Self {
        let config = Http::config_builder()
            .timeout_global(Some(TIMEOUT))
            // What the agent says about it is better than a number.
            .http_status_as_error(false)
            // Keys go to this host only.
            .proxy(None)
            .max_redirects(0)
            .build();
        Self {
            http: config.new_agent(),
            api: api.to_owned(),
        }
    }

    pub(super) fn add(&self, session: Vec<u8>) -> Result<Value, SessionError> {
        self.ask("POST", "", session)
    }

    pub(super) fn list(&self) -> Result<Value, SessionError> {
        self.ask("GET", "", Vec::new())
    }

    pub(super) fn show(&self, id: &str) -> Result<Value, SessionError> {
        self.ask("GET", &segment(id), Vec::new())
    }

    pub(super) fn remove(&self, id: &str) -> Result<Value, SessionError> {
        self.ask("DELETE", &segment(id), Vec::new())
    }

    fn ask(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Value, SessionError> {
        let url = format!("{}/v1/sessions{path}", self.api);
        let no_answer = |cause: &dyn ToString| SessionError::NoAnswer {
            url: url.clone(),
            cause: cause.to_string(),
        };
        let request = Request::builder().method(method).uri(&url);
        let request = if body.is_empty() {
            let request = request.body(()).map_err(|error| no_answer(&error))?;
            self.http.run(request)
        } else {
            let request = request.header("content-type", "application/json");
            let request = request.body(body).map_err(|error| no_answer(&error))?;
            self.http.run(request)
        };
        let mut answer: Response<ureq::Body> = request.map_err(|error| no_answer(&error))?;
        let text = answer.body_mut().read_to_string();
        let text = text.map_err(|error| no_answer(&error))?;
        let json: Option<Value> = serde_json::from_str(&text).ok();
        match (answer.status(), json) {
            (status, Some(json)) if status.is_success() => Ok(json),
            (status, json) => Err(refused(status.as_u16(), &json.unwrap_or_default())),
        }
    }
}

/// One segment of a path: an id is hexadecimal, anything else must not name another path.
fn segment(id: &str) -> String {
    let mut path = "/".to_owned();
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() {
            path.push(byte.into());
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

fn refused(status: u16, answer: &Value) -> SessionError {
    let error = &answer["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    let message = match text("message") {
        empty if empty.is_empty() => "no reason given; is this Sallyport's agent?".to_owned(),
        message => message,
    };
    SessionError::Refused {
        status,
        field: text("field"),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_segment_whatever_is_in_it() {
        for (id, path) in [
            ("0123456789ab0000", "/0123456789ab0000"),
            ("../health", "/%2E%2E%2Fhealth"),
            ("a b?c", "/a%20b%3Fc"),
        ] {
            assert_eq!(segment(id), path);
        }
    }

    #[test]
    fn a_refusal_names_the_field() {
        let body = r#"{"error":{"field":"access.suite","message":"unknown"}}"#;
        for (body, expected) in [
            (body, "the agent refuses (400): access.suite: unknown"),
            (
                "{}",
                "the agent refuses (400): no reason given; is this Sallyport's agent?",
            ),
            (
                r#"{"error":{"field":"","message":"no such session"}}"#,
                "the agent refuses (400): no such session",
            ),
        ] {
            let answer = serde_json::from_str(body).unwrap();
            assert_eq!(refused(400, &answer).to_string(), expected);
        }
    }
}
