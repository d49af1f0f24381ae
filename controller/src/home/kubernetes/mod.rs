//! The home on Kubernetes: custom resources in an API server, written by server-side apply.
//!
//! The API server is the truth; here is only what writing needs: the version that each object had
//! when it was last heard of. Watches bring what others write, and each status is written with the
//! version that it was made for, so that whoever acts on old knowledge gets a conflict.
//!
//! **Invariant:** nothing is written after the term of leadership has ended ([`Term`]).

mod authority;
mod client;
mod commit;
mod history;
mod review;
mod stored;
mod tokens;
mod versions;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client};
use placet_crds::{KindInfo, Object, kinds};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

pub use review::{AUDIENCE, SERVICE_ACCOUNT};

pub use authority::{AUTHORITY, authority, publish, published};
pub use commit::declared;
pub(crate) use tokens::TOKEN_PREFIX;
pub use tokens::make_token;

use self::history::History;
use self::versions::Versions;
use super::{Applied, Changed, HomeError, Owner, Seen, Stored, StoredEvent, WATCH_BUFFER};
use crate::leader::Term;

/// The field manager of everything that the controller writes.
pub const MANAGER: &str = "placet-controller";

/// The field manager of what `placet apply` applies on behalf of a person.
pub const PERSON: &str = "placet";

/// The annotation by which people order something for a node: JSON with `do` (`commit`, `regress`,
/// `retry`), `reason`, and `at`, by which two orders of the same words are told apart.
pub const ORDER: &str = "placet.dev/order";

/// Names the `GitSource` that declares an object.
pub const SOURCE_LABEL: &str = "placet.dev/git-source";

/// Marks what the controller itself declares.
pub const MANAGED_LABEL: &str = "placet.dev/managed-by";

/// All resources of a kind.
pub fn api(client: &Client, kind: &KindInfo) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: placet_crds::GROUP.to_owned(),
        version: placet_crds::VERSION.to_owned(),
        api_version: placet_crds::API_VERSION.to_owned(),
        kind: kind.kind.clone(),
        plural: kind.plural.clone(),
    };
    Api::all_with(client.clone(), &resource)
}

/// Objects in one page of a list.
const PAGE: u32 = 500;

/// The home on Kubernetes. Clones share it; dropping the last ends its watches.
#[derive(Clone)]
pub struct Kubernetes(Arc<Inner>);

struct Inner {
    apis: BTreeMap<&'static str, Api<DynamicObject>>,
    secrets: Api<Secret>,
    reviews: Api<TokenReview>,
    namespace: String,
    runtime: Handle,
    term: Term,
    /// By kind and name.
    known: Mutex<BTreeMap<&'static str, BTreeMap<String, Versions>>>,
    /// What was there when the watches began, until somebody lists it or it has changed.
    first: Mutex<BTreeMap<&'static str, Vec<Stored>>>,
    seen: Mutex<Option<mpsc::Receiver<Vec<Seen>>>>,
    changed: broadcast::Sender<Changed>,
    history: History,
    watches: Mutex<JoinSet<()>>,
}

impl Kubernetes {
    /// The home for one term of leadership: watches every kind, and returns once everything that
    /// is there has been listed. `namespace` is the controller's own; `events` gets what happens.
    ///
    /// # Errors
    ///
    /// The term ended before the API server had answered.
    pub async fn open(
        client: &Client,
        namespace: &str,
        term: Term,
        events: Option<mpsc::Sender<StoredEvent>>,
    ) -> Result<Self, HomeError> {
        let api = |kind: &KindInfo| (known_kind(&kind.kind), api(client, kind));
        let (seen, receiver) = mpsc::channel(watch::BATCHES);
        let home = Self(Arc::new(Inner {
            apis: kinds().iter().map(api).collect(),
            secrets: Api::namespaced(client.clone(), namespace),
            reviews: Api::all(client.clone()),
            namespace: namespace.to_owned(),
            runtime: Handle::current(),
            term,
            known: Mutex::default(),
            first: Mutex::default(),
            seen: Mutex::new(Some(receiver)),
            changed: broadcast::channel(WATCH_BUFFER).0,
            history: History::new(events),
            watches: Mutex::default(),
        }));
        home.begin_watches(seen).await?;
        Ok(home)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.0.term.epoch()
    }

