use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};

use super::*;

/// What cosign 3.1.3 made, of the image with this digest.
const SIGNED: &str = "sha256:29513c92cd0e84a2ae1782883481724e7c0cea752b1afec68e970379fdef7cce";
const BUNDLE: &[u8] = include_bytes!("../../tests/cosign/bundle.json");
const PAYLOAD: &[u8] = include_bytes!("../../tests/cosign/payload.json");
const PAYLOAD_SIGNATURE: &str = "MEUCIDzsRvtEXyrkw1kTrx+g5L0I8qnCSSdgzx6iCOmIYpQKAiEAzwNfJokHnbNOPBFATo5aOaGFB9L3FbCLy+Z0HRdRVrw=";

fn cosign() -> PublicKey {
    let key = include_str!("../../tests/cosign/cosign.pub");
    key.parse().unwrap()
}

fn key(number: u8) -> (SigningKey, PublicKey) {
    let key = SigningKey::from_bytes(&[number; 32].into()).unwrap();
    let public = PublicKey::from(*key.verifying_key());
    (key, public)
}

fn signed(statement: &Statement, (key, public): &(SigningKey, PublicKey)) -> Bundle {
    Bundle::sign(statement.write(), public, |bytes| {
        let signature: Signature = key.sign(bytes);
        signature.to_der().as_bytes().to_vec()
    })
}

fn evidence(bundle: &Bundle) -> Evidence {
    Evidence::Bundle(bundle.write())
}

/// Another bundle, with what `change` made of this one's JSON.
fn changed(bundle: &[u8], change: impl FnOnce(&mut Value)) -> Evidence {
    let mut value: Value = serde_json::from_slice(bundle).unwrap();
    change(&mut value);
    Evidence::Bundle(value.to_string().into_bytes())
}

#[track_caller]
fn objection(package: &Digest, evidence: Evidence, keys: &[PublicKey]) -> Objection {
    let refused = verify(package, &[evidence], keys).unwrap_err();
    refused.objections.into_iter().next().expect("an objection")
}

#[test]
fn what_cosign_signed_counts_in_both_of_its_forms() {
    let package: Digest = SIGNED.parse().unwrap();
    let simple = Evidence::Simple(SimpleSignature {
        payload: PAYLOAD.to_vec(),
        signature: PAYLOAD_SIGNATURE.to_owned(),
    });
    for evidence in [Evidence::Bundle(BUNDLE.to_vec()), simple] {
        let keys = [key(1).1, cosign()];
        assert_eq!(verify(&package, &[evidence], &keys), Ok(cosign().id()));
    }
}

#[test]
fn a_bundle_is_written_as_it_is_read_and_the_same_twice() {
    let package = Digest::of(b"package");
    let bundle = signed(&Statement::signature(&package), &key(1));
    assert_eq!(Bundle::read(&bundle.write()), Ok(bundle.clone()));
    let again = signed(&Statement::signature(&package), &key(1));
    assert_eq!(again.write(), bundle.write());
    let keys = [key(2).1, key(1).1];
    assert_eq!(
        verify(&package, &[evidence(&bundle)], &keys),
        Ok(key(1).1.id())
    );
}

#[test]
fn one_good_signature_among_bad_ones_counts() {
    let package = Digest::of(b"package");
    let all = [
        Evidence::Bundle(b"{}".to_vec()),
        evidence(&signed(&Statement::signature(&package), &key(3))),
        evidence(&signed(&Statement::signature(&package), &key(1))),
    ];
    assert_eq!(verify(&package, &all, &[key(1).1]), Ok(key(1).1.id()));
}

#[test]
fn a_key_that_is_not_listed_does_not_count() {
    let package = Digest::of(b"package");
    let bundle = signed(&Statement::signature(&package), &key(1));
    let other = key(2).1;
    let refused = verify(&package, &[evidence(&bundle)], std::slice::from_ref(&other)).unwrap_err();
    assert_eq!(refused.objections, [Objection::Unlisted(key(1).1.id())]);
    assert_eq!(
        refused.to_string(),
        format!(
            "{package} is not signed by a listed key ({}): the key {} of a signature is not listed",
            other.id().short(),
            key(1).1.id().short()
        )
    );
    let simple = Evidence::Simple(SimpleSignature {
        payload: PAYLOAD.to_vec(),
        signature: PAYLOAD_SIGNATURE.to_owned(),
    });
    let package: Digest = SIGNED.parse().unwrap();
    assert_eq!(objection(&package, simple, &[other]), Objection::Unknown);
}

#[test]
fn a_signature_of_another_package_does_not_count() {
    let (package, other) = (Digest::of(b"package"), Digest::of(b"other"));
    let bundle = signed(&Statement::signature(&other), &key(1));
    let objection_to = objection(&package, evidence(&bundle), &[key(1).1]);
    let subject = other.to_string();
    let key = key(1).1.id();
    assert_eq!(objection_to, Objection::OtherSubject { key, subject });
    let simple = Evidence::Simple(SimpleSignature {
        payload: PAYLOAD.to_vec(),
        signature: PAYLOAD_SIGNATURE.to_owned(),
    });
    let found = objection(&package, simple, &[cosign()]);
    assert!(matches!(found, Objection::OtherSubject { .. }), "{found}");
}

