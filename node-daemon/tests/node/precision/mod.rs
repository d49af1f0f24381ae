//! Who is restarted by a change: exactly who maps, or declares, what really changed.

mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use placet_model::{Because, NodeManifest, ProcessChange};
use placet_planner::change;
use placet_tests::{Sample, evidence};
use serde_json::json;

use self::graph::{Conduct, Graph, Workshop, program};
use crate::controller::{Controller, Session};
use crate::daemon::{Daemon, is_alive};

/// Changes that each graph goes through.
const CHANGES: usize = 2;

#[derive(Default)]
struct Tally {
    changes: usize,
    processes: usize,
    affected: usize,
    restarted: usize,
    handled: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_those_are_restarted_that_use_what_really_changed() {
    let mut sample = Sample::new("precision", 200, 12);
    let mut tally = Tally::default();
    for _ in 0..sample.cases {
        try_graph(&mut sample, &mut tally).await;
    }
    evidence(
        "precision",
        &json!({
            "graphs": sample.cases, "changes": tally.changes, "processesObserved": tally.processes,
            "affected": tally.affected, "restarted": tally.restarted,
            "handledByThemselves": tally.handled,
        }),
    );
}

async fn try_graph(sample: &mut Sample, tally: &mut Tally) {
    let workshop = Workshop::new();
    let mut graph = Graph::random(sample);
    let controller = Controller::start().await;
    let mut software = graph.build(&workshop);
    controller.serve(&software);
    let _daemon = Daemon::join(&controller, "core-1");
    let mut session = controller.session().await;
    let pristine = NodeManifest::default();
    let done = session.change(&pristine, &software.manifest).await;
    assert_eq!(done.error, "", "{graph:?}");
    for _ in 0..CHANGES {
        let changed = graph.bump(sample);
        let new = graph.build(&workshop);
        controller.serve(&new);
        let moved = (&software.manifest, &new.manifest);
        try_change(&mut session, &graph, moved, &changed, tally).await;
        software = new;
    }
}

async fn try_change(
    session: &mut Session,
    graph: &Graph,
    (from, to): (&NodeManifest, &NodeManifest),
    changed: &BTreeSet<String>,
    tally: &mut Tally,
) {
    let plan = change(from, to).change_set;
    let really: BTreeSet<_> = plan.modules.iter().map(|it| it.path.to_string()).collect();
    assert_eq!(&really, changed, "what is only built anew is no change");
    let planned: BTreeMap<_, _> = plan
        .processes
        .iter()
        .map(|it| (it.name.to_string(), it))
        .collect();

    let before = pids(session, graph).await;
    for (number, (name, pid)) in before.iter().enumerate() {
        let mapped = mapped(*pid);
        let used: BTreeSet<_> = mapped.union(&graph.reach(number)).cloned().collect();
        let reasons: BTreeSet<_> = used.intersection(changed).collect();
        let case = format!("{name} of {graph:?}, changed {changed:?}");
        match planned.get(name) {
            Some(process) => {
                let told = told_reasons(graph, process);
                assert_eq!(told.iter().collect::<BTreeSet<_>>(), reasons, "{case}");
            }
            None => assert!(reasons.is_empty(), "{case}: {reasons:?} is not planned"),
        }
    }

    let done = session.change(from, to).await;
    assert_eq!(done.error, "", "{graph:?}");
    let after = pids(session, graph).await;
    for (number, (name, pid)) in before.iter().enumerate() {
        let handles = graph.programs[number].conduct == Conduct::Handles;
        let is_affected = planned.contains_key(name);
        let case = format!("{name} of {graph:?}, changed {changed:?}");
        assert_eq!(after[name] != *pid, is_affected && !handles, "{case}");
        assert_eq!(is_alive(*pid), after[name] == *pid, "{case}");
        tally.processes += 1;
        tally.affected += usize::from(is_affected);
        tally.restarted += usize::from(is_affected && !handles);
        tally.handled += usize::from(is_affected && handles);
    }
    tally.changes += 1;
}

async fn pids(session: &mut Session, graph: &Graph) -> BTreeMap<String, u32> {
    let names: Vec<_> = (0..graph.programs.len()).map(program).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    session.running(&names).await
}

/// The modules that a process has mapped, by their paths, as the kernel says.
fn mapped(pid: u32) -> BTreeSet<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let paths = maps.lines().filter_map(|line| {
        let (_, inside) = line.split_once("/generations/")?;
        Some(inside.split_once("/tree/")?.1.to_owned())
    });
    paths.collect()
}

/// The modules that the plan names as reasons; each chain of libraries must be there.
fn told_reasons(graph: &Graph, process: &ProcessChange) -> BTreeSet<String> {
    let module = |because: &Because| match because {
        Because::OwnModule => process.path.to_string(),
        Because::Library { library, via, .. } => {
            let mut user = process.name.to_string();
            for step in via.iter().chain([library]) {
                assert!(graph.is_edge(&user, step.as_str()), "{user} uses {step}");
                user = step.to_string();
            }
            library.to_string()
        }
        Because::Opened { module, .. } => module.to_string(),
        other => format!("{other:?}"),
    };
    process.because.iter().map(module).collect()
}
