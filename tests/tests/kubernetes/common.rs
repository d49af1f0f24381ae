//! What the tests on Kubernetes share: one API server for the binary, one fleet at a time.

use std::ops::{Deref, DerefMut};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use placet_tests::{Cluster, KubeFleet, is_full};
use serde_json::Value;

/// A fleet, and the API server that it has for itself.
pub(crate) struct OnKubernetes {
    // Dropped in this order: the fleet cleans the API server up.
    fleet: KubeFleet,
    cluster: MutexGuard<'static, Cluster>,
}

impl OnKubernetes {
    /// The API server.
    pub(crate) fn cluster(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}

impl Deref for OnKubernetes {
    type Target = KubeFleet;

    fn deref(&self) -> &KubeFleet {
        &self.fleet
    }
}

impl DerefMut for OnKubernetes {
    fn deref_mut(&mut self) -> &mut KubeFleet {
        &mut self.fleet
    }
}

/// Controllers of these names on the API server of this binary; none where nobody built one.
pub(crate) fn kubernetes(controllers: &[&str]) -> Option<OnKubernetes> {
    static CLUSTER: OnceLock<Option<Mutex<Cluster>>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| Cluster::start().map(Mutex::new));
    // A test that failed left nothing behind that another would mind.
    let cluster = cluster
        .as_ref()?
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let fleet = KubeFleet::start(&cluster.kubectl(), &cluster.kubeconfig(), controllers);
    Some(OnKubernetes { fleet, cluster })
}

/// The nodes of every fleet here.
pub(crate) const NODES: [&str; 3] = ["core-1", "core-2", "edge-1"];

/// One controller and three nodes that run what the first commit declares.
pub(crate) fn settled(fleet: &mut KubeFleet) -> String {
    for node in NODES {
        fleet.join(node);
    }
    let commit = fleet.commit_example();
    fleet.follow_repository();
    fleet.rollout(&commit, "Done");
    all_run(fleet);
    commit
}

/// Waits until every node says that it runs what is declared.
pub(crate) fn all_run(fleet: &KubeFleet) {
    for node in NODES {
        fleet.until(&format!("{node} to be ready"), |fleet| {
            let object = fleet.object("fleetnode", node);
            (ready(&object) == Some("True")).then_some(())
        });
    }
}

/// Whether an object says that it is ready.
pub(crate) fn ready(object: &Value) -> Option<&str> {
    let conditions = object["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|it| it["type"] == "Ready")?;
    ready["status"].as_str()
}

/// Opens a session with the chat server of a node, which vetoes while it is open.
pub(crate) fn open_session(fleet: &KubeFleet, node: &str) -> UnixStream {
    use std::io::Read as _;
    let socket = fleet.run(node).join("processes/chatd/chat.sock");
    let mut session = fleet.until("chatd", |_| UnixStream::connect(&socket).ok());
    session
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a time limit");
    session.read_exact(&mut [0]).expect("chatd greets");
    session
}

/// Longer than a term of leadership; half a minute where everything is tried.
pub(crate) fn outage() -> Duration {
    Duration::from_secs(if is_full() { 30 } else { 6 })
}

/// How often a node changed over to another generation, as its log says: what is begun and cut off
/// before the pointer is swapped does not count.
pub(crate) fn activations(fleet: &KubeFleet, node: &str) -> usize {
    fleet.log(node).matches("is committed in place of").count()
}

/// Waits until a log has a line with these words after its first `seen` bytes.
pub(crate) fn wait_for_line(fleet: &KubeFleet, log: &str, seen: usize, words: &str) {
    let path = fleet.path("logs").join(log);
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let text = std::fs::read(&path).unwrap_or_default();
        let news = String::from_utf8_lossy(&text[seen.min(text.len())..]);
        if news.contains(words) {
            return;
        }
        assert!(Instant::now() < end, "{log} does not say `{words}`");
        // Short: whoever waits wants to be there while it happens.
        std::thread::sleep(Duration::from_millis(1));
    }
}
