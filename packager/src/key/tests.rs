use super::*;

fn passphrase(text: &str) -> Passphrase {
    Zeroizing::new(text.to_owned())
}

#[test]
fn a_key_is_kept_encrypted_and_opens_with_its_passphrase_alone() {
    let key = SigningKey::generate();
    let pem = key.to_pem(&passphrase("open sesame"));
    assert!(SigningKey::is_encrypted(&pem));
    let read = SigningKey::from_pem(&pem, &passphrase("open sesame")).unwrap();
    assert_eq!(read.public(), key.public());
    assert!(read.public().verifies(b"text", &key.sign(b"text")));
    assert!(!read.public().verifies(b"test", &key.sign(b"text")));
    for wrong in ["", "open sesam", "open sesame "] {
        let refused = SigningKey::from_pem(&pem, &passphrase(wrong)).unwrap_err();
        assert_eq!(refused, SigningKeyError::Closed);
    }
    let shown = format!("{key:?}");
    assert_eq!(shown, format!("SigningKey({})", key.public().id()));
}

#[test]
fn the_same_bytes_have_the_same_signature() {
    let key = SigningKey::generate();
    assert_eq!(key.sign(b"text"), key.sign(b"text"));
}

#[test]
fn what_is_no_private_key_is_refused_with_what_it_is() {
    let key = SigningKey::generate();
    let none = passphrase("");
    let pem = key.to_pem(&passphrase("x"));
    let cut: String = pem
        .lines()
        .filter(|line| !line.starts_with("MIH"))
        .collect();
    for (text, error) in [
        (String::new(), SigningKeyError::NotPem),
        (key.public().pem().to_owned(), SigningKeyError::Public),
        (cut, SigningKeyError::Damaged),
        (
            pem.replace("ENCRYPTED PRIVATE", "PGP PRIVATE"),
            SigningKeyError::Label("PGP PRIVATE KEY".to_owned()),
        ),
        (
            pem.replace("ENCRYPTED PRIVATE", "ENCRYPTED SIGSTORE PRIVATE"),
            SigningKeyError::Damaged,
        ),
    ] {
        assert_eq!(
            SigningKey::from_pem(&text, &none).unwrap_err(),
            error,
            "{text}"
        );
    }
}

#[test]
fn a_key_that_cosign_made_is_read() {
    let pem = include_str!("../../tests/cosign/cosign.key");
    let public: PublicKey = include_str!("../../tests/cosign/cosign.pub")
        .parse()
        .unwrap();
    assert!(SigningKey::is_encrypted(pem));
    let key = SigningKey::from_pem(pem, &passphrase("secret")).unwrap();
    assert_eq!(key.public(), public);
    let wrong = SigningKey::from_pem(pem, &passphrase("secrets"));
    assert_eq!(wrong.unwrap_err(), SigningKeyError::Closed);
}
