//! A private key and its certificates in one PEM file, so that they change together.

use pem::{EncodeConfig, LineEnding, Pem};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

const KEY: &str = "PRIVATE KEY";
const CERTIFICATE: &str = "CERTIFICATE";

pub(crate) fn write(key: &[u8], chain: &[CertificateDer<'_>]) -> String {
    let mut blocks = vec![Pem::new(KEY, key)];
    blocks.extend(
        chain
            .iter()
            .map(|certificate| Pem::new(CERTIFICATE, certificate.as_ref())),
    );
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_many_config(&blocks, config)
}

/// The key and the certificates in `text`, or what is wrong with it.
pub(crate) fn read(
    text: &str,
) -> Result<(PrivatePkcs8KeyDer<'static>, Vec<CertificateDer<'static>>), String> {
    let blocks = pem::parse_many(text).map_err(|error| error.to_string())?;
    let (mut key, mut chain) = (None, Vec::new());
    for block in blocks {
        match block.tag() {
            KEY if key.is_none() => key = Some(block.into_contents().into()),
            CERTIFICATE => chain.push(block.into_contents().into()),
            _ => return Err("it has a part that does not belong there".to_owned()),
        }
    }
    let key = key.ok_or_else(|| "it has no private key".to_owned())?;
    Ok((key, chain))
}
