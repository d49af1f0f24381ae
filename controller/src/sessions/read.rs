//! What nodes send, checked before it is believed: a node is no friend until shown.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use placet_crds::{NodeProcess, NodeSuite, SuiteState, TestFailure};
use placet_model::{
    Digest, NameError, NodeFacts, NodeManifest, NodeName, Verdict, Version, Voter, visible,
};
use placet_planner::Running;
use placet_protocol::json;
use placet_protocol::wire::from_node::Message;
use placet_protocol::wire::{
    self, Activated, Drift, Failed, Hello, Process, Report, Staged, Suite,
};
use tonic::Status;

use crate::fleet::news::{Announcement, InMemory, Reported, Said};

/// Processes that a node may report.
const PROCESSES_MOST: usize = 4_096;

/// Manifests that a node may name as staged or failed.
const DIGESTS_MOST: usize = 4_096;

/// A fact is a word; features are a few dozen of them.
const FACT_MOST: usize = 128;
const FEATURES_MOST: usize = 256;

const BOOT_ID_MOST: usize = 128;

/// A verdict has a record for each voter, of a few hundred bytes.
const VERDICT_MOST: usize = 1 << 20;
const RECORDS_MOST: usize = 1_024;

/// What a node has, from its Hello.
pub(super) fn announcement(hello: Hello) -> Result<Announcement, Status> {
    let mut report = hello.report.unwrap_or_default();
    let manifest_json = std::mem::take(&mut report.manifest_json);
    let report = reported(&report)?;
    let manifest = manifest(&manifest_json, report.manifest_digest)?;
    let facts: NodeFacts = json(&hello.facts_json, "facts of the node")?;
    check_facts(&facts)?;
    if hello.boot_id.is_empty() || !is_word(&hello.boot_id, BOOT_ID_MOST) {
        return Err(Status::invalid_argument(
            "the boot id is not one line of 1 to 128 bytes",
        ));
    }
    Ok(Announcement {
        boot_id: hello.boot_id,
        facts,
        report,
        manifest,
        staged: digests(&hello.staged)?,
        failed: failures(hello.failed)?,
        memory: hello.memory,
    })
}

/// Anything but a Hello. What a verdict says of its node has to be true.
pub(super) fn said(node: &NodeName, message: Message) -> Result<Said, Status> {
    Ok(match message {
        Message::Hello(_) => {
            return Err(Status::failed_precondition(
                "a session has one Hello, at its beginning",
            ));
        }
        Message::VerdictJson(bytes) => Said::Verdict(verdict(node, &bytes)?),
        Message::Staged(Staged {
            rollout,
            change_digest,
            modules,
            bytes,
            error,
        }) => Said::Staged {
            rollout,
            change_digest: digest(&change_digest)?,
            modules,
            bytes,
            error: (!error.is_empty()).then_some(error),
        },
        Message::Activated(Activated {
            rollout,
            change_digest,
            generation,
            error,
        }) => Said::Activated {
            rollout,
            change_digest: digest(&change_digest)?,
            outcome: if error.is_empty() {
                Ok(generation)
            } else {
                Err(error)
            },
        },
        Message::Report(report) => Said::Report(reported(&report)?),
    })
}

fn verdict(node: &NodeName, bytes: &[u8]) -> Result<Verdict, Status> {
    if bytes.len() > VERDICT_MOST {
        return Err(Status::invalid_argument(
            "a verdict is not larger than 1 MiB",
        ));
    }
    let mut verdict: Verdict = json(bytes, "verdict")?;
    if verdict.node != *node {
        return Err(Status::permission_denied(format!(
            "node {node} gave a verdict in the name of node {}; a node speaks only for itself",
            verdict.node
        )));
    }
    if verdict.records.len() > RECORDS_MOST {
        return Err(Status::invalid_argument(
            "a verdict has at most 1024 records",
        ));
    }
    if let Some(record) = verdict.records.iter().find(|it| it.voter == Voter::Rule) {
        return Err(Status::permission_denied(format!(
            "node {node} gave a record of rule {}; rules are evaluated by the controller",
            record.process
        )));
    }
    verdict.message = shown(&verdict.message);
    for record in &mut verdict.records {
        record.code = shown(&record.code);
        record.message = shown(&record.message);
    }
    Ok(verdict)
}

/// The text as it may be shown: what is stored is what is shown.
fn shown(text: &str) -> String {
    visible(text).to_string()
}

/// More of what a node found is not read.
const DRIFTS_MOST: usize = 100;

/// More characters of a path, or of how it differs, are not read.
const DRIFT_TEXT_MOST: usize = 600;

fn reported(report: &Report) -> Result<Reported, Status> {
    if report.processes.len() > PROCESSES_MOST {
        return Err(Status::invalid_argument(
            "a node reports at most 4096 processes",
        ));
    }
    let processes = report.processes.iter().map(process);
    Ok(Reported {
        generation: report.generation,
        manifest_digest: digest(&report.manifest_digest)?,
        processes: processes.collect::<Result<_, _>>()?,
        drifts: report.drifts.iter().take(DRIFTS_MOST).map(drift).collect(),
        changing: report.changing,
        in_memory: report.in_memory.as_ref().map(in_memory).transpose()?,
        failed: match &report.failed_here {
            Some(failed) => Some(failures(failed.manifests.clone())?),
            None => None,
        },
        suites: suites(&report.suites)?,
    })
}

/// More suites, and more failures of one, are not read; nor are more characters of a failure.
const SUITES_MOST: usize = 32;
const FAILURES_MOST: usize = 5;
const FAILURE_TEXT_MOST: usize = 1_000;

