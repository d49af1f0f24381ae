//! Packages in registries: looked up for the catalog, their modules fetched for nodes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use placet_model::{Digest, PublicKey};
use placet_package::registry::{Access, Limits, Registry, RegistryError, RegistryReference};
use placet_package::{Package, Reference, Selector};
use placet_planner::Unresolved;
use tokio::runtime::Handle;

use super::cache::Cache;
use super::signatures::Signatures;
use super::symbols::lists_missing;
use super::{NoBlob, WantedPackage, unresolved};
use crate::secrets::Secrets;

/// Registries that packages were looked up in.
#[derive(Debug)]
pub(super) struct Registries {
    cache: Cache,
    secrets: Secrets,
    signatures: Signatures,
    known: Mutex<Known>,
    /// True if a tag counts only as its registry says now.
    only_as_now: bool,
}

#[derive(Debug, Default)]
struct Known {
    clients: BTreeMap<Key, Client>,
    /// Which registry has a module.
    places: BTreeMap<Digest, Place>,
    /// One turn for each module that is being fetched.
    turns: BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>,
}

#[derive(Debug, Clone)]
struct Place {
    reference: RegistryReference,
    secret: Option<String>,
    size: u64,
}

#[derive(Debug, Clone)]
struct Client {
    registry: Arc<Registry>,
    access: Access,
    read: Instant,
}

/// A registry as seen with one secret.
type Key = (String, bool, Option<String>);
/// A look-up: reference, secret, pinned digest, and the keys that have to have signed.
pub(super) type Look = (String, Option<String>, Option<Digest>, Vec<Digest>);
type Found = Result<Package, Unresolved>;

/// So long a secret counts as it was read: somebody who changes it does not wait for long, and a
/// hundred modules are no hundred requests.
const SECRET_AGE: Duration = Duration::from_secs(30);
/// A registry that does not answer in this time is away; others are waited for no longer.
const LOOK_TIME: Duration = Duration::from_secs(25);

/// Short patience: whoever looks packages up looks again.
const LOOKING: Limits = Limits {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(15),
    slowest: 16 << 10,
    attempts: 2,
    pause: Duration::from_secs(5),
};

pub(super) fn key(wanted: &WantedPackage) -> Look {
    let text = wanted.reference.reference.clone();
    let keys = wanted.keys.iter().flatten().map(PublicKey::id);
    (text, wanted.secret.clone(), wanted.pinned, keys.collect())
}

impl Registries {
    pub(super) fn new(state: &Path, most: u64, secrets: Secrets, signatures: Signatures) -> Self {
        Self {
            cache: Cache::new(&state.join("modules"), most),
            secrets,
            signatures,
            known: Mutex::default(),
            only_as_now: false,
        }
    }

