//! A proxy before a real registry, that answers some requests itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a request.
pub(crate) enum Fate {
    /// The registry answers.
    Pass,
    /// This is the answer: status, headers, body.
    Answer(String, Vec<u8>),
    /// The registry answers, and the line breaks after so many bytes.
    Cut(usize),
}

/// Says what becomes of a request (`GET /v2/…`), which is the so manieth.
type Rule = dyn Fn(&str, usize) -> Fate + Send + Sync;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    /// Requests that did not pass.
    pub(crate) held_up: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn before(
        port: u16,
        rule: impl Fn(&str, usize) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let held_up = Arc::new(AtomicUsize::new(0));
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            held_up: Arc::clone(&held_up),
        };
        let rule: Arc<Rule> = Arc::new(rule);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, port, Arc::clone(&rule), Arc::clone(&held_up)));
            }
        });
        proxy
    }

    pub(crate) fn at(&self, rest: &str) -> String {
        format!("oci+http://127.0.0.1:{}/{rest}", self.port)
    }
}

/// One request, and its answer.
async fn carry(
    mut near: TcpStream,
    port: u16,
    rule: Arc<Rule>,
    held_up: Arc<AtomicUsize>,
) -> Option<()> {
    let (head, rest) = head(&mut near).await?;
    let request: Vec<&str> = head.split(' ').take(2).collect();
    let fate = rule(&request.join(" "), held_up.load(Ordering::Relaxed));
    let most = match fate {
        Fate::Pass => usize::MAX,
        Fate::Cut(most) => most,
        Fate::Answer(head, body) => {
            held_up.fetch_add(1, Ordering::Relaxed);
            let length = body.len();
            let head =
                format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            near.write_all(head.as_bytes()).await.ok()?;
            near.write_all(&body).await.ok()?;
            return near.shutdown().await.ok();
        }
    };
    if most < usize::MAX {
        held_up.fetch_add(1, Ordering::Relaxed);
    }
    let mut far = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    // One request for each connection, so that each can be told from the next.
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    far.write_all(head.as_bytes()).await.ok()?;
    far.write_all(&rest).await.ok()?;
    let (mut near_in, mut near_out) = near.into_split();
    let (mut far_in, mut far_out) = far.into_split();
    let there = tokio::spawn(async move { tokio::io::copy(&mut near_in, &mut far_out).await });
    let mut left = most;
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = far_in.read(&mut buffer).await {
        let count = count.min(left);
        left -= count;
        if near_out.write_all(&buffer[..count]).await.is_err() || left == 0 {
            break;
        }
    }
    there.abort();
    Some(())
}

/// The head of a request, and what of its body came with it.
async fn head(near: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = near
            .read(&mut buffer)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let rest = bytes.split_off(end + 4);
            return Some((String::from_utf8(bytes).ok()?, rest));
        }
    }
}
