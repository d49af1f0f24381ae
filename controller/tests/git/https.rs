//! Repositories behind a real web server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use placet_controller::git::{FetchError, Limits};
use rand::Rng as _;
use serde_json::json;

use crate::repository::Repository;
use crate::web::{Manners, Web, give_secret, plain};

/// `ann:sesame`.
const BASIC: &str = "Basic YW5uOnNlc2FtZQ==";

fn serve(repository: &Repository, manners: Manners) -> Web {
    Web::start(repository.path().parent().unwrap(), manners)
}

type Fault = fn(Vec<u8>) -> Body;

fn is_fetch(parts: &Parts) -> bool {
    parts.uri.path().ends_with("/git-upload-pack")
}

/// A repository whose pack is large enough to be cut.
fn large() -> Repository {
    let repository = Repository::new();
    let mut noise = vec![0; 3 << 20];
    rand::rng().fill_bytes(&mut noise);
    repository.write("noise.bin", noise);
    repository.commit(&[], "large");
    repository
}

#[test]
fn commits_are_fetched_one_after_another() {
    let repository = Repository::new();
    let web = serve(&repository, Manners::default());
    let follower = web.follower("fleet/.git", &[], Limits::default());
    let first = follower.fetch(None).unwrap();
    assert_eq!(first.revision, format!("main@sha1:{}", repository.head()));
    let changed = |last| {
        let (source, of) = (&follower.source, &follower.repositories);
        of.changed_since(source, Some(last)).unwrap()
    };
    assert!(!changed(&first.revision));
    for number in 2..10 {
        let text = format!("a: {number}\n");
        repository.commit(&[("a.yaml", &text)], "next");
        assert!(changed(&first.revision));
        let next = follower.fetch(Some(&first.revision)).unwrap();
        assert_eq!(next.files[0].text, text);
        assert_eq!(follower.fetch(Some(&next.revision)).unwrap(), next);
    }
}

#[test]
fn a_branch_a_tag_a_range_or_a_commit_is_followed() {
    let repository = Repository::empty();
    let first = repository.commit(&[("a.yaml", "a: 1\n")], "first");
    repository.git(&["tag", "-a", "v1.2.0", "-m", "annotated"]);
    let second = repository.commit(&[("a.yaml", "a: 2\n")], "second");
    repository.git(&["tag", "v1.10.0"]);
    repository.commit(&[("a.yaml", "a: 3\n")], "third");
    let web = serve(&repository, Manners::default());
    for (reference, revision) in [
        (json!({"tag": "v1.2.0"}), format!("v1.2.0@sha1:{first}")),
        (json!({"semver": "~1.2"}), format!("v1.2.0@sha1:{first}")),
        (json!({"semver": "1"}), format!("v1.10.0@sha1:{second}")),
        (json!({"commit": second}), format!("commit@sha1:{second}")),
        (
            json!({"branch": "main"}),
            format!("main@sha1:{}", repository.head()),
        ),
    ] {
        let spec = json!({"ref": reference, "secretRef": {"name": "access"}});
        let follower = web.follower("fleet/.git", &[], Limits::default());
        let follower = follower.with(&spec);
        assert_eq!(follower.fetch(None).unwrap().revision, revision);
        let (source, of) = (&follower.source, &follower.repositories);
        assert!(!of.changed_since(source, Some(&revision)).unwrap());
    }
    let follower = web.follower("fleet/.git", &[], Limits::default());
    let none = json!({"ref": {"semver": ">=2"}, "secretRef": {"name": "access"}});
    let text = follower.with(&none).refused();
    assert!(
        text.contains("no tag that is a version within `>=2`; its tags: `v1.10.0`"),
        "{text}"
    );
}

#[test]
fn access_by_password_and_by_token() {
    for (authorization, values) in [
        (BASIC, &[("username", "ann"), ("password", "sesame\n")][..]),
        ("Bearer sesame", &[("bearerToken", "sesame\n")]),
    ] {
        let repository = Repository::new();
        let manners = Manners {
            authorization: Some(authorization),
            ..Manners::default()
        };
        let web = serve(&repository, manners);
        let follower = web.follower("fleet/.git", values, Limits::default());
        assert_eq!(follower.names(), ["a.yaml"]);
        let none = web.follower("fleet/.git", &[], Limits::default());
        let text = none.refused();
        assert!(
            text.contains("wants credentials (401 Unauthorized); name a secret"),
            "{text}"
        );
        // What is put right in the secret counts at the next look.
        give_secret(&none, values);
        assert_eq!(none.names(), ["a.yaml"]);
        let wrong = web.follower("fleet/.git", &[("bearerToken", "other")], Limits::default());
        let text = wrong.refused();
        assert!(text.contains("refuses the credentials"), "{text}");
        assert!(!text.contains("other"), "{text}");
    }
}