#[test]
fn whatever_is_changed_in_what_was_signed_is_noticed() {
    let package: Digest = SIGNED.parse().unwrap();
    let keys = [cosign()];
    let tampered = Objection::Tampered(cosign().id());
    let document: Value = serde_json::from_slice(BUNDLE).unwrap();
    let payload = document["dsseEnvelope"]["payload"].as_str().unwrap();
    let payload = STANDARD.decode(payload).unwrap();
    for at in 0..payload.len() {
        let mut payload = payload.clone();
        payload[at] ^= 1;
        let evidence = changed(BUNDLE, |bundle| {
            bundle["dsseEnvelope"]["payload"] = STANDARD.encode(&payload).into();
        });
        assert_eq!(objection(&package, evidence, &keys), tampered, "byte {at}");
    }
    let evidence = changed(BUNDLE, |bundle| {
        bundle["dsseEnvelope"]["payloadType"] = "text/plain".into();
    });
    assert_eq!(objection(&package, evidence, &keys), tampered);
    let evidence = changed(BUNDLE, |bundle| {
        let other = signed(&Statement::signature(&package), &key(1));
        let other: Value = serde_json::from_slice(&other.write()).unwrap();
        bundle["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"].clone();
    });
    assert_eq!(objection(&package, evidence, &keys), tampered);
}

#[test]
fn the_hint_alone_convinces_nobody() {
    let package = Digest::of(b"package");
    let bundle = signed(&Statement::signature(&package), &key(1)).write();
    let listed = key(2).1;
    let evidence = changed(&bundle, |bundle| {
        let hint = STANDARD.encode(listed.id().as_bytes());
        bundle["verificationMaterial"]["publicKey"]["hint"] = hint.into();
    });
    let found = objection(&package, evidence, std::slice::from_ref(&listed));
    assert_eq!(found, Objection::Tampered(listed.id()));
    // Without a hint every listed key is tried.
    let without = || {
        changed(&bundle, |bundle| {
            bundle["verificationMaterial"] = json!({"publicKey": {}});
        })
    };
    assert_eq!(
        objection(&package, without(), std::slice::from_ref(&listed)),
        Objection::Unknown
    );
    let keys = [listed, key(1).1];
    assert_eq!(verify(&package, &[without()], &keys), Ok(key(1).1.id()));
}

#[test]
fn a_statement_about_how_it_was_made_is_no_signature() {
    let package = Digest::of(b"package");
    let statement = Statement::new(&package, "https://slsa.dev/provenance/v1", json!({}));
    let evidence = [evidence(&signed(&statement, &key(1)))];
    let refused = verify(&package, &evidence, &[key(1).1]).unwrap_err();
    assert_eq!(refused.objections, []);
    assert!(
        refused.to_string().contains("it has no signature"),
        "{refused}"
    );
    let [finding] = &examine(&package, &evidence, &[key(1).1])[..] else {
        panic!("one finding");
    };
    assert_eq!(
        finding.predicate.as_deref(),
        Some("https://slsa.dev/provenance/v1")
    );
    assert_eq!(finding.outcome, Ok(key(1).1.id()));
}

#[test]
fn what_is_no_bundle_is_refused_with_what_it_is() {
    let package: Digest = SIGNED.parse().unwrap();
    let keys = [cosign()];
    let signature = changed(BUNDLE, |bundle| {
        bundle.as_object_mut().unwrap().remove("dsseEnvelope");
    });
    let certificate = changed(BUNDLE, |bundle| {
        bundle["verificationMaterial"] = json!({"certificate": {"rawBytes": "AAAA"}});
    });
    let two = changed(BUNDLE, |bundle| {
        let signatures = bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
        signatures.push(signatures[0].clone());
    });
    let letters = changed(BUNDLE, |bundle| {
        bundle["dsseEnvelope"]["payload"] = "%%%".into();
    });
    for (evidence, said) in [
        (Evidence::Bundle(b"no JSON".to_vec()), "no Sigstore bundle"),
        (Evidence::Bundle(Vec::new()), "no Sigstore bundle"),
        (signature, "holds no statement"),
        (certificate, "by a certificate"),
        (two, "one signature"),
        (letters, "base64"),
    ] {
        let found = objection(&package, evidence, &keys).to_string();
        assert!(found.contains(said), "{found}");
    }
}

#[test]
fn only_a_few_of_many_objections_are_told() {
    let package = Digest::of(b"package");
    let all: Vec<Evidence> = (3..20)
        .map(|number| evidence(&signed(&Statement::signature(&package), &key(number))))
        .collect();
    let refused = verify(&package, &all, &[key(1).1]).unwrap_err().to_string();
    assert!(refused.ends_with("; and 14 more"), "{refused}");
}
