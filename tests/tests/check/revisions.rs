//! Which revisions are compared, and what is refused of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::{Repository, answer, check};

/// A clone of the repository in `from` with this much of its history.
fn clone(from: &Path, options: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", from.display());
    let status = Command::new("git")
        .args(["clone", "--quiet"])
        .args(options)
        .args([&url, "."])
        .current_dir(folder.path())
        .status();
    assert!(status.unwrap().success());
    folder
}

#[test]
fn a_branch_is_compared_with_where_it_left_the_main_branch() {
    let repository = Repository::new();
    repository.git(&["checkout", "--quiet", "-b", "library"]);
    repository.greet("1.1.0");
    repository.commit();
    // What others did meanwhile is not this branch's doing.
    repository.git(&["checkout", "--quiet", "main"]);
    repository.edit("packages.yaml", "metrics:1.0.0", "metrics:9.9.9");
    repository.commit();
    repository.git(&["checkout", "--quiet", "library"]);

    let (code, report, error) = repository.check(&["--to", "HEAD"]);
    assert_eq!(code, 0, "{report}{error}");
    assert!(report.starts_with("merge base with main@"), "{report}");
    assert!(report.contains("4 of 4 nodes change"), "{report}");
    let (code, nothing, _) = repository.check(&["--from", "HEAD"]);
    assert_eq!(code, 0);
    assert!(nothing.contains("No effect"), "{nothing}");

    // A clone knows the main branch by what its origin says.
    repository.git(&["checkout", "--quiet", "main"]);
    let clone = clone(repository.0.path(), &["--branch", "library"]);
    let (code, report, _) = answer(&check(clone.path(), &["--to", "HEAD"]));
    assert_eq!(code, 0);
    assert!(report.starts_with("merge base with origin/"), "{report}");
    assert!(report.contains("4 of 4 nodes change"), "{report}");
}

#[test]
fn a_shallow_clone_says_how_to_deepen_it() {
    let repository = Repository::new();
    repository.git(&["checkout", "--quiet", "-b", "library"]);
    repository.greet("1.1.0");
    repository.commit();
    repository.git(&["checkout", "--quiet", "main"]);
    let shallow = ["--depth", "1", "--branch", "library"];
    for options in [
        &shallow[..],
        &[&shallow[..], &["--no-single-branch"]].concat(),
    ] {
        let clone = clone(repository.0.path(), options);
        let (code, report, error) = answer(&check(clone.path(), &[]));
        assert_eq!((code, report.as_str()), (2, ""), "{options:?}");
        assert!(error.contains("git fetch --unshallow origin"), "{error}");
        let (code, _, error) = answer(&check(clone.path(), &["--from", "HEAD~1"]));
        assert_eq!(code, 2);
        assert!(error.contains("git fetch --deepen=100 origin"), "{error}");
    }
}

#[test]
fn without_a_main_branch_somebody_has_to_name_what_to_compare_with() {
    let repository = Repository::new();
    repository.git(&["branch", "--move", "trunk"]);
    let (code, _, error) = repository.check(&[]);
    assert_eq!(code, 2);
    assert!(error.contains("by --from"), "{error}");
    let (code, ..) = repository.check(&["--from", "trunk"]);
    assert_eq!(code, 0);
}

/// What the last commit does, where no package is to be had.
fn without_packages(repository: &Repository) -> (i32, String, String) {
    let mut command = Command::new(placet_tests::placet());
    command.arg("check").arg("--repo").arg(repository.0.path());
    let nowhere = ["--from", "HEAD~1", "--packages", "/nonexistent"];
    answer(&command.args(nowhere).output().unwrap())
}

#[test]
fn what_means_the_same_has_no_effect_and_needs_no_package() {
    let repository = Repository::new();
    let read = |name: &str| fs::read_to_string(repository.file(name)).unwrap();
    // Other files, another order, other words for the same, and comments.
    let classes = read("classes.yaml");
    let (one, other) = classes.split_once("---\n").unwrap();
    fs::write(repository.file("a.yaml"), other).unwrap();
    fs::write(repository.file("z.yml"), one).unwrap();
    fs::remove_file(repository.file("classes.yaml")).unwrap();
    let packages =
        read("packages.yaml").replace("version: 1.0.0", "version:   '1.0.0' # as it was");
    fs::write(repository.file("packages.yaml"), packages).unwrap();
    repository.commit();
    let (code, report, error) = without_packages(&repository);
    assert_eq!(code, 0, "{error}");
    assert!(report.contains("No effect"), "{report}");
    assert!(report.contains("0 of 4 nodes change"), "{report}");

    // Anything else needs them, and says which could not be had.
    let was = "'1.0.0' # as it was # greet";
    repository.edit("packages.yaml", was, "1.1.0");
    repository.edit("packages.yaml", "greet:1.0.0", "greet:1.1.0");
    let (code, report, error) = without_packages(&repository);
    assert_eq!((code, report.as_str()), (2, ""));
    assert!(error.contains("package oci-layout:greet:1.1.0"), "{error}");
}

#[test]
fn what_git_left_unfinished_is_named() {
    let repository = Repository::new();
    let file = repository.file("packages.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let conflict =
        "<<<<<<< HEAD\n      version: 1.0.0\n=======\n      version: 1.1.0\n>>>>>>> library\n";
    let broken = text.replacen("      version: 1.0.0\n", conflict, 1);
    let line = broken.lines().position(|it| it == "<<<<<<< HEAD").unwrap() + 1;
    fs::write(&file, broken).unwrap();
    let (code, _, error) = repository.check(&[]);
    assert_eq!(code, 2);
    let place = format!("packages.yaml:{line}:1: a merge conflict is not resolved");
    assert!(error.contains(&place), "{error}");

    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    fs::write(&file, pointer).unwrap();
    let (code, _, error) = repository.check(&[]);
    assert_eq!(code, 2);
    assert!(
        error.contains("packages.yaml:1:1: the file is a pointer to Git LFS"),
        "{error}"
    );
    fs::write(&file, text).unwrap();

    // A submodule, as a commit and as a folder that nobody cloned yet.
    let inner = Repository::new();
    let commit = inner.revision("HEAD");
    let entry = format!("160000,{commit},more");
    repository.git(&["update-index", "--add", "--cacheinfo", &entry]);
    fs::create_dir(repository.file("more")).unwrap();
    let (code, _, error) = repository.check(&[]);
    assert_eq!(code, 2);
    assert!(
        error.contains("`more`") && error.contains("submodule"),
        "{error}"
    );
    repository.commit_staged();
    let (code, _, error) = repository.check(&["--from", "HEAD~1", "--to", "HEAD"]);
    assert_eq!(code, 2);
    assert!(
        error.contains("`more`") && error.contains("submodule"),
        "{error}"
    );
    let (code, _, error) =
        repository.check(&["--from", "HEAD~1", "--to", "HEAD", "--path", "more"]);
    assert_eq!(code, 2);
    assert!(
        error.contains("`more`") && error.contains("submodule"),
        "{error}"
    );
}
