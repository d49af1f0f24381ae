//! The certificate that the webhook shows, made anew by itself.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::authorities::{Authorities, CertificateError, Lifetimes};

/// Who this replica is to the API server and to other replicas. Clones share it.
#[derive(Clone)]
pub(crate) struct Identity(Arc<Inner>);

struct Inner {
    names: Vec<String>,
    lifetimes: Lifetimes,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    authorities: Option<Authorities>,
    serving: Option<Serving>,
    /// By the authorities of now.
    client: Option<reqwest::Client>,
}

struct Serving {
    key: Arc<CertifiedKey>,
    renew: Timestamp,
}

impl Identity {
    /// Somebody with these names and no certificate yet.
    pub(crate) fn new(names: Vec<String>, lifetimes: Lifetimes) -> Self {
        Self(Arc::new(Inner {
            names,
            lifetimes,
            state: Mutex::default(),
        }))
    }

    pub(crate) fn lifetimes(&self) -> Lifetimes {
        self.0.lifetimes
    }

    /// Takes the authorities that certificates are made by from now on.
    pub(crate) fn set(&self, authorities: Authorities) {
        let mut state = self.0.lock();
        if state.authorities.as_ref() != Some(&authorities) {
            *state = State {
                authorities: Some(authorities),
                serving: None,
                client: None,
            };
        }
    }

    /// How the webhook speaks TLS.
    pub(crate) fn server_config(&self) -> Result<Arc<ServerConfig>, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Inner>::clone(&self.0));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// What one replica asks another with; it keeps its connections.
    pub(crate) fn client(&self) -> Result<reqwest::Client, CertificateError> {
        let mut state = self.0.lock();
        if let Some(client) = &state.client {
            return Ok(client.clone());
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(state.client_config()?)
            .no_proxy()
            .build()
            .map_err(CertificateError::Client)?;
        state.client = Some(client.clone());
        Ok(client)
    }
}

impl State {
    /// How one replica speaks TLS to another.
    fn client_config(&self) -> Result<ClientConfig, CertificateError> {
        let mut roots = RootCertStore::empty();
        let bundle = self.authorities.as_ref().map(Authorities::bundle);
        let bundle = bundle.unwrap_or_default();
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            let certificate =
                certificate.map_err(|error| CertificateError::Damaged(error.to_string()))?;
            roots.add(certificate).map_err(CertificateError::Tls)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Tls)?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
}

impl Identity {
    /// Whom whoever asks this webhook trusts.
    #[cfg(test)]
    pub(crate) fn client_config(&self) -> Result<ClientConfig, CertificateError> {
        self.0.lock().client_config()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificate to show: the one in use until most of its life is over. None before there
    /// is an authority.
    fn certificate(&self, now: Timestamp) -> Result<Option<Arc<CertifiedKey>>, CertificateError> {
        let mut state = self.lock();
        if let Some(serving) = &state.serving
            && now < serving.renew
        {
            return Ok(Some(Arc::clone(&serving.key)));
        }
        let Some(authorities) = &state.authorities else {
            return Ok(None);
        };
        let (key, renew) = authorities.serving(&self.names, self.lifetimes, now)?;
        let key = Arc::new(key);
        state.serving = Some(Serving {
            key: Arc::clone(&key),
            renew,
        });
        Ok(Some(key))
    }
}

impl ResolvesServerCert for Inner {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificate(Timestamp::now())
            .inspect_err(|error| tracing::error!(%error, "the webhook has no certificate to show"))
            .ok()
            .flatten()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
