//! What the tests on Kubernetes share: one API server for the binary, one fleet at a time.

use placet_tests::KubeFleet;
use std::path::Path;

pub fn kubernetes(controllers: &[&str]) -> Option<KubeFleet> {
    Some(KubeFleet::start(
        Path::new("/root/.cache/placet/servers/dev/kubectl"),
        Path::new("/tmp/k1/admin.kubeconfig"),
        controllers,
    ))
}
