//! A registry that means no good, or is broken: each test is one that answers in its own way.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use placet_model::Digest;
use placet_package::registry::{Access, Fault, Limits, Registry, RegistryReference};
use placet_package::{Layout, Package, Reference};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a server does on one connection after it was asked: text that it sends, and how often it
/// sends the rest, with a pause before each.
#[derive(Clone)]
struct Reply {
    head: String,
    rest: Vec<u8>,
    times: usize,
    pause: Duration,
}

fn reply(status: &str, headers: &[&str], body: &[u8]) -> Reply {
    let lines: String = headers.iter().flat_map(|line| [*line, "\r\n"]).collect();
    let length = body.len();
    Reply {
        head: format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{lines}\r\n"
        ),
        rest: body.to_vec(),
        times: 1,
        pause: Duration::ZERO,
    }
}

fn endless(pause: Duration) -> Reply {
    Reply {
        head: "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned(),
        rest: vec![b' '; 64 << 10],
        times: usize::MAX,
        pause,
    }
}

struct Server {
    port: u16,
    asked: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
    _folder: TempDir,
    layout: Layout,
}

/// A server that answers a request, given its first line, all its text, and its number.
async fn serve(answer: impl Fn(&str, &str, usize) -> Reply + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (answer, counted, bytes) = (Arc::new(answer), Arc::clone(&asked), Arc::clone(&sent));
    tokio::spawn(async move {
        while let Ok((mut line, _)) = listener.accept().await {
            let (answer, counted, bytes) = (
                Arc::clone(&answer),
                Arc::clone(&counted),
                Arc::clone(&bytes),
            );
            tokio::spawn(async move {
                let request = request(&mut line).await;
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let first = request.lines().next().unwrap_or_default().to_owned();
                let reply = answer(&first, &request, number);
                line.write_all(reply.head.as_bytes()).await?;
                for _ in 0..reply.times {
                    tokio::time::sleep(reply.pause).await;
                    line.write_all(&reply.rest).await?;
                    bytes.fetch_add(reply.rest.len(), Ordering::SeqCst);
                }
                line.shutdown().await
            });
        }
    });
    let folder = tempfile::tempdir().unwrap();
    Server {
        port,
        asked,
        sent,
        layout: Layout::create(&folder.path().join("layout")).unwrap(),
        _folder: folder,
    }
}

