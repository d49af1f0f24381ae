//! A status is the model's JSON, whole, and passes the schema.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use jiff::Timestamp;
use placet_crds::{
    FleetNode, FleetNodeSpec, FleetNodeStatus, NodeProcess, NodeRollout, NodeSuite, Object,
    Presence, Reason, Rollout, RolloutSpec, RolloutStatus, State, SuiteState, TestFailure,
    conditions, validate,
};
use placet_model::{
    Activation, Answer, Decision, DecisionKind, Digest, Hold, NodeFacts, NodeState, RolloutPhase,
    Verdict, VerdictKind, VoteRecord,
};
use serde_json::json;

fn now() -> Timestamp {
    "2026-01-31T12:00:00.123456789Z".parse().unwrap()
}

fn verdict() -> Verdict {
    let digest = Digest::of(b"change");
    Verdict {
        node: "core-1".parse().unwrap(),
        rollout: "r-1".to_owned(),
        plan_digest: digest,
        change_digest: digest,
        boot_id: "boot".to_owned(),
        verdict: VerdictKind::Veto,
        records: vec![VoteRecord {
            voter: placet_model::Voter::Process,
            process: "chatd".parse().unwrap(),
            pid: 412,
            modules: vec!["usr/lib/libgreet.so.1".parse().unwrap()],
            answer: Answer::Veto,
            code: "sessions-open".to_owned(),
            message: "3 open sessions".to_owned(),
            until: Some(now()),
            time: now(),
            change_digest: digest,
        }],
        message: "m".to_owned(),
        time: now(),
        expires: now(),
    }
}

fn suite() -> NodeSuite {
    NodeSuite {
        package: "checks".parse().unwrap(),
        version: "1.0.0".to_owned(),
        state: SuiteState::Failed,
        tests: 2,
        passed: 1,
        skipped: 0,
        failed: 1,
        failures: vec![TestFailure {
            test: "routes".parse().unwrap(),
            why: "exited with code 1".to_owned(),
        }],
    }
}

fn node() -> FleetNode {
    let mut node = FleetNode::new("core-1", FleetNodeSpec::default());
    let mut state = NodeState::asked(Digest::of(b"change"), now());
    state.verdict = Some(verdict());
    state.activating = Some(now());
    state.activation = Some(Activation::Failed("it died".to_owned()));
    state.stage_error = Some("no space".to_owned());
    node.status = Some(FleetNodeStatus {
        observed_generation: Some(1),
        presence: Presence::Connected,
        last_seen: Some(now()),
        class: Some("core".to_owned()),
        facts: NodeFacts {
            kind: Some("line-card".to_owned()),
            features: ["a".to_owned()].into(),
            ..NodeFacts::default()
        },
        boot_id: Some("boot".to_owned()),
        boot: Some(placet_crds::NodeBoot {
            answer: placet_crds::BootAnswer::Change,
            modules: 3,
            bytes: 4_096,
            ..placet_crds::NodeBoot::at(jiff::Timestamp::UNIX_EPOCH)
        }),
        generation: Some(3),
        last_order: None,
        kept: None,
        test_ends: None,
        committed_generation: Some(3),
        suites: vec![suite()],
        manifest_digest: Some(Digest::of(b"")),
        preferred_digest: Some(Digest::of(b"y")),
        failed: [Digest::of(b"x")].into(),
        rollout: Some(NodeRollout {
            name: "r-1".to_owned(),
            state,
        }),
        processes: vec![NodeProcess {
            name: "chatd".parse().unwrap(),
            pid: 412,
            generation: 3,
            ready: true,
        }],
        last_verdict: Some(verdict()),
        last_handled_reconcile_at: None,
        conditions: conditions(
            &[],
            &State::Stalled(Reason::ChangeFailed, "it died".to_owned()),
            Some(1),
            now(),
        ),
    });
    node
}

fn rollout() -> Rollout {
    let spec = RolloutSpec {
        plan_digest: Some(Digest::of(b"plan")),
        from: None,
        to: format!("main@sha1:{}", "a".repeat(40)),
        dry_run: false,
        source: None,
        within_seconds: None,
        paused: false,
        decision: None,
    };
    let decision = |kind| Decision {
        hold: 1,
        kind,
        author: "me".to_owned(),
        reason: "because".to_owned(),
        time: now(),
        overrides: verdict().objections().collect(),
    };
    let mut rollout = Rollout::new("r-1", spec);
    rollout.status = Some(RolloutStatus {
        phase: Some(RolloutPhase::Held),
        holds: 1,
        hold: Some(Hold {
            number: 1,
            since: now(),
            nodes: ["core-1".parse().unwrap()].into(),
            objections: verdict().objections().collect(),
        }),
        decisions: vec![
            decision(DecisionKind::Skip),
            decision(DecisionKind::Force {
                nodes: vec!["core-1".parse().unwrap()],
            }),
        ],
        ..RolloutStatus::default()
    });
    rollout
}

#[test]
fn a_status_of_model_types_passes_the_schema_and_comes_back() {
    for object in [Object::FleetNode(node()), Object::Rollout(rollout())] {
        let again = validate(object.kind(), &object.to_json(), None).unwrap();
        assert_eq!(again.to_json()["status"], object.to_json()["status"]);
    }
    let status = &node().status.unwrap();
    let json = serde_json::to_value(status).unwrap();
    assert_eq!(
        json["lastVerdict"],
        serde_json::to_value(verdict()).unwrap()
    );
}

#[test]
fn a_status_that_is_not_the_models_is_refused() {
    let whole = Object::FleetNode(node()).to_json();
    for (pointer, value) in [
        ("/status/lastVerdict/verdict", json!("maybe")),
        ("/status/lastVerdict/changeDigest", json!("sha256:00")),
        ("/status/lastVerdict/records/0/pid", json!(-1)),
        (
            "/status/lastVerdict/records/0/modules/0",
            json!("/etc/passwd"),
        ),
        ("/status/lastVerdict/time", json!("yesterday")),
        (
            "/status/rollout/state/activation",
            json!({"done": 1, "failed": "x"}),
        ),
        ("/status/conditions/0/reason", json!("Whatever")),
        ("/status/generation", json!(1.5)),
    ] {
        let mut broken = whole.clone();
        *broken.pointer_mut(pointer).unwrap() = value;
        let faults = validate("FleetNode", &broken, None).unwrap_err();
        assert_eq!(faults.len(), 1, "{pointer}: {faults:?}");
        assert!(faults[0].field.starts_with("status."), "{}", faults[0]);
    }
}
