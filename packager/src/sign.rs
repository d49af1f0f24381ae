//! Signatures of packages, and of what is said about them.

use placet_model::Digest;
use placet_package::trust::{Attachment, Bundle, SIGNATURE_PREDICATE, Statement};
use serde_json::Value;

use crate::key::SigningKey;
use crate::provenance::PROVENANCE_TYPE;
use crate::sbom::SBOM_TYPE;

/// What a signed bill of materials is said to be; cosign's word.
const SBOM_PREDICATE: &str = "https://cyclonedx.org/bom";

/// The signature of the package with this digest, ready to be stored with it.
pub fn signature(key: &SigningKey, package: &Digest) -> Attachment {
    signed(key, &Statement::signature(package))
}

/// The same document, signed, if it is a bill of materials or the provenance of the package.
pub fn attestation(
    key: &SigningKey,
    package: &Digest,
    artifact_type: &str,
    content: &[u8],
) -> Option<Attachment> {
    let statement = match artifact_type {
        SBOM_TYPE => {
            let sbom: Value = serde_json::from_slice(content).ok()?;
            Statement::new(package, SBOM_PREDICATE, sbom)
        }
        PROVENANCE_TYPE => Statement::read(content).ok().filter(|it| {
            // Nobody signs by mistake that something may run.
            it.is_about(package) && it.predicate_type != SIGNATURE_PREDICATE
        })?,
        _ => return None,
    };
    Some(signed(key, &statement))
}

fn signed(key: &SigningKey, statement: &Statement) -> Attachment {
    let bundle = Bundle::sign(statement.write(), &key.public(), |bytes| key.sign(bytes));
    Attachment::bundle(&bundle, &statement.predicate_type)
}

#[cfg(test)]
mod tests {
    use placet_package::trust::{Evidence, examine, verify};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_signature_is_the_keys_and_the_same_every_time() {
        let key = SigningKey::generate();
        let package = Digest::of(b"package");
        let made = signature(&key, &package);
        assert_eq!(made, signature(&key, &package));
        let evidence = [Evidence::Bundle(made.content)];
        assert_eq!(
            verify(&package, &evidence, &[key.public()]),
            Ok(key.public().id())
        );
        assert!(verify(&package, &evidence, &[SigningKey::generate().public()]).is_err());
    }

    #[test]
    fn only_what_is_said_about_the_package_is_attested() {
        let key = SigningKey::generate();
        let (package, other) = (Digest::of(b"package"), Digest::of(b"other"));
        let attested = |kind, content: &[u8]| attestation(&key, &package, kind, content);
        let sbom = attested(SBOM_TYPE, b"{\"bomFormat\": \"CycloneDX\"}").unwrap();
        let findings = examine(&package, &[Evidence::Bundle(sbom.content)], &[key.public()]);
        assert_eq!(findings[0].predicate.as_deref(), Some(SBOM_PREDICATE));
        let said = |of| Statement::new(of, "https://slsa.dev/provenance/v1", json!({})).write();
        assert!(attested(PROVENANCE_TYPE, &said(&package)).is_some());
        assert_eq!(attested(PROVENANCE_TYPE, &said(&other)), None);
        let disguised = Statement::signature(&package).write();
        assert_eq!(attested(PROVENANCE_TYPE, &disguised), None);
        assert_eq!(attested(SBOM_TYPE, b"no JSON"), None);
        assert_eq!(attested("text/plain", b"{}"), None);
    }
}
