//! The members of the events that the feed tells.

use std::collections::BTreeSet;

use placet_crds::{
    ConditionStatus, ConditionType, NodeBoot, NodeProcess, NodeSuite, RolloutStatus,
};
use placet_model::{Decision, Hold, NodeName, Verdict};
use placet_planner::{NodePlan, Plan, RolloutState};
use serde_json::{Value, json};

use super::refusal::Refusal;

pub(super) fn nodes_joined(first: &NodeName) -> Value {
    json!({ "nodes": [first] })
}

pub(super) fn node(node: &NodeName) -> Value {
    json!({ "node": node })
}

pub(super) fn refused_node(node: &NodeName, reason: &str) -> Value {
    json!({ "node": node, "reason": reason })
}

pub(super) fn booted(node: &NodeName, boot: &NodeBoot) -> Value {
    json!({ "node": node, "answer": boot.answer, "modules": boot.modules, "bytes": boot.bytes })
}

pub(super) fn dry_run(name: &str, status: &RolloutStatus) -> Value {
    let ready = status
        .conditions
        .iter()
        .find(|it| it.kind == ConditionType::Ready);
    let is_clean = ready.is_some_and(|ready| ready.status == ConditionStatus::True);
    let said = ready.map_or("", |ready| ready.message.as_str());
    json!({ "rollout": name, "clean": is_clean, "said": said, "vetoes": status.vetoes })
}

pub(super) fn commit(revision: &str, subject: &str, source: &str) -> Value {
    json!({ "revision": revision, "subject": subject, "source": source })
}

pub(super) fn refused(source: &str, revision: Option<&str>, reasons: &[String]) -> Value {
    let mut data = json!({ "source": source, "reasons": reasons });
    if let Some(revision) = revision {
        data["revision"] = revision.into();
    }
    data
}

pub(super) fn drift(source: &str, drifted: &[String]) -> Value {
    json!({ "source": source, "resources": drifted })
}

pub(super) fn plan(plan: &Plan, milliseconds: Option<f64>) -> Value {
    let text = |line: &dyn std::fmt::Display| line.to_string();
    let changes = plan.by_change();
    let changes = changes.iter().map(|(nodes, plan)| change(nodes, plan));
    timed(
        json!({
            "rollout": plan.rollout,
            "revision": plan.revision,
            "planDigest": plan.digest,
            "changes": changes.collect::<Vec<_>>(),
            "problems": plan.problems.iter().map(|it| text(it)).collect::<Vec<_>>(),
            "notes": plan.notes.iter().map(|it| text(it)).collect::<Vec<_>>(),
        }),
        milliseconds,
    )
}

fn change(nodes: &BTreeSet<&NodeName>, plan: &NodePlan) -> Value {
    let changes = &plan.change_set;
    let modules = changes.modules.iter();
    let modules = modules.map(|module| json!({ "path": module.path, "change": module.change }));
    let processes = changes.processes.iter().map(|process| {
        let because = process.because.iter().map(ToString::to_string);
        let mut told = json!({
            "name": process.name,
            "action": process.action,
            "because": because.collect::<Vec<_>>(),
        });
        if let Some(handover) = &process.handover {
            told["handover"] = json!(handover.lines());
        }
        told
    });
    let mut told = json!({
        "nodes": nodes,
        "changeDigest": plan.change_digest,
        "modules": modules.collect::<Vec<_>>(),
        "processes": processes.collect::<Vec<_>>(),
    });
    if let Some(restart) = &changes.restart {
        told["restart"] = format!("the node restarts for {restart}").into();
    }
    if !changes.inactive.is_empty() {
        told["inactive"] = json!(changes.inactive);
    }
    told
}

pub(super) fn verdict(verdict: &Verdict) -> Value {
    let mut data = json!({
        "rollout": verdict.rollout,
        "node": verdict.node,
        "planDigest": verdict.plan_digest,
        "changeDigest": verdict.change_digest,
        "verdict": verdict.verdict,
        "records": verdict.records,
    });
    if !verdict.message.is_empty() {
        data["message"] = verdict.message.as_str().into();
    }
    data
}

pub(super) fn tally(
    rollout: &str,
    accepts: usize,
    objections: usize,
    milliseconds: Option<f64>,
) -> Value {
    timed(
        json!({ "rollout": rollout, "accepts": accepts, "objections": objections }),
        milliseconds,
    )
}

pub(super) fn held(rollout: &str, hold: &Hold, milliseconds: Option<f64>) -> Value {
    timed(
        json!({ "rollout": rollout, "hold": hold.number, "vetoes": hold.objections }),
        milliseconds,
    )
}

pub(super) fn decision(rollout: &str, decision: &Decision) -> Value {
    let kind = serde_json::to_value(&decision.kind).unwrap_or_default();
    let mut data = json!({
        "rollout": rollout,
        "hold": decision.hold,
        "kind": kind["action"],
        "author": decision.author,
        "reason": decision.reason,
        "overrides": decision.overrides,
    });
    if let Some(nodes) = kind.get("nodes") {
        data["nodes"] = nodes.clone();
    }
    data
}

pub(super) fn decision_refused(rollout: &str, refusal: &Refusal) -> Value {
    json!({ "rollout": rollout, "reason": refusal.to_string() })
}

/// For `staging` and `activating`: the nodes that were told to.
pub(super) fn told(rollout: &str, nodes: &BTreeSet<&NodeName>) -> Value {
    json!({ "rollout": rollout, "nodes": nodes })
}

pub(super) fn fetched(rollout: &str, node: &NodeName, modules: u64, bytes: u64) -> Value {
    json!({ "rollout": rollout, "node": node, "modules": modules, "bytes": bytes })
}

pub(super) fn processes(node: &NodeName, generation: u64, processes: &[NodeProcess]) -> Value {
    let processes: Vec<Value> = processes
        .iter()
        .filter(|process| process.pid != 0)
        .map(|process| json!({ "name": process.name, "pid": process.pid }))
        .collect();
    json!({ "node": node, "generation": generation, "processes": processes })
}

pub(super) fn node_drift(node: &NodeName, generation: u64, drifts: &[String]) -> Value {
    json!({ "node": node, "generation": generation, "drifts": drifts })
}

/// For `testsPassed` and `testsFailed`.
pub(super) fn tested(node: &NodeName, suite: &NodeSuite) -> Value {
    let failures = suite.failures.iter();
    let failures: Vec<_> = failures
        .map(|it| format!("{}: it {}", it.test, it.why))
        .collect();
    json!({
        "node": node, "suite": suite.package, "version": suite.version,
        "tests": suite.tests, "failed": suite.failed, "failures": failures,
    })
}

pub(super) fn failed(rollout: &str, node: &NodeName, reason: &str) -> Value {
    json!({ "rollout": rollout, "node": node, "reason": reason })
}

/// For `verified` and `aborted`.
pub(super) fn ended(rollout: &str, revision: &str) -> Value {
    json!({ "rollout": rollout, "revision": revision })
}

pub(super) fn superseded(older: &RolloutState, by: &str) -> Value {
    let mut data = ended(&older.name, &older.revision);
    data["by"] = by.into();
    data
}

/// Milliseconds since the change was heard of, where that was in this life of the controller.
fn timed(mut data: Value, milliseconds: Option<f64>) -> Value {
    if let Some(milliseconds) = milliseconds {
        data["milliseconds"] = milliseconds.into();
    }
    data
}
