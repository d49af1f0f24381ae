//! What of the feed becomes an Event, and in which words.

use std::collections::BTreeMap;

use placet_crds::Reason;
use placet_model::{Answer, VoteRecord, visible};
use serde_json::Value;

use crate::home::StoredEvent;

/// What an Event says, about what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Note {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) reason: Reason,
    pub(super) is_warning: bool,
    /// What happened, in the feed's word.
    pub(super) action: String,
    pub(super) text: String,
}

/// Events about single nodes in one roll-out; the nodes' status has the others.
const NODES_MOST: usize = 20;

/// Changes of a plan that a note tells.
const CHANGES_MOST: usize = 20;

/// Roll-outs of which it is remembered how many nodes were told of.
const ROLLOUTS_MOST: usize = 100;

/// An API server takes 1,024 bytes.
const TEXT_MOST: usize = 1_000;

/// How many nodes were told of, by roll-out.
#[derive(Debug, Default)]
pub(super) struct Samples(BTreeMap<String, usize>);

impl Samples {
    /// True if one more node of a roll-out may be told of.
    fn take(&mut self, rollout: &str) -> bool {
        if self.0.len() >= ROLLOUTS_MOST && !self.0.contains_key(rollout) {
            self.0.clear();
        }
        let count = self.0.entry(rollout.to_owned()).or_default();
        *count += 1;
        *count <= NODES_MOST
    }
}

/// The Event for one of the feed's, if it is one that people look for.
pub(super) fn note(event: &StoredEvent, samples: &mut Samples) -> Option<Note> {
    of_rollout(event)
        .or_else(|| of_source(event))
        .or_else(|| of_node(event, samples))
}

/// What concerns a roll-out as a whole.
fn of_rollout(event: &StoredEvent) -> Option<Note> {
    let data = &event.data;
    let (reason, is_warning, said) = match event.event.as_str() {
        "plan" if has_any(&data["problems"]) => (Reason::Blocked, true, lines(&data["problems"])),
        "plan" => (Reason::Proposing, false, plan(data)),
        "held" => {
            let text = format!("hold {}: {}", data["hold"], lines(&data["vetoes"]));
            (Reason::Held, true, text)
        }
        "decision" => {
            let reason = match data["kind"].as_str() {
                Some("abort") => Reason::Aborted,
                _ => Reason::Progressing,
            };
            let (author, kind) = (text(&data["author"]), text(&data["kind"]));
            let said = format!("{author} decided: {kind} ({})", text(&data["reason"]));
            (reason, false, said)
        }
        "decisionRefused" => (Reason::Held, true, text(&data["reason"])),
        "activating" => (Reason::Activating, false, nodes(&data["nodes"])),
        "verified" => {
            let said = format!("{} runs everywhere it should", text(&data["revision"]));
            (Reason::Succeeded, false, said)
        }
        "dryRun" => {
            let is_clean = data["clean"] == true;
            let reason = if is_clean {
                Reason::Succeeded
            } else {
                Reason::Objected
            };
            (reason, !is_clean, text(&data["said"]))
        }
        "aborted" => (Reason::Aborted, false, "given up".to_owned()),
        "superseded" => {
            let said = format!("superseded by {}", text(&data["by"]));
            (Reason::Superseded, false, said)
        }
        _ => return None,
    };
    Some(about(
        ("Rollout", &data["rollout"]),
        (reason, is_warning),
        event,
        said,
    ))
}

/// What a repository declares, and what others make of it.
fn of_source(event: &StoredEvent) -> Option<Note> {
    let data = &event.data;
    let (reason, is_warning, said) = match event.event.as_str() {
        "commit" => {
            let said = format!("{}: {}", text(&data["revision"]), text(&data["subject"]));
            (Reason::Progressing, false, said)
        }
        "refused" => (Reason::InvalidDeclarations, true, lines(&data["reasons"])),
        "drift" => (Reason::OutOfDate, true, lines(&data["resources"])),
        "driftCorrected" => {
            let said = format!("put right: {}", lines(&data["resources"]));
            (Reason::OutOfDate, false, said)
        }
        _ => return None,
    };
    Some(about(
        ("GitSource", &data["source"]),
        (reason, is_warning),
        event,
        said,
    ))
}

/// A node that objects or fails.
fn of_node(event: &StoredEvent, samples: &mut Samples) -> Option<Note> {
    let data = &event.data;
    let (reason, said) = match event.event.as_str() {
        "verdict" => (Reason::Held, objections(data)?),
        "failed" => (Reason::ChangeFailed, text(&data["reason"])),
        "testsFailed" => (Reason::TestsFailed, lines(&data["failures"])),
        _ => return None,
    };
    let node = ("FleetNode", &data["node"]);
    samples
        .take(&event.rollout)
        .then(|| about(node, (reason, true), event, said))
}

