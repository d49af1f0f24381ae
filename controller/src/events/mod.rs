//! Events of Kubernetes: what people find in `kubectl describe` and `kubectl get events`.
//!
//! They say what the feed says, in the same words, and less of it: what concerns a roll-out or a
//! source as a whole, and of single nodes those that object or fail, a few in each roll-out. They
//! are written beside the fleet's loop. Where the API server is slow or away they are the first to
//! be lost: the lasting history stands in the status of the roll-outs.

mod note;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Error};
use placet_crds::{API_VERSION, find_kind};
use serde_json::json;
use tokio::sync::mpsc;

use self::note::{Note, Samples};
use crate::home::StoredEvent;
use crate::home::kubernetes::api;
use crate::leader::Term;

/// Who reports.
const REPORTER: &str = "placet.dev/controller";

/// Where Events about what has no namespace are kept.
const NAMESPACE: &str = "default";

/// What waits to be written; more is lost.
const WAITING: usize = 256;

/// The same text about the same object within this time is one Event with a count.
const SAME_FOR: SignedDuration = SignedDuration::from_mins(6);

/// Events that are remembered, to be counted.
const REMEMBERED: usize = 1_000;

/// An API server that has not answered by then loses an Event.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between one Event and the next: an API server gets 50 a second at most.
const PAUSE: Duration = Duration::from_millis(20);

/// Writes Events for one term of leadership: for whatever is sent, until nobody sends any more.
pub(crate) fn writer(client: &Client, identity: &str, term: Term) -> mpsc::Sender<StoredEvent> {
    let (sender, mut events) = mpsc::channel::<StoredEvent>(WAITING);
    let mut writer = Writer {
        events: Api::namespaced(client.clone(), NAMESPACE),
        client: client.clone(),
        identity: identity.to_owned(),
        written: BTreeMap::new(),
    };
    tokio::spawn(async move {
        let mut samples = Samples::default();
        while let Some(event) = events.recv().await {
            let Some(note) = note::note(&event, &mut samples) else {
                continue;
            };
            if !term.is_held() {
                return;
            }
            let written = tokio::time::timeout(PATIENCE, writer.write(note)).await;
            if let Ok(Err(error)) = written {
                tracing::debug!(%error, "an Event is lost");
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    sender
}

struct Writer {
    events: Api<Event>,
    client: Client,
    identity: String,
    written: BTreeMap<Note, Written>,
}

/// An Event that stands in the API server.
#[derive(Clone)]
struct Written {
    name: String,
    count: i32,
    last: Timestamp,
}

impl Writer {
    async fn write(&mut self, note: Note) -> Result<(), Error> {
        let now = Timestamp::now();
        self.written
            .retain(|_, written| now.duration_since(written.last) < SAME_FOR);
        if self.written.len() >= REMEMBERED {
            self.written.clear();
        }
        let before = self.written.get(&note).cloned();
        let counted = match before {
            Some(before) => self.count(before, now).await?,
            None => None,
        };
        let written = match counted {
            Some(written) => Some(written),
            None => self.create(&note, now).await?,
        };
        if let Some(written) = written {
            self.written.insert(note, written);
        }
        Ok(())
    }

    /// Counts an Event once more; none where the API server has forgotten it.
    async fn count(&self, before: Written, now: Timestamp) -> Result<Option<Written>, Error> {
        let count = before.count.saturating_add(1);
        let series = EventSeries {
            count,
            last_observed_time: MicroTime(now),
        };
        let patch = Patch::Merge(json!({ "series": series }));
        let by = PatchParams::default();
        match self.events.patch(&before.name, &by, &patch).await {
            Ok(_) => Ok(Some(Written {
                count,
                last: now,
                ..before
            })),
            Err(Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an Event; none where what it is about is gone.
    async fn create(&self, note: &Note, now: Timestamp) -> Result<Option<Written>, Error> {
        let Some(kind) = find_kind(note.kind) else {
            return Ok(None);
        };
        let about = api(&self.client, kind).get_metadata_opt(&note.name).await?;
        let Some(about) = about else { return Ok(None) };
        let name = format!("{}.{:x}", note.name, now.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            regarding: Some(ObjectReference {
                api_version: Some(API_VERSION.to_owned()),
                kind: Some(note.kind.to_owned()),
                name: Some(note.name.clone()),
                uid: about.metadata.uid,
                ..ObjectReference::default()
            }),
            type_: Some(if note.is_warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(format!("{:?}", note.reason)),
            action: Some(note.action.clone()),
            note: Some(note.text.clone()),
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(REPORTER.to_owned()),
            reporting_instance: Some(self.identity.clone()),
            ..Event::default()
        };
        self.events.create(&PostParams::default(), &event).await?;
        Ok(Some(Written {
            name,
            count: 1,
            last: now,
        }))
    }
}