/// Each package once.
fn suites(told: &[Suite]) -> Result<Vec<NodeSuite>, Status> {
    let suites = told.iter().take(SUITES_MOST).map(suite);
    let suites: BTreeMap<_, _> = suites
        .map(|suite| suite.map(|suite| (suite.package.clone(), suite)))
        .collect::<Result<_, _>>()?;
    Ok(suites.into_values().collect())
}

fn suite(told: &Suite) -> Result<NodeSuite, Status> {
    let malformed = |error: &dyn Display| {
        Status::invalid_argument(format!("a test suite of the node cannot be read: {error}"))
    };
    let version: Version = told.version.parse().map_err(|error| malformed(&error))?;
    let ended = [told.passed, told.skipped, told.failed].into_iter();
    let ended = ended.map(u64::from).sum::<u64>();
    let state = match ended.cmp(&told.tests.into()) {
        Ordering::Less => SuiteState::Running,
        Ordering::Equal if told.failed > 0 => SuiteState::Failed,
        Ordering::Equal => SuiteState::Passed,
        Ordering::Greater => return Err(malformed(&"more tests have ended than it has")),
    };
    let failure = |failure: &wire::TestFailure| {
        let why: String = failure.why.chars().take(FAILURE_TEXT_MOST).collect();
        let test = failure.test.parse();
        let test = test.map_err(|error: NameError| malformed(&error))?;
        let why = shown(&why);
        Ok::<_, Status>(TestFailure { test, why })
    };
    let failures = told.failures.iter().take(FAILURES_MOST).map(failure);
    Ok(NodeSuite {
        package: told
            .package
            .parse()
            .map_err(|error: NameError| malformed(&error))?,
        version: version.to_string(),
        state,
        tests: told.tests,
        passed: told.passed,
        skipped: told.skipped,
        failed: told.failed,
        failures: failures.collect::<Result<_, _>>()?,
    })
}

/// A node cannot have more time than anybody may give it.
const SECONDS_MOST: u64 = 604_800;

fn in_memory(stored: &wire::InMemory) -> Result<InMemory, Status> {
    let seconds = Some(stored.seconds_left).filter(|seconds| *seconds > 0);
    Ok(InMemory {
        generation: stored.stored_generation,
        manifest_digest: digest(&stored.stored_digest)?,
        seconds_left: seconds.map(|seconds| seconds.min(SECONDS_MOST)),
    })
}

fn drift(drift: &Drift) -> String {
    let cut = |text: &str| shown(&text.chars().take(DRIFT_TEXT_MOST).collect::<String>());
    // What a node does about a process stands in its own words.
    if drift.running {
        return format!("`{}`: {}", cut(&drift.path), cut(&drift.what));
    }
    let ending = if drift.repaired {
        "it was put right"
    } else {
        "it could not be put right yet"
    };
    format!("`{}`: {}; {ending}", cut(&drift.path), cut(&drift.what))
}

fn process(process: &Process) -> Result<NodeProcess, Status> {
    let name = process.name.parse();
    Ok(NodeProcess {
        name: name.map_err(|error: placet_model::NameError| {
            Status::invalid_argument(error.to_string())
        })?,
        pid: process.pid,
        generation: process.generation,
        ready: process.ready,
    })
}

/// The manifest of a report: it has the digest that is reported; a pristine node has none.
fn manifest(bytes: &[u8], digest: Digest) -> Result<Running, Status> {
    let manifest: NodeManifest = if bytes.is_empty() {
        NodeManifest::default()
    } else {
        json(bytes, "manifest")?
    };
    let running = Running::from(manifest);
    if running.digest() == digest {
        Ok(running)
    } else {
        Err(Status::invalid_argument(format!(
            "the manifest does not have the digest {digest} that is reported for it"
        )))
    }
}

fn check_facts(facts: &NodeFacts) -> Result<(), Status> {
    let words = [
        facts.kind.as_deref(),
        facts
            .architecture
            .as_ref()
            .map(|architecture| architecture.0.as_str()),
        facts.location.as_deref(),
    ];
    let mut words = words
        .into_iter()
        .flatten()
        .chain(facts.features.iter().map(String::as_str));
    let good = words.all(|word| !word.is_empty() && is_word(word, FACT_MOST));
    if good && facts.features.len() <= FEATURES_MOST {
        Ok(())
    } else {
        Err(Status::invalid_argument(
            "a fact of the node is not one line of 1 to 128 bytes, or there are more than 256 features",
        ))
    }
}

fn is_word(text: &str, most: usize) -> bool {
    text.len() <= most && !text.chars().any(char::is_control)
}

fn failures(failed: Vec<Failed>) -> Result<BTreeMap<Digest, String>, Status> {
    if failed.len() > DIGESTS_MOST {
        return Err(Status::invalid_argument(
            "a node names at most 4096 manifests",
        ));
    }
    let one = |failed: Failed| Ok((digest(&failed.manifest_digest)?, failed.reason));
    failed.into_iter().map(one).collect()
}

fn digests(texts: &[String]) -> Result<BTreeSet<Digest>, Status> {
    if texts.len() > DIGESTS_MOST {
        return Err(Status::invalid_argument(
            "a node names at most 4096 manifests",
        ));
    }
    texts.iter().map(|text| digest(text)).collect()
}

fn digest(text: &str) -> Result<Digest, Status> {
    text.parse()
        .map_err(|error: placet_model::DigestError| Status::invalid_argument(error.to_string()))
}
