// SPDX-License-Identifier: Apache-2.0 OR MIT

//! HTTP for other hosts: with TLS, for those who are listed, and who know a token where there is
//! one.

/// What the listeners are told at their start, and why they cannot run.
mod config;

/// What clients are shown.
mod certificate;

/// Connections that end when nothing comes.
mod connection;

/// Connections, once they are encrypted.
mod listener;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::info;

pub use certificate::CertificateError;
pub use config::{Config, HttpsError};
pub(crate) use connection::IDLE;

use crate::ng::Control;
use crate::peers::{Guarded, Peer, Peers};
use crate::token::Token;
use certificate::Certificate;
use listener::Listener;

/// The encrypted listeners.
#[derive(Debug)]
pub(crate) struct Server {
    listeners: Vec<Listener>,
    certificate: Certificate,
    token: Option<Token>,
}

impl Server {
    /// Opens every socket. Strangers are counted with those of the ng front end.
    pub(crate) async fn bind(config: &Config, control: &Control) -> Result<Self, HttpsError> {
        let (certificate, token) = config.read()?;
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites of TLS 1.2 and 1.3")
            .with_no_client_auth();
        let mut tls = tls.with_cert_resolver(certificate.resolver());
        // WebSockets need it.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = TlsAcceptor::from(Arc::new(tls));
        let mut listeners = Vec::new();
        for &listen in &config.listen {
            let listener = TcpListener::bind(listen)
                .await
                .map_err(|error| HttpsError::Listen { listen, error })?;
            let peers = Peers::new(listen, &config.allow, control.clone());
            listeners.push(Listener::new(Guarded::new(listener, peers), tls.clone()));
        }
        Ok(Self {
            listeners,
            certificate,
            token,
        })
    }

    /// Serves this until it is told to end, and its connections have ended, too.
    pub(crate) async fn run<E>(self, router: Router, end: impl Fn() -> E)
    where
        E: Future<Output = ()> + Send + 'static,
    {
        info!(listeners = self.listeners.len(), "HTTPS started");
        let router = match self.token {
            Some(token) => token.guard(router),
            None => router,
        };
        let service = router.into_make_service_with_connect_info::<Peer>();
        let mut listeners = JoinSet::new();
        for listener in self.listeners {
            let served = axum::serve(listener, service.clone()).with_graceful_shutdown(end());
            listeners.spawn(served.into_future());
        }
        tokio::select! {
            _ = listeners.join_all() => {}
            never = self.certificate.follow() => match never {},
        }
    }
}
