//! What is read from certificates.

use jiff::Timestamp;
use placet_model::NodeName;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::Pin;

/// The URI that names a node, without the name.
pub(crate) const NODE_URI: &str = "placet://node/";

/// What a certificate says of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// SHA-256 of the public key.
    pub(crate) pin: Pin,
    /// The node that it names; nothing for certificates that are not a node's.
    pub(crate) node: Option<NodeName>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// Reads `certificate`, which may be anything; nothing if it cannot be read.
pub(crate) fn facts(certificate: &CertificateDer<'_>) -> Option<Facts> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    Some(Facts {
        pin: Pin::of(parsed.public_key().raw),
        node: node(&parsed),
        not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
        not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
    })
}

/// Whether the key of `authority` signed `certificate`.
pub(crate) fn signed_by(certificate: &CertificateDer<'_>, authority: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let Ok((_, authority)) = X509Certificate::from_der(authority) else {
        return false;
    };
    certificate
        .verify_signature(Some(authority.public_key()))
        .is_ok()
}

/// The one node that the alternative names name. A certificate that names several speaks for none.
fn node(certificate: &X509Certificate<'_>) -> Option<NodeName> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut nodes = names.value.general_names.iter().filter_map(|name| {
        if let GeneralName::URI(uri) = name {
            uri.strip_prefix(NODE_URI)
        } else {
            None
        }
    });
    match (nodes.next(), nodes.next()) {
        (Some(node), None) => node.parse().ok(),
        _ => None,
    }
}