    pub(super) fn list(&self, kind: &str) -> Result<Vec<Stored>, HomeError> {
        let kind = known_kind(kind);
        if let Some(first) = lock(&self.0.first).remove(kind) {
            return Ok(first);
        }
        self.wait(self.list_all(kind))
    }

    async fn list_all(&self, kind: &'static str) -> Result<Vec<Stored>, HomeError> {
        let mut all = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let listed = self
                .request("list resources", || self.0.api(kind).list(&page))
                .await?;
            let of_page = listed.items.iter();
            all.extend(of_page.filter_map(|object| stored::stored(kind, object)));
            match listed.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => page.continue_token = Some(more),
                None => return Ok(all),
            }
        }
    }

    pub(super) fn get(&self, kind: &str, name: &str) -> Result<Option<Stored>, HomeError> {
        self.wait(self.read(known_kind(kind), name))
    }

    async fn read(&self, kind: &'static str, name: &str) -> Result<Option<Stored>, HomeError> {
        let found = self
            .request("read a resource", || self.0.api(kind).get_opt(name))
            .await?;
        Ok(found.and_then(|object| stored::stored(kind, &object)))
    }

    pub(super) fn apply(&self, object: &Object, owner: &Owner) -> Result<Applied, HomeError> {
        self.wait(self.apply_one(object, owner))
    }

    pub(super) fn set_status(
        &self,
        kind: &str,
        name: &str,
        expected: Option<u64>,
        status: &Value,
    ) -> Result<u64, HomeError> {
        let kind = known_kind(kind);
        self.wait(self.write_status(kind, name, expected, status))
    }

    pub(super) fn delete(&self, kind: &str, name: &str) -> Result<bool, HomeError> {
        self.wait(self.remove(known_kind(kind), name))
    }

    pub(super) fn watch(&self) -> broadcast::Receiver<Changed> {
        self.0.changed.subscribe()
    }

    pub(super) fn seen(&self) -> Option<mpsc::Receiver<Vec<Seen>>> {
        lock(&self.0.seen).take()
    }

    pub(super) fn events(&self, since: u64, rollout: &str) -> Vec<StoredEvent> {
        self.0.history.since(since, rollout)
    }

    pub(super) fn watch_events(&self) -> broadcast::Receiver<StoredEvent> {
        self.0.history.watch()
    }

    /// Waits for the API server on a thread that may block.
    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.0.runtime.block_on(work)
    }
}

impl Inner {
    fn api(&self, kind: &'static str) -> &Api<DynamicObject> {
        &self.apis[kind]
    }

    /// Changes what is known of the versions of an object; returns what `change` says.
    fn note<T>(
        &self,
        kind: &'static str,
        name: &str,
        change: impl FnOnce(&mut Versions) -> T,
    ) -> T {
        let mut known = lock(&self.known);
        let of_kind = known.entry(kind).or_default();
        let mut versions = of_kind.get(name).copied().unwrap_or_default();
        let before = versions;
        let said = change(&mut versions);
        if versions != before {
            of_kind.insert(name.to_owned(), versions);
            lock(&self.first).remove(kind);
        }
        said
    }

    /// Forgets what is gone; returns the last version that was heard of.
    fn forget(&self, kind: &'static str, name: &str) -> Option<u64> {
        lock(&self.first).remove(kind);
        let gone = lock(&self.known).get_mut(kind)?.remove(name);
        gone.map(|known| known.latest)
    }

    fn known(&self, kind: &'static str, name: &str) -> Option<u64> {
        let known = lock(&self.known).get(kind)?.get(name).copied();
        known.map(|known| known.latest)
    }

    fn announce(&self, kind: &str, name: &str, resource_version: u64, deleted: bool) {
        // That nobody listens is no failure.
        let _ = self.changed.send(Changed {
            kind: kind.to_owned(),
            name: name.to_owned(),
            resource_version,
            deleted,
        });
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubernetes")
            .field("term", &self.0.term)
            .finish_non_exhaustive()
    }
}

/// The name of a kind as the table of kinds has it.
fn known_kind(kind: &str) -> &'static str {
    let mut all = kinds().iter().map(|info| info.kind.as_str());
    all.find(|known| *known == kind)
        .expect("callers name kinds that exist")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
