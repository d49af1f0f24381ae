//! What people order for single nodes, past all declarations (C-R1, C-D2).

use placet_crds::{NodeAction, NodeOrder};
use placet_model::{NodeName, visible};
use placet_planner::{Presence, Running};
use placet_protocol::wire::to_node::Order as Wire;
use placet_protocol::wire::{Forget, Regress};
use serde::Deserialize;
use serde_json::json;

use super::news::Instruction;
use super::refusal::Refusal;
use super::suites;
use super::turn::Turn;
use super::world::World;

/// Longer reasons are refused.
const REASON_MOST: usize = 1_000;

/// Who ordered it stands in the audit log of the API server, and nowhere in the object.
const ANNOTATOR: &str = "somebody at the API server";

/// An order as an annotation says it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Annotated {
    #[serde(rename = "do")]
    action: NodeAction,
    #[serde(default)]
    reason: String,
    /// Tells two orders of the same words from each other.
    #[serde(default, rename = "at")]
    _at: String,
}

impl World {
    /// Does what a person orders for one node; says what comes of it.
    pub(super) fn order_node(
        &mut self,
        name: &NodeName,
        instruction: Instruction,
        turn: &mut Turn,
    ) -> Result<String, Refusal> {
        let Instruction {
            action,
            author,
            reason,
        } = instruction;
        if reason.len() > REASON_MOST {
            let why = format!("a reason has at most {REASON_MOST} bytes");
            return Err(Refusal::malformed(why));
        }
        let reason = visible(&reason).to_string();
        let outcome = match action {
            NodeAction::Commit => self.commit_test(name)?,
            NodeAction::Regress => self.regress(name, (&author, &reason), turn)?,
            NodeAction::Retry => self.retry(name, turn)?,
        };
        turn.tell(
            "nodeOrder",
            json!({ "node": name, "do": action, "author": author, "reason": reason, "outcome": outcome }),
        );
        self.note_order(
            name,
            NodeOrder {
                action,
                time: turn.now,
                author,
                reason,
                outcome: outcome.clone(),
                request: None,
            },
        );
        Ok(outcome)
    }

    fn note_order(&mut self, name: &NodeName, order: NodeOrder) {
        self.touched.insert(name.clone());
        if let Some(node) = self.nodes.get_mut(name) {
            node.last_order = Some(order);
        }
    }

    /// What runs in test mode is to stay.
    fn commit_test(&mut self, name: &NodeName) -> Result<String, Refusal> {
        let wanted = self.target.as_ref().and_then(|it| it.nodes.get(name));
        let wanted = wanted.map(|wanted| wanted.manifest_digest);
        let node = self.connected(name)?;
        let runs = node.seen.running.as_ref().map(Running::digest);
        if node.seen.stored.is_none() {
            let why = format!("node {name} runs what it has stored: there is nothing to commit");
            return Err(Refusal::untimely(why));
        }
        if runs != wanted {
            let why = format!(
                "node {name} does not run what it is to run by what is declared: that has to come first"
            );
            return Err(Refusal::untimely(why));
        }
        if let Some(why) = suites::not_passed(&node.suites) {
            let why = format!("what node {name} runs in test mode is not stored: {why}");
            return Err(Refusal::untimely(why));
        }
        node.seen.kept = runs;
        Ok("what runs in test mode is stored and stays".to_owned())
    }

    fn regress(
        &mut self,
        name: &NodeName,
        (author, reason): (&str, &str),
        turn: &mut Turn,
    ) -> Result<String, Refusal> {
        let node = self.connected(name)?;
        if node.seen.changing {
            let why = format!("node {name} is changing just now: wait until that has ended");
            return Err(Refusal::untimely(why));
        }
        node.seen.kept = None;
        let separator = if reason.is_empty() { "" } else { ": " };
        let reason = format!("given back by order of {author}{separator}{reason}");
        let order = Wire::Regress(Regress { reason });
        turn.node_orders.push((name.clone(), order));
        Ok("the node is told to go back to what it ran before".to_owned())
    }

    /// What failed may be tried again: the node forgets, and its part in the roll-out begins anew.
    fn retry(&mut self, name: &NodeName, turn: &mut Turn) -> Result<String, Refusal> {
        let node = self.connected(name)?;
        let mut failed = std::mem::take(&mut node.seen.failed);
        // A node that is to try again what it runs has the tests of it run anew.
        let runs = node.seen.running.as_ref().map(Running::digest);
        failed.extend(runs.filter(|_| suites::failure(&node.suites).is_some()));
        if failed.is_empty() {
            let why = format!("nothing has failed on node {name} that is not tried again");
            return Err(Refusal::untimely(why));
        }
        node.rollout = None;
        let count = failed.len();
        for digest in failed {
            let manifest_digest = digest.to_string();
            let order = Wire::Forget(Forget { manifest_digest });
            turn.node_orders.push((name.clone(), order));
        }
        if let Some(rollout) = &mut self.rollout {
            rollout.nodes.remove(name);
        }
        Ok(match count {
            1 => "what failed there may be tried again".to_owned(),
            count => format!("{count} manifests that failed there may be tried again"),
        })
    }

    fn connected(&mut self, name: &NodeName) -> Result<&mut super::world::Node, Refusal> {
        let node = self.nodes.get_mut(name);
        let node = node.ok_or_else(|| Refusal::absent(format!("there is no node `{name}`")))?;
        if node.seen.presence == Presence::Connected {
            Ok(node)
        } else {
            let why = format!("node {name} has no connection: it cannot be told anything now");
            Err(Refusal::untimely(why))
        }
    }

    /// Orders that came as annotations and were not heard yet.
    pub(super) fn hear_orders(&mut self, turn: &mut Turn) {
        let heard = |name: &NodeName| {
            let order = self.nodes.get(name)?.last_order.as_ref()?;
            order.request.clone()
        };
        let annotated = self.touched.iter().filter_map(|name| {
            let (entry, _) = self.objects.node(name)?;
            let text = entry.ordered()?;
            (heard(name).as_deref() != Some(text)).then(|| (name.clone(), text.to_owned()))
        });
        for (name, text) in annotated.collect::<Vec<_>>() {
            self.hear_order(&name, &text, turn);
        }
    }

    fn hear_order(&mut self, name: &NodeName, text: &str, turn: &mut Turn) {
        const TEXT_MOST: usize = 2_000;
        let author = ANNOTATOR.to_owned();
        let read = serde_json::from_str::<Annotated>(text);
        let (action, reason, outcome) = match read {
            Ok(read) if text.len() <= TEXT_MOST => {
                let instruction = Instruction {
                    action: read.action,
                    author: author.clone(),
                    reason: read.reason.clone(),
                };
                let done = self.order_node(name, instruction, turn);
                let outcome = done.unwrap_or_else(|refusal| format!("refused: {refusal}"));
                (read.action, read.reason, outcome)
            }
            Ok(read) => (
                read.action,
                read.reason,
                "refused: it is too long".to_owned(),
            ),
            Err(error) => {
                tracing::warn!("node {name}: an order cannot be read: {error}");
                let outcome = format!("refused: it cannot be read: {error}");
                (NodeAction::Retry, String::new(), outcome)
            }
        };
        self.note_order(
            name,
            NodeOrder {
                action,
                time: turn.now,
                author,
                reason: visible(&reason).to_string(),
                outcome,
                request: Some(text.chars().take(TEXT_MOST).collect()),
            },
        );
    }
}
