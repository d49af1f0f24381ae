//! Where a home is kept.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use placet_controller::home::{Embedded, Home, Kubernetes};
use placet_controller::leader::Term;
use placet_tests::{Cluster, NAMESPACE};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A place in which a home is opened, again and again.
pub(crate) enum Place {
    Embedded(TempDir),
    Kubernetes {
        cluster: MutexGuard<'static, Cluster>,
        runtime: Runtime,
        epoch: Mutex<u64>,
    },
}

/// Runs a test on both homes, each empty at first.
pub(crate) fn on_both(test: impl Fn(&Place)) {
    println!("on the embedded home");
    test(&Place::Embedded(tempfile::tempdir().unwrap()));
    println!("on Kubernetes");
    if let Some(place) = kubernetes() {
        test(&place);
    }
}

/// An API server without resources of ours; none where nobody built one.
fn kubernetes() -> Option<Place> {
    static CLUSTER: OnceLock<Option<Mutex<Cluster>>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| Cluster::start().map(Mutex::new));
    let cluster = cluster
        .as_ref()?
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    // Whether it is there already is all the same.
    let _ = cluster.run(&["create", "namespace", NAMESPACE]);
    for kind in [
        "gitsources",
        "nodeclasses",
        "packagesets",
        "fleetnodes",
        "rollouts",
    ] {
        cluster.run(&["delete", kind, "--all"]).unwrap();
    }
    cluster
        .run(&["-n", NAMESPACE, "delete", "secrets", "--all"])
        .unwrap();
    Some(Place::Kubernetes {
        cluster,
        runtime: Runtime::new().unwrap(),
        epoch: Mutex::new(0),
    })
}

impl Place {
    /// The home as a controller opens it that comes to act.
    pub(crate) fn open(&self) -> Home {
        match self {
            Self::Embedded(folder) => Embedded::open(folder.path()).unwrap().into(),
            Self::Kubernetes {
                cluster,
                runtime,
                epoch,
            } => {
                let mut epoch = epoch.lock().unwrap();
                *epoch += 1;
                let term = Term::unopposed(*epoch);
                let open = async {
                    let access = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
                    let options = KubeConfigOptions::default();
                    let config = Config::from_custom_kubeconfig(access, &options).await;
                    let client = Client::try_from(config.unwrap()).unwrap();
                    Kubernetes::open(&client, NAMESPACE, term, None).await
                };
                runtime.block_on(open).unwrap().into()
            }
        }
    }

    /// Everything that is kept, as bytes: no secret is to be among them.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Embedded(folder) => {
                let files = std::fs::read_dir(folder.path().join("home")).unwrap();
                let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
                files
                    .iter()
                    .flat_map(|file| std::fs::read(file).unwrap())
                    .collect()
            }
            Self::Kubernetes { cluster, .. } => {
                let template =
                    "{{range .items}}{{range .data}}{{. | base64decode}}\n{{end}}{{end}}";
                let all = ["-n", NAMESPACE, "get", "secrets", "-o"];
                let template = format!("go-template={template}");
                let all = [&all[..], &[&template]].concat();
                cluster.run(&all).unwrap().into_bytes()
            }
        }
    }
}
