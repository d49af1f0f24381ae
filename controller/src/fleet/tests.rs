//! The world without sockets, clocks and disks: events in, world and writes out.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use placet_crds::{GitSourceStatus, Object, Reason, RolloutStatus, SourceFile, load, load_all};
use placet_model::{
    Activation, Architecture, DecisionKind, Digest, NodeFacts, NodeManifest, NodeName, Proposal,
    RolloutPhase, Verdict, VerdictKind,
};
use placet_planner::{Action, Catalog, audit};
use serde_json::Value;

mod dry_runs;

use super::news::{Announcement, Commit, Failure, Looked, Reported, Ruling, Said};
use super::turn::Turn;
use super::world::World;
use crate::home::{Applied, Committed, Owner, Seen, Stored, Write, Written};

/// A world in which time goes on by a second with each turn.
struct Stage {
    world: World,
    now: Timestamp,
    sessions: u64,
}

const FLEET: &str = "
apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: core}
spec: {selector: {types: [core]}, packageSets: [base]}
---
apiVersion: placet.dev/v1alpha1
kind: PackageSet
metadata: {name: base}
spec:
  packages:
  - {name: greet, version: VERSION, reference: \"oci-layout:greet:VERSION\"}
---
apiVersion: placet.dev/v1alpha1
kind: FleetNode
metadata: {name: core-1}
spec: {facts: {type: core, architecture: x86_64}}
---
apiVersion: placet.dev/v1alpha1
kind: FleetNode
metadata: {name: core-2}
spec: {facts: {type: core, architecture: x86_64}}
";

const SOURCE: &str = "
apiVersion: placet.dev/v1alpha1
kind: GitSource
metadata: {name: fleet}
spec: {url: /srv/fleet}
";

fn file(text: &str) -> Vec<SourceFile> {
    let name = "fleet.yaml".to_owned();
    let text = text.to_owned();
    vec![SourceFile { name, text }]
}

fn commit(number: u8, text: &str) -> Commit {
    let files = file(text);
    Commit {
        revision: revision(number),
        subject: format!("commit {number}"),
        author: "Operator <operator@localhost>".to_owned(),
        signer: None,
        may_be_empty: false,
        loaded: load_all(&files),
        files,
    }
}

fn revision(number: u8) -> String {
    format!("main@sha1:{number:040}")
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    for version in ["1.0.0", "1.1.0"] {
        let module = serde_json::json!({
            "path": "etc/greeting", "mode": "0644", "type": "data", "size": 1,
            "digest": Digest::of(version.as_bytes()),
            "signature": format!("md5:{}", &Digest::of(version.as_bytes()).hex()[..32]),
        });
        let config = serde_json::json!({
            "name": "greet", "version": version, "created": Timestamp::UNIX_EPOCH, "modules": [module],
        });
        let entry = placet_planner::CatalogEntry {
            digest: Digest::of(version.as_bytes()),
            config: serde_json::from_value(config).unwrap(),
            symbols: BTreeMap::new(),
        };
        let reference = format!("oci-layout:greet:{version}");
        catalog.entries.insert(reference, Ok(entry));
    }
    catalog
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self {
            world: World::default(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            sessions: 0,
        };
        stage.turn(|world, turn| {
            world.apply(&file(SOURCE), "ann", turn).unwrap();
        });
        stage
    }

    /// A world of which both nodes run version 1.0.0.
    fn settled() -> Self {
        let mut stage = Self::new();
        for name in ["core-1", "core-2"] {
            stage.hello(name, "boot", None);
        }
        stage.look(1, "1.0.0");
        for name in ["core-1", "core-2"] {
            let verdict = stage.verdict(name, VerdictKind::Accept);
            stage.say(name, Said::Verdict(verdict));
        }
        for name in ["core-1", "core-2"] {
            stage.staged(name);
        }
        for name in ["core-1", "core-2"] {
            stage.activated(name, Ok(1));
        }
        assert_eq!(stage.phase(), RolloutPhase::Done);
        stage
    }

    /// One turn, planned and reported as the loop does.
    fn turn(&mut self, act: impl FnOnce(&mut World, &mut Turn)) -> Turn {
        self.now += SignedDuration::from_secs(1);
        let mut turn = Turn::new(self.now);
        act(&mut self.world, &mut turn);
        if self.world.catalog.is_none() {
            let declared = self.world.declared;
            self.world.resolved(declared, Arc::new(catalog()));
        }
        self.world.advance(&mut turn);
        self.world.answer_hails(&mut turn);
        self.world.report_all(&mut turn);
        self.check(&turn);
        turn
    }

    /// What every turn leaves holds together, and leaves nothing to do.
    fn check(&mut self, turn: &Turn) {
        if let (Some(target), Some(plan)) = (&self.world.target, &self.world.plan) {
            let again = placet_planner::plan(target, &self.world.observed(turn.now));
            assert_eq!(
                again.steps,
                [],
                "planning again gives nothing new\n{plan}\n{again}"
            );
            assert_eq!(audit(target, &again, &self.world.observed(turn.now)), []);
        }
        for info in placet_crds::kinds() {
            for (_, entry) in self.world.objects.of(&info.kind) {
                let mut json = entry.object.to_json();
                json["status"] = entry.status.clone();
                let valid = placet_crds::validate(&info.kind, &json, None);
                assert!(
                    valid.is_ok(),
                    "a status follows its schema: {valid:?}\n{json:#}"
                );
            }
        }
        let mut idle = Turn::new(turn.now);
        self.world.advance(&mut idle);
        self.world.report_all(&mut idle);
        let written: Vec<_> = idle
            .writes
            .iter()
            .map(|write| format!("{write:?}"))
            .collect();
        assert_eq!(
            written,
            Vec::<String>::new(),
            "no write when nothing changed"
        );
    }

    fn look(&mut self, number: u8, version: &str) -> Turn {
        let commit = commit(number, &FLEET.replace("VERSION", version));
        self.looked(Ok(commit))
    }

    fn looked(&mut self, outcome: Result<Commit, Failure>) -> Turn {
        let looked = Looked {
            source: "fleet".to_owned(),
            generation: 1,
            outcome,
            heard: Instant::now(),
        };
        self.turn(|world, turn| world.looked(looked, turn))
    }

    fn hello(&mut self, name: &str, boot: &str, manifest: Option<NodeManifest>) -> Turn {
        self.sessions += 1;
        let (session, node) = (self.sessions, node(name));
        let manifest = manifest.unwrap_or_default();
        let announcement = Announcement {
            boot_id: boot.to_owned(),
            facts: NodeFacts {
                kind: Some("core".to_owned()),
                architecture: Some(Architecture("x86_64".to_owned())),
                ..NodeFacts::default()
            },
            report: Reported {
                manifest_digest: manifest.digest(),
                ..Reported::default()
            },
            manifest: manifest.into(),
            ..Announcement::default()
        };
        self.turn(|world, turn| {
            assert!(world.hello(&node, session, announcement, turn));
        })
    }

    fn say(&mut self, name: &str, what: Said) -> Turn {
        let node = node(name);
        let session = self.world.nodes[&node].session.unwrap();
        self.turn(|world, turn| world.said(&node, session, what, turn))
    }

    /// The verdict on what the node was asked last.
    fn verdict(&self, name: &str, kind: VerdictKind) -> Verdict {
        let rollout = self.world.rollout.as_ref().unwrap();
        let (name, state) = rollout.nodes.get_key_value(&node(name)).unwrap();
        Verdict {
            node: name.clone(),
            rollout: rollout.name.clone(),
            plan_digest: rollout.plan_digest,
            change_digest: state.change_digest,
            boot_id: "boot".to_owned(),
            verdict: kind,
            records: Vec::new(),
            message: String::new(),
            time: self.now,
            expires: self.now + SignedDuration::from_hours(1),
        }
    }

    fn staged(&mut self, name: &str) -> Turn {
        let rollout = self.world.rollout.as_ref().unwrap();
        let said = Said::Staged {
            rollout: rollout.name.clone(),
            change_digest: rollout.nodes[&node(name)].change_digest,
            modules: 1,
            bytes: 1,
            error: None,
        };
        self.say(name, said)
    }

    fn activated(&mut self, name: &str, outcome: Result<u64, &str>) -> Turn {
        let name = node(name);
        let rollout = self.world.rollout.as_ref().unwrap();
        let said = Said::Activated {
            rollout: rollout.name.clone(),
            change_digest: rollout.nodes[&name].change_digest,
            outcome: outcome.map_err(str::to_owned),
        };
        let turn = self.say(name.as_str(), said);
        if let Ok(generation) = outcome {
            let ordered = self.world.nodes[&name].ordered.clone().unwrap();
            self.say(
                name.as_str(),
                Said::Report(Reported {
                    generation,
                    manifest_digest: ordered.manifest.digest(),
                    ..Reported::default()
                }),
            );
        }
        turn
    }

    fn decide(&mut self, hold: Option<u32>, kind: DecisionKind) -> Result<Turn, String> {
        let ruling = Ruling {
            rollout: self.world.rollout.as_ref().unwrap().name.clone(),
            hold,
            kind,
            author: "ann".to_owned(),
            reason: "because".to_owned(),
            overrides: Vec::new(),
        };
        let mut result = Ok(());
        let turn = self.turn(|world, turn| {
            result = world.decide(ruling, turn).map(drop);
        });
        result.map(|()| turn).map_err(|refusal| refusal.to_string())
    }

    fn phase(&self) -> RolloutPhase {
        self.world.rollout.as_ref().unwrap().phase
    }

    fn source(&self) -> GitSourceStatus {
        self.world
            .objects
            .get("GitSource", "fleet")
            .unwrap()
            .status()
    }
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn events(turn: &Turn) -> Vec<&'static str> {
    let names = turn.writes.iter().filter_map(|write| match write {
        Write::Event { name, .. } => Some(*name),
        _ => None,
    });
    names.collect()
}

fn orders(turn: &Turn) -> Vec<String> {
    let orders = turn.orders.iter().map(|order| {
        let word = match &order.step.action {
            Action::Propose(_) => "propose",
            Action::Release { .. } => "release",
            Action::Stage { .. } => "stage",
            Action::Activate { .. } => "activate",
            Action::GiveBack { .. } => "give back",
        };
        format!("{} {word} {}", order.rollout, order.step.node)
    });
    orders.collect()
}

#[test]
fn a_commit_opens_a_rollout_and_asks_everybody_at_once() {
    let mut stage = Stage::settled();
    let turn = stage.look(2, "1.1.0");
    assert_eq!(events(&turn), ["commit", "plan"]);
    assert_eq!(
        orders(&turn),
        ["ro-2 propose core-1", "ro-2 propose core-2"]
    );
    let rollout = stage.world.objects.rollout("ro-2").unwrap().1;
    assert_eq!(rollout.spec.from, Some(revision(1)));
    assert_eq!(rollout.spec.to, revision(2));
}

#[test]
fn what_is_noted_comes_before_the_order() {
    let mut stage = Stage::settled();
    let turn = stage.look(2, "1.1.0");
    let status = |name: &str| {
        let written = turn.writes.iter().rev().find_map(|write| match write {
            Write::Status {
                kind,
                name: of,
                status,
            } if *kind == "FleetNode" && of == name => Some(status),
            _ => None,
        });
        written.cloned().unwrap_or(Value::Null)
    };
    for order in &turn.orders {
        let part = &status(order.step.node.as_str())["rollout"];
        assert_eq!(part["name"], "ro-2");
        assert_eq!(part["state"]["asked"], turn.now.to_string());
    }
}

#[test]
fn a_revision_that_changes_nothing_has_a_rollout_that_is_done() {
    let mut stage = Stage::settled();
    let turn = stage.look(2, "1.0.0");
    assert_eq!(events(&turn), ["commit", "plan", "verified"]);
    assert_eq!(orders(&turn), Vec::<String>::new());
    let status: RolloutStatus = stage.world.objects.rollout("ro-2").unwrap().0.status();
    assert_eq!(status.phase, Some(RolloutPhase::Done));
    assert!(status.ended.is_some());
}

#[test]
fn of_the_rollouts_the_newest_are_kept() {
    let mut stage = Stage::settled();
    stage.world.rollouts_kept = NonZeroU64::new(3);
    for number in 2..=6 {
        stage.look(number, "1.0.0");
    }
    let rollouts = stage.world.objects.of("Rollout");
    let names: Vec<_> = rollouts.map(|(name, _)| name).collect();
    assert_eq!(names, ["ro-4", "ro-5", "ro-6"]);
}

#[test]
fn a_fleet_that_nobody_joined_has_no_rollout() {
    let mut stage = Stage::new();
    let turn = stage.look(1, "1.0.0");
    assert_eq!(events(&turn), ["commit"]);
    assert_eq!(stage.world.rollout, None);
    let turn = stage.hello("core-1", "boot", None);
    assert_eq!(orders(&turn), ["ro-1 propose core-1"]);
}

#[test]
fn a_vote_counts_only_for_what_was_asked() {
    let mut stage = Stage::settled();
    stage.look(2, "1.1.0");
    let good = stage.verdict("core-1", VerdictKind::Accept);
    let twists: [fn(&mut Verdict); 4] = [
        |verdict| verdict.rollout = "ro-1".to_owned(),
        |verdict| verdict.plan_digest = Digest::of(b""),
        |verdict| verdict.change_digest = Digest::of(b""),
        |verdict| verdict.boot_id = "other".to_owned(),
    ];
    for twist in twists {
        let mut verdict = good.clone();
        twist(&mut verdict);
        let turn = stage.say("core-1", Said::Verdict(verdict));
        assert_eq!(events(&turn), Vec::<&str>::new());
    }
    let turn = stage.say("core-1", Said::Verdict(good.clone()));
    assert_eq!(events(&turn), ["verdict"]);
    let turn = stage.say("core-1", Said::Verdict(good));
    assert_eq!(
        events(&turn),
        Vec::<&str>::new(),
        "the same vote counts once"
    );
}

#[test]
fn a_node_cannot_say_that_a_veto_is_an_accept() {
    let mut stage = Stage::settled();
    stage.look(2, "1.1.0");
    let mut verdict = stage.verdict("core-1", VerdictKind::Accept);
    let record = serde_json::json!({
        "process": "chatd", "pid": 7, "modules": [], "answer": "veto", "message": "no",
        "time": stage.now, "changeDigest": verdict.change_digest,
    });
    verdict.records = vec![serde_json::from_value(record).unwrap()];
    stage.say("core-1", Said::Verdict(verdict));
    assert_eq!(stage.phase(), RolloutPhase::Held);
}

#[test]
fn nothing_is_permitted_before_staging_is_ordered() {
    let mut stage = Stage::settled();
    stage.look(2, "1.1.0");
    assert!(stage.world.permits().is_empty());
    let verdict = stage.verdict("core-1", VerdictKind::Accept);
    stage.say("core-1", Said::Verdict(verdict));
    assert!(stage.world.permits().is_empty());
    let verdict = stage.verdict("core-2", VerdictKind::Accept);
    let turn = stage.say("core-2", Said::Verdict(verdict));
    assert_eq!(events(&turn), ["verdict", "tally", "staging"]);
    assert_eq!(stage.world.permits().len(), 2);
    stage.staged("core-1");
    let turn = stage.staged("core-2");
    assert_eq!(
        orders(&turn),
        ["ro-2 activate core-1", "ro-2 activate core-2"]
    );
    stage.activated("core-1", Ok(2));
    assert_eq!(
        stage.world.permits().len(),
        1,
        "who is done fetches no more"
    );
}

#[test]
fn of_two_decisions_on_one_hold_one_is_refused() {
    let mut stage = Stage::settled();
    stage.look(2, "1.1.0");
    for (name, kind) in [
        ("core-1", VerdictKind::Veto),
        ("core-2", VerdictKind::Accept),
    ] {
        let verdict = stage.verdict(name, kind);
        stage.say(name, Said::Verdict(verdict));
    }
    assert_eq!(stage.phase(), RolloutPhase::Held);
    let other = stage.decide(Some(2), DecisionKind::Skip).err().unwrap();
    assert!(other.contains("hold 1 is"), "{other}");
    let ruling = |kind| Ruling {
        rollout: "ro-2".to_owned(),
        hold: Some(1),
        kind,
        author: "ann".to_owned(),
        reason: "because".to_owned(),
        overrides: Vec::new(),
    };
    let mut results = Vec::new();
    let turn = stage.turn(|world, turn| {
        results.push(world.decide(ruling(DecisionKind::Skip), turn).is_ok());
        results.push(world.decide(ruling(DecisionKind::Abort), turn).is_ok());
    });
    assert_eq!(results, [true, false]);
    assert_eq!(events(&turn), ["decision", "staging"]);
    assert_eq!(orders(&turn), ["ro-2 stage core-2"]);
    let late = stage.decide(None, DecisionKind::Abort).err().unwrap();
    assert!(late.contains("not held"), "{late}");
}

#[test]
fn a_newer_commit_releases_the_votes_of_a_held_rollout() {
    let mut stage = Stage::settled();
    stage.look(2, "1.1.0");
    let verdict = stage.verdict("core-1", VerdictKind::Veto);
    stage.say("core-1", Said::Verdict(verdict));
    let turn = stage.look(3, "1.0.0");
    assert_eq!(
        orders(&turn),
        ["ro-2 release core-1", "ro-2 release core-2"]
    );
    assert_eq!(events(&turn), ["commit", "superseded", "plan", "verified"]);
    let status: RolloutStatus = stage.world.objects.rollout("ro-2").unwrap().0.status();
    assert_eq!(status.phase, Some(RolloutPhase::Superseded));
    assert_eq!(status.hold, None);
}

#[test]
fn what_is_wrong_with_a_commit_is_told_once_and_the_last_good_one_stays() {
    let mut stage = Stage::settled();
    let bad = || {
        commit(
            2,
            &FLEET
                .replace("VERSION", "1.1.0")
                .replace("packageSets: [base]", "packageSets: [bass]"),
        )
    };
    let turn = stage.looked(Ok(bad()));
    assert_eq!(events(&turn), ["refused"]);
    let status = stage.source();
    assert_eq!(status.revision, Some(revision(1)));
    assert_eq!(status.last_attempted_revision, Some(revision(2)));
    assert_eq!(status.conditions[0].reason, Reason::InvalidDeclarations);
    assert!(
        status.faults[0].starts_with("fleet.yaml:5"),
        "{:?}",
        status.faults
    );
    let turn = stage.looked(Ok(bad()));
    assert!(turn.writes.is_empty());

    let failure = || Failure {
        reason: Reason::FetchFailed,
        message: "it does not exist".to_owned(),
        revision: None,
    };
    assert_eq!(events(&stage.looked(Err(failure()))), ["refused"]);
    assert!(stage.looked(Err(failure())).writes.is_empty());
    assert_eq!(stage.source().conditions[0].reason, Reason::FetchFailed);

    let turn = stage.look(1, "1.0.0");
    assert_eq!(events(&turn), Vec::<&str>::new(), "it is in force already");
    assert_eq!(stage.source().conditions[0].reason, Reason::Succeeded);
    assert_eq!(stage.source().faults, Vec::<String>::new());
    let turn = stage.look(3, "1.1.0");
    assert_eq!(events(&turn), ["commit", "plan"]);
}

#[test]
fn a_repository_cannot_take_what_another_declares_or_open_rollouts() {
    let mut stage = Stage::settled();
    let other = SOURCE
        .replace("name: fleet", "name: other")
        .replace("/srv/fleet", "/srv/other");
    stage.turn(|world, turn| {
        world.apply(&file(&other), "ann", turn).unwrap();
    });
    let looked = Looked {
        source: "other".to_owned(),
        generation: 1,
        outcome: Ok(commit(9, &FLEET.replace("VERSION", "1.1.0"))),
        heard: Instant::now(),
    };
    let turn = stage.turn(|world, turn| world.looked(looked, turn));
    assert_eq!(events(&turn), ["refused"]);
    let status: GitSourceStatus = stage
        .world
        .objects
        .get("GitSource", "other")
        .unwrap()
        .status();
    assert!(
        status.faults[0].contains("GitSource `fleet` declares it already"),
        "{:?}",
        status.faults
    );
}

#[test]
fn the_revision_names_repositories_and_what_people_applied() {
    let mut stage = Stage::settled();
    assert_eq!(stage.world.objects.revision(), revision(1));
    let class = FLEET
        .split("---")
        .next()
        .unwrap()
        .replace("name: core", "name: edge");
    stage.turn(|world, turn| {
        let results = world.apply(&file(&class), "ann", turn).unwrap();
        assert_eq!(results, ["nodeclass.placet.dev/edge created"]);
    });
    let both = stage.world.objects.revision();
    assert!(both.starts_with("apply@sha256:"), "{both}");
    assert!(both.ends_with(&format!("+{}", revision(1))), "{both}");
}

#[test]
fn what_a_repository_declares_stays_its_own() {
    let mut objects = super::objects::Objects::default();
    let object = || load(&file(SOURCE)).unwrap().remove(0);
    let git = |source: &str| Owner::Git {
        source: source.to_owned(),
    };
    let ann = Owner::Person {
        user: "ann".to_owned(),
    };
    assert_eq!(objects.put(object(), ann.clone()), Ok(Applied::Created));
    assert_eq!(objects.put(object(), ann.clone()), Ok(Applied::Unchanged));
    assert_eq!(objects.put(object(), git("a")), Ok(Applied::Configured));
    assert_eq!(
        objects.put(object(), ann),
        Ok(Applied::Unchanged),
        "it stays the repository's"
    );
    assert_eq!(objects.put(object(), git("b")), Err("a".to_owned()));
    assert_eq!(objects.get("GitSource", "fleet").unwrap().generation, 1);
}

#[test]
fn a_failed_activation_is_written_down_and_told_once() {
    let mut stage = Stage::settled();
    stage.look(2, "1.1.0");
    for name in ["core-1", "core-2"] {
        let verdict = stage.verdict(name, VerdictKind::Accept);
        stage.say(name, Said::Verdict(verdict));
    }
    for name in ["core-1", "core-2"] {
        stage.staged(name);
    }
    let turn = stage.activated("core-1", Err("it died\u{1b}[31m"));
    assert_eq!(events(&turn), ["failed", "held"]);
    let turn = stage.activated("core-1", Err("it died\u{1b}[31m"));
    assert_eq!(events(&turn), Vec::<&str>::new());
    assert_eq!(stage.phase(), RolloutPhase::Halted);
    let status = stage
        .world
        .objects
        .node(&node("core-1"))
        .unwrap()
        .0
        .status
        .clone();
    assert_eq!(status["failed"].as_array().unwrap().len(), 1);
    assert_eq!(
        status["rollout"]["state"]["activation"]["failed"],
        "it died\\u{1b}[31m"
    );
    assert_eq!(status["conditions"][0]["reason"], "ChangeFailed");
}

/// A fleet of which core-1 was told to activate.
fn activating() -> Stage {
    let mut stage = Stage::settled();
    stage.look(2, "1.1.0");
    for name in ["core-1", "core-2"] {
        let verdict = stage.verdict(name, VerdictKind::Accept);
        stage.say(name, Said::Verdict(verdict));
    }
    for name in ["core-1", "core-2"] {
        stage.staged(name);
    }
    stage
}

#[test]
fn a_node_that_gives_a_change_back_is_known_by_what_it_ran_before() {
    let mut stage = activating();
    let before = stage.world.nodes[&node("core-1")]
        .seen
        .running
        .clone()
        .unwrap();
    let ordered = stage.world.nodes[&node("core-1")].ordered.clone().unwrap();
    for (generation, manifest_digest) in [(2, ordered.manifest.digest()), (1, before.digest())] {
        let report = Reported {
            generation,
            manifest_digest,
            ..Reported::default()
        };
        let turn = stage.say("core-1", Said::Report(report));
        assert_eq!(turn.cut, [], "its session goes on");
    }
    let turn = stage.activated("core-1", Err("it died"));
    assert_eq!(events(&turn), ["failed", "held"]);
}

#[test]
fn a_failure_that_was_lost_with_the_connection_comes_with_the_next_hello() {
    let mut stage = activating();
    let name = node("core-1");
    let wanted = stage.world.target.as_ref().unwrap().nodes[&name].manifest_digest;
    let running = stage.world.nodes[&name].seen.running.clone().unwrap();
    stage.sessions += 1;
    let (session, manifest) = (stage.sessions, running.manifest().clone());
    let announcement = Announcement {
        boot_id: "boot".to_owned(),
        facts: stage.world.nodes[&name].seen.announced.clone(),
        report: Reported {
            generation: 1,
            manifest_digest: manifest.digest(),
            ..Reported::default()
        },
        manifest: manifest.into(),
        failed: BTreeMap::from([(wanted, "it died".to_owned())]),
        ..Announcement::default()
    };
    let turn = stage.turn(|world, turn| {
        assert!(world.hello(&name, session, announcement, turn));
    });
    assert_eq!(events(&turn), ["failed", "held"]);
    let part = &stage.world.rollout.as_ref().unwrap().nodes[&name];
    assert_eq!(
        part.activation,
        Some(Activation::Failed("it died".to_owned()))
    );
}

/// How often the status of core-1 is written in these turns.
fn writes_of_core_1(turns: &[Turn]) -> usize {
    let is_of_it = |write: &&Write| matches!(write, Write::Status { kind: "FleetNode", name, .. } if name == "core-1");
    let writes = turns.iter().flat_map(|turn| &turn.writes);
    writes.filter(is_of_it).count()
}

#[test]
fn a_node_whose_status_is_dear_is_written_four_times_in_a_rollout() {
    let mut stage = Stage::settled();
    stage.world.is_patient = true;
    let mut turns = vec![stage.look(2, "1.1.0")];
    for name in ["core-1", "core-2"] {
        let verdict = stage.verdict(name, VerdictKind::Accept);
        turns.push(stage.say(name, Said::Verdict(verdict)));
    }
    assert_eq!(writes_of_core_1(&turns), 1, "the verdict");
    for name in ["core-1", "core-2"] {
        turns.push(stage.staged(name));
    }
    assert_eq!(writes_of_core_1(&turns), 2, "that it is told to activate");
    for name in ["core-1", "core-2"] {
        turns.push(stage.activated(name, Ok(2)));
    }
    assert_eq!(stage.phase(), RolloutPhase::Done);
    assert!(
        writes_of_core_1(&turns) <= 4,
        "{}",
        writes_of_core_1(&turns)
    );
}

#[test]
fn what_may_wait_is_written_in_time() {
    let mut stage = Stage::settled();
    stage.world.is_patient = true;
    let asked = stage.look(2, "1.1.0");
    assert_eq!(writes_of_core_1(&[asked]), 0);
    let due = stage.world.next_due().expect("something is to be written");
    stage.now = due;
    let later = stage.turn(|_, _| {});
    assert_eq!(writes_of_core_1(&[later]), 1);
    assert_eq!(stage.world.next_due(), None);
}

#[test]
fn an_older_session_of_a_node_is_not_heard() {
    let mut stage = Stage::settled();
    stage.look(2, "1.1.0");
    let verdict = stage.verdict("core-1", VerdictKind::Accept);
    let older = stage.world.nodes[&node("core-1")].session.unwrap();
    let running = stage.world.nodes[&node("core-1")]
        .seen
        .running
        .clone()
        .unwrap();
    stage.hello("core-1", "boot", Some(running.manifest().clone()));
    let name = node("core-1");
    let turn = stage.turn(|world, turn| {
        world.said(&name, older, Said::Verdict(verdict), turn);
        world.gone(&name, older, turn);
    });
    assert_eq!(events(&turn), Vec::<&str>::new());
    let mut turn = Turn::new(stage.now);
    assert!(
        !stage
            .world
            .hello(&name, older, Announcement::default(), &mut turn)
    );
}

#[test]
fn a_manifest_that_nobody_knows_makes_the_node_say_hello_again() {
    let mut stage = Stage::settled();
    let report = Reported {
        generation: 9,
        manifest_digest: Digest::of(b"unknown"),
        ..Reported::default()
    };
    let turn = stage.say("core-1", Said::Report(report));
    assert_eq!(turn.cut.len(), 1);
    assert_eq!(turn.cut[0].0, node("core-1"));
}

#[test]
fn proposals_carry_no_module() {
    let mut stage = Stage::settled();
    let turn = stage.look(2, "1.1.0");
    let proposals: BTreeMap<NodeName, &Proposal> = turn
        .orders
        .iter()
        .filter_map(|order| match &order.step.action {
            Action::Propose(proposal) => Some((order.step.node.clone(), &**proposal)),
            _ => None,
        })
        .collect();
    assert_eq!(proposals.len(), 2);
    for (name, proposal) in proposals {
        assert_eq!((&proposal.node, proposal.rollout.as_str()), (&name, "ro-2"));
        assert_eq!(proposal.revision, revision(2));
    }
}

/// The answers that nodes were given in a turn, and what was told of them.
fn answers(turn: &Turn) -> Vec<String> {
    let given = turn.welcomes.iter().map(|(node, welcome)| {
        let (answer, modules) = (welcome.boot(), welcome.modules);
        format!("{node}: {answer:?}, {modules} modules")
    });
    let told = turn.writes.iter().filter_map(|write| match write {
        Write::Event {
            name: "booted",
            data,
            ..
        } => Some(data.to_string()),
        _ => None,
    });
    given.chain(told).collect()
}

/// What nodes were told in a turn of what they are to do by themselves.
fn policies(turn: &Turn) -> Vec<String> {
    let with_welcome = turn.welcomes.iter().filter_map(|(node, welcome)| {
        let policy = welcome.policy?;
        Some(format!("{node} is welcomed: {}", policy.restart_stale))
    });
    let ordered = turn.node_orders.iter().filter_map(|(node, order)| {
        let placet_protocol::wire::to_node::Order::Policy(policy) = order else {
            return None;
        };
        Some(format!("{node} is told: {}", policy.restart_stale))
    });
    with_welcome.chain(ordered).collect()
}

#[test]
fn nodes_are_told_what_their_class_has_them_do_and_again_when_that_changes() {
    let none = Vec::<&str>::new();
    let declared = |number, drift: &str| {
        let fleet = FLEET.replace("VERSION", "1.0.0");
        let with = format!("packageSets: [base], drift: {{running: {drift}}}");
        commit(number, &fleet.replace("packageSets: [base]", &with))
    };
    let mut stage = Stage::new();
    assert_eq!(policies(&stage.hello("core-1", "boot", None)), none);
    assert_eq!(
        policies(&stage.looked(Ok(declared(1, "restart")))),
        ["core-1 is welcomed: true"]
    );
    assert_eq!(policies(&stage.looked(Ok(declared(2, "restart")))), none);
    assert_eq!(
        policies(&stage.looked(Ok(declared(3, "report")))),
        ["core-1 is told: false"]
    );
    assert_eq!(
        policies(&stage.hello("core-1", "boot", None)),
        ["core-1 is welcomed: false"]
    );
    let unknown = stage.looked(Ok(declared(4, "kill")));
    assert_eq!(events(&unknown), ["refused"]);
}

#[test]
fn every_hello_is_answered_by_a_comparison_of_digests() {
    let mut stage = Stage::new();
    let first = stage.hello("core-1", "boot", None);
    assert_eq!(answers(&first), ["core-1: Unknown, 0 modules"]);
    let stranger = stage.hello("stranger", "boot", None);
    assert_eq!(answers(&stranger), ["stranger: Unknown, 0 modules"]);
    assert_eq!(
        answers(&stage.look(1, "1.0.0")),
        [
            "core-1: Change, 1 modules",
            r#"{"answer":"Change","bytes":1,"modules":1,"node":"core-1"}"#,
        ],
        "who could be told nothing is told as soon as it is known"
    );
    let mut stage = Stage::settled();
    let manifest = |stage: &Stage| {
        let running = stage.world.nodes[&node("core-1")].seen.running.clone();
        Some(running.unwrap().manifest().clone())
    };
    let current = manifest(&stage);
    let again = stage.hello("core-1", "boot", current.clone());
    assert_eq!(
        answers(&again),
        ["core-1: Continue, 0 modules"],
        "a session in the same boot is no new boot"
    );
    let booted = stage.hello("core-1", "boot-2", current);
    assert_eq!(
        answers(&booted),
        [
            "core-1: Continue, 0 modules",
            r#"{"answer":"Continue","bytes":0,"modules":0,"node":"core-1"}"#,
        ]
    );
    let status: placet_crds::FleetNodeStatus = stage
        .world
        .objects
        .node(&node("core-1"))
        .unwrap()
        .0
        .status();
    let boot = status.boot.unwrap();
    assert_eq!(
        (boot.answer, boot.time),
        (placet_crds::BootAnswer::Continue, booted.now)
    );
    assert!(
        booted.orders.is_empty(),
        "a node that has what it is to run is given no orders"
    );
}

/// An object as an API server would give it after somebody changed its spec.
fn stored(stage: &Stage, kind: &str, name: &str, version: u64, spec: serde_json::Value) -> Seen {
    let entry = stage
        .world
        .objects
        .get(placet_crds::find_kind(kind).unwrap().kind.as_str(), name)
        .unwrap();
    let generation = u64::try_from(entry.generation).unwrap() + 1;
    Seen::Is(Box::new(Stored {
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: "uid".to_owned(),
        generation,
        resource_version: version,
        created: stage.now,
        labels: BTreeMap::default(),
        annotations: BTreeMap::default(),
        spec,
        status: serde_json::Value::Null,
        owner: entry.owner.clone(),
    }))
}

fn committed(name: &str, version: u64, over: Option<u64>) -> Committed {
    let written = Written {
        kind: "GitSource",
        name: name.to_owned(),
        version,
        over,
    };
    Committed {
        written: vec![written],
        refused: Vec::new(),
    }
}

#[test]
fn a_status_hides_nothing_that_others_wrote_before_it() {
    let mut stage = Stage::settled();
    let url = |stage: &Stage| match &stage
        .world
        .objects
        .get("GitSource", "fleet")
        .unwrap()
        .object
    {
        Object::GitSource(source) => source.spec.url.clone(),
        _ => unreachable!("it is a source"),
    };
    let seen = |stage: &mut Stage, version, url: &str| {
        let spec = serde_json::json!({ "url": url });
        let seen = stored(stage, "GitSource", "fleet", version, spec);
        stage.turn(|world, turn| world.seen(vec![seen], turn))
    };
    stage.world.written(committed("fleet", 4, None));
    seen(&mut stage, 4, "/srv/fleet");
    stage.world.written(committed("fleet", 5, Some(4)));
    // Somebody wrote version 6, over which the next status went, before it was told.
    stage.world.written(committed("fleet", 7, Some(6)));
    let turn = seen(&mut stage, 6, "/srv/other");
    assert_eq!(url(&stage), "/srv/other");
    let is_status = |write: &&Write| {
        matches!(
            write,
            Write::Status {
                kind: "GitSource",
                ..
            }
        )
    };
    assert_eq!(
        turn.writes.iter().filter(is_status).count(),
        0,
        "it is written already"
    );
    // What was there before a declaration was written is past.
    stage.world.written(committed("fleet", 9, None));
    seen(&mut stage, 8, "/srv/past");
    assert_eq!(url(&stage), "/srv/other");
    seen(&mut stage, 9, "/srv/fleet");
    assert_eq!(url(&stage), "/srv/fleet");
}
