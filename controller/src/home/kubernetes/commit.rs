//! Writing: what one turn of the fleet's loop brings about, in an order that a successor can read.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::stream;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use placet_crds::{API_VERSION, Fault, Object};
use serde_json::{Value, json};

use super::client::{Answer, classify};
use super::{Kubernetes, MANAGED_LABEL, MANAGER, PERSON, SOURCE_LABEL, stored};
use crate::home::{Applied, Committed, HomeError, Owner, Refused, Write, Written};

/// Requests that are under way at once: enough to keep an API server busy, few enough to leave it
/// to others too.
const AT_ONCE: usize = 32;

/// A status that others write to at the same time is written this often before the next turn has
/// to see to it.
const ATTEMPTS: usize = 8;

/// One object, by kind and name.
type Key<'a> = (&'static str, &'a str);

/// What came of one write.
enum Outcome {
    Written(Written),
    Nothing,
    Refused(Refused),
}

impl Kubernetes {
    pub(in crate::home) fn commit(&self, writes: &[Write]) -> Result<Committed, HomeError> {
        if !self.0.term.is_held() {
            return Err(HomeError::Deposed);
        }
        if writes.is_empty() {
            return Ok(Committed::default());
        }
        let committed = self.wait(self.commit_all(writes))?;
        for write in writes {
            if let Write::Event {
                name,
                rollout,
                data,
            } = write
            {
                self.0.history.append(name, rollout, data);
            }
        }
        Ok(committed)
    }

    async fn commit_all(&self, writes: &[Write]) -> Result<Committed, HomeError> {
        let mut committed = Committed::default();
        let mut objects = BTreeMap::<Key, &Write>::new();
        let mut statuses = BTreeMap::<Key, &Value>::new();
        for write in writes {
            match write {
                Write::Put { object, .. } => {
                    objects.insert((object.kind(), object.name()), write);
                }
                Write::Remove { kind, name } => {
                    objects.insert((kind, name), write);
                    statuses.remove(&(*kind, name.as_str()));
                }
                Write::Status { kind, name, status } => {
                    statuses.insert((kind, name), status);
                }
                Write::Event { .. } => {}
            }
        }
        let puts = objects.into_values().map(|write| self.write_object(write));
        gather(puts, &mut committed).await?;
        // What nodes said is durable before anything that follows from it.
        let (nodes, others): (Vec<_>, Vec<_>) = statuses
            .into_iter()
            .partition(|((kind, _), _)| *kind == "FleetNode");
        for part in [nodes, others] {
            let part = part.into_iter();
            let part = part.map(|((kind, name), status)| self.write_latest(kind, name, status));
            gather(part, &mut committed).await?;
        }
        Ok(committed)
    }

    async fn write_object(&self, write: &Write) -> Result<Outcome, HomeError> {
        match write {
            Write::Put { object, owner } => self.put(object, owner).await,
            Write::Remove { kind, name } => self.remove(kind, name).await.map(|_| Outcome::Nothing),
            Write::Status { .. } | Write::Event { .. } => Ok(Outcome::Nothing),
        }
    }

    async fn put(&self, object: &Object, owner: &Owner) -> Result<Outcome, HomeError> {
        let (kind, name) = (object.kind(), object.name());
        match self.patch(object, owner, None).await {
            Ok(version) => Ok(Outcome::Written(Written {
                kind,
                name: name.to_owned(),
                version,
                over: None,
            })),
            Err(error) => refused(error, kind, name, Some(owner)),
        }
    }

    /// Applies an object; returns the version that it has then.
    async fn patch(
        &self,
        object: &Object,
        owner: &Owner,
        expected: Option<&str>,
    ) -> Result<u64, HomeError> {
        let (kind, name) = (object.kind(), object.name());
        let body = Patch::Apply(body(object, owner, expected));
        let by = PatchParams::apply(manager(owner)).force();
        let api = self.0.api(kind);
        let applied = self
            .request("apply a resource", || api.patch(name, &by, &body))
            .await?;
        let version = stored::version(&applied);
        // What became of it together with what others wrote is for the watch to tell.
        if self.0.note(kind, name, |known| known.heard(version)) {
            self.0.announce(kind, name, version, false);
        }
        Ok(version)
    }

