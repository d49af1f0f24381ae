//! The feed of events, told in lines.

use placet_protocol::wire;
use placet_protocol::wire::admin_client::AdminClient;
use serde_json::{Map, Value};
use tonic::transport::Channel;

use crate::client;
use crate::output::{plain, short};

/// Names of a list that are shown.
const NAMES_MOST: usize = 12;

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
            "verified" | "superseded" | "aborted" | "dryRun" => true,
            "decision" => self.text("kind") == "abort",
            _ => false,
        }
    }

    /// What happened, for people: no line for what says nothing to them, or several.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self.name.as_str() {
            "plan" => self.plan_lines(),
            "verdict" => self.verdict_lines(),
            "held" => {
                let head = format!(
                    "{} is held (hold {}):",
                    self.text("rollout"),
                    self.text("hold")
                );
                self.headed(head, "vetoes")
            }
            "refused" => self.headed(format!("{} was refused:", self.text("source")), "reasons"),
            "nodeDrift" => self.headed(format!("{} has drifted:", self.text("node")), "drifts"),
            "testsFailed" => {
                let (suite, node) = (self.text("suite"), self.text("node"));
                self.headed(format!("tests of {suite} failed on {node}:"), "failures")
            }
            "processes" => self.processes_line().into_iter().collect(),
            _ => wrapped(&self.line(), 2),
        }
    }

    fn line(&self) -> String {
        let text = |key: &str| self.text(key);
        let (rollout, node) = (text("rollout"), text("node"));
        match self.name.as_str() {
            "nodesJoined" => format!("nodes joined: {}", self.nodes()),
            "nodeRefused" => format!("{node} was refused: {}", text("reason")),
            "nodeLost" => format!("{node} has no connection"),
            "booted" => self.booted_line(),
            "renewed" => format!("{node} renewed its certificate"),
            "commit" => format!("commit {}: {}", short(&text("revision")), text("subject")),
            "tally" => self.tally_line(),
            "decision" => {
                let (author, kind) = (text("author"), text("kind"));
                format!("{author} decided on {rollout}: {kind} ({})", text("reason"))
            }
            "staging" => format!("{rollout}: {} fetch what they lack", self.nodes()),
            "activating" => format!("{rollout}: {} change", self.nodes()),
            "fetched" => {
                let modules = self
                    .data
                    .get("modules")
                    .and_then(Value::as_u64)
                    .unwrap_or_default();
                let modules = count(usize::try_from(modules).unwrap_or_default(), "module");
                format!("{node} fetched {modules}, {} bytes", text("bytes"))
            }
            "phase" => {
                let reason = text("reason");
                let reason = if reason.is_empty() {
                    reason
                } else {
                    format!(": {reason}")
                };
                format!("{rollout}: {}{reason}", text("phase"))
            }
            "failed" => format!("{node} failed: {}", text("reason")),
            "testsPassed" => format!("the tests of {} passed on {node}", text("suite")),
            "verified" => {
                format!(
                    "{rollout}: {} runs everywhere it should",
                    short(&text("revision"))
                )
            }
            "superseded" => format!("{rollout} was superseded by {}", short(&text("by"))),
            "aborted" => format!("{rollout} was given up"),
            "dryRun" => format!("{rollout}: {}", text("said")),
            other => format!("{other} {}", Value::Object(self.data.clone())),
        }
    }

    fn headed(&self, head: String, key: &str) -> Vec<String> {
        let items = self
            .list(key)
            .flat_map(|item| wrapped(&format!("  {item}"), 4));
        std::iter::once(head).chain(items).collect()
    }

    fn booted_line(&self) -> String {
        let text = |key: &str| self.text(key);
        let node = text("node");
        if text("answer") == "Continue" {
            return format!("{node} has started and has what it is to run");
        }
        let (modules, bytes) = (text("modules"), text("bytes"));
        format!(
            "{node} has started and lacks {modules} modules ({bytes} bytes) of what it is to run"
        )
    }

    fn tally_line(&self) -> String {
        let number = |key| {
            self.data
                .get(key)
                .and_then(Value::as_f64)
                .unwrap_or_default()
        };
        let (rollout, accepts) = (self.text("rollout"), number("accepts"));
        let (objections, milliseconds) = (number("objections"), number("milliseconds"));
        format!(
            "{rollout}: {accepts} accept, {objections} object, {milliseconds:.0} ms after the commit was heard of"
        )
    }

    fn members(&self, key: &str) -> impl Iterator<Item = &Value> {
        let list = self.data.get(key).and_then(Value::as_array);
        list.into_iter().flatten()
    }

    fn list(&self, key: &str) -> impl Iterator<Item = String> {
        self.members(key).map(plain)
    }

    fn nodes(&self) -> String {
        self.data.get("nodes").map_or_else(String::new, some)
    }

    fn plan_lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} plans {}",
            self.text("rollout"),
            short(&self.text("revision"))
        )];
        for change in self.members("changes") {
            let modules = count(change["modules"].as_array().map_or(0, Vec::len), "module");
            let head = format!("  {}: {modules}", some(&change["nodes"]));
            lines.extend(wrapped(&head, 4));
            if let Some(restart) = change.get("restart") {
                lines.extend(wrapped(&format!("    {}", plain(restart)), 6));
            }
            for process in change["processes"].as_array().into_iter().flatten() {
                let text = format!(
                    "    {} {}: {}",
                    plain(&process["action"]),
                    plain(&process["name"]),
                    plain(&process["because"])
                );
                lines.extend(wrapped(&text, 6));
                for transfer in process["handover"].as_array().into_iter().flatten() {
                    lines.extend(wrapped(&format!("      {}", plain(transfer)), 8));
                }
            }
        }
        for (key, title) in [("problems", "problem"), ("notes", "note")] {
            let texts = self.list(key).map(|text| format!("  {title}: {text}"));
            lines.extend(texts.flat_map(|text| wrapped(&text, 4)));
        }
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

    fn processes_line(&self) -> Option<String> {
        let processes: Vec<_> = self
            .members("processes")
            .map(|process| format!("{} ({})", plain(&process["name"]), plain(&process["pid"])))
            .collect();
        let (node, generation) = (self.text("node"), self.text("generation"));
        (!processes.is_empty()).then(|| {
            format!(
                "{node} runs generation {generation}: {}",
                processes.join(", ")
            )
        })
    }
}

/// As many of a list as people read, and how many more there are.
fn some(list: &Value) -> String {
    let all = list.as_array().map_or(&[][..], Vec::as_slice);
    placet_model::few(all.iter().map(plain), NAMES_MOST)
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// A text in lines, those after the first indented.
pub(crate) fn wrapped(text: &str, indent: usize) -> Vec<String> {
    let text = placet_model::wrapped(text, indent).to_string();
    text.lines().map(str::to_owned).collect()
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