fn about(
    (kind, name): (&'static str, &Value),
    (reason, is_warning): (Reason, bool),
    event: &StoredEvent,
    text: String,
) -> Note {
    Note {
        kind,
        name: name.as_str().unwrap_or_default().to_owned(),
        reason,
        is_warning,
        action: event.event.clone(),
        text: bounded(text),
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > TEXT_MOST {
        text.truncate(text.floor_char_boundary(TEXT_MOST));
        text.push('…');
    }
    text
}

/// The objections of a verdict in their own words; none where nobody objects.
fn objections(data: &Value) -> Option<String> {
    let records = data["records"].as_array()?.iter();
    let records = records.filter_map(|it| serde_json::from_value::<VoteRecord>(it.clone()).ok());
    let objections: Vec<String> = records
        .filter(|record| record.answer != Answer::Accept)
        .map(|record| record.to_string())
        .collect();
    (!objections.is_empty()).then(|| objections.join("\n"))
}

/// What would happen to which process of which nodes, and why, as far as there is room.
fn plan(data: &Value) -> String {
    let changes = data["changes"].as_array().map_or(&[][..], Vec::as_slice);
    let lists = changes.iter().filter_map(|it| it["nodes"].as_array());
    let mut said = vec![format!(
        "{}: {} nodes change",
        text(&data["revision"]),
        lists.map(Vec::len).sum::<usize>()
    )];
    for change in changes.iter().take(CHANGES_MOST) {
        for process in change["processes"].as_array().into_iter().flatten() {
            let because = process["because"].as_array().into_iter().flatten();
            let because: Vec<String> = because.map(text).collect();
            said.push(format!(
                "{}: {} {}: {}",
                nodes(&change["nodes"]),
                text(&process["action"]),
                text(&process["name"]),
                because.join(", ")
            ));
        }
    }
    said.join("\n")
}

fn nodes(value: &Value) -> String {
    let all = value.as_array().map_or(&[][..], Vec::as_slice);
    placet_model::few(all.iter().map(text), NODES_MOST)
}

fn lines(value: &Value) -> String {
    let all = value.as_array().into_iter().flatten();
    all.map(text).collect::<Vec<_>>().join("\n")
}

fn has_any(value: &Value) -> bool {
    value.as_array().is_some_and(|all| !all.is_empty())
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), |text| visible(text).to_string())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use placet_crds::Reason;
    use serde_json::{Value, json};

    use super::{NODES_MOST, Samples, TEXT_MOST, note};
    use crate::home::StoredEvent;

    fn event(name: &str, data: Value) -> StoredEvent {
        StoredEvent {
            sequence: 1,
            time: Timestamp::UNIX_EPOCH,
            event: name.to_owned(),
            rollout: data["rollout"].as_str().unwrap_or_default().to_owned(),
            data,
        }
    }

    #[test]
    fn a_hold_is_told_with_its_vetoes() {
        let veto = "node core-1: chatd (412) non placet: 3 open sessions";
        let held = json!({ "rollout": "ro-2", "hold": 1, "vetoes": [veto] });
        let told = note(&event("held", held), &mut Samples::default()).unwrap();
        assert_eq!((told.kind, &*told.name), ("Rollout", "ro-2"));
        assert_eq!(told.reason, Reason::Held);
        assert!(told.is_warning && told.text.contains(veto));
    }

    #[test]
    fn of_ten_thousand_nodes_that_fail_a_few_are_told() {
        let mut samples = Samples::default();
        let told = |rollout: &str, samples: &mut Samples| -> usize {
            let fails = (0..10_000).map(|number| {
                let node = format!("node-{number}");
                event(
                    "failed",
                    json!({ "rollout": rollout, "node": node, "reason": "x" }),
                )
            });
            fails.filter_map(|it| note(&it, samples)).count()
        };
        assert_eq!(told("ro-1", &mut samples), NODES_MOST);
        assert_eq!(told("ro-2", &mut samples), NODES_MOST);
    }

    #[test]
    fn a_text_is_never_longer_than_an_api_server_takes() {
        let reasons = vec!["é".repeat(700); 100];
        let refused = json!({ "source": "fleet", "reasons": reasons });
        let told = note(&event("refused", refused), &mut Samples::default()).unwrap();
        assert!(told.text.len() <= TEXT_MOST + '…'.len_utf8());
    }

    #[test]
    fn who_accepts_is_not_told() {
        let verdict = json!({ "rollout": "ro-1", "node": "a", "verdict": "accept", "records": [] });
        assert!(note(&event("verdict", verdict), &mut Samples::default()).is_none());
    }
}
