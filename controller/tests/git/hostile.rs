//! Repositories that were made to do harm.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use placet_controller::git::{FetchError, Limits};
use placet_crds::Reason;
use serde_json::json;

use crate::Follower;
use crate::repository::Repository;

/// What the repository is refused for, in words.
#[track_caller]
fn refused(repository: &Repository, because: &[&str]) {
    let text = repository.follower().refused();
    for words in because {
        assert!(text.contains(words), "`{words}` in: {text}");
    }
}

#[test]
fn a_declaration_that_is_too_large_is_refused_by_name_and_size() {
    let repository = Repository::new();
    repository.write("fleet/large.yaml", vec![b'#'; (1 << 20) + 1]);
    repository.commit(&[], "large");
    refused(
        &repository,
        &[
            "`fleet/large.yaml`",
            "1048577 bytes",
            "is more than 1048576 bytes",
            "split it",
        ],
    );
    repository.write("fleet/large.yaml", vec![b'#'; 1 << 20]);
    repository.commit(&[], "just so");
    assert_eq!(
        repository.follower().names(),
        ["a.yaml", "fleet/large.yaml"]
    );
}

#[test]
fn a_file_of_100_megabytes_is_refused_unread_or_does_not_matter() {
    let repository = Repository::new();
    repository.write("huge.yaml", vec![b'#'; 100 << 20]);
    repository.git(&["-c", "core.compression=1", "add", "--all"]);
    repository.commit(&[], "huge");
    refused(&repository, &["`huge.yaml`", "104857600 bytes"]);
    repository.git(&["mv", "huge.yaml", "huge.iso"]);
    repository.commit(&[], "not a declaration");
    assert_eq!(repository.follower().names(), ["a.yaml"]);
}

#[test]
fn too_many_files_and_too_many_bytes_in_all_are_refused() {
    let repository = Repository::empty();
    repository.commit(
        &[("a.yaml", "1"), ("b.yaml", "22"), ("c.yaml", "333")],
        "three",
    );
    let with = |limits| Follower::with_limits(&repository.url(), limits);
    let files = Limits {
        files: 2,
        ..Limits::default()
    };
    let text = with(files).refused();
    assert!(
        text.starts_with("the number of declaration files is more than 2"),
        "{text}"
    );
    let bytes = Limits {
        total_bytes: 5,
        ..Limits::default()
    };
    let text = with(bytes).refused();
    assert!(text.contains("together is more than 5 bytes"), "{text}");
    let enough = Limits {
        files: 3,
        total_bytes: 6,
        ..Limits::default()
    };
    assert_eq!(with(enough).names().len(), 3);
}

#[test]
fn a_folder_that_stands_for_billions_ends_the_walk() {
    let repository = Repository::new();
    let blob = repository.store("blob", b"x: 1\n");
    let mut tree = repository.store_tree(&[("100644", b"x.txt", &blob)]);
    for _ in 0..12 {
        let names: Vec<String> = (0..10).map(|number| format!("d{number}")).collect();
        let entries: Vec<_> = names
            .iter()
            .map(|name| ("40000", name.as_bytes(), &*tree))
            .collect();
        tree = repository.store_tree(&entries);
    }
    repository.commit_tree(&tree);
    refused(
        &repository,
        &["the number of files and folders is more than 200000"],
    );
}

#[test]
fn folders_that_nest_without_end_are_refused() {
    let repository = Repository::new();
    let mut tree = repository.store_tree(&[]);
    for _ in 0..70 {
        tree = repository.store_tree(&[("40000", b"d", &tree)]);
    }
    repository.commit_tree(&tree);
    refused(&repository, &["folders nest deeper than 64"]);
}