    /// Applies one object by itself, and says what became of it.
    pub(super) async fn apply_one(
        &self,
        object: &Object,
        owner: &Owner,
    ) -> Result<Applied, HomeError> {
        let (kind, name) = (object.kind(), object.name());
        let before = self.read(kind, name).await?;
        if let (Some(before), Owner::Git { source }) = (&before, owner)
            && let Owner::Git { source: other } = &before.owner
            && other != source
        {
            return Err(HomeError::OwnedElsewhere {
                kind: kind.to_owned(),
                name: name.to_owned(),
                owner: other.clone(),
            });
        }
        let expected = object.metadata().resource_version.as_deref();
        let after = match self.patch(object, owner, expected).await {
            Err(HomeError::Api { what, source }) => {
                return Err(match classify(&source) {
                    Answer::Conflict => {
                        let expected = expected.and_then(|it| it.parse().ok());
                        conflict(kind, name, expected, before.map(|it| it.resource_version))
                    }
                    Answer::Refused(why) => HomeError::Refused {
                        faults: vec![fault(object, why)],
                    },
                    Answer::NotFound | Answer::Transient => HomeError::Api { what, source },
                });
            }
            after => after?,
        };
        Ok(match before {
            None => Applied::Created,
            Some(before) if before.resource_version == after => Applied::Unchanged,
            Some(_) => Applied::Configured,
        })
    }

    /// Writes a status over the newest version, whoever wrote that; what others wrote is told by
    /// the watch, before or after.
    async fn write_latest(
        &self,
        kind: &'static str,
        name: &str,
        status: &Value,
    ) -> Result<Outcome, HomeError> {
        for _ in 0..ATTEMPTS {
            let expected = self.0.known(kind, name);
            match self.write_status(kind, name, expected, status).await {
                Ok(version) => {
                    let name = name.to_owned();
                    let written = expected.map(|over| Written {
                        kind,
                        name,
                        version,
                        over: Some(over),
                    });
                    return Ok(written.map_or(Outcome::Nothing, Outcome::Written));
                }
                // It is gone: the watch tells, and there is nothing to know of it any more.
                Err(HomeError::NotFound { .. }) => return Ok(Outcome::Nothing),
                Err(HomeError::Conflict { found, .. }) => {
                    self.0.note(kind, name, |known| known.heard(found));
                }
                Err(error) => return refused(error, kind, name, None),
            }
        }
        tracing::warn!("{kind} `{name}` changes all the time; its status is written later");
        Ok(Outcome::Nothing)
    }

