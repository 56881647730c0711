// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What HTTP clients must know: `Authorization: Bearer …`.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The shortest token, in bytes.
const MIN_TOKEN: usize = 16;

/// A token, and the key of the configuration that names its file.
pub(crate) struct Token {
    text: Zeroizing<String>,
    key: &'static str,
}

impl Token {
    /// Reads a token from the file that `key` of the configuration names, if it names one.
    pub(crate) fn read(key: &'static str, path: Option<&Path>) -> Result<Option<Self>, TokenError> {
        let Some(path) = path else {
            return Ok(None);
        };
        let unreadable = |error| TokenError::Unreadable {
            key,
            path: path.to_owned(),
            error,
        };
        let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(TokenError::OpenToOthers { key, path });
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(unreadable)?);
        let text = Zeroizing::new(text.trim().to_owned());
        if text.len() < MIN_TOKEN {
            let path = path.to_owned();
            return Err(TokenError::Short { key, path });
        }
        Ok(Some(Self { text, key }))
    }

    /// Lets only those in who know the token.
    pub(crate) fn guard(self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(Arc::new(self), admit))
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(b"Bearer ".len()))
            // Schemes have no case (RFC 9110 section 11.1).
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
            .is_some_and(|(_, given)| given.ct_eq(self.text.as_bytes()).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(of {})", self.key)
    }
}

async fn admit(State(token): State<Arc<Token>>, request: Request, next: Next) -> Response {
    if token.is_in(request.headers()) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    let key = token.key;
    let words = format!("send the token of {key} as Authorization: Bearer\n");
    (StatusCode::UNAUTHORIZED, challenge, words).into_response()
}

/// Why there is no token.
#[derive(Debug)]
#[non_exhaustive]
pub enum TokenError {
    /// The file cannot be read.
    Unreadable {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others may read it.
    OpenToOthers {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// It can be guessed.
    Short {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { key, path, error } => write!(
                f,
                "{key}: read {}: {error}; make the file, or leave the key out",
                path.display()
            ),
            Self::OpenToOthers { key, path } => write!(
                f,
                "{key}: others may read {}; chmod 600 it and make a new token",
                path.display()
            ),
            Self::Short { key, path } => write!(
                f,
                "{key}: the token in {} can be guessed; make one of {MIN_TOKEN} random \
                 characters or more",
                path.display()
            ),
        }
    }
}

impl std::error::Error for TokenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            Self::OpenToOthers { .. } | Self::Short { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_has_no_case_and_the_token_has() {
        let token = Token {
            text: Zeroizing::new("Secret".to_owned()),
            key: "agent.token_file",
        };
        for (said, is_in) in [
            ("Bearer Secret", true),
            ("bearer Secret", true),
            ("BEARER Secret", true),
            ("Bearer secret", false),
            ("BearerSecret", false),
            ("Basic Secret", false),
            ("Secret", false),
            ("Bearer", false),
        ] {
            let value = said.parse().expect("a value");
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
            assert_eq!(token.is_in(&headers), is_in, "{said}");
        }
    }
}
