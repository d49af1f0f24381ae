//! A repository on this machine: what is read of it, and what a commit means.

use std::os::unix::fs::chown;

use placet_controller::git::{FetchError, Repositories};
use placet_crds::Reason;
use serde_json::json;

use crate::Follower;
use crate::repository::Repository;

#[test]
fn a_commit_is_read_whole() {
    let repository = Repository::empty();
    repository.write("README.md", "not a declaration");
    repository.write("big.bin", vec![b'x'; 2 << 20]);
    repository.write(".github/workflows/ci.yaml", "on: push");
    let commit = repository.commit(
        &[
            ("b.yml", "b: 2\n"),
            ("a/z.yaml", "z: 3\n"),
            ("a.yaml", "a: 1\n"),
        ],
        "Add the first nodes\n\nwith a long explanation",
    );
    for url in [repository.url(), format!("file://{}", repository.url())] {
        let fetched = Follower::new(&url).fetch(None).unwrap();
        assert_eq!(fetched.revision, format!("main@sha1:{commit}"));
        assert_eq!(fetched.subject, "Add the first nodes");
        assert_eq!(fetched.author, "Ann Example <ann@example.org>");
        assert_eq!(fetched.committed.to_string(), "2026-01-31T12:00:00Z");
        let files: Vec<_> = fetched
            .files
            .iter()
            .map(|it| (&*it.name, &*it.text))
            .collect();
        assert_eq!(
            files,
            [
                ("a.yaml", "a: 1\n"),
                ("a/z.yaml", "z: 3\n"),
                ("b.yml", "b: 2\n")
            ]
        );
    }
}

#[test]
fn what_is_not_committed_is_not_read() {
    let repository = Repository::new();
    repository.write("a.yaml", "a: 2\n");
    repository.write("b.yaml", "b: 1\n");
    let fetched = repository.follower().fetch(None).unwrap();
    assert_eq!(fetched.files.len(), 1);
    assert_eq!(fetched.files[0].text, "a: 1\n");
}

#[test]
fn a_folder_a_branch_a_tag_or_a_commit_is_followed() {
    let repository = Repository::empty();
    let first = repository.commit(&[("fleet/x/a.yaml", "1"), ("other.yaml", "1")], "first");
    repository.git(&["tag", "-a", "v1", "-m", "annotated"]);
    repository.git(&["tag", "light"]);
    repository.git(&["checkout", "-q", "-b", "lab/one"]);
    let second = repository.commit(&[("fleet/b.yaml", "2")], "second");
    let follow = |spec| repository.follower().with(&spec);
    let revision = |spec| follow(spec).fetch(None).unwrap().revision;
    assert_eq!(revision(json!({})), format!("main@sha1:{first}"));
    assert_eq!(
        revision(json!({"ref": {"branch": "lab/one"}})),
        format!("lab/one@sha1:{second}")
    );
    assert_eq!(
        revision(json!({"ref": {"tag": "v1"}})),
        format!("v1@sha1:{first}")
    );
    assert_eq!(
        revision(json!({"ref": {"tag": "light"}})),
        format!("light@sha1:{first}")
    );
    assert_eq!(
        revision(json!({"ref": {"commit": second}})),
        format!("commit@sha1:{second}")
    );
    for path in ["fleet", "./fleet/", "fleet/."] {
        assert_eq!(
            follow(json!({"path": path})).names(),
            ["fleet/x/a.yaml"],
            "{path}"
        );
    }
    let error = follow(json!({"path": "flet"})).fetch(None).unwrap_err();
    assert!(matches!(error, FetchError::NoFolder { .. }), "{error}");
    let error = follow(json!({"path": "other.yaml"}))
        .fetch(None)
        .unwrap_err();
    assert!(matches!(error, FetchError::NoFolder { .. }), "{error}");
}

