//! Images that others made and pushed, imported straight from the registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::Ordering;

use placet_model::Digest;
use placet_tests::{RegistryServer, placet, program};
use serde_json::Value;

use crate::proxy::{Fate, Proxy};
use crate::{json, run, text};

/// A tar archive of these files, made by `tar`.
fn layer(folder: &Path, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let root = folder.join(name);
    for (path, bytes) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let archive = folder.join(format!("{name}.tar"));
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "--mode=755"]);
    tar.arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".");
    assert!(tar.status().unwrap().success());
    archive
}

/// What the program of an image is, for each architecture.
fn tool(architecture: &str) -> Vec<u8> {
    // More than fits into one part of a body.
    format!("the tool for {architecture}\n")
        .repeat(20_000)
        .into_bytes()
}

/// Pushes `app:1.4.0`, an index of two images whose upper layer removes a file of the lower one.
fn push_index(server: &RegistryServer, folder: &Path, is_docker: bool) {
    let crane = |arguments: &[&str]| drop(server.client("crane", arguments));
    let place = |tag: &str| format!("{}/base/app:{tag}", server.host());
    let base = (!is_docker).then_some("--oci-empty-base");
    let upper = layer(
        folder,
        "upper",
        &[("etc/.wh.old", b""), ("etc/new", b"new")],
    );
    for architecture in ["amd64", "arm64"] {
        let files: [(&str, &[u8]); 2] = [("etc/old", b"old"), ("bin/tool", &tool(architecture))];
        let lower = layer(folder, architecture, &files);
        let tag = place(architecture);
        let (lower, upper) = (text(&lower), text(&upper));
        let append = ["append", "-f", &lower, "-f", &upper, "-t", &tag];
        crane(&append.into_iter().chain(base).collect::<Vec<_>>());
        let platform = format!("linux/{architecture}");
        let label = "org.opencontainers.image.description=What an image holds";
        crane(&[
            "mutate",
            "--set-platform",
            &platform,
            "--label",
            label,
            "-t",
            &tag,
            &tag,
        ]);
    }
    let base = is_docker.then_some("--docker-empty-base");
    let (one, other, all) = (place("amd64"), place("arm64"), place("1.4.0"));
    let append = ["index", "append", "-m", &one, "-m", &other, "-t", &all];
    crane(&append.into_iter().chain(base).collect::<Vec<_>>());
    let pushed = server.client("crane", &["manifest", &all]).stdout;
    let pushed = String::from_utf8(pushed).unwrap();
    assert_eq!(
        pushed.contains("docker.distribution.manifest.list"),
        is_docker,
        "{pushed}"
    );
}

fn crane_digest(server: &RegistryServer, tag: &str) -> String {
    let place = format!("{}/base/app:{tag}", server.host());
    let digest = server.client("crane", &["digest", &place]).stdout;
    String::from_utf8(digest).unwrap().trim().to_owned()
}