#[test]
fn a_server_that_nobody_vouches_for_is_refused() {
    let repository = Repository::new();
    let (web, other) = (
        serve(&repository, Manners::default()),
        serve(&repository, Manners::default()),
    );
    let follower = other.follower("fleet/.git", &[], Limits::default());
    let mut stranger = web.follower("fleet/.git", &[], Limits::default());
    stranger.state = follower.state;
    stranger.repositories = follower.repositories;
    let text = stranger.refused();
    assert!(
        text.contains("put it into the secret as `ca.crt`"),
        "{text}"
    );
    give_secret(&stranger, &[("ca.crt", "nonsense")]);
    let text = stranger.refused();
    assert!(text.contains("holds no certificate"), "{text}");
}

#[test]
fn another_path_of_the_host_is_followed_and_another_host_is_not() {
    let repository = Repository::new();
    let manners = |to: String| Manners {
        authorization: Some(BASIC),
        instead: Arc::new(move |parts| {
            let query = parts.uri.query().unwrap_or_default();
            let rest = parts.uri.path().strip_prefix("/old/")?;
            let mut response = plain(StatusCode::MOVED_PERMANENTLY, "");
            let target = format!("{to}/fleet/.git/{rest}?{query}");
            let headers = response.headers_mut();
            headers.insert(header::LOCATION, target.parse().unwrap());
            Some(response)
        }),
        ..Manners::default()
    };
    let login = [("username", "ann"), ("password", "sesame")];
    let web = serve(&repository, manners(String::new()));
    let follower = web.follower("old", &login, Limits::default());
    assert_eq!(follower.names(), ["a.yaml"]);

    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let elsewhere = Manners {
        instead: Arc::new(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            None
        }),
        ..Manners::default()
    };
    let elsewhere = serve(&repository, elsewhere);
    let web = serve(
        &repository,
        manners(elsewhere.url("").trim_end_matches('/').to_owned()),
    );
    let text = web.follower("old", &login, Limits::default()).refused();
    assert!(
        text.contains("elsewhere, where credentials are not sent"),
        "{text}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let circle = Manners {
        instead: Arc::new(|parts| {
            let mut response = plain(StatusCode::FOUND, "");
            let target = parts.uri.to_string().parse().unwrap();
            response.headers_mut().insert(header::LOCATION, target);
            Some(response)
        }),
        ..Manners::default()
    };
    let web = serve(&repository, circle);
    let text = web.follower("x", &[], Limits::default()).refused();
    assert!(text.contains("in circles"), "{text}");
}

#[test]
fn answers_that_no_git_server_gives_are_refused() {
    let id = "0123456789012345678901234567890123456789";
    let advertisement = "application/x-git-upload-pack-advertisement";
    let service = "001e# service=git-upload-pack\n0000";
    for (kind, answer, because) in [
        (
            "text/html",
            "<html>".to_owned(),
            "it is of type `text/html`",
        ),
        (advertisement, String::new(), "ended early"),
        (advertisement, "<html>".to_owned(), "it begins with `<htm`"),
        (advertisement, format!("003f{id} HEAD"), "ended early"),
        (
            advertisement,
            "0000".to_owned(),
            "does not begin as a git server's",
        ),
        (
            advertisement,
            format!("{service}0031{id} ab\u{1b}b"),
            "a line of it is",
        ),
        (
            advertisement,
            format!("{service}0011ERR no\0\u{1b}[31m\n"),
            "the server says: no",
        ),
        (
            advertisement,
            format!("{service}-001"),
            "it begins with `-001`",
        ),
    ] {
        let repository = Repository::new();
        let answer_text = answer.clone();
        let manners = Manners {
            instead: Arc::new(move |_| {
                let response = Response::builder().header(header::CONTENT_TYPE, kind);
                Some(response.body(Body::from(answer_text.clone())).unwrap())
            }),
            ..Manners::default()
        };
        let web = serve(&repository, manners);
        let text = web.follower("fleet/.git", &[], Limits::default()).refused();
        assert!(text.contains(because), "{answer:?}: {text}");
    }
}

