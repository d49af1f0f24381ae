//! A line to a registry that can be cut, and packages to send over it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A line that counts what comes back over it, and that is cut after so many bytes.
pub(crate) struct Line {
    pub(crate) port: u16,
    pub(crate) moved: Arc<AtomicU64>,
    /// Every connection that has brought so many bytes is cut.
    pub(crate) most: Arc<AtomicU64>,
}

impl Line {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Self {
            port: listener.local_addr().unwrap().port(),
            moved: Arc::default(),
            most: Arc::new(AtomicU64::new(u64::MAX)),
        };
        let (moved, most) = (Arc::clone(&line.moved), Arc::clone(&line.most));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                tokio::spawn(carry(near, far, Arc::clone(&moved), Arc::clone(&most)));
            }
        });
        line
    }
}

async fn carry(near: TcpStream, far: TcpStream, moved: Arc<AtomicU64>, most: Arc<AtomicU64>) {
    let (mut near_in, mut near_out) = near.into_split();
    let (mut far_in, mut far_out) = far.into_split();
    let there = tokio::spawn(async move { tokio::io::copy(&mut near_in, &mut far_out).await });
    let mut buffer = vec![0; 16 << 10];
    let mut own = 0;
    while let Ok(count @ 1..) = far_in.read(&mut buffer).await {
        let left = most.load(Ordering::Relaxed).saturating_sub(own);
        let count = usize::try_from(left).unwrap_or(count).min(count);
        if count == 0 || near_out.write_all(&buffer[..count]).await.is_err() {
            break;
        }
        own += count as u64;
        moved.fetch_add(count as u64, Ordering::Relaxed);
    }
    there.abort();
}

/// A package with modules of these sizes, in a layout.
pub(crate) fn package(folder: &Path, name: &str, sizes: &[usize]) -> placet_model::Digest {
    let layout = placet_package::Layout::create(folder).unwrap();
    let mut blobs = std::collections::BTreeMap::new();
    let mut modules = Vec::new();
    for (index, size) in sizes.iter().enumerate() {
        // Other bytes in every module and at every place of it.
        let bytes: Vec<u8> = (0..*size)
            .map(|at| {
                u8::try_from((at.wrapping_mul(2_654_435_761) >> 7) % 251).unwrap()
                    ^ index.to_le_bytes()[0]
            })
            .chain(index.to_le_bytes())
            .collect();
        let digest = placet_model::Digest::of(&bytes);
        modules.push(serde_json::json!({
            "path": format!("share/{index:04}"),
            "mode": "0644",
            "type": "data",
            "size": bytes.len(),
            "digest": digest,
            "signature": placet_package::signature(&bytes).unwrap(),
        }));
        blobs.insert(digest, placet_package::Blob::Bytes(bytes));
    }
    let config = serde_json::json!({
        "name": name,
        "version": "1.0.0",
        "created": "2026-01-31T12:00:00Z",
        "modules": modules,
    });
    let config = serde_json::from_value(config).unwrap();
    layout.write_package(&config, &blobs, "1.0.0").unwrap()
}
