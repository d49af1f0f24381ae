//! Documents of packages: index, manifest, config, lists of symbols, and signatures.

use placet_model::{Digest, PublicKey, canonical_json};
use placet_package::trust::{Bundle, Evidence, SimpleSignature, Statement, examine};
use placet_package::{Problem, readers};

use super::told;

/// What cosign has signed, and the key.
const KEY: &str = include_str!("../../package/tests/cosign/cosign.pub");
const SIGNED: &str = "sha256:29513c92cd0e84a2ae1782883481724e7c0cea752b1afec68e970379fdef7cce";

pub(crate) fn read(bytes: &[u8]) {
    accepted(readers::index(bytes));
    accepted(readers::manifest(bytes));
    accepted(readers::document(bytes));
    if let Some(lists) = accepted(readers::symbols(bytes)) {
        let again = readers::symbols(&canonical_json(&lists));
        assert_eq!(accepted(again), Some(lists), "written and read");
    }
    if let Some(config) = accepted(readers::config(bytes)) {
        let written = canonical_json(&config);
        let again = readers::config(&written);
        assert_eq!(accepted(again).as_ref(), Some(&config), "written and read");
        let manifest = readers::manifest_of(&config);
        readers::package(&manifest, &written).expect("a package that is written can be read");
    }
    signatures(bytes);
}

/// What was read; what people are told of the rest is looked at.
fn accepted<T>(read: Result<T, Problem>) -> Option<T> {
    read.inspect_err(|problem| drop(told(problem))).ok()
}

fn signatures(bytes: &[u8]) {
    if let Ok(bundle) = Bundle::read(bytes) {
        let again = Bundle::read(&bundle.write());
        assert_eq!(again, Ok(bundle), "written and read");
    }
    if let Ok(statement) = Statement::read(bytes) {
        let again = Statement::read(&statement.write());
        assert_eq!(again, Ok(statement), "written and read");
    }
    let key: PublicKey = KEY.parse().expect("it is a key");
    let package: Digest = SIGNED.parse().expect("it is a digest");
    let simple = SimpleSignature {
        payload: bytes.to_owned(),
        signature: String::from_utf8_lossy(bytes).into_owned(),
    };
    let evidence = [Evidence::Bundle(bytes.to_owned()), Evidence::Simple(simple)];
    for finding in examine(&package, &evidence, std::slice::from_ref(&key)) {
        match finding.outcome {
            Ok(signer) => assert_eq!(signer, key.id()),
            Err(objection) => drop(told(&objection)),
        }
    }
}
