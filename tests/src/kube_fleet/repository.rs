//! The repository of a fleet on Kubernetes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::KubeFleet;
use crate::packages::edit;

impl KubeFleet {
    /// The example fleet, without nodes.
    pub fn example() -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet");
        let read = |name| fs::read_to_string(folder.join(name)).expect("an example");
        format!("{}\n---\n{}", read("classes.yaml"), read("packages.yaml"))
    }

    /// Writes the example fleet into the repository and commits it.
    pub fn commit_example(&self) -> String {
        fs::write(self.path("fleet/fleet.yaml"), Self::example()).expect("declarations");
        self.commit("The fleet begins")
    }

    /// Commits another version of the package `greet`.
    pub fn commit_greet(&self, from: &str, to: &str) -> String {
        let path = self.path("fleet/fleet.yaml");
        edit(
            &path,
            &format!("version: {from} # greet"),
            &format!("version: {to} # greet"),
        );
        edit(&path, &format!("greet:{from}"), &format!("greet:{to}"));
        self.commit(&format!("greet {to}"))
    }

    /// Commits everything in the repository and returns the commit's id.
    pub fn commit(&self, subject: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Has every commit signed from now on; returns who may sign, as a repository's source names it.
    pub fn sign_commits(&self) -> String {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
            .arg(self.signing_key())
            .output()
            .expect("ssh-keygen starts");
        let error = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{error}");
        let key = fs::read_to_string(self.signing_key().with_extension("pub"));
        format!("operator {}", key.expect("a key").trim())
    }

    fn signing_key(&self) -> PathBuf {
        self.path("signing")
    }

    /// Runs git in the repository of declarations.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Fleet operator"])
            .args(["-c", "user.email=operator@localhost"])
            .args([
                "-c",
                &format!("commit.gpgsign={}", self.signing_key().exists()),
            ])
            .args(["-c", "gpg.format=ssh", "-c"])
            .arg(format!("user.signingkey={}", self.signing_key().display()))
            .args(arguments)
            .current_dir(self.path("fleet"))
            .output()
            .expect("git starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Declares the repository as the source of the fleet.
    pub fn follow_repository(&self) {
        let url = self.path("fleet");
        let source = format!(
            "apiVersion: placet.dev/v1alpha1\nkind: GitSource\nmetadata: {{name: fleet}}\nspec: {{url: {}}}\n",
            url.display()
        );
        let answer = self.apply(&source, &[]);
        assert!(answer.contains("gitsource.placet.dev/fleet"), "{answer}");
    }
}