#[test]
fn names_with_control_characters_are_refused_and_shown_escaped() {
    for (name, shown) in [
        (&b"x\x1b[31m.yaml"[..], "`x\\u{1b}[31m.yaml`"),
        (b"line\nline.yaml", "`line\\nline.yaml`"),
        (b"dir\x7f/x.yaml", "`dir\\u{7f}`"),
        ("\u{202e}x.yaml".as_bytes(), "`\\u{202e}x.yaml`"),
    ] {
        let repository = Repository::new();
        repository.write(OsStr::from_bytes(name), "x: 1\n");
        repository.commit(&[], "hostile");
        refused(&repository, &[shown, "control or invisible characters"]);
        let error = repository.follower().fetch(None).unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidDeclarations);
    }
}

#[test]
fn names_that_are_no_names_are_refused() {
    for name in [&b".."[..], b".", b"a/b.yaml", b"../x.yaml"] {
        let repository = Repository::new();
        let blob = repository.store("blob", b"x: 1\n");
        let tree = repository.store_tree(&[("100644", name, &blob)]);
        repository.commit_tree(&tree);
        refused(&repository, &["is refused"]);
    }
}

#[test]
fn a_name_that_is_not_utf8_is_refused() {
    let repository = Repository::new();
    repository.write(OsStr::from_bytes(b"caf\xe9.yaml"), "x: 1\n");
    repository.commit(&[], "latin-1");
    refused(
        &repository,
        &["`caf\u{fffd}.yaml`", "its name is not UTF-8"],
    );
}

#[test]
fn contents_that_are_not_utf8_are_refused_with_the_place() {
    let repository = Repository::new();
    repository.write("x.yaml", b"caf\xe9: 1\n");
    repository.commit(&[], "latin-1");
    refused(&repository, &["`x.yaml`", "byte 3 is not UTF-8"]);
}

#[test]
fn a_nul_in_a_file_is_the_parsers_to_refuse() {
    let repository = Repository::new();
    repository.write("x.yaml", b"a: \0\n");
    repository.commit(&[], "nul");
    let files = repository.follower().fetch(None).unwrap().files;
    assert!(placet_crds::load(&files).is_err());
}

#[test]
fn links_that_could_hide_declarations_are_refused() {
    for (link, target) in [
        ("x.yaml", "a.yaml"),
        ("more", "folder"),
        ("outside", "/etc"),
        ("up", "../../../../etc/passwd"),
        ("dangling", "nowhere"),
        ("itself", "itself"),
    ] {
        let repository = Repository::empty();
        repository.write("folder/b.yaml", "b: 1\n");
        repository.write("a.yaml", "a: 1\n");
        symlink(target, repository.path().join(link)).unwrap();
        repository.commit(&[], "link");
        refused(
            &repository,
            &[&format!("`{link}` is refused"), "symbolic link"],
        );
    }
    let repository = Repository::empty();
    repository.write("docs/README.md", "x");
    repository.write("a.yaml", "a: 1\n");
    symlink("docs/README.md", repository.path().join("README.md")).unwrap();
    symlink("../a.yaml", repository.path().join("docs/example")).unwrap();
    repository.commit(&[], "harmless");
    assert_eq!(repository.follower().names(), ["a.yaml"]);
}

#[test]
fn a_link_in_place_of_the_folder_of_declarations_is_refused() {
    let repository = Repository::empty();
    repository.write("real/a.yaml", "a: 1\n");
    symlink("real", repository.path().join("fleet")).unwrap();
    repository.commit(&[], "link");
    let follower = repository.follower().with(&json!({"path": "fleet"}));
    assert!(matches!(
        follower.fetch(None),
        Err(FetchError::NoFolder { .. })
    ));
}

#[test]
fn a_submodule_is_refused_by_name() {
    let repository = Repository::new();
    let id = "ab".repeat(20);
    let entry = format!("160000,{id},vendor/fleet");
    repository.git(&["update-index", "--add", "--cacheinfo", &entry]);
    repository.git(&["commit", "-q", "-m", "submodule"]);
    refused(
        &repository,
        &["`vendor/fleet` is refused", "it is a submodule"],
    );
}

