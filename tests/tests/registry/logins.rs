//! Credentials that programs of the user keep.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use placet_tests::{REGISTRY_PASSWORD, RegistryServer, placet};

use crate::line::package;
use crate::text;

/// A program that keeps credentials, as `docker-credential-NAME`: a shell script.
fn helper(folder: &Path, name: &str, script: &str) {
    let path = folder.join(format!("docker-credential-{name}"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn push(folder: &Path, server: &RegistryServer, file: (&str, &Path)) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new(placet())
        .args(["package", "push", &text(&folder.join("from"))])
        .arg(server.at("many"))
        .args(["--ca-file", &text(&server.path("ca.crt"))])
        .env_remove("DOCKER_CONFIG")
        .env("PATH", format!("{}:{path}", folder.display()))
        .env(file.0, file.1)
        .output()
        .unwrap()
}

#[test]
fn programs_are_asked_for_credentials_and_no_secret_is_told() {
    let Some(server) = RegistryServer::private() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    package(&folder.join("from"), "many", &[10]);
    let kept = format!(r#"{{"Username": "ann", "Secret": "{REGISTRY_PASSWORD}"}}"#);
    // The host is asked for by its name, on standard input.
    let good = format!(
        "[ \"$1\" = get ] && [ \"$(cat)\" = {} ] && printf '%s' '{kept}'",
        server.host()
    );
    helper(folder, "good", &good);
    helper(
        folder,
        "empty",
        "echo credentials not found in native keychain; exit 1",
    );
    helper(
        folder,
        "locked",
        "cat >&2; echo the chain is locked; exit 1",
    );
    helper(folder, "chatty", &format!("printf '%s' '{kept}'; exit 1"));
    helper(folder, "odd", &format!("printf '%s' '{kept}}}'"));
    let own = |name: &str| format!(r#"{{"credHelpers": {{"{}": "{name}"}}}}"#, server.host());
    let all = |name: &str| format!(r#"{{"auths": {{}}, "credsStore": "{name}"}}"#);
    for (config, told) in [
        (own("good"), ""),
        (all("good"), ""),
        (own("empty"), "none were given"),
        (own("locked"), "the chain is locked"),
        (own("chatty"), "exit status: 1"),
        (own("odd"), "not JSON with Username and Secret"),
        (own("none"), "docker-credential-none"),
        (own("../good"), "not the name of a program"),
    ] {
        fs::write(folder.join("config.json"), &config).unwrap();
        let docker = push(folder, &server, ("DOCKER_CONFIG", folder));
        let file = folder.join("config.json");
        let podman = push(folder, &server, ("REGISTRY_AUTH_FILE", &file));
        for output in [docker, podman] {
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.success(), told.is_empty(), "{config}: {said}");
            assert!(said.contains(told), "{config}: {said}");
            assert!(!said.contains(REGISTRY_PASSWORD), "{config}: {said}");
        }
    }
}