    /// A tag whose registry is away does not count as it was seen last.
    pub(super) fn only_as_now(self) -> Self {
        Self {
            only_as_now: true,
            ..self
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each insertion stands for itself: a panic in between leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up those of `wanted` that are in registries, all at once.
    pub(super) fn find_all(
        &self,
        wanted: &[WantedPackage],
        is_open: &mut bool,
    ) -> BTreeMap<Look, Found> {
        let mut looks = BTreeMap::new();
        for wanted in wanted {
            if let Ok(Reference::Registry(reference)) = wanted.reference.reference.parse() {
                looks.insert(key(wanted), (reference, wanted));
            }
        }
        if looks.is_empty() {
            return BTreeMap::new();
        }
        let Ok(runtime) = Handle::try_current() else {
            let why = || Unresolved::Missing("registries are not asked from here".to_owned());
            return looks.into_keys().map(|look| (look, Err(why()))).collect();
        };
        let all = looks
            .into_iter()
            .map(|(look, (reference, wanted))| async move {
                let (found, may_change) = self.find_signed(&reference, wanted).await;
                (look, found, may_change)
            });
        let found = runtime.block_on(join_all(all));
        if self.only_as_now {
            // No module is ever fetched for which metadata would make room.
            self.cache.make_room(0);
        }
        *is_open |= found.iter().any(|(.., may_change)| *may_change);
        found
            .into_iter()
            .map(|(look, found, _)| (look, found))
            .collect()
    }

    /// As [`Registries::find`]; the signatures that the registry has of it are in the cache, unless
    /// one was verified before.
    async fn find_signed(
        &self,
        reference: &RegistryReference,
        wanted: &WantedPackage,
    ) -> (Found, bool) {
        let (found, may_change) = self.find(reference, wanted).await;
        let (Ok(package), Some(keys)) = (&found, &wanted.keys) else {
            return (found, may_change);
        };
        if self.signatures.check(package, keys).is_ok() {
            return (found, may_change);
        }
        let secret = wanted.secret.as_deref();
        let fetching =
            tokio::time::timeout(LOOK_TIME, self.fetch_signatures(reference, secret, package));
        match fetching.await.unwrap_or_else(|_| Err(late(reference))) {
            Ok(()) => (found, may_change),
            Err(miss) => (Err(Unresolved::Missing(miss.why)), true),
        }
    }

    async fn fetch_signatures(
        &self,
        reference: &RegistryReference,
        secret: Option<&str>,
        package: &Package,
    ) -> Result<(), Miss> {
        let registry = self.registry(reference, secret).await?;
        let layout = &package.layout;
        Ok(registry
            .fetch_attached(reference, &package.digest, layout)
            .await?)
    }

    /// The package, and whether another look may say something else.
    async fn find(&self, reference: &RegistryReference, wanted: &WantedPackage) -> (Found, bool) {
        let pinned = match (&reference.selector, wanted.pinned) {
            (Selector::Digest(digest), _) => Some(*digest),
            (Selector::Tag(_), pinned) => pinned,
        };
        // Metadata never change: what is here needs no registry.
        if let Some(known) = pinned.and_then(|digest| self.cache.metadata(&digest)) {
            self.note(reference, wanted, &known);
            return self.with_symbols(reference, wanted, known).await;
        }
        let found = tokio::time::timeout(LOOK_TIME, self.ask(reference, wanted, pinned)).await;
        let found = found.unwrap_or_else(|_| Err(late(reference)));
        match found {
            Ok(package) => {
                if pinned.is_none() && !self.only_as_now {
                    self.cache.note_tag(&reference.to_string(), package.digest);
                }
                self.note_whole(reference, &package);
                self.note(reference, wanted, &package);
                (Ok(package), false)
            }
            Err(miss) => (self.last_known(reference, wanted, pinned, &miss), true),
        }
    }

    /// A package whose metadata are here, once its lists of symbols are too, and whether another look
    /// may say something else. One that was whole before may run already, and is not called into
    /// question because its lists made room for something else; of a new one, and where all has to be
    /// known, they have to be here.
    async fn with_symbols(
        &self,
        reference: &RegistryReference,
        wanted: &WantedPackage,
        package: Package,
    ) -> (Found, bool) {
        let fetching = async {
            if lists_missing(&package).is_empty() {
                return Ok(());
            }
            let registry = self.registry(reference, wanted.secret.as_deref()).await?;
            self.fetch_symbols(&registry, reference, &package).await
        };
        let fetched = tokio::time::timeout(LOOK_TIME, fetching).await;
        match fetched.unwrap_or_else(|_| Err(late(reference))) {
            Ok(()) => {
                self.note_whole(reference, &package);
                (Ok(package), false)
            }
            Err(miss) if self.was_whole(reference, &package) => {
                tracing::warn!("{}; the symbols of {reference} are not known", miss.why);
                (Ok(package), true)
            }
            Err(miss) => (Err(Unresolved::Missing(miss.why)), true),
        }
    }

    /// Remembers that metadata and lists of symbols of a package were here.
    fn note_whole(&self, reference: &RegistryReference, package: &Package) {
        if !self.only_as_now {
            let pinned = reference.with(Selector::Digest(package.digest));
            self.cache.note_tag(&pinned.to_string(), package.digest);
        }
    }

    fn was_whole(&self, reference: &RegistryReference, package: &Package) -> bool {
        let pinned = reference.with(Selector::Digest(package.digest));
        self.cache.tag(&pinned.to_string()) == Some(package.digest) && !self.only_as_now
    }

    async fn fetch_symbols(
        &self,
        registry: &Registry,
        reference: &RegistryReference,
        package: &Package,
    ) -> Result<(), Miss> {
        let missing = lists_missing(package);
        let pinned = reference.with(Selector::Digest(package.digest));
        Ok(registry.fetch_symbols(&pinned, package, &missing).await?)
    }

    /// While a registry is away, a tag counts as it was seen last: what runs is not called into
    /// question because nobody can be asked.
    fn last_known(
        &self,
        reference: &RegistryReference,
        wanted: &WantedPackage,
        pinned: Option<Digest>,
        miss: &Miss,
    ) -> Found {
        let last = self.cache.tag(&reference.to_string());
        let last = last.filter(|_| pinned.is_none() && miss.may_pass && !self.only_as_now);
        match last.and_then(|digest| self.cache.metadata(&digest)) {
            Some(package) => {
                tracing::warn!(
                    "{}; {reference} counts as it was seen last, {}",
                    miss.why,
                    package.digest
                );
                self.note(reference, wanted, &package);
                Ok(package)
            }
            None => Err(Unresolved::Missing(miss.why.clone())),
        }
    }

    async fn ask(
        &self,
        reference: &RegistryReference,
        wanted: &WantedPackage,
        pinned: Option<Digest>,
    ) -> Result<Package, Miss> {
        let registry = self.registry(reference, wanted.secret.as_deref()).await?;
        let digest = match pinned {
            Some(digest) => digest,
            None => registry.resolve(reference).await?,
        };
        let pinned = reference.with(Selector::Digest(digest));
        let layout = self.cache.layout().map_err(Miss::lasting)?;
        let package = registry.metadata(&pinned, &layout).await?;
        self.fetch_symbols(&registry, reference, &package).await?;
        Ok(package)
    }

    fn note(&self, reference: &RegistryReference, wanted: &WantedPackage, package: &Package) {
        let mut known = self.known();
        for module in &package.config.modules {
            let place = Place {
                reference: reference.with(Selector::Digest(package.digest)),
                secret: wanted.secret.clone(),
                size: module.size,
            };
            known.places.insert(module.digest, place);
        }
    }

    /// A client for the registry, with what its secret holds now.
    async fn registry(
        &self,
        reference: &RegistryReference,
        secret: Option<&str>,
    ) -> Result<Arc<Registry>, Miss> {
        let key = (
            reference.host.clone(),
            reference.is_plain,
            secret.map(str::to_owned),
        );
        let known = self.known().clients.get(&key).cloned();
        if let Some(known) = &known
            && known.read.elapsed() < SECRET_AGE
        {
            return Ok(Arc::clone(&known.registry));
        }
        let access = match secret {
            None => Access::anonymous(),
            Some(name) => {
                let values = self.secrets.read(name).await.map_err(Miss::lasting)?;
                let access = Access::from_secret(&values, &reference.host);
                access.map_err(|error| Miss::lasting(Named(name.to_owned(), error)))?
            }
        };
        let registry = match known {
            Some(known) if known.access == access => known.registry,
            _ => Arc::new(Registry::new(reference, &access, LOOKING)?),
        };
        let client = Client {
            registry: Arc::clone(&registry),
            access,
            read: Instant::now(),
        };
        self.known().clients.insert(key, client);
        Ok(registry)
    }

    /// Sees to it that a module is in the cache, if it is in a registry. One fetches, others wait;
    /// who stops waiting stops nobody.
    pub(super) async fn bring(self: &Arc<Self>, digest: &Digest) -> Result<(), NoBlob> {
        let Some(place) = self.known().places.get(digest).cloned() else {
            return Ok(());
        };
        if self.cache.has(digest, place.size) {
            return Ok(());
        }
        let (own, digest) = (Arc::clone(self), *digest);
        let fetching = tokio::spawn(async move { own.fetch(digest, &place).await });
        let stopping = |_| NoBlob::Later("the controller is stopping".to_owned());
        fetching.await.map_err(stopping)?
    }

    async fn fetch(&self, digest: Digest, place: &Place) -> Result<(), NoBlob> {
        let turn = Arc::clone(self.known().turns.entry(digest).or_default());
        let _turn = turn.lock().await;
        let fetched = self.fetch_in_turn(digest, place).await;
        self.known().turns.remove(&digest);
        fetched.map_err(|miss| {
            if miss.may_pass {
                NoBlob::Later(miss.why)
            } else {
                NoBlob::Refused(miss.why)
            }
        })
    }

    async fn fetch_in_turn(&self, digest: Digest, place: &Place) -> Result<(), Miss> {
        // Whoever had the turn before may have brought it.
        if self.cache.has(&digest, place.size) {
            return Ok(());
        }
        let secret = place.secret.as_deref();
        let registry = self.registry(&place.reference, secret).await?;
        let layout = self.cache.layout().map_err(Miss::lasting)?;
        self.cache.make_room(place.size);
        let wanted = (digest, place.size);
        let fetch = || registry.fetch(&place.reference, wanted, &layout, &());
        let fetched = match fetch().await {
            Err(error) if error.fault().is_disk_full() && self.cache.clear(place.size) => {
                fetch().await
            }
            fetched => fetched,
        };
        let travelled = fetched?;
        self.cache.note(&digest, place.size);
        tracing::info!(
            "module {digest} came from {}: {travelled} bytes",
            place.reference
        );
        Ok(())
    }
}

/// Why something could not be had.
#[derive(Debug)]
struct Miss {
    why: String,
    may_pass: bool,
}

fn late(reference: &RegistryReference) -> Miss {
    let seconds = LOOK_TIME.as_secs();
    Miss {
        why: format!("{reference}: the registry did not answer within {seconds} s"),
        may_pass: true,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("secret `{0}`: {1}")]
struct Named(String, placet_package::registry::AccessError);

impl Miss {
    /// Something that a person has to do something about.
    fn lasting(error: impl std::error::Error + 'static) -> Self {
        Self {
            why: unresolved(&error).why().to_owned(),
            may_pass: false,
        }
    }
}

impl From<RegistryError> for Miss {
    fn from(error: RegistryError) -> Self {
        let fault = error.fault();
        Self {
            may_pass: fault.may_pass() || fault.is_disk_full(),
            why: unresolved(&error).why().to_owned(),
        }
    }
}
