//! A registry as a process of its own.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::TempDir;

use crate::packages::{packages, placet};
use crate::servers::program;
use crate::token_service::{SERVICE, TokenService};

/// Who may use a private registry.
pub const REGISTRY_USER: &str = "ann";
/// The password of [`REGISTRY_USER`].
pub const REGISTRY_PASSWORD: &str = "se:cret word";
/// A name that the certificate of a private registry has beside its address.
pub const REGISTRY_NAME: &str = "registry.test";
/// What [`RegistryServer::push_examples`] pushes.
const EXAMPLES: [(&str, &str); 5] = [
    ("chat", "1.0.0"),
    ("clock", "1.0.0"),
    ("metrics", "1.0.0"),
    ("greet", "1.0.0"),
    ("greet", "1.1.0"),
];
/// The password, as `htpasswd -B` would write it.
const HASHED: &str = "ann:$2b$05$abcdefghijklmnopqrstuuctz1keDbB3XEraSi34LUa0vpFN5Z8ry\n";

/// A registry that ends with this value, and keeps what it has while it is killed and run again.
#[derive(Debug)]
pub struct RegistryServer {
    folder: TempDir,
    port: u16,
    kind: Kind,
    child: Option<Child>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Deleting,
    Private,
    Tokens,
}

impl RegistryServer {
    /// On an open line, for everybody.
    pub fn open() -> Option<Self> {
        Self::start(Kind::Open)
    }

    /// On an open line, for everybody, who may delete too.
    pub fn deleting() -> Option<Self> {
        Self::start(Kind::Deleting)
    }

    /// With TLS and a password.
    pub fn private() -> Option<Self> {
        Self::start(Kind::Private)
    }

    /// On an open line, for those with a token of its token service.
    pub fn with_tokens() -> Option<Self> {
        Self::start(Kind::Tokens)
    }

    fn start(kind: Kind) -> Option<Self> {
        program("registry")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a port").port();
        drop(listener);
        let mut server = Self {
            folder,
            port,
            kind,
            child: None,
        };
        server.configure();
        server.run();
        Some(server)
    }

    fn configure(&self) {
        let path = |name: &str| self.path(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: {}}}\nhttp:\n  addr: 127.0.0.1:{}\n",
            path("storage"),
            self.kind == Kind::Deleting,
            self.port
        );
        if self.kind == Kind::Private {
            let names = ["127.0.0.1", REGISTRY_NAME].map(str::to_owned);
            let key = rcgen::generate_simple_self_signed(names).expect("a certificate");
            self.write("ca.crt", &key.cert.pem());
            self.write("tls.key", &key.signing_key.serialize_pem());
            self.write("htpasswd", HASHED);
            let private = format!(
                "  tls: {{certificate: {}, key: {}}}\nauth:\n  htpasswd: {{realm: test, path: {}}}\n",
                path("ca.crt"),
                path("tls.key"),
                path("htpasswd")
            );
            config.push_str(&private);
        }
        if self.kind == Kind::Tokens {
            let service = TokenService::start();
            self.write("tokens.crt", service.certificate());
            let tokens = format!(
                "auth:\n  token: {{realm: \"{}\", service: {SERVICE}, issuer: {SERVICE}, rootcertbundle: {}}}\n",
                service.realm(),
                path("tokens.crt")
            );
            config.push_str(&tokens);
        }
        self.write("password", REGISTRY_PASSWORD);
        self.write("config.yml", &config);
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    /// Starts it, and waits until it takes connections.
    pub fn run(&mut self) {
        let log = fs::File::create(self.path("log")).expect("a log");
        let child = Command::new(program("registry").expect("it was there at the start"))
            .arg("serve")
            .arg(self.path("config.yml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("the registry starts");
        self.child = Some(child);
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "the registry takes connections");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the registry can be killed");
            child.wait().expect("it ends");
        }
    }

    /// A path inside its folder, where `ca.crt` is the authority of a private one.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, as it stands in references.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A reference to something in it.
    pub fn at(&self, rest: &str) -> String {
        let scheme = if self.kind == Kind::Private {
            "oci"
        } else {
            "oci+http"
        };
        format!("{scheme}://{}/{rest}", self.host())
    }

    /// What a command needs to be let in.
    pub fn login(&self) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        let authority = || ["--ca-file".to_owned(), path("ca.crt")];
        let password = || {
            let (user, file) = ("--username".to_owned(), "--password-file".to_owned());
            [user, REGISTRY_USER.to_owned(), file, path("password")]
        };
        match self.kind {
            Kind::Open | Kind::Deleting => Vec::new(),
            Kind::Private => authority().into_iter().chain(password()).collect(),
            Kind::Tokens => password().into(),
        }
    }

    /// Pushes the packages of the example fleet, each to `fleet/<name>:<version>`.
    pub fn push_examples(&self) {
        for (name, tag) in EXAMPLES {
            let from = format!("oci-layout:{}:{tag}", packages().join(name).display());
            let to = self.at(&format!("fleet/{name}:{tag}"));
            let output = Command::new(placet())
                .args(["package", "push", &from, &to])
                .args(self.login())
                .output()
                .expect("placet starts");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{to}: {error}");
        }
    }

    /// Where its storage keeps the bytes of a blob.
    pub fn stored(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        let folder = self.path("storage/docker/registry/v2/blobs/sha256");
        folder.join(&hex[..2]).join(hex).join("data")
    }

    /// `crane` or `oras`, let in.
    pub fn client(&self, name: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program(name).expect("it is built beside the registry"));
        command
            .args(arguments)
            .env("DOCKER_CONFIG", self.path("docker"));
        if self.kind == Kind::Private {
            fs::create_dir_all(self.path("docker")).expect("a folder");
            let auths = serde_json::json!({"auths": {self.host(): {"username": REGISTRY_USER, "password": REGISTRY_PASSWORD}}});
            self.write("docker/config.json", &auths.to_string());
            command.env("SSL_CERT_FILE", self.path("ca.crt"));
        }
        let output = command.output().expect("it starts");
        assert!(
            output.status.success(),
            "{name} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            eprintln!("--- registry\n{log}");
        }
    }
}