#[test]
fn a_repository_that_is_gone_or_none_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let none = Follower::new(path);
    assert!(none.refused().contains("there is no git repository here"));
    let gone = Follower::new(&format!("{path}/gone"));
    assert!(gone.refused().contains("it does not exist"));
    let error = gone.fetch(None).unwrap_err();
    assert_eq!(error.reason(), Reason::FetchFailed);
    assert!(error.may_pass());
}

#[test]
fn a_repository_of_another_user_is_refused_with_what_to_do() {
    let repository = Repository::new();
    // Only root can give files away.
    if chown(repository.path(), Some(12_345), None).is_err() {
        eprintln!("skipped: not root");
        return;
    }
    let text = repository.follower().refused();
    assert!(
        text.contains("belongs to another user") && text.contains("safe.directory"),
        "{text}"
    );
}

#[test]
fn an_empty_repository_and_a_missing_branch_are_told_apart() {
    let empty = Repository::empty();
    let error = empty.follower().fetch(None).unwrap_err();
    assert!(matches!(error, FetchError::Empty { .. }), "{error}");
    assert_eq!(error.reason(), Reason::Empty);

    let repository = Repository::new();
    repository.git(&["branch", "-m", "main", "master"]);
    let text = repository.follower().refused();
    assert!(
        text.ends_with("has no branch `main`; its branches: `master`"),
        "{text}"
    );
    let follow = |reference| {
        repository
            .follower()
            .with(&json!({"ref": reference}))
            .refused()
    };
    assert!(follow(json!({"tag": "v1"})).ends_with("has no tag `v1`"));
    let commit = "ab".repeat(20);
    let text = follow(json!({"commit": commit}));
    assert!(
        text.ends_with(&format!("has no commit `{commit}`")),
        "{text}"
    );
}

#[test]
fn a_folder_without_declarations_prunes_nothing() {
    let repository = Repository::new();
    repository.git(&["rm", "-q", "a.yaml"]);
    repository.commit(&[("README.md", "all gone")], "empty");
    let error = repository.follower().fetch(None).unwrap_err();
    assert!(matches!(error, FetchError::NoFiles { .. }), "{error}");
}

#[test]
fn a_branch_that_was_rewound_is_refused_until_a_person_names_the_commit() {
    let repository = Repository::new();
    let follower = repository.follower();
    repository.commit(&[("a.yaml", "a: 2\n")], "second");
    let last = follower.fetch(None).unwrap().revision;
    assert_eq!(follower.fetch(Some(&last)).unwrap().revision, last);

    repository.git(&["reset", "-q", "--hard", "HEAD~1"]);
    let commit = repository.commit(&[("a.yaml", "a: 3\n")], "another second");
    let error = follower.fetch(Some(&last)).unwrap_err();
    assert_eq!(error.reason(), Reason::Rewound);
    let text = error.to_string();
    assert!(
        text.contains(&last) && text.ends_with(&format!("`spec.allowRewind: {commit}`")),
        "{text}"
    );
    let FetchError::Rewound { from, to } = error else {
        panic!("{text}");
    };
    assert_eq!((from, to), (last.clone(), format!("main@sha1:{commit}")));

    let other = "ab".repeat(20);
    let wrong = repository.follower().with(&json!({"allowRewind": other}));
    assert!(wrong.fetch(Some(&last)).is_err());
    let right = repository.follower().with(&json!({"allowRewind": commit}));
    let now = right.fetch(Some(&last)).unwrap().revision;
    assert_eq!(now, format!("main@sha1:{commit}"));

    repository.commit(&[("a.yaml", "a: 4\n")], "third");
    assert!(
        follower.fetch(Some(&now)).is_ok(),
        "going on from there is no rewind"
    );
}

#[test]
fn a_commit_that_the_repository_has_lost_is_a_rewind() {
    let repository = Repository::new();
    let lost = format!("main@sha1:{}", "ab".repeat(20));
    let error = repository.follower().fetch(Some(&lost)).unwrap_err();
    assert!(matches!(error, FetchError::Rewound { .. }), "{error}");
}

