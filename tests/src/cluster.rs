//! A Kubernetes API server with an etcd of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::ports::free_port;
use crate::proxy::Proxy;
use crate::servers::servers;

/// An API server answers within this time of its start, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// An API server that answers nobody's requests but those of its own users. Ends with this value.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    programs: PathBuf,
    etcd: Server,
    api: Option<Server>,
    ports: Ports,
    arguments: Vec<String>,
    authority: Authority,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    etcd: u16,
    peers: u16,
    api: u16,
}

struct Authority {
    serving: String,
    clients: Issuer<'static, KeyPair>,
}

impl Cluster {
    /// An API server with our kinds; none where nobody built one.
    pub fn start() -> Option<Self> {
        let cluster = Self::bare()?;
        cluster.install_kinds();
        Some(cluster)
    }

    /// As [`Self::start`], with more arguments for the API server.
    pub fn start_with(arguments: &[&str]) -> Option<Self> {
        let cluster = Self::with(arguments)?;
        cluster.install_kinds();
        Some(cluster)
    }

    /// An API server that knows nothing of us, and writes every request that is complete into its
    /// audit log; none where nobody built one.
    pub fn bare() -> Option<Self> {
        Self::with(&[])
    }

    fn with(arguments: &[&str]) -> Option<Self> {
        let programs = servers()?.to_owned();
        let folder = tempfile::Builder::new()
            .prefix("placet-api-")
            .tempdir_in("/tmp")
            .expect("a temporary folder");
        let [etcd, peers, api] = std::array::from_fn(|_| free_port());
        let ports = Ports { etcd, peers, api };
        let authority = Authority::new(folder.path());
        let mut cluster = Self {
            etcd: start_etcd(&programs, folder.path(), ports),
            programs,
            api: None,
            ports,
            arguments: audited(folder.path())
                .into_iter()
                .chain(arguments.iter().map(|it| (*it).to_owned()))
                .collect(),
            authority,
            folder,
        };
        fs::write(
            cluster.kubeconfig(),
            cluster.kubeconfig_of("admin", &["system:masters"], ports.api),
        )
        .expect("a kubeconfig");
        cluster.start_api_server();
        Some(cluster)
    }

    /// The kubeconfig of the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("admin.kubeconfig")
    }

    /// The kubectl that belongs to the API server.
    pub fn kubectl(&self) -> PathBuf {
        self.programs.join("kubectl")
    }

    /// The file of a kubeconfig for a user with these groups.
    pub fn user(&self, name: &str, groups: &[&str]) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.kubeconfig"));
        let kubeconfig = self.kubeconfig_of(name, groups, self.ports.api);
        fs::write(&path, kubeconfig).expect("a kubeconfig");
        path
    }

    /// A stretch of network to the API server, and the administrator's kubeconfig by that way.
    pub fn way(&self) -> (Proxy, PathBuf) {
        let proxy = Proxy::start(([127, 0, 0, 1], self.ports.api).into());
        let path = self.folder.path().join("way.kubeconfig");
        let kubeconfig = self.kubeconfig_of("admin", &["system:masters"], proxy.address().port());
        fs::write(&path, kubeconfig).expect("a kubeconfig");
        (proxy, path)
    }

    /// Has etcd forget everything but the newest state.
    pub fn compact(&self) {
        let ask = |path: &str, body: &str| {
            let url = format!("http://127.0.0.1:{}/v3/kv/{path}", self.ports.etcd);
            let output = Command::new("curl")
                .args(["--silent", "--show-error", "--fail", "--data", body, &url])
                .output()
                .expect("curl starts");
            let error = text(&output.stderr);
            assert!(output.status.success(), "{url}: {error}");
            serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
        };
        let newest = ask("range", r#"{"key":"AA=="}"#);
        let revision = &newest["header"]["revision"];
        ask("compaction", &format!(r#"{{"revision":{revision}}}"#));
    }

    /// A path inside the folder of the API server.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs kubectl as the administrator; returns what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.ask(arguments);
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// Runs kubectl as the administrator; returns all that it said, whether it succeeded or not.
    pub fn said(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        text(&output.stdout) + &text(&output.stderr)
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(self.kubectl())
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("kubectl starts")
    }

    /// Starts the API server, on the port and the data that it had before.
    pub fn start_api_server(&mut self) {
        let folder = self.folder.path();
        let at = |name: &str| folder.join(name).display().to_string();
        let log = log(folder, "kube-apiserver");
        let child = Command::new(self.programs.join("kube-apiserver"))
            .arg(format!(
                "--etcd-servers=http://127.0.0.1:{}",
                self.ports.etcd
            ))
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--secure-port={}", self.ports.api))
            .arg(format!("--cert-dir={}", folder.display()))
            .arg(format!("--tls-cert-file={}", at("apiserver.crt")))
            .arg(format!("--tls-private-key-file={}", at("apiserver.key")))
            .arg(format!("--client-ca-file={}", at("client-ca.crt")))
            .args([
                "--authorization-mode=RBAC",
                "--disable-admission-plugins=ServiceAccount",
            ])
            .arg(format!(
                "--service-account-issuer=https://127.0.0.1:{}/",
                self.ports.api
            ))
            .arg(format!("--service-account-key-file={}", at("sa.pub")))
            .arg(format!(
                "--service-account-signing-key-file={}",
                at("sa.key")
            ))
            .args([
                "--service-cluster-ip-range=10.0.0.0/24",
                "--allow-privileged=true",
            ])
            .args([
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
            ])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("an API server starts");
        self.api = Some(Server::of(child));
        self.until("the API server", |cluster| {
            cluster.run(&["get", "--raw", "/readyz"]).ok()
        });
    }

    /// Ends the API server as a power cut would.
    pub fn kill_api_server(&mut self) {
        self.api = None;
    }

    /// Sends a signal to etcd: `SIGSTOP` makes every request of the API server hang.
    pub fn signal_etcd(&self, signal: Signal) {
        kill(self.etcd.id(), signal).expect("etcd is there");
    }

    fn install_kinds(&self) {
        let kinds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/placet/definitions");
        let kinds = kinds.to_str().expect("a path");
        // The API server is ready a little before it can take definitions.
        self.until("our kinds", |cluster| {
            cluster.run(&["apply", "-f", kinds]).ok()
        });
        let wait = ["wait", "--for=condition=Established", "crd", "--all"];
        self.until("our kinds to be established", |cluster| {
            cluster.run(&wait).ok()
        });
        for kind in [
            "gitsources",
            "nodeclasses",
            "packagesets",
            "fleetnodes",
            "rollouts",
        ] {
            self.until(kind, |cluster| cluster.run(&["get", kind]).ok());
        }
    }

    /// False if the API server has ended by itself.
    fn is_alive(&self) -> bool {
        let stat = |id: Pid| fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let ended = |stat: String| stat.is_empty() || stat.contains(") Z ");
        self.api.as_ref().is_none_or(|api| !ended(stat(api.id())))
    }

    /// Asks until there is an answer, for a minute.
    pub fn until<T>(&self, what: &str, ask: impl Fn(&Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            let log = || fs::read_to_string(self.path("kube-apiserver.log")).unwrap_or_default();
            let is_late = Instant::now() > end || !self.is_alive();
            assert!(!is_late, "{what} did not come up\n{}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn kubeconfig_of(&self, name: &str, groups: &[&str], port: u16) -> String {
        let (certificate, key) = self.authority.user(name, groups);
        let encoded = |text: &str| STANDARD.encode(text);
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": encoded(&self.authority.serving),
            }}],
            "users": [{ "name": name, "user": {
                "client-certificate-data": encoded(&certificate),
                "client-key-data": encoded(&key),
            }}],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": name } }],
            "current-context": "test",
        })
        .to_string()
    }

    /// The requests that the API server wrote into its audit log so far.
    pub fn audit(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.path("audit.log")).unwrap_or_default();
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Arguments that make an API server write every request that is complete into its audit log.
fn audited(folder: &Path) -> Vec<String> {
    let policy = folder.join("audit-policy.yaml");
    let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: Metadata\n";
    fs::write(&policy, text).expect("a policy");
    vec![
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", folder.join("audit.log").display()),
    ]
}

