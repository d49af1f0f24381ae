//! The controller's feed, followed through the whole story.

use std::time::Duration;

use anyhow::{Context as _, bail};
use placet_protocol::wire::WatchRequest;
use serde_json::Value;

use super::Pids;
use super::teller::Teller;
use crate::arguments::Common;
use crate::client;
use crate::events::Event;

/// Everything heard so far, and the stream that goes on.
pub(super) struct Feed {
    stream: tonic::Streaming<placet_protocol::wire::Event>,
    heard: Vec<Event>,
}

/// Longer than any step takes on a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

impl Feed {
    pub(super) async fn follow(common: &Common) -> anyhow::Result<Self> {
        let mut client = client::connect(common).await?;
        let stream = client::watch(&mut client, WatchRequest::default()).await?;
        Ok(Self {
            stream,
            heard: Vec::new(),
        })
    }

    /// Tells every event up to the first that is `wanted`, and returns that.
    pub(super) async fn until(
        &mut self,
        teller: &Teller,
        mut wanted: impl FnMut(&Event) -> bool,
    ) -> anyhow::Result<Event> {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.stream.message())
                .await
                .with_context(|| format!("nothing more happened for {} s", PATIENCE.as_secs()))?
                .context("the controller went away")?
                .map(Event::from)
                .context("the controller ended its feed")?;
            teller.news(&event);
            self.heard.push(event.clone());
            if event.name == "refused" {
                bail!("the declarations were refused: {}", event.text("reasons"));
            }
            if wanted(&event) {
                return Ok(event);
            }
        }
    }

    /// Tells everything up to the end of the roll-out of the commit `hash`.
    pub(super) async fn verified(&mut self, teller: &Teller, hash: &str) -> anyhow::Result<()> {
        let done =
            |event: &Event| event.name == "verified" && event.text("revision").ends_with(hash);
        self.until(teller, done).await.map(drop)
    }

    /// The roll-out heard of last.
    pub(super) fn last_rollout(&self) -> String {
        let with = |event: &&Event| event.data.contains_key("rollout");
        self.heard
            .iter()
            .rev()
            .find(with)
            .map(|event| event.text("rollout"))
            .unwrap_or_default()
    }

    /// True if any module travelled in the roll-out.
    pub(super) fn fetched_in(&self, rollout: &str) -> bool {
        self.heard
            .iter()
            .any(|event| event.name == "fetched" && event.text("rollout") == rollout)
    }

    /// The process ids that each node reported last.
    pub(super) fn pids(&self) -> Pids {
        let mut pids = Pids::new();
        for event in self.heard.iter().filter(|event| event.name == "processes") {
            let node = event.text("node");
            pids.retain(|(of, _), _| *of != node);
            for process in event
                .data
                .get("processes")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let name = crate::output::plain(&process["name"]);
                pids.insert(
                    (node.clone(), name),
                    process["pid"].as_u64().unwrap_or_default(),
                );
            }
        }
        pids
    }
}
