//! Repositories as people and enemies make them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A repository with a work tree in a folder of its own.
pub(crate) struct Repository {
    _folder: TempDir,
    path: PathBuf,
}

impl Repository {
    pub(crate) fn empty() -> Self {
        Self::named("fleet")
    }

    pub(crate) fn named(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        let repository = Self {
            _folder: folder,
            path,
        };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    /// With one commit of one file.
    pub(crate) fn new() -> Self {
        let repository = Self::empty();
        repository.commit(&[("a.yaml", "a: 1\n")], "first");
        repository
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn url(&self) -> String {
        self.path.to_str().unwrap().to_owned()
    }

    pub(crate) fn follower(&self) -> crate::Follower {
        crate::Follower::new(&self.url())
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git_with(arguments, b"")
    }

    pub(crate) fn git_with(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut child = Command::new("git")
            .current_dir(&self.path)
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .envs([
                ("GIT_AUTHOR_NAME", "Ann Example"),
                ("GIT_AUTHOR_EMAIL", "ann@example.org"),
                ("GIT_COMMITTER_NAME", "Ann Example"),
                ("GIT_COMMITTER_EMAIL", "ann@example.org"),
                ("GIT_AUTHOR_DATE", "2026-01-31T12:00:00Z"),
                ("GIT_COMMITTER_DATE", "2026-01-31T12:00:00Z"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Commits everything, and returns the id.
    pub(crate) fn commit(&self, files: &[(&str, &str)], subject: &str) -> String {
        for (name, text) in files {
            self.write(name, text);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", subject]);
        self.head()
    }

    pub(crate) fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Stores an object as it is, whatever git thinks of it.
    pub(crate) fn store(&self, kind: &str, bytes: &[u8]) -> String {
        let arguments = ["hash-object", "-t", kind, "-w", "--literally", "--stdin"];
        self.git_with(&arguments, bytes)
    }

    /// Stores a folder of entries (mode, name, id of the object), whatever git thinks of it.
    pub(crate) fn store_tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            let digit = |at: usize| u8::from_str_radix(&id[at..at + 2], 16).unwrap();
            bytes.extend((0..40).step_by(2).map(digit));
        }
        self.store("tree", &bytes)
    }

    /// Makes `main` a commit of the folder `tree`.
    pub(crate) fn commit_tree(&self, tree: &str) {
        let commit = self.git(&["commit-tree", tree, "-m", "by hand"]);
        self.git(&["update-ref", "refs/heads/main", &commit]);
    }
}
