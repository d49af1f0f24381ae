//! The certificate authorities by which a registry is trusted.

use std::env;
use std::fs;
use std::path::PathBuf;

use reqwest::Certificate;

use super::error::{Fault, Outcome};

/// Where distributions keep them.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Those that were given, or else the machine's.
pub(super) fn roots(given: Option<&[u8]>) -> Outcome<Vec<Certificate>> {
    if let Some(pem) = given {
        return read(pem, "ca.crt");
    }
    let own = env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = BUNDLES.iter().map(PathBuf::from);
    for path in own.into_iter().chain(usual) {
        if let Ok(pem) = fs::read(&path) {
            return read(&pem, &format!("`{}`", path.display()));
        }
    }
    Err(Fault::NoRoots)
}

fn read(pem: &[u8], place: &str) -> Outcome<Vec<Certificate>> {
    let roots = Certificate::from_pem_bundle(pem);
    let roots = roots.map_err(|error| Fault::Roots(place.to_owned(), error))?;
    if roots.is_empty() {
        return Err(Fault::NoRoots);
    }
    Ok(roots)
}