    pub(super) async fn write_status(
        &self,
        kind: &'static str,
        name: &str,
        expected: Option<u64>,
        status: &Value,
    ) -> Result<u64, HomeError> {
        let mut body = json!({
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": { "name": name },
            "status": status,
        });
        if let Some(expected) = expected {
            body["metadata"]["resourceVersion"] = expected.to_string().into();
        }
        let body = Patch::Apply(body);
        let by = PatchParams::apply(MANAGER).force();
        let api = self.0.api(kind);
        let written = self
            .request("write a status", || api.patch_status(name, &by, &body))
            .await;
        let source = match written {
            Ok(written) => return Ok(self.wrote(kind, name, expected, &written)),
            Err(HomeError::Api { source, .. }) => source,
            Err(error) => return Err(error),
        };
        let not_found = || HomeError::NotFound {
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        match classify(&source) {
            Answer::NotFound => Err(not_found()),
            Answer::Conflict => {
                let found = self.read(kind, name).await?.ok_or_else(not_found)?;
                let found = Some(found.resource_version);
                Err(conflict(kind, name, expected, found))
            }
            _ => Err(HomeError::Api {
                what: "write a status",
                source,
            }),
        }
    }

    fn wrote(
        &self,
        kind: &'static str,
        name: &str,
        over: Option<u64>,
        object: &DynamicObject,
    ) -> u64 {
        let version = stored::version(object);
        if self
            .0
            .note(kind, name, |known| known.wrote_status(over, version))
        {
            self.0.announce(kind, name, version, false);
        }
        version
    }

    pub(super) async fn remove(&self, kind: &'static str, name: &str) -> Result<bool, HomeError> {
        // Whoever made another of this name meanwhile keeps it.
        let Some(found) = self.read(kind, name).await? else {
            return Ok(false);
        };
        let exactly = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(found.uid),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let api = self.0.api(kind);
        let deleted = self
            .request("delete a resource", || api.delete(name, &exactly))
            .await;
        match deleted {
            Ok(_) => Ok(true),
            Err(HomeError::Api { source, .. })
                if matches!(classify(&source), Answer::NotFound | Answer::Conflict) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Many writes at once; the first error that ends everything ends them.
async fn gather<F>(
    writes: impl Iterator<Item = F>,
    committed: &mut Committed,
) -> Result<(), HomeError>
where
    F: Future<Output = Result<Outcome, HomeError>>,
{
    let mut outcomes = stream::iter(writes).buffer_unordered(AT_ONCE);
    while let Some(outcome) = outcomes.next().await {
        match outcome? {
            Outcome::Written(written) => committed.written.push(written),
            Outcome::Refused(refused) => committed.refused.push(refused),
            Outcome::Nothing => {}
        }
    }
    Ok(())
}

/// A refusal that concerns one object is no reason to stop; anything else is.
fn refused(
    error: HomeError,
    kind: &'static str,
    name: &str,
    owner: Option<&Owner>,
) -> Result<Outcome, HomeError> {
    let HomeError::Api { source, .. } = &error else {
        return Err(error);
    };
    let why = match classify(source) {
        Answer::Refused(why) => why,
        Answer::Conflict => "it is being changed by somebody else".to_owned(),
        Answer::NotFound => "the API server does not know its kind".to_owned(),
        Answer::Transient => return Err(error),
    };
    Ok(Outcome::Refused(Refused {
        kind,
        name: name.to_owned(),
        owner: owner.cloned(),
        why,
    }))
}

fn conflict(kind: &str, name: &str, expected: Option<u64>, found: Option<u64>) -> HomeError {
    HomeError::Conflict {
        kind: kind.to_owned(),
        name: name.to_owned(),
        expected: expected.unwrap_or_default(),
        found: found.unwrap_or_default(),
    }
}

/// The API server names the field in its own words.
fn fault(object: &Object, message: String) -> Fault {
    Fault {
        file: format!("{}/{}", object.kind(), object.name()),
        line: None,
        column: None,
        field: String::new(),
        message,
    }
}

fn manager(owner: &Owner) -> &'static str {
    match owner {
        Owner::Person { .. } => PERSON,
        Owner::Git { .. } | Owner::Controller => MANAGER,
    }
}

/// What a person applies: never more than what is declared, so that others keep what is theirs.
pub fn declared(object: &Object) -> Value {
    let owner = Owner::Person {
        user: String::new(),
    };
    let expected = object.metadata().resource_version.as_deref();
    body(object, &owner, expected)
}

fn body(object: &Object, owner: &Owner, expected: Option<&str>) -> Value {
    let declared = object.metadata();
    let mut labels = declared.labels.clone().unwrap_or_default();
    match owner {
        Owner::Git { source } => {
            labels.insert(SOURCE_LABEL.to_owned(), source.clone());
        }
        Owner::Controller => {
            labels.insert(MANAGED_LABEL.to_owned(), "controller".to_owned());
        }
        Owner::Person { .. } => {}
    }
    let mut metadata = json!({ "name": object.name() });
    // To the API server a map that is empty differs from none: it would write every time.
    if !labels.is_empty() {
        metadata["labels"] = json!(labels);
    }
    if let Some(annotations) = declared.annotations.as_ref().filter(|all| !all.is_empty()) {
        metadata["annotations"] = json!(annotations);
    }
    if let Some(expected) = expected {
        metadata["resourceVersion"] = expected.into();
    }
    json!({
        "apiVersion": API_VERSION,
        "kind": object.kind(),
        "metadata": metadata,
        "spec": object.spec(),
    })
}