#[test]
fn an_entry_whose_object_is_missing_is_an_error() {
    let repository = Repository::new();
    let id = "ab".repeat(20);
    for mode in ["100644", "40000"] {
        let tree = repository.store_tree(&[(mode, b"x.yaml", &id)]);
        let text = format!("tree {tree}\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\nx\n");
        let commit = repository.store("commit", text.as_bytes());
        repository.git(&["update-ref", "refs/heads/main", &commit]);
        refused(&repository, &["failed to read", "x.yaml"]);
    }
}

#[test]
fn what_a_commit_says_is_escaped_and_cut() {
    let repository = Repository::new();
    let tree = repository.git(&["rev-parse", "HEAD^{tree}"]);
    let mut text = format!("tree {tree}\n");
    text.push_str("author Eve\u{1b}[31m <e\u{202e}> 99999999999999999 +0000\n");
    text.push_str("committer Eve <e> 99999999999999999 +0000\n\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(b"\n\nsubject\0\x1b]0;title\x07 caf\xe9 ");
    bytes.extend(std::iter::repeat_n(b'\x01', 2_000));
    let commit = repository.store("commit", &bytes);
    repository.git(&["update-ref", "refs/heads/main", &commit]);
    let fetched = repository.follower().fetch(None).unwrap();
    assert!(
        fetched.author.starts_with("Eve\\u{1b}[31m <e"),
        "{}",
        fetched.author
    );
    for line in [&fetched.subject, &fetched.author] {
        assert!(line.chars().count() <= 1_024, "{}", line.len());
        assert!(
            !line.contains(|it: char| it.is_control() || it == '\u{202e}'),
            "{line:?}"
        );
    }
    let mut status = json!({"subject": fetched.subject, "author": fetched.author});
    status["revision"] = json!(fetched.revision);
    let mut source = json!({
        "apiVersion": "placet.dev/v1alpha1",
        "kind": "GitSource",
        "metadata": {"name": "fleet"},
        "spec": {"url": "/srv/x"},
    });
    source["status"] = status;
    placet_crds::validate("GitSource", &source, None).unwrap();
}

#[test]
fn a_branch_that_names_no_commit_is_an_error() {
    let repository = Repository::new();
    let blob = repository.store("blob", b"x");
    std::fs::write(
        repository.path().join(".git/refs/heads/main"),
        format!("{blob}\n"),
    )
    .unwrap();
    refused(&repository, &["branch `main` does not name a commit"]);
    std::fs::write(
        repository.path().join(".git/refs/heads/main"),
        "garbage\x1b\n",
    )
    .unwrap();
    repository.follower().refused();
}

#[test]
fn a_declaration_of_2_gigabytes_is_refused_by_its_header() {
    let repository = Repository::new();
    let id = "ab".repeat(20);
    let loose = repository.path().join(".git/objects/ab");
    std::fs::create_dir_all(&loose).unwrap();
    // zlib, stored, of the header alone: whoever read on would find that the rest is missing.
    let header = b"blob 2147483648\0";
    let length = u16::try_from(header.len()).unwrap();
    let mut bytes = vec![0x78, 0x01, 0x00];
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend_from_slice(header);
    std::fs::write(loose.join(&id[2..]), bytes).unwrap();
    let tree = repository.store_tree(&[("100644", b"huge.yaml", &id)]);
    let text = format!("tree {tree}\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\nx\n");
    let commit = repository.store("commit", text.as_bytes());
    repository.git(&["update-ref", "refs/heads/main", &commit]);
    refused(
        &repository,
        &["`huge.yaml`", "2147483648 bytes", "split it"],
    );
}

#[test]
fn a_hundred_thousand_declarations_are_refused_early() {
    let repository = Repository::new();
    let blob = repository.store("blob", b"x: 1\n");
    let names: Vec<String> = (0..100_000)
        .map(|number| format!("{number:06}.yaml"))
        .collect();
    let entries: Vec<_> = names
        .iter()
        .map(|name| ("100644", name.as_bytes(), &*blob))
        .collect();
    let tree = repository.store_tree(&entries);
    repository.commit_tree(&tree);
    refused(
        &repository,
        &[
            "the number of declaration files is more than 10000; put several declarations into one file",
        ],
    );
}
