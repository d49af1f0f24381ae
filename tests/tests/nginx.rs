//! Debian's nginx as it is, with a vote command that counts its open connections (V3): the example
//! `examples/nginx` on a real node.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use placet_tests::{Fleet, FleetOptions, debs, edit, pids, poll};

/// Packages of two versions, which differ in what the server says; returns where they are, and the
/// port.
fn build(folder: &Path, debs: &[PathBuf]) -> (PathBuf, u16) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/nginx");
    let source = folder.join("nginx-source");
    fs::create_dir(&source).expect("a folder");
    for file in fs::read_dir(example)
        .expect("the example is there")
        .flatten()
    {
        fs::copy(file.path(), source.join(file.file_name())).expect("a file is copied");
    }
    for (deb, name) in debs.iter().zip(["nginx.deb", "libpcre2.deb"]) {
        fs::copy(deb, source.join(name)).expect("a package is copied");
    }
    let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = free.local_addr().expect("an address").port();
    for file in ["nginx.conf", "nginx.yaml"] {
        edit(&source.join(file), "8480", &port.to_string());
    }
    let layout = folder.join("nginx");
    let options = placet_packager::BuildOptions::default();
    let package = source.join("nginx.yaml");
    placet_packager::build(&package, &layout, &options).expect("the example builds");
    edit(&source.join("nginx.conf"), "version 1", "version 2");
    edit(&package, "version: 1.0.0", "version: 1.0.1");
    placet_packager::build(&package, &layout, &options).expect("the example builds");
    (layout, port)
}

fn declare(fleet: &Fleet, layout: &Path, version: &str) -> String {
    let text = format!(
        "apiVersion: placet.dev/v1alpha1\nkind: NodeClass\nmetadata: {{name: web}}\nspec:\n  selector: {{types: [web]}}\n  packageSets: [web]\n---\napiVersion: placet.dev/v1alpha1\nkind: PackageSet\nmetadata: {{name: web}}\nspec:\n  packages:\n    - name: nginx\n      version: {version}\n      reference: oci-layout:{}:{version}\n",
        layout.display()
    );
    fs::write(fleet.path("fleet/web.yaml"), text).expect("declarations");
    fleet.commit(&format!("nginx {version}"))
}

/// A connection that stays open, and what the server says on it.
fn ask(port: u16) -> Option<(TcpStream, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        .ok()?;
    let mut said = [0; 1024];
    let length = stream.read(&mut said).ok()?;
    let said = String::from_utf8_lossy(&said[..length]).into_owned();
    Some((stream, said))
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_nginx_while_connections_are_open() {
    let Some(debs) = debs(&["nginx", "libpcre2-8-0"]) else {
        return;
    };
    let mut fleet = Fleet::start(FleetOptions {
        nodes: vec!["web-1"],
        ..FleetOptions::default()
    })
    .await;
    let (layout, port) = build(&fleet.path(""), &debs);
    let commit = declare(&fleet, &layout, "1.0.0");
    fleet.follow_repository();
    fleet.verified(&commit).await;
    let (open, said) = poll("nginx", || ask(port));
    assert!(said.contains("version 1"), "{said}");
    let before = pids(&fleet, "web-1");

    let commit = declare(&fleet, &layout, "1.0.1");
    let held = fleet.held(&commit).await;
    let objections = held.data["vetoes"].to_string();
    assert!(
        objections.contains("nginx") && objections.contains("1 open connections"),
        "{objections}"
    );
    drop(open);
    let rollout = held.text("rollout").to_owned();
    fleet.decide(&rollout, "--abort", "again");

    // The connection is gone: the same change passes, and nginx reads its configuration again.
    fs::write(fleet.path("fleet/note.txt"), "again").expect("a file");
    let commit = fleet.commit("again");
    fleet.verified(&commit).await;
    poll("the new version", || {
        let (_, said) = ask(port)?;
        said.contains("version 2").then_some(())
    });
    assert_eq!(pids(&fleet, "web-1"), before, "it was not restarted");
}