async fn request(line: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        match line.read_u8().await {
            Ok(byte) => text.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    answer: Duration::from_millis(500),
    slowest: 1 << 20,
    attempts: 3,
    pause: Duration::from_millis(100),
};

impl Server {
    fn reference(&self) -> RegistryReference {
        let text = format!("oci+http://127.0.0.1:{}/a/b:1", self.port);
        match text.parse().unwrap() {
            Reference::Registry(reference) => reference,
            Reference::Layout { .. } => unreachable!("it has the scheme of a registry"),
        }
    }

    fn registry(&self, access: &Access) -> Registry {
        Registry::new(&self.reference(), access, LIMITS).unwrap()
    }

    async fn metadata(&self) -> Result<Package, placet_package::registry::RegistryError> {
        let registry = self.registry(&Access::anonymous().with_password("ann", "secret"));
        registry.metadata(&self.reference(), &self.layout).await
    }

    async fn blob(&self, digest: Digest, size: u64) -> Result<u64, Fault> {
        let registry = self.registry(&Access::anonymous());
        let fetched = registry
            .fetch(&self.reference(), (digest, size), &self.layout, &())
            .await;
        assert!(
            fetched.is_ok() || !self.layout.blob_path(&digest).exists(),
            "nothing wrong is kept"
        );
        fetched.map_err(|error| match error.fault() {
            Fault::TooLarge { what, most } => Fault::TooLarge {
                what: what.clone(),
                most: *most,
            },
            Fault::Slow { what, seconds } => Fault::Slow {
                what: what.clone(),
                seconds: *seconds,
            },
            _ => Fault::NotFound(error.to_string()),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_manifest_without_end_is_not_read_to_its_end() {
    let server = serve(|_, _, _| endless(Duration::ZERO)).await;
    let refused = server.metadata().await.unwrap_err();
    assert!(
        matches!(refused.fault(), Fault::TooLarge { .. }),
        "{refused}"
    );
    let sent = server.sent.load(Ordering::SeqCst);
    assert!(sent < 32 << 20, "{sent} bytes were taken");
}

#[tokio::test]
async fn a_body_that_comes_in_drops_is_given_up() {
    let server = serve(|_, _, _| Reply {
        rest: b" ".to_vec(),
        ..endless(Duration::from_millis(50))
    })
    .await;
    let begun = Instant::now();
    let refused = server.metadata().await.unwrap_err();
    assert!(matches!(refused.fault(), Fault::Slow { .. }), "{refused}");
    // The time for the largest manifest at the slowest speed allowed, and some.
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn no_answer_at_all_is_given_up() {
    let server = serve(|_, _, _| Reply {
        head: String::new(),
        ..endless(Duration::from_mins(1))
    })
    .await;
    let refused = server.metadata().await.unwrap_err();
    assert!(matches!(refused.fault(), Fault::Slow { .. }), "{refused}");
    assert!(refused.fault().may_pass());
    assert_eq!(server.asked(), 3, "it was tried again, as often as allowed");
}

#[tokio::test]
async fn a_blob_that_is_longer_than_announced_is_thrown_away() {
    let server = serve(|_, _, _| reply("200 OK", &[], b"more than five")).await;
    let refused = server.blob(Digest::of(b"short"), 5).await.unwrap_err();
    assert!(
        matches!(refused, Fault::TooLarge { most: 5, .. }),
        "{refused}"
    );
    let left = std::fs::read_dir(server.layout.dir()).unwrap().flatten();
    let left: u64 = left
        .filter(|entry| entry.file_name().to_string_lossy().contains("part"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert_eq!(left, 0, "nothing of it is gone on with");
}

#[tokio::test]
async fn a_part_of_another_place_is_refused() {
    let bytes = b"0123456789";
    let server = serve(|_, request, _| {
        if request.to_lowercase().contains("range: bytes=") {
            reply(
                "206 Partial Content",
                &["content-range: bytes 1-9/10"],
                b"123456789",
            )
        } else {
            Reply {
                head: "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 10\r\n\r\n"
                    .to_owned(),
                ..reply("200 OK", &[], b"01234")
            }
        }
    })
    .await;
    let refused = server.blob(Digest::of(bytes), 10).await.unwrap_err();
    assert!(refused.to_string().contains("another place"), "{refused}");
}

#[tokio::test]
async fn the_registry_says_when_to_come_back_within_reason() {
    let server = serve(|_, _, number| match number {
        0 => reply("429 Too Many Requests", &["retry-after: 3600"], b""),
        1 => reply("503 Service Unavailable", &["retry-after: 0"], b""),
        _ => reply("200 OK", &[], b"bytes"),
    })
    .await;
    assert_eq!(server.blob(Digest::of(b"bytes"), 5).await.unwrap(), 5);
    assert_eq!(server.asked(), 3);
}

#[tokio::test]
async fn nobody_is_redirected_to_an_open_line() {
    let elsewhere = serve(|_, _, _| reply("200 OK", &[], b"bytes")).await;
    let place = format!("location: http://127.0.0.1:{}/x", elsewhere.port);
    let server = serve(move |_, _, _| reply("307 Temporary Redirect", &[&place], b"")).await;
    let refused = server.blob(Digest::of(b"bytes"), 5).await.unwrap_err();
    assert!(refused.to_string().contains("failed to reach"), "{refused}");
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn a_token_that_is_none_is_an_error_and_no_panic() {
    let server = serve(|first, request, _| {
        let host = request.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.unwrap_or("127.0.0.1");
        if first.contains("/token") {
            reply("200 OK", &[], br#"{"token": "a\r\nx-other: b"}"#)
        } else {
            let demand = format!("www-authenticate: Bearer realm=\"http://{host}/token\"");
            reply("401 Unauthorized", &[&demand], b"")
        }
    })
    .await;
    let refused = server.metadata().await.unwrap_err().to_string();
    assert!(
        refused.contains("characters that none can have"),
        "{refused}"
    );
    assert!(!refused.contains("secret"), "{refused}");
}

#[tokio::test]
async fn a_password_goes_to_no_token_service_on_an_open_line() {
    let demand = "www-authenticate: Bearer realm=\"http://token.example/x\",service=\"a\"";
    let server = serve(move |_, _, _| reply("401 Unauthorized", &[demand], b"")).await;
    let refused = server.metadata().await.unwrap_err().to_string();
    assert!(refused.contains("not on https"), "{refused}");
}

#[tokio::test]
async fn a_registry_that_is_never_content_is_not_asked_for_ever() {
    let demand = "www-authenticate: Basic realm=\"x\"";
    let server = serve(move |_, _, _| reply("401 Unauthorized", &[demand], b"")).await;
    let refused = server.metadata().await.unwrap_err();
    assert!(matches!(refused.fault(), Fault::Denied { .. }), "{refused}");
    assert_eq!(server.asked(), 2, "once without, once with the password");
}

#[tokio::test]
async fn what_is_no_package_is_refused_with_the_reason() {
    for (body, why) in [
        (&b"{}"[..], "cannot be read"),
        (b"[", "cannot be read"),
        (
            br#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":1},"layers":[]}"#,
            "no Placet package",
        ),
        (
            br#"{"schemaVersion":2,"artifactType":"application/vnd.placet.package.v1","config":{"mediaType":"application/vnd.placet.package.config.v1+json","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":18446744073709551615},"layers":[]}"#,
            "more than 4194304 bytes",
        ),
    ] {
        let server = serve(move |_, _, _| reply("200 OK", &[], body)).await;
        let refused = server.metadata().await.unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
}
