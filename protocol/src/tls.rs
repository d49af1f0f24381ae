//! How both ends speak TLS: version 1.3, ring, and an authority known by the pin of its key.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, OtherError,
    RootCertStore, SignatureScheme, WantsVerifier,
};

use crate::Pin;
use crate::certificate::facts;

/// The protocol that is negotiated: HTTP/2 and nothing else.
pub(crate) const ALPN: &[u8] = b"h2";

/// Both ends are Placet's, so there is no older version to be kind to.
pub(crate) const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&TLS13];

/// Named wherever a configuration is built: a process-wide default may be another one, or none.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A chain that ends in another authority than the expected one.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the authority has the key {presented:?}, not {expected}")]
pub(crate) struct OtherAuthority {
    pub(crate) expected: Pin,
    /// Nothing if the end of the chain is not a certificate at all.
    pub(crate) presented: Option<Pin>,
}

/// A client's configuration, up to whether it has a certificate, that trusts the authority `pin`.
pub(crate) fn client(
    pin: Pin,
) -> Result<ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, Error> {
    let provider = provider();
    let verifier = PinVerifier {
        pin,
        provider: Arc::clone(&provider),
    };
    let builder: ConfigBuilder<ClientConfig, WantsVerifier> =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(VERSIONS)?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier)))
}

/// Finds the authority by its pin in the chain that the server shows, then verifies the chain
/// against it as usual. It acts within the handshake: nothing of ours is sent before.
#[derive(Debug)]
struct PinVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl PinVerifier {
    fn authority(
        &self,
        end_entity: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
    ) -> Result<CertificateDer<'static>, Error> {
        let pin_of = |certificate| facts(certificate).map(|facts| facts.pin);
        let found = chain
            .iter()
            .find(|certificate| pin_of(certificate) == Some(self.pin));
        found
            .cloned()
            .map(CertificateDer::into_owned)
            .ok_or_else(|| {
                let other = OtherAuthority {
                    expected: self.pin,
                    presented: pin_of(chain.last().unwrap_or(end_entity)),
                };
                Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(other))))
            })
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority(end_entity, intermediates)?)?;
        let provider = Arc::clone(&self.provider);
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
