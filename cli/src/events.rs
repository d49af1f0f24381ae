//! The feed of events, told in lines.

use placet_protocol::wire;
use placet_protocol::wire::admin_client::AdminClient;
use serde_json::{Map, Value};
use tonic::transport::Channel;

use crate::client;
use crate::output::plain;

/// One event of the feed.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) sequence: u64,
    pub(crate) time: String,
    pub(crate) name: String,
    pub(crate) data: Map<String, Value>,
}

impl From<wire::Event> for Event {
    fn from(event: wire::Event) -> Self {
        Self {
            sequence: event.sequence,
            time: event.time,
            name: event.event,
            // What is not an object is shown by its name alone.
            data: serde_json::from_slice(&event.data_json).unwrap_or_default(),
        }
    }
}

impl Event {
    /// The event as one JSON object, `event` and `time` first among equals.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = self.data.clone();
        object.insert("event".to_owned(), self.name.clone().into());
        object.insert("time".to_owned(), self.time.clone().into());
        Value::Object(object)
    }

    /// The member `key` as text.
    pub(crate) fn text(&self, key: &str) -> String {
        self.data.get(key).map_or_else(String::new, plain)
    }

    /// True if the event is about `name`.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        ["node", "rollout", "source", "name"]
            .iter()
            .any(|key| self.text(key) == name)
    }

    /// True if the roll-out that the event is about is over with it.
    pub(crate) fn ends_rollout(&self) -> bool {
        match self.name.as_str() {
            "verified" | "superseded" | "aborted" => true,
            "decision" => self.text("kind") == "abort",
            _ => false,
        }
    }

    /// What happened, for people; one line or more.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = |key: &str| self.text(key);
        match self.name.as_str() {
            "nodesJoined" => vec![format!("nodes joined: {}", text("nodes"))],
            "commit" => vec![format!(
                "commit {}: {}",
                short(&text("revision")),
                text("subject")
            )],
            "plan" => self.plan_lines(),
            "verdict" => self.verdict_lines(),
            "held" => {
                let head = format!("{} is held (hold {}):", text("rollout"), text("hold"));
                std::iter::once(head)
                    .chain(self.list("vetoes").map(|veto| format!("  {veto}")))
                    .collect()
            }
            "decision" => vec![format!(
                "{} decided on {}: {} ({})",
                text("author"),
                text("rollout"),
                text("kind"),
                text("reason")
            )],
            "staging" => vec![format!("{}: nodes fetch what they lack", text("rollout"))],
            "fetched" => vec![format!(
                "{} fetched {} modules, {} bytes",
                text("node"),
                text("modules"),
                text("bytes")
            )],
            "processes" => vec![self.processes_line()],
            "failed" => vec![format!(
                "{} gave the change back: {}",
                text("node"),
                text("reason")
            )],
            "verified" => vec![format!(
                "{}: {} runs everywhere it should",
                text("rollout"),
                short(&text("revision"))
            )],
            "superseded" => vec![format!("{} was superseded", text("rollout"))],
            "refused" => std::iter::once(format!("{} was refused:", text("source")))
                .chain(self.list("reasons").map(|reason| format!("  {reason}")))
                .collect(),
            other => vec![format!("{other} {}", Value::Object(self.data.clone()))],
        }
    }

    fn list(&self, key: &str) -> impl Iterator<Item = String> {
        self.data
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(plain)
    }

    fn plan_lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} plans {}",
            self.text("rollout"),
            short(&self.text("revision"))
        )];
        for node in self
            .data
            .get("nodes")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let modules = node["modules"].as_array().map_or(0, Vec::len);
            lines.push(format!("  {}: {modules} modules", plain(&node["node"])));
            for process in node["processes"].as_array().into_iter().flatten() {
                lines.push(format!(
                    "    {} {}: {}",
                    plain(&process["action"]),
                    plain(&process["name"]),
                    plain(&process["because"])
                ));
            }
        }
        lines.extend(
            self.list("problems")
                .map(|problem| format!("  problem: {problem}")),
        );
        lines.extend(self.list("notes").map(|note| format!("  note: {note}")));
        lines
    }

    fn verdict_lines(&self) -> Vec<String> {
        let node = self.text("node");
        let mut lines = vec![format!("node {node}: {}", self.text("verdict"))];
        for record in self
            .data
            .get("records")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if let Ok(record) = serde_json::from_value::<placet_model::VoteRecord>(record.clone()) {
                lines.push(format!("  {record}"));
            }
        }
        lines
    }

    fn processes_line(&self) -> String {
        let processes: Vec<_> = self
            .data
            .get("processes")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|process| format!("{} ({})", plain(&process["name"]), plain(&process["pid"])))
            .collect();
        format!(
            "{} runs generation {}: {}",
            self.text("node"),
            self.text("generation"),
            processes.join(", ")
        )
    }
}

/// A revision as people say it: `main@1a2b3c4d5e`.
pub(crate) fn short(revision: &str) -> String {
    match revision.rsplit_once(':') {
        Some((prefix, hash)) => {
            let name = prefix.trim_end_matches("sha1").trim_end_matches("sha256");
            format!("{name}{}", hash.get(..10).unwrap_or(hash))
        }
        None => revision.to_owned(),
    }
}

/// The events that the controller keeps, oldest first.
pub(crate) async fn kept(
    client: &mut AdminClient<Channel>,
    rollout: &str,
) -> anyhow::Result<Vec<Event>> {
    let mut stream = client::watch(
        client,
        wire::WatchRequest {
            since: 0,
            rollout: rollout.to_owned(),
            kept_only: true,
        },
    )
    .await?;
    let mut events = Vec::new();
    while let Some(event) = stream
        .message()
        .await
        .map_err(|status| client::refusal(&status))?
    {
        events.push(event.into());
    }
    Ok(events)
}