/// A process that ends with this value, and with the test that started it however that ends: values
/// of a whole test binary are never dropped.
#[derive(Debug)]
struct Server {
    child: Child,
    watchdog: Child,
}

impl Server {
    fn of(child: Child) -> Self {
        let watchdog = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$0\"", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        Self { child, watchdog }
    }

    fn id(&self) -> Pid {
        Pid::from_raw(
            self.child
                .id()
                .try_into()
                .expect("process ids are positive"),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // First, so that it cannot hit whoever gets this process id next.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes every key that an API server needs, in `folder`.
    fn new(folder: &Path) -> Self {
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file");
        let (serving, issuer) = certificate_authority("serving");
        let mut server =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
                .expect("names");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = server.signed_by(&key, &issuer).expect("a certificate");
        write("apiserver.crt", &certificate.pem());
        write("apiserver.key", &key.serialize_pem());
        let accounts = KeyPair::generate().expect("a key");
        write("sa.key", &accounts.serialize_pem());
        write("sa.pub", &accounts.public_key_pem());
        let (client_ca, clients) = certificate_authority("clients");
        write("client-ca.crt", &client_ca);
        Self { serving, clients }
    }

    fn user(&self, name: &str, groups: &[&str]) -> (String, String) {
        let mut user = CertificateParams::default();
        let mut distinguished = DistinguishedName::new();
        distinguished.push(DnType::CommonName, name);
        for group in groups {
            distinguished.push(DnType::OrganizationName, *group);
        }
        user.distinguished_name = distinguished;
        user.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = user.signed_by(&key, &self.clients).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

fn certificate_authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), Issuer::new(params, key))
}

fn start_etcd(programs: &Path, folder: &Path, ports: Ports) -> Server {
    let log = log(folder, "etcd");
    let clients = format!("http://127.0.0.1:{}", ports.etcd);
    let child = Command::new(programs.join("etcd"))
        .arg(format!("--advertise-client-urls={clients}"))
        .arg(format!("--listen-client-urls={clients}"))
        .arg(format!(
            "--listen-peer-urls=http://127.0.0.1:{}",
            ports.peers
        ))
        .arg(format!("--data-dir={}", folder.join("etcd").display()))
        .arg("--unsafe-no-fsync=true")
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("etcd starts");
    Server::of(child)
}

fn log(folder: &Path, name: &str) -> fs::File {
    fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join(format!("{name}.log")))
        .expect("a log")
}
