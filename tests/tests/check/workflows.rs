//! The templates of `examples/ci`, run as their hosts would run them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use placet_tests::{packages, placet, skipped};
use serde_json::Value;

use crate::Repository;
use crate::host::{Host, TOKEN};

/// What every comment begins with, by which it is found again.
const MARKER: &str = "<!-- placet check -->\n";

fn template(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/ci");
    folder.canonicalize().unwrap().join(name)
}

fn workflow(name: &str) -> Value {
    let text = fs::read_to_string(template(name)).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

/// Where a host runs a job: a clone, `placet` and `placet-check` in the path, and files that the host
/// reads.
struct Runner {
    repository: Repository,
    files: tempfile::TempDir,
}

impl Runner {
    /// A clone whose last commit is the pull request.
    fn new(change: impl FnOnce(&Repository)) -> Self {
        let repository = Repository::below("production");
        change(&repository);
        repository.commit();
        let files = tempfile::tempdir().unwrap();
        let bin = files.path().join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(placet(), bin.join("placet")).unwrap();
        let script = template("placet-check.sh");
        std::os::unix::fs::symlink(script, bin.join("placet-check")).unwrap();
        Self { repository, files }
    }

    /// Runs a script as it stands, but for the place of the packages.
    fn run(&self, script: &str, variables: &[(&str, &str)]) -> Output {
        assert!(script.contains("/srv/packages"), "{script}");
        let script = script.replace("/srv/packages", packages().to_str().unwrap());
        let bin = self.files.path().join("bin");
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-e", "-o", "pipefail", "-c"]);
        command.arg(script).current_dir(self.repository.0.path());
        command.env("PATH", format!("{}:{path}", bin.display()));
        command.envs(variables.iter().copied());
        command.output().unwrap()
    }

    fn comment(&self) -> String {
        fs::read_to_string(self.repository.0.path().join("comment.md")).unwrap()
    }

    /// Runs the step of a workflow that checks, and gives its exit code.
    fn step(&self, name: &str) -> Option<i32> {
        let workflow = workflow(name);
        let steps = workflow["jobs"]["check"]["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["id"] == "check").unwrap();
        let variables: BTreeMap<String, String> =
            serde_json::from_value(step["env"].clone()).unwrap();
        assert_eq!(
            variables["BASE"],
            "${{ github.event.pull_request.base.sha }}"
        );
        let (base, head) = (
            self.repository.revision("HEAD~1"),
            self.repository.revision("HEAD"),
        );
        let variables = [("BASE", base.as_str()), ("HEAD", head.as_str())];
        self.run(step["run"].as_str().unwrap(), &variables)
            .status
            .code()
    }

    /// Runs the script of the GitLab job, and gives its exit code.
    fn gitlab(&self) -> Option<i32> {
        let workflow = workflow("gitlab-ci.yaml");
        let script = workflow["placet"]["script"].as_array().unwrap();
        let [line] = &script[..] else {
            panic!("one command: {script:?}")
        };
        let base = self.repository.revision("HEAD~1");
        let variables = [
            ("CI_MERGE_REQUEST_DIFF_BASE_SHA", base.as_str()),
            ("PLACET_JUNIT", "placet.xml"),
        ];
        self.run(line.as_str().unwrap(), &variables).status.code()
    }

    /// Runs the command that the pipeline of Jenkins holds, and gives its exit code.
    fn jenkins(&self) -> Option<i32> {
        let text = fs::read_to_string(template("Jenkinsfile")).unwrap();
        let line = text.lines().find(|line| line.contains("def check = "));
        let command = line.unwrap().split('\'').nth(1).unwrap();
        let command = command.replace("origin/$CHANGE_TARGET", "HEAD~1");
        self.run(&command, &[]).status.code()
    }

    fn everywhere(&self) -> [Option<i32>; 4] {
        let github = self.step("github-actions.yaml");
        let comment = self.comment();
        let codes = [
            github,
            self.step("gitea-actions.yaml"),
            self.gitlab(),
            self.jenkins(),
        ];
        let other = self.comment();
        // Revisions are named as each host names them.
        let rest = |text: &str| text.split_once("nodes change").map(|it| it.1.to_owned());
        assert_eq!(rest(&comment), rest(&other), "the same on every host");
        codes
    }
}

#[test]
fn a_clean_change_is_told_and_passes() {
    let runner = Runner::new(|repository| repository.greet("1.1.0"));
    assert_eq!(runner.everywhere(), [Some(0); 4]);
    let comment = runner.comment();
    assert!(
        comment.starts_with(&format!("{MARKER}### Placet: clean\n")),
        "{comment}"
    );
    let junit = fs::read_to_string(runner.repository.0.path().join("placet.xml")).unwrap();
    assert!(junit.contains("failures=\"0\""), "{junit}");
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
    assert_eq!(runner.everywhere(), [Some(1); 4]);
    let comment = runner.comment();
    assert!(comment.starts_with(&format!("{MARKER}### Placet: non placet\n")));
}

#[test]
fn what_cannot_be_read_is_told_in_the_comment_too() {
    let runner = Runner::new(|repository| {
        repository.edit("packages.yaml", "kind: PackageSet", "kind: PackageSat");
    });
    assert_eq!(runner.everywhere(), [Some(2); 4]);
    let comment = runner.comment();
    assert!(
        comment.starts_with(&format!("{MARKER}### Placet: cannot tell\n")),
        "{comment}"
    );
    assert!(comment.contains("production/packages.yaml:4:"), "{comment}");
}

/// True if there is what the script makes comments with.
fn can_comment() -> bool {
    let missing = ["/usr/bin/curl", "/usr/bin/jq"]
        .into_iter()
        .find(|tool| !Path::new(tool).exists());
    if let Some(tool) = missing {
        skipped(&format!(
            "{tool} is not there, which comments are made with"
        ));
    }
    missing.is_none()
}

/// Runs the script against a host, and gives its exit code and what it said.
fn comment_on(runner: &Runner, host: &Host, kind: &str, token: &str) -> (Option<i32>, String) {
    let base = runner.repository.revision("HEAD~1");
    let script = "placet-check \"$BASE\" HEAD --path production --packages /srv/packages";
    let output = runner.run(
        script,
        &[
            ("BASE", &base),
            ("PLACET_HOST", kind),
            ("PLACET_API", host.address()),
            (
                "PLACET_PROJECT",
                if kind == "gitlab" { "7" } else { "team/fleet" },
            ),
            ("PLACET_NUMBER", "12"),
            ("PLACET_TOKEN", token),
        ],
    );
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

#[test]
fn one_comment_is_made_and_then_kept_up_to_date() {
    if !can_comment() {
        return;
    }
    let hosts = [
        (
            "github",
            "Authorization: Bearer",
            "POST /repos/team/fleet/issues/12/comments",
            "PATCH /repos/team/fleet/issues/comments/61",
        ),
        (
            "gitea",
            "Authorization: token",
            "POST /repos/team/fleet/issues/12/comments",
            "PATCH /repos/team/fleet/issues/comments/61",
        ),
        (
            "gitlab",
            "PRIVATE-TOKEN:",
            "POST /projects/7/merge_requests/12/notes",
            "PUT /projects/7/merge_requests/12/notes/61",
        ),
    ];
    for (kind, login, made, updated) in hosts {
        let host = Host::start(login);
        // The comment is not on the first page.
        host.fill(60);
        let runner = Runner::new(|repository| repository.greet("1.1.0"));
        let changes = || {
            let changes = host.changes().into_iter();
            let lines: Vec<_> = changes
                .map(|it| format!("{} {}", it.method, it.path))
                .collect();
            lines
        };
        assert_eq!(comment_on(&runner, &host, kind, TOKEN).0, Some(0));
        assert_eq!(changes(), [made]);
        assert_eq!(host.bodies()[60], runner.comment());

        // The pull request goes on, and so does its comment.
        runner.repository.edit(
            "classes.yaml",
            "packageSets: [tools, base]",
            "packageSets: [tools]",
        );
        runner.repository.commit();
        assert_eq!(comment_on(&runner, &host, kind, TOKEN).0, Some(1));
        assert_eq!(changes(), [updated]);
        let bodies = host.bodies();
        assert_eq!(bodies.len(), 61, "there is one");
        assert!(bodies[60].contains("non placet"), "{}", bodies[60]);
    }
}

#[test]
fn without_a_right_to_comment_the_answer_is_the_same() {
    if !can_comment() {
        return;
    }
    let host = Host::start("Authorization: Bearer");
    let runner = Runner::new(|repository| repository.greet("1.1.0"));
    assert_eq!(comment_on(&runner, &host, "github", "").0, Some(0));
    let (code, said) = comment_on(&runner, &host, "github", "wrong");
    assert_eq!(code, Some(0));
    assert!(said.contains("the comment could not be written"), "{said}");
    assert!(!said.contains("wrong"), "the token is not shown: {said}");
    assert_eq!(host.bodies(), Vec::<String>::new());
    assert!(runner.comment().starts_with(MARKER));
}

/// What a pull request brings is judged, never run, and gets no more rights than that needs.
#[test]
fn templates_give_a_pull_request_no_rights() {
    for name in ["github-actions.yaml", "gitea-actions.yaml"] {
        let workflow = workflow(name);
        // YAML 1.1 reads the key `on` as true; these hosts do not.
        let events = workflow["on"].as_object().unwrap();
        let events: Vec<_> = events.keys().map(String::as_str).collect();
        assert_eq!(
            events,
            ["pull_request"],
            "{name}: not with the target's rights"
        );
        let rights: BTreeMap<String, String> =
            serde_json::from_value(workflow["permissions"].clone()).unwrap();
        let wanted = [("contents", "read"), ("pull-requests", "write")];
        let wanted = wanted.map(|(one, other)| (one.to_owned(), other.to_owned()));
        assert_eq!(rights, BTreeMap::from(wanted), "{name}");
        let text = fs::read_to_string(template(name)).unwrap();
        assert!(!text.contains("secrets."), "{name}");
        assert!(!text.contains("pull_request_target"), "{name}");
        for step in workflow["jobs"]["check"]["steps"].as_array().unwrap() {
            if let Some(uses) = step["uses"].as_str() {
                let (_, revision) = uses.split_once('@').unwrap();
                let is_commit =
                    |it: &str| it.len() == 40 && it.bytes().all(|it| it.is_ascii_hexdigit());
                assert!(is_commit(revision), "{name}: {uses} can be moved");
                assert_eq!(step["with"]["persist-credentials"], false, "{name}");
            }
            // What comes from outside is a variable, never part of a script.
            let script = step["run"].as_str().unwrap_or_default();
            assert!(!script.contains("${{"), "{name}: {script}");
            assert!(
                !script.contains("./"),
                "{name} runs nothing of the clone: {script}"
            );
            if let Some(token) = step["env"]["PLACET_TOKEN"].as_str() {
                let own = "github.event.pull_request.head.repo.full_name == github.repository &&";
                assert!(token.contains(own), "{name}: forks get no token");
            }
        }
    }
    let gitlab = workflow("gitlab-ci.yaml");
    assert_eq!(
        gitlab["placet"]["rules"][0]["if"],
        "$CI_PIPELINE_SOURCE == \"merge_request_event\""
    );
    assert_eq!(
        gitlab["placet"]["variables"]["GIT_SUBMODULE_STRATEGY"],
        "none"
    );
    let jenkins = fs::read_to_string(template("Jenkinsfile")).unwrap();
    let fork = jenkins.find("env.CHANGE_FORK").unwrap();
    assert!(fork < jenkins.find("withCredentials").unwrap());
}
