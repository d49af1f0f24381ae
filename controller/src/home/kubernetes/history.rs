//! What happened lately. The lasting history stands in the roll-outs' status and in Kubernetes'
//! own Events.

use std::collections::VecDeque;
use std::sync::Mutex;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc};

use super::lock;
use crate::home::{EVENTS_AT_ONCE, StoredEvent, WATCH_BUFFER};

/// Events that are kept for whoever comes late.
const KEPT: usize = 10_000;

pub(super) struct History {
    kept: Mutex<Kept>,
    news: broadcast::Sender<StoredEvent>,
    publish: Option<mpsc::Sender<StoredEvent>>,
}

struct Kept {
    events: VecDeque<StoredEvent>,
    next: u64,
}

impl History {
    pub(super) fn new(publish: Option<mpsc::Sender<StoredEvent>>) -> Self {
        // Higher than any number of the controller that acted before.
        let now = Timestamp::now().as_microsecond();
        Self {
            kept: Mutex::new(Kept {
                events: VecDeque::new(),
                next: u64::try_from(now).unwrap_or_default(),
            }),
            news: broadcast::channel(WATCH_BUFFER).0,
            publish,
        }
    }

    pub(super) fn append(&self, name: &str, rollout: &str, data: &Value) {
        let mut kept = lock(&self.kept);
        let event = StoredEvent {
            sequence: kept.next,
            time: Timestamp::now(),
            event: name.to_owned(),
            rollout: rollout.to_owned(),
            data: data.clone(),
        };
        kept.next += 1;
        if kept.events.len() == KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(event.clone());
        if let Some(publish) = &self.publish {
            // Where the API server is slow, its Events are the first to go.
            let _ = publish.try_send(event.clone());
        }
        // That nobody listens is no failure.
        let _ = self.news.send(event);
    }

    pub(super) fn since(&self, since: u64, rollout: &str) -> Vec<StoredEvent> {
        let kept = lock(&self.kept);
        let wanted = |event: &&StoredEvent| {
            event.sequence > since && (rollout.is_empty() || event.rollout == rollout)
        };
        let wanted = kept.events.iter().filter(wanted);
        wanted.take(EVENTS_AT_ONCE as usize).cloned().collect()
    }

    pub(super) fn watch(&self) -> broadcast::Receiver<StoredEvent> {
        self.news.subscribe()
    }
}
