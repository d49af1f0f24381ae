//! Container images: written as layouts, taken by a registry and by other people's clients, and run
//! with nothing around them.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod controller;
mod unpacked;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::{env, fs};

use placet_tests::{RegistryServer, assert_cyclonedx, program};
use serde_json::Value;

use crate::unpacked::Unpacked;

const IMAGES: [&str; 2] = ["placet-controller", "placetd"];
const SBOM: &str = "application/vnd.cyclonedx+json";

fn xtask(arguments: &[&str]) -> Output {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--package",
            "placet-xtask",
            "--",
            "images",
        ])
        .args(["--profile", "dev", "--tag", "test"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn write(arguments: &[&str]) {
    let output = xtask(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

/// The layouts of the images, built once.
fn layouts() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
        write(&["--out", folder.to_str().unwrap()]);
        folder
    })
}

/// The folder that the programs were built in.
fn programs() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    target.join("x86_64-unknown-linux-gnu/debug")
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The digest of what the tag of a layout names.
fn tagged(layout: &Path) -> String {
    let index = json(&fs::read(layout.join("index.json")).unwrap());
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "a client can push it as a whole: {index}");
    let name = &entries[0]["annotations"]["org.opencontainers.image.ref.name"];
    assert_eq!(name, "test");
    entries[0]["digest"].as_str().unwrap().to_owned()
}

/// A registry that has the images, and what each is called there.
fn pushed() -> Option<(RegistryServer, [String; 2])> {
    program("crane")?;
    program("oras")?;
    let server = RegistryServer::private()?;
    let places = IMAGES.map(|image| {
        let place = format!("{}/{image}:test", server.host());
        let layout = layouts().join(image);
        server.client("crane", &["push", layout.to_str().unwrap(), &place]);
        place
    });
    Some((server, places))
}

#[test]
fn the_same_sources_give_the_same_images_wherever_they_are_built() {
    let again = tempfile::tempdir().unwrap();
    let (out, programs) = (again.path().to_str().unwrap(), programs());
    let _ = layouts();
    write(&["--out", out, "--programs", programs.to_str().unwrap()]);
    let files = |folder: PathBuf| -> BTreeSet<_> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        entries.map(|entry| entry.file_name()).collect()
    };
    for image in IMAGES {
        assert_eq!(
            tagged(&layouts().join(image)),
            tagged(&again.path().join(image))
        );
        let blobs = Path::new(image).join("blobs/sha256");
        assert_eq!(
            files(layouts().join(&blobs)),
            files(again.path().join(&blobs)),
            "nothing of earlier images is left in the layout"
        );
        let root = Unpacked::layout(&layouts().join(image));
        let program = fs::read(root.path(image)).unwrap();
        let home = env::var("HOME").unwrap();
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for place in [workspace.to_str().unwrap(), &format!("{home}/.cargo")] {
            let mut windows = program.windows(place.len());
            assert!(
                !windows.any(|bytes| bytes == place.as_bytes()),
                "{image} knows that it was built in {place}"
            );
        }
    }
}

#[test]
fn authorities_that_are_no_whole_set_make_no_image() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("ca.crt"), folder.path().join("out"));
    fs::write(&file, "").unwrap();
    let output = xtask(&[
        "--ca-file",
        file.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("has 0 certificate authorities"), "{said}");
    assert!(
        said.contains("name another PEM file with --ca-file"),
        "{said}"
    );
    assert!(!out.exists(), "nothing was written");
}

#[test]
fn a_registry_takes_the_images_and_gives_them_back() {
    let Some((server, places)) = pushed() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (image, place) in IMAGES.iter().zip(&places) {
        let digest = tagged(&layouts().join(image));
        let seen = server.client("crane", &["digest", place]).stdout;
        assert_eq!(String::from_utf8(seen).unwrap().trim(), digest);
        let platform = ["--platform", "linux/amd64"];
        let validate = [&["validate", "--remote", place][..], &platform].concat();
        server.client("crane", &validate);
        let config = [&["config", place][..], &platform].concat();
        let config = json(&server.client("crane", &config).stdout);
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"][0], format!("/{image}"));
        let version = &config["config"]["Labels"]["org.opencontainers.image.version"];
        assert_eq!(version, "test");

        let pulled = folder.path().join(image);
        let pull = ["pull", "--format=oci", place, pulled.to_str().unwrap()];
        server.client("crane", &pull);
        let index = json(&fs::read(pulled.join("index.json")).unwrap());
        assert_eq!(index["manifests"][0]["digest"], digest);
    }
}

#[test]
fn each_image_says_what_is_in_it() {
    let Some(server) = RegistryServer::private() else {
        return;
    };
    for image in IMAGES {
        let place = &format!("{}/{image}:test", server.host());
        let layout = format!("{}:test", layouts().join(image).display());
        let copy = ["cp", "--recursive", "--from-oci-layout", &layout, place];
        server.client("oras", &copy);
        let found = server.client(
            "oras",
            &[
                "discover",
                "--platform",
                "linux/amd64",
                "--artifact-type",
                SBOM,
                "--format",
                "json",
                place,
            ],
        );
        let found = json(&found.stdout);
        let referrers = found["referrers"].as_array().unwrap();
        assert_eq!(referrers.len(), 1, "{found}");
        let (repository, _) = place.rsplit_once(':').unwrap();
        let at = |digest: &Value| format!("{repository}@{}", digest.as_str().unwrap());
        let manifest = server.client("crane", &["manifest", &at(&referrers[0]["digest"])]);
        let layer = json(&manifest.stdout)["layers"][0]["digest"].clone();
        let bill = json(&server.client("crane", &["blob", &at(&layer)]).stdout);
        assert_cyclonedx(&bill);
        assert_eq!(
            bill["metadata"]["component"]["name"]
                .as_str()
                .map(|name| name.contains("placet")),
            Some(true),
            "{image}"
        );
        let named = |name: &str| {
            let parts = bill["components"].as_array().unwrap();
            let part = parts.iter().find(|part| part["name"] == name);
            part.cloned().unwrap_or_default()
        };
        for (name, kind) in [("tokio", "library"), ("webpki-root-certs", "data")] {
            let part = named(name);
            assert_eq!(part["type"], kind, "{name}");
            let digest = part["hashes"][0]["content"].as_str().unwrap();
            assert_eq!(digest.len(), 64, "{name}");
            assert!(part["licenses"][0]["expression"].is_string(), "{name}");
        }
        assert_eq!(
            named("proptest"),
            Value::Null,
            "what only tests is not in it"
        );
    }
}

#[test]
fn the_programs_run_with_nothing_but_their_image() {
    let Some((server, places)) = pushed() else {
        return;
    };
    for (image, place) in IMAGES.iter().zip(&places) {
        let root = Unpacked::remote(&server, place);
        let wanted = [
            "etc/group",
            "etc/nsswitch.conf",
            "etc/passwd",
            "etc/ssl/certs/ca-certificates.crt",
            image,
        ];
        let wanted: BTreeSet<_> = wanted.map(str::to_owned).into();
        assert_eq!(root.files(), wanted, "{image}");
        let output = root.command().arg("--version").output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{image}: {:?}", output.status);
        assert_eq!(
            said.trim(),
            format!("{image} {}", env!("CARGO_PKG_VERSION"))
        );
    }
}
