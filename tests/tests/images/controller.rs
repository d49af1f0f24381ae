//! The controller in its image: it reaches servers by the authorities of the image, and says so
//! where there are none.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use placet_tests::{
    Cluster, KubeFleet, NAMESPACE, REGISTRY_NAME, REGISTRY_PASSWORD, REGISTRY_USER, RegistryServer,
    free_address,
};

use crate::pushed;
use crate::unpacked::Unpacked;

const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// A controller in its image.
struct Contained(Child);

impl Contained {
    fn start(root: &Unpacked, fleet: &KubeFleet) -> Self {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(fleet.path("logs/contained"))
            .unwrap();
        let child = root
            .command()
            .args(["--kubeconfig", "/kubeconfig", "--namespace", NAMESPACE])
            .args(["--identity", "contained", "--name", "127.0.0.1"])
            .args(["--listen", &free_address()])
            .args(["--receiver-listen", &free_address()])
            .args(["--metrics-listen", &free_address()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Ends it as an engine does.
    fn end(mut self) {
        kill(self.id(), Signal::SIGTERM).unwrap();
        let ended = self.0.wait().unwrap();
        assert!(ended.success(), "it ends well when told to: {ended}");
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.0.id().try_into().unwrap())
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What an object says of its being ready, in one text.
fn said(fleet: &KubeFleet, kind: &str, name: &str) -> String {
    let object = fleet.object(kind, name);
    let mut conditions = object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten();
    let ready = conditions.find(|condition| condition["type"] == "Ready");
    ready.map_or_else(String::new, |it| {
        format!("{} {}", it["status"], it["message"])
    })
}

/// Waits until an object says this.
fn says(fleet: &KubeFleet, kind: &str, name: &str, wanted: &[&str]) {
    fleet.until(&format!("{kind} {name} to say {wanted:?}"), |fleet| {
        let said = said(fleet, kind, name);
        wanted.iter().all(|text| said.contains(text)).then_some(())
    });
}

/// A package and a repository behind the name of the registry, without authorities of their own.
fn declare(fleet: &KubeFleet, server: &RegistryServer) {
    fleet.create_secret(
        "registry",
        &[
            &format!("--from-literal=username={REGISTRY_USER}"),
            &format!("--from-literal=password={REGISTRY_PASSWORD}"),
        ],
    );
    let place = format!("{REGISTRY_NAME}:{}", server.port());
    let text = format!(
        "apiVersion: placet.dev/v1alpha1
kind: PackageSet
metadata: {{name: base}}
spec:
  secretRef: {{name: registry}}
  packages:
  - {{name: greet, version: 1.0.0, reference: \"oci://{place}/fleet/greet:1.0.0\"}}
---
apiVersion: placet.dev/v1alpha1
kind: GitSource
metadata: {{name: far}}
spec: {{url: \"https://{place}/fleet.git\", intervalSeconds: 5}}
"
    );
    let answer = fleet.apply(&text, &[]);
    assert!(
        answer.contains("packageset.placet.dev/base created"),
        "{answer}"
    );
    assert!(
        answer.contains("gitsource.placet.dev/far created"),
        "{answer}"
    );
}

#[test]
fn servers_are_trusted_by_the_authorities_of_the_image_and_their_absence_is_told() {
    let Some((server, [image, _])) = pushed() else {
        return;
    };
    let Some(cluster) = Cluster::start() else {
        return;
    };
    server.push_examples();
    let fleet = KubeFleet::start(&cluster.kubectl(), &cluster.kubeconfig(), &[]);
    let root = Unpacked::remote(&server, &image);
    // What an engine brings into every container, and what a pod mounts.
    fs::write(
        root.path("etc/hosts"),
        format!("127.0.0.1 {REGISTRY_NAME}\n"),
    )
    .unwrap();
    fs::copy(cluster.kubeconfig(), root.path("kubeconfig")).unwrap();
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(root.path("kubeconfig"), readable).unwrap();

    let authorities = fs::read(root.path(AUTHORITIES)).unwrap();
    fs::remove_file(root.path(AUTHORITIES)).unwrap();
    let mut controller = Contained::start(&root, &fleet);
    // The controller leads, or nobody would say anything of what is declared.
    declare(&fleet, &server);
    let missing = ["no CA certificates", "SSL_CERT_FILE", "ca.crt"];
    says(&fleet, "packageset", "base", &missing);
    says(&fleet, "gitsource", "far", &missing);
    assert_eq!(controller.0.try_wait().unwrap(), None, "it goes on");
    controller.end();

    fs::write(root.path(AUTHORITIES), &authorities).unwrap();
    let controller = Contained::start(&root, &fleet);
    says(&fleet, "packageset", "base", &["False", "UnknownIssuer"]);
    says(&fleet, "gitsource", "far", &["False", "UnknownIssuer"]);
    controller.end();

    let own = fs::read(server.path("ca.crt")).unwrap();
    let mut file = fs::File::options()
        .append(true)
        .open(root.path(AUTHORITIES))
        .unwrap();
    file.write_all(&own).unwrap();
    let controller = Contained::start(&root, &fleet);
    says(&fleet, "packageset", "base", &["True", "1 package found"]);
    // It got as far as the registry, which is no git host.
    says(&fleet, "gitsource", "far", &["False", "404"]);
    controller.end();
    drop(fleet);
}

#[test]
fn without_authorities_an_api_server_that_needs_them_is_named() {
    let root = Unpacked::layout(&crate::layouts().join("placet-controller"));
    fs::remove_file(root.path(AUTHORITIES)).unwrap();
    let kubeconfig = "apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: here}}]
clusters: [{name: here, cluster: {server: \"https://api.example:6443\"}}]
users: [{name: here, user: {token: secret}}]
";
    fs::write(root.path("kubeconfig"), kubeconfig).unwrap();
    let output = root
        .command()
        .args(["--kubeconfig", "/kubeconfig"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no CA certificates"), "{said}");
    assert!(said.contains("certificate-authority-data"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
