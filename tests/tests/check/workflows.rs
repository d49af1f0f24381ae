//! The workflows of `examples/ci`, run as their hosts would run them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use placet_tests::{packages, placet};
use serde_json::Value;

use crate::Repository;

fn workflow(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/ci");
    let text = fs::read_to_string(folder.join(name)).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

/// Where a host runs a job: a checkout, `placet` in the path, and files that the host reads.
struct Runner {
    repository: Repository,
    host: tempfile::TempDir,
}

impl Runner {
    /// A checkout whose last commit is the pull request.
    fn new(change: impl FnOnce(&Repository)) -> Self {
        let repository = Repository::below("production");
        change(&repository);
        repository.commit();
        let host = tempfile::tempdir().unwrap();
        fs::create_dir(host.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(placet(), host.path().join("bin/placet")).unwrap();
        Self { repository, host }
    }

    fn commit(&self, revision: &str) -> String {
        let output = Command::new("git")
            .args(["rev-parse", revision])
            .current_dir(self.repository.0.path())
            .output();
        let output = output.unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs a script as it stands, but for the place of the packages.
    fn run(&self, script: &str, variables: &[(&str, &str)]) -> Output {
        assert!(script.contains("/srv/packages"), "{script}");
        let script = script.replace("/srv/packages", packages().to_str().unwrap());
        let bin = self.host.path().join("bin");
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-e", "-o", "pipefail", "-c"]);
        command.arg(script).current_dir(self.repository.0.path());
        command.env("PATH", format!("{}:{path}", bin.display()));
        for name in ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"] {
            command.env(name, self.host.path().join(name));
        }
        command.envs(variables.iter().copied());
        command.output().unwrap()
    }

    fn comment(&self) -> String {
        fs::read_to_string(self.repository.0.path().join("comment.md")).unwrap()
    }

    /// Runs the step of the GitHub workflow that checks, and gives the exit code that it notes.
    fn github(&self) -> String {
        let workflow = workflow("github-actions.yaml");
        let steps = workflow["jobs"]["check"]["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["id"] == "check").unwrap();
        let variables: BTreeMap<String, String> =
            serde_json::from_value(step["env"].clone()).unwrap();
        assert_eq!(
            variables["BASE"],
            "${{ github.event.pull_request.base.sha }}"
        );
        let base = self.commit("HEAD~1");
        let output = self.run(step["run"].as_str().unwrap(), &[("BASE", &base)]);
        assert!(output.status.success(), "{output:?}");
        let read = |name: &str| fs::read_to_string(self.host.path().join(name)).unwrap();
        assert_eq!(read("GITHUB_STEP_SUMMARY"), self.comment());
        read("GITHUB_OUTPUT")
    }

    /// Runs the script of the GitLab job, and gives its exit code.
    fn gitlab(&self) -> Option<i32> {
        let workflow = workflow("gitlab-ci.yaml");
        let script = workflow["placet"]["script"].as_array().unwrap();
        let [line] = &script[..] else {
            panic!("one command: {script:?}")
        };
        let base = self.commit("HEAD~1");
        let base = ("CI_MERGE_REQUEST_DIFF_BASE_SHA", base.as_str());
        self.run(line.as_str().unwrap(), &[base]).status.code()
    }
}

#[test]
fn a_clean_change_is_told_and_passes() {
    let runner = Runner::new(|repository| repository.greet("1.1.0"));
    assert_eq!(runner.github(), "code=0\n");
    let comment = runner.comment();
    assert!(comment.starts_with("### Placet: clean\n"), "{comment}");
    fs::remove_file(runner.repository.0.path().join("comment.md")).unwrap();
    assert_eq!(runner.gitlab(), Some(0));
    assert_eq!(runner.comment(), comment, "the same on every host");
}

#[test]
fn a_change_that_breaks_something_is_told_and_fails() {
    let runner = Runner::new(|repository| {
        repository.edit(
            "classes.yaml",
            "packageSets: [tools, base]",
            "packageSets: [tools]",
        );
    });
    assert_eq!(runner.github(), "code=1\n");
    assert!(runner.comment().starts_with("### Placet: non placet\n"));
    assert_eq!(runner.gitlab(), Some(1));
}

#[test]
fn what_cannot_be_read_is_told_in_the_comment_too() {
    let runner = Runner::new(|repository| {
        repository.edit("packages.yaml", "kind: PackageSet", "kind: PackageSat");
    });
    assert_eq!(runner.github(), "code=2\n");
    let comment = runner.comment();
    assert!(
        comment.starts_with("### Placet: cannot tell\n"),
        "{comment}"
    );
    assert!(comment.contains("production/packages.yaml:4:"), "{comment}");
    assert_eq!(runner.gitlab(), Some(2));
}
