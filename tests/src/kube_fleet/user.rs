//! Somebody who speaks to an API server.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::packages::placet;

/// Somebody with a kubeconfig.
#[derive(Debug)]
pub struct KubeUser {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
}

impl KubeUser {
    /// Whoever `kubeconfig` says.
    pub fn new(kubectl: &Path, kubeconfig: &Path) -> Self {
        Self {
            kubectl: kubectl.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    /// Runs kubectl, whatever comes of it.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("kubectl starts")
    }

    /// Runs `placet`, whatever comes of it.
    pub fn placet(&self, arguments: &[&str]) -> Output {
        Command::new(placet())
            .args(arguments)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .env_remove("PLACET_ADMIN")
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null())
            .output()
            .expect("placet starts")
    }
}
