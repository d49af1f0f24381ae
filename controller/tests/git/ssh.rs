//! Repositories behind a real ssh server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use placet_controller::git::{FetchError, Limits, Repositories};
use serde_json::json;

use crate::repository::Repository;
use crate::server::{Server, make_key};
use crate::{Follower, source};

fn follower(server: &Server, repository: &Repository) -> Follower {
    server.follower(repository.path(), Limits::default())
}

#[test]
fn commits_are_fetched_one_after_another() {
    let Some(server) = Server::start() else {
        return;
    };
    let repository = Repository::new();
    let follower = follower(&server, &repository);
    let first = follower.fetch(None).unwrap();
    assert_eq!(first.revision, format!("main@sha1:{}", repository.head()));
    assert_eq!(first.files[0].text, "a: 1\n");
    let changed = |last| {
        follower
            .repositories
            .changed_since(&follower.source, Some(last))
            .unwrap()
    };
    assert!(!changed(&first.revision));

    repository.commit(&[("a.yaml", "a: 2\n"), ("b.yaml", "b: 1\n")], "second");
    assert!(changed(&first.revision));
    let second = follower.fetch(Some(&first.revision)).unwrap();
    assert_eq!(second.subject, "second");
    assert_eq!(second.files.len(), 2);
    assert_eq!(
        follower.fetch(Some(&second.revision)).unwrap(),
        second,
        "nothing new"
    );

    repository.git(&["reset", "-q", "--hard", "HEAD~1"]);
    repository.commit(&[("a.yaml", "a: 3\n")], "forced");
    let error = follower.fetch(Some(&second.revision)).unwrap_err();
    assert!(matches!(error, FetchError::Rewound { .. }), "{error}");

    follower.repositories.forget(&follower.source).unwrap();
    assert!(!follower.state.path().join("git/fleet").exists());
    assert!(follower.fetch(None).is_ok());
}

#[test]
fn tags_commits_and_odd_paths_are_followed() {
    let Some(server) = Server::start() else {
        return;
    };
    let repository = Repository::named("it's; touch $(x) `y` \"z\"");
    let first = repository.commit(&[("a.yaml", "a: 1\n")], "first");
    repository.git(&["tag", "-a", "v1", "-m", "annotated"]);
    let second = repository.commit(&[("a.yaml", "a: 2\n")], "second");
    repository.git(&["branch", "side"]);
    repository.commit(&[("a.yaml", "a: 3\n")], "third");
    let follow = |reference| {
        let follower = follower(&server, &repository);
        follower.with(&json!({"ref": reference, "secretRef": {"name": "access"}}))
    };
    let tag = follow(json!({"tag": "v1"}));
    let revision = tag.fetch(None).unwrap().revision;
    assert_eq!(revision, format!("v1@sha1:{first}"));
    assert!(
        !tag.repositories
            .changed_since(&tag.source, Some(&revision))
            .unwrap()
    );
    let commit = follow(json!({"commit": second}));
    let fetched = commit.fetch(None).unwrap();
    assert_eq!(fetched.revision, format!("commit@sha1:{second}"));
    assert_eq!(fetched.files[0].text, "a: 2\n");
    assert_eq!(commit.fetch(None).unwrap(), fetched);
    let text = follow(json!({"commit": "ab".repeat(20)})).refused();
    assert!(text.contains("has no commit `abab"), "{text}");
    let text = follow(json!({"branch": "none"})).refused();
    assert!(
        text.ends_with("has no branch `none`; its branches: `main`, `side`"),
        "{text}"
    );
}

#[test]
fn the_short_form_of_the_address_works_like_the_long_one() {
    // Its port is always 22, which no test can have: that the parts are the same is what can be
    // seen from outside.
    let follower = Follower::new("nobody@127.0.0.1:a/path.git");
    let secret = follower.with(&json!({"secretRef": {"name": "access"}}));
    let folder = secret.state.path().join("secrets/access");
    crate::private_folder(&folder);
    fs::write(folder.join("known_hosts"), "").unwrap();
    let error = secret.fetch(None).unwrap_err();
    assert!(matches!(error, FetchError::Connection { .. }), "{error}");
    assert!(
        error.to_string().contains("`nobody@127.0.0.1:a/path.git`"),
        "{error}"
    );
}