/// Paths and digests of the modules of a package.
fn modules(package: &Value) -> Vec<(String, String)> {
    let modules = package["config"]["modules"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    modules
        .map(|module| (text(&module["path"]), text(&module["digest"])))
        .collect()
}

fn expected(architecture: &str) -> Vec<(String, String)> {
    let module = |path: &str, bytes: &[u8]| (path.to_owned(), Digest::of(bytes).to_string());
    vec![
        module("bin/tool", &tool(architecture)),
        module("etc/new", b"new"),
    ]
}

#[test]
fn an_image_is_imported_straight_from_a_registry() {
    if program("crane").is_none() {
        return;
    }
    for is_docker in [false, true] {
        let Some(server) = RegistryServer::private() else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        push_index(&server, folder.path(), is_docker);
        let login = server.login();
        let login: Vec<&str> = login.iter().map(String::as_str).collect();
        for architecture in ["amd64", "arm64"] {
            let to = format!("oci-layout:{}", folder.path().join("to").display());
            let place = server.at("base/app:1.4.0");
            let platform = format!("linux/{architecture}");
            let import = [
                "package",
                "import",
                &place,
                "--to",
                &to,
                "--platform",
                &platform,
            ];
            let package = json(&[&import, login.as_slice()].concat());
            assert_eq!(modules(&package), expected(architecture));
            assert_eq!(package["config"]["name"], "app");
            assert_eq!(package["config"]["version"], "1.4.0");
            assert_eq!(package["archive"]["summary"], "What an image holds");
            let digest = crane_digest(&server, architecture);
            assert_eq!(package["archive"]["digest"], digest);
        }
    }
}

#[test]
fn an_image_that_cannot_be_had_is_refused_and_nothing_is_left() {
    let Some(server) = RegistryServer::private() else {
        return;
    };
    if program("crane").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    push_index(&server, folder.path(), false);
    let login = server.login();
    let login: Vec<&str> = login.iter().map(String::as_str).collect();
    let work = folder.path().join("work");
    fs::create_dir(&work).unwrap();
    let to = format!("oci-layout:{}", work.join("to").display());
    let refused = |rest: &str, more: &[&str]| {
        let place = server.at(rest);
        let output = run(&[&["package", "import", &place, "--to", &to], more].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(fs::read_dir(&work).unwrap().count(), 0, "{said}");
        said
    };
    let ca = text(&server.path("ca.crt"));
    let said = refused("base/app:1.4.0", &["--ca-file", &ca]);
    assert!(said.contains("none were given"), "{said}");
    let said = refused("base/app:2.0.0", &login);
    assert!(
        said.contains("does not have the manifest `2.0.0`"),
        "{said}"
    );
    let platform = [&["--platform", "linux/riscv64"], login.as_slice()].concat();
    let said = refused("base/app:1.4.0", &platform);
    assert!(said.contains("linux/amd64, linux/arm64"), "{said}");
    let limits = [&["--limit-bytes", "100"], login.as_slice()].concat();
    let said = refused("base/app:amd64", &limits);
    assert!(said.contains("more than 100 bytes"), "{said}");

    let manifest = server.client(
        "crane",
        &["manifest", &format!("{}/base/app:amd64", server.host())],
    );
    let manifest: Value = serde_json::from_slice(&manifest.stdout).unwrap();
    let stored = server.stored(manifest["layers"][0]["digest"].as_str().unwrap());
    let mut bytes = fs::read(&stored).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&stored, bytes).unwrap();
    let said = refused("base/app:amd64", &login);
    assert!(said.contains("damaged or replaced"), "{said}");
}

/// Runs a build in `folder`, with what the server wants to see in the usual files.
fn build(server: &RegistryServer, folder: &Path, file: &str) -> Output {
    fs::write(folder.join("package.yaml"), file).unwrap();
    let to = format!("oci-layout:{}", folder.join("packages").display());
    let mut command = Command::new(placet());
    command
        .current_dir(folder)
        .args(["package", "build", "--to", &to, "-o", "json"])
        .env("DOCKER_CONFIG", server.path("docker"))
        .env("SSL_CERT_FILE", server.path("ca.crt"));
    command.output().unwrap()
}

#[test]
fn a_package_file_takes_files_out_of_an_image_that_does_not_move() {
    let Some(server) = RegistryServer::private() else {
        return;
    };
    if program("crane").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    push_index(&server, folder.path(), false);
    let place = server.at("base/app:1.4.0");
    let file = |reference: &str, more: &str| {
        format!(
            "name: app\nversion: 1.0.0\nimports:\n  - name: base\n    file: {reference}\n    platform: linux/arm64\n{more}modules:\n  - import: base\n    sources: [\"**\"]\n"
        )
    };
    let digest = crane_digest(&server, "arm64");
    let output = build(&server, folder.path(), &file(&place, ""));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("add `digest: {digest}`")), "{said}");

    // The tag comes to name something else, and what was pinned is still what is taken.
    let index = crane_digest(&server, "1.4.0");
    let moved = format!("{}/base/app:amd64", server.host());
    server.client("crane", &["tag", &moved, "1.4.0"]);
    let by_index = server.at(&format!("base/app@{index}"));
    for file in [
        file(&place, &format!("    digest: {digest}\n")),
        file(&by_index, ""),
    ] {
        let output = build(&server, folder.path(), &file);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let package = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(modules(&package), expected("arm64"));
    }
}

#[tokio::test]
async fn an_image_comes_whole_over_a_line_that_breaks() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    if program("crane").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    push_index(&server, folder.path(), false);
    let proxy = Proxy::before(server.port(), |request, before| {
        if request.contains("/blobs/") && before < 2 {
            return Fate::Cut(1_000);
        }
        Fate::Pass
    })
    .await;
    let place = proxy.at("base/app:amd64");
    let to = format!("oci-layout:{}", folder.path().join("to").display());
    let arguments = [
        "package",
        "import",
        &place,
        "--to",
        &to,
        "--version",
        "1.4.0",
    ];
    let arguments = arguments.map(str::to_owned);
    let imported =
        tokio::task::spawn_blocking(move || json(&arguments.each_ref().map(String::as_str)));
    assert_eq!(modules(&imported.await.unwrap()), expected("amd64"));
    assert_eq!(proxy.held_up.load(Ordering::Relaxed), 2);
}
