//! Dry runs that are declared: begun, answered, superseded, followed.

use placet_crds::RolloutStatus;
use placet_model::{DryRunAnswer, DryRunNode, DryRunReport, RolloutPhase};

use super::super::news::Tried;
use super::super::trials::manifests;
use super::{Digest, FLEET, Stage, Timestamp, VerdictKind, commit, events, file, revision};
use crate::shared::{Begun, Wanted};

fn declared(to: &str, source: &str) -> String {
    format!(
        "apiVersion: placet.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: try-1}}\nspec: {{dryRun: true, source: {source}, to: \"{to}\"}}\n"
    )
}

impl Stage {
    fn try_out(&mut self, to: &str, source: &str) -> Vec<&'static str> {
        let turn = self.turn(|world, turn| {
            world
                .apply(&file(&declared(to, source)), "ann", turn)
                .unwrap();
        });
        events(&turn)
    }

    /// The dry run that the observers are to carry out.
    fn wanted(&self) -> Option<Begun> {
        Wanted::of(&self.world).dry_runs.into_keys().next()
    }

    fn tried(&self) -> RolloutStatus {
        self.world.objects.rollout("try-1").unwrap().0.status()
    }

    /// Both nodes answer in a dry run of what is declared as version 1.1.0.
    fn answer(&mut self, begun: &Begun, kind: VerdictKind) -> Vec<&'static str> {
        let mut other = self.world.clone();
        let text = FLEET.replace("VERSION", "1.1.0");
        other.try_commit("fleet", &commit(2, &text)).unwrap();
        other.catalog = Some(super::Arc::new(super::catalog()));
        other.retarget();
        let target = other.target.unwrap();
        let nodes = target.nodes.iter().map(|(name, wanted)| DryRunNode {
            node: name.clone(),
            change_digest: Some(wanted.manifest_digest),
            modules: 1,
            processes: Vec::new(),
            answer: if kind == VerdictKind::NoAnswer {
                DryRunAnswer::Silent(5)
            } else {
                DryRunAnswer::NotAsked("it has no connection".to_owned())
            },
        });
        let report = DryRunReport {
            name: "dry-1".to_owned(),
            revision: revision(2),
            plan_digest: Digest::of(b"plan"),
            results: Vec::new(),
            problems: Vec::new(),
            notes: Vec::new(),
            changes: Vec::new(),
            nodes: nodes.collect(),
        };
        let tried = Tried {
            report,
            manifests: manifests(&target),
        };
        events(&self.turn(|world, turn| world.tried(begun, Ok(tried), turn)))
    }
}

#[test]
fn a_dry_run_is_wanted_until_it_is_answered_and_the_rollout_that_follows_is_linked_both_ways() {
    let mut stage = Stage::settled();
    let target = stage.world.target.clone();
    assert_eq!(stage.try_out(&revision(2), "fleet"), [""; 0]);
    assert_eq!(stage.world.target, target, "nothing else is declared");
    assert_eq!(stage.tried().phase, Some(RolloutPhase::Proposing));
    let begun = stage.wanted().unwrap();
    let another = (begun.0.clone(), Timestamp::UNIX_EPOCH);
    assert_eq!(stage.answer(&another, VerdictKind::Accept), [""; 0]);
    assert_eq!(stage.answer(&begun, VerdictKind::Accept), ["dryRun"]);
    let status = stage.tried();
    assert_eq!(status.phase, Some(RolloutPhase::Done));
    assert_eq!((status.nodes.total, status.nodes.asked), (2, 0));
    assert!(status.ended.is_some());
    assert_eq!(stage.wanted(), None, "it is over");

    stage.look(2, "1.1.0");
    assert_eq!(stage.tried().followed_by.as_deref(), Some("ro-2"));
    let status: RolloutStatus = stage.world.objects.rollout("ro-2").unwrap().0.status();
    assert_eq!(status.dry_run.as_deref(), Some("try-1"));
    stage.look(3, "1.0.0");
    assert_eq!(stage.tried().followed_by.as_deref(), Some("ro-2"));
}

#[test]
fn silent_nodes_are_counted_and_somebody_would_object() {
    let mut stage = Stage::settled();
    stage.try_out(&revision(2), "fleet");
    let begun = stage.wanted().unwrap();
    stage.answer(&begun, VerdictKind::NoAnswer);
    let status = stage.tried();
    assert_eq!(status.verdicts.no_answer, 2);
    assert_eq!(status.vetoes[0], "node core-1: no answer within 5 s");
    let conditions = serde_json::to_value(&status.conditions).unwrap();
    assert_eq!(conditions[0]["reason"], "Objected", "{conditions}");
}

#[test]
fn a_rollout_supersedes_a_dry_run_that_is_under_way() {
    let mut stage = Stage::settled();
    stage.try_out(&revision(2), "fleet");
    let begun = stage.wanted().unwrap();
    let turn = stage.look(3, "1.1.0");
    assert!(events(&turn).contains(&"dryRun"));
    assert_eq!(stage.wanted(), None);
    let status = stage.tried();
    assert_eq!(status.phase, Some(RolloutPhase::Superseded));
    assert_eq!(
        stage.answer(&begun, VerdictKind::Accept),
        [""; 0],
        "too late"
    );
    assert_eq!(stage.tried(), status);
}

#[test]
fn a_dry_run_that_cannot_begin_says_why() {
    for (to, source, why) in [
        (
            revision(2),
            "flet",
            "spec.source: there is no GitSource `flet`",
        ),
        (
            format!("apply@sha256:{:064}", 1),
            "fleet",
            "spec.to: a dry run tries out a commit",
        ),
    ] {
        let mut stage = Stage::settled();
        assert_eq!(stage.try_out(&to, source), ["dryRun"]);
        let status = stage.tried();
        assert_eq!(status.phase, Some(RolloutPhase::Blocked));
        assert!(status.problems[0].contains(why), "{:?}", status.problems);
        assert_eq!(stage.wanted(), None);
    }
    let mut stage = Stage::settled();
    let clash = declared(&revision(2), "fleet").replace("try-1", "ro-9");
    stage.turn(|world, turn| {
        let refused = world.apply(&file(&clash), "ann", turn).unwrap_err();
        assert!(
            refused[0].contains("give the dry run another one"),
            "{refused:?}"
        );
    });
}