#[test]
fn a_server_with_another_key_is_refused() {
    let Some(server) = Server::start() else {
        return;
    };
    let repository = Repository::new();
    let follower = follower(&server, &repository);
    let other = follower.state.path().join("other");
    make_key(&other);
    let host = fs::read_to_string(other.with_extension("pub")).unwrap();
    server.give_secret(&follower, &host);
    let text = follower.refused();
    assert!(text.contains("Host key verification failed"), "{text}");
    server.give_secret(&follower, "");
    fs::write(follower.state.path().join("secrets/access/known_hosts"), "").unwrap();
    let text = follower.refused();
    assert!(
        text.contains("Host key verification failed"),
        "an unknown host is no better: {text}"
    );
}

#[test]
fn a_wrong_key_and_a_missing_one_are_told() {
    let Some(server) = Server::start() else {
        return;
    };
    let repository = Repository::new();
    let follower = follower(&server, &repository);
    let secret = follower.state.path().join("secrets/access");
    fs::remove_file(secret.join("identity")).unwrap();
    make_key(&secret.join("identity"));
    let text = follower.refused();
    assert!(text.contains("Permission denied"), "{text}");
    fs::remove_dir_all(&secret).unwrap();
    let text = follower.refused();
    assert!(
        text.contains("there is no secret `access` in") && text.contains("/secrets`"),
        "{text}"
    );
    crate::private_folder(&secret);
    let text = follower.refused();
    assert!(text.contains("put at least one there"), "{text}");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o755)).unwrap();
    let text = follower.refused();
    assert!(text.contains("can be read by others"), "{text}");
}

#[test]
fn a_repository_that_is_gone_or_empty_is_told_in_the_servers_words() {
    let Some(server) = Server::start() else {
        return;
    };
    let gone = server.follower(Path::new("/nowhere/fleet"), Limits::default());
    let text = gone.refused();
    assert!(text.contains("/nowhere/fleet"), "{text}");
    assert!(
        text.contains("does not appear to be a git repository"),
        "{text}"
    );
    let empty = Repository::empty();
    let error = follower(&server, &empty).fetch(None).unwrap_err();
    assert!(matches!(error, FetchError::Empty { .. }), "{error}");
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let text = Follower::new(&format!("ssh://nobody@127.0.0.1:{port}/x")).refused();
    assert!(text.contains("Connection refused"), "{text}");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    // It accepts, and that is all.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let limits = Limits {
        silence: Duration::from_millis(300),
        ..Limits::default()
    };
    let follower = Follower::with_limits(&format!("ssh://nobody@127.0.0.1:{port}/x"), limits);
    let begin = Instant::now();
    let text = follower.refused();
    assert!(text.contains("nothing was heard for 0.3 seconds"), "{text}");
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_server_that_dribbles_is_given_up() {
    let Some(server) = Server::start_with("ForceCommand while :; do printf 'x' >&2; done") else {
        return;
    };
    let limits = Limits {
        time: Duration::from_secs(2),
        ..Limits::default()
    };
    let text = server.follower(Path::new("/x"), limits).refused();
    assert!(text.contains("it took longer than 2 seconds"), "{text}");
}

#[test]
fn answers_that_no_git_server_gives_are_refused() {
    let id = "0123456789012345678901234567890123456789";
    for (answer, because) in [
        ("\\033[31mWelcome!".to_owned(), "is the shell there silent?"),
        (
            "001bERR no such\\033 thing, ann".to_owned(),
            "the server says: no such\\u{1b} thing",
        ),
        (format!("0031{id} ab\\033b"), "a line of it is"),
        (format!("00ff{id} a"), "ended early"),
    ] {
        let command = format!("ForceCommand printf '{answer}'");
        let Some(server) = Server::start_with(&command) else {
            return;
        };
        let text = server
            .follower(Path::new("/x"), Limits::default())
            .refused();
        assert!(text.contains(because), "{answer}: {text}");
    }
}

#[test]
fn what_the_server_says_is_escaped() {
    let command = "ForceCommand printf 'no\\000\\033[31m\\n@@@@\\nway\\n' >&2; exit 3";
    let Some(server) = Server::start_with(command) else {
        return;
    };
    let text = server
        .follower(Path::new("/x"), Limits::default())
        .refused();
    assert!(
        text.contains("no\\u{0}\\u{1b}[31m; way (`ssh` ended with exit code 3)"),
        "{text}"
    );
}

