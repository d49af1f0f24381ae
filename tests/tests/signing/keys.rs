//! Keys, signatures in layouts, and what is known of a package.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use placet_package::{Layout, Selector};
use placet_tests::{assert_cyclonedx, placet};
use serde_json::Value;

use crate::{PASSPHRASE, folder_of, json, package, pair, run, said, text};

#[test]
fn a_pair_is_written_once_and_the_private_key_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = pair(folder.path(), "release");
    let mode = fs::metadata(&private).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let pem = fs::read_to_string(&private).unwrap();
    assert!(
        pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
        "{pem}"
    );
    let of_private = json(&["package", "key", "show", &private]);
    assert_eq!(of_private, json(&["package", "key", "show", &public]));

    let file = folder.path().join("release");
    let (code, error) = said(&["package", "key", "generate", &text(&file)]);
    assert_eq!(code, 2);
    assert!(error.contains("is not overwritten"), "{error}");
    assert_eq!(fs::read_to_string(&private).unwrap(), pem);
}

#[test]
fn the_passphrase_comes_from_a_file_or_the_environment_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (private, _) = pair(folder.path(), "release");
    let reference = package(folder.path(), "1.0.0");
    let secret = folder.path().join("secret");
    let command = |passphrase: Option<&str>, file: Option<&str>| {
        let mut command = Command::new(placet());
        command.args(["package", "sign", &reference, "--key", &private]);
        command.env_remove("PLACET_PASSPHRASE").stdin(Stdio::null());
        command.args(
            file.into_iter()
                .flat_map(|file| ["--passphrase-file", file]),
        );
        command.envs(passphrase.map(|passphrase| ("PLACET_PASSPHRASE", passphrase)));
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!error.contains(PASSPHRASE), "{error}");
        (output.status.code().unwrap(), error)
    };
    fs::write(&secret, format!("{PASSPHRASE}\n")).unwrap();
    let secret = text(&secret);
    assert_eq!(command(None, Some(&secret)).0, 0);
    assert_eq!(
        command(Some("wrong"), Some(&secret)).0,
        0,
        "the file goes first"
    );
    for (passphrase, advice) in [
        (Some("wrong"), "the passphrase is wrong"),
        (None, "--passphrase-file"),
    ] {
        let (code, error) = command(passphrase, None);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(advice), "{error}");
    }
}

/// Builds a package and signs it in one step, with the passphrase in the environment; its layout.
pub(crate) fn build_with(folder: &Path, private: &str) -> String {
    package(folder, "1.0.0");
    let file = text(&folder.join("source/package.yaml"));
    let layout = text(&folder.join("signed"));
    let to = format!("oci-layout:{layout}");
    json(&["package", "build", &file, "--to", &to, "--key", private]);
    layout
}

#[test]
fn a_build_with_a_key_signs_the_package_and_what_is_known_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = pair(folder.path(), "release");
    let layout = build_with(folder.path(), &private);
    let verified = json(&["package", "verify", &layout, "--key", &public]);
    let findings = verified["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 3, "{verified}");
    let attached = json(&["package", "attached", &layout]);
    assert_eq!(
        attached["attached"].as_array().unwrap().len(),
        5,
        "{attached}"
    );

    // The passphrase may stand in a file; without the right one nothing is built.
    let secret = folder.path().join("secret");
    let again = folder.path().join("again");
    let build = |passphrase: &str| {
        fs::write(&secret, passphrase).unwrap();
        let mut command = Command::new(placet());
        command.args(["package", "build", "--key", &private, "--to"]);
        command.arg(format!("oci-layout:{}", again.display()));
        command.arg(folder.path().join("source/package.yaml"));
        command.arg("--passphrase-file").arg(&secret);
        command.env_remove("PLACET_PASSPHRASE").stdin(Stdio::null());
        command.output().unwrap()
    };
    let output = build("wrong");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("the passphrase is wrong"), "{error}");
    assert!(!again.exists(), "nothing was built");
    let output = build(PASSPHRASE);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let again = text(&again);
    assert_eq!(
        json(&["package", "attached", &again]),
        attached,
        "the same signatures"
    );
}