#[test]
fn a_person_may_follow_another_branch() {
    let repository = Repository::new();
    let first = repository.head();
    repository.git(&["branch", "old"]);
    repository.commit(&[("a.yaml", "a: 2\n")], "second");
    let last = repository.follower().fetch(None).unwrap().revision;
    let follow = |reference| repository.follower().with(&json!({"ref": reference}));
    assert!(follow(json!({"branch": "old"})).fetch(Some(&last)).is_ok());
    assert!(follow(json!({"commit": first})).fetch(Some(&last)).is_ok());
}

#[test]
fn a_tag_that_moved_back_is_a_rewind() {
    let repository = Repository::new();
    repository.commit(&[("a.yaml", "a: 2\n")], "second");
    repository.git(&["tag", "-a", "v1", "-m", "x"]);
    let follower = repository.follower().with(&json!({"ref": {"tag": "v1"}}));
    let last = follower.fetch(None).unwrap().revision;
    repository.git(&["tag", "-f", "-a", "v1", "-m", "x", "HEAD~1"]);
    let error = follower.fetch(Some(&last)).unwrap_err();
    assert!(matches!(error, FetchError::Rewound { .. }), "{error}");
}

#[test]
fn a_look_tells_whether_something_changed() {
    let repository = Repository::new();
    let follower = repository.follower();
    let changed = |last: Option<&str>| {
        follower
            .repositories
            .changed_since(&follower.source, last)
            .unwrap()
    };
    assert!(changed(None));
    let last = follower.fetch(None).unwrap().revision;
    assert!(!changed(Some(&last)));
    repository.commit(&[], "second");
    assert!(changed(Some(&last)));
    repository.git(&["branch", "-m", "main", "gone"]);
    let error = follower
        .repositories
        .changed_since(&follower.source, Some(&last));
    assert!(matches!(error, Err(FetchError::NoReference { .. })));
}

#[test]
fn what_would_be_unsafe_to_pass_over_is_refused() {
    let repository = Repository::new();
    for url in ["http://host/x", "git://host/x", "-x", "ssh://-o/x"] {
        let error = Follower::new(url).fetch(None).unwrap_err();
        assert!(matches!(error, FetchError::Address { .. }), "{error}");
        assert!(!error.may_pass());
    }
    for name in ["a..b", "-x\u{0}", "a b", "x.lock", "a:b", "*", "@{1}"] {
        let follower = repository
            .follower()
            .with(&json!({"ref": {"branch": name}}));
        let error = follower.fetch(None).unwrap_err();
        assert!(
            matches!(error, FetchError::ReferenceName { .. }),
            "{name:?}: {error}"
        );
    }
}

#[test]
fn only_a_repository_on_this_machine_has_a_folder() {
    let folder = |url| Repositories::local_folder(&crate::source(url, &json!({})));
    assert_eq!(folder("file:///srv/x"), Some("/srv/x".into()));
    assert_eq!(folder("/srv/x"), Some("/srv/x".into()));
    assert_eq!(folder("git@host:x"), None);
}

