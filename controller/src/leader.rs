//! Who acts: of several controllers the one that holds a Lease.
//!
//! The holder renews the Lease every second. Whoever sees it unchanged for as long as it lasts
//! takes it, by an update that names the version it saw, so that of two only one succeeds. The
//! number of transitions is the *epoch*: it stands in every order, and nodes refuse a lower one.
//!
//! **Invariant:** a term ends, by the holder's own monotonic clock, before anybody else may take
//! the Lease: its end is counted from before the renewal was sent, the others' wait from when they
//! heard of it. A holder that slept (SIGSTOP, a frozen machine) finds its term over when it wakes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::watcher::watch_object;
use kube::{Api, Client, Error};
use tokio_util::sync::CancellationToken;

/// How long a Lease lasts without being renewed.
pub const DURATION: Duration = Duration::from_secs(4);

/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(1);

/// With this annotation on the Lease people name who is to hold it next; the holder gives it up.
pub const SUCCESSOR: &str = "placet.dev/successor";

/// Where the holder answers other replicas.
pub const ADDRESS: &str = "placet.dev/address";

/// How long others leave a Lease to the designated successor that it was given up for.
const COURTESY: Duration = Duration::from_secs(3);

/// A time in which this controller acts. Clones share it.
#[derive(Debug, Clone)]
pub struct Term(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    epoch: u64,
    /// None where nobody else can act.
    end: Option<Mutex<Instant>>,
    ended: CancellationToken,
}

/// Takes part in the election of the one that acts.
#[derive(Clone)]
pub struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
    address: Option<String>,
}

/// The Lease as it was heard of last, and when.
struct Heard {
    lease: Option<Lease>,
    at: Instant,
}

impl Term {
    /// A term that nobody contends for.
    pub fn unopposed(epoch: u64) -> Self {
        Self(Arc::new(Inner {
            epoch,
            end: None,
            ended: CancellationToken::new(),
        }))
    }

    fn until(epoch: u64, end: Instant) -> Self {
        Self(Arc::new(Inner {
            epoch,
            end: Some(Mutex::new(end)),
            ended: CancellationToken::new(),
        }))
    }

    /// Higher than that of every term before.
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// True while nobody else can act.
    pub fn is_held(&self) -> bool {
        !self.0.ended.is_cancelled() && self.left() > Duration::ZERO
    }

    /// Comes when the term is over.
    pub async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    /// Ends it.
    pub fn end(&self) {
        self.0.ended.cancel();
    }

    fn left(&self) -> Duration {
        let Some(end) = &self.0.end else {
            return Duration::MAX;
        };
        let end = *end.lock().unwrap_or_else(PoisonError::into_inner);
        end.saturating_duration_since(Instant::now())
    }