#[test]
fn what_a_server_refuses_is_told_with_what_to_do() {
    for (status, because) in [
        (StatusCode::NOT_FOUND, "knows no such repository"),
        (StatusCode::INTERNAL_SERVER_ERROR, "answers 500"),
        (StatusCode::FORBIDDEN, "wants credentials (403"),
        (StatusCode::NO_CONTENT, "answers 204"),
    ] {
        let repository = Repository::new();
        let manners = Manners {
            instead: Arc::new(move |_| Some(plain(status, "\0\u{1b}[31m"))),
            ..Manners::default()
        };
        let web = serve(&repository, manners);
        let text = web.follower("fleet/.git", &[], Limits::default()).refused();
        assert!(text.contains(because), "{status}: {text}");
    }
}

#[test]
fn a_pack_that_is_cut_off_or_garbled_leaves_the_mirror_usable() {
    let cut = |answer: Vec<u8>| Body::from(answer[..1 << 20].to_vec());
    // The connection breaks in the middle.
    let gone = |answer: Vec<u8>| {
        let first = Ok(answer[..1 << 20].to_vec());
        let broken = Err(std::io::Error::other("gone"));
        Body::from_stream(stream::iter([first, broken]))
    };
    let garbled = |mut answer: Vec<u8>| {
        answer[1 << 20..].fill(0);
        Body::from(answer)
    };
    let hostile = |_: Vec<u8>| Body::from("0008NAK\n0015\x03no\0 \x1b[31mway\n.....0000");
    let faults: [(&str, Fault); 4] = [
        ("cut", cut),
        ("gone", gone),
        ("garbled", garbled),
        ("hostile", hostile),
    ];
    for (name, fault) in faults {
        let repository = large();
        let broken = Arc::new(AtomicUsize::new(1));
        let left = Arc::clone(&broken);
        let manners = Manners {
            spoil: Arc::new(move |parts, answer| {
                if is_fetch(parts) && left.load(Ordering::SeqCst) > 0 {
                    fault(answer)
                } else {
                    Body::from(answer)
                }
            }),
            ..Manners::default()
        };
        let web = serve(&repository, manners);
        let follower = web.follower("fleet/.git", &[], Limits::default());
        let error = follower.fetch(None).unwrap_err();
        assert!(error.may_pass(), "{name}: {error}");
        follower.refused();
        broken.store(0, Ordering::SeqCst);
        assert_eq!(follower.names(), ["a.yaml"], "{name}");
    }
}

#[test]
fn more_than_may_come_is_stopped() {
    let repository = large();
    let web = serve(&repository, Manners::default());
    let limits = Limits {
        fetch_bytes: 1 << 20,
        ..Limits::default()
    };
    let follower = web.follower("fleet/.git", &[], limits);
    let error = follower.fetch(None).unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    assert!(
        error.to_string().contains("is more than 1048576 bytes"),
        "{error}"
    );
}

#[test]
fn a_server_that_says_nothing_or_dribbles_is_given_up() {
    let repository = Repository::new();
    let limits = |silence, time| Limits {
        silence: Duration::from_millis(silence),
        time: Duration::from_millis(time),
        ..Limits::default()
    };
    let silent = Manners {
        spoil: Arc::new(|_, _| Body::from_stream(stream::pending::<Result<Vec<u8>, String>>())),
        ..Manners::default()
    };
    let web = serve(&repository, silent);
    let follower = web.follower("fleet/.git", &[], limits(300, 60_000));
    let text = follower.refused();
    assert!(text.contains("nothing was heard for 0.3 seconds"), "{text}");
    let endless = Manners {
        spoil: Arc::new(|_, _| {
            let line = "003f0123456789012345678901234567890123456789 refs/heads/endless\n";
            let lines = stream::unfold((), move |()| async move {
                tokio::task::yield_now().await;
                Some((Ok::<_, String>(line), ()))
            });
            Body::from_stream(lines)
        }),
        ..Manners::default()
    };
    let web = serve(&repository, endless);
    let follower = web.follower("fleet/.git", &[], Limits::default());
    let text = follower.refused();
    assert!(
        text.contains("does not begin") || text.contains("too many"),
        "{text}"
    );
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let repository = Repository::new();
    let web = serve(&repository, Manners::default());
    let mut follower = web.follower("fleet/.git", &[], Limits::default());
    follower.source.spec.url = format!("https://localhost:{port}/x");
    let error = follower.fetch(None).unwrap_err();
    assert!(matches!(error, FetchError::Connection { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn a_commit_that_is_wanted_is_still_verified_and_bounded() {
    let repository = Repository::new();
    let web = serve(&repository, Manners::default());
    let follower = web.follower("fleet/.git", &[], Limits::default());
    let spec = json!({
        "secretRef": {"name": "access"},
        "verify": {"allowedSigners": "ann ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"},
    });
    let error = follower.with(&spec).fetch(None).unwrap_err();
    assert!(matches!(error, FetchError::Signature { .. }), "{error}");
}