#[test]
fn the_greatest_tag_of_a_range_is_followed() {
    let repository = Repository::empty();
    let mut commits = Vec::new();
    for tag in ["v1.9.0", "v1.10.0", "2.0.0-rc.1", "2.0.0", "nightly", "v2"] {
        let text = format!("a: {tag}\n");
        commits.push(repository.commit(&[("a.yaml", &text)], tag));
        repository.git(&["tag", tag]);
    }
    let follow = |range: &str| {
        repository
            .follower()
            .with(&json!({"ref": {"semver": range}}))
    };
    let revision = |range: &str| follow(range).fetch(None).unwrap().revision;
    assert_eq!(revision("1"), format!("v1.10.0@sha1:{}", commits[1]));
    assert_eq!(
        revision(">=1, <1.10"),
        format!("v1.9.0@sha1:{}", commits[0])
    );
    assert_eq!(revision("*"), format!("2.0.0@sha1:{}", commits[3]));
    assert_eq!(
        revision("=2.0.0-rc.1"),
        format!("2.0.0-rc.1@sha1:{}", commits[2])
    );
    let text = follow("3").refused();
    assert!(
        text.contains("no tag that is a version within `^3`; its tags: `2.0.0`"),
        "{text}"
    );
    let text = follow("newest").refused();
    assert!(
        text.contains("`newest` is not a range of versions"),
        "{text}"
    );

    let last = revision("1");
    let at = |range: &str| follow(range).fetch(Some(&last));
    assert!(at("*").is_ok(), "a greater version is what a range is for");
    repository.git(&["tag", "--delete", "v1.10.0"]);
    let error = at("1").unwrap_err();
    assert_eq!(error.reason(), Reason::Rewound, "{error}");
    repository.git(&["tag", "v1.10.0", "v1.9.0"]);
    let error = at("1").unwrap_err();
    assert_eq!(
        error.reason(),
        Reason::Rewound,
        "a tag that moved back: {error}"
    );
}

#[test]
fn globs_say_which_files_count() {
    let repository = Repository::empty();
    repository.write("fleet/lab/kustomization.yaml", "resources: []\n");
    std::os::unix::fs::symlink("/etc", repository.path().join("fleet/lab/link")).unwrap();
    repository.commit(
        &[
            ("fleet/a.yaml", "1"),
            ("fleet/nodes/b.yaml", "1"),
            ("fleet/nodes/old/c.yaml", "1"),
            ("fleet/values.yaml", "1"),
        ],
        "files",
    );
    let names = |include: &[&str], ignore: &[&str]| {
        let spec = json!({"path": "fleet", "include": include, "ignore": ignore});
        repository.follower().with(&spec).names()
    };
    assert_eq!(
        names(&[], &["lab", "**/values.yaml"]),
        [
            "fleet/a.yaml",
            "fleet/nodes/b.yaml",
            "fleet/nodes/old/c.yaml"
        ]
    );
    assert_eq!(
        names(&["nodes/**"], &["lab/**", "nodes/old"]),
        ["fleet/nodes/b.yaml"]
    );
    assert_eq!(
        names(&["*.yaml"], &["lab"]),
        ["fleet/a.yaml", "fleet/values.yaml"]
    );
    let refused = |spec| repository.follower().with(&spec).refused();
    let text = refused(json!({"path": "fleet", "ignore": ["lab/link"]}));
    assert!(
        text.contains("`fleet/lab/kustomization.yaml` is refused"),
        "{text}"
    );
    assert!(
        text.contains("commit what `kustomize build` makes of it"),
        "{text}"
    );
    let text = refused(json!({"path": "fleet", "ignore": ["lab/*.yaml"]}));
    assert!(
        text.contains("`fleet/lab/link` is refused: it is a symbolic link"),
        "{text}"
    );
    let text = refused(json!({"include": ["a["]}));
    assert!(
        text.starts_with("`a[` in `spec.include` is not a glob"),
        "{text}"
    );
    let text = refused(json!({"include": ["*.json"], "ignore": ["fleet/lab"]}));
    assert!(
        text.contains("holds no `.yaml` or `.yml` file that counts"),
        "{text}"
    );
}

#[test]
fn nothing_at_all_needs_a_persons_word() {
    let repository = Repository::new();
    repository.git(&["mv", "a.yaml", "a.txt"]);
    let commit = repository.commit(&[], "empty");
    let text = repository.follower().refused();
    assert!(
        text.ends_with(&format!("`spec.allowEmpty: {commit}`")),
        "{text}"
    );
    for path in [".", "gone"] {
        let other = json!({"path": path, "allowEmpty": "ab".repeat(20)});
        repository.follower().with(&other).refused();
        let spec = json!({"path": path, "allowEmpty": commit});
        let fetched = repository.follower().with(&spec).fetch(None).unwrap();
        assert!(fetched.files.is_empty() && fetched.may_be_empty);
    }
}
