//! Test suites of nodes in test mode (B8): the node runs them, and what they come to decides whether
//! what it runs may be stored.

use placet_crds::{NodeSuite, SuiteState};
use placet_model::NodeName;

use super::feed;
use super::turn::Turn;
use super::world::Node;

/// Why what a node runs in test mode may not be stored now; none if all of its tests have passed.
pub(super) fn not_passed(suites: &[NodeSuite]) -> Option<String> {
    if let Some(running) = running(suites) {
        return Some(format!("{running}; order it again when they have ended"));
    }
    let failure = failure(suites)?;
    Some(format!(
        "{failure}. Change what it finds, or have the tests run anew (`placet node retry`), or go back (`placet node regress`)"
    ))
}

/// How far the tests are, if not all have run.
pub(crate) fn running(suites: &[NodeSuite]) -> Option<String> {
    let mut running = suites.iter().filter(|it| it.state == SuiteState::Running);
    running.next()?;
    let all: u64 = suites.iter().map(|it| u64::from(it.tests)).sum();
    let done: u64 = suites.iter().map(ended).sum();
    Some(format!("its tests run ({done} of {all} have ended)"))
}

fn ended(suite: &NodeSuite) -> u64 {
    let ended = [suite.passed, suite.skipped, suite.failed];
    ended.into_iter().map(u64::from).sum()
}

/// The first test that failed.
pub(crate) fn failure(suites: &[NodeSuite]) -> Option<String> {
    suites.iter().find_map(|suite| {
        let NodeSuite {
            package, version, ..
        } = suite;
        let failure = suite.failures.first()?;
        Some(format!(
            "test {} of suite {package} {version} failed: it {}",
            failure.test, failure.why
        ))
    })
}

impl Node {
    /// Tells of suites that have ended.
    pub(super) fn take_suites(&mut self, name: &NodeName, new: Vec<NodeSuite>, turn: &mut Turn) {
        let old = std::mem::replace(&mut self.suites, new);
        for suite in self.suites.iter().filter(|suite| !old.contains(suite)) {
            let event = match suite.state {
                SuiteState::Running => continue,
                SuiteState::Passed => "testsPassed",
                SuiteState::Failed => "testsFailed",
            };
            turn.tell(event, feed::tested(name, suite));
        }
    }
}