#[test]
fn openssl_reads_our_keys_and_we_read_its() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = pair(folder.path(), "release");
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .args(arguments)
            .env("PASSPHRASE", PASSPHRASE)
            .output()
            .ok()?;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        Some(String::from_utf8(output.stdout).unwrap())
    };
    let pass = "env:PASSPHRASE";
    let Some(read) = openssl(&["pkey", "-in", &private, "-passin", pass, "-pubout"]) else {
        placet_tests::skipped("there is no `openssl`");
        return;
    };
    assert_eq!(read, fs::read_to_string(&public).unwrap());

    let theirs = text(&folder.path().join("theirs.pem"));
    let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    openssl(&[&["genpkey", "-out", &theirs], &curve[..]].concat());
    let id = json(&["package", "key", "show", &theirs])["id"].clone();
    let encrypted = text(&folder.path().join("encrypted.pem"));
    let convert = [
        "pkcs8", "-topk8", "-in", &theirs, "-out", &encrypted, "-passout", pass,
    ];
    openssl(&convert);
    assert_eq!(json(&["package", "key", "show", &encrypted])["id"], id);
    let wrong = text(&folder.path().join("wrong.pem"));
    let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
    openssl(&[&["genpkey", "-out", &wrong], &curve[..]].concat());
    let (code, error) = said(&["package", "key", "show", &wrong]);
    assert!(code == 2 && error.contains("P-256"), "{error}");
}

#[test]
fn a_signature_in_a_layout_counts_until_anything_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = pair(folder.path(), "release");
    let (_, other) = pair(folder.path(), "other");
    let reference = package(folder.path(), "1.0.0");
    let before = json(&["package", "inspect", &reference])["digest"].clone();
    let verify = |key: &str| said(&["package", "verify", &reference, "--key", key]);
    let (code, error) = verify(&public);
    assert_eq!(code, 1);
    assert!(error.contains("it has no signature"), "{error}");

    let signed = json(&["package", "sign", &reference, "--key", &private]);
    assert_eq!(signed["digest"], before, "the package is the same");
    assert_eq!(signed["documents"], 2);
    let attached = json(&["package", "attached", &reference]);
    json(&["package", "sign", &reference, "--key", &private]);
    assert_eq!(
        json(&["package", "attached", &reference]),
        attached,
        "nothing new"
    );
    assert_eq!(verify(&public).0, 0);
    let both = [
        "package", "verify", &reference, "--key", &other, "--key", &public,
    ];
    assert_eq!(said(&both).0, 0, "one of the keys is enough");
    let (code, error) = verify(&other);
    assert_eq!(code, 1);
    assert!(error.contains("is not listed"), "{error}");

    // Another package under the same tag is not signed.
    package(folder.path(), "1.0.0");
    let layout = Layout::open(&folder_of(&reference)).unwrap();
    fs::write(folder.path().join("source/note"), "something else\n").unwrap();
    let file = text(&folder.path().join("source/package.yaml"));
    let to = format!("oci-layout:{}", layout.dir().display());
    json(&["package", "build", &file, "--to", &to]);
    let (code, error) = verify(&public);
    assert_eq!(code, 1, "{error}");

    // Nor does the first one count any more once a byte of the signature is another.
    let package = before.as_str().unwrap().parse().unwrap();
    assert_eq!(layout.resolve(&Selector::Digest(package)).unwrap(), package);
    let bundles = layout.attached(&package).unwrap().into_iter();
    let signature = bundles.filter(|it| {
        it.predicate
            .as_deref()
            .is_some_and(|it| it.contains("sign"))
    });
    for bundle in signature {
        fs::write(layout.blob_path(&bundle.content.0), "{}").unwrap();
    }
    let by_digest = format!("oci-layout:{}@{package}", layout.dir().display());
    let (code, error) = said(&["package", "verify", &by_digest, "--key", &public]);
    assert_eq!(code, 1);
    assert!(error.contains("cannot be read"), "{error}");
}

