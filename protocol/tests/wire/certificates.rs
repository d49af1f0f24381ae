//! What the authority signs and what it refuses, and the files that keys live in.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use placet_protocol::{Authority, AuthorityError, FileError, Identity, IdentityError};
use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, IsCa, KeyPair, PublicKeyData as _, SanType};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::controller::{Controller, HOUR, name, request};

fn authority(directory: &Path) -> Authority {
    Authority::open_or_create(directory, &["127.0.0.1".to_owned()]).unwrap()
}

fn sign(authority: &Authority, csr: &[u8]) -> Result<Vec<Vec<u8>>, AuthorityError> {
    authority.sign_node(csr, &name("core-1"), HOUR, Timestamp::now())
}

#[test]
fn the_request_decides_nothing_but_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(directory.path());
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["controller.example".to_owned()]).unwrap();
    let other = "placet://node/core-2".to_owned().try_into().unwrap();
    params.subject_alt_names.push(SanType::URI(other));
    params.distinguished_name.push(DnType::CommonName, "core-2");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let csr = params.serialize_request(&key).unwrap();

    let now = Timestamp::now();
    let chain = authority
        .sign_node(csr.der(), &name("core-1"), HOUR, now)
        .unwrap();
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    assert_eq!(leaf.public_key().raw, key.subject_public_key_info());
    assert_eq!(leaf.subject().to_string(), "CN=core-1");
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(
        names.value.general_names,
        [GeneralName::URI("placet://node/core-1")]
    );
    assert!(!leaf.is_ca());
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    let begin = leaf.validity().not_before.timestamp();
    let end = leaf.validity().not_after.timestamp();
    assert_eq!(begin, now.as_second() - 60);
    assert!((3600..=3601).contains(&(end - now.as_second())));
}

#[test]
fn requests_that_prove_nothing_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(directory.path());
    let (_, good) = request();
    sign(&authority, &good).unwrap();

    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p384 = CertificateParams::default()
        .serialize_request(&p384)
        .unwrap();
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let ed25519 = CertificateParams::default()
        .serialize_request(&ed25519)
        .unwrap();
    let huge = [good.clone(), vec![0; 10_000]].concat();
    for bad in [
        &b""[..],
        b"garbage",
        &forged,
        p384.der(),
        ed25519.der(),
        &huge,
    ] {
        let error = sign(&authority, bad).unwrap_err();
        assert!(matches!(error, AuthorityError::Request(_)), "{error}");
        let status = tonic::Status::from(error);
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
    }
}

#[test]
fn lifetimes_that_are_none_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(directory.path());
    let (_, csr) = request();
    for lifetime in [
        SignedDuration::ZERO,
        SignedDuration::from_secs(-1),
        SignedDuration::MAX,
        SignedDuration::from_hours(24 * 365 * 9000),
    ] {
        let result = authority.sign_node(&csr, &name("a"), lifetime, Timestamp::now());
        assert!(
            matches!(result, Err(AuthorityError::Lifetime(_))),
            "{lifetime:?}"
        );
    }
}

#[test]
fn an_authority_is_made_once_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b");
    let pins: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| authority(&path).pin()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(pins.iter().all(|pin| *pin == pins[0]), "{pins:?}");
    assert_eq!(authority(&path).pin(), pins[0]);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let files: Vec<_> = std::fs::read_dir(&path).unwrap().collect();
    assert_eq!(files.len(), 1, "no half-written files stay: {files:?}");
    assert_eq!(mode(&path.join("authority.pem")), 0o600);
}

#[test]
fn a_key_that_others_can_read_or_that_is_damaged_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("authority");
    let first = authority(&path).pin();
    let file = path.join("authority.pem");
    let names = ["127.0.0.1".to_owned()];
    let permit = |mode| std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    permit(0o640);
    let error = Authority::open_or_create(&path, &names).unwrap_err();
    assert!(
        matches!(error, AuthorityError::File(FileError::Exposed { .. })),
        "{error}"
    );
    permit(0o600);

    let good = std::fs::read_to_string(&file).unwrap();
    let other = tempfile::tempdir().unwrap();
    authority(other.path());
    let other = std::fs::read_to_string(other.path().join("authority.pem")).unwrap();
    let begin = "-----BEGIN CERTIFICATE";
    let mixed = [
        good.split(begin).next().unwrap(),
        begin,
        other.split(begin).nth(1).unwrap(),
    ]
    .concat();
    for bad in ["", "x", &good[..good.len() / 2], &mixed] {
        std::fs::write(&file, bad).unwrap();
        let error = Authority::open_or_create(&path, &names).unwrap_err();
        assert!(matches!(error, AuthorityError::Damaged { .. }), "{error}");
    }
    std::fs::write(&file, &good).unwrap();
    assert_eq!(authority(&path).pin(), first);
}

#[test]
fn names_that_are_none_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let open = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        Authority::open_or_create(directory.path(), &names)
    };
    assert!(matches!(open(&[]), Err(AuthorityError::NoNames)));
    for bad in ["", "a b", "a:1", "ä.example", "a\0"] {
        assert!(matches!(open(&["a", bad]), Err(AuthorityError::Name(_))));
    }
    open(&["a.example", "10.0.0.1", "::1"]).unwrap();
}

#[tokio::test]
async fn an_identity_that_is_damaged_is_refused() {
    let controller = Controller::start().await;
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("node");
    controller.joined("core-1").await.save(&directory).unwrap();
    let file = directory.join("identity.pem");
    let good = std::fs::read_to_string(&file).unwrap();
    controller.joined("core-2").await.save(&directory).unwrap();
    let other = std::fs::read_to_string(&file).unwrap();
    let begin = "-----BEGIN CERTIFICATE";
    let mut parts: Vec<&str> = good.split(begin).collect();
    let leaf_only = parts[..2].join(begin);
    parts[1] = other.split(begin).nth(1).unwrap();
    let other_leaf = parts.join(begin);
    for bad in ["", "x", &leaf_only, &other_leaf] {
        std::fs::write(&file, bad).unwrap();
        let error = Identity::load(&directory).unwrap_err();
        assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("placet node token"), "{error}");
    }
    std::fs::write(&file, good).unwrap();
    let identity = Identity::load(&directory).unwrap().unwrap();
    assert_eq!(identity.node(), &name("core-1"));
}

thread_local! {
    static AUTHORITY: (tempfile::TempDir, Authority) = {
        let directory = tempfile::tempdir().unwrap();
        let made = authority(directory.path());
        (directory, made)
    };
}

proptest! {
    #[test]
    fn no_request_makes_the_authority_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let refused = AUTHORITY.with(|(_, made)| sign(made, &bytes).is_err());
        prop_assert!(refused);
    }

    /// Whatever is changed in a request, either it is refused or the key is still the owner's.
    #[test]
    fn no_damaged_request_gets_another_key_signed(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (key, mut csr) = request();
        for (index, byte) in changes {
            let index = index.index(csr.len());
            csr[index] = byte;
        }
        if let Ok(chain) = AUTHORITY.with(|(_, made)| sign(made, &csr)) {
            let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
            prop_assert_eq!(leaf.public_key().raw, key.subject_public_key_info());
        }
    }
}
