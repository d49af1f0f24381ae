//! A registry as a process of its own, and a line to it that can be cut.

use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use placet_tests::program;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const USER: &str = "ann";
pub(crate) const PASSWORD: &str = "se:cret word";
/// The password, as `htpasswd -B` would write it.
const HASHED: &str = "ann:$2b$05$abcdefghijklmnopqrstuuctz1keDbB3XEraSi34LUa0vpFN5Z8ry\n";

/// A registry that ends with this value.
pub(crate) struct Server {
    folder: TempDir,
    port: u16,
    is_private: bool,
    child: Option<Child>,
}

impl Server {
    /// On an open line, for everybody.
    pub(crate) fn open() -> Option<Self> {
        Self::start(false)
    }

    /// With TLS and a password.
    pub(crate) fn private() -> Option<Self> {
        Self::start(true)
    }

    fn start(is_private: bool) -> Option<Self> {
        program("registry")?;
        let folder = tempfile::tempdir().unwrap();
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut server = Self {
            folder,
            port,
            is_private,
            child: None,
        };
        server.configure();
        server.run();
        Some(server)
    }

    fn configure(&self) {
        let path = |name: &str| self.path(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: 127.0.0.1:{}\n",
            path("storage"),
            self.port
        );
        if self.is_private {
            let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
            fs::write(self.path("ca.crt"), key.cert.pem()).unwrap();
            fs::write(self.path("tls.key"), key.signing_key.serialize_pem()).unwrap();
            fs::write(self.path("htpasswd"), HASHED).unwrap();
            fs::write(self.path("password"), PASSWORD).unwrap();
            let private = format!(
                "  tls: {{certificate: {}, key: {}}}\nauth:\n  htpasswd: {{realm: test, path: {}}}\n",
                path("ca.crt"),
                path("tls.key"),
                path("htpasswd")
            );
            config.push_str(&private);
        }
        fs::write(self.path("config.yml"), config).unwrap();
    }

    /// Starts it, and waits until it takes connections.
    pub(crate) fn run(&mut self) {
        let log = fs::File::create(self.path("log")).unwrap();
        let child = Command::new(program("registry").unwrap())
            .arg("serve")
            .arg(self.path("config.yml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "the registry takes connections");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A reference to something in it.
    pub(crate) fn at(&self, rest: &str) -> String {
        let scheme = if self.is_private { "oci" } else { "oci+http" };
        format!("{scheme}://{}/{rest}", self.host())
    }

    /// What a command needs to be let in.
    pub(crate) fn login(&self) -> Vec<String> {
        if !self.is_private {
            return Vec::new();
        }
        let path = |name: &str| self.path(name).display().to_string();
        [
            "--ca-file".to_owned(),
            path("ca.crt"),
            "--username".to_owned(),
            USER.to_owned(),
            "--password-file".to_owned(),
            path("password"),
        ]
        .to_vec()
    }

    /// Where its storage keeps the bytes of a blob.
    pub(crate) fn stored(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let folder = self.path("storage/docker/registry/v2/blobs/sha256");
        folder.join(&hex[..2]).join(hex).join("data")
    }

    /// `crane` or `oras`, let in.
    pub(crate) fn client(&self, name: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program(name).unwrap());
        command
            .args(arguments)
            .env("DOCKER_CONFIG", self.path("docker"));
        if self.is_private {
            fs::create_dir_all(self.path("docker")).unwrap();
            let auths = serde_json::json!({"auths": {self.host(): {"username": USER, "password": PASSWORD}}});
            fs::write(self.path("docker/config.json"), auths.to_string()).unwrap();
            command.env("SSL_CERT_FILE", self.path("ca.crt"));
        }
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{name} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            eprintln!("--- registry\n{log}");
        }
    }
}

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