#[test]
fn what_is_known_of_a_package_is_true_and_tells_nothing_of_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let reference = package(folder.path(), "1.2.3");
    let inspected = json(&["package", "inspect", &reference]);
    let sbom = json(&["package", "sbom", &reference]);
    let modules = inspected["config"]["modules"].as_array().unwrap();
    let files: Vec<&Value> = sbom["components"].as_array().unwrap().iter().collect();
    assert_eq!(files.len(), modules.len());
    for (file, module) in files.iter().zip(modules) {
        let hash = format!("sha256:{}", file["hashes"][0]["content"].as_str().unwrap());
        assert_eq!(
            (&file["name"], hash),
            (
                &module["path"],
                module["digest"].as_str().unwrap().to_owned()
            )
        );
    }
    assert_eq!(sbom["metadata"]["component"]["version"], "1.2.3");
    assert_cyclonedx(&sbom);

    let provenance = json(&["package", "provenance", &reference]);
    let digest = inspected["digest"].as_str().unwrap();
    let subject = provenance["subject"][0]["digest"]["sha256"]
        .as_str()
        .unwrap();
    assert_eq!(format!("sha256:{subject}"), digest);
    let built = &provenance["predicate"]["buildDefinition"];
    assert_eq!(
        built["externalParameters"]["commands"][0],
        "tr a-z A-Z < note > loud"
    );
    let host = Command::new("uname").arg("-n").output().unwrap().stdout;
    let host = String::from_utf8(host).unwrap();
    for document in [sbom.to_string(), provenance.to_string()] {
        assert!(!document.contains(&text(folder.path())), "{document}");
        assert!(!document.contains(host.trim()), "{document}");
    }

    // The same sources in another folder make the same package, and the same is known of it.
    let elsewhere = tempfile::tempdir().unwrap();
    let again = package(elsewhere.path(), "1.2.3");
    for what in ["sbom", "provenance"] {
        assert_eq!(
            json(&["package", what, &again]),
            json(&["package", what, &reference])
        );
    }
    let none = run(&["package", "sbom", "oci-layout:/nonexistent:1"]);
    assert_eq!(none.status.code(), Some(2));
}

/// An update says from which package it was made and how, and is signed as builds are.
#[test]
fn an_update_says_where_it_comes_from_and_is_signed_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = pair(folder.path(), "release");
    let reference = package(folder.path(), "1.0.0");
    let inspected = json(&["package", "inspect", &reference]);
    let origin = inspected["digest"].as_str().unwrap();
    let origin = origin.strip_prefix("sha256:").unwrap();
    let new = folder.path().join("new");
    fs::write(&new, "another note\n").unwrap();
    let replace = format!("share/note={}", new.display());
    let builder = [
        "--key",
        &private,
        "--builder",
        "https://builds.example.net/7",
    ];
    let shade = ["package", "shade", &reference, "--gray", "share/loud"];
    let repack = ["package", "repack", &reference, "--replace", &replace];
    for (command, operation, dependencies) in [(shade, "gray", 1), (repack, "repack", 2)] {
        let made = json(&[&command[..], &builder].concat());
        let made_of = made["reference"].as_str().unwrap();
        json(&["package", "verify", made_of, "--key", &public]);
        let attached = json(&["package", "attached", made_of]);
        assert_eq!(
            attached["attached"].as_array().unwrap().len(),
            5,
            "{attached}"
        );

        let provenance = json(&["package", "provenance", made_of]);
        let subject = &provenance["subject"][0]["digest"]["sha256"];
        assert_eq!(
            made["digest"],
            format!("sha256:{}", subject.as_str().unwrap())
        );
        let definition = &provenance["predicate"]["buildDefinition"];
        assert_eq!(
            definition["buildType"],
            "https://placet.dev/build/update/v1"
        );
        assert_eq!(definition["externalParameters"]["operation"], operation);
        let resolved = definition["resolvedDependencies"].as_array().unwrap();
        assert_eq!(resolved.len(), dependencies, "{provenance}");
        assert_eq!(resolved[0]["name"], "note 1.0.0");
        assert_eq!(resolved[0]["digest"]["sha256"], origin);
        let builder = &provenance["predicate"]["runDetails"]["builder"]["id"];
        assert_eq!(builder, "https://builds.example.net/7");

        check_bill(&made);
    }
    // Without a key it is known all the same, and nobody vouches for it.
    let made = json(&["package", "shade", &reference, "--white"]);
    let made = made["reference"].as_str().unwrap();
    assert_eq!(
        json(&["package", "attached", made])["attached"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(said(&["package", "verify", made, "--key", &public]).0, 1);
}

/// The bill of materials of an update is of all that it holds.
fn check_bill(made: &Value) {
    let sbom = json(&["package", "sbom", made["reference"].as_str().unwrap()]);
    let version = &sbom["metadata"]["component"]["version"];
    assert_eq!(*version, made["config"]["version"]);
    for module in made["config"]["modules"].as_array().unwrap() {
        let digest = module["digest"].as_str().unwrap();
        let digest = digest.strip_prefix("sha256:").unwrap();
        assert!(sbom["components"].to_string().contains(digest), "{sbom}");
    }
    assert_cyclonedx(&sbom);
}

#[test]
fn the_example_builds_signs_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/signing/sign.sh");
    let programs = placet().parent().unwrap().display();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new(script)
        .arg(folder.path())
        .env("PATH", format!("{programs}:{path}"))
        .env("PLACET_PASSPHRASE", PASSPHRASE)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(error.contains("is signed by"), "{error}");
}
