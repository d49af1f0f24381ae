//! cosign and we, about the same packages in a registry.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output};

use placet_tests::{RegistryServer, free_address, program};

use crate::keys::build_with;
use crate::{PASSPHRASE, folder_of, json, package, pair, said, text};

/// Runs cosign without a transparency log and without the public good instance.
fn cosign(home: &Path, arguments: &[&str]) -> Output {
    Command::new(program("cosign").unwrap())
        .args(arguments)
        .env("HOME", home)
        .env("COSIGN_PASSWORD", PASSPHRASE)
        .current_dir(home)
        .output()
        .unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    error
}

/// A registry, where cosign is there too.
fn beside_cosign() -> Option<RegistryServer> {
    program("cosign")?;
    RegistryServer::open()
}

const VERIFY: [&str; 2] = ["--insecure-ignore-tlog", "--allow-http-registry"];
const SIGN: [&str; 4] = [
    "--yes",
    "--use-signing-config=false",
    "--tlog-upload=false",
    "--allow-http-registry",
];

#[test]
fn cosign_accepts_what_we_signed_and_refuses_what_another_key_signed() {
    let Some(server) = beside_cosign() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = pair(folder.path(), "release");
    let (_, other) = pair(folder.path(), "other");
    let reference = package(folder.path(), "1.0.0");
    json(&["package", "sign", &reference, "--key", &private]);
    // Signatures travel with the package.
    let layout = text(&folder_of(&reference));
    let place = server.at("fleet/note:1.0.0");
    let pushed = json(&["package", "push", &layout, &place]);
    assert_eq!(
        pushed["referrers"], 5,
        "two documents, the same signed, and the signature"
    );

    let digest = pushed["digest"].as_str().unwrap();
    let image = format!("{}/fleet/note@{digest}", server.host());
    let verify = |key: &str| {
        let arguments = [&["verify", "--key", key, &image], &VERIFY[..]].concat();
        cosign(folder.path(), &arguments)
    };
    let said = succeeds(&verify(&public));
    assert!(
        said.contains("verified against the specified public key"),
        "{said}"
    );
    assert!(!verify(&other).status.success());
    for kind in ["slsaprovenance1", "cyclonedx"] {
        let arguments = [
            "verify-attestation",
            "--key",
            &public,
            "--type",
            kind,
            &image,
        ];
        succeeds(&cosign(folder.path(), &[&arguments, &VERIFY[..]].concat()));
    }
    json(&["package", "verify", &place, "--key", &public]);

    // A package that is signed where it is, in the registry.
    let there = server.at("fleet/other:1.0.0");
    let again = package(&folder.path().join("again"), "1.0.0");
    json(&["package", "push", &text(&folder_of(&again)), &there]);
    json(&["package", "sign", &there, "--key", &private]);
    json(&["package", "verify", &there, "--key", &public]);
}

/// `build --key` does in one step what `build` and `sign` do.
#[test]
fn cosign_accepts_what_a_build_has_signed() {
    let Some(server) = beside_cosign() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = pair(folder.path(), "release");
    let layout = build_with(folder.path(), &private);
    let place = server.at("fleet/built:1.0.0");
    let pushed = json(&["package", "push", &layout, &place]);
    assert_eq!(pushed["referrers"], 5);
    let digest = pushed["digest"].as_str().unwrap();
    let image = format!("{}/fleet/built@{digest}", server.host());
    let run = |arguments: &[&str]| {
        let rest = ["--key", &public, &image];
        succeeds(&cosign(
            folder.path(),
            &[arguments, &rest, &VERIFY].concat(),
        ))
    };
    run(&["verify"]);
    run(&["verify-attestation", "--type", "slsaprovenance1"]);
    run(&["verify-attestation", "--type", "cyclonedx"]);
}

/// A registry that lists referrers itself, for as long as the value lives.
struct Referrers {
    child: Child,
    host: String,
}

impl Referrers {
    fn start() -> Option<Self> {
        let program = program("referrers")?;
        let host = free_address();
        let child = Command::new(program).arg(&host).spawn().unwrap();
        while TcpStream::connect(&host).is_err() {
            std::thread::yield_now();
        }
        Some(Self { child, host })
    }
}

impl Drop for Referrers {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_registry_that_lists_referrers_itself_serves_as_well() {
    let Some(server) = Referrers::start() else {
        return;
    };
    if program("cosign").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = pair(folder.path(), "release");
    let reference = package(folder.path(), "1.0.0");
    json(&["package", "sign", &reference, "--key", &private]);
    let layout = text(&folder_of(&reference));
    let place = format!("oci+http://{}/fleet/note:1.0.0", server.host);
    let pushed = json(&["package", "push", &layout, &place]);
    let digest = pushed["digest"].as_str().unwrap();
    let image = format!("{}/fleet/note@{digest}", server.host);
    let arguments = [&["verify", "--key", &public, &image], &VERIFY[..]].concat();
    succeeds(&cosign(folder.path(), &arguments));
    json(&["package", "verify", &place, "--key", &public]);
    let back = text(&folder.path().join("back"));
    json(&["package", "pull", &place, &back]);
    json(&["package", "verify", &back, "--key", &public]);
}

#[test]
fn we_accept_what_cosign_signed_in_both_of_its_forms() {
    let Some(server) = beside_cosign() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    succeeds(&cosign(home, &["generate-key-pair"]));
    let (private, public) = (
        text(&home.join("cosign.key")),
        text(&home.join("cosign.pub")),
    );
    let (_, other) = pair(home, "other");
    for (version, form) in [
        ("1.0.0", &[][..]),
        ("2.0.0", &["--new-bundle-format=false"][..]),
    ] {
        let reference = package(&home.join(version), version);
        let place = server.at(&format!("theirs/note:{version}"));
        let pushed = json(&["package", "push", &text(&folder_of(&reference)), &place]);
        let (code, error) = said(&["package", "verify", &place, "--key", &public]);
        assert_eq!(code, 1, "{error}");
        let digest = pushed["digest"].as_str().unwrap();
        let image = format!("{}/theirs/note@{digest}", server.host());
        let arguments = ["sign", "--key", &private, &image];
        succeeds(&cosign(home, &[&arguments[..], &SIGN, form].concat()));
        let verified = json(&[
            "package", "verify", &place, "--key", &other, "--key", &public,
        ]);
        let id = json(&["package", "key", "show", &public])["id"].clone();
        assert_eq!(verified["signedBy"], id, "{version}");
        let (code, error) = said(&["package", "verify", &place, "--key", &other]);
        assert_eq!(code, 1, "{error}");
    }
    // Its private key signs with us too.
    let reference = package(&home.join("ours"), "3.0.0");
    json(&["package", "sign", &reference, "--key", &private]);
    json(&["package", "verify", &reference, "--key", &public]);
}
