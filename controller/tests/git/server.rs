//! A real ssh server on a loopback port, one process for each connection.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;

use placet_controller::git::Limits;
use serde_json::json;
use tempfile::TempDir;

use crate::Follower;

const SSHD: &str = "/usr/sbin/sshd";

/// One pair of keys for servers and users of all tests: making them takes longer than using them.
static KEYS: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    for name in ["host_key", "identity"] {
        make_key(&folder.path().join(name));
    }
    folder
});

pub(crate) struct Server {
    folder: TempDir,
    port: u16,
    stop: Arc<AtomicBool>,
    running: Arc<Mutex<Vec<Child>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves whatever repositories there are, or nothing where the machine has no `sshd`.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// With more lines of configuration.
    pub(crate) fn start_with(lines: &str) -> Option<Self> {
        if !Path::new(SSHD).exists() {
            let ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!ci, "no {SSHD}: install openssh-server");
            eprintln!("skipped: no sshd");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["host_key", "identity"] {
            let key = KEYS.path().join(name);
            std::fs::copy(&key, folder.path().join(name)).unwrap();
            let public = folder.path().join(name).with_extension("pub");
            std::fs::copy(key.with_extension("pub"), public).unwrap();
        }
        // Only a server run by root wants this folder, and only root can make it.
        let _ = std::fs::create_dir_all("/run/sshd");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = folder.path().join("sshd_config");
        std::fs::write(&config, configuration(folder.path(), lines)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let running = Arc::new(Mutex::new(Vec::new()));
        let accepting = std::thread::spawn({
            let (stop, running) = (Arc::clone(&stop), Arc::clone(&running));
            move || accept(&listener, &config, &stop, &running)
        });
        Some(Self {
            folder,
            port,
            stop,
            running,
            accepting: Some(accepting),
        })
    }

    pub(crate) fn url(&self, path: &Path) -> String {
        let path = path.to_str().unwrap();
        format!(
            "ssh://{}@127.0.0.1:{}{}",
            user(),
            self.port,
            path.replace(' ', "%20")
        )
    }

    /// A source that follows the repository at `path`, with the key and the known host.
    pub(crate) fn follower(&self, path: &Path, limits: Limits) -> Follower {
        let follower = Follower::with_limits(&self.url(path), limits)
            .with(&json!({"secretRef": {"name": "access"}}));
        let host = std::fs::read_to_string(self.folder.path().join("host_key.pub")).unwrap();
        self.give_secret(&follower, &host);
        follower
    }

    /// Puts the key, and `host` as the only host known, where the follower looks.
    pub(crate) fn give_secret(&self, follower: &Follower, host: &str) {
        let secret = follower.state.path().join("secrets/access");
        crate::private_folder(&secret);
        std::fs::copy(self.folder.path().join("identity"), secret.join("identity")).unwrap();
        let line = format!("[127.0.0.1]:{} {host}", self.port);
        std::fs::write(secret.join("known_hosts"), line).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.port));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for child in self.running.lock().unwrap().iter_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn accept(
    listener: &TcpListener,
    config: &PathBuf,
    stop: &AtomicBool,
    running: &Mutex<Vec<Child>>,
) {
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let stream = OwnedFd::from(stream.unwrap());
        let child = Command::new(SSHD)
            .args(["-i", "-e", "-f"])
            .arg(config)
            .stdin(stream.try_clone().unwrap())
            .stdout(stream)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        running.lock().unwrap().push(child);
    }
}

fn configuration(folder: &Path, lines: &str) -> String {
    let folder = folder.display();
    format!(
        "HostKey {folder}/host_key\n\
         AuthorizedKeysFile {folder}/identity.pub\n\
         StrictModes no\n\
         UsePAM no\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n\
         {lines}\n"
    )
}

pub(crate) fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(path)
        .status();
    assert!(made.unwrap().success());
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
