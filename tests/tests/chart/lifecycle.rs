//! Installed, upgraded, removed and installed again; declarations survive all of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use placet_crds::kinds;
use placet_tests::{Cluster, NAMESPACE, program};
use serde_json::Value;

use crate::{Helm, chart};

/// An API server with nothing of ours, and Helm on it.
struct World {
    cluster: Cluster,
    helm: Helm,
}

impl World {
    fn new() -> Option<Self> {
        let (program, cluster) = (program("helm")?, Cluster::bare()?);
        let kubeconfig = cluster.kubeconfig();
        let helm = Helm {
            program,
            kubeconfig,
        };
        Some(Self { cluster, helm })
    }

    fn install(&self, chart: &Path, more: &[&str]) -> String {
        self.release("install", chart, &[&["--create-namespace"], more].concat())
    }

    fn upgrade(&self, chart: &Path, more: &[&str]) -> String {
        self.release("upgrade", chart, more)
    }

    fn uninstall(&self) -> String {
        self.helm.succeed(&["uninstall", "placet", "-n", NAMESPACE])
    }

    fn release(&self, what: &str, chart: &Path, more: &[&str]) -> String {
        let chart = chart.to_str().expect("a path");
        let told = self
            .helm
            .succeed(&[&[what, "placet", chart, "-n", NAMESPACE], more].concat());
        // A new definition is there at once, and served a little later.
        if self.cluster.said(&["get", "crd"]).contains("placet.dev") {
            let established = "--for=condition=Established";
            self.kubectl(&["wait", established, "crd", "--all", "--timeout=60s"]);
            self.cluster.until("our kinds to be served", |cluster| {
                cluster.run(&["get", "placet"]).ok()
            });
        }
        told
    }

    #[track_caller]
    fn kubectl(&self, arguments: &[&str]) -> String {
        let result = self.cluster.run(arguments);
        result.unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    fn json(&self, kind: &str, name: &str) -> Value {
        let text = self.kubectl(&["-n", NAMESPACE, "get", kind, name, "-o", "json"]);
        serde_json::from_str(&text).expect("JSON")
    }

    /// Declares a class called `core`.
    fn declare(&self) {
        let class =
            "apiVersion: placet.dev/v1alpha1\nkind: NodeClass\nmetadata: {name: core}\nspec: {}\n";
        let file = self.cluster.path("class.yaml");
        fs::write(&file, class).expect("a file");
        self.kubectl(&["apply", "-f", file.to_str().expect("a path")]);
    }

    /// The unique id of the class called `core`: another one if it was ever away.
    fn declared(&self) -> Value {
        self.json("nodeclass", "core")["metadata"]["uid"].clone()
    }
}

/// A copy of the chart, with one more column in the definition of node classes.
fn next_chart(world: &World) -> std::path::PathBuf {
    let copy = world.cluster.path("next");
    let copied = Command::new("cp")
        .args(["-r".as_ref(), chart().as_path(), copy.as_path()])
        .status();
    assert!(copied.expect("cp starts").success());
    let path = copy.join("definitions/nodeclasses.yaml");
    let text = fs::read_to_string(&path).expect("a definition");
    let columns = "  - additionalPrinterColumns:\n";
    assert!(text.contains(columns), "{text}");
    let more = format!("{columns}    - {{name: New, type: string, jsonPath: .metadata.uid}}\n");
    fs::write(&path, text.replace(columns, &more)).expect("a definition");
    copy
}

#[test]
fn an_upgrade_brings_values_and_definitions() {
    let Some(world) = World::new() else { return };
    let told = world.install(&chart(), &[]);
    assert!(told.contains("kubectl get placet"), "{told}");
    world.declare();
    let declared = world.declared();

    let next = next_chart(&world);
    world.upgrade(&next, &["--set", "replicas=3,hosts.enabled=true"]);
    assert_eq!(world.json("deployment", "placet")["spec"]["replicas"], 3);
    let table = world.kubectl(&["get", "nodeclasses"]);
    assert!(
        table
            .lines()
            .next()
            .is_some_and(|head| head.contains("NEW")),
        "{table}"
    );
    assert_eq!(world.declared(), declared, "declarations stay");
}

#[test]
fn declarations_outlive_the_release_unless_somebody_says_otherwise() {
    let Some(world) = World::new() else { return };
    world.install(&chart(), &[]);
    world.declare();
    let declared = world.declared();

    world.uninstall();
    let gone = world
        .cluster
        .said(&["-n", NAMESPACE, "get", "deployment,service,role"]);
    assert!(gone.contains("No resources found"), "{gone}");
    assert_eq!(
        world.declared(),
        declared,
        "they stay when the release goes"
    );
    world.install(&chart(), &[]);
    assert_eq!(world.declared(), declared, "and are there for the next one");
    world.upgrade(&chart(), &["--set", "crds.install=false"]);
    assert_eq!(
        world.declared(),
        declared,
        "and when others hold the definitions"
    );

    world.upgrade(&chart(), &["--set", "crds.keep=false"]);
    world.uninstall();
    // A definition goes after the last of its objects, in its own time.
    world.cluster.until("everything to be gone", |_| {
        world
            .kubectl(&["get", "crd", "-o", "name"])
            .is_empty()
            .then_some(())
    });
}

/// The first chart left the definitions to Helm's own folder, which is never upgraded: its successor
/// takes them over when told to, and says what is needed otherwise.
#[test]
fn from_the_first_chart() {
    let Some(world) = World::new() else { return };
    let first = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/placet-0.1.0.tgz");
    world.install(&first, &[]);
    world.declare();
    let declared = world.declared();

    let chart = chart();
    let path = chart.to_str().expect("a path");
    let refused = world
        .helm
        .run(&["upgrade", "placet", path, "-n", NAMESPACE]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && error.contains("ownership"),
        "{error}"
    );
    assert_eq!(world.declared(), declared);

    world.upgrade(&chart, &["--take-ownership"]);
    for info in kinds() {
        let name = format!("{}.placet.dev", info.plural);
        let definition = world.json("crd", &name);
        assert_eq!(
            definition["spec"]["versions"][0]["schema"],
            info.definition["spec"]["versions"][0]["schema"],
            "{name} is the one of this chart"
        );
    }
    assert_eq!(world.declared(), declared);
    world.uninstall();
    assert_eq!(world.declared(), declared);
}