    fn extend(&self, until: Instant) {
        if let Some(end) = &self.0.end {
            *end.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
    }
}

impl Election {
    /// An election for the Lease `name` in `namespace`, in which this controller is `identity`;
    /// `address` is where it answers other replicas while it acts.
    pub fn new(
        client: &Client,
        namespace: &str,
        name: &str,
        identity: &str,
        address: Option<String>,
    ) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            address,
        }
    }

    /// Waits until this controller is the one that acts. `heard` is told of every state of the
    /// Lease on the way.
    pub async fn win(&self, mut heard: impl FnMut(&Lease)) -> Term {
        let mut changes = watch_object(self.leases.clone(), &self.name).boxed();
        let mut last: Option<Heard> = None;
        loop {
            let wait = last.as_ref().map_or(Duration::MAX, |last| self.wait(last));
            if wait.is_zero()
                && let Some((term, lease)) = self
                    .take(last.as_ref().and_then(|last| last.lease.as_ref()))
                    .await
            {
                self.keep(term.clone(), lease);
                return term;
            }
            // Who was not first looks again at whoever was.
            let wait = wait.max(Duration::from_millis(100)).min(DURATION);
            // Cancel safe: both only wait.
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                change = changes.next() => match change {
                    Some(Ok(lease)) => {
                        if let Some(lease) = &lease {
                            heard(lease);
                        }
                        let is_same = last.as_ref().is_some_and(|last| version(last.lease.as_ref()) == version(lease.as_ref()));
                        if !is_same {
                            last = Some(Heard { lease, at: Instant::now() });
                        }
                    }
                    // The watch is begun anew by itself; what was heard last still counts.
                    Some(Err(error)) => {
                        tracing::debug!(%error, "failed to watch the lease");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    None => changes = watch_object(self.leases.clone(), &self.name).boxed(),
                },
            }
        }
    }

    /// How long the Lease is still somebody else's.
    fn wait(&self, heard: &Heard) -> Duration {
        let Some(lease) = &heard.lease else {
            return Duration::ZERO;
        };
        let holder = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref());
        let is_free = holder.is_none_or(str::is_empty);
        let since = heard.at.elapsed();
        match (is_free, successor(lease)) {
            (true, None) => Duration::ZERO,
            (true, Some(successor)) if successor == self.identity => Duration::ZERO,
            (true, Some(_)) => COURTESY.saturating_sub(since),
            (false, _) => DURATION.saturating_sub(since),
        }
    }

    /// Takes the Lease as it was heard of; none if somebody else was first, or nobody answers.
    async fn take(&self, old: Option<&Lease>) -> Option<(Term, Lease)> {
        let began = Instant::now();
        let epoch = old.and_then(transitions).unwrap_or_default() + 1;
        let lease = self.lease(old, epoch);
        let params = PostParams::default();
        let taken = if old.is_some() {
            self.leases.replace(&self.name, &params, &lease).await
        } else {
            self.leases.create(&params, &lease).await
        };
        match taken {
            Ok(lease) => Some((Term::until(epoch, began + DURATION), lease)),
            Err(error) => {
                tracing::debug!(%error, "failed to take the lease");
                None
            }
        }
    }

    /// The Lease as this controller holds it from now on.
    fn lease(&self, old: Option<&Lease>, epoch: u64) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut metadata = old.map_or_else(
            || ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            |old| old.metadata.clone(),
        );
        metadata.managed_fields = None;
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.remove(SUCCESSOR);
        match &self.address {
            Some(address) => annotations.insert(ADDRESS.to_owned(), address.clone()),
            None => annotations.remove(ADDRESS),
        };
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                lease_transitions: i32::try_from(epoch).ok(),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Renews the Lease until that fails for too long, somebody else holds it, a successor is
    /// designated, or the term is ended from within.
    fn keep(&self, term: Term, mut lease: Lease) {
        let election = self.clone();
        tokio::spawn(async move {
            loop {
                // Cancel safe: both only wait.
                tokio::select! {
                    () = term.ended() => break,
                    () = tokio::time::sleep(RENEWAL.min(term.left())) => {}
                }
                if !term.is_held() {
                    tracing::warn!("the lease could not be renewed in time");
                    break;
                }
                let renewal = election.renew(&term, &mut lease);
                match tokio::time::timeout(term.left(), renewal).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => {
                        tracing::warn!("the API server does not answer in time to renew the lease");
                        break;
                    }
                }
            }
            term.end();
        });
    }

    /// Renews once; false if the term is over.
    async fn renew(&self, term: &Term, lease: &mut Lease) -> bool {
        let began = Instant::now();
        let mut next = lease.clone();
        next.metadata.managed_fields = None;
        let spec = next.spec.get_or_insert_default();
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        let params = PostParams::default();
        match self.leases.replace(&self.name, &params, &next).await {
            Ok(renewed) => {
                *lease = renewed;
                term.extend(began + DURATION);
                true
            }
            // Somebody took it, or named a successor.
            Err(Error::Api(status)) if status.code == 409 || status.code == 404 => {
                self.look_again(term, lease).await
            }
            Err(error) => {
                tracing::debug!(%error, "failed to renew the lease");
                true
            }
        }
    }

    async fn look_again(&self, term: &Term, lease: &mut Lease) -> bool {
        match self.leases.get(&self.name).await {
            Ok(found) => *lease = found,
            Err(error) => {
                tracing::debug!(%error, "failed to read the lease");
                return !matches!(&error, Error::Api(status) if status.code == 404);
            }
        }
        if !self.is_own(lease, term) {
            tracing::warn!("another controller holds the lease");
            return false;
        }
        match successor(lease).filter(|name| *name != self.identity) {
            Some(successor) => {
                tracing::info!("gives the lease up for {successor}");
                self.resign(term).await;
                false
            }
            None => Box::pin(self.renew(term, lease)).await,
        }
    }

    fn is_own(&self, lease: &Lease, term: &Term) -> bool {
        let holder = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref());
        holder == Some(&self.identity) && transitions(lease) == Some(term.epoch())
    }

    /// Gives the Lease up, so that the next holder need not wait for its end.
    pub async fn resign(&self, term: &Term) {
        // Nobody acts on this controller's behalf once others may.
        term.end();
        let Ok(mut lease) = self.leases.get(&self.name).await else {
            return;
        };
        if !self.is_own(&lease, term) {
            return;
        }
        lease.metadata.managed_fields = None;
        lease.spec.get_or_insert_default().holder_identity = Some(String::new());
        let params = PostParams::default();
        if let Err(error) = self.leases.replace(&self.name, &params, &lease).await {
            tracing::debug!(%error, "failed to give the lease up");
        }
    }
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election")
            .field("name", &self.name)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

fn version(lease: Option<&Lease>) -> Option<&str> {
    lease?.metadata.resource_version.as_deref()
}

fn transitions(lease: &Lease) -> Option<u64> {
    let transitions = lease.spec.as_ref()?.lease_transitions?;
    u64::try_from(transitions).ok()
}

fn successor(lease: &Lease) -> Option<String> {
    let annotations = lease.metadata.annotations.as_ref()?;
    annotations
        .get(SUCCESSOR)
        .filter(|name| !name.is_empty())
        .cloned()
}
