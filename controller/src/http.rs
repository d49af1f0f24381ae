//! Clients of web servers: TLS by rustls alone, with authorities that are named or the system's.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use placet_model::visible;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// A server that sends in circles is left.
const REDIRECTS_MAX: usize = 5;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The machine trusts nobody.
    #[error(
        "there are no CA certificates on this machine or in this image; install the package `ca-certificates`, name a PEM file with SSL_CERT_FILE, or put the server's own authority into the secret as `ca.crt`"
    )]
    NoAuthorities,
    /// What was given as authority is none.
    #[error("`ca.crt` of the secret holds no certificate in PEM form")]
    Authority,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The client cannot be made.
    #[error("the HTTP client cannot be made")]
    Build(#[from] reqwest::Error),
}

/// A client of the collector at `endpoint`, which may be asked without TLS.
pub(crate) fn collector_client(endpoint: &Url, user_agent: &str) -> Result<Client, ClientError> {
    let roots = match endpoint.scheme() {
        "https" => system()?,
        _ => RootCertStore::empty(),
    };
    let client = builder(roots, user_agent)?;
    Ok(client.redirect(Policy::none()).build()?)
}

/// A client that trusts the authorities of `ca`, PEM certificates, or else the system's. It follows
/// redirects within one host alone, so that credentials go nowhere else.
pub(crate) fn client(ca: Option<&[u8]>, user_agent: &str) -> Result<Client, ClientError> {
    let roots = match ca {
        Some(pem) => named(pem)?,
        None => system()?,
    };
    let client = builder(roots, user_agent)?
        .https_only(true)
        .redirect(Policy::custom(|attempt| {
            if stays(&attempt) {
                attempt.follow()
            } else {
                attempt.stop()
            }
        }))
        .build()?;
    Ok(client)
}

fn builder(roots: RootCertStore, user_agent: &str) -> Result<ClientBuilder, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT)
        .referer(false)
        .user_agent(user_agent);
    Ok(builder)
}

fn stays(attempt: &Attempt<'_>) -> bool {
    let Some(from) = attempt.previous().first() else {
        return false;
    };
    attempt.previous().len() <= REDIRECTS_MAX && is_same_host(from, attempt.url())
}

/// True for two addresses of one server.
pub(crate) fn is_same_host(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

fn named(pem: &[u8]) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| ClientError::Authority)?;
        let added = roots.add(certificate);
        added.map_err(|_| ClientError::Authority)?;
    }
    if roots.is_empty() {
        return Err(ClientError::Authority);
    }
    Ok(roots)
}

/// The authorities that the system trusts; an error where there are none.
pub(crate) fn system() -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    // Systems carry certificates that no library can read; the others count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(ClientError::NoAuthorities);
    }
    Ok(roots)
}

/// An error and all its causes in one escaped line, without the address, which callers name.
pub(crate) fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    if ["UnknownIssuer", "BadSignature"]
        .iter()
        .any(|it| text.contains(it))
    {
        text.push_str(
            "; if the server has an authority of its own, put it into the secret as `ca.crt`",
        );
    }
    visible(&text).to_string()
}

#[cfg(test)]
mod tests {
    use super::{ClientError, client};

    #[test]
    fn what_is_no_certificate_is_no_authority() {
        for pem in [
            &b""[..],
            b"garbage",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
        ] {
            let refused = client(Some(pem), "test").unwrap_err();
            assert!(matches!(refused, ClientError::Authority), "{refused}");
        }
    }
}