#[test]
fn more_than_may_come_is_stopped() {
    let Some(server) = Server::start() else {
        return;
    };
    let repository = Repository::new();
    let noise: Vec<u8> = (0..3 << 20).map(|_| rand::random()).collect();
    repository.write("noise.bin", noise);
    repository.commit(&[], "large");
    let limits = Limits {
        fetch_bytes: 1 << 20,
        ..Limits::default()
    };
    let follower = server.follower(repository.path(), limits);
    let text = follower.refused();
    assert!(
        text.contains("is more than 1048576 bytes; move large files out"),
        "{text}"
    );
    let kept = walk_size(&follower.state.path().join("git"));
    assert!(kept < 2 << 20, "{kept}");

    let all = Limits::default();
    assert_eq!(server.follower(repository.path(), all).names(), ["a.yaml"]);
}

fn walk_size(path: &Path) -> u64 {
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.metadata().unwrap() {
            meta if meta.is_dir() => walk_size(&entry.path()),
            meta => meta.len(),
        })
        .sum()
}

#[test]
fn a_fetch_that_breaks_off_leaves_the_mirror_usable() {
    let repository = Repository::new();
    let noise: Vec<u8> = (0..1 << 20).map(|_| rand::random()).collect();
    repository.write("noise.bin", noise);
    repository.commit(&[], "large");
    // Passes the command through, and cuts the answer off in the middle.
    let command = "ForceCommand eval \"$SSH_ORIGINAL_COMMAND\" | head -c 300000";
    let (Some(broken), Some(whole)) = (Server::start_with(command), Server::start()) else {
        return;
    };
    let impatient = Limits {
        silence: Duration::from_secs(1),
        ..Limits::default()
    };
    let mut follower = broken.follower(repository.path(), impatient);
    let error = follower.fetch(None).unwrap_err();
    assert!(error.may_pass(), "{error}");
    let spec = json!({"secretRef": {"name": "access"}});
    follower.source = source(&whole.url(repository.path()), &spec);
    follower.repositories = Repositories::new(follower.state.path());
    let good = self::follower(&whole, &repository);
    let secret = |it: &Follower| it.state.path().join("secrets/access/known_hosts");
    fs::copy(secret(&good), secret(&follower)).unwrap();
    let key = |it: &Follower| it.state.path().join("secrets/access/identity");
    fs::copy(key(&good), key(&follower)).unwrap();
    assert_eq!(follower.names(), ["a.yaml"]);
}

#[test]
fn what_a_killed_controller_left_in_the_mirror_is_cleared_away() {
    let Some(server) = Server::start() else {
        return;
    };
    let repository = Repository::new();
    let follower = follower(&server, &repository);
    follower.fetch(None).unwrap();
    let mirror = follower.state.path().join("git/fleet");
    fs::write(mirror.join("refs/placet/followed.lock"), "").unwrap();
    fs::write(mirror.join("config.lock"), "").unwrap();
    fs::write(mirror.join("objects/pack/pack_git2_0123456789abcdef"), "x").unwrap();
    repository.commit(&[("a.yaml", "a: 2\n")], "second");
    assert_eq!(follower.fetch(None).unwrap().subject, "second");
    assert!(
        !mirror
            .join("objects/pack/pack_git2_0123456789abcdef")
            .exists()
    );
}

#[test]
fn a_damaged_mirror_is_made_anew() {
    let Some(server) = Server::start() else {
        return;
    };
    let repository = Repository::new();
    let follower = follower(&server, &repository);
    let first = follower.fetch(None).unwrap();
    let mirror = follower.state.path().join("git/fleet");
    for entry in fs::read_dir(mirror.join("objects/pack")).unwrap() {
        let path = entry.unwrap().path();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "cut off").unwrap();
    }
    assert_eq!(follower.fetch(Some(&first.revision)).unwrap(), first);
    fs::write(mirror.join("HEAD"), "nonsense").unwrap();
    assert_eq!(follower.fetch(Some(&first.revision)).unwrap(), first);
}

#[test]
fn two_sources_are_fetched_at_the_same_time() {
    let Some(server) = Server::start() else {
        return;
    };
    let repositories = [Repository::new(), Repository::new()];
    repositories[1].commit(&[("b.yaml", "b: 1\n")], "second");
    std::thread::scope(|scope| {
        for repository in &repositories {
            for _ in 0..2 {
                let follower = follower(&server, repository);
                scope.spawn(move || {
                    let revision = follower.fetch(None).unwrap().revision;
                    assert_eq!(revision, format!("main@sha1:{}", repository.head()));
                });
            }
        }
    });
}
